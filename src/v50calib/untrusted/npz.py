"""NumPy's files by their headers: what an array claims to be is checked against the file, and by the caller, before it is read."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

#: what reading a file of someone else may raise
DAMAGED = (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)
_DEFLATE_MOST = 1032
#: bytes of all arrays of an archive together, where the caller knows no better
MOST_BYTES = 2**30


@dataclass(frozen=True)
class NpyHeader:
    """What an array claims to be."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of its values.

        >>> NpyHeader((2, 3), np.dtype("f8")).nbytes
        48
        """
        return math.prod(self.shape) * self.dtype.itemsize


def npy_header(path: Path) -> NpyHeader:
    """Header of a .npy. Raises ValueError: no such file, absurd sizes, other sizes than the file has values for; OSError."""
    with path.open("rb") as stream:
        header = _header(stream)
        held = path.stat().st_size - stream.tell()
    if held != header.nbytes:
        raise ValueError(
            f"its header says {header.dtype} of shape {header.shape}, {header.nbytes} bytes, and {held} follow: it is cut or damaged"
        )
    return header


def npz_headers(path: Path) -> dict[str, NpyHeader]:
    """Headers of all arrays of a .npz, of which nothing else is unpacked. Raises what is in DAMAGED."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                raise ValueError(f"'{info.filename}' in it is no array")
            with archive.open(info) as member:
                header = _header(member)
                size = member.tell() + header.nbytes
            name = info.filename.removesuffix(".npy")
            if size != info.file_size or info.file_size > _DEFLATE_MOST * info.compress_size + 1024:
                raise ValueError(
                    f"{name} says {header.dtype} of shape {header.shape}, {size} bytes with its header, and the archive holds "
                    f"{info.file_size} packed in {info.compress_size}: it is cut or damaged"
                )
            found[name] = header
    return found


def read_npz(path: Path, names: Collection[str] | None = None, *, most: int = MOST_BYTES) -> dict[str, NDArray[Any]]:
    """Arrays of a .npz without pickle (default: all), checked by the archive's checksums. Raises what is in DAMAGED; ValueError where
    they would take more than `most` bytes, before any is read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/a.npz", x=np.arange(3))
    ...     read_npz(Path(folder, "a.npz"))["x"]
    array([0, 1, 2])
    """
    headers = npz_headers(path)
    wanted = [name for name in headers if names is None or name in names]
    total = sum(headers[name].nbytes for name in wanted)
    if total > most:
        raise ValueError(f"its arrays would take {total / 1e6:.0f} MB, and a file of this kind has {most / 1e6:.0f} MB at most")
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name in wanted:
            with archive.open(f"{name}.npy") as member:
                found[name] = np.lib.format.read_array(member, allow_pickle=False)
                # the checksum is compared at the end
                member.read(1)
    return found


def _header(stream: IO[bytes]) -> NpyHeader:
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None and version != (3, 0):
        raise ValueError(f"its format has version {version}, expected (1, 0) to (3, 0)")
    # version 3 is 2 with names in UTF-8
    try:
        shape, fortran, dtype = (read or np.lib.format.read_array_header_2_0)(stream)
    except (SyntaxError, TokenError, RecursionError, MemoryError) as error:
        raise ValueError(f"its header is damaged ({error})") from error
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    if any(isinstance(n, bool) or n < 0 for n in shape):
        raise ValueError(f"its header says the shape {shape}, which no array has")
    return NpyHeader(tuple(int(n) for n in shape), dtype, bool(fortran))
