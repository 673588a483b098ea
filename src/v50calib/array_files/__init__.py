"""Arrays in a user's own files, by path: NumPy, Zarr, NetCDF, HDF5, FITS and CSV. Maps and tables are read whole and checked.

`FILE::NAME` names an array inside an .npz, a Zarr group, a NetCDF, HDF5 or FITS file that holds several. The libraries that read
them are imported where a file is one.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from v50calib.array_files.fits import opened_fits
from v50calib.array_files.hdf5 import opened_hdf5
from v50calib.array_files.header import Header, Sliceable, named
from v50calib.errors import ConfigError, DataError
from v50calib.untrusted.boundary import foreign
from v50calib.untrusted.chunks import CHUNK_VALUES, declared_size
from v50calib.untrusted.hdf5 import refuse_bombs, silence_h5netcdf
from v50calib.untrusted.npz import npy_header, npz_headers, read_npz

FileKind = Literal["npy", "npz", "zarr", "netcdf", "hdf5", "fits", "csv"]
_SUFFIXES: dict[str, FileKind] = {
    ".npy": "npy", ".npz": "npz", ".zarr": "zarr", ".nc": "netcdf", ".nc4": "netcdf", ".cdf": "netcdf", ".csv": "csv",
    ".h5": "hdf5", ".hdf5": "hdf5", ".he5": "hdf5", ".fits": "fits", ".fit": "fits", ".fts": "fits",
}  # fmt: skip
#: what can be read, for messages
FORMATS = ".npy, .npz, .zarr, .nc, .h5, .fits, .csv"
#: a folder with one of these files is a Zarr array or group, whatever its name
_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
#: attributes by which a NetCDF variable says that its numbers are packed
_PACKED = ("scale_factor", "add_offset")
#: values of an array that is read whole and whose shape is not known beforehand: 512 MB of float64
MOST_VALUES = 2**26


@dataclass(frozen=True)
class ArrayFile:
    """One array in a file: `name` where the file holds several.

    Every access opens the file again: a memory map, a Zarr handle or a NetCDF header costs milliseconds, and an object that
    is a path and a name pickles to workers and shares nothing between threads.
    """

    path: Path
    name: str | None
    kind: FileKind

    def __str__(self) -> str:
        return f"{self.path}::{self.name}" if self.name else str(self.path)

    def header(self) -> Header:
        """Shape and type. Raises DataError where the file is not what its ending says or lacks the array."""
        refuse_special(self.path)
        with self._open(decoded=False) as (_, header):
            return header

    def values(self, most: int = MOST_VALUES) -> NDArray[Any]:
        """The whole array; packed or masked NetCDF numbers decoded (missing = NaN). Raises DataError, also for more than `most` values,
        of which none is then read."""
        refuse_special(self.path)
        with self._open(decoded=True) as (array, header):
            if 0 in header.shape:
                raise ValueError(f"its header says the shape {header.shape}: it holds no value")
            if math.prod(header.shape) > most:
                raise DataError(
                    f"{self} says that it holds {header.dtype} of shape {header.shape}, and such an array has {most} values at most: give "
                    "another file"
                )
            return np.array(array[(slice(None),) * len(header.shape)])

    def part(self, index: tuple[slice | int, ...]) -> NDArray[Any]:
        """A slice of the stored numbers. Raises DataError where they cannot be decoded."""
        with self._open(decoded=False) as (array, _):
            return np.asarray(array[index])

    def missing(self) -> str | None:
        """The first chunk of a Zarr array that was never written, which would read as its fill value; None where all are there."""
        if self.kind != "zarr":
            return None
        with self._open(decoded=False) as (node, _):
            return _missing_chunk(node)

    def stamp(self) -> tuple[str, str, int, int]:
        """Changes when the file does (a Zarr array: when its metadata does)."""
        file = next((self.path / name for name in _ZARR_FILES if (self.path / name).is_file()), self.path)
        status = file.stat()
        return str(self.path), self.name or "", status.st_mtime_ns, status.st_size

    @contextlib.contextmanager
    def _open(self, *, decoded: bool) -> Iterator[tuple[Sliceable, Header]]:
        if not self.path.exists():
            raise DataError(f"no file {self.path}: correct the path")
        opened = _OPENERS[self.kind]
        with foreign(self, f"cannot be read as {self.kind}", "write the file again"), opened(self, decoded) as pair:
            yield pair


def refuse_special(path: Path) -> None:
    """Raises DataError where a path, or anything below a folder, is a pipe, a socket or a device: reading it could wait for ever.

    What does not exist passes, and so does a link to itself; a folder that is linked into itself is looked at once.
    """
    with foreign(path):
        _refuse_special(path, set())


def _refuse_special(path: Path, seen: set[str]) -> None:
    if path.is_dir():
        where = os.path.realpath(path)
        if where in seen:
            return
        seen.add(where)
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_symlink() or entry.is_dir() or not entry.is_file():
                    _refuse_special(Path(entry.path), seen)
    elif path.exists() and not path.is_file():
        raise DataError(f"{path} is no regular file (a pipe, a socket or a device): reading it could wait for ever; give a file")


def split_name(path: str) -> tuple[Path, str | None]:
    """File and array name of `FILE` or `FILE::NAME`.

    >>> split_name("maps.npz::dark")[1], split_name("dark.npy")[1]
    ('dark', None)
    """
    file, _, name = path.partition("::")
    return Path(os.path.expanduser(file)), name or None  # noqa: PTH111 - Path.expanduser raises where there is no such home


def file_kind(path: Path) -> FileKind | None:
    """What kind of file it is, by its ending or, of a Zarr folder, by what it holds; None where it is none that can be read.

    >>> file_kind(Path("maps.npz")), file_kind(Path("notes.txt"))
    ('npz', None)
    """
    known = _SUFFIXES.get(path.suffix.lower())
    return "zarr" if known is None and any((path / name).is_file() for name in _ZARR_FILES) else known


def require_paths(files: Mapping[str, str | None]) -> None:
    """Refuse files that do not exist; `files` is config key -> path (None: not given). Raises ConfigError, all at once."""
    missing = [f"{key}='{path}'" for key, path in files.items() if path is not None and not split_name(path)[0].exists()]
    if missing:
        raise ConfigError(
            f"the config names files that do not exist: {', '.join(missing)}; correct the paths (relative ones start where the program "
            "was started), or set that stage's validation.require_existing_paths=false where only the workers have them"
        )


def load_array(path: str, *, key: str) -> NDArray[Any]:
    """The array at `path`, the value of config key `key`. Raises ConfigError (no such file or format), DataError (damaged)."""
    return _load(path, key, lambda header: None)


def _load(path: str, key: str, check: Callable[[Header], None]) -> NDArray[Any]:
    """The array at `path`, after `check` of its header. Raises as `load_array` and as `check`."""
    file, name = split_name(path)
    if not file.exists():
        raise ConfigError(f"{key}='{path}' does not exist: correct the path")
    kind = file_kind(file)
    if kind is None:
        raise ConfigError(f"{key}='{path}' has the ending '{file.suffix}': what can be read is {FORMATS}")
    array = ArrayFile(file, name, kind)
    try:
        header = array.header()
    except DataError as error:
        raise DataError(f"{key}: {error}") from error
    check(header)
    try:
        return array.values()
    except DataError as error:
        raise DataError(f"{key}: {error}") from error


def load_map(
    path: str, *, key: str, shape: tuple[int, ...], exact: bool = True, finite: bool = False, dtype: Any = np.float64
) -> NDArray[Any]:
    """A calibration map of `shape` from a file.

    exact   the stored shape must be `shape`; False: anything that broadcasts to it
    finite  refuse values that are not finite
    Raises ConfigError and DataError as `load_array`, DataError for a wrong shape, dtype or content.
    """

    def fits(header: Header) -> None:
        if header.dtype.kind not in "biuf":
            raise DataError(f"{key}='{path}' holds values of type {header.dtype}: a map is made of numbers")
        if header.shape == shape:
            return
        if exact:
            raise DataError(
                f"{key}='{path}' has the shape {header.shape}, this visit needs {shape}: give a map of this detector, or set the "
                "stage's validation.check_shape_compatibility=false for one that broadcasts"
            )
        if not _broadcasts(header.shape, shape):
            raise DataError(f"{key}='{path}' has the shape {header.shape}, which does not broadcast to {shape}: give another map")

    values = np.broadcast_to(_load(path, key, fits), shape)
    if finite and values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise DataError(f"{key}='{path}' has {bad} values that are not finite and validation.require_finite_inputs is on: repair the map")
    return np.array(values, dtype=dtype, order="C")


def load_table(path: str, *, key: str) -> NDArray[np.float64]:
    """A look-up table (n, 2) of finite numbers, n >= 2, both columns increasing. Raises ConfigError, DataError."""

    def fits(header: Header) -> None:
        if len(header.shape) != 2 or header.shape[1] != 2 or header.shape[0] < 2 or header.dtype.kind not in "iuf":
            raise DataError(f"{key}='{path}' has the shape {header.shape}: a look-up table is (n, 2), columns input and output, n >= 2")

    table = _load(path, key, fits).astype(np.float64)
    if not np.isfinite(table).all() or not (np.diff(table[:, 0]) > 0).all() or not (np.diff(table[:, 1]) > 0).all():
        raise DataError(f"{key}='{path}' is not a look-up table: both columns must be finite and increase from row to row")
    return table


def _broadcasts(own: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether an array of the shape `own` can stand for one of `shape`."""
    return len(own) <= len(shape) and all(a in (1, b) for a, b in zip(own[::-1], shape[::-1], strict=False))


