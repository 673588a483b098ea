"""The series domain of one visit: from the chunks' sums to light curves, baseline, phase and depths."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.config.models import CalibConfig
from v50calib.dq import DQ
from v50calib.engine.constants import VisitConstants
from v50calib.engine.guards import guard, phase_numbers, photometry_numbers, require_finite, trace_numbers
from v50calib.engine.result import ChunkResult, assemble_bins
from v50calib.kernels.arrays import Float, Mask, Real
from v50calib.kernels.depths import Depths, fit_depths
from v50calib.kernels.lightcurves import weighted_totals
from v50calib.kernels.limb import quadratic_limb_darkening
from v50calib.kernels.series import bin_mean
from v50calib.kernels.transit import Model
from v50calib.schema import Instrument
from v50calib.stages.phase.ephemeris import (
    STAR_TEMPERATURE,
    reconsidered,
    refit_white,
    resolve_ephemeris,
    shape_of,
    transit_prior,
    white_residual,
)
from v50calib.stages.phase.stage import Phase
from v50calib.stages.photometry.constants import LightCurves, PhotometryConstants, joined
from v50calib.stages.photometry.lost import flag_lost
from v50calib.stages.photometry.stage import Photometry
from v50calib.stages.series.curves import Ephemeris, Folded, Normalized, Series, white_curve, white_wavelength
from v50calib.stages.series.time_bins import BaselineModel, TimeBins
from v50calib.stages.trace.along_time import DEGREE_GAIN, HIGHEST_DEGREE
from v50calib.stages.trace.config import TraceConfig
from v50calib.stages.trace.regressors import rms_height, to_pairs
from v50calib.stages.trace.stage import Trace, search_model

#: time bins of the spectral fit: about 2 min in a full visit, a small part of ingress
DEPTH_BINS = 200
#: groups of channels that a degree in time is judged on
GROUPS = 12
#: a sample that carries one of these takes no part in a fit
LEFT_OUT = np.uint32(DQ.DO_NOT_USE | DQ.SATURATED | DQ.DROPOUT)
#: rows (and columns of a star) to each side that the light's width is measured on, px
WIDTH_REACH = 6


@dataclass(frozen=True)
class SeriesResult:
    """Everything the series domain makes of a visit; stages that are off leave None.

    qc: numbers of each stage's soft guard; notes: what guards found.
    """

    curves: LightCurves
    series: Series
    ephemeris: Ephemeris | None
    normalized: Normalized | None
    folded: Folded | None
    depths: Depths | None
    qc: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _white(flux: Real) -> Float:
    """Sum (pair,) of the channels that are finite throughout."""
    whole = np.isfinite(flux.sum(axis=0, dtype=np.float64))
    return flux[:, whole].sum(axis=1, dtype=np.float64)


def _bridged(values: Float, lost: Mask) -> Float:
    """A series (pair,) with what was measured on lost pairs replaced by straight lines between the others."""
    if not lost.any() or lost.all():
        return values
    index = np.arange(len(values))
    return np.interp(index, index[~lost], values[~lost])


def pair_times(stamps_h: Float) -> Float:
    """Mid-time [h] of each pair (pairs,): the mean of the time stamps (reads,) of its two reads.

    >>> pair_times(np.array([0.0, 1.0, 4.0, 5.0])).tolist()
    [0.5, 4.5]
    """
    return 0.5 * (stamps_h[0::2] + stamps_h[1::2])


def channel_wavelengths(instrument: Instrument, wavelength_um: Float, per_channel: bool | None) -> Float:
    """Wavelength [µm] of each output channel, ascending; a spectrum that is summed to a band (False) gets its mean."""
    if not instrument.spectral:
        return np.array([instrument.band_um if instrument.band_um is not None else float(np.mean(wavelength_um))])
    wavelength = wavelength_um[instrument.science_columns(wavelength_um)]
    return wavelength.mean(keepdims=True) if per_channel is False else wavelength


def run_series(visit: VisitConstants, results: list[ChunkResult], calib: CalibConfig, star: dict[str, float]) -> SeriesResult:
    """Light curves of all chunks (ordered by time here), then trace, phase and the depths."""
    photometry = Photometry(calib.photometry)
    assert visit.photometry is not None
    ordered = sorted(results, key=lambda r: r.start)
    sums = joined([r.sums for r in ordered if r.sums is not None])
    curves = photometry.finish(sums, assemble_flags(ordered, visit.photometry), visit.photometry)
    instrument = visit.state.instrument
    curves, lost = flag_lost(curves, _white(curves.flux))
    x, y = (_bridged(values, lost) for values in (curves.x, curves.y))
    series = Series(
        time_h=pair_times(visit.state.time_h), flux=curves.flux, var=curves.variance, dq=curves.dq, x=x, y=y,
        wavelength_um=channel_wavelengths(instrument, visit.state.wavelength_um, calib.photometry.instrument.per_channel),
        star=star, slow_var=curves.slow_var, used=~lost if lost.any() else None,
    )  # fmt: skip
    require_finite("photometry", calib.photometry, sums.totals, "the frames' sums", str(instrument))
    if not calib.trace.enabled:
        return guarded(SeriesResult(curves, series, None, None, None, None), calib, str(instrument))
    require_finite("trace", calib.trace, series.flux, "the light curves", str(instrument))
    series = with_regressors(series, curves, visit, ordered, calib.trace)
    model, ephemeris, chosen = baseline_and_transit(series, calib)
    phase = Phase(calib.phase)
    normalized = Trace(calib.trace).apply(series, ephemeris, model, phase.allowed(series, ephemeris))
    missing = (
        (f"{int(lost.sum())} of {lost.size} pairs stand off the light of their neighbours (DROPOUT): no fit uses them",)
        if lost.any()
        else ()
    )
    normalized = replace(normalized, notes=(*normalized.notes, *chosen, *missing))
    if normalized.refit_white or calib.trace.along_time.decorrelate.common_mode:
        ephemeris, normalized = whitened(series, normalized, ephemeris, calib.trace)
    require_finite("phase", calib.phase, normalized.flux, "the normalized light curves", str(instrument))
    folded = phase.apply(series, normalized, ephemeris) if calib.phase.enabled else None
    depths = transit_depths(series, normalized, ephemeris, calib) if calib.phase.depths.enabled else None
    return guarded(SeriesResult(curves, series, ephemeris, normalized, folded, depths), calib, str(instrument))


def baseline_and_transit(series: Series, calib: CalibConfig) -> tuple[BaselineModel, Ephemeris, tuple[str, ...]]:
    """The baseline's terms and the transit, found together: a higher degree in time is taken where chi² falls enough by it.

    With the transit, or without one where the higher degree explains it away: a bow is no transit. Judged on white light, then on
    groups of channels, which may drift against each other.
    """
    along, additive = calib.trace.along_time, calib.trace.additive
    model = search_model(series, calib.trace)
    ephemeris = resolve_ephemeris(series, calib.phase.ephemeris, model, additive=additive)
    if not along.enabled or along.poly.degree != "auto" or along.method not in ("auto", "poly"):
        return model, ephemeris, ()
    degree = tried = along.poly.first
    while tried < HIGHEST_DEGREE:
        tried += 1
        richer = search_model(series, calib.trace, tried)
        other = reconsidered(series, calib.phase.ephemeris, ephemeris, richer, additive=additive)
        left = max(1.0, other.chi2_reduced if math.isfinite(other.chi2_reduced) else 1.0)
        if ephemeris.cost - other.cost > DEGREE_GAIN * left * (tried - degree):
            degree, model, ephemeris = tried, richer, other
        elif tried > degree + 1:
            break
    own = channel_degree(series, ephemeris, calib.trace, degree)
    if own > degree:
        degree, model = own, search_model(series, calib.trace, own)
        ephemeris = reconsidered(series, calib.phase.ephemeris, ephemeris, model, additive=additive)
    return model, ephemeris, (f"along_time: degree {degree} in time, as the light curves show it",) if degree > along.poly.first else ()


def channel_degree(series: Series, ephemeris: Ephemeris, config: TraceConfig, degree: int) -> int:
    """The degree in time that groups of neighbouring channels show, the transit's shape as it is; at least `degree`."""
    good = np.flatnonzero(np.isfinite(series.flux.sum(axis=0, dtype=np.float64)))
    if good.size < 2 * GROUPS:
        return degree
    bins = TimeBins(series.time_h, DEPTH_BINS, series.used)
    curve = (
        Model(bins.time_h, bins.width)(shape_of(ephemeris))
        if ephemeris.found and math.isfinite(ephemeris.depth)
        else np.ones(bins.time_h.size)
    )
    groups = np.array_split(good, GROUPS)
    flux = np.stack([series.flux[:, g].sum(axis=1, dtype=np.float64) for g in groups], axis=1)
    var = np.stack([series.var[:, g].sum(axis=1, dtype=np.float64) for g in groups], axis=1)
    mean, sigma = bins.mean(flux), np.sqrt(bins.mean(var) / bins.count[:, None])

    def cost(tried: int) -> float:
        terms = search_model(series, config, tried).in_bins(bins)
        columns = np.concatenate([terms * curve[:, None], curve[:, None] - 1.0], axis=1)
        total = 0.0
        for j in range(GROUPS):
            root = 1.0 / sigma[:, j]
            basis = columns * root[:, None]
            target = mean[:, j] * root
            left = target - basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
            total += float(left @ left)
        return total

    chosen, best = degree, cost(degree)
    for tried in range(degree + 1, HIGHEST_DEGREE + 1):
        new = cost(tried)
        left = max(1.0, new / (GROUPS * max(len(bins.time_h) - columns_of(search_model(series, config, tried)), 1)))
        if best - new > (GROUPS + DEGREE_GAIN) * left * (tried - chosen):
            chosen, best = tried, new
    return chosen


