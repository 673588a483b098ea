"""A row group of frames too long for memory: decoded stripe by stripe into a temporary file, read back by frames.

The file has no name (nothing to clean up after a kill) and is laid out [stripe][frame][pixel of the stripe], so that
a decoded stripe of columns is one write and a block of frames one read per stripe. Its pages are in the kernel's page
cache, which is given up under pressure and does not count as memory of the process.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref

import numpy as np
from numpy.typing import NDArray

from v50calib.errors import StoreError


class Spill:
    """(rows, columns) uint16 on disk, in stripes of `width` columns; the file is freed with the last reference.

    Raises StoreError where the temporary folder has no room for it.
    """

    def __init__(self, rows: int, columns: int, width: int) -> None:
        self.rows, self.columns, self.width = rows, columns, width
        try:
            self.folder = tempfile.gettempdir()
        except FileNotFoundError as error:
            raise StoreError(f"no folder for temporary files can be written ({error.strerror}): set TMPDIR to one") from error
        try:
            free = shutil.disk_usage(self.folder).free
            if free < self.nbytes:
                raise self._refused(f"{free / 1e6:.0f} MB are free")
            with tempfile.TemporaryFile(dir=self.folder) as stream:
                self._descriptor = os.dup(stream.fileno())
        except OSError as error:
            raise self._refused(error.strerror or str(error)) from error
        weakref.finalize(self, os.close, self._descriptor)

    @property
    def nbytes(self) -> int:
        return 2 * self.rows * self.columns

    def write(self, first: int, values: NDArray[np.uint16]) -> None:
        """Store the stripe (rows, n) that begins at column `first`, a multiple of `width`. May run in several threads."""
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        offset, done = 2 * self.rows * first, 0
        try:
            while done < len(data):  # a write may be short, at 2 GB or just before the disk is full
                done += os.pwrite(self._descriptor, data[done:], offset + done)
        except OSError as error:
            raise self._refused(error.strerror or str(error)) from error

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Rows start:stop, (stop - start, columns) in C order. Raises StoreError where the file is cut."""
        out = np.empty((stop - start, self.columns), np.uint16)
        stripe = np.empty((stop - start) * self.width, np.uint16)
        for first in range(0, self.columns, self.width):
            n = min(self.width, self.columns - first)
            part = stripe[: (stop - start) * n]
            self._fill(part.view(np.uint8).data, 2 * (self.rows * first + start * n))
            out[:, first : first + n] = part.reshape(-1, n)
        return out

    def _fill(self, data: memoryview, offset: int) -> None:
        done = 0
        while done < len(data):
            got = os.preadv(self._descriptor, [data[done:]], offset + done)
            if not got:
                raise StoreError("the temporary file of decoded frames is cut: run again, with TMPDIR on a sound disk")
            done += got

    def _refused(self, reason: str) -> StoreError:
        return StoreError(
            f"the temporary folder {self.folder} cannot take {self.nbytes / 1e6:.0f} MB of decoded frames ({reason}): "
            "free some space there, or set TMPDIR to a folder on another disk"
        )
