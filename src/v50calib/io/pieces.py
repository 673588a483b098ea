"""Frames that are read in pieces: what a `source.FrameSource` gives by its units, and the reads of longer ramps in pairs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from v50calib.errors import DataError
from v50calib.kernels.arrays import Float
from v50calib.schema import default_chunk_frames

#: the largest code of uint16, in which frames are handed on
LARGEST_CODE = 65535


class PieceFrames(ABC):
    """The part of a `FrameSource` that follows from `read`: units one by one, blocks that decode every unit once."""

    shape: tuple[int, int]
    n_frames: int
    units: tuple[int, ...]

    @abstractmethod
    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Frames `start:stop`, uint16 in C order. Raises DataError where they cannot be decoded."""

    def read_unit(self, index: int) -> NDArray[np.uint16]:
        """All frames of unit `index`."""
        start = sum(self.units[:index])
        return self.read(start, start + self.units[index])

    def release(self) -> None:  # noqa: B027 - nothing is to be done in most
        """Nothing is kept between reads."""

    def blocks(self, size: int) -> Iterator[tuple[int, NDArray[np.uint16]]]:
        """(start, frames) in order, `size` frames each (the last may be shorter); every unit is decoded once."""
        edges = np.cumsum([0, *self.units])
        held, frames = -1, np.empty((0, *self.shape), np.uint16)
        for start in range(0, self.n_frames, size):
            stop, parts = min(start + size, self.n_frames), []
            first = int(np.searchsorted(edges, start, side="right")) - 1
            for unit in range(first, int(np.searchsorted(edges, stop, side="left"))):
                if unit != held:
                    held, frames = unit, self.read_unit(unit)
                low = int(edges[unit])
                parts.append(frames[max(start - low, 0) : stop - low])
            yield start, parts[0] if len(parts) == 1 else np.concatenate(parts)


def units_of(n: int, chunk: int, shape: tuple[int, int]) -> tuple[int, ...]:
    """Frames that are decoded together: whole stored chunks, about 10 MB.

    n frames (ny, nx) in stored chunks of `chunk` frames.

    >>> units_of(10000, 1000, (32, 32))
    (4000, 4000, 2000)
    """
    step = chunk * max(1, default_chunk_frames(shape) // chunk)
    full, rest = divmod(n, step)
    return (step,) * full + ((rest,) if rest else ())


def stored_reads(start: int, stop: int, per_ramp: int) -> tuple[int, int]:
    """First and end of the stored reads that the frames `start:stop` are in: frames 2i and 2i + 1 are the first and the last read of
    ramp i, which has `per_ramp` stored reads.

    >>> stored_reads(2, 6, 5), stored_reads(3, 4, 5), stored_reads(3, 4, 2)
    ((5, 15), (5, 10), (3, 4))
    """
    if per_ramp == 2:
        return start, stop
    return start // 2 * per_ramp, -(-stop // 2) * per_ramp


def first_and_last(reads: NDArray[np.generic], start: int, stop: int, per_ramp: int) -> NDArray[np.generic]:
    """The frames `start:stop` out of `reads`, whole ramps as `stored_reads` names them; along the first axis.

    >>> first_and_last(np.arange(5, 15), 2, 6, 5)
    array([ 5,  9, 10, 14])
    """
    if per_ramp == 2:
        return reads
    ramps = reads.reshape(-1, per_ramp, *reads.shape[1:])
    pairs = ramps[:, [0, per_ramp - 1]].reshape(-1, *reads.shape[1:])
    begin = start // 2 * 2
    return pairs[start - begin : stop - begin]


def pair_axis(values: Float, per_ramp: int) -> Float:
    """An axis with one value a stored read (n · per_ramp,), as one with one value a frame (2n,).

    >>> pair_axis(np.array([0.0, 1.0, 2.0, 10.0, 11.0, 12.0]), 3)
    array([ 0.,  2., 10., 12.])
    """
    return np.asarray(first_and_last(values, 0, 2 * (len(values) // per_ramp), per_ramp), np.float64)


def as_codes(values: NDArray[np.generic], what: object) -> NDArray[np.uint16]:
    """Codes of a wider or floating-point type as uint16, exactly. Raises DataError where one of them is no whole number of 16 bits.

    >>> as_codes(np.array([0.0, 65535.0]), "frames.fits")
    array([    0, 65535], dtype=uint16)
    """
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return np.ascontiguousarray(values, np.uint16)
    if not np.isfinite(values).all():
        raise DataError(f"{what} has values that are not finite: frames are raw codes; write bad pixels as codes and name them in `dead`")
    low, high = values.min(initial=0), values.max(initial=0)
    if low < 0 or high > LARGEST_CODE:
        raise DataError(
            f"{what} has codes from {low} to {high}, and the chain counts codes of 16 bits, 0 to {LARGEST_CODE}: subtract an offset, or "
            "write them in units of a larger step (halve the codes, and halve the gain in ADU/e-)"
        )
    codes = values.astype(np.uint16)
    if values.dtype.kind == "f" and not np.array_equal(codes, values):
        at = tuple(int(i) for i in np.argwhere(codes != values)[0])
        raise DataError(
            f"{what} has {values[at]}, no whole number: frames are raw codes, not scaled, averaged or calibrated numbers, because noise "
            "and saturation are counted in codes; give the raw frames"
        )
    return np.ascontiguousarray(codes)