@contextlib.contextmanager
def _npy(file: ArrayFile, decoded: bool) -> Iterator[tuple[Sliceable, Header]]:
    _refuse_name(file)
    header = npy_header(file.path)
    # mapped: nothing is read yet
    array = np.load(file.path, mmap_mode="r", allow_pickle=False)
    yield array, Header(header.shape, header.dtype)


@contextlib.contextmanager
def _npz(file: ArrayFile, decoded: bool) -> Iterator[tuple[Sliceable, Header]]:
    headers = npz_headers(file.path)
    name = _named(file, list(headers))
    yield _Member(file.path, name), Header(headers[name].shape, headers[name].dtype)


@dataclass(frozen=True)
class _Member:
    """An array of an archive, read where it is indexed."""

    path: Path
    name: str

    def __getitem__(self, index: tuple[slice | int, ...], /) -> Any:
        return read_npz(self.path, [self.name])[self.name][index]


@contextlib.contextmanager
def _zarr(file: ArrayFile, decoded: bool) -> Iterator[tuple[Sliceable, Header]]:
    import zarr

    node = zarr.open(file.path, mode="r")
    if isinstance(node, zarr.Group):
        # an array of a group below has a path in its place: GROUP/NAME
        name = file.name if file.name and file.name in node else _named(file, sorted(name for name, _ in node.arrays()))
        node = node[name]
    if not isinstance(node, zarr.Array):
        raise DataError(f"{file} is a Zarr group, not an array: name one of its arrays")
    dims = node.metadata.dimension_names if node.metadata.zarr_format == 3 else node.attrs.get("_ARRAY_DIMENSIONS")
    named = tuple(str(d) for d in dims) if isinstance(dims, (list, tuple)) and all(dims) else None
    if math.prod(node.chunks) > max(4 * math.prod(node.shape), CHUNK_VALUES):
        raise ValueError(f"its chunks {node.chunks} are larger than the array {node.shape}")
    if decoded:
        _refuse_chunk_bombs(node)
    units = node.attrs.get("units")
    yield node, Header(node.shape, node.dtype, named, node.chunks, units=units if isinstance(units, str) else None)


