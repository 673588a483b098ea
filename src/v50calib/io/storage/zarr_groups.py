"""Plain Zarr v3 groups of NumPy arrays, written without an event loop.

A product is some thirty arrays of a few MB together; through zarr's general writer each costs several milliseconds
of steps, more than its bytes. What is written here is the core format only (regular chunks, bytes and Blosc codecs),
and the tests read it back with zarr and xarray.
Format: Zarr v3 core specification; `dimension_names` and `coordinates` as xarray expects them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from google_crc32c import value as crc32c
from numcodecs import blosc

from v50calib.io.storage.archive import ARCHIVE, ARRAYS_IN, pack
from v50calib.io.storage.commit import Written
from v50calib.io.storage.location import Location
from v50calib.untrusted.json_text import load_json

#: a chunk holds about this many bytes; most variables are one chunk
CHUNK_BYTES = 16 * 2**20
#: light curves and cubes are mostly noise: byte-shuffled lz4 keeps 0.66 of them at twice the speed of bit-shuffled
#: lz4 (0.63) and four times that of zstd (0.63-0.65), measured on a full AIRS visit
CNAME, CLEVEL, SHUFFLE = "lz4", 1, "shuffle"
#: CRC32C behind a chunk: a bit that flips on a disk is an error of whoever reads it, and no number
CHECKSUM_BYTES = 4
#: CRC32C of any bytes followed by their CRC32C
RESIDUE = crc32c(crc32c(b"").to_bytes(CHECKSUM_BYTES, "little"))
#: of a Blosc frame: versions, flags, type size, then three sizes of four bytes
BLOSC_HEADER_BYTES = 16
Layout = Literal["zarr", "packed"]
#: chunk files are named c.0.0 and lie beside the metadata
_KEYS = {"name": "default", "configuration": {"separator": "."}}


def _lock_without_a_name() -> None:
    """Give numcodecs a lock that no process has to remove.

    It makes one of `multiprocessing` at its first chunk, in a spawned process one with a name in the system: a worker that is killed leaves
    it behind, and the resource tracker says "leaked semaphore objects" at the end of a run that went well. A lock of the fork method has
    no name.
    """
    if "fork" in multiprocessing.get_all_start_methods() and getattr(blosc, "_MUTEX_IS_INIT", None) is False:
        blosc._MUTEX = multiprocessing.get_context("fork").Lock()
        blosc._MUTEX_IS_INIT = True


_lock_without_a_name()


def write_group(path: Path, ds: xr.Dataset, layout: Layout = "zarr") -> dict[str, Written]:
    """Write a Dataset of NumPy arrays into the empty directory `path`; xarray opens it as it was.

    layout: `zarr`, arrays as folders, whose metadata also stand in the group's (consolidated: one file to open it by); `packed`, arrays in
    one archive (`archive`), the group's attributes beside it. Returns what was written, by name relative to `path`. Raises OSError,
    ValueError for a dtype other than bool, integers and floats.
    """
    variables, attrs = xr.conventions.encode_dataset_coordinates(ds)
    encoded = {
        str(name): _encode(str(name), np.asarray(var.values), tuple(str(d) for d in var.dims), dict(var.attrs))
        for name, var in variables.items()
    }
    whole = _json(group_metadata(attrs, {name: meta for name, (meta, _) in encoded.items()}))

    def files() -> Iterator[tuple[str, bytes]]:
        # one packed chunk in memory at a time: a full cube is half a gigabyte
        for name, (meta, chunks) in encoded.items():
            yield f"{name}/zarr.json", _json(meta)
            for chunk, packed in chunks:
                yield f"{name}/{chunk}", packed

    # the group's own file last: without it no reader of Zarr takes the folder for a group, a killed writer's for one
    if layout == "packed":
        archive = pack(path / ARCHIVE, itertools.chain([("zarr.json", whole)], files()))
        # the group as it is in the folder has no arrays, and says so: no reader then looks for some
        outside = group_metadata({**attrs, ARRAYS_IN: ARCHIVE}, {})
        return {ARCHIVE: archive, "zarr.json": _write(path / "zarr.json", _json(outside))}
    for name in encoded:
        (path / name).mkdir()
    return {name: _write(path / name, content) for name, content in itertools.chain(files(), [("zarr.json", whole)])}


def write_array(path: Path, values: np.ndarray, dims: tuple[str, ...], attrs: dict[str, Any]) -> dict[str, Written]:
    """Write one array with its metadata; returns its files. Raises ValueError for a dtype other than bool, integers and floats."""
    meta, chunks = _encode(path.name, values, dims, attrs)
    path.mkdir()
    return {name: _write(path / name, content) for name, content in [("zarr.json", _json(meta)), *chunks]}


def _encode(
    name: str, values: np.ndarray, dims: tuple[str, ...], attrs: dict[str, Any]
) -> tuple[dict[str, Any], Iterator[tuple[str, bytes]]]:
    """Metadata of an array, and its chunks' names and bytes."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"array '{name}' has dtype {values.dtype}: only bool, integers and floats are written")
    values = values.astype(values.dtype.newbyteorder("<"), order="C", copy=False)
    chunks = chunk_shape(values)
    return _metadata(values, chunks, dims, attrs), _packed_chunks(values, chunks)


