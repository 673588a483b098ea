"""`Root`: what a folder or bucket of raw visits answers, whatever it is made of; and how one of its visits is found."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Protocol

from v50calib.errors import DataError
from v50calib.io.keys import Split, VisitKey, normalise_planet_id
from v50calib.io.source import VisitSource
from v50calib.io.storage.location import Location
from v50calib.schema import INSTRUMENTS, Instrument


class Root(Protocol):
    """A location of raw visits. Its classes hold the location and nothing else, so they are cheap to make where one is needed."""

    @property
    def location(self) -> Location:
        """The local folder, or the bucket and prefix."""
        ...

    @property
    def kind(self) -> str:
        """What it is made of, in words for messages."""
        ...

    @property
    def whole_files(self) -> bool:
        """A visit's file decodes as a whole: it cannot be read in parts by several workers and is held whole in memory."""
        ...

    def visits(self, planet: str | None = None) -> list[VisitKey]:
        """Every visit, sorted; of one planet, without a look at the others (empty where there is none).

        A visit is listed where any of its files is there, so that what it lacks is reported when it is opened.
        """
        ...

    def open(self, key: VisitKey, threads: int | None = None) -> VisitSource:
        """One visit; everything that is cheap is checked here, no frame is decoded.

        threads: decode threads of files that are decoded as a whole (default: the processors this process may use, at most 4).
        Raises DataError for missing, damaged or misshapen files, StoreError for a store of another format.
        """
        ...

    def instrument(self, key: VisitKey) -> Instrument:
        """The facts of a visit's instrument, without opening the visit. Raises DataError."""
        ...

    def identity(self, key: VisitKey, source: VisitSource | None = None) -> dict[str, str]:
        """Which input a product is made of, {part: text}, JSON-ready, without paths; see `identity`.

        source: the visit where it is open already. Raises DataError or StoreError where it cannot be opened.
        """
        ...

    def stamp(self, key: VisitKey) -> str:
        """Text that stays the same while the visit's files do, made without opening them; empty where there is no such text."""
        ...


def find_visit(root: Root, planet_id: object, visit: int = 0, instrument: str = "AIRS-CH0", split: Split | None = None) -> VisitKey:
    """The key of one visit. Looks into the planet's folder only; lists the whole root just to word an error.

    Raises DataError naming the nearest known planet, visit or instrument, or where a planet is in both splits.
    """
    planet = normalise_planet_id(planet_id)
    known = [key for key in root.visits(planet) if split in (None, key.split)]
    if instrument not in INSTRUMENTS and instrument not in {key.instrument for key in known}:
        names = sorted({key.instrument for key in root.visits()} or INSTRUMENTS)
        near = difflib.get_close_matches(instrument.upper(), names, n=1, cutoff=0.0)
        raise DataError(f"unknown instrument {instrument!r}: there are {names}; nearest is {near[0]!r}")
    if not known:
        raise unknown_planet(planet, (key.planet_id for key in root.visits() if split in (None, key.split)))
    hits = [key for key in known if (key.visit, key.instrument) == (visit, instrument)]
    if not hits:
        have = ", ".join(f"visit {key.visit} {key.instrument}" for key in known)
        raise DataError(
            f"planet {planet} has no visit {visit} of {instrument} in {root.location}: it has {have}; "
            "ask for one of these or re-download the planet's folder"
        )
    if len(hits) > 1:
        raise DataError(f"planet {planet} is in both train/ and test/ of {root.location}: say which with split='train' or 'test'")
    return hits[0]


def unknown_planet(planet_id: str, known: Iterable[str]) -> DataError:
    """The error for a planet that a root does not hold, naming the nearest of the known ids and how many there are.

    >>> str(unknown_planet("12", ["13", "13", "7"]))
    'unknown planet 12: the root holds 2 planets; nearest are 13, 7'
    """
    ids = sorted(set(known))
    if not ids:
        return DataError(f"unknown planet {planet_id}: the root holds no visits at all; check the path or download the data")
    nearest = difflib.get_close_matches(planet_id, ids, n=3, cutoff=0.0)
    return DataError(f"unknown planet {planet_id}: the root holds {len(ids)} planets; nearest are {', '.join(nearest)}")
