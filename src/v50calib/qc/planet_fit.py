"""Numbers that tell a planet's fit that is not to be trusted: what it saw of the transit, and who disagrees with whom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from v50calib.kernels.arrays import Float
from v50calib.kernels.covariance import weighted_depth
from v50calib.kernels.transit import Shape, transit_duration

#: a contact counts as seen with this share of its length of light outside of the transit beside it
BESIDE = 0.5
#: chi² counts beyond this many times its own chance
CHANCE = 3.0
#: spectra differ by this share of their depth from the visible to the infrared: an atmosphere of ten scale heights
PLAUSIBLE = 0.2


@dataclass(frozen=True)
class Spectrum:
    """Depths of an instrument's channels (channel,), their errors and the part of these that channels have in common (channel, k).

    chi2 (channel,) reduced; free: degrees of freedom of each.
    """

    depth: Float
    sigma: Float
    shared: Float
    chi2: Float | None = None
    free: float = math.inf


def white_difference(one: Spectrum, other: Spectrum, *, independent: bool = False) -> float:
    """How far two spectra of the same channels are apart: their mean difference over its error; NaN where unknown.

    That is the larger of the two errors where one set of light curves was fitted twice, and both of them where they are independent.

    >>> one = Spectrum(np.full(4, 0.0104), np.full(4, 2e-4), np.zeros((4, 1)))
    >>> round(white_difference(one, Spectrum(np.full(4, 0.01), np.full(4, 1e-4), np.zeros((4, 1)))), 3)  # 400 ppm, 200/√4 ppm
    4.0
    """
    good = np.isfinite(one.depth) & np.isfinite(other.depth) & (one.sigma > 0) & (other.sigma > 0)
    if not good.any():
        return math.nan
    weight = 1.0 / np.square(np.maximum(one.sigma[good], other.sigma[good]))
    (depth, error), (depth_too, error_too) = (weighted_depth(s.depth[good], s.sigma[good], s.shared[good], weight) for s in (one, other))
    return abs(depth - depth_too) / (math.hypot(error, error_too) if independent else max(error, error_too))


def white(spectrum: Spectrum) -> tuple[float, float]:
    """Mean depth of the channels, weighted by their own errors, and its error; NaN where there is none.

    >>> round(white(Spectrum(np.full(4, 0.01), np.full(4, 5e-4), np.full((4, 1), 3e-4)))[1], 6)  # √(3² + 4²/4) 1e-4
    0.000361
    """
    good = np.isfinite(spectrum.depth) & (spectrum.sigma > 0)
    weight = np.where(good, 1.0 / np.square(np.where(good, spectrum.sigma, 1.0)), 0.0)
    return weighted_depth(spectrum.depth, spectrum.sigma, spectrum.shared, weight)


def contacts_seen(shape: Shape, t0: Sequence[float], times: Sequence[Float], widths: Sequence[float]) -> float:
    """The share of ingress or of egress, the lesser, that some visit saw, with as much light beside it as tells where it begins.

    t0 of each visit and instrument [h], times (n,) of its bins of light, and how long these are [h]. A transit one end of
    which was not seen has a duration that leans on the star's parameters, a mid-time that leans on it, and a depth that leans on the
    baseline.

    >>> shape = Shape(t0=3.75, period=96.0, a=12.0, b=0.3, k=0.1, u1=0.1, u2=0.1)
    >>> seen = np.linspace(0.05, 7.45, 75)
    >>> round(contacts_seen(shape, [3.75], [seen], [0.1]), 2), round(contacts_seen(shape, [6.2], [seen], [0.1]), 2)
    (1.0, 0.54)
    """
    k = abs(shape.k)
    lasts = transit_duration(shape.period, shape.a, shape.b, k)
    flat = transit_duration(shape.period, shape.a, shape.b, -k)
    ingress = 0.5 * (lasts - flat)
    if not ingress > 0:
        return math.nan
    first = np.array([-0.5 * lasts - BESIDE * ingress, -0.5 * lasts + ingress])
    shares = []
    for interval in (first, -first[::-1]):
        seen = [_covered(np.asarray(time) - at, width, interval) for at, time, width in zip(t0, times, widths, strict=True)]
        shares.append(max(seen, default=0.0))
    return min(shares)


def _covered(time: Float, width: float, interval: Float) -> float:
    """Share of an interval that bins of a width about `time` cover."""
    edges = np.clip(np.stack([time - 0.5 * width, time + 0.5 * width]), *interval)
    return min(float((edges[1] - edges[0]).sum() / (interval[1] - interval[0])), 1.0)


def beyond_chance(spectrum: Spectrum) -> float:
    """Reduced chi² of the channels, their median, less what chance may add to it.

    >>> flat = Spectrum(np.ones(100), np.ones(100), np.zeros((100, 1)), chi2=np.full(100, 1.3), free=200.0)
    >>> round(beyond_chance(flat), 3)
    1.27
    """
    if spectrum.chi2 is None or not np.isfinite(spectrum.chi2).any():
        return math.nan
    known = spectrum.chi2[np.isfinite(spectrum.chi2)]
    return float(np.median(known)) - CHANCE * math.sqrt(2.0 / max(spectrum.free, 1.0) / known.size)


def instruments_apart(spectra: Mapping[str, Spectrum]) -> float:
    """How far white depths of two instruments are apart, in their errors, beyond what spectra of planets differ by; the largest.

    >>> far, near = (Spectrum(np.array([d]), np.array([1e-4]), np.zeros((1, 1))) for d in (0.015, 0.01))
    >>> round(instruments_apart({"FGS1": far, "AIRS-CH0": near}), 1)  # 5000 - 2500 ppm over √2 · 100 ppm
    17.7
    """
    means = [white(s) for s in spectra.values()]
    out = []
    for i, (depth, sigma) in enumerate(means):
        for other, other_sigma in means[:i]:
            beyond = abs(depth - other) - PLAUSIBLE * 0.5 * abs(depth + other)
            out.append(max(beyond, 0.0) / math.hypot(sigma, other_sigma))
    return max((v for v in out if math.isfinite(v)), default=math.nan)


def mid_times_apart(times: Mapping[str, tuple[int, float, float]]) -> float:
    """How far mid-times that instruments of one visit found alone are apart, in their errors; the largest.

    times: visit, mid-time and its error, by a name.

    >>> mid_times_apart({"0/FGS1": (0, 3.75, 0.03), "0/AIRS-CH0": (0, 3.55, 0.04), "1/FGS1": (1, 9.0, 0.01)})
    4.0
    """
    known = [(v, t, s) for v, t, s in times.values() if math.isfinite(t) and s > 0]
    apart = [abs(t - u) / math.hypot(s, r) for i, (v, t, s) in enumerate(known) for w, u, r in known[:i] if v == w]
    return round(max(apart), 6) if apart else math.nan
