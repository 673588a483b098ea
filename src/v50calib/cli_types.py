"""Kinds of arguments of the command line."""

from __future__ import annotations

from typing import Any

import click

from v50calib.io.place import Place, place


class PlaceType(click.ParamType[Any]):
    """A local path or the URL of an object store; what is refused is told as the error of a configuration."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        return place(value)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return "PATH|URL" if isinstance(param, click.Option) else None


PLACE = PlaceType()