def _packed_chunks(values: np.ndarray, chunks: tuple[int, ...]) -> Iterator[tuple[str, bytes]]:
    for index in range(-(-values.shape[0] // chunks[0]) if values.ndim else 1):
        block = values[index * chunks[0] : (index + 1) * chunks[0]] if values.ndim else values
        if values.ndim and len(block) < chunks[0]:
            # chunks are stored whole: the last one is padded with zeros
            block = np.concatenate([block, np.zeros((chunks[0] - len(block), *values.shape[1:]), values.dtype)])
        # chunk files are beside the metadata, no folders of their own: making folders costs more than small chunks
        name = ".".join(["c", str(index), *["0"] * (values.ndim - 1)] if values.ndim else ["c"])
        packed = blosc.compress(np.ascontiguousarray(block).reshape(-1), CNAME.encode(), CLEVEL, shuffle=blosc.SHUFFLE)
        yield name, packed + crc32c(packed).to_bytes(CHECKSUM_BYTES, "little")


def read_array(path: Location) -> np.ndarray | None:
    """An array of one chunk as `write_array` wrote it; None where its metadata says anything else: zarr reads that.

    Raises OSError or RuntimeError where the file is missing or damaged, ValueError where it is too short.
    """
    return decode_array(lambda name: (path / name).read_bytes())


def decode_array(read: Callable[[str], bytes]) -> np.ndarray | None:
    """The same of the files that `read` returns by name."""
    meta = load_json(read("zarr.json"))
    shape, codecs = tuple(meta["shape"]), meta["codecs"]
    steps = [c["name"] for c in codecs]
    # products of older versions have no checksums
    plain = steps[:2] == ["bytes", "blosc"] and steps[2:] in ([], ["crc32c"]) and meta["chunk_key_encoding"] == _KEYS
    if not plain or tuple(meta["chunk_grid"]["configuration"]["chunk_shape"]) != shape:
        return None
    packed = read(".".join(["c", *["0"] * len(shape)]))
    dtype = np.dtype(meta["data_type"]).newbyteorder("<")
    if len(steps) > 2:
        if crc32c(packed) != RESIDUE:
            raise ValueError("its chunk is not as it was written: its checksum differs")
        packed = packed[:-CHECKSUM_BYTES]
    # Blosc allocates what its header says
    says, needed = int.from_bytes(packed[4:8], "little"), math.prod(shape) * dtype.itemsize
    if len(packed) < BLOSC_HEADER_BYTES or says != needed:
        raise ValueError(f"its chunk holds {says if packed else 0} bytes, and {dtype} of shape {shape} is {needed}: it is cut or damaged")
    return np.frombuffer(blosc.decompress(packed), dtype).reshape(shape)


def chunk_shape(values: np.ndarray) -> tuple[int, ...]:
    """The whole array where it is small, else runs along the first axis of about CHUNK_BYTES.

    >>> chunk_shape(np.zeros((5625, 282))), chunk_shape(np.zeros((5625, 32, 356), np.float32))
    ((5625, 282), (368, 32, 356))
    """
    if values.ndim == 0:
        return ()
    rows = max(1, CHUNK_BYTES // max(1, values.dtype.itemsize * int(np.prod(values.shape[1:]))))
    return tuple(max(1, n) for n in (min(rows, values.shape[0]), *values.shape[1:]))


def _metadata(values: np.ndarray, chunks: tuple[int, ...], dims: tuple[str, ...], attrs: dict[str, Any]) -> dict[str, Any]:
    item = values.dtype.itemsize
    to_bytes: dict[str, Any] = {"name": "bytes"} | ({"configuration": {"endian": "little"}} if item > 1 else {})
    pack = {"typesize": item, "cname": CNAME, "clevel": CLEVEL, "shuffle": SHUFFLE, "blocksize": 0}
    return {
        "shape": list(values.shape),
        "data_type": values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
        "chunk_key_encoding": _KEYS,
        # what stands where a chunk is lost: no number that could pass for a depth
        "fill_value": "NaN" if values.dtype.kind == "f" else values.dtype.type(0).item(),
        "codecs": [to_bytes, {"name": "blosc", "configuration": pack}, {"name": "crc32c"}],
        "attributes": attrs,
        "dimension_names": list(dims),
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def group_metadata(attrs: dict[str, Any], arrays: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Metadata of a group that has all its arrays' metadata in it."""
    inline = {"kind": "inline", "must_understand": False, "metadata": arrays}
    return {"attributes": attrs, "zarr_format": 3, "consolidated_metadata": inline, "node_type": "group"}


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()


def _write(path: Path, content: bytes) -> Written:
    # a product has a hundred files, most of a few hundred bytes: streams would cost more than their writing
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
    return Written(len(content), hashlib.sha256(content).hexdigest())
