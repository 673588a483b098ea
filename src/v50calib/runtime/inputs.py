"""What a config's files and windows must fit, looked up in a root before any frame is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from v50calib.engine.engines import Engines
from v50calib.engine.visit import notes_of
from v50calib.errors import ConfigError, DataError, StoreError, V50CalibError
from v50calib.io.keys import VisitKey
from v50calib.io.root import Root
from v50calib.runtime.job import visit_of
from v50calib.schema import Instrument

#: most visits of an instrument that are opened before a run: each can take 0.2 s, and nothing is said meanwhile
LOOKS = 20

T = TypeVar("T")


def spread(items: Sequence[T]) -> list[T]:
    """The first item and others evenly over the rest, LOOKS at most.

    >>> spread(range(3)), len(spread(range(10_000))), spread(range(10_000))[:3]
    ([0, 1, 2], 20, [0, 500, 1000])
    """
    return list(items[:: -(-len(items) // LOOKS)]) if items else []


def facts_of(root: Root, keys: Sequence[VisitKey]) -> Instrument | None:
    """The facts of an instrument by the first of a few of its visits that gives them; None where none does: each fails, by name."""
    for key in spread(keys):
        try:
            return root.instrument(key)
        except (V50CalibError, OSError):
            # recorded as that visit's failure
            continue
    return None


def input_notes(root: Root, keys: Sequence[VisitKey]) -> list[str]:
    """What the dataset lacks, as the first visit of each split says it; a visit that cannot be opened says nothing."""
    found: list[str] = []
    for key in {key.split: key for key in reversed(keys)}.values():
        try:
            found += notes_of(root.open(key).attrs)
        except (DataError, StoreError, OSError):
            continue
    return list(dict.fromkeys(found))


def check_inputs(engines: Engines, root: Root, keys: Sequence[VisitKey]) -> None:
    """Refuse a table, models or a window of the config that serve none of the selected visits (ConfigError).

    A visit of each instrument is opened; more, up to LOOKS, only while the planets looked at lack rows or models of their own. What
    only some planets lack is the failure of their visits, before their frames are read; and so is what more than LOOKS planets lack
    together: the run stops at runtime.failures_alike of them.
    """
    for name in dict.fromkeys(key.instrument for key in keys):
        engine = engines.of(name)
        if engine.photometry is None or not engine.asks_of_visits or not engine.finds_files:
            continue
        # one visit a planet: its others have the same star
        _check_instrument(engines, root, sorted({key.planet_id: key for key in reversed(keys) if key.instrument == name}.values()))


def _check_instrument(engines: Engines, root: Root, keys: Sequence[VisitKey]) -> None:
    """Refuse what none of these visits can be calibrated with; a visit that cannot be opened says nothing."""
    first: DataError | None = None
    planets = 0
    for key in spread(keys):
        try:
            visit, _ = engines.of(key.instrument).order(visit_of(root.open(key)))
        except (DataError, StoreError, OSError):
            # recorded as that visit's failure
            continue
        try:
            engines.check_series(visit.instrument, visit.wavelength_um, visit.attrs, visit.time_h)
        except DataError as exc:
            first, planets = first or exc, planets + 1
            continue
        return
    if first is not None and len(keys) <= LOOKS:
        raise ConfigError(
            f"{first} (so it is for {'the only planet' if planets == 1 else f'all {planets} planets'} of this run)"
        ) from first
