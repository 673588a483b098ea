"""An array of a file a frame: `night/*.fits`, in the order of the names; `night/*.fits::@KEY` is a key of their FITS headers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.array_files import ArrayFile, FileKind, file_kind
from v50calib.array_files.fits import header_value
from v50calib.array_files.header import Header
from v50calib.errors import DataError
from v50calib.untrusted.boundary import foreign

#: what makes a path a pattern
WILD = "*?["
#: files of a series, at most
MOST_FILES = 2**20


@dataclass(frozen=True)
class Series:
    """The arrays of files that fit a pattern, one behind the other along a new first axis; answers as an `ArrayFile`."""

    path: Path
    name: str | None

    def __str__(self) -> str:
        return f"{self.path}::{self.name}" if self.name else str(self.path)

    def files(self) -> list[Path]:
        """The files, sorted by name. Raises DataError where there are none."""
        with foreign(self.path, "cannot be listed"):
            found = sorted(path for path in self.path.parent.glob(self.path.name) if not path.name.startswith("."))
        if not found or len(found) > MOST_FILES:
            raise DataError(f"{self.path} fits {len(found)} files, expected 1 to {MOST_FILES}: correct the pattern")
        return found

    @property
    def kind(self) -> FileKind:
        """The kind of the files. Raises DataError where the first is none that can be read."""
        return self._one(self.files()[0]).kind

    @property
    def _key(self) -> str | None:
        return self.name[1:] if self.name is not None and self.name.startswith("@") else None

    def _one(self, path: Path) -> ArrayFile:
        kind = file_kind(path)
        if kind is None:
            raise DataError(f"{path} of the series {self.path} is no file of frames: narrow the pattern")
        return ArrayFile(path, self.name, kind)

    def header(self) -> Header:
        """As the first file says; the others are held against it as they are read. Raises DataError."""
        files = self.files()
        if self._key is not None:
            values = self.values()
            # days, as the name of the key says it
            return Header(values.shape, values.dtype, units="d" if "JD" in self._key.upper() else None)
        first = self._one(files[0]).header()
        dims = ("time", *first.dims) if first.dims is not None else None
        return Header((len(files), *first.shape), first.dtype, dims, (1, *first.shape), first.packed, first.units)

    def part(self, index: tuple[slice | int, ...]) -> NDArray[Any]:
        """A slice of the stored numbers; the first index is of files. Raises DataError where a file is of another shape or type."""
        files, first = self.files(), self.header()
        chosen = files[index[0]] if isinstance(index[0], slice) else [files[index[0]]]
        arrays = []
        for path in chosen:
            one = self._one(path)
            header = one.header()
            if header.shape != first.shape[1:] or header.dtype != first.dtype or header.packed != first.packed:
                raise DataError(
                    f"{path} holds {header.dtype} {header.shape}, the first of the series {self.path} {first.dtype} {first.shape[1:]}: "
                    "narrow the pattern"
                )
            arrays.append(one.part(tuple(index[1:])))
        return np.stack(arrays)

    def values(self) -> NDArray[Any]:
        """All of it: of headers one value a file, text as dates. Raises DataError."""
        if self._key is None:
            header = self.header()
            return self.part((slice(None),) * len(header.shape))
        found = []
        for path in self.files():
            with foreign(path, f"has no time or number '{self._key}' in its headers"):
                found.append(header_value(path, self._key))
        if any(isinstance(value, str) for value in found):
            with foreign(self, "is no series of dates", "give a key of numbers, or of dates as 2026-11-02T20:15:00"):
                return np.array([str(value).strip().removesuffix("Z") for value in found], "M8[ns]")
        return np.array(found, np.float64)

    def missing(self) -> str | None:
        """None: every file that fits is a frame."""
        return None

    def stamp(self) -> tuple[str, str, int, int]:
        """Changes when a file does, or one comes or goes."""
        with foreign(self.path):
            stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self.files()]
        digest = int.from_bytes(hashlib.sha256(repr(stamps).encode()).digest()[:8], "little")
        return str(self.path), self.name or "", digest, len(stamps)


def is_series(path: Path) -> bool:
    """Whether the name of a file is a pattern.

    >>> is_series(Path("night/*.fits")), is_series(Path("night/1.fits"))
    (True, False)
    """
    return any(letter in path.name for letter in WILD)
