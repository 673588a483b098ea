"""Types of the command line's arguments: locations of data, which may be URLs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from v50calib.errors import ConfigError
from v50calib.io.storage.location import Location, check_answers, locate


class LocationType(click.ParamType[Any]):
    """The local path or the URL of a dataset, a store or a run directory.

    Raises ConfigError for a URL that is refused, StoreError where its object store does not answer.
    """

    name = "location"

    def __init__(self, *, check: bool = True) -> None:
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Location:
        found = locate(value)
        if self._check:
            check_answers(found)
        return found

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return "PATH|URL" if isinstance(param, click.Option) else None


class LocalType(click.ParamType[Any]):
    """A local path, where a URL cannot be used; ConfigError for a URL."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        found = locate(value)
        if not isinstance(found, Path):
            raise ConfigError(f"'{value}' is in an object store, and this must be a local path: copy or ingest from there")
        return found


LOCATION = LocationType()
#: for a command that itself reports which store does not answer
UNCHECKED_LOCATION = LocationType(check=False)
LOCAL = LocalType()
