"""NetCDF and HDF5 files by their headers, before a chunk of them is unpacked."""

from __future__ import annotations

import contextlib
import math
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from v50calib.untrusted.chunks import CHUNK_VALUES


def refuse_bombs(path: Path, var: Any) -> None:
    """Raises ValueError where a chunk of a variable is larger in the file than unpacked: it unpacks to 1032 times that at most."""
    chunks = var.encoding.get("chunksizes") or ()
    if not chunks or find_spec("h5py") is None:
        return
    if math.prod(chunks) > max(4 * math.prod(var.shape), CHUNK_VALUES):
        raise ValueError(f"its chunks {tuple(chunks)} are larger than the array {var.shape}")
    import h5py

    with h5py.File(path) as opened:
        for one in opened.values():
            if isinstance(one, h5py.Dataset) and one.chunks:
                expected = math.prod(one.chunks) * one.dtype.itemsize
                held = max((one.id.get_chunk_info(i).size for i in range(one.id.get_num_chunks())), default=0)
                if held > 1.1 * expected + 4096:
                    raise ValueError(f"a chunk of {one.name} has {held} bytes in the file, and {expected} unpacked")


@cache
def silence_h5netcdf() -> None:
    """A file that is no NetCDF is told by an error; its half-made object would put a traceback on stderr besides, when it is freed."""
    with contextlib.suppress(ImportError):
        from h5netcdf.core import File

        if not hasattr(File, "_writable"):
            File._writable = False
