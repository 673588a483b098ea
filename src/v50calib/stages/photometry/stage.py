"""Photometry: fluxes per pair (and per spectral channel) as weighted sums of the CDS frames.

The weights of a visit are static maps made once by `prepare` (`photometry_weights.py`); the hot loop is a
weighted sum. Methods that need each frame itself (`photometry_frames.py`) leave the same sums. `finish` turns the
sums of all pairs into background-subtracted light curves.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from v50calib.dq import DQ
from v50calib.kernels.arrays import Float, Real
from v50calib.kernels.fused import weighted_column_sums
from v50calib.kernels.lightcurves import linear_variance, spectral_shift, subtract_smooth
from v50calib.kernels.series import interpolate_in_time, isolated_outliers, robust_limits
from v50calib.stages.photometry.centroid import follow
from v50calib.stages.photometry.config import PhotometryConfig
from v50calib.stages.photometry.constants import BACKGROUND, FLUX, LIGHT, X_MOMENT, Y_MOMENT, LightCurves, PhotometryConstants, Sums, joined
from v50calib.stages.photometry.flags import sky_excess, threshold_flags
from v50calib.stages.photometry.per_frame import measure_frames

__all__ = ["LightCurves", "Photometry", "PhotometryConfig", "PhotometryConstants", "Sums", "joined"]

#: background samples further off their channel's slow course than this many sigma are replaced by its median
SKY_CLIP = 6.0


class Photometry:
    """cds_corrected (pair, y, x) -> photometry (pair) or (pair, wavelength) [e- per pair].

    Sets SATURATED/AD_FLOOR where a used pixel was flagged in either read, FLUX_ESTIMATED where a masked pixel
    was filled in, OUTLIER|FLUX_ESTIMATED where a single sample stood off its neighbours in time and was
    interpolated. Variance: Σ w² V with V from the profile model (Horne 1986).
    """

    name: ClassVar[str] = "photometry"
    input_key: ClassVar[str] = "cds_corrected"
    output_key: ClassVar[str] = "photometry"

    def __init__(self, config: PhotometryConfig) -> None:
        self.config = config

    def measure(self, cds: Float, constants: PhotometryConstants, dtype: str) -> Sums:
        """Sums of CDS frames (n, ny, nx) with masked pixels at any finite value, columns stored as `dtype`."""
        c = constants
        if c.frame is not None:
            found = measure_frames(cds, c.frame, c.weights, c.first, c.last, (c.area, c.moment_area))
            return Sums(found.columns.swapaxes(0, 1).astype(dtype, order="C"), found.totals, found.dq)
        out = np.empty((len(cds), len(c.weights), cds.shape[2]))
        weighted_column_sums(cds, c.weights, c.first, c.last, out)
        return Sums(out[:, : c.per_column].swapaxes(0, 1).astype(dtype, order="C"), out[:, c.per_column :].sum(axis=2))

    def finish(self, sums: Sums, dq: NDArray[np.uint32], constants: PhotometryConstants) -> LightCurves:
        """Light curves of a whole visit from its sums and flags (pair, nx) or (pair, 1)."""
        flux, sky = self._raw_series(sums, constants)
        excess = sky_excess(sky, self.config.flags.excessive_bkg)
        centre, limit = robust_limits(sky, SKY_CLIP)
        area = np.where(np.isfinite(constants.area), constants.area, 0.0)
        sky = subtract_smooth(
            flux, sky, centre, limit, area, constants.smooth_pairs, constants.smooth_columns
        )  # fmt: skip
        # a column without a usable pixel has no flux; NaN must not reach the sums over columns
        flux[:, ~np.isfinite(constants.area)] = 0.0
        if sums.dq is not None:
            dq = dq | sums.dq
        if self.config.outlier_replace.enabled:
            bad = isolated_outliers(flux, threshold=self.config.outlier_replace.threshold_sigma)
            if bad.any():
                flux = interpolate_in_time(flux, bad)
                dq = dq.copy()
                dq[bad] |= np.uint32(DQ.OUTLIER | DQ.FLUX_ESTIMATED)
        if not self.config.flags.saturation:
            dq = dq & ~np.uint32(DQ.SATURATED)
        x, y = self._pointing(sums.totals, sky, flux, constants)
        place = (constants.centre[0], 0.0) if constants.spectral else constants.centre
        x, y, lost = follow(x, y, self.config.centroid.track, place)
        curves = self._channels(flux, sky, x, y, dq, constants)
        return threshold_flags(self.config.flags, curves, constants, excess, lost)

    @staticmethod
    def _raw_series(sums: Sums, constants: PhotometryConstants) -> tuple[Real, Real]:
        """Flux with its background, and the background per pixel, (pair, nx) or (pair, 1)."""
        if not constants.spectral:
            return sums.totals[:, :1].copy(), sums.totals[:, 1:2]
        flux = sums.columns[FLUX].copy()
        if constants.sky_basis is None:
            return flux, sums.columns[BACKGROUND]
        terms = constants.sky_basis.shape[1]
        return flux, (sums.totals[:, -terms:] @ constants.sky_basis.T).astype(flux.dtype)

    def _pointing(self, totals: Float, sky: Real, flux: Real, constants: PhotometryConstants) -> tuple[Float, Float]:
        """Star position (px) of each pair from its own frame: y from the rows, x from the columns or the spectrum."""
        if constants.direct:
            return totals[:, -1], totals[:, -2]
        if self.config.centroid.chosen == "none":
            n, (y0, x0) = len(totals), constants.centre
            return np.full(n, 0.0 if constants.spectral else x0), np.full(n, y0)
        if constants.spectral:
            span = constants.drift_columns
            shift, total = spectral_shift(flux[:, span])
            moment = totals[:, 0] - sky[:, span] @ constants.moment_area[0, span]
            return shift, constants.centre[0] + moment / total
        below = constants.moment_area[:, 0]
        moment_y, moment_x = totals[:, Y_MOMENT] - sky[:, 0] * below[0], totals[:, X_MOMENT] - sky[:, 0] * below[1]
        light = totals[:, LIGHT] - sky[:, 0] * below[2] if len(below) > 2 else flux[:, 0]
        return constants.centre[1] + moment_x / light, constants.centre[0] + moment_y / light

    def _channels(
        self, flux: Real, sky: Real, x: Float, y: Float, dq: NDArray[np.uint32],
        constants: PhotometryConstants,
    ) -> LightCurves:  # fmt: skip
        """Pick the science columns in ascending wavelength, attach variances, sum to a band where asked."""
        columns = constants.columns if constants.columns is not None else np.array([0])
        flux, sky = flux[:, columns], sky[:, columns]
        dead_channel = ~np.isfinite(constants.area[columns])
        flux[:, dead_channel] = np.nan
        under = constants.area[columns] ** 2 * constants.background_var[columns]
        share = 1.0 / max(constants.smooth_pairs, 1)
        slow, read = under * (1.0 - share), constants.read_var[columns] + under * share
        variance = linear_variance(flux, constants.photon_gain[columns], constants.poisson_var[columns] + read)
        dq = dq[:, columns] | constants.channel_dq[columns]
        if constants.spectral and self.config.instrument.per_channel is False:
            flux, variance, sky = (np.nansum(v, axis=1, keepdims=True) for v in (flux, variance, sky))
            dq = np.bitwise_or.reduce(dq, axis=1, keepdims=True)
            read = np.nansum(read, keepdims=True)
            # neighbouring channels share the smoothed background, so their errors add up, not their variances
            slow = np.nansum(slow, keepdims=True) * min(constants.shared_columns, slow.size)
        return LightCurves(flux, variance, read, sky, x, y, dq, slow)
