"""What a calibrator does not expect: gain drift, motion within an exposure, a tilted background, lost frames, low light."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float
from v50calib.simulate.axes import VISIT_S, TimeAxis

#: random streams of the effects (Scene.rng)
GAIN_STREAM, MOTION_STREAM, BACKGROUND_STREAM, LOST_STREAM = 4, 5, 6, 7
#: correlation length of the gain drift, h, and the number of waves it is made of
GAIN_LENGTH_H, _WAVES = 5.0, 12
#: independent pointing samples per second within an exposure (ExoSim 2's jitter file has the same)
JITTER_HZ = 20.0
#: light that is left during `low_light`
LOW_LIGHT = 0.9
_ALL_ZERO, _ALL_FULL = 0, 65535


@dataclass(frozen=True)
class GainDrift:
    """Relative drift of one instrument's gain: rms * in_time(t) * in_wavelength(column).

    rms               over a visit and the columns
    waves             [wave, 3] amplitude, frequency [rad/h] and phase of the cosines that make the course in time
    level             subtracted from their sum: a visit's mean
    along             Legendre coefficients of the course along the columns (first to last = -1 to 1)
    columns           1: the same for the whole detector
    """

    rms: float
    waves: Float
    level: float
    along: Float
    columns: int

    def in_time(self, hours: Float) -> Float:
        """[time] course in time, of unit rms and mean zero over a visit."""
        amplitude, frequency, phase = self.waves.T
        return np.asarray((amplitude * np.cos(frequency * hours[:, None] + phase)).sum(axis=1) - self.level)

    def in_wavelength(self) -> Float:
        """[column] course along the columns, of unit rms."""
        x = np.linspace(-1.0, 1.0, self.columns) if self.columns > 1 else np.zeros(1)
        return np.asarray(np.polynomial.legendre.legval(x, self.along))

    def factor(self, hours: Float) -> Float:
        """[time, column] what all light is multiplied by."""
        return np.asarray(1.0 + self.rms * self.in_time(hours)[:, None] * self.in_wavelength())

    def truth(self) -> dict[str, Any]:
        """The terms as the truth file states them."""
        names = ("amplitude", "frequency_rad_h", "phase")
        waves = [dict(zip(names, map(float, wave), strict=True)) for wave in self.waves]
        return {"rms": self.rms, "waves": waves, "level": self.level, "along_columns": self.along.tolist()}


def draw_gain_drift(rng: np.random.Generator, rms: float, columns: int) -> GainDrift:
    """A drift whose course in time is a Gaussian process of 5 h correlation length, drawn as random waves.

    Over a visit of 7.5 h it resembles, and is not, a low-order polynomial: no order removes it exactly. Along the
    columns (more than one) it is a slope and a bow about a common level, each half as large as that at one sigma.

    >>> drift = draw_gain_drift(np.random.default_rng(1), 1e-3, columns=356)
    >>> factor = drift.factor(np.linspace(0.0, 7.5, 1000))
    >>> factor.shape, round(float((factor - 1.0).std()), 5)
    ((1000, 356), 0.001)
    """
    frequency = rng.normal(0.0, 1.0 / GAIN_LENGTH_H, _WAVES)
    waves = np.stack([rng.normal(size=_WAVES), frequency, rng.uniform(0.0, 2 * np.pi, _WAVES)], axis=1)
    raw = GainDrift(rms, waves, 0.0, np.ones(1), columns).in_time(np.linspace(0.0, VISIT_S / 3600.0, 512))
    waves[:, 0] /= raw.std()
    along = np.concatenate([[1.0], 0.5 * rng.normal(size=2)]) if columns > 1 else np.ones(1)
    course = GainDrift(rms, waves, 0.0, along, columns).in_wavelength()
    return GainDrift(rms, waves, float(raw.mean() / raw.std()), along / np.sqrt(np.mean(course**2)), columns)


def exposure_motion(rng: np.random.Generator, rms_px: float, pairs: int, exposure_s: float, positions: int) -> Float:
    """Offsets [pair, (x, y), position] from a pair's mean position during its exposure, px; their mean is exactly 0.

    rms_px      rms of the pointing about its mean at 20 Hz, per axis
    positions   along each axis: together they stand for the grid of positions x positions sub-exposures

    An exposure holds m = 20 Hz x exposure samples (at least 2). The mean square of a pair's offsets is that of m
    normal samples about their own mean, rms_px² chi²(m - 1) / m, whatever the number of positions: the width of the
    light varies from pair to pair as much as with m positions.

    >>> offsets = exposure_motion(np.random.default_rng(1), 0.3, 4000, exposure_s=4.5, positions=6)
    >>> offsets.shape, round(float((offsets**2).mean()), 3), bool(abs(offsets.mean(axis=2)).max() < 1e-12)
    ((4000, 2, 6), 0.089, True)
    """
    samples = max(2, round(JITTER_HZ * exposure_s))
    offsets = rng.normal(size=(pairs, 2, positions))
    offsets -= offsets.mean(axis=2, keepdims=True)
    offsets /= np.sqrt((offsets**2).mean(axis=2, keepdims=True))
    spread = np.sqrt(rng.chisquare(samples - 1, size=(pairs, 2, 1)) / samples)
    return np.asarray(rms_px * spread * offsets)


@dataclass(frozen=True)
class BackgroundTilt:
    """Background relative to its mean, minus 1: `rows` and `columns` are what it gains from the middle to the last."""

    rows: float
    columns: float

    def relative(self, shape: tuple[int, int]) -> Float:
        """[y, x] deviation from the mean, in units of the mean.

        >>> BackgroundTilt(rows=0.2, columns=-0.1).relative((3, 2)).round(2)
        array([[-0.1, -0.3],
               [ 0.1, -0.1],
               [ 0.3,  0.1]])
        """
        y, x = (np.linspace(-1.0, 1.0, n) for n in shape)
        return np.asarray(self.rows * y[:, None] + self.columns * x)


def draw_background_tilt(rng: np.random.Generator, gradient: float) -> BackgroundTilt:
    """A tilt of random direction whose largest deviation, in a corner, is `gradient`.

    >>> tilt = draw_background_tilt(np.random.default_rng(1), 0.3)
    >>> round(abs(tilt.rows) + abs(tilt.columns), 9)
    0.3
    """
    angle = rng.uniform(0.0, 2 * np.pi)
    total = abs(math.cos(angle)) + abs(math.sin(angle))
    return BackgroundTilt(gradient * math.sin(angle) / total, gradient * math.cos(angle) / total)


def draw_lost_frames(rng: np.random.Generator, share: float, pairs: int) -> NDArray[np.int64]:
    """[lost, (frame, code)] frames that are lost and the code all their pixels take, sorted by frame.

    round(share * pairs) pairs lose their first read, their second or both, to all 0 or all 65535.

    >>> lost = draw_lost_frames(np.random.default_rng(2), 0.01, pairs=300)
    >>> len(set((lost[:, 0] // 2).tolist())), set(lost[:, 1].tolist()) <= {0, 65535}
    (3, True)
    """
    found = []
    for pair in np.sort(rng.choice(pairs, round(share * pairs), replace=False)):
        code = (_ALL_ZERO, _ALL_FULL)[rng.integers(2)]
        reads = ((0,), (1,), (0, 1))[rng.integers(3)]
        found += [(2 * int(pair) + read, code) for read in reads]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def low_light_pairs(share: float, axis: TimeAxis) -> NDArray[np.bool_]:
    """[pair] whether the star gives 10 % less light: the last `share` of the visit.

    >>> from v50calib.simulate.axes import time_axis
    >>> int(low_light_pairs(0.02, time_axis("AIRS-CH0", frames_fraction=0.1)).sum())  # of 562
    11
    """
    last = np.zeros(axis.pairs, dtype=bool)
    last[axis.pairs - round(share * axis.pairs) :] = True
    return last
