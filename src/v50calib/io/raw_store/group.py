"""The raw Zarr v3 store: what a visit's group holds, how it is chunked, and how it is read.

Codec, measured on full visits: bitshuffle + lz4 keeps 0.47 of the bytes and decodes in 0.10 s (one thread),
bitshuffle + zstd-1 keeps 0.44-0.45 and takes 0.4 s. A raw store is read again and again: lz4.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

from v50calib.array_files import refuse_special
from v50calib.errors import DataError, StoreError
from v50calib.io.keys import VisitKey
from v50calib.io.source import VisitSource, check_range, with_visit_hash
from v50calib.io.storage.commit import is_committed, read_record
from v50calib.io.storage.location import Location, replace_text, zarr_source
from v50calib.io.storage.object_commit import standing, whole
from v50calib.io.storage.shards import ShardedFrames, open_sharded
from v50calib.io.storage.zarr_groups import read_array, write_array
from v50calib.reference import ABSENT_ATTR, MAP_NAMES, hash_array, hash_text, make_reference
from v50calib.schema import LINEARITY_TERMS, RAW_VISIT, instrument_of, pair_chunks
from v50calib.untrusted.boundary import foreign
from v50calib.untrusted.chunks import CHUNK_VALUES
from v50calib.untrusted.json_text import load_json

#: codecs that tell a chunk whose bytes have changed (Zarr v3, codec crc32c)
CHECKSUMS: tuple[Crc32cCodec, ...] = (Crc32cCodec(),)

FORMAT = "v50calib-raw"
VERSION = 1
_SMALL = (*(name for name in RAW_VISIT if name != "raw_frames"), "wavelength")
#: attribute that names a visit's telemetry arrays, separated by blanks
TELEMETRY_ATTR = "telemetry"
#: attribute with the hashes of maps, axes and the other attributes, as JSON; groups of older versions have none
HASHES_ATTR = "array_hashes"
#: how a visit that is damaged is made again: its reader may be any command
AGAIN = "ingest the visit again ('v50calib ingest' with the same dataset and store)"
#: codes of a visit, at most: a hundred times a full one of AIRS-CH0
MOST_CODES = 2**34
#: chunks per shard: a full visit's frames are 5 files
CHUNKS_PER_SHARD = 5


@dataclass
class ZarrFrames:
    """Frames of one committed group; see `source.FrameSource`. Pickles to its path."""

    path: Location
    shape: tuple[int, int]
    n_frames: int
    units: tuple[int, ...]
    _array: Any = field(default=None, repr=False, compare=False)
    #: decoded chunks of which only a part was read (the sample pairs); taken out when they are read as a whole
    _kept: dict[int, NDArray[np.uint16]] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_array", "_kept")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _array=None, _kept={})

    def __dask_tokenize__(self) -> tuple[str, str]:
        return str(self.path), str(read_record(self.path, AGAIN).get("tree_sha256"))

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Frames `start:stop`. Raises DataError where a chunk cannot be decoded."""
        return self._read(start, stop, None)

    def _read(self, start: int, stop: int, out: NDArray[np.uint16] | None) -> NDArray[np.uint16]:
        check_range(start, stop, self.n_frames)
        with foreign(
            f"{self.path}, frames {start}:{stop}", "cannot be read", "the store is damaged; remove this group and ingest the visit again"
        ):
            try:
                return self._read_opened(start, stop, out)
            except FileNotFoundError:
                # opened where it was copied from, and the copy is finished by now
                self._array = None
                return self._read_opened(start, stop, out)

    def _read_opened(self, start: int, stop: int, out: NDArray[np.uint16] | None) -> NDArray[np.uint16]:
        if self._array is None:
            here = standing(self.path)
            direct = open_sharded(here / "raw_frames")
            self._array = direct if direct is not None else zarr.open_array(zarr_source(here / "raw_frames"), mode="r")
        if isinstance(self._array, ShardedFrames):
            return self._array.read(start, stop, out, kept=self._kept)
        return np.ascontiguousarray(self._array[start:stop])

    def read_unit(self, index: int) -> NDArray[np.uint16]:
        """All frames of chunk `index`."""
        start = sum(self.units[:index])
        return self.read(start, start + self.units[index])

    def release(self) -> None:
        """Drop chunks kept from partial reads."""
        self._kept.clear()

    def blocks(self, size: int) -> Iterator[tuple[int, NDArray[np.uint16]]]:
        """(start, frames) in order; with `size` a multiple of the chunk every chunk is decoded once.

        The frames are a buffer that the next block overwrites.
        """
        buffer = np.empty((min(size, self.n_frames), *self.shape), np.uint16)
        for start in range(0, self.n_frames, size):
            yield start, self._read(start, min(start + size, self.n_frames), buffer)


