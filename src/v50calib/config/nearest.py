"""The key that a user meant: found by its last name, wherever it stands in the tree."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

#: names that are certainly a slip of the fingers, and names that may be one
SURE, LIKELY = 0.8, 0.6
#: keys that are named where several are as near
SHOWN = 4

Names = tuple[str, ...]


def typed_names(path: Sequence[str | int], value: object) -> Names:
    """The names of a key as it was typed: the tree ends at the first unknown one, and the rest stands in its value.

    >>> typed_names(("photometry",), {"method": "psf"})
    ('photometry', 'method')
    """
    names = [part for part in path if isinstance(part, str)]
    while isinstance(value, Mapping) and len(value) == 1:
        name, value = next(iter(value.items()))
        names.append(str(name))
    return tuple(names)


def nearest_keys(typed: Names, keys: Sequence[Names]) -> list[Names]:
    """The keys of the tree that were meant, nearest first: those with the same last name, else those with one like it in the same section.

    Of several, those win that have most of the typed names in their order, then those with fewest names that were not typed.

    >>> keys = [("calib", "photometry", "psf", "method"), ("calib", "photometry", "photometry", "method"), ("calib", "flat", "method")]
    >>> nearest_keys(("calib", "photometry", "method"), keys)
    [('calib', 'photometry', 'photometry', 'method')]
    """
    same = [key for key in keys if key[-1] == typed[-1]]
    if not same:
        inside = [key for key in keys if len(typed) > 1 and set(typed[:-1]) <= set(key[:-1])]
        same = _alike(typed[-1], inside, LIKELY) or _alike(typed[-1], keys, SURE)
    ranks = {key: (-_in_order(typed[:-1], key[:-1]), len([name for name in key[:-1] if name not in typed])) for key in same}
    best = min(ranks.values(), default=None)
    return [key for key, rank in ranks.items() if rank == best]


def _alike(name: str, keys: Sequence[Names], cutoff: float) -> list[Names]:
    near = difflib.get_close_matches(name, {key[-1] for key in keys}, n=1, cutoff=cutoff)
    return [key for key in keys if near and key[-1] == near[0]]


def _in_order(typed: Names, key: Names) -> int:
    """How many of the typed names stand in the key, in the same order."""
    rest, count = list(key), 0
    for name in typed:
        if name in rest:
            count += 1
            del rest[: rest.index(name) + 1]
    return count
