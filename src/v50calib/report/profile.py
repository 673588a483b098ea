"""The shipped profile that is nearest to a run's config."""

from __future__ import annotations

from collections.abc import Mapping

from v50calib.config import load
from v50calib.config.compose import list_profiles
from v50calib.markup import flat, say

SHOWN = 12
USUAL = "calib/nominal"


def name_of(known: Mapping[str, object]) -> tuple[str, list[str]]:
    """(the nearest shipped profile, the keys in which `known` differs from it: `key = value (profile: value)`).

    known: the content of config.yaml; `runtime` is left out, because it changes no number.

    >>> name_of(load("calib/fast", ["output.bin_s=300"]).model_dump(mode="json"))
    ('calib/fast', ['output.bin_s = 300.0 (profile: 144.0)'])
    """
    mine = flat({name: known.get(name, {}) for name in ("calib", "output")})
    nearest: tuple[str, list[str]] | None = None
    # composing one takes half a second of processor: the usual one first, and none after one that is the same
    for name in sorted(list_profiles(), key=lambda name: name != USUAL):
        theirs = flat(load(name).model_dump(mode="json", include={"calib", "output"}))
        keys = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
        if nearest is None or len(keys) < len(nearest[1]):
            nearest = name, [f"{key} = {say(mine.get(key))} (profile: {say(theirs.get(key))})" for key in keys]
        if not keys:
            break
    return nearest if nearest is not None else ("no shipped profile", [])