def columns_of(model: BaselineModel) -> int:
    """Number of linear terms of a baseline, with the transit's own."""
    return model.regressors.shape[1] + model.time_terms(np.zeros(2)).shape[1] + 1


def guarded(result: SeriesResult, calib: CalibConfig, instrument: str) -> SeriesResult:
    """The result with what the stages' soft guards say of it. Raises DataError where one must stop the visit."""
    pairs, normalized, folded, ephemeris = len(result.curves.x), result.normalized, result.folded, result.ephemeris
    found = {
        "photometry": guard(
            "photometry", calib.photometry.quality_checks, instrument, pairs,
            lambda index: photometry_numbers(calib.photometry.quality_checks, result.curves, index),
        )
    }  # fmt: skip
    if normalized is not None:
        checks = calib.trace.quality_checks
        found["trace"] = guard(
            "trace", checks, instrument, pairs, lambda index: trace_numbers(checks, normalized, white_of(result.series, normalized), index)
        )  # fmt: skip
    if folded is not None and ephemeris is not None:
        found["phase"] = guard(
            "phase", calib.phase.quality_checks, instrument, pairs,
            lambda _: phase_numbers(calib.phase.quality_checks, folded, ephemeris),
        )  # fmt: skip
    qc = {stage: numbers for stage, (numbers, _) in found.items() if numbers}
    return replace(result, qc=qc, notes=tuple(note for _, notes in found.values() for note in notes))


