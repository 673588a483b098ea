"""Compiled passes over light curves (time, channel), float32 or float64, each reading and writing its series once.

Arithmetic is float64 in registers; results are stored in the dtype of the input. A visit's series are larger
than the cache, so their cost is the number of passes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float, Real

#: degree in wavelength of the multiples of the spectrum that no shift is read from: of the challenge's spectra about 460 ppm rms, 6
#: leave a shift of 1 mpx in transit and none 3.4
SMOOTH_DEGREE = 6
#: added to the noise, relative to the brightest column: faint columns have the background's errors too
FAINT = 0.3
#: and the least share of the gradient's square that must be left
LEAST_SHARE = 0.1
_FAST = {"contract", "nsz", "arcp"}
# NaN carries meaning: no nnan here
_jit = nb.njit(cache=True, nogil=True, fastmath=_FAST, boundscheck=False)
_jit_sum = nb.njit(cache=True, nogil=True, fastmath=_FAST | {"reassoc"}, boundscheck=False)


@_jit
def _smooth_into(
    flux: Real, background: Real, low: Float, high: Float, centre: Float, area: Float, window: int, columns: int, out: Real
) -> None:
    n, nc = background.shape
    left, right = window // 2, window - window // 2 - 1
    c_left, c_right = columns // 2, columns - columns // 2 - 1
    total, mean = np.zeros(nc), np.zeros(nc)
    for k in range(-left, right + 1):
        r = min(max(k, 0), n - 1)
        for c in range(nc):
            v = background[r, c]
            total[c] += centre[c] if v > high[c] or v < low[c] else v
    for i in range(n):
        if i > 0:
            old, new = max(i - 1 - left, 0), min(i + right, n - 1)
            for c in range(nc):
                a, b = np.float64(background[new, c]), np.float64(background[old, c])
                a = centre[c] if a > high[c] or a < low[c] else a
                b = centre[c] if b > high[c] or b < low[c] else b
                total[c] += a - b
        if columns > 1:
            run = 0.0
            for k in range(-c_left, c_right + 1):
                run += total[min(max(k, 0), nc - 1)]
            mean[0] = run
            for c in range(1, nc):
                run += total[min(c + c_right, nc - 1)] - total[max(c - 1 - c_left, 0)]
                mean[c] = run
        else:
            mean[:] = total
        scale = 1.0 / (window * columns)
        for c in range(nc):
            v = mean[c] * scale
            out[i, c] = v
            flux[i, c] -= v * area[c]


def subtract_smooth(flux: Real, background: Real, centre: Float, limit: Float, area: Float, window: int, columns: int) -> Real:
    """Subtract ``area·background`` from flux (n, nc) in place, the background smoothed; returns the smoothed background.

    background (n, nc): samples further than limit (nc,) from centre (nc,) count as centre; then a centred running mean over
    `window` samples and `columns` channels, end values repeated (as scipy.ndimage.uniform_filter, mode nearest).

    >>> flux, level = np.full((4, 1), 100.0), np.array([[1.0], [1.0], [90.0], [1.0]])
    >>> subtract_smooth(flux, level, np.ones(1), np.full(1, 5.0), np.full(1, 10.0), 3, 1).ravel(), flux.ravel()
    (array([1., 1., 1., 1.]), array([90., 90., 90., 90.]))
    """
    out = np.empty(background.shape, background.dtype)
    window, columns = min(max(window, 1), len(background)), min(max(columns, 1), background.shape[1])
    _smooth_into(flux, np.ascontiguousarray(background), centre - limit, centre + limit, centre, area, window, columns, out)
    return out


@_jit
def _linear_into(flux: Real, gain: Float, constant: Float, out: Real) -> None:
    for i in range(flux.shape[0]):
        f, o = flux[i], out[i]
        for c in range(f.size):
            v = np.float64(f[c])
            o[c] = constant[c] + (gain[c] * v if not v < 0.0 else 0.0)


def linear_variance(flux: Real, gain: Float, constant: Float) -> Real:
    """``gain·max(flux, 0) + constant`` per channel: photon variance plus the constant terms; NaN stays NaN.

    >>> linear_variance(np.array([[100.0], [-3.0]]), np.array([2.0]), np.array([5.0])).ravel()
    array([205.,   5.])
    """
    out = np.empty(flux.shape, flux.dtype)
    _linear_into(flux, gain, constant, out)
    return out


@_jit_sum
def _totals_into(spectra: Real, total: Float) -> None:
    for i in range(spectra.shape[0]):
        row = spectra[i]
        s = 0.0
        for c in range(row.size):
            s += np.float64(row[c])
        total[i] = s


@_jit
def _mean_into(spectra: Real, total: Float, mean: Float) -> None:
    for i in range(spectra.shape[0]):
        row, scale = spectra[i], 1.0 / total[i]
        for c in range(row.size):
            mean[c] += row[c] * scale


@_jit_sum
def _project_into(spectra: Real, gradient: Float, out: Float) -> None:
    for i in range(spectra.shape[0]):
        row = spectra[i]
        s = 0.0
        for c in range(row.size):
            s += row[c] * gradient[c]
        out[i] = s


@_jit_sum
def _sums_into(values: Real, rows: Float, columns: Float) -> None:
    for i in range(values.shape[0]):
        row = values[i]
        s = 0.0
        for c in range(row.size):
            s += np.float64(row[c])
        for c in range(row.size):
            columns[c] += row[c]
        rows[i] = s


def sums(values: Real) -> tuple[Float, Float]:
    """Sums of values (time, channel) over channels, (time,), and over time, (channel,), in float64 and in one pass; NaN where any is.

    >>> sums(np.array([[1.0, 2.0], [3.0, np.nan]]))
    (array([ 3., nan]), array([ 4., nan]))
    """
    rows, columns = np.empty(len(values)), np.zeros(values.shape[1])
    _sums_into(np.ascontiguousarray(values), rows, columns)
    return rows, columns


def weighted_totals(spectra: Real, weights: Float) -> Float:
    """Σ_c weights[c]·spectra[:, c], (time,), in float64 without a float64 copy. spectra (time, column).

    >>> weighted_totals(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([10.0, 1.0]))
    array([12., 34.])
    """
    out = np.empty(len(spectra))
    _project_into(spectra, np.ascontiguousarray(weights, np.float64), out)
    return out


def _shift_weights(mean: Float) -> Float:
    """Weights (column,) of the spectral shift: the mean spectrum's gradient over its photon noise, less what smooth multiples have of it.

    A planet's transmission spectrum dims each wavelength by another share; smooth in wavelength on the whole, it is a smooth multiple
    of the spectrum. Weights orthogonal to such multiples do not take it for a shift. Where they would leave too little of the gradient (a
    spectrum without edges), fewer multiples are left out, or none.
    """
    gradient = np.gradient(mean)
    noise = np.sqrt(np.maximum(mean, 0.0) + FAINT * np.abs(mean).max(initial=1e-300))
    multiples = (mean / noise)[:, None] * np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, mean.size), SMOOTH_DEGREE)
    steep = gradient / noise
    for terms in range(min(SMOOTH_DEGREE + 1, mean.size // 4), 0, -1):
        basis = np.linalg.qr(multiples[:, :terms])[0]
        left = steep - basis @ (basis.T @ steep)
        if left @ left > LEAST_SHARE * (steep @ steep):
            return np.asarray(left / noise)
    return np.asarray(steep / noise)


@dataclass(frozen=True)
class Shift:
    """shift (time,) px and total (time,) of spectra; mean (column,): the normalized spectrum; weights (column,) that read the shift."""

    shift: Float
    total: Float
    mean: Float
    weights: Float

    def noise_along(self, noise: Float) -> Float:
        """What the noise of the measured shift leaves in each column, (2, column). noise (column,): each column's own, of a spectrum of
        mean sum, in the units of `mean`.

        A shift is read from the noisy columns that it then corrects. With weights u (a column's part in the shift, x = u·spectrum) and the
        slope s of the spectrum, the corrected noise is n - s (u·n), and its covariance is diag(n²) + f fᵀ - c cᵀ/v with v = Σ u² n²,
        c = u n² and f = (s v - c)/√v. The last term, one degree of freedom where the weights are, lowers it: it is left out.
        First row: f in units of the column's own noise. Second: s v - c, minus the covariance of the shift's noise with what it leaves, of
        relative fluxes and in units of their variance: what the normal equations of a regression on the shift lack for each sample.

        >>> column = np.arange(41.0)
        >>> spectra = np.exp(-0.02 * (column - 20.0) ** 2) * np.ones((9, 1))
        >>> found = spectral_shift(spectra).noise_along(np.full(41, 1e-3))
        >>> 0.0 < float(np.square(found[0]).sum()) < 20.0
        True
        """
        slope = -np.gradient(self.mean)
        part = self.weights / (self.weights @ slope)
        variance = float(np.square(part * noise).sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            left = slope * variance - part * np.square(noise)
            found = np.stack([left / (np.sqrt(variance) * noise), left * self.mean / np.square(noise)])
        return np.where(noise > 0, found, 0.0)


def spectral_shift(spectra: Real) -> Shift:
    """Shift of each spectrum along the dispersion axis, px, from the spectra themselves; and their sums.

    spectra (time, column). The residual of the flux-normalized spectrum is projected on the gradient of the mean spectrum, less what
    that has in common with smooth multiples of the spectrum: a planet's atmosphere makes such. Band edges dominate, so the columns
    should reach past them.

    >>> column = np.arange(41.0)
    >>> spectra = np.stack([np.exp(-0.02 * (column - 20.0 - shift) ** 2) for shift in (-0.05, 0.05)])
    >>> spectral_shift(spectra).shift.round(2)
    array([-0.05,  0.05])
    """
    n, nc = spectra.shape
    total, mean, projected = np.empty(n), np.zeros(nc), np.empty(n)
    _totals_into(spectra, total)
    _mean_into(spectra, total, mean)
    mean /= n
    weights = _shift_weights(mean)
    _project_into(spectra, weights, projected)
    return Shift(-(projected / total - mean @ weights) / (weights @ np.gradient(mean)), total, mean, weights)


@_jit
def _isolated_into(series: Real, limit: Float, out: NDArray[np.bool_]) -> None:
    n, nc = series.shape
    for i in range(1, n - 1):
        before, here, after, o = series[i - 1], series[i], series[i + 1], out[i]
        for c in range(nc):
            left, right = np.float64(here[c]) - before[c], np.float64(here[c]) - after[c]
            o[c] = (min(left, right) > limit[c]) | (max(left, right) < -limit[c])


def isolated(series: Real, limit: Float) -> NDArray[np.bool_]:
    """Samples above both neighbours, or below both, by more than limit (channel,); the first and the last are never one.

    >>> isolated(np.array([[1.0], [1.0], [9.0], [1.0]]), np.array([5.0])).ravel()
    array([False, False,  True, False])
    """
    out = np.zeros(series.shape, np.bool_)
    _isolated_into(series, limit, out)
    return out


@_jit
def _gather(operator: Float, rows: NDArray[np.int64], series: Real, out: Float) -> None:
    for j in range(rows.size):
        row = series[rows[j]]
        for k in range(operator.shape[0]):
            w, acc = operator[k, j], out[k]
            for c in range(row.size):
                acc[c] += w * row[c]


def apply_operator(operator: Float, rows: NDArray[np.int64], series: Real) -> Float:
    """``operator (terms, m) @ series[rows]`` as (terms, channel), without copying the rows.

    >>> apply_operator(np.array([[0.5, 0.5]]), np.array([0, 2]), np.array([[1.0], [9.0], [3.0]]))
    array([[2.]])
    """
    out = np.zeros((len(operator), series.shape[1]))
    _gather(np.ascontiguousarray(operator), rows, series, out)
    return out


@_jit
def _divide_into(flux: Real, var: Real, baseline: Real, norm: Real, norm_var: Real) -> None:
    n, columns = flux.shape
    # no views of the rows: of one band they would cost more than the rest
    for i in range(n):
        for c in range(columns):
            norm[i, c] = np.float64(flux[i, c]) / np.float64(baseline[i, c])
        for c in range(columns):
            scale = 1.0 / np.float64(baseline[i, c])
            norm_var[i, c] = var[i, c] * scale * scale


def divide(flux: Real, var: Real, baseline: Real) -> tuple[Real, Real]:
    """``flux / baseline`` and its variance ``var / baseline²``.

    >>> divide(np.array([[50.0]]), np.array([[8.0]]), np.array([[2.0]]))
    (array([[25.]]), array([[2.]]))
    """
    norm, norm_var = np.empty(flux.shape, flux.dtype), np.empty(flux.shape, flux.dtype)
    _divide_into(flux, var, baseline, norm, norm_var)
    return norm, norm_var
