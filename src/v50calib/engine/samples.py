"""What is measured once a visit, on the sample pairs: stages' own constants, and the mean CDS frame with its noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.dq import DQ
from v50calib.engine.frames import ReadFrames, sample_pairs
from v50calib.engine.guards import guard_frames
from v50calib.engine.plan import FramePlan
from v50calib.engine.steps import check_finite
from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.pixelwise import evaluate_derivative
from v50calib.stages.adc.stage import Adc
from v50calib.stages.base import FrameStage
from v50calib.stages.cds.stage import Cds
from v50calib.stages.photometry.mean_frame import MeanFrame
from v50calib.stages.tile import VisitState, raw_tile


def measure(stages: list[FrameStage], constants: list[Any], state: VisitState, read: ReadFrames) -> list[Any]:
    """Constants with what stages measure on the sample pairs, and their soft guards; reads nothing where no stage asks.

    Raises DataError where a guard is broken and its action_on_fail is `error`.
    """
    if not any(stage.needs_measure or stage.config.quality_checks.enabled for stage in stages):
        return constants
    out, tiles = [], []
    for run in sample_pairs(len(state.exposure_s) // 2):
        raw = read(2 * run.start, 2 * run.stop)
        tile = raw_tile(raw, state.exposure_s[2 * run.start : 2 * run.stop], 2 * run.start, variance=False)
        tiles.append(replace(tile, values=raw.astype(np.float64)))
    for stage, prepared in zip(stages, constants, strict=True):
        constant = stage.measure(tiles, prepared, state) if stage.needs_measure else prepared
        tiles = [stage.apply(tile, constant) for tile in tiles]
        for tile in tiles:
            check_finite(stage, tile, state.masked)
        out.append(constant)
        guard_frames(stage, constant, tiles, state)
    return out


#: saturated second reads of the sample pairs from which a pixel counts as saturating: one may be a cosmic ray
TIMES_SATURATED = 2
#: share of a frame's pixels at the converter's end from which the frame counts as lost
WHOLE_FRAME = 0.5


#: bytes of frames that are kept to be looked at again: the sample pairs of the built-in instruments, not those of a large detector
KEPT_BYTES = 64_000_000


def remembered(read: ReadFrames) -> ReadFrames:
    """`read` that keeps what it has read, up to KEPT_BYTES: the sample pairs are looked at several times."""
    kept: dict[tuple[int, int], NDArray[np.uint16]] = {}

    def again(start: int, stop: int) -> NDArray[np.uint16]:
        if (start, stop) in kept:
            return kept[start, stop]
        frames = read(start, stop)
        if sum(f.nbytes for f in kept.values()) + frames.nbytes <= KEPT_BYTES:
            kept[start, stop] = frames
        return frames

    return again


def mask_saturating(stages: list[FrameStage], constants: list[Any], state: VisitState, read: ReadFrames) -> None:
    """Mask pixels that are saturated in several second reads of the sample pairs: SATURATED | DO_NOT_USE in `pixel_dq`."""
    adc = next((c for s, c in zip(stages, constants, strict=True) if isinstance(s, Adc) and s.config.detector.mask_saturating), None)
    if adc is None:
        return
    times = np.zeros(state.shape, np.int64)
    for run in sample_pairs(len(state.exposure_s) // 2):
        full = read(2 * run.start, 2 * run.stop)[1::2] >= adc.saturation_adu
        # a frame that is full all over was lost: it says nothing of its pixels
        times += full[full.mean(axis=(1, 2)) < WHOLE_FRAME].sum(axis=0)
    found = (times >= TIMES_SATURATED) & ~state.masked
    if found.any():
        state.flag(found, DQ.SATURATED | DQ.DO_NOT_USE)
        state.masked |= found
        state.notes.append(f"adc: {int(found.sum())} pixels saturate in the sample pairs and are masked for the whole visit")


def whole_pairs(raw: NDArray[Any]) -> Mask:
    """Pairs (n,) of raw frames (2n, ny, nx) neither read of which is one code all over most of the detector: such a read was lost.

    >>> raw = np.arange(24, dtype=np.uint16).reshape(6, 2, 2)
    >>> raw[3] = 65535
    >>> whole_pairs(raw)
    array([ True, False,  True])
    """
    flat = raw.reshape(len(raw), -1)
    ends = flat.min(axis=1, keepdims=True), flat.max(axis=1, keepdims=True)
    lost = np.maximum(*(np.count_nonzero(flat == end, axis=1) for end in ends)) > WHOLE_FRAME * flat.shape[1]
    return np.asarray(~(lost[0::2] | lost[1::2]))


def mean_frame(plan: FramePlan, state: VisitState, read: ReadFrames) -> MeanFrame:
    """Mean CDS frame of the sample pairs and the noise of one CDS value there."""
    dark = state.dark_rate * float(np.median(plan.between))
    cds, read_var, pairs = _by_steps(plan, state, dark, read) if plan.left else _by_polynomial(plan, read)
    usable = np.where(state.masked, 0.0, cds)
    return MeanFrame(cds=usable, read_var=_usable(read_var), inverse_flat=state.inverse_flat, dark=dark, pairs=pairs)


def _by_polynomial(plan: FramePlan, read: ReadFrames) -> tuple[Float, Float, int]:
    """Mean and read variance (ny, nx), and of how many pairs: read noise through the polynomial's slope at either read's mean level."""
    assert plan.polynomial is not None
    ny, nx = plan.masked.shape
    total, levels, count = np.zeros((ny, nx)), np.zeros((2, ny, nx)), 0
    for run in sample_pairs(len(plan.between)):
        raw = read(2 * run.start, 2 * run.stop)
        whole = whole_pairs(raw)
        total += plan.differences(raw, run.start)[whole].sum(axis=0)
        levels += raw.reshape(-1, 2, ny, nx)[whole].sum(axis=0, dtype=np.float64)
        count += int(whole.sum())
    count = max(count, 1)
    slope = [evaluate_derivative(level[None] / count, plan.polynomial.coef)[0] for level in levels]
    return total / count, plan.adc.read_variance * plan.adc.gain**2 * (slope[0] ** 2 + slope[1] ** 2), count


def _by_steps(plan: FramePlan, state: VisitState, dark: Float, read: ReadFrames) -> tuple[Float, Float, int]:
    """Mean and read variance (ny, nx), and of how many pairs, by the stages' own formulas.

    A baseline that shares no electrons with its read leaves photon variance beyond that of the difference itself: it is
    counted with the read noise.
    """
    shape = plan.masked.shape
    totals, count = [np.zeros(shape) for _ in range(3)], 0
    for run in sample_pairs(len(plan.between)):
        raw = read(2 * run.start, 2 * run.stop)
        tile, whole = plan.unfolded(raw, run.start), whole_pairs(raw)
        for total, values in zip(totals, (tile.values, tile.var_rnoise, tile.var_poisson), strict=True):
            total += values[whole].sum(axis=0)
        count += int(whole.sum())
    count = max(count, 1)
    cds, read_var, poisson_var = (total / count for total in totals)
    if any(isinstance(stage, Cds) and stage.has_baseline for stage in plan.stages):
        read_var = read_var + np.maximum(poisson_var - np.maximum(cds + dark, 0.0) * state.inverse_flat, 0.0)
    return cds, read_var, count


def _usable(variance: Float) -> Float:
    """Read variance with pixels that have none (NaN, 0 in the read map) set to the map's median."""
    good = np.isfinite(variance) & (variance > 0)
    return np.where(good, variance, np.median(variance[good])) if good.any() else np.ones_like(variance)
