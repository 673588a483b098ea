"""Parquet tables by what their footer declares: one number that is repeated a billion times takes a few bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

#: bytes that a table may take once decoded: these, or so many times its file (numbers that vary pack three times, equal ones more)
DECODED, RATIO = 64_000_000, 100


def read_parquet(path: Path) -> pd.DataFrame:
    """A small table. Raises ValueError where it would take more than a file of its size has, before a page is read; OSError."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        refuse_huge(file.metadata, path.stat().st_size)
        texts = [name for name in file.schema_arrow.names if str(file.schema_arrow.field(name).type) in _TEXTS]
    # each text once, however often it is repeated
    return pq.read_table(path, read_dictionary=texts).to_pandas()


_TEXTS = ("string", "large_string", "binary", "large_binary")


def refuse_huge(metadata: Any, size: int) -> None:
    """Raises ValueError where a table of 8-byte values with this footer is too large for a file of `size` bytes."""
    declared, most = 8 * metadata.num_rows * max(metadata.num_columns, 1), max(DECODED, RATIO * size)
    if declared > most:
        raise ValueError(
            f"its footer says {metadata.num_rows} rows of {metadata.num_columns} columns, {declared / 1e6:.0f} MB, and a file of {size} "
            f"bytes is read up to {most / 1e6:.0f} MB"
        )
