"""Decoding one row group of a signal file: 32 x nx columns into frames, stripe by stripe.

Measured on full-length visits (one row group, zstd): streaming `iter_batches` costs 4-10 x a whole read,
because each batch visits 11392 column readers. Reading stripes of columns and transposing each stripe
into the frame-ordered array costs less than `read_table(...).to_pandas().to_numpy()`. Arrow needs about ten times a
stripe's bytes while it decodes (measured), so stripes are small and their number in flight is the number of threads.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from v50calib.array_files import refuse_special
from v50calib.errors import DataError, StoreError
from v50calib.io.challenge.spill import Spill
from v50calib.io.storage.location import Location, size_of
from v50calib.io.storage.objects import ObjectPath
from v50calib.untrusted.boundary import foreign

#: decoded bytes of one stripe of columns: arrow then works in 15 MB a thread for AIRS-CH0 (60 MB for stripes of 4 MB, no faster)
STRIPE_BYTES = 1 << 20
#: columns of a stripe at least: narrower ones are slow to copy into frame order. FGS1: 60 MB a thread (120 MB for 32 columns)
STRIPE_COLUMNS = 16
#: decoded bytes that arrow is asked for at once: bounds its memory for the long columns of a spilled row group
READ_BYTES = 5 << 20
#: frames moved at a time from a stripe: the contiguous copy in between stays in the cache
TRANSPOSE_ROWS = 2048

#: a pixel's column: a word and the pixel's number, as `column_17`; pandas writes an index as a column of its own
_NUMBERED = re.compile(r"(.*?)(\d+)", re.DOTALL)
_INDEX = re.compile(r"__index_level_\d+__")

#: decodes stripe columns from `first` into (rows, n)
_Reader = Callable[[int, NDArray[np.uint16]], None]


@dataclass(frozen=True)
class Fetched:
    """An object's bytes in an unnamed temporary file, which is freed with the last reference; `file` reads from any thread."""

    path: ObjectPath
    file: Any

    def __str__(self) -> str:
        return str(self.path)


