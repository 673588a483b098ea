"""NetCDF and HDF5 files by their headers, before a chunk of them is unpacked."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from v50calib.errors import DataError
from v50calib.untrusted.chunks import CHUNK_VALUES

#: a chunk that no filter could pack is larger in the file than its numbers by this much at most
GROWTH, HEADER = 1.1, 4096


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """An HDF5 file, h5py's, to be read. Raises DataError where h5py is not installed, OSError where the file is none."""
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"cannot read {path}: HDF5 needs h5py; pip install 'v50calib[hdf5]'") from error
    with h5py.File(path, "r") as file:
        yield file


def own_dataset(group: Any, name: str) -> Any:
    """The dataset `name` below a group, by its header: with all its numbers in this file, and in chunks that unpack to what they say.

    Raises KeyError where it is not there, ValueError where it is a group, in another file, incomplete, or a bomb.
    """
    import h5py

    where = group
    for part in name.split("/"):
        link = where.get(part, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise ValueError(f"'{name}' is a link into another file ({link.filename}): name that file")
        where = where[part]
    if not isinstance(where, h5py.Dataset):
        raise ValueError(f"'{name}' is a group, not an array: name one of {sorted(where)[:20]}")
    if where.is_virtual or where.external:
        raise ValueError(f"the numbers of '{name}' are in other files: write them into this one")
    _refuse_dataset(where)
    return where


def _refuse_dataset(dataset: Any) -> None:
    """Raises ValueError where an array is not written to its end, or a chunk of it is not of the size that it says."""
    if dataset.shape is None:
        raise ValueError(f"{dataset.name} holds no value")
    if dataset.chunks is None:
        if dataset.id.get_storage_size() < math.prod(dataset.shape) * dataset.dtype.itemsize and dataset.dtype.kind in "biuf":
            raise ValueError(
                f"{dataset.name} says the shape {dataset.shape} of {dataset.dtype}, and has {dataset.id.get_storage_size()} bytes"
            )
        return
    if math.prod(dataset.chunks) > max(4 * math.prod(dataset.shape), CHUNK_VALUES):
        raise ValueError(f"its chunks {dataset.chunks} are larger than the array {dataset.shape}")
    wanted, held = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)), dataset.id.get_num_chunks()
    if held < wanted:
        raise ValueError(f"{dataset.name} has {held} of its {wanted} chunks: what wrote it was stopped, or a copy was cut short")
    _refuse_growing_chunks(dataset)


def _refuse_growing_chunks(dataset: Any) -> None:
    """Raises ValueError where a chunk is larger in the file than unpacked."""
    expected = math.prod(dataset.chunks) * dataset.dtype.itemsize
    largest = max((dataset.id.get_chunk_info(i).size for i in range(dataset.id.get_num_chunks())), default=0)
    if largest > GROWTH * expected + HEADER:
        raise ValueError(f"a chunk of {dataset.name} has {largest} bytes in the file, and {expected} unpacked")


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
                _refuse_growing_chunks(one)


@cache
def silence_h5netcdf() -> None:
    """A file that is no NetCDF is told by an error; its half-made object would put a traceback on stderr besides, when it is freed."""
    with contextlib.suppress(ImportError):
        from h5netcdf.core import File

        if not hasattr(File, "_writable"):
            File._writable = False
