"""Aligned arrays of many visits, written block by block: what a grid holds, and the formats it may be written in.

A writer takes rows (visits, planets) in order and never holds more than the block that it was given, so that a grid may be
larger than memory. The formats are here (Zarr, a directory) and in `export.files` (one file each).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import zarr
from zarr.codecs import BloscCodec

Arrays = Mapping[str, np.ndarray]
#: bytes of a chunk of a streamed variable, and of the block of visits that is gathered before it is written
BLOCK_BYTES = 8 * 2**20
#: attribute by which an export is known as one
MARK, MADE_BY = "made_by", "v50calib export"


@dataclass(frozen=True)
class GridVar:
    """One array of a grid. `values` where it is known beforehand (axes, names); else rows (of visits or planets) arrive later.

    >>> flux, count = GridVar("flux", ("visit",), np.dtype("float32")), GridVar("count", ("visit",), np.dtype("int32"))
    >>> flux.missing, count.missing
    (nan, 0)
    """

    name: str
    dims: tuple[str, ...]
    dtype: np.dtype[Any]
    attrs: dict[str, Any] = field(default_factory=dict)
    values: np.ndarray | None = None
    coordinate: bool = False
    #: what an integer is that no row filled
    empty: int = 0

    @property
    def is_text(self) -> bool:
        return self.dtype.kind in "UTO"

    @property
    def missing(self) -> float | int | bool:
        """Value of an element that no row filled."""
        return float("nan") if self.dtype.kind == "f" else self.dtype.type(self.empty).item()


@dataclass(frozen=True)
class Grid:
    """Sizes of the dimensions, the arrays, and attributes of the whole; streamed arrays share their first dimension, the rows.

    >>> flux = GridVar("flux", ("visit", "wavelength"), np.dtype("float32"))
    >>> grid = Grid({"visit": 10, "wavelength": 283}, (flux,), {})
    >>> grid.row_bytes(), grid.nbytes  # 283 channels of 4 bytes
    (1132, 11320)
    """

    sizes: dict[str, int]
    variables: tuple[GridVar, ...]
    attrs: dict[str, Any]
    #: dimensions that a table (CSV) has as columns, not as lines
    columns: tuple[str, ...] = ()

    @property
    def about(self) -> dict[str, Any]:
        """Attributes of the whole, and who made it."""
        return self.attrs | {MARK: MADE_BY}

    @property
    def rows(self) -> str:
        """The dimension that is streamed: visit or planet."""
        return self.streamed[0].dims[0]

    @property
    def streamed(self) -> tuple[GridVar, ...]:
        return tuple(v for v in self.variables if v.values is None)

    @property
    def fixed(self) -> tuple[GridVar, ...]:
        return tuple(v for v in self.variables if v.values is not None)

    def shape(self, var: GridVar) -> tuple[int, ...]:
        return tuple(self.sizes[d] for d in var.dims)

    def row_bytes(self) -> int:
        """Bytes of one row in all streamed arrays, uncompressed."""
        return sum(math.prod(self.shape(v)[1:]) * v.dtype.itemsize for v in self.streamed)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole, uncompressed."""
        return self.row_bytes() * self.sizes[self.rows] + sum(v.values.nbytes for v in self.fixed if v.values is not None)

    def rows_at_once(self) -> int:
        """Rows in a block: about BLOCK_BYTES of the largest array, at least one."""
        largest = max((math.prod(self.shape(v)[1:]) * v.dtype.itemsize for v in self.streamed), default=1)
        return max(1, min(self.sizes[self.rows], BLOCK_BYTES // max(1, largest)))


class GridWriter(Protocol):
    """Takes blocks of rows in order; on leaving without an error everything is on disk."""

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
    def put(self, start: int, rows: Arrays) -> None:
        """Rows start … of every streamed array."""
        ...


class ZarrGrid:
    """A Zarr v3 group, one chunk a block of visits; opens with `xarray.open_zarr`."""

    def __init__(self, path: Path, grid: Grid) -> None:
        coordinates = " ".join(v.name for v in grid.variables if v.coordinate and v.dims != (v.name,))
        about = grid.about | {"coordinates": coordinates, "arrays": " ".join(v.name for v in grid.variables)}
        group = zarr.create_group(path, overwrite=True, attributes=about)
        rows = grid.rows_at_once()
        self._arrays: dict[str, zarr.Array[Any]] = {}
        for var in grid.variables:
            shape = grid.shape(var)
            chunks = (min(rows, shape[0]), *shape[1:]) if var.values is None else shape
            array = group.create_array(
                var.name,
                shape=shape,
                chunks=tuple(max(1, n) for n in chunks),
                dtype=str if var.is_text else var.dtype,
                fill_value="" if var.is_text else var.missing,
                compressors="auto" if var.is_text else BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"),
                dimension_names=var.dims,
                attributes=var.attrs,
                # every chunk is written, so that a missing one means a loss
                config={"write_empty_chunks": True},
            )
            self._arrays[var.name] = array
            if var.values is not None:
                array[...] = var.values

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return

    def put(self, start: int, rows: Arrays) -> None:
        for name, values in rows.items():
            self._arrays[name][start : start + len(values)] = values
