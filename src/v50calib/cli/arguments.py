"""What the commands' arguments share: types of locations, which may be URLs, and options that several commands have."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from v50calib.errors import ConfigError
from v50calib.io.storage.location import Location, check_answers, locate
from v50calib.io.storage.objects import ObjectPath


class LocationType(click.ParamType[Any]):
    """The local path or the URL of a dataset, a store or a run directory. Raises ConfigError for a URL that is refused."""

    name = "location"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Location:
        return locate(value)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return "PATH|URL" if isinstance(param, click.Option) else None


class LocalType(click.ParamType[Any]):
    """A local path where the URL of an object store cannot be used. Raises ConfigError for a URL."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        found = locate(value)
        if not isinstance(found, Path):
            raise ConfigError(f"'{value}' must be a local path, not the URL of an object store: give a folder of this machine")
        return found


class FileType(click.Path):
    """A local path, read or written; `~` is the home. It is not asked whether it is there: whoever opens it says so in its own words."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(os.path.expanduser(value), param, ctx)  # noqa: PTH111 - Path.expanduser raises where there is no home


LOCATION, LOCAL, FILE = LocationType(), LocalType(), FileType()


class DataCommand(click.Command):
    """A command on data, which may be in an object store. Raises StoreError at once where a store does not answer."""

    def invoke(self, ctx: click.Context) -> Any:
        check_answers(*(value for value in ctx.params.values() if isinstance(value, ObjectPath)))
        return super().invoke(ctx)


AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")

OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace files that exist, whoever made them.")


def one_of(*names: str, words: Sequence[str], help: str) -> Callable[..., Any]:  # noqa: A002 - click's own name
    """An option that takes one of `words`; the first is the default."""
    return click.option(*names, type=click.Choice(words), default=words[0], show_default=True, help=help)


def folder_among(words: tuple[str, ...], data: Location | None) -> tuple[Location | None, tuple[str, ...]]:
    """The dataset and the overrides of a command whose words may name the dataset without --data. Raises ConfigError for two of them.

    >>> folder_among(("calib.flat.enabled=false", "/"), None)
    (PosixPath('/'), ('calib.flat.enabled=false',))
    """
    folders = [word for word in words if "=" not in word and _is_data(word)]
    overrides = tuple(word for word in words if word not in folders)
    refuse_words(overrides)
    if not folders:
        return data, overrides
    if data is not None or len(folders) > 1:
        given = " and ".join([*([f"--data {data}"] if data is not None else []), *folders])
        raise ConfigError(f"{given} are several datasets, and a run has one: give one of them; the run directory is --out FOLDER")
    return locate(folders[0]), overrides


def _is_data(word: str) -> bool:
    """Whether a word names data: a URL, a folder, or a file of ExoSim's."""
    path = Path(os.path.expanduser(word))  # noqa: PTH111 - Path.expanduser raises where there is no such home
    return "://" in word or path.is_dir() or (path.suffix.lower() in (".h5", ".hdf5") and path.is_file())


def refuse_words(words: Sequence[str]) -> None:
    """Raises ConfigError for a word that is no override and says what it seems to be: a profile, a folder that is not there, a file."""
    for word in words:
        if "=" in word or word.startswith(("~", "+")):
            continue
        from v50calib.config.compose import list_profiles, profile_name

        if profile_name(word) in list_profiles():
            raise ConfigError(f"'{word}' is a profile: write --config-name {profile_name(word)}")
        if Path(word).exists():
            raise ConfigError(f"'{word}' is there, but it is no folder of data where one is expected; OVERRIDES are key=value")
        if "/" in word or "." not in word:
            raise ConfigError(f"there is no folder '{word}', and an override is key=value: correct the path, or write the value after '='")
