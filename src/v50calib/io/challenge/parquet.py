"""Signal files of the challenge: one row a frame, one column a pixel, decoded a row group at a time.

A file is its row groups: each is decoded as a whole (`rowgroup`), kept while reads stay in it, in memory or, above
`IN_MEMORY_BYTES`, in a temporary file.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from v50calib.errors import DataError
from v50calib.io.challenge.rowgroup import Fetched, decode_row_group, decoding, fetch, open_parquet, pixel_columns, spill_row_group
from v50calib.io.challenge.spill import Spill
from v50calib.io.source import check_range
from v50calib.io.storage.location import Location, size_of, version_of
from v50calib.io.storage.machine import cores
from v50calib.io.storage.objects import ObjectPath

#: a row group larger than this is decoded into a temporary file; a full visit's is 256 or 277 MB
IN_MEMORY_BYTES = 320 << 20
MAX_THREADS = 4


@dataclass
class ParquetFrames:
    """Frames of one signal file, (n_frames, ny, nx) uint16 in C order; see `source.FrameSource`.

    Pickles to its path and shape; the file is opened again where it is used. The row group decoded last is
    kept, in memory or (above `in_memory` bytes) in a temporary file, so reads in order decode every row group once.
    `release()` drops it.
    """

    path: Location
    shape: tuple[int, int]
    n_frames: int
    units: tuple[int, ...]
    threads: int = 1
    in_memory: int = IN_MEMORY_BYTES
    _meta: pq.FileMetaData | None = field(default=None, repr=False, compare=False)
    _copy: Fetched | None = field(default=None, repr=False, compare=False)
    _cache: tuple[int, NDArray[np.uint16] | Spill] | None = field(default=None, repr=False, compare=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_meta", "_copy", "_cache", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _meta=None, _copy=None, _cache=None, _lock=threading.Lock())

    def __dask_tokenize__(self) -> tuple[str, str, tuple[int, int]]:
        return str(self.path), version_of(self.path), self.shape

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Frames `start:stop`; a view of the decoded row group where they lie in one: do not write into it.

        Raises DataError where the file's pages are damaged, StoreError where a temporary file finds no room.
        """
        check_range(start, stop, self.n_frames)
        parts: list[NDArray[np.uint16]] = []
        first = 0
        for group, rows in enumerate(self.units):
            low, high = max(start, first), min(stop, first + rows)
            if low < high:
                decoded = self._group(group)
                part = decoded.read(low - first, high - first) if isinstance(decoded, Spill) else decoded[low - first : high - first]
                parts.append(part.reshape(-1, *self.shape))
            first += rows
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def blocks(self, size: int) -> Iterator[tuple[int, NDArray[np.uint16]]]:
        """(start, frames) in order, `size` frames each (the last may be shorter); one decode per row group."""
        try:
            for start in range(0, self.n_frames, size):
                yield start, self.read(start, min(start + size, self.n_frames))
        finally:
            self.release()

    def read_unit(self, index: int) -> NDArray[np.uint16]:
        """Decode row group `index` into memory, whatever its size, and do not keep it: (rows, ny, nx)."""
        return decode_row_group(self._file(), index, meta=self._metadata(), threads=self.threads).reshape(-1, *self.shape)

    def release(self) -> None:
        """Drop the decoded row group and the parsed footer."""
        with self._lock:
            self._cache = self._meta = self._copy = None

    def _file(self) -> Path | Fetched:
        """The file, or a local copy of the object that lives until its last row group is decoded."""
        if not isinstance(self.path, ObjectPath):
            return self.path
        copy = self._copy
        if copy is None:
            copy = self._copy = fetch(self.path)
        return copy

    def _metadata(self) -> pq.FileMetaData:
        meta = self._meta  # another thread may drop it meanwhile
        if meta is None:
            meta = self._meta = open_parquet(self.path).metadata
        return meta

    def _group(self, index: int) -> NDArray[np.uint16] | Spill:
        with self._lock:
            if self._cache is None or self._cache[0] != index:
                self._cache = None  # freed before the next is decoded: one row group in memory at a time
                large = 2 * self.units[index] * self.shape[0] * self.shape[1] > self.in_memory
                decode = spill_row_group if large else decode_row_group
                self._cache = (index, decode(self._file(), index, meta=self._metadata(), threads=self.threads))
                if len(self.units) == 1:
                    self._copy = None
                    self._meta = None  # tens of MB for 11392 columns, and nothing is left to decode
            return self._cache[1]


def open_parquet_frames(path: Location, shape: tuple[int, int], *, threads: int | None = None) -> ParquetFrames:
    """Check a signal file by its footer (no page is decoded) and give its frames.

    Raises DataError: file missing or truncated, number or type of columns, odd or zero number of frames.
    """
    with decoding(path):
        return _checked(path, open_parquet(path).metadata, shape, threads)


def _checked(path: Location, meta: pq.FileMetaData, shape: tuple[int, int], threads: int | None) -> ParquetFrames:
    pixels = shape[0] * shape[1]
    schema = meta.schema.to_arrow_schema()
    names = pixel_columns(path, schema)
    if len(names) != pixels:
        raise DataError(
            f"{path} has {len(names)} columns, expected {pixels} ({shape[0]} rows x {shape[1]} columns of the "
            "detector): it is the signal of another instrument or it is damaged; re-download it"
        )
    types = {str(schema.field(name).type) for name in names}
    if types != {"uint16"}:
        raise DataError(f"{path} has columns of type {sorted(types)}, expected uint16 (raw ADU): re-download it")
    if meta.num_rows == 0 or meta.num_rows % 2:
        raise DataError(
            f"{path} has {meta.num_rows} frames, expected an even number above 0 (reads come in pairs, even = first, "
            "odd = second): the file is cut or has a stray frame; re-download it"
        )
    _check_extent(path, meta)
    units = tuple(meta.row_group(i).num_rows for i in range(meta.num_row_groups))
    return ParquetFrames(path, shape, meta.num_rows, tuple(n for n in units if n), threads or default_threads(), _meta=meta)


def default_threads() -> int:
    """Decode threads where the caller does not say: the processors this process may use, at most 4."""
    return min(MAX_THREADS, cores())


def _check_extent(path: Location, meta: pq.FileMetaData) -> None:
    """The footer must lie behind the last column chunk; where pages were cut out it does not."""
    last = meta.row_group(meta.num_row_groups - 1).column(meta.num_columns - 1)
    start = last.dictionary_page_offset if last.has_dictionary_page else last.data_page_offset
    end, size = start + last.total_compressed_size, size_of(path)
    footer = size - 8 - meta.serialized_size
    if end > footer:
        raise DataError(
            f"{path} is {size} bytes, but its last column ends at byte {end} where the footer starts at {footer}: data "
            "pages are missing; re-download it"
        )