def group_path(store: Location, key: VisitKey) -> Location:
    """Location of a visit's group: the store, and the key's text."""
    return store / str(key)


def open_group(store: Location, key: VisitKey) -> VisitSource:
    """Open one visit of a raw store. Raises StoreError: other format; DataError: group absent or not as written."""
    check_format(store)
    path = group_path(store, key)
    if not is_committed(path):
        raise DataError(f"{store} has no complete visit {key}: ingest it (again) from the dataset")
    if isinstance(path, Path):
        refuse_special(path)
    with foreign(path, "is damaged", "remove it and ingest the visit again"):
        return whole(path, lambda here: _opened(key, path, here))


def _opened(key: VisitKey, path: Location, here: Location) -> VisitSource:
    attrs = _attrs_at(here)
    extra = str(attrs.get(TELEMETRY_ATTR, "")).split()
    full, chunk, dtype = _layout(here / "raw_frames")
    # a map of polynomials, or one value a frame: nothing of a visit is larger
    most = max(LINEARITY_TERMS * math.prod(full[1:]), full[0])
    small = {name: _small(here / name, most) for name in (*_SMALL, *extra)}
    _compare(path, attrs, small)
    _refuse_moved(path, key, attrs)
    if len(small["time"]) != full[0]:
        raise ValueError(f"its frames are {full[0]} by their header, and {len(small['time'])} by their time stamps")
    for name in ("reference_hashes", TELEMETRY_ATTR, HASHES_ATTR):
        attrs.pop(name, None)
    absent = str(attrs.pop(ABSENT_ATTR, "")).split()
    shape = instrument_of(attrs).shape
    if full[1:] != shape or dtype != "uint16":
        raise DataError(f"{path} holds frames {dtype} {full[1:]}, expected uint16 {shape}: ingest it again")
    frames = ZarrFrames(path, shape, full[0], pair_chunks(full[0], chunk))
    reference = make_reference({n: small[n] for n in MAP_NAMES}, attrs["adc_offset"], attrs["adc_gain"], absent)
    telemetry = {n: small[n] for n in extra}
    reference = with_visit_hash(reference, attrs, *(small[n] for n in ("time", "exposure", "wavelength", *extra)))
    wavelength = small["wavelength"] if small["wavelength"].ndim else float(small["wavelength"])
    return VisitSource(key, frames, reference, small["time"], small["exposure"], wavelength, attrs, telemetry)


def read_attrs(store: Location, key: VisitKey) -> dict[str, Any]:
    """Attributes of a visit's group. Raises DataError where it is absent or damaged."""
    return whole(group_path(store, key), _attrs_at)


def _attrs_at(here: Location) -> dict[str, Any]:
    path = here / "zarr.json"
    with foreign(path, "is damaged", "remove its folder and ingest the visit again"):
        return dict(load_json(path.read_text())["attributes"])


def check_format(store: Location) -> None:
    """Refuse a Zarr root that is not a raw store of this version (StoreError)."""
    if isinstance(store, Path):
        refuse_special(store / "zarr.json")
    with foreign(store / "zarr.json", remedy="it is of no raw store; ingest into a new one", kind=StoreError):
        attrs = dict(load_json((store / "zarr.json").read_text()).get("attributes", {}))
    found = (attrs.get("format"), attrs.get("version"))
    if found != (FORMAT, VERSION):
        raise StoreError(
            f"{store} is a Zarr store of format {found[0]!r} version {found[1]!r}, expected {FORMAT!r} version "
            f"{VERSION}: give a store that 'v50calib ingest' wrote, or ingest the dataset again"
        )


