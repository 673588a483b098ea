"""Which kind of root a location is, and what is asked of a root most often. Nothing below imports this module."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from v50calib.errors import DataError
from v50calib.io.challenge.root import ChallengeRoot
from v50calib.io.detector_yaml.load import DETECTOR_FILE
from v50calib.io.detector_yaml.root import DetectorYamlRoot
from v50calib.io.exosim.files import is_hdf5
from v50calib.io.exosim.root import ExosimRoot, holds_ndrs
from v50calib.io.keys import SPLITS, Split, VisitKey
from v50calib.io.raw_store.root import RawStoreRoot
from v50calib.io.root import Root, find_visit
from v50calib.io.source import VisitSource
from v50calib.io.storage.location import Location, locate
from v50calib.io.storage.objects import ObjectPath


def open_root(location: str | os.PathLike[str] | ObjectPath) -> Root:
    """The root at a local path or URL: a challenge folder, a raw Zarr store, a folder with a detector.yaml, or ExoSim's output.

    Raises DataError where it is none of them.
    """
    path = locate(location)
    return _root_of_objects(path) if isinstance(path, ObjectPath) else _root_at(path)


@lru_cache(maxsize=64)
def _root_of_objects(path: ObjectPath) -> Root:
    """Kept, because telling the kinds apart costs requests and every visit asks."""
    return _root_at(path)


def _root_at(path: Location) -> Root:
    if isinstance(path, Path) and path.is_file() and is_hdf5(path):
        if holds_ndrs(path):
            return ExosimRoot(path)
        raise DataError(
            f"{path} holds no NDRs: give the file of ExoSim that CreateNDRs wrote; other HDF5 files are named in a {DETECTOR_FILE}"
        )
    if not path.is_dir():
        raise DataError(f"no folder {path}: give the dataset's root (it holds train/ or test/) or a raw Zarr store")
    if (path / DETECTOR_FILE).is_file():
        if isinstance(path, ObjectPath):
            raise DataError(f"{path} has a {DETECTOR_FILE}: such a folder is read from a local disk only; ingest it from there")
        return DetectorYamlRoot(path)
    if (path / "zarr.json").is_file():
        return RawStoreRoot(path)
    if any((path / split).is_dir() for split in SPLITS):
        return ChallengeRoot(path)
    if isinstance(path, Path) and holds_ndrs(path):
        return ExosimRoot(path)
    found = sorted(entry.name for entry in path.iterdir())[:8]
    raise DataError(
        f"{path} is not a dataset root: it has neither train/ nor test/ nor zarr.json nor {DETECTOR_FILE} nor NDRs of ExoSim (found "
        f"{found}); give the folder that holds train/ and test/"
    )


def scan(root: str | os.PathLike[str] | ObjectPath) -> list[VisitKey]:
    """Every visit of a root, sorted; see `Root.visits`. Raises DataError where it is no root."""
    return open_root(root).visits()


def find(
    root: str | os.PathLike[str] | ObjectPath,
    planet_id: object,
    visit: int = 0,
    instrument: str = "AIRS-CH0",
    *,
    split: Split | None = None,
) -> VisitKey:
    """The key of one visit; see `root.find_visit`, also for what it raises."""
    return find_visit(open_root(root), planet_id, visit, instrument, split)


def open_source(root: str | os.PathLike[str] | ObjectPath, key: VisitKey, *, threads: int | None = None) -> VisitSource:
    """Open one visit of a root; see `Root.open`, also for what it raises."""
    return open_root(root).open(key, threads)
