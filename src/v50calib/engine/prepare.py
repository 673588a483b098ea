"""What a visit needs once: its maps and coordinates as arrays, every stage's constants, the mean frame.

`prepare_visit` runs each stage's `prepare` and, where photometry is asked for, measures the mean CDS frame
on a fixed sample of pairs. The result serves every chunk of the visit (`tiles`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.dq import counts
from v50calib.engine.constants import FrameConstants, bin_of_pairs
from v50calib.engine.frames import ReadFrames, sample_pairs
from v50calib.engine.one_pass import fold_pairs
from v50calib.engine.samples import mean_pairs, measure, unshared_photons
from v50calib.engine.steps import chain_of, check_folded
from v50calib.engine.visit import VisitInput
from v50calib.kernels.arrays import Float
from v50calib.kernels.pixelwise import evaluate_derivative
from v50calib.stages.adc.stage import AdcConstants
from v50calib.stages.photometry.stage import Photometry
from v50calib.stages.photometry.weights import MeanFrame, build_constants
from v50calib.stages.tile import PixelPolynomial, VisitState


def new_flags(before: NDArray[np.uint32], after: NDArray[np.uint32]) -> dict[str, float]:
    """Share of the pixels (ny, nx) that got each flag from one stage: `flagged_<NAME>`, flags that occur only."""
    return {f"flagged_{name}": n / after.size for name, n in counts(after & ~before).items()}


def prepare_stages(visit: VisitInput, stages: list[Any], *, diagnostics: bool = True) -> tuple[VisitState, list[Any]]:
    """Run `prepare` of the stages adc … cds in order; returns the state they built and their constants.

    diagnostics: keep the share of pixels that each stage flags in the state's qc.
    """
    ny, nx = visit.reference.dark.shape
    state = VisitState(
        reference=visit.reference,
        exposure_s=np.asarray(visit.exposure_s, dtype=np.float64),
        time_h=np.asarray(visit.time_h, dtype=np.float64),
        wavelength_um=np.asarray(visit.wavelength_um, dtype=np.float64),
        instrument=visit.instrument,
        pixel_dq=np.full((ny, nx), visit.reference.absent_dq, np.uint32),
        masked=np.zeros((ny, nx), bool),
        telemetry=visit.telemetry,
        notes=list(visit.notes),
        qc={stage: dict(numbers) for stage, numbers in visit.qc.items()},
    )
    constants = []
    for stage in stages:
        before = state.pixel_dq.copy()
        constants.append(stage.prepare(state))
        if diagnostics and stage.config.diagnostics.enabled:
            state.qc[stage.name] = state.qc.get(stage.name, {}) | new_flags(before, state.pixel_dq)
        state.prefixes.append(state.folded)
    return state, constants


def prepare_visit(
    visit: VisitInput, stages: list[Any], photometry: Photometry | None, read: ReadFrames, *, pairs_per_bin: int, diagnostics: bool = True
) -> FrameConstants:
    """All constants of a visit. `read(start, stop)` gives raw frames; called for the sample pairs only."""
    state, constants = prepare_stages(visit, stages, diagnostics=diagnostics)
    adc = next(c for c in constants if isinstance(c, AdcConstants))
    between = state.exposure_s[1::2] - state.exposure_s[0::2]
    n_pairs = len(between)
    check_folded(stages, state.folded, state.masked)
    constants = measure(stages, constants, state, read, sample_pairs(n_pairs))
    folded = state.folded
    frame = FrameConstants(
        stages=stages,
        constants=constants,
        folded=PixelPolynomial(np.ascontiguousarray(folded.coef), np.ascontiguousarray(folded.rate)) if folded is not None else None,
        between=between,
        exposure_s=state.exposure_s,
        state=state,
        saturation_adu=int(np.min(adc.saturation_adu)),
        floor_adu=adc.floor_adu,
        mean=None,
        photometry=None,
        pair_bins=bin_of_pairs(n_pairs, pairs_per_bin),
        chain=chain_of(stages, constants, state),
    )
    # what the chain needs of them it has; every task would carry the others
    state.prefixes.clear()
    mean = mean_frame(frame, adc, read)
    if photometry is not None:
        cadence = float(np.median(np.diff(state.time_h[1::2]))) * 3600.0 if n_pairs > 1 else float(between[0])
        built = build_constants(photometry.config, state, mean, cadence)
        return FrameConstants(**{**frame.__dict__, "mean": mean, "photometry": built})
    return FrameConstants(**{**frame.__dict__, "mean": mean})


def mean_frame(frame: FrameConstants, adc: AdcConstants, read: ReadFrames) -> MeanFrame:
    """Mean CDS frame of the sample pairs and the noise model there."""
    dark = frame.state.dark_rate * float(np.median(frame.between))
    flat = frame.state.inverse_flat
    if frame.chain is not None:
        means = mean_pairs(frame.chain, read, sample_pairs(len(frame.between)))
        read_var = means.read_var + unshared_photons(frame.chain, means, flat, dark)
        return MeanFrame(cds=np.where(frame.state.masked, 0.0, means.cds), read_var=_usable(read_var), inverse_flat=flat, dark=dark)
    assert frame.folded is not None
    ny, nx = frame.shape
    total, raw_total, count = np.zeros((ny, nx)), np.zeros((2, ny, nx)), 0
    for run in sample_pairs(len(frame.between)):
        raw = read(2 * run.start, 2 * run.stop)
        total += fold_pairs(frame, raw, run.start).sum(axis=0)
        raw_total += raw.reshape(-1, 2, ny, nx).sum(axis=0, dtype=np.float64)
        count += run.stop - run.start
    slope = [evaluate_derivative(level[None] / count, frame.folded.coef)[0] for level in raw_total]
    read_var = adc.read_variance * adc.gain**2 * (slope[0] ** 2 + slope[1] ** 2)
    cds = np.where(frame.state.masked, 0.0, total / count)
    return MeanFrame(cds=cds, read_var=_usable(read_var), inverse_flat=flat, dark=dark)


def _usable(variance: Float) -> Float:
    """Read variance with pixels that have none (NaN, 0 in the read map) set to the map's median."""
    good = np.isfinite(variance) & (variance > 0)
    return np.where(good, variance, np.median(variance[good])) if good.any() else np.ones_like(variance)
