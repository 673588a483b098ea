"""Raw frames in a user's own files as a `source.FrameSource`: any order of dimensions, one detector of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.array_files import ArrayFile
from v50calib.errors import DataError
from v50calib.io.pieces import PieceFrames, units_of
from v50calib.io.source import check_range

#: names of the axes of frames
AXES = ("time", "channel", "y", "x")


@dataclass(frozen=True)
class ArrayFrames(PieceFrames):
    """Frames (n_frames, ny, nx) of one array; pickles to a path.

    order    (time, y, x) axes of the array as stored
    channel  (axis, index) of the detector taken out of several, or None
    """

    array: ArrayFile
    shape: tuple[int, int]
    n_frames: int
    units: tuple[int, ...]
    order: tuple[int, int, int]
    channel: tuple[int, int] | None = None

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return (*self.array.stamp(), self.order, self.channel)

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Frames `start:stop`, uint16 in C order. Raises DataError where they cannot be decoded."""
        check_range(start, stop, self.n_frames)
        index: list[slice | int] = [slice(None)] * (3 if self.channel is None else 4)
        index[self.order[0]] = slice(start, stop)
        if self.channel is not None:
            index[self.channel[0]] = slice(self.channel[1], self.channel[1] + 1)
        part = self.array.part(tuple(index))
        if self.channel is None:
            part = part.transpose(self.order)
        else:
            part = part.transpose(self.order[0], self.channel[0], *self.order[1:])[:, 0]
        return np.ascontiguousarray(part, dtype=np.uint16)


def open_frames(
    array: ArrayFile, shape: tuple[int, int], dims: tuple[str, ...] | None, channel: tuple[int, int] | None = None
) -> ArrayFrames:
    """Check an array of raw frames by its header and give its frames; nothing is decoded.

    shape: (ny, nx) of the detector; dims: order of the axes in the file (default: as the file names them, else
    time[, channel], y, x); channel: (index, count) of the detector taken.
    Raises DataError: kind of file, type, number or names of axes, shape, odd or zero number of frames.
    """
    if array.kind == "npz":
        raise DataError(f"{array}: frames cannot be read piece by piece from .npz; save them as .npy, Zarr or NetCDF")
    header = array.header()
    if header.dtype.kind != "u" or header.dtype.itemsize > 2 or header.packed:
        found = "packed numbers (scale_factor, add_offset)" if header.packed else str(header.dtype)
        raise DataError(
            f"{array} holds {found}, expected uint8 or uint16: frames are raw ADU codes. Undo any scaling, check that the values "
            "are whole numbers from 0 to 65535, and save with .astype('uint16')"
        )
    wanted = tuple(a for a in AXES if a != "channel" or channel is not None)
    order = dims or (header.dims if header.dims is not None and set(header.dims) == set(wanted) else wanted)
    if len(header.shape) != len(wanted) or set(order) != set(wanted):
        raise DataError(
            f"{array} has the shape {header.shape}; detector.yaml says the axes {list(order)}, and its instrument needs "
            f"{list(wanted)}: correct `dims`" + ("" if channel else ", or list the `channels` of the instrument")
        )
    if header.dims is not None and dims is not None and set(header.dims) == set(wanted) and header.dims != dims:
        raise DataError(
            f"{array} names its axes {list(header.dims)}, detector.yaml says `dims: {list(dims)}`: remove `dims`, or correct it"
        )
    size = dict(zip(order, header.shape, strict=True))
    if (size["y"], size["x"]) != shape or (channel is not None and size["channel"] != channel[1]):
        counts = f" and {channel[1]} channels" if channel else ""
        raise DataError(
            f"{array} has frames of {size}, but detector.yaml says shape {list(shape)} (y, x){counts}: "
            "correct `shape`, or the order in `dims`"
        )
    n = size["time"]
    if n == 0 or n % 2:
        raise DataError(
            f"{array} has {n} frames, expected an even number above 0 (even = first, odd = second read of a ramp): cut the stray frame"
        )
    missing = array.missing()
    if missing is not None:
        raise DataError(
            f"{array} has no chunk '{missing}', and would read as its fill value there: a copy was cut short, or frames that are "
            "all fill value were left out when it was written. Copy it again, or write it with write_empty_chunks=True"
        )
    axis = order.index("time")
    units = units_of(n, header.chunks[axis] if header.chunks else 1, shape)
    taken = (order.index("channel"), channel[0]) if channel is not None else None
    return ArrayFrames(array, shape, n, units, (axis, order.index("y"), order.index("x")), taken)
