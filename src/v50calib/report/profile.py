"""Which profile a run's config is, told by comparing it with those that are shipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from v50calib.config import load
from v50calib.config.compose import list_profiles

SHOWN = 12


def name_of(known: Mapping[str, Any]) -> tuple[str, list[str]]:
    """(the nearest shipped profile, the keys in which `known` differs from it: `key = value (profile: value)`).

    known: the content of config.yaml; `runtime` is left out, it decides no number.
    """
    mine = _flat({name: known.get(name, {}) for name in ("calib", "output")})
    nearest: tuple[str, list[str]] | None = None
    for name in list_profiles():
        theirs = _flat(load(name).model_dump(mode="json", include={"calib", "output"}))
        keys = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
        if nearest is None or len(keys) < len(nearest[1]):
            nearest = name, [f"{key} = {_say(mine.get(key))} (profile: {_say(theirs.get(key))})" for key in keys]
    return nearest if nearest is not None else ("no shipped profile", [])


def _say(value: object) -> str:
    words = {True: "true", False: "false", None: "null"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def _flat(tree: object, path: str = "") -> dict[str, Any]:
    if isinstance(tree, Mapping) and tree:
        return {k: v for name, sub in tree.items() for k, v in _flat(sub, f"{path}.{name}" if path else str(name)).items()}
    return {path: tree}
