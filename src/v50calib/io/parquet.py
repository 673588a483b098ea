"""Signal files of the challenge: one row a frame, one column a pixel, decoded a row group at a time.

Measured on full-length visits (one row group, zstd): streaming `iter_batches` costs 4-10 x a whole read,
because each batch visits 11392 column readers. Reading stripes of columns and transposing each stripe
into the frame-ordered array costs less than `read_table(...).to_pandas().to_numpy()`, with the decoded
frames and a few MB as its only memory.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from v50calib.errors import DataError

#: decoded bytes of one stripe of columns
STRIPE_BYTES = 4 << 20
#: a stripe is at least one cache line of uint16 wide, so that threads do not write the same line
STRIPE_COLUMNS = 32
#: frames moved at a time from a stripe: the contiguous copy in between stays in the cache
TRANSPOSE_ROWS = 2048
MAX_THREADS = 4


def open_parquet(path: Path, *, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """Open a parquet file. Raises DataError where it is missing, truncated or not parquet."""
    try:
        return pq.ParquetFile(path, metadata=metadata, pre_buffer=False)
    except FileNotFoundError:
        raise DataError(f"missing file {path}: the visit is incomplete; re-download it") from None
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> DataError:
    """The DataError for a file that pyarrow cannot decode."""
    size = path.stat().st_size if path.is_file() else 0
    reason = str(error).split("\n")[0][:200]
    return DataError(f"cannot read {path} ({size} bytes): {reason}. It is truncated or damaged: re-download it")


@dataclass
class ParquetFrames:
    """Frames of one signal file, (n_frames, ny, nx) uint16 in C order; see `source.FrameSource`.

    Pickles to its path and shape; the file is opened again where it is used. The row group decoded last is
    kept, so reads in order decode every row group once. `release()` drops it.
    """

    path: Path
    shape: tuple[int, int]
    n_frames: int
    units: tuple[int, ...]
    threads: int = 1
    _meta: pq.FileMetaData | None = field(default=None, repr=False, compare=False)
    _cache: tuple[int, NDArray[np.uint16]] | None = field(default=None, repr=False, compare=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_meta", "_cache", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _meta=None, _cache=None, _lock=threading.Lock())

    def __dask_tokenize__(self) -> tuple[str, int, int, tuple[int, int]]:
        status = self.path.stat()
        return str(self.path), status.st_mtime_ns, status.st_size, self.shape

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Frames `start:stop`; a view of the decoded row group where they lie in one: do not write into it.

        Raises DataError where the file's pages are damaged.
        """
        check_range(start, stop, self.n_frames)
        parts: list[NDArray[np.uint16]] = []
        first = 0
        for group, rows in enumerate(self.units):
            low, high = max(start, first), min(stop, first + rows)
            if low < high:
                parts.append(self._group(group)[low - first : high - first])
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
        """Decode row group `index` anew, without keeping it: (rows, ny, nx)."""
        if self._meta is None:
            self._meta = open_parquet(self.path).metadata
        return decode_row_group(self.path, index, meta=self._meta, threads=self.threads).reshape(-1, *self.shape)

    def release(self) -> None:
        """Drop the decoded row group."""
        with self._lock:
            self._cache = None

    def _group(self, index: int) -> NDArray[np.uint16]:
        with self._lock:
            if self._cache is None or self._cache[0] != index:
                self._cache = None  # freed before the next is decoded: one row group in memory at a time
                self._cache = (index, self.read_unit(index))
            return self._cache[1]


def open_parquet_frames(path: Path, shape: tuple[int, int], *, threads: int | None = None) -> ParquetFrames:
    """Check a signal file by its footer (no page is decoded) and give its frames.

    Raises DataError: file missing or truncated, number or type of columns, odd or zero number of frames.
    """
    meta = open_parquet(path).metadata
    pixels = shape[0] * shape[1]
    if meta.num_columns != pixels:
        raise DataError(
            f"{path} has {meta.num_columns} columns, expected {pixels} ({shape[0]} rows x {shape[1]} columns of the "
            "detector): it is the signal of another instrument or it is damaged; re-download it"
        )
    types = {str(t) for t in meta.schema.to_arrow_schema().types}
    if types != {"uint16"}:
        raise DataError(f"{path} has columns of type {sorted(types)}, expected uint16 (raw ADU): re-download it")
    if meta.num_rows == 0 or meta.num_rows % 2:
        raise DataError(
            f"{path} has {meta.num_rows} frames, expected an even number above 0 (reads come in pairs, even = first, "
            "odd = second): the file is cut or has a stray frame; re-download it"
        )
    _check_extent(path, meta)
    units = tuple(meta.row_group(i).num_rows for i in range(meta.num_row_groups))
    return ParquetFrames(path, shape, meta.num_rows, tuple(n for n in units if n), threads or default_threads(), meta)


def decode_row_group(path: Path, index: int, *, meta: pq.FileMetaData, threads: int) -> NDArray[np.uint16]:
    """One row group as (frames, pixels) uint16, C order. Raises DataError where its pages cannot be decoded.

    `index` counts row groups that are not empty; `meta` is the parsed footer (60 ms for 11392 columns).
    Stripes of columns are decoded by `threads` threads (arrow releases the GIL) and copied in blocks of frames, so
    that neither side of the transpose leaves the cache.
    """
    index = [i for i in range(meta.num_row_groups) if meta.row_group(i).num_rows][index]
    rows, columns = meta.row_group(index).num_rows, meta.num_columns
    names = meta.schema.to_arrow_schema().names
    out = np.empty((rows, columns), np.uint16)
    width = max(STRIPE_COLUMNS, STRIPE_BYTES // (2 * rows))
    local = threading.local()

    def stripe(first: int) -> None:
        if not hasattr(local, "file"):  # a handle is not for sharing between threads; the parsed footer is
            local.file = open_parquet(path, metadata=meta)
        table = local.file.read_row_group(index, columns=names[first : first + width], use_threads=False)
        batch = table.combine_chunks().to_batches()[0]
        source = batch.to_tensor(row_major=False).to_numpy().T
        for low in range(0, rows, TRANSPOSE_ROWS):
            block = np.ascontiguousarray(source[:, low : low + TRANSPOSE_ROWS].T)
            out[low : low + TRANSPOSE_ROWS, first : first + width] = block

    try:
        with ThreadPoolExecutor(max(1, threads)) as pool:
            for _ in pool.map(stripe, range(0, columns, width)):
                pass
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        raise damaged(path, error) from error
    return out


def check_range(start: int, stop: int, n_frames: int) -> None:
    """Refuse a range of frames that is not inside the visit (DataError)."""
    if not 0 <= start < stop <= n_frames:
        raise DataError(f"frames {start}:{stop} asked of a visit with {n_frames}: use 0 <= start < stop <= {n_frames}")


def default_threads() -> int:
    """Decode threads where the caller does not say: the processors this process may use, at most 4."""
    return min(MAX_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _check_extent(path: Path, meta: pq.FileMetaData) -> None:
    """The footer must lie behind the last column chunk; where pages were cut out it does not."""
    last = meta.row_group(meta.num_row_groups - 1).column(meta.num_columns - 1)
    start = last.dictionary_page_offset if last.has_dictionary_page else last.data_page_offset
    end, size = start + last.total_compressed_size, path.stat().st_size
    footer = size - 8 - meta.serialized_size
    if end > footer:
        raise DataError(
            f"{path} is {size} bytes, but its last column ends at byte {end} where the footer starts at {footer}: data "
            "pages are missing; re-download it"
        )
