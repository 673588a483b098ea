"""What photometry passes on: the constants of a visit, and its light curves."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from v50calib.kernels.arrays import Flags, Float, Index, Mask, Real
from v50calib.stages.photometry.per_frame import PerFrame
from v50calib.stages.photometry.weight_maps import Areas, WeightMaps


@dataclass(frozen=True)
class BackgroundTerms:
    """How the background's sums become what is subtracted, and how well that is known.

    mix             (nx, terms) background per pixel of each column from the surface's coefficients; None: its map is summed
    variance        (channels,) of one pair's background per pixel, after smoothing along wavelength, e-²
    smooth_pairs    pairs in the running mean in time
    smooth_columns  columns in that along wavelength
    shared_columns  columns whose backgrounds share their error
    """

    mix: Float | None
    variance: Float
    smooth_pairs: int
    smooth_columns: int
    shared_columns: int


@dataclass(frozen=True)
class NoiseTerms:
    """Variance (channels,) of a pair's flux by its causes, e-²: Σ w² of the pixels' variances.

    photon_gain  Σ w² P / flat: photon variance per electron of flux
    read         read noise
    dark         dark electrons
    constant     background photons and dark
    flat_gain    (2, channels) variance per px² of motion in y and in x, and per squared relative error of the flat
    """

    photon_gain: Float
    read: Float
    dark: Float
    constant: Float
    flat_gain: Float


@dataclass(frozen=True)
class Channels:
    """The output channels.

    columns   (channel,) detector columns in output order, ascending in wavelength; [0] for a band
    dq        (nx,) or (1,) static flags
    replaced  (nx,) or (1,) share of the light that falls on pixels that were estimated
    """

    columns: Index
    dq: Flags
    replaced: Float


@dataclass(frozen=True)
class PhotometryConstants:
    """Static maps and noise terms of a visit. Below, `channels` are the detector's columns, or the one band.

    method         of extraction, `auto` resolved
    used           (ny, nx) pixels that enter the flux
    areas          pixels of background in the sums
    centre         (y, x) px that first moments are taken about
    drift_columns  columns that a spectrum's shift is measured on
    per_frame      what is measured on each frame; None: the maps say all
    """

    method: str
    spectral: bool
    maps: WeightMaps
    used: Mask
    areas: Areas
    background: BackgroundTerms
    noise: NoiseTerms
    channels: Channels
    centre: tuple[float, float]
    drift_columns: slice
    per_frame: PerFrame | None

    @property
    def background_flux_var(self) -> Float:
        """Variance (channels,) of the background in a pair's flux, were it not smoothed in time, e-²."""
        return np.asarray(self.areas.flux**2 * self.background.variance)


@dataclass(frozen=True)
class LightCurves:
    """Extracted series of one visit: flux [e- per pair] and its variance, (pair, channel).

    var_rnoise (channel,) e-²: the part of the variance that is read noise, the same for every pair;
    background in e- per pixel (smoothed in time); x, y (pair,) pointing in px; dq (pair, channel) uint32.
    slow_var (channel,) e-²: what the subtracted background adds to the variance of a pair for anything slower
    than its smoothing, a transit depth for one; a single pair sees only 1/smooth_pairs of it, fast_var, in its variance. shared:
    neighbouring channels whose backgrounds are smoothed into one: in their sum errors add up, not variances.
    shift_noise (2, channel): what the noise of a measured shift leaves in each channel (`Shift.noise_along`); None where no shift was
    read from the spectrum.
    flagged: samples or channels that each threshold of calib.photometry.flags, or the tracking, flagged.
    """

    flux: Real
    variance: Real
    var_rnoise: Float
    background: Real
    x: Float
    y: Float
    dq: Flags
    slow_var: Float
    fast_var: Float = field(default_factory=lambda: np.zeros(1))
    shared: int = 1
    flagged: dict[str, int] = field(default_factory=dict)
    shift_noise: Float | None = None
