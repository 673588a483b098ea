"""Which planets, visits and instruments a root holds: found from names, never assumed.

Roots: the 2025 dataset (`{split}/{planet}/{instrument}_signal_{visit}.parquet`), the 2024 dataset (no visit
number: visit 0), a raw Zarr store (`{split}/{planet}/{visit}/{instrument}`, committed groups only) and a folder with a
`detector.yaml` that lists the visits of any other detector.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Literal

from v50calib.errors import DataError
from v50calib.io.challenge.root import _NAME, _dataset_planet, _open_dataset_source
from v50calib.io.folders import _Folder, _folders
from v50calib.io.keys import _ID, _INSTRUMENT, DETECTOR_FILE, SPLITS, Split, VisitKey, normalise_planet_id
from v50calib.io.raw_store.root import _store_planet
from v50calib.io.source import VisitSource
from v50calib.io.storage.commit import COMMIT_NAME
from v50calib.io.storage.location import Location, locate
from v50calib.io.storage.objects import ObjectPath
from v50calib.schema import INSTRUMENTS, Instrument, instrument_of

RootKind = Literal["dataset", "store", "custom"]


def root_kind(root: str | os.PathLike[str] | ObjectPath) -> RootKind:
    """Tell a challenge folder, a raw Zarr store and a folder with a detector.yaml apart. Raises DataError where it is none."""
    path = locate(root)
    # a store's kind is asked for with every visit; there it costs requests
    return _kind_of(path) if isinstance(path, Path) else _kind_of_objects(path)


@lru_cache(maxsize=64)
def _kind_of_objects(path: ObjectPath) -> RootKind:
    kind = _kind_of(path)
    if kind == "custom":
        raise DataError(f"{path} has a {DETECTOR_FILE}: such a folder is read from a local disk only; ingest it from there")
    return kind


def _kind_of(path: Location) -> RootKind:
    if not path.is_dir():
        raise DataError(f"no folder {path}: give the dataset's root (it holds train/ or test/) or a raw Zarr store")
    if (path / DETECTOR_FILE).is_file():
        return "custom"
    if (path / "zarr.json").is_file():
        return "store"
    if any((path / split).is_dir() for split in SPLITS):
        return "dataset"
    found = sorted(entry.name for entry in path.iterdir())[:8]
    raise DataError(
        f"{path} is not a dataset root: it has neither train/ nor test/ nor zarr.json nor {DETECTOR_FILE} (found {found}); "
        "give the folder that holds train/ and test/"
    )


def scan(root: str | os.PathLike[str] | ObjectPath) -> list[VisitKey]:
    """Every visit of a dataset folder, raw Zarr store or detector.yaml, sorted.

    A visit counts where its signal file or its calibration folder is there, so that a missing file is
    reported when the visit is opened and not passed over. Raises DataError where the root is neither.
    """
    path, kind = locate(root), root_kind(root)
    if isinstance(path, ObjectPath):
        return sorted(key for split in SPLITS for key in _object_keys(path, split, kind))
    if kind == "custom":
        from v50calib.io.detector_yaml.source import check_root

        return check_root(path)
    planet_keys = _store_planet if kind == "store" else _dataset_planet
    keys: set[VisitKey] = set()
    for split in SPLITS:
        for planet in _folders(path / split):
            if _ID.fullmatch(planet.name):
                keys.update(planet_keys(planet, split))
    return sorted(keys)


def find(
    root: str | os.PathLike[str] | ObjectPath,
    planet_id: object,
    visit: int = 0,
    instrument: str = "AIRS-CH0",
    *,
    split: Split | None = None,
) -> VisitKey:
    """The key of one visit. Looks into the planet's folder only; scans the root just to word an error.

    Raises DataError naming the nearest known planet, visit or instrument, or where a planet is in both splits.
    """
    path, planet = locate(root), normalise_planet_id(planet_id)
    known = visits_of(path, planet, split)
    if instrument not in INSTRUMENTS and instrument not in {key.instrument for key in known}:
        names = sorted({key.instrument for key in scan(path)} if root_kind(path) != "dataset" else INSTRUMENTS)
        near = difflib.get_close_matches(instrument.upper(), names, n=1, cutoff=0.0)
        raise DataError(f"unknown instrument {instrument!r}: there are {names}; nearest is {near[0] if near else None!r}")
    if not known:
        raise unknown_planet(planet, (key.planet_id for key in scan(path) if split in (None, key.split)))
    hits = sorted(key for key in set(known) if (key.visit, key.instrument) == (visit, instrument))
    if not hits:
        have = ", ".join(f"visit {k.visit} {k.instrument}" for k in sorted(set(known)))
        raise DataError(
            f"planet {planet} has no visit {visit} of {instrument} in {path}: it has {have}; "
            "ask for one of these or re-download the planet's folder"
        )
    if len(hits) > 1:
        raise DataError(f"planet {planet} is in both train/ and test/ of {path}: say which with split='train' or 'test'")
    return hits[0]


def visits_of(root: Location, planet: str, split: Split | None = None) -> list[VisitKey]:
    """Visits of one planet, without a scan of the others; empty where the root does not have it."""
    kind = root_kind(root)
    if isinstance(root, ObjectPath):
        return [key for s in (SPLITS if split is None else (split,)) for key in _object_keys(root, s, kind, planet)]
    if kind == "custom":
        from v50calib.io.detector_yaml.load import load_description

        keys = (key for key, _ in load_description(root).entries())
        return [key for key in keys if key.planet_id == planet and split in (None, key.split)]
    planet_keys = _store_planet if kind == "store" else _dataset_planet
    splits = SPLITS if split is None else (split,)
    return [key for s in splits if (root / s / planet).is_dir() for key in planet_keys(_Folder(root / s / planet), s)]


def channels_of(root: Location, planet: str, visit: int, instrument: str, split: Split | None = None) -> list[VisitKey]:
    """The visit's channels where `instrument` is one that has several (`NAME.CHANNEL`), else nothing."""
    keys = visits_of(root, planet, split)
    return [key for key in keys if key.visit == visit and key.instrument.startswith(f"{instrument}.")]


