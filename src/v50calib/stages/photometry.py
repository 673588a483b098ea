"""Photometry: fluxes per pair (and per spectral channel) as weighted sums of the CDS frames.

The weights of a visit are static maps made once by `prepare` (`photometry_weights.py`); the hot loop is a
weighted sum. `finish` turns the sums of all pairs into background-subtracted light curves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from v50calib.dq import DQ
from v50calib.kernels.fused import weighted_column_sums
from v50calib.kernels.lightcurves import linear_variance, spectral_shift, subtract_smooth
from v50calib.kernels.series import interpolate_in_time, isolated_outliers, robust_limits
from v50calib.stages.base import Float, Real, Section, StageConfig


class InstrumentChoice(Section):
    name: Literal["all", "FGS1", "AIRS", "AIRS-CH0"] = "all"
    per_channel: bool | None = None


class Method(Section):
    method: Literal["auto", "aperture", "optimal"] = "auto"


class Box(Section):
    height_px: float = Field(default=12.0, gt=0)
    width_px: float = Field(default=12.0, gt=0)


class Aperture(Section):
    """mask_treatment: `fill` estimates masked pixels, `omit` leaves them out of the sum as the host does."""

    shape: Literal["circular", "box"] = "circular"
    radius_px: float = Field(default=7.0, gt=0)
    box: Box = Box()
    mask_treatment: Literal["fill", "omit"] = "fill"


class Columns(Section):
    """smooth_columns: running mean of the background along wavelength; it has no lines, and its noise would
    otherwise enter every pixel of the aperture at once."""

    edge_rows: int = Field(default=8, ge=1)
    smooth_columns: int = Field(default=15, ge=1)


class Annulus(Section):
    inner_px: float = Field(default=10.0, gt=0)
    outer_px: float = Field(default=20.0, gt=0)


class Background(Section):
    """smooth_s: length of the running mean in time. Short against ingress, so the star's own wings in the
    background region follow the transit and the depth stays unbiased; long against a pair, so it adds no noise."""

    method: Literal["auto", "columns", "annulus", "none"] = "auto"
    columns: Columns = Columns()
    annulus: Annulus = Annulus()
    smooth_s: float = Field(default=150.0, ge=0)


class Window(Section):
    half_height_px: int = Field(default=8, ge=2)


class Profile(Section):
    degree: int = Field(default=5, ge=0, le=12)


class Optimal(Section):
    window: Window = Window()
    profile: Profile = Profile()


class NoiseModel(Section):
    read_noise: float | None = Field(default=None, gt=0)


class OutlierReplace(Section):
    enabled: bool = True
    threshold_sigma: float = Field(default=8.0, gt=0)


class PhotometryConfig(StageConfig):
    instrument: InstrumentChoice = InstrumentChoice()
    photometry: Method = Method()
    aperture: Aperture = Aperture()
    background: Background = Background()
    optimal: Optimal = Optimal()
    noise_model: NoiseModel = NoiseModel()
    outlier_replace: OutlierReplace = OutlierReplace()


#: rows of `PhotometryConstants.weights`
FLUX, BACKGROUND, Y_MOMENT, X_MOMENT = range(4)
#: background samples further off their channel's slow course than this many sigma are replaced by its median
SKY_CLIP = 6.0


@dataclass(frozen=True)
class PhotometryConstants:
    """Static maps and noise terms of a visit.

    weights        (maps, ny, nx): flux, mean background per pixel, first moment about `centre` in y, in x (band only)
    per_column     how many of the maps, from the first, are summed per column; the others over the whole frame
    first, last    (maps,) row range of each map
    used           (ny, nx) pixels that enter the flux
    area           (nx,) or scalar: Σ of the flux weights (pixels of background under it)
    photon_gain    Σ w² P / flat: photon variance per electron of flux
    constant_var   read noise + dark + background photons, e-²
    background_var variance of one pair's background estimate (after smoothing along wavelength), e-²
    columns        detector columns of the output channels, in output order (None: one band)
    channel_dq     (channel,) uint32
    """

    method: str
    spectral: bool
    weights: Float
    per_column: int
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    used: NDArray[np.bool_]
    area: Float
    moment_area: Float
    photon_gain: Float
    read_var: Float
    poisson_var: Float
    background_var: Float
    centre: tuple[float, float]
    columns: NDArray[np.int64] | None
    drift_columns: slice
    channel_dq: NDArray[np.uint32]
    smooth_pairs: int
    smooth_columns: int


@dataclass(frozen=True)
class Sums:
    """Weighted sums of a run of CDS frames with the maps of `PhotometryConstants.weights`.

    columns (n, per_column, nx): per detector column; totals (n, maps - per_column): over the whole frame.
    """

    columns: Real
    totals: Float


def joined(parts: list[Sums]) -> Sums:
    """Sums of consecutive chunks as one."""
    return Sums(np.concatenate([p.columns for p in parts]), np.concatenate([p.totals for p in parts]))


@dataclass(frozen=True)
class LightCurves:
    """Extracted series of one visit: flux [e- per pair] and its variance, (pair, channel).

    var_rnoise (channel,) e-²: the part of the variance that is read noise, the same for every pair;
    background in e- per pixel (smoothed in time); x, y (pair,) pointing in px; dq (pair, channel) uint32.
    slow_var (channel,) e-²: what the subtracted background adds to the variance of a pair for anything slower
    than its smoothing, a transit depth for one; a single pair sees only 1/smooth_pairs of it.
    """

    flux: Real
    variance: Real
    var_rnoise: Float
    background: Real
    x: Float
    y: Float
    dq: NDArray[np.uint32]
    slow_var: Float


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
        """Weighted sums of CDS frames (n, ny, nx) with masked pixels at any finite value, columns stored as `dtype`."""
        out = np.empty((len(cds), len(constants.weights), cds.shape[2]))
        weighted_column_sums(cds, constants.weights, constants.first, constants.last, out)
        return Sums(out[:, : constants.per_column].astype(dtype), out[:, constants.per_column :].sum(axis=2))

    def finish(self, sums: Sums, dq: NDArray[np.uint32], constants: PhotometryConstants) -> LightCurves:
        """Light curves of a whole visit from its sums and flags (pair, nx) or (pair, 1)."""
        if constants.spectral:
            flux, sky = (np.ascontiguousarray(sums.columns[:, m]) for m in (FLUX, BACKGROUND))
        else:
            flux, sky = sums.totals[:, :1].copy(), sums.totals[:, 1:2]
        centre, limit = robust_limits(sky, SKY_CLIP)
        area = np.where(np.isfinite(constants.area), constants.area, 0.0)
        sky = subtract_smooth(
            flux, sky, centre, limit, area, constants.smooth_pairs, constants.smooth_columns
        )  # fmt: skip
        # a column without a usable pixel has no flux; NaN must not reach the sums over columns
        flux[:, ~np.isfinite(constants.area)] = 0.0
        if self.config.outlier_replace.enabled:
            bad = isolated_outliers(flux, threshold=self.config.outlier_replace.threshold_sigma)
            if bad.any():
                flux = interpolate_in_time(flux, bad)
                dq = dq.copy()
                dq[bad] |= np.uint32(DQ.OUTLIER | DQ.FLUX_ESTIMATED)
        x, y = self._pointing(sums.totals, sky, flux, constants)
        return self._channels(flux, sky, x, y, dq, constants)

    def _pointing(self, totals: Float, sky: Real, flux: Real, constants: PhotometryConstants) -> tuple[Float, Float]:
        """Star position (px) of each pair from its own frame: y from the rows, x from the columns or the spectrum."""
        if constants.spectral:
            span = constants.drift_columns
            shift, total = spectral_shift(flux[:, span])
            moment = totals[:, 0] - sky[:, span] @ constants.moment_area[0, span]
            return shift, constants.centre[0] + moment / total
        moment_y = totals[:, Y_MOMENT] - sky[:, 0] * constants.moment_area[0]
        moment_x = totals[:, X_MOMENT] - sky[:, 0] * constants.moment_area[1]
        return constants.centre[1] + moment_x / flux[:, 0], constants.centre[0] + moment_y / flux[:, 0]

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
            slow = np.nansum(slow, keepdims=True) * min(constants.smooth_columns, slow.size)
        return LightCurves(flux, variance, read, sky, x, y, dq, slow)
