"""Frames of a simulated dataset spoiled in place: lost and repeated blocks, cut transits, drifts, flares, showers of particles."""

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
    replace(path, pa.table([pa.array(np.ascontiguousarray(c)) for c in changed.T], names=table.column_names))


def replace(path: Path, table: pa.Table) -> None:
    """The file anew: another name of the same file (a hard link) keeps the old content."""
    path.unlink()
    pq.write_table(table, path)


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


def block(n: int, rng: np.random.Generator, least: float = 0.02, most: float = 0.2) -> slice:
    """Whole pairs somewhere in a visit of n frames, from `least` to `most` of it."""
    length = max(2, int(rng.uniform(least, most) * n) // 2 * 2)
    first = int(rng.integers(0, (n - length) // 2 + 1)) * 2
    return slice(first, first + length)


def filled(frames: np.ndarray, code: int, rng: np.random.Generator) -> np.ndarray:
    """A block of pairs whose codes are all the same."""
    frames[block(len(frames), rng)] = code
    return frames


def dimmed(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A block of pairs with 10 % less light."""
    factor = np.ones(len(frames))
    factor[block(len(frames), rng, 0.05, 0.3)] = 0.9
    return multiplied(frames, factor, rng)


def repeated(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One pair stands in place of a whole block."""
    at = block(len(frames), rng)
    frames[at] = np.tile(frames[at.start : at.start + 2], ((at.stop - at.start) // 2, 1))
    return frames


def swapped(frames: np.ndarray, rng: np.random.Generator, *, whole: bool = False) -> np.ndarray:
    """The two reads of each pair of a block (or of the visit) change places."""
    at = slice(0, len(frames) // 2 * 2) if whole else block(len(frames), rng, 0.03, 0.4)
    part = frames[at].reshape(-1, 2, frames.shape[1])
    frames[at] = part[:, ::-1].reshape(-1, frames.shape[1])
    return frames


def halves(frames: np.ndarray) -> np.ndarray:
    """The second half of the visit stands before the first."""
    half = len(frames) // 4 * 2
    return np.concatenate([frames[half:], frames[:half]])


def dip(n: int, middle: float, width: float, depth: float) -> np.ndarray:
    """Factor (frame,): a second transit, a trapezoid; middle and width (first to fourth contact) are shares of the visit."""
    away = np.abs(np.linspace(0.0, 1.0, n) - middle) / (0.5 * width)
    return 1.0 - depth * np.clip((1.0 - away) / 0.15, 0.0, 1.0)


def flare(n: int, start: float, amount: float, lasts: float) -> np.ndarray:
    """Factor (frame,): a flare of the star, up at once and decaying; start and lasts are shares of the visit."""
    after = np.linspace(0.0, 1.0, n) - start
    return 1.0 + amount * np.where(after >= 0, np.exp(-np.clip(after, 0, None) / lasts), 0.0)


def switched_on(frames: np.ndarray, count: int, amount: int, rng: np.random.Generator) -> np.ndarray:
    """Of the brightest tenth of the pixels, `count` collect `amount` codes more in each second read, from some moment on."""
    light = frames[1::2].mean(axis=0) - frames[0::2].mean(axis=0)
    bright = np.argsort(light)[-max(count, light.size // 10) :]
    chosen = rng.choice(bright, count, replace=False)
    first = int(rng.uniform(0.1, 0.9) * len(frames)) // 2 * 2 + 1
    out = frames.astype(np.int64)
    out[first::2, chosen] += amount
    return np.clip(out, 0, LARGEST)


def full_well(frames: np.ndarray, share: float) -> np.ndarray:
    """No pixel goes beyond this share of the brightest code of the visit."""
    return np.minimum(frames, int(share * np.percentile(frames[1::2].max(axis=1), 50)))


def shifted(frames: np.ndarray, columns: int, pixels: int, start: float) -> np.ndarray:
    """The star jumps by whole pixels along the rows' axis from `start` (share of the visit) on; columns: pixels of a row."""
    first = int(start * len(frames)) // 2 * 2
    part = frames[first:].reshape(len(frames) - first, -1, columns)
    frames[first:] = np.roll(part, pixels, axis=1).reshape(len(frames) - first, -1)
    return frames


def curved_background(frames: np.ndarray, columns: int, share: float) -> np.ndarray:
    """A background that all second reads have besides, a parabola across the rows; its sum is `share` of the star's light."""
    light = float((frames[1::2].mean(axis=0) - frames[0::2].mean(axis=0)).sum())
    rows = frames.shape[1] // columns
    shape = np.repeat(0.2 + np.square(np.linspace(-1.0, 1.0, rows)), columns)
    out = frames.astype(np.float64)
    out[1::2] += share * light * shape / shape.sum()
    return np.clip(np.round(out), 0, LARGEST)
