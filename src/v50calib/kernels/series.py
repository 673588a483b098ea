"""Numbers on time series: single-sample outliers, running means, drift from the spectrum, least squares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from v50calib.kernels import binned

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: standard deviation of a normal distribution per median absolute deviation
MAD_TO_SIGMA = 1.4826022185056018
#: samples in time that a robust level or scatter is taken from
SIGMA_SAMPLES = 1000


def robust_sigma(values: Float) -> Float:
    """1.4826 x median absolute deviation along axis 0; NaN ignored, NaN where nothing is finite."""
    finite = np.isfinite(values)
    if finite.all():
        return MAD_TO_SIGMA * np.median(np.abs(values - np.median(values, axis=0)), axis=0)
    lost = ~finite.any(axis=0)
    filled = np.where(lost, 0.0, values)
    deviation = np.abs(filled - np.nanmedian(filled, axis=0))
    return np.where(lost, np.nan, MAD_TO_SIGMA * np.nanmedian(deviation, axis=0))


def point_to_point_sigma(series: Float, *, samples: int | None = None) -> Float:
    """White noise of (time, …) series from first differences: blind to anything slower than the sampling.

    samples: use that many differences spread evenly over time (1000 are good to 4 %); default all.
    """
    if samples is None or len(series) <= samples:
        return robust_sigma(np.diff(series, axis=0)) / np.sqrt(2.0)
    index = np.linspace(0, len(series) - 2, samples).astype(int)
    return robust_sigma(series[index + 1] - series[index]) / np.sqrt(2.0)


def clip_to_median(series: Float, *, threshold: float) -> Float:
    """Samples further than threshold·sigma off their channel's median replaced by it; both from an even sample."""
    index = np.linspace(0, len(series) - 1, min(len(series), SIGMA_SAMPLES)).astype(int)
    sample = series[index]
    centre, limit = np.median(sample, axis=0), threshold * robust_sigma(sample)
    far = (series > centre + limit) | (series < centre - limit)
    return np.where(far, centre, series) if far.any() else series


def isolated_outliers(series: Float, *, threshold: float) -> Mask:
    """Samples that stand off both neighbours to the same side by more than threshold·sigma.

    series (time, channel). One sample in time is what a cosmic ray leaves in a CDS pair; a transit, a
    drift or a step never qualifies since it moves the neighbours too.
    """
    if len(series) < 3:
        return np.zeros(series.shape, bool)
    sigma = point_to_point_sigma(series, samples=SIGMA_SAMPLES)
    step = np.diff(series, axis=0)
    left, right = step[:-1], -step[1:]
    limit = threshold * np.where(sigma > 0, sigma, np.inf)
    out = np.zeros(series.shape, bool)
    out[1:-1] = (np.minimum(left, right) > limit) | (np.maximum(left, right) < -limit)
    out[0] = np.abs(series[0] - series[1:3].mean(axis=0)) > 1.25 * limit
    out[-1] = np.abs(series[-1] - series[-3:-1].mean(axis=0)) > 1.25 * limit
    return out


def interpolate_in_time(series: Float, bad: Mask) -> Float:
    """Replace bad samples (time, channel) by linear interpolation between their good neighbours in time."""
    out = series.copy()
    index = np.arange(len(series), dtype=np.float64)
    for c in np.flatnonzero(bad.any(axis=0)):
        good = ~bad[:, c]
        if good.any():
            out[bad[:, c], c] = np.interp(index[bad[:, c]], index[good], series[good, c])
    return out


def running_mean(series: Float, window: int) -> Float:
    """Centred running mean over `window` samples of axis 0, the end values repeated."""
    if window <= 1:
        return series
    return uniform_filter1d(series, size=min(window, len(series)), axis=0, mode="nearest")


def spectral_shift(spectra: Float) -> Float:
    """Shift of each spectrum along the dispersion axis, px, from the spectra themselves.

    spectra (time, column). The residual of the flux-normalized spectrum is projected on the gradient of
    the mean spectrum; band edges dominate, so the columns should reach past them.
    """
    total = spectra.sum(axis=1, keepdims=True)
    normal = spectra / total
    mean = normal.mean(axis=0)
    gradient = np.gradient(mean)
    return -((normal - mean) @ gradient) / (gradient @ gradient)


def least_squares(design: Float, series: Float, weight: Float) -> Float:
    """Coefficients (terms, channel) of weighted linear fits sharing one design (time, term), weight (time,).

    Columns are scaled to unit norm before solving, so that mixed units do not hurt the conditioning.
    """
    root = np.sqrt(weight)[:, None]
    scaled = design * root
    norm = np.sqrt((scaled**2).sum(axis=0))
    norm[norm == 0] = 1.0
    # one small pseudo-inverse for all channels; a term that does not vary gets a zero coefficient
    solution = (np.linalg.pinv(scaled / norm) * root.T) @ series
    return np.asarray(solution / norm[:, None])


def bin_mean(values: Float, index: NDArray[np.integer], n_bins: int) -> tuple[Float, Float]:
    """Mean and number of finite samples of (time, …) values per bin; empty bins NaN.

    index (time,): bin of each sample, negative: left out.
    """
    bins = np.asarray(index, dtype=np.int64)
    flat = values.reshape(len(values), -1).astype(np.float64, copy=False)
    total, count = np.zeros((n_bins, flat.shape[1])), np.zeros((n_bins, flat.shape[1]))
    binned.sum_in_bins(flat, bins, total, count)
    mean = np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
    shape = (n_bins, *values.shape[1:])
    return mean.reshape(shape), count.reshape(shape)
