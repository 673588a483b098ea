"""Position of the star in each pair, and its tracking through the visit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter, uniform_filter1d

from v50calib.kernels import centroid
from v50calib.kernels.arrays import Float
from v50calib.kernels.series import interpolate_in_time
from v50calib.stages.photometry.config import Centroid, Track

#: half size of the stamp where calib.photometry.centroid.roi does not say, px
HALF_STAMP = 6
#: pairs in the running median that a step of the track is measured against
TRACK_MEDIAN = 5

#: methods that locate a star in a stamp: kernels that fill positions (n, 2) from stamps (n, ny, nx)
STAR_KERNELS: dict[str, Callable[[Float, Float], None]] = {
    "gaussian2d": centroid.gaussian2d,
    "quadratic": centroid.quadratic,
    "peak": centroid.peak,
}
#: the method that follows any image, a spectrum too, by its shift against the mean frame
CORRELATION = "phase_corr"


@dataclass(frozen=True)
class CentroidPerFrame:
    """A centroid measured on each frame: the stamp, and the mean frame for correlations.

    centre (y, x): what a shift found by correlation is added to; the spectrum's x is a shift, so its centre[1] is 0.
    """

    method: str
    rows: slice
    columns: slice
    reference: Float
    centre: tuple[float, float]

    def measure(self, frames: Float) -> Float:
        """Positions (n, 2) [y, x] px of background-free frames (n, ny, nx); NaN where there is none."""
        stamps = np.ascontiguousarray(frames[:, self.rows, self.columns])
        if self.method == CORRELATION:
            return centroid.correlation_shift(stamps, self.reference) + np.array(self.centre)
        out = np.empty((len(stamps), 2))
        STAR_KERNELS[self.method](stamps, out)
        return out + np.array([self.rows.start, self.columns.start])


def stamp_of(config: Centroid, shape: tuple[int, int], centre: tuple[float, float], *, whole: bool) -> tuple[slice, slice]:
    """Rows and columns of the stamp: the roi, the whole detector, or a box about the star."""
    if config.roi is not None:
        y0, y1, x0, x1 = config.roi
        return slice(y0, y1), slice(x0, x1)
    if whole:
        return slice(0, shape[0]), slice(0, shape[1])
    spans = [slice(max(0, round(c) - HALF_STAMP), min(n, round(c) + HALF_STAMP + 1)) for c, n in zip(centre, shape, strict=True)]
    return spans[0], spans[1]


def build_centroid(config: Centroid, image: Float, centre: tuple[float, float], *, spectral: bool) -> CentroidPerFrame | None:
    """The per-frame centroid of a visit, None where the static moment maps (or nothing) measure it."""
    method = config.chosen
    if method not in STAR_KERNELS and method != CORRELATION:
        return None
    rows, columns = stamp_of(config, (image.shape[0], image.shape[1]), centre, whole=spectral)
    where = (centre[0], 0.0 if spectral else centre[1])
    return CentroidPerFrame(method, rows, columns, np.ascontiguousarray(image[rows, columns]), where)


def follow(x: Float, y: Float, track: Track, centre: tuple[float, float]) -> tuple[Float, Float, NDArray[np.bool_]]:
    """Positions (pair,) with lost ones interpolated in time; which those were.

    Lost: no finite position, and with `track` a step of more than max_step_px off the median of five neighbours. Where no pair
    has a position, all get the mean frame's centre (y, x).
    """
    measured = np.stack([x, y], axis=1)
    lost = np.asarray(~np.isfinite(measured).all(axis=1))
    if lost.all():
        return np.full(x.shape, centre[1]), np.full(y.shape, centre[0]), lost
    known = interpolate_in_time(measured, np.repeat(lost[:, None], 2, axis=1)) if lost.any() else measured
    if track.enabled:
        off = np.hypot(*(known - median_filter(known, size=(TRACK_MEDIAN, 1), mode="nearest")).T)
        lost |= off > track.max_step_px
        if lost.any() and not lost.all():
            known = interpolate_in_time(known, np.repeat(lost[:, None], 2, axis=1))
        if track.smooth_window > 1:
            known = uniform_filter1d(known, track.smooth_window, axis=0, mode="nearest")
    return known[:, 0].astype(np.float64), known[:, 1].astype(np.float64), lost
