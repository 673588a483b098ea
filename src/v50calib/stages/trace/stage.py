"""Trace: normalize each channel by its out-of-transit spectrum, trend in time and pointing."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from v50calib.dq import DQ, all_channels
from v50calib.kernels.arrays import Float, Mask, Real
from v50calib.kernels.lightcurves import divide
from v50calib.kernels.series import least_squares
from v50calib.stages.series.curves import Ephemeris, Normalized, Series, whole_channels
from v50calib.stages.series.time_bins import BaselineModel
from v50calib.stages.trace.along_time import Trend, clipped, filtered_trend, time_terms
from v50calib.stages.trace.along_wavelength import continuum_operator
from v50calib.stages.trace.config import TraceConfig
from v50calib.stages.trace.regressors import regressors, residual_patterns

#: a trend has a term for so many out-of-transit pairs, at most
PAIRS_PER_TERM = 5


def search_model(series: Series, config: TraceConfig) -> BaselineModel:
    """Baseline of the first fit, made before any transit is known: a polynomial and the measured regressors."""
    terms = time_terms(config.along_time, series.time_h, None)
    return BaselineModel(terms, regressors(series, config.vectors, config.along_time.decorrelate.degree))


class Trace:
    """photometry (pair, wavelength) [e-] -> trace_norm (pair, wavelength): flux divided by its out-of-transit model, 1 out of transit.

    The model per channel is ``c0 + c1 t + … + pointing terms``, fitted by least squares to the pairs out of
    transit (T14 and a margin are masked); pairs in which every channel is OUTLIER or SATURATED take no part.
    A filter (savgol, biweight, highpass, gp) multiplies it by one trend of the white light curve.

    Variance: var / model²; that of a Gaussian process's trend is apart (`Normalized.trend_var`).
    Sets no flags: samples without a model are NaN.
    Raises ConfigError where a regressor is not there, or exclusions leave too few pairs or channels.
    """

    name: ClassVar[str] = "trace"
    input_key: ClassVar[str] = "photometry"
    output_key: ClassVar[str] = "trace_norm"

    def __init__(self, config: TraceConfig) -> None:
        self.config = config

    def apply(self, series: Series, ephemeris: Ephemeris, model: BaselineModel | None = None, allowed: Mask | None = None) -> Normalized:
        """Normalized light curves. model: of the search, built here if not given; allowed (pair,): further restricts
        the pairs that are fitted."""
        time = self.config.along_time
        model = model if model is not None else search_model(series, self.config)
        outside, notes = self._fitted_pairs(series, ephemeris, allowed)
        if time.has_spline:
            model = replace(model, time_terms=time_terms(time, series.time_h, outside))
        out = self._normalize(series, ephemeris, model, outside, notes)
        if time.enabled and time.decorrelate.enabled and time.decorrelate.pca_components:
            if series.flux.shape[1] <= time.decorrelate.pca_components:
                return replace(out, notes=(*out.notes, "pca_components: one band has no patterns between channels, none taken out"))
            residual = out.flux / out.level - 1.0
            sigma = np.sqrt(np.mean(out.var[out.out_of_transit], axis=0, dtype=np.float64)) / out.level
            found = residual_patterns(series, residual, sigma, out.out_of_transit, time.decorrelate.pca_components)
            model = replace(model, regressors=np.concatenate([model.regressors, found], axis=1))
            out = self._normalize(series, ephemeris, model, outside, notes)
        return out

    def renormalized(self, series: Series, ephemeris: Ephemeris, normalized: Normalized, trend: Trend) -> Normalized:
        """The curves with their trend replaced by another one, the linear terms fitted to what it leaves."""
        assert normalized.model is not None
        notes = tuple(note for note in normalized.notes if note not in normalized.trend_notes)
        out = self._normalize(series, ephemeris, normalized.model, normalized.out_of_transit, notes, trend)
        return replace(out, notes=tuple(dict.fromkeys(out.notes)))

    def _fitted_pairs(self, series: Series, ephemeris: Ephemeris, allowed: Mask | None) -> tuple[Mask, tuple[str, ...]]:
        time, notes = self.config.along_time, []
        outside = ~ephemeris.in_transit(series.time_h, time.mask_margin)
        if not time.mask_transit:
            outside = np.ones_like(outside)
            notes.append("mask_transit=false: the trend was fitted across the transit and may have taken part of it")
        for extra in (series.used, allowed):
            if extra is not None:
                outside = outside & extra
        return outside, tuple(notes)

    def _normalize(
        self, series: Series, ephemeris: Ephemeris, model: BaselineModel, outside: Mask, notes: tuple[str, ...], trend: Trend | None = None
    ) -> Normalized:  # fmt: skip
        cfg, time = self.config, self.config.along_time
        design = model.at_pairs(series.time_h)
        # level, powers of time, pointing: each works without those after it, a part of a spline does not
        afforded = max(1, int(outside.sum()) // PAIRS_PER_TERM)
        if time.has_spline and afforded < design.shape[1]:
            afforded = 1
        if afforded < design.shape[1]:
            kept = "their median, no trend" if afforded == 1 else f"{afforded} of {design.shape[1]} terms of the trend"
            notes = (*notes, f"only {int(outside.sum())} of {outside.size} pairs lie out of transit: normalized by {kept}")
            design = design[:, :afforded]
        use = outside if outside.any() else np.ones_like(outside)
        left = series if trend is None else replace(series, flux=_as(series.flux / trend.values[:, None], series.flux))
        baseline: Real = self._fit(left, design, use)
        if time.filters:
            trend = trend if trend is not None else self._trend(series, baseline, ephemeris, outside)
            baseline = _as(baseline * trend.values[:, None], series.flux)
        if (baseline <= 0).any():
            baseline[baseline <= 0] = np.nan
        flux, var = divide(series.flux, series.var, baseline)
        if cfg.additive:
            level = _mean(baseline, use)
            flux, var = _as(1.0 + (series.flux - baseline) / level, flux), _as(series.var / level**2, var)
        own = time.enabled and (time.filters or time.has_spline or cfg.additive or self._masked_terms)
        joint = replace(model, regressors=model.regressors[:, :0]) if self._masked_terms else model
        out = Normalized(flux, var, baseline, outside, notes, joint=joint, refit_white=own, model=model)
        if trend is not None:
            out = replace(out, notes=(*notes, *trend.notes), trend_var=trend.var, trend_notes=trend.notes)
        return self._along_wavelength(series, out, use)

    @property
    def _masked_terms(self) -> bool:
        chosen = self.config.along_time.decorrelate
        return bool(self.config.vectors) and chosen.fit == "masked"

    def _fit(self, series: Series, design: Float, use: Mask) -> Real:
        """Baseline (pair, channel) from the pairs `use`; channels without any finite flux stay NaN."""
        clean = use & ~all_channels(series.dq, DQ.OUTLIER | DQ.SATURATED)
        clean = clean if clean.any() else use
        if self.config.along_time.robust.max_iters:
            clean = clipped(series.white[0], design, clean, self.config.along_time.robust)
        if design.shape[1] == 1:
            baseline = np.broadcast_to(np.median(series.flux[clean], axis=0), series.flux.shape)
        else:
            # a channel with any NaN has no coefficients
            baseline = np.asarray(design @ least_squares(design, series.flux, clean))
        return baseline.astype(series.flux.dtype)

    def _trend(self, series: Series, baseline: Real, ephemeris: Ephemeris, outside: Mask) -> Trend:
        whole = whole_channels(series.flux) & whole_channels(baseline)
        flux, var = series.white
        total = baseline[:, whole].sum(axis=1, dtype=np.float64)
        return filtered_trend(series, flux / total, np.sqrt(var) / total, self.config.along_time, ephemeris, outside)

    def _along_wavelength(self, series: Series, out: Normalized, use: Mask) -> Normalized:
        """Divide by the reference spectrum instead of each channel's own level; the levels go into `level`."""
        cfg = self.config.along_wavelength
        per_frame = cfg.enabled and cfg.reference == "per_frame"
        if cfg.enabled and cfg.own_level and not per_frame:
            return out
        level = _mean(out.baseline, use)
        if not cfg.enabled:
            # one common level keeps the spectrum's shape in the normalized cube
            return _scaled(out, level / np.nanmedian(level))
        good = np.isfinite(level)
        if good.sum() < 2:
            return replace(out, notes=(*out.notes, "along_wavelength: one band has no continuum, its own level is the reference"))
        operator = self._operator(series, out, level, good)
        if per_frame:
            out = self._per_frame(series, out, operator, good)
            level = np.where(good, _mean(out.flux, use), np.nan)
            note = "along_wavelength.reference=per_frame: each frame was divided by its own continuum, and the transit with it"
            out = replace(out, level=level, notes=(*out.notes, note))
        else:
            smooth = np.full(level.shape, np.nan)
            smooth[good] = operator @ level[good]
            out = _scaled(out, level / smooth)
        if cfg.renormalize_to_median_one:
            scale = float(np.nanmedian(out.level))
            out = replace(out, flux=_as(out.flux / scale, out.flux), var=_as(out.var / scale**2, out.var), level=out.level / scale)
        return out

    def _operator(self, series: Series, out: Normalized, level: Float, good: Mask) -> Float:
        cfg = self.config.along_wavelength
        if cfg.own_level:
            return np.outer(level[good], np.ones(int(good.sum()))) / level[good].sum()
        variance = np.asarray(series.var[:, good].mean(axis=0, dtype=np.float64)) if self.config.weights.use_variance else None
        return continuum_operator(cfg, series.wavelength_um[good], level[good], variance)

    def _per_frame(self, series: Series, out: Normalized, operator: Float, good: Mask) -> Normalized:
        continuum = np.full(series.flux.shape, np.nan, series.flux.dtype)
        continuum[:, good] = series.flux[:, good] @ operator.T
        continuum[continuum <= 0] = np.nan
        flux, var = divide(series.flux, series.var, continuum)
        return replace(out, flux=flux, var=var, baseline=continuum)


def _mean(values: Real, use: Mask) -> Float:
    """Mean over the pairs `use`, (channel,)."""
    return np.asarray(values[use].mean(axis=0, dtype=np.float64))


def _as(values: np.ndarray, like: Real) -> Real:
    return values.astype(like.dtype, copy=False)


def _scaled(out: Normalized, level: Float) -> Normalized:
    """Normalized curves with the out-of-transit levels `level` (channel,) instead of 1."""
    scale = np.where(np.isfinite(level), level, 1.0)
    baseline = _as(out.baseline / scale, out.baseline)
    return replace(out, flux=_as(out.flux * scale, out.flux), var=_as(out.var * scale**2, out.var), baseline=baseline, level=scale)
