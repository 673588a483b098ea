"""Photometry: fluxes per pair (and per spectral channel) as weighted sums of the CDS frames.

The weights of a visit are static maps made once (`weights.build_constants`); the hot loop is a weighted sum. Methods that
need each frame itself (`per_frame`) leave the same sums. `finish` turns the sums of all pairs into background-subtracted
light curves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from v50calib.dq import DQ
from v50calib.errors import DataError
from v50calib.kernels.arrays import Flags, Float, Index, Mask, Real
from v50calib.kernels.fused import weighted_column_sums
from v50calib.kernels.lightcurves import Shift, linear_variance, spectral_shift, subtract_smooth, with_light
from v50calib.kernels.lightcurves import sums as sums_of
from v50calib.kernels.series import interpolate_in_time, isolated_outliers, robust_limits
from v50calib.stages.photometry.centroid import follow
from v50calib.stages.photometry.config import PhotometryConfig
from v50calib.stages.photometry.constants import LightCurves, PhotometryConstants
from v50calib.stages.photometry.flags import background_excess, threshold_flags
from v50calib.stages.photometry.per_frame import REPLACED, measure_frames
from v50calib.stages.photometry.weight_maps import FLUX, LIGHT, Sums, WeightMaps, X, Y

#: background samples further off their channel's slow course than this many sigma are replaced by its median
BACKGROUND_CLIP = 6.0


def picked(values: NDArray[Any], columns: Index) -> NDArray[Any]:
    """Columns of values (pair, column) as an array of their own; neighbours, in either direction, are copied row by row.

    >>> picked(np.arange(6.0).reshape(2, 3), np.array([2, 1]))
    array([[2., 1.],
           [5., 4.]])
    """
    step = int(columns[1] - columns[0]) if columns.size > 1 else 1
    if abs(step) != 1 or (np.diff(columns) != step).any():
        return np.asarray(values[:, columns])
    low, high = int(columns.min()), int(columns.max()) + 1
    return np.ascontiguousarray(values[:, low:high][:, ::step])


def summed(columns: Float, maps: WeightMaps, dtype: str) -> Sums:
    """Sums (n, maps, nx) per column as they are kept: of the first maps per column, of the others over the frame."""
    kept = columns[:, : maps.per_column].swapaxes(0, 1).astype(dtype, order="C")
    return Sums(kept, columns[:, maps.per_column :].sum(axis=2))


class Photometry:
    """cds_corrected (pair, y, x) [e-] -> photometry (pair, wavelength) [e- per pair], background and pointing.

    Optimal extraction (Horne 1986, PASP 98, 609) or a strip of a spectrum's columns; an aperture or a PSF fit of a band.

    Variance: Σ w² V with V from the model of the mean frame, never from a pair's own data.
    Flags: SATURATED, AD_FLOOR where a used pixel was flagged in either read; FLUX_ESTIMATED where a masked pixel was filled in;
    OUTLIER|FLUX_ESTIMATED where a single sample stood off its neighbours in time and was interpolated, pixels were rejected or a
    fit failed; HOT, NO_LIN_CORR, UNRELIABLE_DARK of used pixels; DO_NOT_USE of channels without a usable pixel; and those of
    calib.photometry.flags.
    Raises (`choices`, `weights.build_constants`) ConfigError where a method makes no sense on the instrument, DataError where the
    mean frame has no star to fit.
    """

    name: ClassVar[str] = "photometry"
    input_key: ClassVar[str] = "cds_corrected"
    output_key: ClassVar[str] = "photometry"

    def __init__(self, config: PhotometryConfig) -> None:
        self.config = config

    def measure(self, cds: Float, constants: PhotometryConstants, dtype: str) -> Sums:
        """Sums of CDS frames (n, ny, nx) with masked pixels at any finite value, columns stored as `dtype`."""
        maps = constants.maps
        if constants.per_frame is not None:
            sums = measure_frames(cds, constants.per_frame, maps, constants.areas)
            return replace(sums, columns=sums.columns.astype(dtype, order="C"))
        out = np.empty((len(cds), len(maps.weights), cds.shape[2]))
        weighted_column_sums(cds, maps.weights, maps.first, maps.last, out)
        return summed(out, maps, dtype)

    def finish(self, sums: Sums, dq: Flags, constants: PhotometryConstants, blank: Mask | None = None) -> LightCurves:
        """Light curves of a whole visit from its sums and flags (pair, nx) or (pair, 1).

        blank (pair,): those whose sums are their neighbours'; they say nothing of the scatter.
        """
        flux, background = self._raw_series(sums, constants)
        excess = background_excess(background, self.config.flags.excessive_bkg)
        centre, limit = robust_limits(background, BACKGROUND_CLIP)
        dead = ~np.isfinite(constants.areas.flux)
        if dead.all():
            raise DataError(
                f"none of the {dead.size} channels has a usable pixel: look at the visit's maps dead and flat, and at what calib.flat and "
                "calib.dark mask"
            )
        area, smoothing = np.where(dead, 0.0, constants.areas.flux), constants.background
        background = subtract_smooth(flux, background, centre, limit, area, smoothing.smooth_pairs, smoothing.smooth_columns)
        # a column without a usable pixel has no flux; NaN must not reach the sums over columns
        flux[:, dead] = 0.0
        if sums.dq is not None:
            dq = dq | sums.dq
        if self.config.outlier_replace.enabled:
            flux, dq = self._without_outliers(flux, dq, blank)
        if not self.config.flags.saturation:
            dq = dq & ~np.uint32(DQ.SATURATED)
        x, y, shift = self._pointing(sums, background, flux, constants)
        # the x of a spectrum is a shift
        home = (constants.centre[0], 0.0) if constants.spectral else constants.centre
        x, y, lost = follow(x, y, self.config.centroid.track, home)
        curves = self._channels(flux, background, x, y, dq, constants)
        if shift is not None and curves.flux.shape[1] == len(constants.channels.columns):
            curves = replace(curves, shift_noise=_shift_noise(shift, curves, constants))
        return threshold_flags(self.config.flags, curves, constants, excess, lost)

    def _without_outliers(self, flux: Real, dq: Flags, blank: Mask | None) -> tuple[Real, Flags]:
        """Flux and flags with single samples in time that stand off their neighbours interpolated."""
        # pairs without light say nothing of the scatter, and are no neighbours to be held against
        lit = with_light(sums_of(flux)[0])
        if blank is not None and not blank.all():
            lit &= ~blank
        rows = flux if lit.all() else flux[lit]
        bad = isolated_outliers(rows, threshold=self.config.outlier_replace.threshold_sigma)
        where = np.flatnonzero(bad)
        if not where.size:
            return flux, dq
        if rows is flux:
            dq = dq.copy()
            dq.reshape(-1)[where] |= REPLACED
            return interpolate_in_time(flux, bad), dq
        flux, dq, flags = flux.copy(), dq.copy(), dq[lit]
        flags.reshape(-1)[where] |= REPLACED
        flux[lit], dq[lit] = interpolate_in_time(rows, bad), flags
        return flux, dq

    @staticmethod
    def _raw_series(sums: Sums, constants: PhotometryConstants) -> tuple[Real, Real]:
        """Flux with its background (a copy), and the background per pixel, (pair, nx) or (pair, 1)."""
        maps, mix = constants.maps, constants.background.mix
        flux = maps.series(sums, FLUX).copy()
        if maps.background is not None:
            return flux, maps.series(sums, maps.background)
        assert mix is not None
        return flux, (maps.totals(sums, maps.coefficients) @ mix.T).astype(flux.dtype)

    def _pointing(self, sums: Sums, background: Real, flux: Real, constants: PhotometryConstants) -> tuple[Float, Float, Shift | None]:
        """Star position x, y (px) of each pair from its own frame: y from the rows, x from the columns or the spectrum (and how)."""
        maps, (y0, x0) = constants.maps, constants.centre
        if constants.per_frame is not None and constants.per_frame.locates:
            positions = maps.positions(sums)
            return positions[:, 1], positions[:, 0], None
        if not self.config.centroid.measured:
            n = len(sums.totals)
            return np.full(n, 0.0 if constants.spectral else x0), np.full(n, y0), None
        moments, areas = maps.totals(sums, maps.moments), constants.areas.moments
        if constants.spectral:
            span = constants.drift_columns
            if not flux[:, span].any():
                raise DataError(
                    "no column with light in the part of the spectrum that shows its drift: look at the visit's maps dead and flat, or set "
                    "calib.photometry.centroid.method=none"
                )
            found = spectral_shift(flux[:, span])
            return found.shift, y0 + (moments[:, Y] - background[:, span] @ areas[Y, span]) / found.total, found
        level, area = background[:, 0], areas[:, 0]
        light = moments[:, LIGHT] - level * area[LIGHT] if len(area) > LIGHT else flux[:, 0]
        return x0 + (moments[:, X] - level * area[X]) / light, y0 + (moments[:, Y] - level * area[Y]) / light, None

    def _channels(
        self, flux: Real, background: Real, x: Float, y: Float, dq: Flags, constants: PhotometryConstants
    ) -> LightCurves:  # fmt: skip
        """Pick the science columns in ascending wavelength, attach variances, sum to a band where asked."""
        columns, noise, smoothing = constants.channels.columns, constants.noise, constants.background
        flux, background = picked(flux, columns), picked(background, columns)
        flux[:, ~np.isfinite(constants.areas.flux[columns])] = np.nan
        unsmoothed = constants.background_flux_var[columns]
        share = 1.0 / max(smoothing.smooth_pairs, 1)
        slow, fast = unsmoothed * (1.0 - share), unsmoothed * share
        read = noise.read[columns] + fast
        variance = linear_variance(flux, noise.photon_gain[columns], noise.constant[columns] + read)
        dq = picked(dq, columns) | constants.channels.dq[columns]
        if constants.spectral and self.config.instrument.per_channel is False:
            flux, variance, background = (np.nansum(v, axis=1, keepdims=True) for v in (flux, variance, background))
            dq = np.bitwise_or.reduce(dq, axis=1, keepdims=True)
            read = np.nansum(read, keepdims=True)
            # neighbouring channels share the smoothed background, so their errors add up, not their variances
            shared = min(smoothing.shared_columns, slow.size)
            slow = np.asarray(np.nansum(slow, keepdims=True) * shared)
            more = float(np.nansum(fast)) * (shared - 1)
            return LightCurves(flux, variance + more, read + more, background, x, y, dq, slow)
        return LightCurves(flux, variance, read, background, x, y, dq, slow, fast, smoothing.shared_columns)


def _shift_noise(shift: Shift, curves: LightCurves, constants: PhotometryConstants) -> Float:
    """`Shift.noise_along` of the channels (2, channel), of the pairs that have light. Columns beyond them have the noise of their light
    and the channels' other."""
    lit = with_light(shift.total)
    total = float(np.median(shift.total[lit]))
    light = np.maximum(shift.mean * total, 0.0)
    where = constants.channels.columns - constants.drift_columns.start
    rows = np.flatnonzero(lit)
    sample = curves.variance[rows[:: max(1, len(rows) // 50)]].astype(np.float64)
    good = np.isfinite(sample).all(axis=0) & (sample > 0).all(axis=0)
    if not good.any():
        return np.zeros((2, len(where)))
    seen = np.median(sample[:, good], axis=0)
    variance = light + max(float(np.median(seen - light[where[good]])), 0.0)
    variance[where[good]] = seen
    return shift.noise_along(np.sqrt(variance) / total)[:, where]
