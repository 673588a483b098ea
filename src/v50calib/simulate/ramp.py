"""The detector's reads: charge collected on a ramp, non-linear response, read noise, A/D conversion (compiled)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float
from v50calib.kernels.compiler import nb

#: below this mean counts are drawn exactly; above, as a normal variate with its third moment corrected
_EXACT_BELOW = 20.0
_FULL_SCALE = 65535.0
#: linearity polynomials are known to rise up to this reading, e- (v50calib.simulate.maps)
_RISING_TO_E = 1.5e5


@nb.njit(cache=True)  # type: ignore[misc,unused-ignore]
def poisson(rng: np.random.Generator, mean: float) -> float:
    """One Poisson variate. Small means by inversion (exact); others mean + sqrt(mean) z + (z^2 - 1) / 6, rounded.

    The second form is the Cornish-Fisher expansion to the skewness: moments 1-3 are exact to < 1e-3 above 20.

    >>> rng = np.random.default_rng(1)
    >>> draws = np.array([poisson(rng, 100.0) for _ in range(20_000)])
    >>> bool(abs(draws.mean() - 100.0) < 0.3), bool(abs(draws.var() - 100.0) < 3.0)
    (True, True)
    """
    if mean <= 0.0:
        return 0.0
    if mean < _EXACT_BELOW:
        term = math.exp(-mean)
        below, u, n = term, rng.random(), 0
        while u > below and n < 200:
            n += 1
            term *= mean / n
            below += term
        return float(n)
    z = rng.standard_normal()
    return float(max(0.0, math.floor(mean + math.sqrt(mean) * z + (z * z - 1.0) / 6.0 + 0.5)))


@nb.njit(cache=True)  # type: ignore[misc,unused-ignore]
def invert_linearity(linear: float, c: Float) -> float:
    """Reading x (e-) whose linearization sum c_k x^k is `linear`, by Newton's method to < 1e-3 e-.

    c  [6] ascending coefficients of a polynomial that rises over the converter's range

    >>> c = np.array([0.0, 1.0, 1e-6, 0.0, 0.0, 0.0])
    >>> round(invert_linearity(10_000.0 + 1e-6 * 10_000.0**2, c), 2)  # x + 1e-6 x² of x = 10000
    10000.0
    """
    x = (linear - c[0]) / c[1]
    for _ in range(8):
        value = c[5]
        slope = 0.0
        for k in range(4, -1, -1):
            slope = slope * x + value
            value = value * x + c[k]
        step = (value - linear) / max(slope, 0.05)
        x = min(max(x - step, -5e3), 2e5)
        if abs(step) < 1e-2:  # quadratic convergence: the next step would be far below 1e-3
            break
    return x


@nb.njit(cache=True)  # type: ignore[misc,unused-ignore]
def reading(linear: float, c: Float, top: float, top_linear: float, full_well: float) -> float:
    """Reading (e-) of the charge `linear`: the polynomial's inverse up to `top`, one for one above it, at most the full well.

    top, top_linear   a reading up to which the polynomial rises, and its linearized value

    >>> c = np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    >>> reading(9e4, c, 1.5e5, 1.5e5, 1e5), reading(2e5, c, 1.5e5, 1.5e5, 1e5), reading(2e5, c, 1.5e5, 1.5e5, np.inf)
    (90000.0, 100000.0, 200000.0)
    """
    x = top + linear - top_linear if linear > top_linear else invert_linearity(linear, c)
    return min(x, full_well)


@nb.njit(cache=True)  # type: ignore[misc,unused-ignore]
def read_pairs(
    rng: np.random.Generator,
    rates: Float,
    hits: Float,
    dark: Float,
    read: Float,
    linear_corr: Float,
    read_s: tuple[float, float],
    adc: tuple[float, float],
    photon_noise: bool,
    dither: bool,
    out: NDArray[np.uint16],
    full_well: float = math.inf,
) -> None:
    """Fill out[pixel, 2 * pair (+ 1)] with the two reads of each ramp, ADU.

    rates        [pair, pixel] light detected, e-/s
    hits         [pair, 2 * pixel] cosmic-ray charge of the first and of the later part of the ramp, e-; empty: none
    dark, read   [pixel] e-/s, e- rms of one read (0: no read noise)
    linear_corr  [pixel, 6]
    read_s       time since reset of the two reads, s
    adc          (offset, gain): ADU = round((e - offset) * gain), clipped to 0..65535
    dither       round up or down at random, so that the mean of many codes is the value itself (Wannamaker et al. 2000,
                 IEEE Trans. Signal Process. 48, 499)
    full_well    reading above which a pixel collects no more, e-

    The second read keeps the electrons of the first and adds its own: N2 = N1 + Poisson((light + dark)(t2 - t1)).

    >>> out, identity = np.empty((1, 2), np.uint16), np.array([[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
    >>> rng, rate, nothing, no_hits = np.random.default_rng(1), np.array([[100.0]]), np.zeros(1), np.zeros((0, 0))
    >>> read_pairs(rng, rate, no_hits, nothing, nothing, identity, (1.0, 3.0), (-1000.0, 0.5), False, False, out)
    >>> out  # (100·1 + 1000)·0.5, (100·3 + 1000)·0.5
    array([[550, 650]], dtype=uint16)
    """
    pairs, pixels = rates.shape
    first, later = read_s[0], read_s[1] - read_s[0]
    offset, gain = adc
    struck = hits.size > 0
    for p in range(pixels):
        c, noise = linear_corr[p], read[p]
        top = max(_RISING_TO_E, _FULL_SCALE / gain + offset)
        top_linear = c[0] + top * (c[1] + top * (c[2] + top * (c[3] + top * (c[4] + top * c[5]))))
        for k in range(pairs):
            rate = rates[k, p] + dark[p]
            n1, extra = rate * first, rate * later
            if photon_noise and rate > 0.0:
                n1, extra = poisson(rng, n1), poisson(rng, extra)
            if struck:
                n1 += hits[k, 2 * p]
                extra += hits[k, 2 * p + 1]
            e1, e2 = reading(n1, c, top, top_linear, full_well), reading(n1 + extra, c, top, top_linear, full_well)
            if noise > 0.0:
                e1 += noise * rng.standard_normal()
                e2 += noise * rng.standard_normal()
            up1, up2 = 0.5, 0.5
            if dither:
                up1, up2 = rng.random(), rng.random()
            out[p, 2 * k] = np.uint16(min(max(math.floor((e1 - offset) * gain + up1), 0.0), _FULL_SCALE))
            out[p, 2 * k + 1] = np.uint16(min(max(math.floor((e2 - offset) * gain + up2), 0.0), _FULL_SCALE))