def _missing_chunk(node: Any) -> str | None:
    """Key of the first stored object (chunk, or shard of chunks) of a Zarr array that is not there."""
    stored = node.shards if getattr(node, "shards", None) else node.chunks
    grid = [-(-n // step) for n, step in zip(node.shape, stored, strict=True)]
    store, folder = node.store_path.store, node.store_path.path
    root = Path(str(store.root)) / folder if folder else Path(str(store.root))
    for index in np.ndindex(*grid):
        key = node.metadata.encode_chunk_key(index)
        if not (root / key).exists():
            return str(key)
    return None


def _refuse_chunk_bombs(node: Any) -> None:
    """Raises ValueError where a stored chunk of an array says that it holds more than a chunk: decoders allocate what it says."""
    expected = math.prod(node.chunks) * node.dtype.itemsize
    if getattr(node, "shards", None) or node.dtype.kind not in "biufc":
        return
    store, folder = node.store_path.store, node.store_path.path
    root = Path(str(store.root)) / folder if folder else Path(str(store.root))
    for index in np.ndindex(*(-(-n // step) for n, step in zip(node.shape, node.chunks, strict=True))):
        path = root / str(node.metadata.encode_chunk_key(index))
        if not path.is_file():
            continue
        with path.open("rb") as stream:
            says = declared_size(stream.read(32))
        # what a codec cannot pack grows by little
        held = max(says or 0, int(path.stat().st_size / 1.1) - 4096)
        if held > expected:
            raise ValueError(f"its chunk {path.name} holds {held} bytes, and a chunk of {node.chunks} has {expected}")


@contextlib.contextmanager
def _netcdf(file: ArrayFile, decoded: bool) -> Iterator[tuple[Sliceable, Header]]:
    import xarray as xr

    silence_h5netcdf()
    try:
        opened = xr.open_dataset(file.path, mask_and_scale=decoded, decode_times=False, cache=False)
    except ValueError as error:
        if "IO backends" in str(error) and not any(map(find_spec, ("h5netcdf", "netCDF4"))):
            raise DataError(f"cannot read {file}: NetCDF-4 needs a reader; install v50calib[netcdf], or write NPY or Zarr") from error
        raise
    with opened as ds:
        # the only variable beside its coordinates need not be named; a coordinate is read by its name
        name = file.name if file.name in ds.variables else _named(file, [str(n) for n in ds.data_vars or ds.variables])
        var = ds.variables[name]
        if decoded:
            refuse_bombs(file.path, var)
        packed, units = any(a in var.attrs for a in _PACKED), var.attrs.get("units")
        yield _Values(var), Header(var.shape, var.dtype, tuple(map(str, var.dims)), None, packed, str(units) if units is not None else None)


@dataclass(frozen=True)
class _Values:
    """Indexing of a variable that gives numbers."""

    var: Any

    def __getitem__(self, index: tuple[slice | int, ...], /) -> Any:
        return self.var[index].values


@contextlib.contextmanager
def _csv(file: ArrayFile, decoded: bool) -> Iterator[tuple[Sliceable, Header]]:
    """Numbers separated by commas; a first line of column names is skipped; one column gives a 1-D array."""
    _refuse_name(file)
    lines = [line for line in file.path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise ValueError("the file is empty")
    try:
        [float(cell) for cell in lines[0].split(",")]
    except ValueError:
        lines = lines[1:]
    table = np.array([[float(cell) for cell in line.split(",")] for line in lines])
    values = table[:, 0] if table.ndim == 2 and table.shape[1] == 1 else table
    yield values, Header(values.shape, values.dtype)


def _refuse_name(file: ArrayFile) -> None:
    if file.name:
        raise DataError(f"{file.path} is one array: leave out '::{file.name}'")


@contextlib.contextmanager
def _hdf5(file: ArrayFile, decoded: bool) -> Iterator[tuple[Sliceable, Header]]:
    with opened_hdf5(file.path, file.name) as pair:
        yield pair


@contextlib.contextmanager
def _fits(file: ArrayFile, decoded: bool) -> Iterator[tuple[Sliceable, Header]]:
    with opened_fits(file.path, file.name) as pair:
        yield pair


def _named(file: ArrayFile, names: list[str]) -> str:
    return named(file.path, file.name, names)


_OPENERS: dict[FileKind, Callable[[ArrayFile, bool], contextlib.AbstractContextManager[tuple[Sliceable, Header]]]] = {
    "npy": _npy, "npz": _npz, "zarr": _zarr, "netcdf": _netcdf, "hdf5": _hdf5, "fits": _fits, "csv": _csv,
}  # fmt: skip