def fetch(path: ObjectPath) -> Fetched:
    """Copy a signal file out of an object store: its 11392 columns would be as many requests.

    Raises StoreError where the temporary folder has no room for it, OSError where the store fails.
    """
    descriptor, name = tempfile.mkstemp(prefix="v50calib-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            path.download(stream)
        return Fetched(path, pa.OSFile(name, "r"))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StoreError(
            f"the temporary folder {tempfile.gettempdir()} cannot take a copy of {path} ({error.strerror}): free some space there, or "
            "set TMPDIR to a folder on another disk"
        ) from error
    finally:
        # the open file keeps the bytes until it is closed
        os.unlink(name)  # noqa: PTH108


def _source(path: Location | Fetched) -> Any:
    """What arrow opens: a path, a copy, or a reader of ranges (footers and small maps)."""
    if isinstance(path, Fetched):
        return path.file
    return path.reader() if isinstance(path, ObjectPath) else path


def open_parquet(path: Location | Fetched, *, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """Open a parquet file. Raises DataError where it is missing, truncated or not parquet."""
    if isinstance(path, Path):
        refuse_special(path)
    with decoding(path):
        try:
            return pq.ParquetFile(_source(path), metadata=metadata, pre_buffer=False)
        except FileNotFoundError:
            raise DataError(f"missing file {path}: the visit is incomplete; re-download it") from None


@contextmanager
def decoding(path: Location | Fetched) -> Iterator[None]:
    """Around what pyarrow makes of a file. Raises DataError where it cannot be decoded."""
    with foreign(path, remedy="it is damaged or of another kind: re-download it"):
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise damaged(path, error) from error


def not_permitted(path: Location) -> DataError:
    """The DataError for a file that is there and may not be read.

    >>> str(not_permitted(Path("f")))
    'cannot read f: permission denied; give this user the right to read it (chmod u+r), or run as its owner'
    """
    return DataError(f"cannot read {path}: permission denied; give this user the right to read it (chmod u+r), or run as its owner")


def damaged(path: Location | Fetched, error: Exception) -> DataError:
    """The DataError for a file that pyarrow cannot decode, or that may not be read."""
    if isinstance(error, PermissionError):
        return not_permitted(path.path if isinstance(path, Fetched) else path)
    size = size_of(path.path if isinstance(path, Fetched) else path)
    reason = str(error).split("\n")[0][:200]
    return DataError(f"cannot read {path} ({size} bytes): {reason}. It is truncated or damaged: re-download it")


def pixel_columns(path: Location | Fetched, schema: pa.Schema) -> list[str]:
    """Names of the pixels' columns in the order of their numbers, whatever their order in the file; an index of pandas is none of them.

    Raises DataError where they are not numbered 0 to n-1 (or 1 to n) behind one word: which pixel each is of would be a guess.

    >>> pixel_columns(Path("f"), pa.schema([("column_0", pa.uint16()), ("column_10", pa.uint16())]))
    Traceback (most recent call last):
    v50calib.errors.DataError: f has a column 'column_10', and no other of its 2 columns says which pixel comes before it: ...
    >>> pixel_columns(Path("f"), pa.schema([("c10", pa.uint16()), *((f"c{i}", pa.uint16()) for i in range(10))]))[-2:]
    ['c9', 'c10']
    """
    # a RangeIndex is said in the metadata alone, as a dict; any other index is a column
    index = {one for one in (schema.pandas_metadata or {}).get("index_columns", ()) if isinstance(one, str)}
    names = [name for name in schema.names if name not in index and not _INDEX.fullmatch(name)]
    if names == [f"column_{i}" for i in range(len(names))]:
        return names
    found: dict[int, str] = {}
    word: str | None = None
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match is None or (word is not None and match[1] != word) or int(match[2]) in found:
            first = f"; the first is '{names[0]}'" if name != names[0] else ""
            raise DataError(
                f"{path} has a column '{name}'{first}: columns are pixels, numbered in row order as column_0, column_1, …; which pixel "
                "this one is of cannot be told. Rename the columns, or re-download the file"
            )
        word, found[int(match[2])] = match[1], name
    numbers = sorted(found)
    for before, number in enumerate(numbers, start=numbers[0] if numbers and numbers[0] in (0, 1) else 0):
        if number != before:
            raise DataError(
                f"{path} has a column '{found[number]}', and no other of its {len(names)} columns says which pixel comes before it: "
                "columns are pixels, numbered in row order as column_0, column_1, …, without a gap. Rename them, or re-download the file"
            )
    return [found[number] for number in numbers]


def decode_row_group(path: Path | Fetched, index: int, *, meta: pq.FileMetaData, threads: int) -> NDArray[np.uint16]:
    """One row group as (frames, pixels) uint16, C order. Raises DataError where its pages cannot be decoded.

    `index` counts row groups that are not empty; `meta` is the parsed footer (60 ms for 11392 columns).
    Stripes of columns are decoded by `threads` threads (arrow releases the GIL) and copied in blocks of frames, so
    that neither side of the transpose leaves the cache.
    """
    group = _present(meta)[index]
    names = pixel_columns(path, meta.schema.to_arrow_schema())
    out = np.empty((meta.row_group(group).num_rows, len(names)), np.uint16)
    width = stripe_width(len(out))

    def stripe(read: _Reader, first: int) -> None:
        read(first, out[:, first : first + width])

    _each_stripe(path, group, meta, names, threads, stripe, width)
    return out


def spill_row_group(path: Path | Fetched, index: int, *, meta: pq.FileMetaData, threads: int) -> Spill:
    """As `decode_row_group`, into a temporary file: memory is a few stripes. Raises StoreError where the file finds no room."""
    group = _present(meta)[index]
    names = pixel_columns(path, meta.schema.to_arrow_schema())
    rows, columns = meta.row_group(group).num_rows, len(names)
    width = stripe_width(rows)
    spill = Spill(rows, columns, width)

    def stripe(read: _Reader, first: int) -> None:
        values = np.empty((rows, min(width, columns - first)), np.uint16)
        read(first, values)
        spill.write(first, values)

    _each_stripe(path, group, meta, names, threads, stripe, width)
    return spill


def stripe_width(rows: int) -> int:
    """Columns of a stripe of a row group of `rows` frames.

    >>> stripe_width(11250), stripe_width(135000)
    (46, 16)
    """
    return max(STRIPE_COLUMNS, STRIPE_BYTES // (2 * rows))


def _present(meta: pq.FileMetaData) -> list[int]:
    return [i for i in range(meta.num_row_groups) if meta.row_group(i).num_rows]


def _each_stripe(
    path: Path | Fetched, group: int, meta: pq.FileMetaData, names: list[str], threads: int, work: Callable[[_Reader, int], None],
    width: int,
) -> None:  # fmt: skip
    """Call work(read, first column) for every stripe, in `threads` threads; read(first column, out) decodes into out (rows, n)."""
    local = threading.local()

    def one(first: int) -> None:
        if not hasattr(local, "file"):  # threads may share the parsed footer, but no handle
            local.file = open_parquet(path, metadata=meta)
        work(lambda column, out: _decode_columns(local.file, group, names[column : column + out.shape[1]], out), first)

    try:
        with decoding(path), ThreadPoolExecutor(max(1, threads)) as pool:
            for _ in pool.map(one, range(0, len(names), width)):
                pass
    finally:
        # arrow keeps its working memory, up to 100 MB a thread, and nothing else in the process can use it
        pa.default_memory_pool().release_unused()


def _decode_columns(file: pq.ParquetFile, group: int, names: list[str], out: NDArray[np.uint16]) -> None:
    """Decode columns of a row group into out (rows, columns), `READ_BYTES` at a time."""
    rows = len(out)
    step = max(1, READ_BYTES // (2 * rows))
    for first in range(0, len(names), step):
        table = file.read_row_group(group, columns=names[first : first + step], use_threads=False)
        if table.column_names != names[first : first + step]:
            # arrow gives them in the file's order
            table = table.select(names[first : first + step])
        source = table.combine_chunks().to_batches()[0].to_tensor(row_major=False).to_numpy().T
        for low in range(0, rows, TRANSPOSE_ROWS):
            block = np.ascontiguousarray(source[:, low : low + TRANSPOSE_ROWS].T)
            out[low : low + TRANSPOSE_ROWS, first : first + step] = block
