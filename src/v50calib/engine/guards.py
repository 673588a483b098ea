"""Soft guards of photometry, trace and phase: numbers of their output on sample pairs, and what breaks a bound.

A guard measures and warns or stops; it never changes data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.dq import DQ
from v50calib.errors import DataError
from v50calib.kernels.arrays import Float, Index
from v50calib.kernels.series import drift
from v50calib.stages.base import FrameStage
from v50calib.stages.config import QualityChecks, SeriesStageConfig
from v50calib.stages.phase.config import PhaseQuality
from v50calib.stages.photometry.config import PhotometryQuality
from v50calib.stages.photometry.constants import LightCurves
from v50calib.stages.series.curves import Ephemeris, Folded, Normalized
from v50calib.stages.tile import Tile, VisitState, cut
from v50calib.stages.trace.config import TraceQuality

Numbers = dict[str, Any]


def guard(
    stage: str, checks: QualityChecks, instrument: str, n_pairs: int,
    measure: Callable[[Index], tuple[Numbers, list[str]]],
) -> tuple[Numbers, tuple[str, ...]]:  # fmt: skip
    """Numbers of a stage on its share of the pairs, and notes on broken bounds; nothing where the guard is off.

    Raises DataError where a bound is broken and action_on_fail is `error`.
    """
    if not checks.enabled:
        return {}, ()
    count = max(1, round(n_pairs * checks.sampling_fraction))
    if count < checks.min_samples:
        return {}, (f"{stage} quality: {count} sample pairs are fewer than min_samples={checks.min_samples}; not judged",)
    numbers, faults = measure(np.linspace(0, n_pairs - 1, count).astype(np.int64))
    if faults and checks.action_on_fail == "error":
        raise DataError(f"{instrument}: calib.{stage}.quality_checks: {'; '.join(faults)}; look at the visit, or set action_on_fail=warn")
    return {"pairs": count, **numbers}, tuple(f"{stage} quality: {fault}" for fault in faults)


def require_finite(stage: str, config: SeriesStageConfig, values: NDArray[Any], what: str, instrument: str) -> None:
    """Raises DataError where validation.require_finite_inputs is on and a value that enters the stage is not finite."""
    if config.validation.require_finite_inputs and not np.isfinite(values.sum(dtype=np.float64)):
        lost = int((~np.isfinite(values)).sum())
        raise DataError(
            f"{instrument}: {lost} of {values.size} values of {what} are not finite and calib.{stage}.validation.require_finite_inputs is "
            "on: look at the visit's dead pixels, or turn the check off to have such channels left out"
        )


def photometry_numbers(checks: PhotometryQuality, curves: LightCurves, index: Index) -> tuple[Numbers, list[str]]:
    """Shares of samples that are not finite, outliers or saturated, and the drift of the star."""
    flags = curves.dq[index]
    numbers = {
        "nonfinite_fraction": _lost(curves.flux[index]),
        "outlier_fraction": _carrying(flags, DQ.OUTLIER),
        "saturated_fraction": _carrying(flags, DQ.SATURATED),
        "drift_px": float(np.hypot(drift(curves.x), drift(curves.y))),
    }
    names = {key: f"max_{key}" for key in numbers}
    return numbers, _above(numbers, names, checks)


def trace_numbers(
    checks: TraceQuality, normalized: Normalized, white: tuple[Float, Float], index: Index
) -> tuple[Numbers, list[str]]:  # fmt: skip
    """Scatter of the white light curve out of transit over its prediction, and how much there is out of transit."""
    flux, var = white
    outside = index[normalized.out_of_transit[index]]
    ratio = float(np.std(flux[outside]) / np.sqrt(var[outside].mean())) if outside.size > 1 else float("nan")
    numbers = {
        "nonfinite_fraction": _lost(normalized.flux[index]),
        "noise_over_limit": ratio,
        "out_of_transit_fraction": outside.size / index.size,
    }
    faults = _above(numbers, {k: f"max_{k}" for k in ("nonfinite_fraction", "noise_over_limit")}, checks)
    if numbers["out_of_transit_fraction"] < checks.min_out_of_transit_fraction:
        faults.append(
            f"out_of_transit_fraction is {numbers['out_of_transit_fraction']:.4g}, less than "
            f"min_out_of_transit_fraction={checks.min_out_of_transit_fraction:g}"
        )
    return numbers, faults


def phase_numbers(checks: PhaseQuality, folded: Folded, ephemeris: Ephemeris) -> tuple[Numbers, list[str]]:
    """Shares of bins that are empty or, with pairs in them, not finite; the transit's signal-to-noise."""
    empty = folded.count == 0
    filled = folded.flux[~empty]
    snr = float(ephemeris.snr) if ephemeris.found else 0.0
    numbers = {"empty_fraction": float(empty.mean()), "nonfinite_fraction": _lost(filled), "transit_snr": snr}
    faults = _above(numbers, {k: f"max_{k}" for k in ("empty_fraction", "nonfinite_fraction")}, checks)
    if checks.min_transit_snr is not None and snr < checks.min_transit_snr:
        faults.append(f"transit_snr is {snr:.4g}, less than min_transit_snr={checks.min_transit_snr:g}")
    return numbers, faults