def with_regressors(series: Series, curves: LightCurves, visit: VisitConstants, results: list[ChunkResult], config: TraceConfig) -> Series:
    """The series with the regressors that the config names beyond x and y, and its excluded pairs."""
    width = sky = None
    if "width" in config.vectors:
        width = to_pairs(widths(curves, visit, results), visit.pair_bins, series.time_h)
    if "sky" in config.vectors:
        # no sky is subtracted where the background is off: then there is nothing to regress on
        sky = without_star(np.nan_to_num(np.nanmean(curves.background, axis=1, dtype=np.float64)), white_curve(series)[0])
    asked = config.used_pairs(series.time_h)
    used = asked if series.used is None else series.used if asked is None else series.used & asked
    return replace(series, width=width, sky=sky, used=used)


def without_star(sky: Float, white: Float) -> Float:
    """Background (pair,) less its share that follows the star's light: the wings in it dim in transit, and a regressor
    that dims in transit would take part of the depth."""
    light = white - white.mean()
    return sky - light * float(light @ (sky - sky.mean())) / max(float(light @ light), 1e-300)


def widths(curves: LightCurves, visit: VisitConstants, results: list[ChunkResult]) -> Float:
    """Rms height of the light in each time bin (bin,), from the binned cube: focus breathes slowly, pointing does not."""
    constants = visit.photometry
    assert constants is not None
    cube = np.where(visit.state.masked, 0.0, assemble_bins(results, visit.n_bins, visit.shape))
    pairs = np.bincount(visit.pair_bins[visit.pair_bins >= 0], minlength=visit.n_bins)
    background = bin_mean(np.nanmean(curves.background, axis=1, keepdims=True, dtype=np.float64), visit.pair_bins, visit.n_bins)[0]
    return rms_height(cube, background * pairs[:, None], constants.centre[0], WIDTH_REACH, round_star=not constants.spectral)


