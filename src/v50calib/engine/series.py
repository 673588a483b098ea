"""The series domain of one visit: from the chunks' sums to light curves, baseline, phase and depths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.config.models import CalibConfig
from v50calib.engine.baseline import baseline_and_transit
from v50calib.engine.constants import VisitConstants
from v50calib.engine.depths import FitInput, depths_of, fit_input
from v50calib.engine.guards import guard, phase_numbers, photometry_numbers, require_finite, trace_numbers
from v50calib.engine.process import with_process, with_process_errors
from v50calib.engine.result import ChunkResult, assemble_bins
from v50calib.errors import DataError
from v50calib.kernels.arrays import Float, Mask, Real
from v50calib.kernels.blocks import Depths
from v50calib.kernels.covariance import weighted_depth
from v50calib.kernels.series import bin_mean
from v50calib.schema import Instrument
from v50calib.stages.phase.ephemeris import refit_white, white_residual
from v50calib.stages.phase.limb_darkening import darkening_of, halfway
from v50calib.stages.phase.stage import Phase
from v50calib.stages.photometry.constants import LightCurves, PhotometryConstants
from v50calib.stages.photometry.lost import flag_lost, repeated_pairs, without_blank
from v50calib.stages.photometry.stage import Photometry
from v50calib.stages.photometry.weight_maps import joined
from v50calib.stages.series.curves import Ephemeris, Folded, Normalized, Series, white_light, white_normalized
from v50calib.stages.trace.config import TraceConfig
from v50calib.stages.trace.regressors import rms_height, to_pairs
from v50calib.stages.trace.stage import Trace

#: rows (and columns of a star) to each side that the light's width is measured on, px
WIDTH_REACH = 6
#: from where to where photometric bands reach, µm (SCIENCE: challenge description)
BAND_UM = {"FGS1": (0.60, 0.80)}
#: of depths of which nothing tells when the transit was; worded as the guards are, so that it is a reason to distrust the visit
UNTIMED = (
    "phase quality: the light says nothing of the mid-time beside the depths, whose errors take it as half a transit's length uncertain"
)


@dataclass(frozen=True)
class SeriesResult:
    """Everything the series domain makes of a visit; stages that are off leave None.

    fitted: what the fit of the depths worked on; qc: numbers of each stage's soft guard; notes: what guards found.
    """

    curves: LightCurves
    series: Series
    ephemeris: Ephemeris | None
    normalized: Normalized | None
    folded: Folded | None
    depths: Depths | None
    fitted: FitInput | None = None
    qc: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def white_depth(self) -> tuple[float, float]:
        """Depth of white light and its standard error: of all channels with their covariance, weighted with their light; without depths of
        channels, of the fit of the white light curve."""
        assert self.ephemeris is not None
        if self.depths is None:
            return self.ephemeris.depth, self.ephemeris.depth_sigma
        light = self.series.flux.mean(axis=0, dtype=np.float64)
        holed = np.isnan(light) & np.isfinite(self.depths.depth)
        if holed.any():
            light[holed] = np.nanmean(self.series.flux[:, holed], axis=0, dtype=np.float64)
        return weighted_depth(self.depths.depth, self.depths.sigma, self.depths.shared, light)


def _repeated(ordered: Sequence[ChunkResult], white: Float, var: Real) -> Mask:
    """Pairs (pair,) that repeat the one before; var (pair, channel) of the channels that are in the white light."""
    prints = [r.prints for r in ordered if r.prints is not None]
    if not prints or not var.shape[1]:
        return np.zeros(len(white), bool)
    return repeated_pairs(np.concatenate(prints), white, float(np.sqrt(np.nanmedian(var.sum(axis=1, dtype=np.float64)))))


def _blank(ordered: Sequence[ChunkResult], pairs: int) -> Mask:
    """Pairs (pair,) with a read of one code all over."""
    found = [r.blank for r in ordered if r.blank is not None]
    return np.concatenate(found) if found else np.zeros(pairs, bool)


def _lost_notes(lost: Mask, repeated: Mask, blank: Mask) -> tuple[str, ...]:
    """What a user is told of lost pairs (pair,), and of those among them that repeat the pair before or have a blank read."""
    again, empty, off = int(repeated.sum()), int(blank.sum()), int((lost & ~repeated & ~blank).sum())
    notes = [f"{off} of {lost.size} pairs stand off the light of their neighbours (DROPOUT): no fit uses them"] if off else []
    if again:
        notes.append(f"{again} of {lost.size} pairs repeat the frames of the pair before, code by code (DROPOUT): no fit uses them")
    if empty:
        notes.append(f"{empty} of {lost.size} pairs have a read of one code all over, empty or saturated (DROPOUT): no fit uses them")
    return tuple(notes)


def _bridged(values: Float, lost: Mask) -> Float:
    """A series (pair,) with what was measured on lost pairs replaced by straight lines between the others."""
    if not lost.any() or lost.all():
        return values
    index = np.arange(len(values))
    return np.interp(index, index[~lost], values[~lost])


def pair_times(stamps_h: Float, between_s: Float) -> Float:
    """Mid-time [h since the first stamp] of the exposure of each pair (pairs,): the light that CDS keeps arrives between its reads.

    stamps_h (reads,), between_s (pairs,). Stamps that are as far apart as the two reads are those of the reads, and the exposure lies
    between them. Stamps that are closer (AIRS-CH0: 0.1 s for reads 4.5 s apart) say when each read's share of the ramp begins: the
    exposure begins at the second. Stamps may count from anywhere (BJD, BTJD): the first is subtracted. A BJD in hours resolves 0.03 ms.

    >>> pair_times(np.array([10.0, 11.0, 14.0, 15.0]), np.array([3600.0, 3600.0])).tolist()
    [0.5, 4.5]
    >>> pair_times(np.array([10.0, 11.0, 24.0, 25.0]), np.array([36000.0, 36000.0])).tolist()
    [6.0, 20.0]
    """
    first, second, half = stamps_h[0::2] - stamps_h[0], stamps_h[1::2] - stamps_h[0], between_s / 7200.0
    return np.asarray(np.where(second - first < half, second + half, 0.5 * (first + second)))


def channel_wavelengths(instrument: Instrument, wavelength_um: Float, per_channel: bool | None) -> Float:
    """Wavelength [µm] of each output channel, ascending; a spectrum that is summed to a band (False) gets its mean."""
    if not instrument.spectral:
        return np.array([instrument.band_um if instrument.band_um is not None else float(np.mean(wavelength_um))])
    wavelength = wavelength_um[instrument.science_columns(wavelength_um)]
    return wavelength.mean(keepdims=True) if per_channel is False else wavelength


def channel_edges(instrument: Instrument, wavelength_um: Float, per_channel: bool | None) -> Float:
    """Where each of `channel_wavelengths` begins and ends [µm], (channel, 2): halfway to its neighbours; a band from end to end.

    FGS1's band is the challenge's; of another photometric band only the wavelength is known.
    """
    if not instrument.spectral:
        known = np.array([BAND_UM[instrument.name]]) if instrument.name in BAND_UM else None
        return halfway(channel_wavelengths(instrument, wavelength_um, per_channel)) if known is None else known
    edges = halfway(wavelength_um[instrument.science_columns(wavelength_um)])
    return np.array([[edges.min(), edges.max()]]) if per_channel is False else edges


def run_series(visit: VisitConstants, results: list[ChunkResult], calib: CalibConfig, star: dict[str, float]) -> SeriesResult:
    """Light curves of all chunks (ordered by time here), then trace, phase and the depths."""
    photometry = Photometry(calib.photometry)
    assert visit.photometry is not None
    ordered = sorted(results, key=lambda r: r.start)
    sums = joined([r.sums for r in ordered if r.sums is not None])
    blank = _blank(ordered, len(sums.totals))
    curves = photometry.finish(without_blank(sums, blank), assemble_flags(ordered, visit.photometry), visit.photometry, blank)
    instrument = visit.state.instrument
    white, whole = white_light(curves.flux)
    if calib.trace.enabled and not (np.isfinite(curves.flux) & (curves.flux != 0)).any():
        raise DataError(
            f"{instrument}: none of {white.size} pairs has a light curve's value that is finite and not 0: its frames are empty or "
            "saturated, or its maps leave nothing; look at them"
        )
    repeated = _repeated(ordered, np.where(blank, np.nan, white), curves.variance[:, whole]) & ~blank
    curves, lost = flag_lost(curves, white, repeated, blank)
    x, y = (_bridged(values, lost) for values in (curves.x, curves.y))
    layout = (instrument, visit.state.wavelength_um, calib.photometry.instrument.per_channel)
    wavelength = channel_wavelengths(*layout)
    series = Series(
        time_h=pair_times(visit.state.time_h, visit.between), flux=curves.flux, var=curves.variance, dq=curves.dq, x=x, y=y,
        wavelength_um=wavelength, star=star, slow_var=curves.slow_var, fast_var=curves.fast_var, shared=curves.shared,
        shift_noise=curves.shift_noise,
        used=~lost if lost.any() else None,
        darkening=darkening_of(calib.phase.limb_darkening, wavelength, star, visit.state.planet_id, channel_edges(*layout)),
    )  # fmt: skip
    require_finite("photometry", calib.photometry, sums.totals, "the frames' sums", str(instrument))
    if not calib.trace.enabled:
        return guarded(SeriesResult(curves, series, None, None, None, None), calib, str(instrument))
    if series.time_h.size < 2:
        raise DataError(
            f"{instrument}: the visit has {series.time_h.size} pair of reads, a light curve two at least: its file is cut, get it again; "
            "for the photometry of a single frame set calib.trace.enabled and calib.phase.enabled to false"
        )
    require_finite("trace", calib.trace, series.flux, "the light curves", str(instrument))
    series = with_regressors(series, curves, visit, ordered, calib.trace)
    found = baseline_and_transit(series, calib)
    ephemeris = found.ephemeris
    phase = Phase(calib.phase)
    normalized = Trace(calib.trace).apply(series, ephemeris, found.divided, phase.allowed(series, ephemeris))
    missing = _lost_notes(lost, repeated, blank)
    normalized = replace(normalized, notes=(*normalized.notes, *found.notes, *missing))
    if found.fitted is not found.divided and normalized.joint is not None:
        normalized = replace(normalized, joint=replace(normalized.joint, time_terms=found.fitted.time_terms, widths=found.fitted.widths))
    if normalized.refit_white or calib.trace.along_time.decorrelate.common_mode:
        ephemeris, normalized = whitened(series, normalized, ephemeris, calib.trace)
    require_finite("phase", calib.phase, normalized.flux, "the normalized light curves", str(instrument))
    folded = phase.apply(series, normalized, ephemeris) if calib.phase.enabled else None
    given = fit_input(series, normalized, calib) if calib.phase.depths.enabled else None
    depths = depths_of(given, series, ephemeris) if given is not None else None
    if depths is not None and not depths.timed:
        # of this visit and instrument alone; another instrument may tell the planet's fit when the transit was
        normalized = replace(normalized, notes=(*normalized.notes, UNTIMED))
    if depths is not None and depths.depth.size == 1 and np.isfinite(depths.depth[0]):
        # white light of one band is that band: its last fit says what its depth is
        ephemeris = replace(ephemeris, depth=float(depths.depth[0]), depth_sigma=float(depths.sigma[0]))
    return guarded(SeriesResult(curves, series, ephemeris, normalized, folded, depths, given), calib, str(instrument))


def guarded(result: SeriesResult, calib: CalibConfig, instrument: str) -> SeriesResult:
    """The result with what the stages' soft guards say of it. Raises DataError where one must stop the visit."""
    curves, normalized, folded, ephemeris = result.curves, result.normalized, result.folded, result.ephemeris
    judge = partial(guard, instrument=instrument, total=len(curves.x), unit="pairs")
    bounds = calib.photometry.quality_checks
    found = {"photometry": judge("photometry", bounds, lambda count: photometry_numbers(bounds, curves, count))}
    if normalized is not None:
        of_trace = calib.trace.quality_checks
        found["trace"] = judge("trace", of_trace, lambda count: trace_numbers(of_trace, result.series, normalized, count))
    if folded is not None and ephemeris is not None:
        of_phase = calib.phase.quality_checks
        found["phase"] = judge("phase", of_phase, lambda _: phase_numbers(of_phase, folded, ephemeris))
    qc = {stage: numbers for stage, (numbers, _) in found.items() if numbers}
    return replace(result, qc=qc, notes=tuple(note for _, notes in found.values() for note in notes))


