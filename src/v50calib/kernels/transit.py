"""Transit light curves: durations, the limb-darkened model, coarse searches in time.

The model is batman (Kreidberg 2015, PASP 127, 1161; Mandel & Agol 2002): quadratic limb darkening,
circular orbit. Times in hours since the start of the visit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import batman
import numpy as np

from v50calib.kernels.arrays import Float

#: the planet's shadow is averaged over each bin by this many sub-samples
SUPERSAMPLE = 3
MEAN = np.full(SUPERSAMPLE, 1.0 / SUPERSAMPLE)
#: period [h] of a shape where the dataset states none (2024)
UNKNOWN_PERIOD_H = 96.0
#: depths that a fit starts from
MIN_DEPTH, MAX_DEPTH = 2e-5, 0.2
#: a start whose gain in chi² is a smaller share of the best one's is not tried
REACH = 0.6


@dataclass(frozen=True)
class Shape:
    """Orbit and star of a transit: mid-time t0 [h], period [h], a/R*, impact parameter b, Rp/R*, u1, u2.

    Noise about no transit may ask for a brightening: k below 0 is the shape of |k| turned upside down, depth -k².

    >>> round(Shape(t0=3.75, period=96.0, a=12.0, b=0.0, k=0.1, u1=0.0, u2=0.0).duration, 3)  # h
    2.805
    """

    t0: float
    period: float
    a: float
    b: float
    k: float
    u1: float
    u2: float

    @property
    def duration(self) -> float:
        """First to fourth contact, h."""
        return transit_duration(self.period, self.a, self.b, abs(self.k))

    @property
    def depth(self) -> float:
        """(Rp/R*)², negative for a brightening."""
        return math.copysign(self.k**2, self.k)


def radius_ratio(depth: float) -> float:
    """Rp/R* of a depth, below 0 for a brightening.

    >>> radius_ratio(0.01), radius_ratio(-0.01)
    (0.1, -0.1)
    """
    return math.copysign(math.sqrt(abs(depth)), depth)


def transit_duration(period: float, a: float, b: float, k: float) -> float:
    """First to fourth contact T14, in the unit of `period` (Winn 2010, eq. 14, circular orbit); 0 if no transit.

    >>> round(transit_duration(96.0, 12.0, 0.0, 0.1), 3), 96.0 / np.pi * 1.1 / 12.0  # arcsin(1.1/12) is about 1.1/12
    (2.805, 2.801126...)
    >>> transit_duration(96.0, 12.0, 1.2, 0.1)
    0.0
    """
    chord = (1.0 + k) ** 2 - b**2
    if chord <= 0:
        return 0.0
    sin_i = math.sqrt(max(1.0 - (b / a) ** 2, 1e-12))
    return period / math.pi * math.asin(min(math.sqrt(chord) / (a * sin_i), 1.0))


class Model:
    """Relative flux of a transit at fixed times; each value is the mean over `width` hours.

    >>> model = Model(np.array([0.0, 3.75]), width=0.01)
    >>> model(Shape(t0=3.75, period=96.0, a=12.0, b=0.0, k=0.1, u1=0.0, u2=0.0)).round(9)  # a uniform disc: 1 - k²
    array([1.  , 0.99])
    """

    def __init__(self, time: Float, width: float) -> None:
        offsets = (np.arange(SUPERSAMPLE) - (SUPERSAMPLE - 1) / 2) / SUPERSAMPLE * width
        self._n = len(time)
        self._time = np.ascontiguousarray((time[:, None] + offsets).ravel() / 24.0)
        self._cache: batman.TransitModel | None = None

    def __call__(self, shape: Shape) -> Float:
        params = batman.TransitParams()
        params.t0, params.per, params.a = shape.t0 / 24.0, shape.period / 24.0, shape.a
        params.inc = math.degrees(math.acos(min(abs(shape.b) / shape.a, 1.0)))
        params.rp, params.ecc, params.w = abs(shape.k), 0.0, 90.0
        params.limb_dark, params.u = "quadratic", [shape.u1, shape.u2]
        if self._cache is None:
            self._cache = batman.TransitModel(params, self._time, max_err=0.2)
        curve = np.asarray(self._cache.light_curve(params)).reshape(self._n, SUPERSAMPLE) @ MEAN
        return curve if shape.k >= 0 else 2.0 - curve


@dataclass(frozen=True)
class BoxFit:
    """Best box of a coarse search: mid-time and length [h], fractional depth, signal-to-noise."""

    t0: float
    duration: float
    depth: float
    snr: float


def search_box(time: Float, flux: Float, sigma: Float, durations: Float, design: Float, *, centres: Float | None = None) -> BoxFit:
    """Deepest-chi² box transit over a grid of mid-times (or the given centres) and durations, jointly with a linear baseline.

    time, flux, sigma (n,), design (n, terms): baseline and regressors. The box column is first made orthogonal to the design.

    >>> time = np.linspace(0.0, 7.5, 301)
    >>> flux = 1000.0 * (1.0 - 0.01 * (np.abs(time - 3.75) < 1.24))
    >>> box = search_box(time, flux, np.ones(301), np.array([1.5, 2.5, 3.5]), np.ones((301, 1)))
    >>> round(box.t0, 2), box.duration, round(box.depth, 3)
    (3.75, 2.5, 0.01)
    """
    root = 1.0 / sigma
    q, _ = np.linalg.qr(design * root[:, None])
    target = flux * root
    target = target - q @ (q.T @ target)
    scale = float(np.median(flux))
    best = BoxFit(float(time.mean()), float(durations[0]), 0.0, 0.0)
    step = max(np.ptp(time) / 200, float(np.median(np.diff(time))))
    for duration in durations:
        grid = np.arange(time[0], time[-1] + step, step) if centres is None else centres
        box = (np.abs(time[:, None] - grid) < duration / 2) * (-root[:, None])
        box = box - q @ (q.T @ box)
        norm = (box**2).sum(axis=0)
        usable = norm > 1e-3 * (root**2).sum() / len(time)
        gain = np.where(usable, (target @ box) / np.where(usable, np.sqrt(norm), 1.0), 0.0)
        i = int(np.argmax(gain))
        if gain[i] > best.snr:
            best = BoxFit(float(grid[i]), float(duration), float(gain[i] / np.sqrt(norm[i]) / scale), float(gain[i]))
    return best


@dataclass(frozen=True)
class Prior:
    """Gaussian priors (mean, sigma) of a/R*, b, u1, u2."""

    a: tuple[float, float]
    b: tuple[float, float]
    u1: tuple[float, float]
    u2: tuple[float, float]

    def residuals(self, shape: Shape) -> Float:
        """What the priors add to a fit's residuals, (4,)."""
        pairs = ((shape.a, self.a), (shape.b, self.b), (shape.u1, self.u1), (shape.u2, self.u2))
        return np.array([(value - centre) / width for value, (centre, width) in pairs])