def whitened(series: Series, normalized: Normalized, ephemeris: Ephemeris, config: TraceConfig) -> tuple[Ephemeris, Normalized]:
    """The white transit fitted to the normalized curves, and the common mode divided out of them where asked for."""
    assert normalized.joint is not None
    flux, var = white_of(series, normalized)
    if normalized.refit_white:
        ephemeris = refit_white(series, flux, var, ephemeris, normalized.joint, additive=config.additive)
    if not config.along_time.decorrelate.common_mode:
        return ephemeris, normalized
    if series.flux.shape[1] == 1 or not math.isfinite(ephemeris.depth):
        reason = "one band has nothing to share" if series.flux.shape[1] == 1 else "no transit was fitted to compare with"
        return ephemeris, replace(normalized, notes=(*normalized.notes, f"common_mode: {reason}, none was divided out"))
    common = white_residual(series, flux, var, ephemeris, normalized.joint)[:, None].astype(normalized.flux.dtype)
    return ephemeris, replace(
        normalized, flux=normalized.flux / common, var=normalized.var / common**2, baseline=normalized.baseline * common
    )  # fmt: skip


def white_of(series: Series, normalized: Normalized) -> tuple[Float, Float]:
    """Sum of the normalized channels weighted by their light (pair,), and its variance; a lost channel takes no part."""
    level = np.broadcast_to(normalized.level, series.flux.shape[1:])
    light = normalized.baseline.mean(axis=0, dtype=np.float64)
    whole = np.isfinite(light) & np.isfinite(normalized.flux.sum(axis=0, dtype=np.float64))
    weight = light[whole]
    curves = [v if whole.all() else np.ascontiguousarray(v[:, whole]) for v in (normalized.flux, normalized.var)]
    flux, var = weighted_totals(curves[0], weight), weighted_totals(curves[1], weight**2) + series.slow_var[whole].sum()
    total = float((weight * level[whole]).sum())
    return flux / total, var / total**2


def assemble_flags(results: list[ChunkResult], constants: PhotometryConstants) -> NDArray[np.uint32]:
    """Flags (pair, column) or (pair, 1) of all chunks in order; chunks without any are zero."""
    lengths = [len(r.sums.totals) for r in results if r.sums is not None]
    dq = np.zeros((sum(lengths), constants.area.size), np.uint32)
    for result, stop, n in zip(results, np.cumsum(lengths), lengths, strict=True):
        if result.dq is not None:
            dq[stop - n : stop] = result.dq
    return dq


