"""Trace along wavelength: the reference spectrum that the channels are divided by."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from v50calib.errors import ConfigError
from v50calib.kernels import smoothers
from v50calib.kernels.arrays import Float, Mask
from v50calib.stages.config import Section, ordered_windows

#: bands [µm] of the strong near-infrared absorbers of giant planets between 1.6 and 4.1 µm (band centres and widths
#: as in Tinetti et al. 2013, Astron. Astrophys. Rev. 21, 63, fig. 1 and table of bands; rounded to 0.05 µm)
MOLECULE_BANDS_UM: dict[str, tuple[tuple[float, float], ...]] = {
    "H2O": ((1.75, 2.05), (2.50, 2.95)),
    "CO2": ((1.95, 2.10), (2.65, 2.85)),
    "CH4": ((1.60, 1.80), (2.15, 2.45), (3.15, 3.50)),
    "CO": ((2.30, 2.45),),
}


class WavelengthPoly(Section):
    """A polynomial in wavelength."""

    degree: int = Field(default=3, ge=0, le=12, description="degree of the continuum")


class WavelengthSpline(Section):
    """A cubic smoothing spline in wavelength."""

    knots: int = Field(default=8, ge=1, le=200, description="interior knots, evenly spaced in wavelength")
    smoothing_lambda: float = Field(default=0.0, ge=0, description="penalty on ∫ s''², wavelength scaled to [-1, 1]")
    boundary: Literal["natural", "free"] = Field(default="natural", description="`natural`: straight at both ends")


class Lowess(Section):
    """Local lines in wavelength (Cleveland 1979)."""

    frac: float = Field(default=0.2, gt=0, le=1, description="share of the channels in a local line")
    iters: int = Field(default=3, ge=0, le=20, description="robust steps")


class WavelengthRobust(Section):
    """Channels off the continuum."""

    sigma_clip: float = Field(default=5.0, gt=0, description="channels further off the continuum are not fitted")
    max_iters: int = Field(default=3, ge=0, description="iterations of the clip; 0: none")
    clip_mode: Literal["both", "lower", "upper"] = Field(default="both", description="`lower`: absorption only; `upper`: emission only")


class WavelengthExclude(Section):
    """Bands that the continuum is not fitted in."""

    windows: list[list[float]] = Field(default=[], description="µm, `[[from, to], …]`: not fitted")
    molecules: list[Literal["H2O", "CO2", "CH4", "CO"]] = Field(default=[], description="molecules whose bands are not fitted")

    @field_validator("windows")
    @classmethod
    def _ordered(cls, value: list[list[float]]) -> list[list[float]]:
        return ordered_windows(value, "um")


class AlongWavelength(Section):
    """The reference spectrum that the channels are divided by."""

    enabled: bool = Field(default=True, description="false: one level for all channels, the spectrum's shape stays")
    method: Literal["auto", "poly", "spline", "lowess"] = Field(
        default="auto", description="`auto`: the channel's own out-of-transit level; else a smooth continuum through the levels"
    )
    poly: WavelengthPoly = WavelengthPoly()
    spline: WavelengthSpline = WavelengthSpline()
    lowess: Lowess = Lowess()
    robust: WavelengthRobust = WavelengthRobust()
    exclude: WavelengthExclude = WavelengthExclude()
    reference: Literal["out_of_transit", "per_frame"] = Field(
        default="out_of_transit", description="`per_frame` divides the transit away; the product says so"
    )
    renormalize_to_median_one: bool = Field(default=False, description="median of the out-of-transit levels becomes 1")

    @property
    def bands(self) -> list[tuple[float, float]]:
        """Excluded bands [µm] of windows and molecules."""
        named = [b for m in self.exclude.molecules for b in MOLECULE_BANDS_UM[m]]
        return [(w[0], w[1]) for w in self.exclude.windows] + named

    @property
    def own_level(self) -> bool:
        """Whether a channel's own level is its reference, and no continuum is fitted."""
        return self.method == "auto"

    def terms(self) -> int:
        """Free parameters of the continuum."""
        return {"poly": self.poly.degree + 1, "spline": self.spline.knots + 4, "lowess": 3}.get(self.method, 0)


def fitted_channels(config: AlongWavelength, wavelength_um: Float) -> Mask:
    """Channels (channel,) that the continuum is fitted on. Raises ConfigError where too few are left.

    wavelength_um (channel,). One band has no continuum: nothing to check.
    """
    use = np.ones(wavelength_um.shape, bool)
    for low, high in config.bands:
        use &= ~((wavelength_um >= low) & (wavelength_um <= high))
    if wavelength_um.size > 1 and not config.own_level and use.sum() < 2 * config.terms():
        raise ConfigError(
            f"calib.trace.along_wavelength.exclude leaves {int(use.sum())} of {use.size} channels for a {config.method} "
            f"of {config.terms()} parameters: exclude less, or lower poly.degree / spline.knots"
        )
    return use


def continuum_operator(config: AlongWavelength, wavelength_um: Float, level: Float, variance: Float | None) -> Float:
    """Matrix (channel, channel) whose product with a spectrum is its continuum, made for the spectrum `level`.

    level (channel,) e-, finite; variance (channel,) e-² of the levels weights the fit; None: all alike.
    """
    use = fitted_channels(config, wavelength_um)
    weights = np.ones_like(level) if variance is None else float(np.median(variance)) / variance
    x = 2.0 * (wavelength_um - wavelength_um.min()) / float(np.ptp(wavelength_um)) - 1.0
    build = CONTINUA[config.method](config, x, level)
    robust = config.robust
    operator, _ = smoothers.robust_continuum(
        level, use, weights, build, sigma=robust.sigma_clip, iterations=robust.max_iters, mode=robust.clip_mode
    )
    return operator


#: weights (channel,) -> operator (channel, channel)
Build = Callable[[Float], Float]


def _poly(config: AlongWavelength, x: Float, level: Float) -> Build:
    return partial(smoothers.poly_operator, x, degree=config.poly.degree)


def _spline(config: AlongWavelength, x: Float, level: Float) -> Build:
    spline = config.spline
    knots = np.linspace(-1.0, 1.0, spline.knots + 2)[1:-1]
    return partial(smoothers.spline_operator, x, knots=knots, smoothing=spline.smoothing_lambda, boundary=spline.boundary)


def _lowess(config: AlongWavelength, x: Float, level: Float) -> Build:
    def build(weights: Float) -> Float:
        operator = smoothers.lowess_operator(x, weights, frac=config.lowess.frac)
        for _ in range(config.lowess.iters):
            robust = smoothers.bisquare_weights(level - operator @ level, weights > 0)
            # a channel of weight 0 stays a neighbour, as in Cleveland's own procedure
            operator = smoothers.lowess_operator(x, weights * np.maximum(robust, 1e-12), frac=config.lowess.frac)
        return operator

    return build


#: methods that fit a continuum: how they build its operator, on wavelengths x (channel,) scaled to [-1, 1]
CONTINUA: dict[str, Callable[[AlongWavelength, Float, Float], Build]] = {"poly": _poly, "spline": _spline, "lowess": _lowess}