def _above(numbers: Numbers, names: dict[str, str], checks: QualityChecks) -> list[str]:
    limits = {key: float(getattr(checks, name)) for key, name in names.items()}
    return [f"{key} is {numbers[key]:.4g}, more than {names[key]}={limit:g}" for key, limit in limits.items() if numbers[key] > limit]


def _lost(values: NDArray[Any]) -> float:
    return float((~np.isfinite(values)).mean()) if values.size else 0.0


def _carrying(flags: NDArray[np.uint32], bit: DQ) -> float:
    return float((flags & np.uint32(bit)).astype(bool).mean())


def _guard(stage: FrameStage, constants: Any, tiles: list[Tile], state: VisitState) -> None:
    """Numbers of a stage's sample output into state.qc; broken bounds become notes, or an error."""
    checks = stage.config.quality_checks
    total = sum(len(t.values) for t in tiles)
    wanted = max(1, round(total * checks.sampling_fraction))
    if wanted < checks.min_samples:
        state.notes.append(f"{stage.name} quality: {wanted} sample frames are fewer than min_samples={checks.min_samples}; not judged")
        return
    kept = _share(tiles, checks.sampling_fraction)
    good = np.concatenate([t.values[:, ~state.masked] for t in kept])
    lost = float((~np.isfinite(good)).mean())
    finite = good[np.isfinite(good)]
    numbers: dict[str, Any] = {"frames": sum(len(t.values) for t in kept), "nonfinite_fraction": lost}
    if finite.size:
        numbers |= {"mean": float(finite.mean()), "std": float(finite.std()), "min": float(finite.min()), "max": float(finite.max())}
    own, faults = stage.inspect(kept, constants, state)
    if lost > checks.max_nonfinite_fraction:
        faults = [f"{lost:.3%} of the values are not finite, more than max_nonfinite_fraction={checks.max_nonfinite_fraction}", *faults]
    state.qc[stage.name] = state.qc.get(stage.name, {}) | numbers | own
    if faults and checks.action_on_fail == "error":
        raise DataError(
            f"{state.instrument}: calib.{stage.name}.quality_checks: {'; '.join(faults)}; look at the visit, or set action_on_fail=warn"
        )
    state.notes += [f"{stage.name} quality: {fault}" for fault in faults]


def _share(tiles: list[Tile], fraction: float) -> list[Tile]:
    """The first `fraction` of each run, whole ramps, at least one."""
    kept = []
    for tile in tiles:
        n = len(tile.values)
        stop = min(n, max(2, round(n * fraction / 2) * 2))
        kept.append(cut(tile, 0, stop))
    return kept
