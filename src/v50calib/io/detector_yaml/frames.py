"""Raw frames in a user's own files as a `source.FrameSource`: any order of dimensions, one detector of several, ramps in pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.array_files import ArrayFile
from v50calib.array_files.header import Header
from v50calib.array_files.series import Series
from v50calib.errors import DataError
from v50calib.io.detector_yaml.model import Reads
from v50calib.io.pieces import LARGEST_CODE, PieceFrames, as_codes, first_and_last, stored_reads, units_of
from v50calib.io.source import check_range

#: names of the axes of frames, one behind the other or by ramps
AXES, RAMP_AXES = ("time", "channel", "y", "x"), ("integration", "group", "channel", "y", "x")
#: least bias of single frames: code 0 is the converter's end
LOWEST_BIAS = 3
#: pixels after which the pattern of codes about the bias comes again, 2 rows of 4
PATTERN = 8


@dataclass(frozen=True)
class Readout:
    """How stored reads become pairs.

    reads     as `model.Reads`
    per_ramp  reads of a ramp where they are stored one behind the other and reads is first_and_last
    bias      ADU of the bias, which stands in for the first read of a single frame
    """

    reads: Reads = "pairs"
    per_ramp: int | None = None
    bias: float = 0.0


@dataclass(frozen=True)
class ArrayFrames(PieceFrames):
    """Frames (n_frames, ny, nx) of one array; pickles to a path.

    dims      names of the array's axes as stored
    per_ramp  stored reads of a ramp; 1: single frames
    channel   index of the detector taken out of several, or None
    bias      ADU of the first read of single frames
    """

    array: ArrayFile | Series
    shape: tuple[int, int]
    n_frames: int
    units: tuple[int, ...]
    dims: tuple[str, ...]
    per_ramp: int = 2
    channel: int | None = None
    bias: float = 0.0

    @property
    def n_ramps(self) -> int:
        """Ramps, or single frames."""
        return self.n_frames // 2

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return (*self.array.stamp(), self.dims, self.per_ramp, self.channel, self.bias)

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Frames `start:stop`, uint16 in C order. Raises DataError where they cannot be decoded, or are no codes."""
        check_range(start, stop, self.n_frames)
        if self.per_ramp == 1:
            first = start // 2
            light = as_codes(self._stored(first, -(-stop // 2)), self.array)
            pairs = np.empty((2 * len(light), *self.shape), np.uint16)
            pairs[0::2], pairs[1::2] = bias_frame(self.bias, self.shape), light
            return pairs[start - 2 * first : stop - 2 * first]
        first, end = stored_reads(start, stop, self.per_ramp)
        return as_codes(first_and_last(self._stored(first, end), start, stop, self.per_ramp), self.array)

    def _stored(self, first: int, end: int) -> NDArray[np.generic]:
        """Stored reads `first:end`, (reads, y, x), whatever the array's axes."""
        by_ramps = "integration" in self.dims
        ramps = (first // self.per_ramp, -(-end // self.per_ramp)) if by_ramps else (first, end)
        index: list[slice | int] = [slice(None)] * len(self.dims)
        index[self.dims.index("integration" if by_ramps else "time")] = slice(*ramps)
        if self.channel is not None:
            index[self.dims.index("channel")] = slice(self.channel, self.channel + 1)
        wanted = [name for name in (RAMP_AXES if by_ramps else AXES) if name in self.dims]
        part = self.array.part(tuple(index)).transpose([self.dims.index(name) for name in wanted])
        reads = part.reshape(-1, *self.shape)
        skipped = ramps[0] * self.per_ramp if by_ramps else first
        return reads[first - skipped : end - skipped]


def open_frames(
    array: ArrayFile | Series,
    shape: tuple[int, int],
    dims: tuple[str, ...] | None,
    channel: tuple[int, int] | None = None,
    readout: Readout = Readout(),
) -> ArrayFrames:
    """Check an array of raw frames by its header and give its frames; of codes of 16 bits nothing is decoded.

    shape: (ny, nx) of the detector; dims: order of the axes in the file (default: as the file names them, else
    time[, channel], y, x, or integration, group[, channel], y, x); channel: (index, count) of the detector taken.
    Raises DataError: kind of file, type, number or names of axes, shape, odd or zero number of frames, reads that are no pairs.
    """
    if array.kind == "npz":
        raise DataError(f"{array}: frames cannot be read piece by piece from .npz; save them as .npy, Zarr or NetCDF")
    header = array.header()
    if header.dtype.kind not in "iuf" or header.packed:
        keys = "BSCALE, BZERO" if array.kind == "fits" else "scale_factor, add_offset"
        found = f"packed numbers ({keys})" if header.packed else str(header.dtype)
        raise DataError(
            f"{array} holds {found}, expected codes, uint8 or uint16: frames are raw ADU codes. Undo any scaling, check that the values "
            "are whole numbers from 0 to 65535, and save with .astype('uint16')"
        )
    order = _order(array, header, dims, channel)
    size = dict(zip(order, header.shape, strict=True))
    if (size["y"], size["x"]) != shape or (channel is not None and size["channel"] != channel[1]):
        counts = f" and {channel[1]} channels" if channel else ""
        raise DataError(
            f"{array} has frames of {size}, but detector.yaml says shape {list(shape)} (y, x){counts}: "
            "correct `shape`, or the order in `dims`"
        )
    per_ramp = _per_ramp(array, size, readout)
    missing = array.missing()
    if missing is not None:
        raise DataError(
            f"{array} has no chunk '{missing}', and would read as its fill value there: a copy was cut short, or frames that are "
            "all fill value were left out when it was written. Copy it again, or write it with write_empty_chunks=True"
        )
    stored = size["integration"] * size["group"] if "integration" in size else size["time"]
    frames = ArrayFrames(
        array, shape, 2 * (stored // per_ramp), (), order, per_ramp, channel[0] if channel is not None else None, readout.bias
    )
    frames = replace(frames, units=_units(frames, header))
    if header.dtype.kind != "u" or header.dtype.itemsize > 2:
        # whether the numbers are codes is seen by them alone: of the first ramp here, of the others as they are read
        as_codes(frames._stored(0, per_ramp), array)
    return frames


def _order(array: ArrayFile | Series, header: Header, dims: tuple[str, ...] | None, channel: tuple[int, int] | None) -> tuple[str, ...]:
    """The names of the array's axes as stored. Raises DataError where they are others than frames have."""
    flat, ramps = (tuple(a for a in axes if a != "channel" or channel is not None) for axes in (AXES, RAMP_AXES))
    names = set(header.dims) if header.dims is not None else None
    like_ramps = names == set(ramps) or (names != set(flat) and len(header.shape) == len(ramps))
    by_ramps = "integration" in dims if dims is not None else like_ramps
    wanted = ramps if by_ramps else flat
    order = dims or (header.dims if header.dims is not None and names == set(wanted) else wanted)
    if len(header.shape) != len(wanted) or set(order) != set(wanted):
        raise DataError(
            f"{array} has the shape {header.shape}; detector.yaml says the axes {list(order)}, and its instrument needs "
            f"{list(wanted)}: correct `dims`" + ("" if channel else ", or list the `channels` of the instrument")
        )
    if header.dims is not None and dims is not None and names == set(wanted) and header.dims != dims:
        raise DataError(
            f"{array} names its axes {list(header.dims)}, detector.yaml says `dims: {list(dims)}`: remove `dims`, or correct it"
        )
    return tuple(order)


def _per_ramp(array: ArrayFile | Series, size: dict[str, int], readout: Readout) -> int:
    """Stored reads of a ramp, 1 for single frames. Raises DataError where the reads are no whole ramps, or not as the key says."""
    groups = size.get("group", readout.per_ramp)
    if readout.reads == "single":
        if groups not in (None, 1):
            raise DataError(f"{array} has {groups} reads a ramp, but detector.yaml says `reads: single`: say `reads: first_and_last`")
        per_ramp = 1
    elif readout.reads == "first_and_last":
        if groups is None or groups < 2:
            raise DataError(
                f"{array} has {size}, and `reads: first_and_last` needs the reads a ramp, 2 at least: give reads_per_ramp, or frames "
                "[integration, group, y, x]"
            )
        per_ramp = groups
    else:
        per_ramp = 2
        if groups not in (None, 2):
            how = "single" if groups == 1 else "first_and_last"
            raise DataError(
                f"{array} has {groups} reads a ramp, and the chain takes pairs: say `reads: {how}` in detector.yaml to have "
                + ("each frame minus the bias" if groups == 1 else "the last minus the first read of each ramp; a slope is not fitted")
            )
    stored = size["integration"] * size["group"] if "integration" in size else size["time"]
    if stored == 0 or stored % per_ramp:
        wanted = "an even number above 0 (even = first, odd = second read of a ramp): cut the stray frame"
        if per_ramp != 2:
            wanted = f"a number above 0 that is whole ramps of {per_ramp}: cut what is left over"
        raise DataError(f"{array} has {stored} frames, expected {wanted}")
    return per_ramp


def _units(frames: ArrayFrames, header: Header) -> tuple[int, ...]:
    """Frames that are decoded together, in whole stored chunks."""
    if frames.per_ramp == 2 and "time" in frames.dims:
        return units_of(frames.n_frames, header.chunks[frames.dims.index("time")] if header.chunks else 1, frames.shape)
    axis = frames.dims.index("integration" if "integration" in frames.dims else "time")
    chunk = header.chunks[axis] if header.chunks else 1
    ramps = chunk if "integration" in frames.dims else chunk // math.gcd(chunk, frames.per_ramp)
    # what is decoded for a pair is its whole ramp
    longest = frames.shape[0] * max(frames.per_ramp // 2, 1)
    return tuple(2 * n for n in units_of(frames.n_ramps, max(1, ramps), (2 * longest, frames.shape[1])))


def bias_frame(bias_adu: float, shape: tuple[int, int]) -> NDArray[np.uint16]:
    """The frame (ny, nx) that stands in for the first read of single frames: the bias, up to two codes up or down by a fixed pattern.

    Its mean is the bias to an eighth of a code. It is not the same code all over, because lost frames are.

    >>> bias_frame(100.0, (2, 4)).tolist()
    [[99, 100, 101, 99], [100, 101, 99, 101]]
    """
    y, x = np.mgrid[: shape[0], : shape[1]]
    # evenly over three codes: the codes below have the bias as their mean, and no code is that of half the pixels
    up = ((4 * (y % 2) + x % 4) * 3 % PATTERN + 0.5) * 3.0 / PATTERN - 1.0
    return np.floor(bias_adu + up).astype(np.uint16)


def check_bias(bias_adu: float, name: str) -> float:
    """The bias itself. Raises DataError where no converter gives it, with room for codes beside it.

    >>> check_bias(100.4, "CAM")
    100.4
    """
    if not LOWEST_BIAS <= bias_adu <= LARGEST_CODE - 2:
        raise DataError(
            f"{name}: with `reads: single` each frame is its code minus the bias, and the bias is {bias_adu + 0.0:g} ADU by `adc`, "
            f"expected {LOWEST_BIAS} to {LARGEST_CODE - 2}: give raw frames with adc.bias_adu, not such as have the bias subtracted"
        )
    return bias_adu
