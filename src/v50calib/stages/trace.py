"""Trace: normalize each channel by its out-of-transit level, trend in time and pointing."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from v50calib.dq import DQ, all_channels
from v50calib.kernels.lightcurves import divide
from v50calib.kernels.series import least_squares
from v50calib.stages.base import Float, InstrumentWord, Section, StageConfig
from v50calib.stages.ephemeris import baseline_design
from v50calib.stages.series_base import Ephemeris, Normalized, Series

#: fewer out-of-transit pairs than this many times the number of terms cannot carry a trend
PAIRS_PER_TERM = 5


class TraceInstrument(Section):
    name: InstrumentWord = "all"


class Poly(Section):
    degree: int = Field(default=1, ge=0, le=6)


class Decorrelate(Section):
    """Pointing measured from the frames themselves: x from the spectrum's shift, y from the rows; quadratic."""

    enabled: bool = True
    vectors: list[Literal["x", "y"]] = ["x", "y"]


class AlongTime(Section):
    enabled: bool = True
    method: Literal["auto", "poly"] = "auto"
    poly: Poly = Poly()
    target: Literal["divide"] = "divide"
    mask_transit: bool = True
    mask_margin: float = Field(default=0.1, ge=0)
    decorrelate: Decorrelate = Decorrelate()


class AlongWavelength(Section):
    """auto: each channel's own out-of-transit level is its reference."""

    enabled: bool = True
    method: Literal["auto"] = "auto"
    reference: Literal["out_of_transit"] = "out_of_transit"


class TraceConfig(StageConfig):
    instrument: TraceInstrument = TraceInstrument()
    along_wavelength: AlongWavelength = AlongWavelength()
    along_time: AlongTime = AlongTime()

    @property
    def degree(self) -> int:
        return self.along_time.poly.degree if self.along_time.enabled else 0

    @property
    def vectors(self) -> tuple[str, ...]:
        use = self.along_time.enabled and self.along_time.decorrelate.enabled
        return tuple(dict.fromkeys(self.along_time.decorrelate.vectors)) if use else ()


class Trace:
    """photometry -> trace_norm: flux divided by its out-of-transit model, 1 out of transit.

    The model per channel is ``c0 + c1 t + … + pointing terms``, fitted by least squares to the pairs out of
    transit (T14 and a margin are masked); pairs in which every channel is OUTLIER or SATURATED take no part.
    Variance: var / model².
    """

    name: ClassVar[str] = "trace"
    input_key: ClassVar[str] = "photometry"
    output_key: ClassVar[str] = "trace_norm"

    def __init__(self, config: TraceConfig) -> None:
        self.config = config

    def apply(self, series: Series, ephemeris: Ephemeris) -> Normalized:
        cfg, notes = self.config, []
        outside = ~ephemeris.in_transit(series.time_h, cfg.along_time.mask_margin)
        if not cfg.along_time.mask_transit:
            outside = np.ones_like(outside)
            notes.append("mask_transit=false: the trend was fitted across the transit and may have taken part of it")
        degree, vectors = cfg.degree, cfg.vectors
        design = baseline_design(series.time_h, series.x, series.y, degree=degree, vectors=vectors)
        if outside.sum() < PAIRS_PER_TERM * design.shape[1]:
            notes.append(f"only {int(outside.sum())} of {outside.size} pairs lie out of transit: normalized by their median, no trend")
            design = design[:, :1]
        use = outside if outside.any() else np.ones_like(outside)
        baseline = self._fit(series, design, use)
        if (baseline <= 0).any():
            baseline[baseline <= 0] = np.nan
        flux, var = divide(series.flux, series.var, baseline)
        if not cfg.along_wavelength.enabled:
            # one common level keeps the spectrum's shape in the normalized cube
            level = np.nanmedian(baseline)
            flux, var = series.flux / baseline * np.nanmedian(baseline, axis=0) / level, series.var / level**2
        return Normalized(flux, var, baseline, outside, tuple(notes))

    def _fit(self, series: Series, design: Float, use: np.ndarray) -> Float:
        """Baseline (pair, channel) from the pairs `use`; channels without any finite flux stay NaN."""
        clean = use & ~all_channels(series.dq, DQ.OUTLIER | DQ.SATURATED)
        clean = clean if clean.any() else use
        if design.shape[1] == 1:
            baseline = np.broadcast_to(np.median(series.flux[clean], axis=0), series.flux.shape)
        else:
            # a channel with any NaN has no coefficients
            baseline = np.asarray(design @ least_squares(design, series.flux, clean))
        return baseline.astype(series.flux.dtype)