def unknown_planet(planet_id: str, known: Iterable[str]) -> DataError:
    """The error for a planet that a root does not hold, naming the nearest of the known ids and how many there are."""
    ids = sorted(set(known))
    if not ids:
        return DataError(f"unknown planet {planet_id}: the root holds no visits at all; check the path or download the data")
    nearest = difflib.get_close_matches(planet_id, ids, n=3, cutoff=0.0)
    return DataError(f"unknown planet {planet_id}: the root holds {len(ids)} planets; nearest are {', '.join(nearest)}")


def _object_keys(root: ObjectPath, split: Split, kind: RootKind, planet: str = "") -> set[VisitKey]:
    """Visits of a split (of one planet) of a root in an object store, from one listing of its names."""
    top = root / split
    keys = set()
    for path in (top / planet if planet else top).objects():
        name, *rest = path.relative_to(top).parts
        if not _ID.fullmatch(name) or name.startswith(".") or not rest:
            continue
        if kind == "store" and len(rest) == 3 and rest[0].isdecimal() and _INSTRUMENT.fullmatch(rest[1]) and rest[2] == COMMIT_NAME:
            keys.add(VisitKey(name, int(rest[0]), rest[1], split))
        elif kind == "dataset" and (match := _NAME.fullmatch(rest[0])):
            keys.add(VisitKey(name, int(match[2] or 0), match[1], split))
    return keys


def open_source(root: str | os.PathLike[str] | ObjectPath, key: VisitKey, *, threads: int | None = None) -> VisitSource:
    """Open one visit of any root (see `root_kind`); all cheap checks are made here, no frame is decoded.

    threads: decode threads for parquet (default: the processors this process may use, at most 4).
    Raises DataError for missing, damaged or misshapen files (see `layout` and `parquet`).
    """
    path, kind = locate(root), root_kind(root)
    if kind == "store":
        from v50calib.io.raw_store.group import open_store_source

        return open_store_source(path, key)
    if kind == "custom" and not isinstance(path, ObjectPath):
        from v50calib.io.detector_yaml.source import open_custom_source

        return open_custom_source(path, key)
    return _open_dataset_source(path, key, threads)


def instrument_at(root: str | os.PathLike[str] | ObjectPath, key: VisitKey) -> Instrument:
    """The facts of a visit's instrument, without opening the visit. Raises DataError."""
    path, kind = locate(root), root_kind(root)
    if kind == "store":
        from v50calib.io.raw_store.group import store_attrs

        return instrument_of(store_attrs(path, key))
    if kind == "custom" and not isinstance(path, ObjectPath):
        from v50calib.io.detector_yaml.source import custom_instrument

        return custom_instrument(path, key)
    return instrument_of({"instrument": key.instrument})
