"""Which input a product was made of: what changes when a visit's files do, without reading its frames.

A raw store's group is named by the hash of its tree. Files of other roots are named by size and time of change of the
signal, the hashes of the maps, and a hash of axes and attributes (ADC constants, star), which come from tables that
all visits share: an edit of another planet's row changes nothing here. A `stamp` of the sizes and times of all these
files is kept beside, because opening a parquet visit costs 0.2 s (its footer has 11392 columns): while it stands, so
does the identity.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from dask.base import tokenize

from v50calib.io.catalog import open_source, root_kind
from v50calib.io.challenge.parquet import ParquetFrames
from v50calib.io.challenge.tables import AXIS_FILE, visit_files
from v50calib.io.keys import VisitKey
from v50calib.io.source import VisitSource
from v50calib.io.storage.commit import read_record
from v50calib.io.storage.location import Location, locate, version_of
from v50calib.io.storage.objects import ObjectPath
from v50calib.reference import MAP_NAMES, hash_array, hash_text

#: the part that may differ while the input is the same
STAMP = "stamp"


def unchanged(root: str | os.PathLike[str] | ObjectPath, key: VisitKey, known: object) -> bool:
    """Whether the input is still what `known`, an identity of an earlier time, says. Raises as `input_identity` does."""
    if not isinstance(known, dict) or not known:
        return False
    if known.get(STAMP) and known[STAMP] == _stamp(locate(root), key):
        return True
    return same(input_identity(root, key), known)


def same(one: dict[str, str], other: dict[str, str]) -> bool:
    """Whether two identities are of the same input."""
    return {k: v for k, v in one.items() if k != STAMP} == {k: v for k, v in other.items() if k != STAMP}


def input_identity(root: str | os.PathLike[str] | ObjectPath, key: VisitKey) -> dict[str, str]:
    """Identity of one visit of any root. Raises DataError or StoreError where it cannot be opened."""
    if root_kind(root) == "store":
        return _store_identity(locate(root), key)
    return identity_of(root, open_source(root, key))


def identity_of(root: str | os.PathLike[str] | ObjectPath, source: VisitSource) -> dict[str, str]:
    """The same of a source that is open already; {part: text}, JSON-ready, without paths."""
    if root_kind(root) == "store":
        return _store_identity(locate(root), source.key)
    frames = source.frames
    # taken first: what changes meanwhile must not pass for what was read
    stamp = _stamp(locate(root), source.key)
    if isinstance(frames, ParquetFrames):
        signal = version_of(frames.path)
    else:
        # other sources name themselves by path, size and time of change; the hash leaves no path
        signal = tokenize(frames)
    axes = (source.time_h, source.exposure_s, np.asarray(source.wavelength, np.float64))
    visit = hash_text("".join(f"{n}={source.attrs[n]!r};" for n in sorted(source.attrs)) + "".join(map(hash_array, axes)))
    maps = hash_text("".join(f"{n}={h};" for n, h in sorted(source.reference.hashes.items())))
    return {"signal": signal, "visit": visit, "maps": maps} | ({STAMP: stamp} if stamp else {})


def _store_identity(store: Location, key: VisitKey) -> dict[str, str]:
    from v50calib.io.raw_store.group import group_path

    return {"tree": str(read_record(group_path(store, key)).get("tree_sha256"))}


def _stamp(root: Location, key: VisitKey) -> str:
    """Sizes and times of change of all files that a visit of the challenge's folder is made of; empty for other roots."""
    if root_kind(root) != "dataset":
        return ""
    files = visit_files(root, key)
    tables = [AXIS_FILE, "adc_info.csv", f"{key.split}_adc_info.csv", f"{key.split}_star_info.csv"]
    paths = [files.signal, *(files.calibration / f"{name}.parquet" for name in MAP_NAMES), *(root / name for name in tables)]
    if isinstance(root, ObjectPath):
        # a dozen requests, in one round trip
        with ThreadPoolExecutor(len(paths)) as pool:
            versions = list(pool.map(_version, paths))
        return hash_text(repr([(p.name, v) for p, v in zip(paths, versions, strict=True) if v is not None]))
    stats = [(p.name, s.st_size, s.st_mtime_ns) for p in paths if isinstance(p, Path) and (s := _stat(p)) is not None]
    return hash_text(repr(stats))


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _version(path: Location) -> str | None:
    try:
        return version_of(path)
    except FileNotFoundError:
        return None
