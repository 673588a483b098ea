"""Soft guards of the stages: numbers of their output on sample frames or pairs, and which of them break a bound.

A guard measures and warns or stops; it never changes data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from v50calib.dq import DQ
from v50calib.errors import DataError
from v50calib.kernels.arrays import Index
from v50calib.kernels.series import drift
from v50calib.kernels.white_noise import white_noise, white_over_model
from v50calib.stages.base import FrameStage
from v50calib.stages.config import QualityChecks, SeriesStageConfig
from v50calib.stages.phase.config import PhaseQuality
from v50calib.stages.photometry.config import PhotometryQuality
from v50calib.stages.photometry.constants import LightCurves
from v50calib.stages.series.curves import Ephemeris, Folded, Normalized, Series
from v50calib.stages.tile import Tile, VisitState, cut
from v50calib.stages.trace.config import TraceQuality

Numbers = dict[str, Any]


def guard(
    stage: str, checks: QualityChecks, measure: Callable[[int], tuple[Numbers, list[str]]], *,
    instrument: str, total: int, unit: Literal["frames", "pairs"],
) -> tuple[Numbers, tuple[str, ...]]:  # fmt: skip
    """Numbers of a stage on its share of `total` samples, and notes on broken bounds; nothing where the guard is off.

    measure: number of samples -> numbers and faults; the number itself is recorded under `unit`, where measure gives no other.
    Raises DataError where a bound is broken and action_on_fail is `error`.
    """
    if not checks.enabled:
        return {}, ()
    count = max(1, round(total * checks.sampling_fraction))
    if count < checks.min_samples:
        return {}, (f"{stage} quality: {count} sample {unit} are fewer than min_samples={checks.min_samples}; not judged",)
    numbers, faults = measure(count)
    if faults and checks.stops:
        raise DataError(f"{instrument}: calib.{stage}.quality_checks: {'; '.join(faults)}; look at the visit, or set action_on_fail=warn")
    return {unit: count, **numbers}, tuple(f"{stage} quality: {fault}" for fault in faults)


def guard_frames(stage: FrameStage, constants: Any, tiles: list[Tile], state: VisitState) -> None:
    """The guard of a frame stage on its output on the sample frames; its numbers and notes go into the state."""
    numbers, notes = guard(
        stage.name, stage.config.quality_checks, lambda _: frame_numbers(stage, constants, tiles, state),
        instrument=str(state.instrument), total=sum(len(t.values) for t in tiles), unit="frames",
    )  # fmt: skip
    if numbers:
        state.qc[stage.name] = state.qc.get(stage.name, {}) | numbers
    state.notes += notes


def require_finite(stage: str, config: SeriesStageConfig, values: NDArray[Any], what: str, instrument: str) -> None:
    """Raises DataError where validation.require_finite_inputs is on and a value that enters the stage is not finite."""
    if config.validation.require_finite_inputs and not np.isfinite(values.sum(dtype=np.float64)):
        lost = int((~np.isfinite(values)).sum())
        raise DataError(
            f"{instrument}: {lost} of {values.size} values of {what} are not finite and calib.{stage}.validation.require_finite_inputs is "
            "on: look at the visit's dead pixels, or turn the check off to have such channels left out"
        )


def frame_numbers(stage: FrameStage, constants: Any, tiles: list[Tile], state: VisitState) -> tuple[Numbers, list[str]]:
    """Statistics of the usable values of a share of the sample frames, and what the stage itself inspects."""
    checks = stage.config.quality_checks
    kept = _share(tiles, checks.sampling_fraction)
    good = np.concatenate([t.values[:, ~state.masked] for t in kept])
    finite = good[np.isfinite(good)]
    numbers: Numbers = {"frames": sum(len(t.values) for t in kept), "nonfinite_fraction": float((~np.isfinite(good)).mean())}
    if finite.size:
        numbers |= {"mean": float(finite.mean()), "std": float(finite.std()), "min": float(finite.min()), "max": float(finite.max())}
    own, faults = stage.inspect(kept, constants, state)
    return numbers | own, _above(numbers, checks, "nonfinite_fraction") + faults


def photometry_numbers(checks: PhotometryQuality, curves: LightCurves, count: int) -> tuple[Numbers, list[str]]:
    """Shares of samples that are not finite, outliers or saturated, and the drift of the star."""
    index = _spread(len(curves.x), count)
    flags = curves.dq[index]
    numbers = {
        "nonfinite_fraction": _lost(curves.flux[index]),
        "outlier_fraction": _carrying(flags, DQ.OUTLIER),
        "saturated_fraction": _carrying(flags, DQ.SATURATED),
        "drift_px": float(np.hypot(drift(curves.x), drift(curves.y))),
    }
    return numbers, _above(numbers, checks, *numbers)


def trace_numbers(checks: TraceQuality, series: Series, normalized: Normalized, count: int) -> tuple[Numbers, list[str]]:
    """`noise_over_limit` as the QC record has it, on the pairs that are measured, and how many of these lie out of transit."""
    index = _spread(len(series.flux), count)
    outside = normalized.out_of_transit[index]
    noise = white_noise(*white_over_model(series.flux[index], normalized.flux[index], series.var[index]), outside)
    numbers = {
        "nonfinite_fraction": _lost(normalized.flux[index]),
        "noise_over_limit": noise.over_limit,
        "out_of_transit_fraction": float(outside.mean()),
    }
    least = checks.min_out_of_transit_fraction
    return numbers, _above(numbers, checks, "nonfinite_fraction", "noise_over_limit") + _below(numbers, "out_of_transit_fraction", least)


def phase_numbers(checks: PhaseQuality, folded: Folded, ephemeris: Ephemeris) -> tuple[Numbers, list[str]]:
    """Shares of bins that are empty or, with pairs in them, not finite; the transit's signal-to-noise."""
    empty = folded.count == 0
    filled = folded.flux[~empty]
    snr = float(ephemeris.snr) if ephemeris.found else 0.0
    numbers = {"empty_fraction": float(empty.mean()), "nonfinite_fraction": _lost(filled), "transit_snr": snr}
    return numbers, _above(numbers, checks, "empty_fraction", "nonfinite_fraction") + _below(numbers, "transit_snr", checks.min_transit_snr)


def _above(numbers: Numbers, checks: QualityChecks, *names: str) -> list[str]:
    """What is said of numbers above their bounds max_<name>."""
    limits = {name: float(getattr(checks, f"max_{name}")) for name in names}
    return [f"{name} is {numbers[name]:.4g}, more than max_{name}={limit:g}" for name, limit in limits.items() if numbers[name] > limit]


def _below(numbers: Numbers, name: str, limit: float | None) -> list[str]:
    """What is said of a number below its bound min_<name>; None: no bound."""
    return [f"{name} is {numbers[name]:.4g}, less than min_{name}={limit:g}"] if limit is not None and numbers[name] < limit else []


def _spread(total: int, count: int) -> Index:
    """Indices of `count` samples spread evenly over all."""
    return np.linspace(0, total - 1, count).astype(np.int64)


def _lost(values: NDArray[Any]) -> float:
    return float((~np.isfinite(values)).mean()) if values.size else 0.0


def _carrying(flags: NDArray[np.uint32], bit: DQ) -> float:
    return float((flags & np.uint32(bit)).astype(bool).mean())


def _share(tiles: list[Tile], fraction: float) -> list[Tile]:
    """The first `fraction` of each run, whole ramps, at least one."""
    kept = []
    for tile in tiles:
        n = len(tile.values)
        stop = min(n, max(2, round(n * fraction / 2) * 2))
        kept.append(cut(tile, 0, stop))
    return kept
