"""Frames of a simulated dataset spoiled in place: lost blocks, cut transits, slow drifts, flares of cosmic rays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

#: codes of the ADC
LARGEST = 65535


def signals(data: Path, planets: set[str] | None = None) -> Iterator[Path]:
    """Signal files of these planets (None: of all), in a fixed order."""
    for path in sorted(data.glob("train/*/*_signal_*.parquet")):
        if planets is None or path.parent.name in planets:
            yield path


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """The file with its frames (frame, pixel) changed; their type is kept."""
    table = pq.read_table(path)
    frames = np.stack([column.to_numpy() for column in table.columns], axis=1)
    changed = change(frames).astype(frames.dtype)
    pq.write_table(pa.table([pa.array(np.ascontiguousarray(c)) for c in changed.T], names=table.column_names), path)


def lost(frames: np.ndarray, start: float, share: float) -> np.ndarray:
    """All codes 0 in a block: start and share are of the visit."""
    n = len(frames)
    first = int(start * n) // 2 * 2
    frames[first : first + int(share * n) // 2 * 2] = 0
    return frames


def multiplied(frames: np.ndarray, factor: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All light times factor (frame,), rounded by chance."""
    light = frames * factor[:, None] + rng.random(frames.shape)
    return np.clip(np.floor(light), 0, LARGEST)


def parabola(n: int, amount: float) -> np.ndarray:
    """Factor (frame,): 1 and `amount` times the second Legendre polynomial in time."""
    return 1.0 + amount * (3.0 * np.square(np.linspace(-1, 1, n)) - 1.0) / 2.0


def drift(n: int, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Factor (frame,): 1 and a smooth course, three waves of at most two periods a visit with random amplitudes and phases."""
    t = np.linspace(0.0, 1.0, n)
    waves = [rng.normal() * np.cos(2 * np.pi * (rng.uniform(0.3, 2.0) * t + rng.random())) for _ in range(3)]
    return 1.0 + amount * np.sum(waves, axis=0)


def flares(frames: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A shower of particles: in a tenth of the visit, `share` of all codes rise by 500 to 20000."""
    n = len(frames)
    first = int(rng.uniform(0.0, 0.9) * n)
    block = frames[first : first + n // 10].astype(np.int64)
    hit = rng.random(block.shape) < share
    block[hit] += rng.integers(500, 20_000, int(hit.sum()))
    out = frames.copy()
    out[first : first + n // 10] = np.clip(block, 0, LARGEST)
    return out
