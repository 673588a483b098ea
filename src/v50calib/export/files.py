"""Grids as single files: netCDF-4, plain HDF5, NumPy's npz and CSV, each written a block of visits at a time."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import zipfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from v50calib.errors import ConfigError
from v50calib.export.grid import Arrays, Grid, GridVar


class _File:
    """What the writers of one file share."""

    def __init__(self, path: Path, grid: Grid) -> None:
        self._path, self._grid = path, grid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Write what is left and close the file."""


class NetcdfGrid(_File):
    """netCDF-4 through h5netcdf; bool as int8 with the attribute `dtype`, as xarray writes and reads it."""

    def __init__(self, path: Path, grid: Grid) -> None:
        super().__init__(path, grid)
        h5netcdf, text = _hdf5("netcdf")
        self._file = h5netcdf.File(path, "w")
        self._file.dimensions = dict(grid.sizes)
        self._file.attrs.update(grid.about)
        aside = " ".join(v.name for v in grid.variables if v.coordinate and v.dims != (v.name,))
        for var in grid.variables:
            flag = var.dtype.kind == "b"
            dtype = text if var.is_text else (np.dtype("int8") if flag else var.dtype)
            more = {} if var.dtype.kind != "f" else {"fillvalue": np.nan}
            out = self._file.create_variable(var.name, var.dims, dtype=dtype, **_storage(grid, var), **more)
            out.attrs.update(var.attrs | ({"dtype": "bool"} if flag else {}))
            if not var.coordinate and aside:
                out.attrs["coordinates"] = aside
            if var.values is not None:
                out[...] = var.values.astype(object if var.is_text else dtype)

    def put(self, start: int, rows: Arrays) -> None:
        for name, values in rows.items():
            stored = values.astype("int8") if values.dtype.kind == "b" else values
            self._file[name][start : start + len(values)] = stored

    def close(self) -> None:
        self._file.close()


class Hdf5Grid(_File):
    """Plain HDF5: one dataset an array, its axes named as HDF5 dimension labels, attributes beside."""

    def __init__(self, path: Path, grid: Grid) -> None:
        super().__init__(path, grid)
        h5py, text = _hdf5("hdf5")
        self._file = h5py.File(path, "w")
        self._file.attrs.update(grid.about)
        for var in grid.variables:
            dtype = text if var.is_text else var.dtype
            fill = {} if var.is_text else {"fillvalue": var.missing}
            out = self._file.create_dataset(var.name, shape=grid.shape(var), dtype=dtype, **_storage(grid, var), **fill)
            out.attrs.update(var.attrs)
            for axis, dim in zip(out.dims, var.dims, strict=True):
                axis.label = dim
            if var.values is not None:
                out[...] = var.values.astype(object) if var.is_text else var.values

    def put(self, start: int, rows: Arrays) -> None:
        for name, values in rows.items():
            self._file[name][start : start + len(values)] = values

    def close(self) -> None:
        self._file.close()


