"""Arrays of other people's files: NPY, NPZ, Zarr and NetCDF behind one small face, by `path` or `path:variable`.

Every access opens the file anew: a memory map, a Zarr handle or a NetCDF header costs milliseconds, and an object that
is a path and a name pickles to workers and shares nothing between threads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from v50calib.errors import DataError

FileKind = Literal["npy", "npz", "zarr", "netcdf"]
_SUFFIXES: dict[str, FileKind] = {".npy": "npy", ".npz": "npz", ".nc": "netcdf", ".nc4": "netcdf", ".cdf": "netcdf"}
#: attributes by which a NetCDF variable says that its numbers are packed
_PACKED = ("scale_factor", "add_offset")


@dataclass(frozen=True)
class Header:
    """What an array is, known without reading its values; `dims` where the file names them, `chunks` where it has some."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    dims: tuple[str, ...] | None = None
    chunks: tuple[int, ...] | None = None
    packed: bool = False


class _Sliceable(Protocol):
    def __getitem__(self, index: tuple[slice | int, ...], /) -> Any: ...


@dataclass(frozen=True)
class ArrayFile:
    """One array in a file; see `array_file`."""

    path: Path
    variable: str | None
    kind: FileKind

    def __str__(self) -> str:
        return f"{self.path}:{self.variable}" if self.variable else str(self.path)

    def header(self) -> Header:
        """Shape and type. Raises DataError where the file is not what its name says or lacks the variable."""
        with self._open(decoded=False) as (_, header):
            return header

    def values(self) -> NDArray[Any]:
        """The whole array; packed or masked NetCDF numbers decoded (missing = NaN). Raises DataError."""
        with self._open(decoded=True) as (array, header):
            return np.array(array[(slice(None),) * len(header.shape)])

    def part(self, index: tuple[slice | int, ...]) -> NDArray[Any]:
        """A slice of the stored numbers. Raises DataError where they cannot be decoded."""
        with self._open(decoded=False) as (array, _):
            return np.asarray(array[index])

    def stamp(self) -> tuple[str, str, int, int]:
        """Changes when the file does (a Zarr array: when its metadata does)."""
        names = ("zarr.json", ".zarray", ".zgroup")
        file = next((self.path / n for n in names if (self.path / n).is_file()), self.path)
        status = file.stat()
        return str(self.path), self.variable or "", status.st_mtime_ns, status.st_size

    @contextlib.contextmanager
    def _open(self, *, decoded: bool) -> Iterator[tuple[_Sliceable, Header]]:
        if not self.path.exists():
            raise DataError(f"no file {self.path}: check the path in detector.yaml (relative paths start at its folder)")
        opened = {"npy": _npy, "npz": _npz, "zarr": _zarr, "netcdf": _netcdf}[self.kind]
        try:
            with opened(self, decoded) as pair:
                yield pair
        except (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError) as error:
            reason = (str(error).split("\n")[0] or type(error).__name__)[:200]
            raise DataError(f"cannot read {self} as {self.kind}: {reason}. It is damaged or of another kind: write it again") from error


def array_file(root: Path, text: str) -> ArrayFile:
    """Where `path` or `path:variable` (relative to `root`) points; the kind follows from the suffix or the folder's files.

    Raises DataError for a path that is none of .npy, .npz, .nc or a Zarr folder.
    """
    name, variable = text, None
    if not (root / text).exists() and ":" in text:
        name, _, variable = text.rpartition(":")
    path = root / name
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind is None and (path.suffix.lower() == ".zarr" or any((path / n).is_file() for n in ("zarr.json", ".zarray", ".zgroup"))):
        kind = "zarr"
    if kind is None:
        fault = "is none of .npy, .npz, .nc, .zarr" if path.exists() else "is no file"
        raise DataError(
            f"'{text}' in detector.yaml {fault} ({path}): give the path of an array, path:variable inside a Zarr group or NetCDF file"
        )
    if kind == "npy" and variable:
        raise DataError(f"'{text}' in detector.yaml names a variable, but an .npy file is one array: leave out ':{variable}'")
    return ArrayFile(path, variable, kind)


@contextlib.contextmanager
def _npy(file: ArrayFile, decoded: bool) -> Iterator[tuple[_Sliceable, Header]]:
    array = np.load(file.path, mmap_mode="r", allow_pickle=False)
    yield array, Header(array.shape, array.dtype)


@contextlib.contextmanager
def _npz(file: ArrayFile, decoded: bool) -> Iterator[tuple[_Sliceable, Header]]:
    with np.load(file.path, allow_pickle=False) as members:
        array = members[_one_of(file, list(members.files))]
        yield array, Header(array.shape, array.dtype)


@contextlib.contextmanager
def _zarr(file: ArrayFile, decoded: bool) -> Iterator[tuple[_Sliceable, Header]]:
    node = zarr.open(file.path, mode="r")
    if isinstance(node, zarr.Group):
        names = sorted(name for name, _ in node.arrays())
        member = file.variable if file.variable and file.variable in node else _one_of(file, names)
        node = node[member]
    if not isinstance(node, zarr.Array):
        raise DataError(f"{file} is a Zarr group, not an array: name one of its arrays")
    dims = node.metadata.dimension_names if node.metadata.zarr_format == 3 else node.attrs.get("_ARRAY_DIMENSIONS")
    named = tuple(str(d) for d in dims) if isinstance(dims, (list, tuple)) and all(dims) else None
    yield node, Header(node.shape, node.dtype, named, node.chunks)


@contextlib.contextmanager
def _netcdf(file: ArrayFile, decoded: bool) -> Iterator[tuple[_Sliceable, Header]]:
    try:
        opened = xr.open_dataset(file.path, mask_and_scale=decoded, decode_times=False, cache=False)
    except ValueError as error:
        if "IO backends" in str(error) and not any(map(find_spec, ("h5netcdf", "netCDF4"))):
            raise DataError(f"cannot read {file}: NetCDF-4 needs a reader; install v50calib[netcdf], or write NPY or Zarr") from error
        raise
    with opened as ds:
        name = _one_of(file, [str(n) for n in ds.variables])
        var = ds.variables[name]
        yield _Values(var), Header(var.shape, var.dtype, tuple(map(str, var.dims)), None, any(a in var.attrs for a in _PACKED))


@dataclass(frozen=True)
class _Values:
    """Indexing of a variable that gives numbers."""

    var: xr.Variable

    def __getitem__(self, index: tuple[slice | int, ...], /) -> Any:
        return self.var[index].values


def _one_of(file: ArrayFile, names: list[str]) -> str:
    """The variable asked for, or the only one there is. Raises DataError naming what there is."""
    if file.variable is None and len(names) == 1:
        return names[0]
    if file.variable not in names:
        fault = f"has no variable '{file.variable}'" if file.variable else "holds several arrays"
        raise DataError(f"{file.path} {fault}: it has {names}; write {file.path.name}:NAME in detector.yaml")
    return file.variable