def transit_starts(
    time: Float, flux: Float, sigma: Float, design: Float, shapes: list[Shape], *, most: int = 4
) -> list[tuple[Shape, float]]:  # fmt: skip
    """Where fits of a transit should start: the shapes moved in time to where they lower chi² most, with that gain; best first.

    Mid-times run from half a transit before the window to half a transit after it, so that a transit of which one contact alone
    is seen has a start of its own. A start is kept where no better one is within a third of its duration, and where its gain is within
    reach of the best one's: a fit moves little further than that.
    """
    root = 1.0 / sigma
    q, _ = np.linalg.qr(design * root[:, None])
    target = flux * root
    level = float(np.median(flux))
    target = target - q @ (q.T @ target)
    found: list[tuple[float, Shape]] = []
    for shape in shapes:
        length = shape.duration
        if length <= 0:
            continue
        ticks = np.linspace(-0.75 * length, 0.75 * length, 301)
        dip = 1.0 - Model(ticks + shape.period, 0.0)(replace(shape, t0=shape.period))
        grid = np.arange(time[0] - 0.45 * length, time[-1] + 0.45 * length, length / 24)
        columns = -root[:, None] * np.interp(time[:, None] - grid, ticks, dip, left=0.0, right=0.0)
        columns = columns - q @ (q.T @ columns)
        norm = np.square(columns).sum(axis=0)
        usable = norm > 1e-6 * norm.max(initial=0.0)
        amplitude = np.where(usable, (target @ columns) / np.where(usable, norm, 1.0), 0.0)
        gain = amplitude * np.abs(amplitude) * norm
        for i in np.flatnonzero(gain > 0):
            depth = min(max(float(amplitude[i]) / level * shape.depth, MIN_DEPTH), MAX_DEPTH)
            found.append((float(gain[i]), replace(shape, t0=float(grid[i]), k=math.sqrt(depth))))
    found.sort(key=lambda item: -item[0])
    kept: list[tuple[Shape, float]] = []
    for gain_here, shape in found:
        near = any(abs(shape.t0 - other.t0) < shape.duration / 3 for other, _ in kept)
        if near or len(kept) == most or (kept and gain_here < REACH * kept[0][1]):
            continue
        kept.append((shape, gain_here))
    return kept
