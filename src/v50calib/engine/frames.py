"""Reading frames: in the order of their pairs, in chunks with a halo, on the sample pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Index

#: runs and pairs per run of the sample that the mean frame is measured on
SAMPLE_RUNS, SAMPLE_PAIRS = 3, 48

ReadFrames = Callable[[int, int], NDArray[np.uint16]]


class Frames(Protocol):
    """What the batch reads frames with (`io.source.FrameSource`)."""

    @property
    def n_frames(self) -> int: ...
    def read(self, start: int, stop: int) -> NDArray[np.uint16]: ...
    def blocks(self, size: int) -> Iterator[tuple[int, NDArray[np.uint16]]]: ...
    def release(self) -> None: ...


@dataclass(frozen=True)
class OrderedFrames:
    """Frames in the order of their pairs (`stages.cds.pairing`), read from a source that stores them otherwise.

    A block needs frames from anywhere in the visit, so `blocks` holds the whole visit in memory.
    """

    source: Frames
    order: Index

    @property
    def n_frames(self) -> int:
        return len(self.order)

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Frames `start:stop` of the order; decodes the span they come from."""
        index = self.order[start:stop]
        low = int(index.min())
        return self.source.read(low, int(index.max()) + 1)[index - low]

    def release(self) -> None:
        """Drop what the source keeps of decoded frames."""
        self.source.release()

    def blocks(self, size: int) -> Iterator[tuple[int, NDArray[np.uint16]]]:
        whole = self.source.read(0, self.source.n_frames)
        for start in range(0, self.n_frames, size):
            yield start, whole[self.order[start : start + size]]


def in_order(frames: Frames, order: Index | None) -> Frames:
    """Frames in the order of their pairs; themselves where they are stored in it (None)."""
    return frames if order is None else OrderedFrames(frames, order)


def with_halo(start: int, stop: int, halo: int, n_pairs: int) -> tuple[int, int]:
    """First and end of pairs start … stop with `halo` pairs on either side, cut at the visit's ends.

    >>> with_halo(0, 10, 3, 100), with_halo(90, 100, 3, 100)
    ((0, 13), (87, 100))
    """
    return max(0, start - halo), min(n_pairs, stop + halo)


@dataclass(frozen=True)
class Window:
    """Frames of pairs from `first`, of which pairs start … stop are wanted; the others are halo."""

    first: int
    start: int
    stop: int
    raw: NDArray[np.uint16]


def windows(frames: Frames, chunk_pairs: int, halo: int) -> Iterator[Window]:
    """A visit in chunks with their halo, each frame decoded once; a window is good until the next one is asked for."""
    n_pairs = frames.n_frames // 2
    if halo == 0:
        for start, block in frames.blocks(2 * chunk_pairs):
            yield Window(start // 2, start // 2, start // 2 + len(block) // 2, block)
        return
    # one buffer for all windows: a new array each time would cost more than what is copied
    room, held, first, start = None, 0, 0, 0
    for _, block in frames.blocks(2 * chunk_pairs):
        if room is None or held + len(block) > len(room):
            larger = np.empty((held + 2 * (chunk_pairs + 2 * halo) + len(block), *block.shape[1:]), block.dtype)
            larger[:held] = room[:held] if room is not None else 0
            room = larger
        room[held : held + len(block)] = block
        held += len(block)
        while start < n_pairs:
            stop = min(start + chunk_pairs, n_pairs)
            low, high = with_halo(start, stop, halo, n_pairs)
            if 2 * high > 2 * first + held:
                break
            yield Window(low, start, stop, room[2 * (low - first) : 2 * (high - first)])
            start = stop
            low = max(0, start - halo)
            left = 2 * (low - first)
            room[: held - left] = room[left:held]
            held, first = held - left, low


def sample_pairs(n_pairs: int) -> list[slice]:
    """Fixed runs of pairs (start, middle, end) for the mean frame: independent of chunks and root.

    >>> [(run.start, run.stop) for run in sample_pairs(1000)]
    [(0, 48), (476, 524), (952, 1000)]
    """
    length = min(SAMPLE_PAIRS, max(1, n_pairs // SAMPLE_RUNS))
    starts = np.linspace(0, n_pairs - length, SAMPLE_RUNS).astype(int) if n_pairs > length * SAMPLE_RUNS else [0]
    if len(starts) == 1:
        return [slice(0, min(n_pairs, length * SAMPLE_RUNS))]
    return [slice(int(s), int(s) + length) for s in starts]