class NpzGrid(_File):
    """An uncompressed npz: `numpy.load(path, allow_pickle=False)`, dimensions and attributes as JSON in `meta`.

    A zip takes its members one after the other, so each array is gathered in a file of its own and then copied in:
    that needs twice the size on disk, and no memory.
    """

    def __init__(self, path: Path, grid: Grid) -> None:
        super().__init__(path, grid)
        self._parts = path.with_name(path.name + ".parts")
        self._parts.mkdir()
        self._arrays = {
            v.name: np.lib.format.open_memmap(self._parts / f"{v.name}.npy", mode="w+", dtype=v.dtype, shape=grid.shape(v))
            for v in grid.streamed
        }

    def put(self, start: int, rows: Arrays) -> None:
        for name, values in rows.items():
            self._arrays[name][start : start + len(values)] = values

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()

    def close(self) -> None:
        dims = {v.name: list(v.dims) for v in self._grid.variables}
        attrs = {v.name: v.attrs for v in self._grid.variables}
        meta = json.dumps({"dims": dims, "attrs": attrs, "about": self._grid.about})
        with zipfile.ZipFile(self._path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, values in [*((v.name, v.values) for v in self._grid.fixed), ("meta", np.array(meta))]:
                with _member(archive, name) as member:
                    np.lib.format.write_array(member, _plain(np.asarray(values)), allow_pickle=False)
            for name in list(self._arrays):
                self._arrays.pop(name).flush()
                part = self._parts / f"{name}.npy"
                with part.open("rb") as source, _member(archive, name) as member:
                    shutil.copyfileobj(source, member, 1 << 20)
                part.unlink()
        self._parts.rmdir()


class CsvGrid(_File):
    """One line for each element of the grid (visit x bin x channel): coordinates, then the values.

    Elements without a value have no line. A dimension of `Grid.columns` is spread over columns, name_0, name_1 … or name_FGS1 …
    """

    def __init__(self, path: Path, grid: Grid) -> None:
        super().__init__(path, grid)
        self._dims = self._find("mask").dims
        # numbers of a whole row stand on every line of it
        lines = {*self._dims, *grid.columns}
        self._values = [v for v in grid.streamed if v.name != "mask" and set(v.dims) <= lines]
        self._axes = [v for v in grid.fixed if len(v.dims) == 1 and v.dims[0] in self._dims]
        self._stream = path.open("w", newline="", encoding="utf-8")
        self._rows = csv.writer(self._stream)
        self._rows.writerow([*(v.name for v in self._axes), *(name for v in self._values for name in self._headings(v))])

    def put(self, start: int, rows: Arrays) -> None:
        count = len(rows["mask"])
        shape = (count, *(self._grid.sizes[d] for d in self._dims[1:]))
        spread = [np.broadcast_to(c, shape) for v in self._values for c in self._columns(v, rows[v.name])]
        mask = rows["mask"]
        for row, *index in itertools.product(*(range(n) for n in shape)):
            element = (row, *index)
            if mask[element]:
                by_dim = dict(zip(self._dims, (row + start, *index), strict=True))
                axes = [_cell(v.values[by_dim[v.dims[0]]]) for v in self._axes if v.values is not None]
                self._rows.writerow([*axes, *(_cell(column[element]) for column in spread)])

    def close(self) -> None:
        self._stream.close()

    def _spread(self, var: GridVar) -> tuple[str, ...]:
        """Dimensions of a variable that are columns."""
        return tuple(d for d in var.dims if d not in self._dims)

    def _headings(self, var: GridVar) -> list[str]:
        """A variable's columns: those of an axis with names by name, else by position."""
        named = {v.name: [str(x) for x in v.values] for v in self._grid.fixed if v.is_text and v.values is not None and v.dims == (v.name,)}
        labels = [named.get(d, [str(i) for i in range(self._grid.sizes[d])]) for d in self._spread(var)]
        return ["_".join((var.name, *label)) for label in itertools.product(*labels)]

    def _columns(self, var: GridVar, values: np.ndarray) -> list[np.ndarray]:
        """A variable's values, an array for each of its columns."""
        spread = self._spread(var)
        kept = tuple(d for d in var.dims if d not in spread)
        ordered = np.moveaxis(values, [var.dims.index(d) for d in spread], range(len(spread)))
        flat = ordered.reshape(-1, *(values.shape[var.dims.index(d)] for d in kept))
        return [_expand(column, kept, self._dims) for column in flat]

    def _find(self, name: str) -> GridVar:
        return next(v for v in self._grid.variables if v.name == name)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """A new member without a time stamp: the same grid gives the same bytes."""
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


def _cell(value: Any) -> Any:
    """Shortest text that gives the same number of its type back; nothing for NaN."""
    if isinstance(value, np.floating):
        return "" if np.isnan(value) else np.format_float_scientific(value, unique=True, trim="-")
    return value


def _expand(values: np.ndarray, dims: tuple[str, ...], whole: tuple[str, ...]) -> np.ndarray:
    """`values` with an axis of length 1 for each dimension that it lacks."""
    return values.reshape([values.shape[dims.index(d)] if d in dims else 1 for d in whole])


def _plain(values: np.ndarray) -> np.ndarray:
    """Text as fixed-length unicode, which npz holds without pickling."""
    return values.astype(np.str_) if values.dtype.kind in "OT" else values


def _storage(grid: Grid, var: GridVar) -> dict[str, Any]:
    """Chunks of a block of visits, lightly compressed; small fixed arrays as they are."""
    shape = grid.shape(var)
    if var.values is not None or 0 in shape:
        return {}
    return {"chunks": (min(grid.rows_at_once(), shape[0]), *shape[1:]), "compression": "gzip", "compression_opts": 1, "shuffle": True}


def _hdf5(what: str) -> tuple[Any, Any]:
    """(h5netcdf or h5py, the type of variable-length text). Raises ConfigError where the package is missing."""
    try:
        import h5py

        if what == "hdf5":
            return h5py, h5py.string_dtype()
        import h5netcdf
    except ImportError as error:
        raise ConfigError(f"--format {what} needs the package {error.name}: pip install 'v50calib[netcdf]', or use zarr or npz") from error
    return h5netcdf, h5py.string_dtype()
