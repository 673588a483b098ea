"""Shell completion: profiles, keys and their values, compute profiles and planets. Nothing here raises: a shell shows what it gets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from v50calib.errors import V50CalibError

Words = Callable[[click.Context, str], Iterator[str]]


def _completer(words: Words) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """A click callback from a function (context, typed so far) -> words; those that begin with what was typed are shown."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found: list[CompletionItem] = []
        # data that cannot be opened has no planets to show
        with suppress(V50CalibError, OSError, ValueError):
            found.extend(CompletionItem(word) for word in words(ctx, incomplete) if word.startswith(incomplete))
        return found

    return complete


def _profiles(ctx: click.Context, incomplete: str) -> Iterator[str]:
    from v50calib.config.compose import list_profiles

    names = list_profiles(_config_dir(ctx))
    yield from names
    if incomplete and "/" not in incomplete:
        yield from (name.removeprefix("calib/") for name in names)


def _schedulers(ctx: click.Context, incomplete: str) -> Iterator[str]:
    from v50calib.config.compose import profiles_dir
    from v50calib.config.compute import list_compute

    own = _config_dir(ctx)
    yield from list_compute([profiles_dir(), *([own] if own is not None else [])])


def _overrides(ctx: click.Context, incomplete: str) -> Iterator[str]:
    """Keys; after the `=` the values of a key that takes named ones. bash hands over key, `=` and value as three words."""
    from v50calib.config.explain import choices_of, key_names

    before = tuple(ctx.params.get("overrides") or ())
    if len(before) > 1 and before[-1] == "=":
        yield from choices_of(before[-2])
        return
    if incomplete == "=" and before:
        yield from (f"={choice}" for choice in choices_of(before[-1]))
        return
    key, equals, _ = incomplete.partition("=")
    found = [key] if equals else [name for name in key_names() if name.startswith(key)]
    if len(found) == 1 and (choices := choices_of(found[0])):
        yield from (f"{found[0]}={choice}" for choice in choices)
    elif not equals:
        yield from (f"{name}=" for name in found)


def _planets(ctx: click.Context, incomplete: str) -> Iterator[str]:
    """Planets of --data or DATA, else of $DATA_DIR."""
    yield from dict.fromkeys(key.planet_id for key in _visits(ctx))


def _parts(ctx: click.Context, incomplete: str) -> Iterator[str]:
    """Planets; after a `/` their visits, then their instruments."""
    for key in _visits(ctx):
        yield "/".join((key.planet_id, str(key.visit), key.instrument)[: incomplete.count("/") + 1])


def _visits(ctx: click.Context) -> list[Any]:
    from v50calib.io.catalog import open_root
    from v50calib.io.storage.location import locate

    return list(open_root(locate(ctx.params.get("data") or os.environ.get("DATA_DIR", "data"))).visits())


def _config_dir(ctx: click.Context) -> Path | None:
    given = ctx.params.get("config_dir")
    return Path(given) if given is not None else None


complete_profile, complete_scheduler, complete_override = _completer(_profiles), _completer(_schedulers), _completer(_overrides)
complete_planet, complete_part = _completer(_planets), _completer(_parts)


def profile_option(function: Any) -> Any:
    """The option --config-name, also typed --profile."""
    return click.option(
        "--config-name", "--profile", default="calib/nominal", show_default=True, shell_complete=complete_profile,
        help="Profile: fast, nominal, strict, official (calib/fast, …), or one of --config-dir.",
    )(function)  # fmt: skip


#: the words key=value at the end of a command
OVERRIDES = click.argument("overrides", nargs=-1, shell_complete=complete_override)