def create_store(store: Location) -> None:
    """Make the root group, or accept the one that is there. Raises StoreError where it cannot be written or is something else."""
    if (store / "zarr.json").is_file():
        check_format(store)
    elif store.exists() and (not store.is_dir() or any(store.iterdir())):
        what = "holds other files" if store.is_dir() else "is a file"
        raise StoreError(f"{store} {what} and is not a raw store: choose a new or empty folder for the store")
    try:
        store.mkdir(parents=True, exist_ok=True)
        if isinstance(store, Path):
            tempfile.TemporaryFile(dir=store).close()
        else:
            (store / ".write-test").write_bytes(b"")
            (store / ".write-test").unlink()
        if not (store / "zarr.json").is_file():
            _write_group(store, {"format": FORMAT, "version": VERSION})
    except OSError as error:
        raise StoreError(f"cannot write into {store} ({error.strerror or error}): choose another folder or fix its permissions") from error


def create_parents(store: Location, key: VisitKey) -> None:
    """Group metadata for split, planet and visit, so that the store opens as one hierarchy."""
    path: Location = store
    for part in (key.split, key.planet_id, str(key.visit)):
        path = path / part
        path.mkdir(exist_ok=True)
        if not (path / "zarr.json").is_file():
            _write_group(path, {})


def write_visit(path: Path, source: VisitSource) -> None:
    """Write a visit's group into the empty directory `path`, a shard at a time (one writer, bounded memory)."""
    attrs = source.attrs | {"reference_hashes": json.dumps(source.reference.hashes, sort_keys=True)}
    if source.telemetry:
        attrs[TELEMETRY_ATTR] = " ".join(source.telemetry)
    if source.reference.absent:
        attrs[ABSENT_ATTR] = " ".join(source.reference.absent)
    small: dict[str, Any] = {n: (RAW_VISIT[n].dims, m, _attrs(n)) for n, m in source.reference.maps().items()}
    small["time"] = (("time",), source.time_h, _attrs("time"))
    small["exposure"] = (("time",), source.exposure_s, _attrs("exposure"))
    wavelength = np.asarray(source.wavelength, np.float64)
    small |= {name: (("time",), values, {}) for name, values in source.telemetry.items()}
    small["wavelength"] = (("x",)[: wavelength.ndim], wavelength, {"units": "um", "long_name": "wavelength"})
    attrs[HASHES_ATTR] = json.dumps(_hashes(attrs, {name: np.asarray(values) for name, (_, values, _) in small.items()}), sort_keys=True)
    n, (ny, nx) = source.frames.n_frames, source.frames.shape
    chunk = min(source.instrument.chunk_frames, n)
    shard = chunk * min(CHUNKS_PER_SHARD, -(-n // chunk))
    frames = zarr.create_array(
        path / "raw_frames",
        shape=(n, ny, nx),
        chunks=(chunk, ny, nx),
        shards=(shard, ny, nx),
        dtype=np.uint16,
        compressors=(BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), *CHECKSUMS),
        fill_value=0,
        dimension_names=RAW_VISIT["raw_frames"].dims,
        attributes=_attrs("raw_frames") | {"coordinates": "exposure wavelength"},
        config={"write_empty_chunks": True},
    )
    for name, (dims, values, attributes) in small.items():
        write_array(path / name, np.asarray(values), dims, attributes)
    for start, block in source.frames.blocks(shard):
        frames[start : start + len(block)] = block
    # last: without it no reader of Zarr takes the folder for a group, a killed writer's for one
    _write_group(path, attrs)


def _hashes(attrs: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """Hashes of arrays by name, and of the attributes as JSON text."""
    # as JSON gives them back: a number that was an integer of NumPy is one of Python
    text = json.dumps(json.loads(json.dumps(attrs)), sort_keys=True)
    return {name: hash_array(values) for name, values in arrays.items()} | {"attributes": hash_text(text)}


def _compare(path: Location, attrs: dict[str, Any], small: dict[str, np.ndarray]) -> None:
    """Refuse maps, axes or attributes that are not as they were ingested (DataError)."""
    if HASHES_ATTR not in attrs:
        return
    try:
        known = dict(load_json(attrs[HASHES_ATTR]))
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged: its {HASHES_ATTR} cannot be read ({error}); remove it and ingest the visit again") from error
    found = _hashes({k: v for k, v in attrs.items() if k != HASHES_ATTR}, small)
    changed = sorted(name for name in known.keys() | found.keys() if known.get(name) != found.get(name))
    if changed:
        raise DataError(
            f"{path} is not as it was ingested: {', '.join(changed)} differ from their checksums, by damage or by hand; "
            "remove it and ingest the visit again (other maps are for the dataset that is ingested)"
        )


def _refuse_moved(path: Location, key: VisitKey, attrs: dict[str, Any]) -> None:
    """Refuse a whole group that was ingested as another visit and copied or renamed since (DataError)."""
    inside = "/".join(str(attrs.get(name)) for name in ("planet_id", "visit", "instrument"))
    named = f"{key.planet_id}/{key.visit}/{key.instrument}"
    if inside != named:
        raise DataError(
            f"{path} holds {inside}, not {named}: its folder was copied or renamed; remove it, and ingest the visit again from the dataset"
        )


def _small(path: Location, most: int) -> np.ndarray:
    """One map or axis of at most `most` values; without zarr's event loop where it is one plain chunk: a visit has nine, at 2 ms each."""
    _checked_sizes(path, load_json((path / "zarr.json").read_text()), most)
    values = read_array(path)
    return values if values is not None else np.asarray(zarr.open_array(zarr_source(path), mode="r")[...])


def _layout(path: Location) -> tuple[tuple[int, ...], int, str]:
    """Shape, frames per chunk (of a shard: its inner chunks) and data type of an array, from its metadata."""
    meta = load_json((path / "zarr.json").read_text())
    shape, chunk = _checked_sizes(path, meta, MOST_CODES)
    if len(shape) != 3 or not chunk[0]:
        raise ValueError(f"{path.name} has the shape {shape} in chunks {chunk}, expected frames, rows and columns")
    return shape, chunk[0], str(meta["data_type"])


def _checked_sizes(path: Location, meta: Any, most: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and chunks of an array by its metadata. Raises ValueError for more than `most` values, and chunks that are larger."""
    shape, stored = meta["shape"], meta["chunk_grid"]["configuration"]["chunk_shape"]
    first = meta["codecs"][0]
    inner = first["configuration"]["chunk_shape"] if first["name"] == "sharding_indexed" else stored
    for sizes in (shape, stored, inner):
        if not all(type(n) is int and n >= (sizes is shape) for n in sizes) or len(sizes) != len(shape):
            raise ValueError(f"{path.name} has the shape {shape} in chunks {inner} of {stored}, which no array has")
    # frames may be cut into chunks that are longer than the visit
    if math.prod(shape) > most or max(math.prod(stored), math.prod(inner)) > max(4 * math.prod(shape), CHUNK_VALUES):
        raise ValueError(f"{path.name} says that it has the shape {shape} in chunks {inner} of {stored}, which is too large")
    return tuple(shape), tuple(inner)


def _attrs(name: str) -> dict[str, Any]:
    spec = RAW_VISIT[name]
    return {"long_name": spec.doc} | ({"units": spec.units} if spec.units else {})


def _write_group(path: Location, attributes: dict[str, Any]) -> None:
    """Group metadata in one rename: two processes may make the same parent at once."""
    metadata = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
    replace_text(path / "zarr.json", json.dumps(metadata, indent=2))
