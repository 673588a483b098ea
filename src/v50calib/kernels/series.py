"""Statistics of time series: single-sample outliers, running means, drift from the spectrum, least squares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels import binned
from v50calib.kernels.arrays import Float, Mask, Real
from v50calib.kernels.lightcurves import apply_operator, isolated

#: standard deviation of a normal distribution per median absolute deviation
MAD_TO_SIGMA = 1.4826022185056018
#: samples in time that a robust level or scatter is taken from
SIGMA_SAMPLES = 400
#: limit of the first and last sample over that of others: theirs are on one side, and a slow change carries them off
END = 1.25
#: stretches of time that a slow change is followed in
BLOCKS = 20


def median(values: Real) -> Float:
    """Median along axis 0, NaN where any value is. Short columns are sorted whole, which vectorizes: faster than `np.median` selects.

    >>> median(np.array([[3.0, 1.0], [1.0, 1.0], [2.0, 9.0], [8.0, 2.0]]))
    array([2.5, 1.5])
    """
    ordered = np.sort(np.moveaxis(values, 0, -1), axis=-1)
    n = len(values)
    # NaN is last in order
    return np.asarray(np.where(np.isnan(ordered[..., -1]), np.nan, 0.5 * (ordered[..., (n - 1) // 2] + ordered[..., n // 2])))


def robust_sigma(values: Real) -> Float:
    """1.4826 x median absolute deviation along axis 0; NaN ignored, NaN where nothing is finite.

    >>> robust_sigma(np.array([[1.0], [2.0], [3.0], [4.0], [500.0]])).round(4)  # the median absolute deviation is 1
    array([1.4826])
    """
    finite = np.isfinite(values)
    if finite.all():
        return MAD_TO_SIGMA * median(np.abs(values - median(values)))
    lost = ~finite.any(axis=0)
    filled = np.where(lost, 0.0, values)
    deviation = np.abs(filled - np.nanmedian(filled, axis=0))
    return np.where(lost, np.nan, MAD_TO_SIGMA * np.nanmedian(deviation, axis=0))


def point_to_point_sigma(series: Real, *, samples: int | None = None) -> Float:
    """White noise of (time, …) series from first differences: blind to anything slower than the sampling.

    samples: use that many differences spread evenly over time (400 are good to 6 %); default all.

    >>> noise = np.random.default_rng(1).normal(0.0, 2.0, 100_000)
    >>> point_to_point_sigma(noise + np.linspace(0.0, 50.0, 100_000)).round(1)  # blind to the slope
    np.float64(2.0)
    """
    if samples is None or len(series) <= samples:
        return robust_sigma(np.diff(series, axis=0)) / np.sqrt(2.0)
    index = np.linspace(0, len(series) - 2, samples).astype(int)
    return robust_sigma(series[index + 1] - series[index]) / np.sqrt(2.0)


def robust_limits(series: Real, clip: float) -> tuple[Float, Float]:
    """Median of each channel of (time, channel) series and how far from it a sample may lie; both from samples spread evenly in time.

    A sample may lie as far from it as the medians of BLOCKS stretches of time do, plus `clip` robust standard deviations about
    those: a slow change, above all a transit, is no outlier however small the noise is.

    >>> step = np.repeat([[1.0], [0.9]], 200, axis=0)  # a transit half as long as the visit
    >>> centre, limit = robust_limits(step, clip=5.0)
    >>> centre, limit.round(12)
    (array([0.95]), array([0.05]))
    """
    index = np.linspace(0, len(series) - 1, min(len(series), SIGMA_SAMPLES)).astype(int)
    sample = series[index].astype(np.float64)
    centre = median(sample)
    length = max(len(sample) // BLOCKS, 1)
    blocks = sample[: len(sample) // length * length].reshape(-1, length, sample.shape[1])
    levels = median(blocks.swapaxes(0, 1))
    sigma = robust_sigma((blocks - levels[:, None]).reshape(-1, sample.shape[1]))
    return centre, clip * sigma + np.abs(levels - centre).max(axis=0)


def isolated_outliers(series: Real, *, threshold: float) -> Mask:
    """Samples above both neighbours, or below both, by more than threshold·sigma.

    series (time, channel). One sample in time is what a cosmic ray leaves in a CDS pair; a transit, a
    drift or a step never qualifies since it moves the neighbours too. The first and last sample are held against the next two, at END
    times the limit: off their mean it would be where one of those is the outlier.

    >>> series = np.tile([[1.0], [1.1]], (50, 1))
    >>> series[[2, 40]] = 9.0
    >>> np.flatnonzero(isolated_outliers(series, threshold=8.0))
    array([ 2, 40])
    """
    if len(series) < 3:
        return np.zeros(series.shape, bool)
    sigma = point_to_point_sigma(series, samples=SIGMA_SAMPLES)
    limit = threshold * np.where(sigma > 0, sigma, np.inf)
    out = isolated(series, limit)
    out[0] = _off_both(series[0], series[1], series[2], END * limit)
    out[-1] = _off_both(series[-1], series[-2], series[-3], END * limit)
    return out


def _off_both(sample: Real, one: Real, two: Real, limit: Float) -> Mask:
    """Where a sample (channel,) is above both others, or below both, by more than the limit."""
    return np.asarray((sample - np.maximum(one, two) > limit) | (np.minimum(one, two) - sample > limit))


def interpolate_in_time(series: Real, bad: Mask) -> Real:
    """Replace bad samples (time, channel) by linear interpolation between their good neighbours in time.

    >>> interpolate_in_time(np.array([[1.0], [9.0], [9.0], [4.0]]), np.array([[False], [True], [True], [False]])).ravel().round(12)
    array([1., 2., 3., 4.])
    """
    out = series.copy()
    for i, c in zip(*np.divmod(np.flatnonzero(bad), bad.shape[1]), strict=True):
        before, after = i - 1, i + 1
        while before >= 0 and bad[before, c]:
            before -= 1
        while after < len(series) and bad[after, c]:
            after += 1
        if before < 0 or after >= len(series):
            # no good sample on one side: the other side's is repeated
            known = after if before < 0 else before
            if 0 <= known < len(series):
                out[i, c] = series[known, c]
            continue
        share = (i - before) / (after - before)
        out[i, c] = (1.0 - share) * series[before, c] + share * series[after, c]
    return out


def drift(positions: Real, share: float = 0.1) -> float:
    """Median of the last `share` of a series (time,) minus that of the first, in its units.

    >>> drift(np.arange(100.0))  # from 4.5 to 94.5
    90.0
    """
    ends = max(1, round(share * len(positions)))
    return float(np.median(positions[-ends:]) - np.median(positions[:ends]))


def least_squares(design: Float, series: Real, use: Mask) -> Float:
    """Coefficients (terms, channel) of linear fits to the samples `use` (time,), sharing one design (time, term).

    Columns are scaled to unit norm before solving, so that mixed units do not hurt the conditioning.

    >>> time = np.arange(4.0)
    >>> design, series = np.stack([np.ones(4), time], axis=1), (3.0 + 2.0 * time)[:, None]
    >>> least_squares(design, series, np.ones(4, bool)).ravel().round(12)
    array([3., 2.])
    """
    rows = np.flatnonzero(use)
    scaled = design[rows]
    norm = np.sqrt((scaled**2).sum(axis=0))
    norm[norm == 0] = 1.0
    # one small pseudo-inverse for all channels; a term that does not vary gets a zero coefficient
    return apply_operator(np.linalg.pinv(scaled / norm) / norm[:, None], rows, series)


def bin_mean(values: Any, index: NDArray[np.integer], n_bins: int) -> tuple[Float, Float]:
    """Mean and number of finite samples of (time, …) values per bin; empty bins NaN.

    index (time,): bin of each sample, negative: left out.

    >>> bin_mean(np.array([1.0, 3.0, np.nan, 8.0]), np.array([0, 0, 1, 1]), 3)
    (array([ 2.,  8., nan]), array([2., 1., 0.]))
    """
    bins = np.asarray(index, dtype=np.int64)
    flat = np.ascontiguousarray(values.reshape(len(values), -1))
    total = np.zeros((n_bins, flat.shape[1]))
    binned.sum_finite_in_bins(flat, bins, total)
    if np.isfinite(total).all():
        count = np.repeat(np.bincount(bins[bins >= 0], minlength=n_bins).astype(np.float64)[:, None], flat.shape[1], axis=1)
    else:
        total, count = np.zeros_like(total), np.zeros_like(total)
        binned.sum_in_bins(flat, bins, total, count)
    mean = np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
    shape = (n_bins, *values.shape[1:])
    return mean.reshape(shape), count.reshape(shape)