def with_regressors(series: Series, curves: LightCurves, visit: VisitConstants, results: list[ChunkResult], config: TraceConfig) -> Series:
    """The series with the regressors that the config names beyond x and y, and its excluded pairs."""
    width = background = None
    if "width" in config.vectors:
        width = to_pairs(widths(curves, visit, results), visit.pair_bins, series.time_h)
    if "sky" in config.vectors:
        # where the background is off none is subtracted, and there is nothing to regress on
        background = without_star(np.nan_to_num(np.nanmean(curves.background, axis=1, dtype=np.float64)), series.white[0])
    asked = config.used_pairs(series.time_h)
    used = asked if series.used is None else series.used if asked is None else series.used & asked
    return replace(series, width=width, background=background, used=used)


def without_star(background: Float, white: Float) -> Float:
    """Background (pair,) less its share that follows the star's light: the wings in it dim in transit, and a regressor
    that dims in transit would take part of the depth."""
    light = white - white.mean()
    return background - light * float(light @ (background - background.mean())) / max(float(light @ light), 1e-300)


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
    if config.along_time.has_process:
        normalized = with_process(series, normalized, ephemeris, config)
    assert normalized.joint is not None
    flux, var = white_normalized(series, normalized)
    if normalized.refit_white:
        ephemeris = refit_white(series, flux, var, ephemeris, normalized.joint, additive=config.additive)
        ephemeris = with_process_errors(ephemeris, normalized)
    if not config.along_time.decorrelate.common_mode:
        return ephemeris, normalized
    if series.flux.shape[1] == 1 or not math.isfinite(ephemeris.depth):
        reason = "one band has nothing to share" if series.flux.shape[1] == 1 else "no transit was fitted to compare with"
        return ephemeris, replace(normalized, notes=(*normalized.notes, f"common_mode: {reason}, none was divided out"))
    common = white_residual(series, flux, var, ephemeris, normalized.joint)[:, None].astype(normalized.flux.dtype)
    return ephemeris, replace(
        normalized, flux=normalized.flux / common, var=normalized.var / common**2, baseline=normalized.baseline * common
    )  # fmt: skip


def assemble_flags(results: list[ChunkResult], constants: PhotometryConstants) -> NDArray[np.uint32]:
    """Flags (pair, column) or (pair, 1) of all chunks in order; chunks without any are zero."""
    lengths = [len(r.sums.totals) for r in results if r.sums is not None]
    dq = np.zeros((sum(lengths), constants.areas.flux.size), np.uint32)
    for result, stop, n in zip(results, np.cumsum(lengths), lengths, strict=True):
        if result.dq is not None:
            dq[stop - n : stop] = result.dq
    return dq
