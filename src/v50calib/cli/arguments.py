"""Kinds of arguments of the command line."""

from __future__ import annotations

from typing import Any

import click

from v50calib.io.storage.location import Location, locate


class LocationType(click.ParamType[Any]):
    """A local path or the URL of an object store; what is refused is told as the error of a configuration."""

    name = "location"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Location:
        return locate(value)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return "PATH|URL" if isinstance(param, click.Option) else None


LOCATION = LocationType()