def transit_depths(series: Series, normalized: Normalized, ephemeris: Ephemeris, calib: CalibConfig) -> Depths | None:
    """Depth per channel with the orbit and limb darkening shared; None where no transit was fitted.

    Light curves are divided by a level alone where every term of the baseline is in the fit as well: a baseline that was
    extrapolated through the transit cannot be undone by terms of the quotient. Flagged samples take no part.
    """
    if not ephemeris.found or not math.isfinite(ephemeris.depth):
        return None
    good = (
        np.isfinite(normalized.flux.sum(axis=0, dtype=np.float64))
        if not _by_level(normalized, calib)
        else np.isfinite(series.flux).any(axis=0)
    )
    if not good.any():
        return None
    bins = TimeBins(series.time_h, DEPTH_BINS, series.used)
    flux, var, count = _fitted_curves(series, normalized, calib, bins, good)
    assert normalized.joint is not None
    design = normalized.joint.in_bins(bins)
    star, wavelength = series.star, series.wavelength_um[good]
    darkening = np.stack(quadratic_limb_darkening(wavelength, star.get("Ts", STAR_TEMPERATURE))).reshape(2, -1)
    prior = transit_prior(star, ephemeris.a, ephemeris.b, white_wavelength(series))
    shape = shape_of(ephemeris)
    span = float(np.ptp(wavelength))
    position = (2.0 * (wavelength - wavelength.min()) / span - 1.0) if span > 0 else np.zeros(wavelength.size)
    sigma = np.where(count > 0, np.sqrt(var / np.maximum(count, 1.0)), np.inf)
    fitted = fit_depths(
        bins.time_h, flux, sigma, bins.width, design, shape, prior, position, darkening,
        fix_t0=ephemeris.source == "given", additive=calib.trace.additive,
    )  # fmt: skip
    if good.all():
        return fitted

    def spread(values: Float) -> Float:
        out = np.full((good.size, *values.shape[1:]), np.nan)
        out[good] = values
        return out

    return replace(
        fitted, depth=spread(fitted.depth), sigma=spread(fitted.sigma), sigma_photon=spread(fitted.sigma_photon),
        chi2=spread(fitted.chi2), shared=spread(fitted.shared),
    )  # fmt: skip


def _by_level(normalized: Normalized, calib: CalibConfig) -> bool:
    """Whether the fit has every term that the normalization divided by."""
    along = calib.trace.along_wavelength
    per_frame = along.enabled and along.reference == "per_frame"
    return not (normalized.refit_white or calib.trace.along_time.decorrelate.common_mode or per_frame)


def _fitted_curves(
    series: Series, normalized: Normalized, calib: CalibConfig, bins: TimeBins, good: Mask
) -> tuple[Float, Float, Float]:  # fmt: skip
    """Relative flux, its variance for a transit, and samples in each bin, (bins, channel) each, of the good channels."""
    bad = (series.dq & LEFT_OUT) != 0

    def chosen(values: Real) -> Real:
        values = values if good.all() else values[:, good]
        return np.where(bad[:, good], np.nan, values) if bad.any() else values

    if _by_level(normalized, calib):
        flux, count = bins.mean_and_count(chosen(series.flux))
        var = bins.mean(chosen(series.var)) + series.slow_var[good]
        level = np.nanmedian(flux, axis=0)
        return flux / level, var / np.square(level), count
    flux, count = bins.mean_and_count(chosen(normalized.flux))
    var, baseline = bins.mean(chosen(normalized.var)), bins.mean(chosen(normalized.baseline))
    var = var + series.slow_var[good] / np.square(baseline)
    if normalized.level.size > 1:
        # a depth is relative to the channel's own level out of transit, whatever divided it
        flux, var = flux / normalized.level[good], var / np.square(normalized.level[good])
    return flux, var, count
