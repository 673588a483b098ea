"""What a visit needs once: every stage's constants, the plan of its frames, the mean frame, photometry's weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from v50calib.dq import counts
from v50calib.engine.constants import VisitConstants, bin_of_pairs
from v50calib.engine.extraction import photometry_constants
from v50calib.engine.frames import ReadFrames
from v50calib.engine.map_checks import check_maps
from v50calib.engine.plan import check_folded, leading, plan_of
from v50calib.engine.samples import mask_saturating, mean_frame, measure, remembered
from v50calib.engine.visit import VisitInput
from v50calib.errors import DataError
from v50calib.kernels.arrays import Flags
from v50calib.stages.base import FrameStage
from v50calib.stages.photometry.mean_frame import MeanFrame
from v50calib.stages.photometry.stage import Photometry
from v50calib.stages.tile import VisitState

#: share of the live pixels that may be without read noise
UNKNOWN_NOISE = 0.05
#: light that is so many times the read noise below zero is none
NEGATIVE = 10.0


def new_flags(before: Flags, after: Flags) -> dict[str, float]:
    """Share of the pixels (ny, nx) that got each flag from one stage: `flagged_<NAME>`, flags that occur only."""
    return {f"flagged_{name}": n / after.size for name, n in counts(after & ~before).items()}


def check_read_noise(visit: VisitInput) -> None:
    """Refuse a map of read noise that is none on many of the live pixels (DataError); on a few the map's median stands in."""
    live, read = ~visit.reference.dead.astype(bool), visit.reference.read
    none = live & ~(np.isfinite(read) & (read > 0))
    if none.sum() > UNKNOWN_NOISE * live.sum():
        share, first = none.sum() / live.sum(), float(read[none][0])
        raise DataError(
            f"{visit.instrument}: the read noise of {share:.0%} of the live pixels is 0, negative or not finite (the first: {first:g} e-): "
            "it weighs the pixels and is positive; correct the map 'read', e- rms of one read"
        )
    if none.any():
        visit.notes.append(f"adc: {int(none.sum())} live pixels have no read noise (0, negative or not finite): the map's median stands in")


def prepare_stages(visit: VisitInput, stages: list[FrameStage], *, diagnostics: bool = True) -> tuple[VisitState, list[Any]]:
    """Run `prepare` of the stages adc … cds in order; returns the state they built and their constants.

    diagnostics: keep the share of pixels that each stage flags in the state's qc.
    """
    check_read_noise(visit)
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
        planet_id=str(visit.attrs.get("planet_id", "")),
        notes=list(visit.notes),
        qc={stage: dict(numbers) for stage, numbers in visit.qc.items()},
    )
    constants: list[Any] = []
    for stage in stages:
        before = state.pixel_dq.copy()
        constants.append(stage.prepare(state))
        if diagnostics and stage.config.diagnostics.enabled:
            state.qc[stage.name] = state.qc.get(stage.name, {}) | new_flags(before, state.pixel_dq)
        state.prefixes.append(state.folded)
    return state, constants


def prepare_visit(
    visit: VisitInput, stages: list[FrameStage], photometry: Photometry | None, read: ReadFrames, *,
    pairs_per_bin: int, diagnostics: bool = True,
) -> VisitConstants:  # fmt: skip
    """All constants of a visit. `read(start, stop)` gives raw frames; called for the sample pairs only."""
    state, constants = prepare_stages(visit, stages, diagnostics=diagnostics)
    done, folded = leading(state)
    check_folded(stages[:done], folded, state.masked)
    read = remembered(read)
    constants = measure(stages, constants, state, read)
    if photometry is not None:
        mask_saturating(stages, constants, state, read)
    plan = plan_of(stages, constants, state)
    # the plan has what it needs of them; every task would carry the others
    state.prefixes.clear()
    state.folded = None
    mean = mean_frame(plan, state, read)
    if photometry is not None and not (np.isfinite(mean.cds) & (mean.cds != 0)).any():
        raise DataError(
            f"{state.instrument}: no pixel of the frames has light: every pair that was looked at has a read of one code all over, as "
            f"empty and saturated ones have, or the {int(state.masked.sum())} of {state.masked.size} masked pixels have all of it; get "
            "the frames again, or look at the maps"
        )
    if photometry is not None:
        state.notes += _refuse_negative_light(mean, str(state.instrument))
    state.checks |= check_maps(state, mean)
    built = photometry_constants(photometry, state, plan, mean, cadence_s(state), read) if photometry is not None else None
    return VisitConstants(state, plan, bin_of_pairs(len(plan.between), pairs_per_bin), mean, built)


def _refuse_negative_light(mean: MeanFrame, instrument: str) -> list[str]:
    """A note where the sum of the mean frame, its dark put back, is negative beyond its read noise; DataError where beyond one pair's."""
    light = float(np.nansum(mean.cds + mean.dark, dtype=np.float64))
    noise = math.sqrt(float(np.nansum(mean.read_var, dtype=np.float64)))
    if light < -NEGATIVE * noise:
        raise DataError(
            f"{instrument}: all pixels of the mean frame together hold {light:.4g} e-, the second reads are below the first: the reads "
            "of the pairs are in the wrong order (even rows = first read, odd = second), or the map linear_corr is wrong; put the "
            "frames in order, or replace the map"
        )
    error = noise / math.sqrt(max(mean.pairs, 1))
    if not light < -NEGATIVE * error:
        return []
    order = "are the reads of the pairs in the wrong order (even rows = first read, odd = second)?"
    return [f"cds quality: all pixels of the mean frame hold {light:.3g} e- together, {-light / error:.0f} errors below 0: {order}"]


def cadence_s(state: VisitState) -> float:
    """Usual time [s] from pair to pair; of a single pair the time between its reads."""
    # a first read may be in several pairs, a second read is in one
    second = state.time_h[1::2]
    if len(second) > 1:
        return float(np.median(np.diff(second))) * 3600.0
    return float(state.exposure_s[1] - state.exposure_s[0])
