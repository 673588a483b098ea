"""Which input a product was made of: what changes when a visit's files do, without reading its frames.

A raw store's group is named by the hash of its tree. Files of other roots are named by size and time of change of the
signal, the hashes of the maps, and a hash of axes and attributes (ADC constants, star), which come from tables that
all visits share: an edit of another planet's row changes nothing here.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from dask.base import tokenize

from v50calib.io.catalog import VisitKey, root_kind
from v50calib.io.commit import read_record
from v50calib.io.parquet import ParquetFrames
from v50calib.io.source import VisitSource, open_source
from v50calib.reference import hash_array, hash_text


def input_identity(root: str | os.PathLike[str], key: VisitKey) -> dict[str, str]:
    """Identity of one visit of any root. Raises DataError or StoreError where it cannot be opened."""
    if root_kind(root) == "store":
        return _store_identity(Path(root), key)
    return identity_of(root, open_source(root, key))


def identity_of(root: str | os.PathLike[str], source: VisitSource) -> dict[str, str]:
    """The same of a source that is open already; {part: text}, JSON-ready, without paths."""
    if root_kind(root) == "store":
        return _store_identity(Path(root), source.key)
    frames = source.frames
    if isinstance(frames, ParquetFrames):
        status = frames.path.stat()
        signal = f"{status.st_size} bytes, mtime_ns {status.st_mtime_ns}"
    else:
        # other sources name themselves by path, size and time of change; the hash leaves no path
        signal = tokenize(frames)
    axes = (source.time_h, source.exposure_s, np.asarray(source.wavelength, np.float64))
    visit = hash_text("".join(f"{n}={source.attrs[n]!r};" for n in sorted(source.attrs)) + "".join(map(hash_array, axes)))
    maps = hash_text("".join(f"{n}={h};" for n, h in sorted(source.reference.hashes.items())))
    return {"signal": signal, "visit": visit, "maps": maps}


def _store_identity(store: Path, key: VisitKey) -> dict[str, str]:
    from v50calib.io.raw_zarr import group_path

    return {"tree": str(read_record(group_path(store, key)).get("tree_sha256"))}
