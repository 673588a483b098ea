"""What is measured once a visit, on the sample pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from v50calib.engine.constants import Chain
from v50calib.engine.frames import ReadFrames
from v50calib.engine.guards import _guard
from v50calib.engine.steps import cds_tile, check_finite
from v50calib.kernels.arrays import Float
from v50calib.stages.base import FrameStage
from v50calib.stages.cds.stage import Cds
from v50calib.stages.tile import VisitState, raw_tile


def measure(stages: list[FrameStage], constants: list[Any], state: VisitState, read: ReadFrames, runs: list[slice]) -> list[Any]:
    """Constants with what stages measure on the sample pairs, and their soft guards; reads nothing where no stage asks.

    runs  slices of pairs. Raises DataError where a guard is broken and its action_on_fail is `error`.
    """
    if not any(stage.needs_measure or stage.config.quality_checks.enabled for stage in stages):
        return constants
    out, tiles = [], []
    for run in runs:
        raw = read(2 * run.start, 2 * run.stop)
        tile = raw_tile(raw, state.exposure_s[2 * run.start : 2 * run.stop], 2 * run.start, variance=False)
        tiles.append(replace(tile, values=raw.astype(np.float64)))
    for stage, prepared in zip(stages, constants, strict=True):
        constant = stage.measure(tiles, prepared, state) if stage.needs_measure else prepared
        tiles = [stage.apply(tile, constant) for tile in tiles]
        for tile in tiles:
            check_finite(stage, tile, state.masked)
        out.append(constant)
        if stage.config.quality_checks.enabled:
            _guard(stage, constant, tiles, state)
    return out


@dataclass(frozen=True)
class MeanPairs:
    """Means over the sample pairs, (ny, nx): cds e-, read_var and poisson_var e-²."""

    cds: Float
    read_var: Float
    poisson_var: Float


def mean_pairs(chain: Chain, read: ReadFrames, runs: list[slice]) -> MeanPairs:
    """Mean CDS frame and mean variances of one CDS value over the sample pairs."""
    shape = chain.masked.shape
    totals, count = [np.zeros(shape) for _ in range(3)], 0
    for run in runs:
        tile = cds_tile(chain, read(2 * run.start, 2 * run.stop), run.start, variance=True)
        for total, values in zip(totals, (tile.values, tile.var_rnoise, tile.var_poisson), strict=True):
            total += values.sum(axis=0)
        count += len(tile.values)
    return MeanPairs(*(total / count for total in totals))


def unshared_photons(chain: Chain, mean: MeanPairs, inverse_flat: Float, dark: Float) -> Float:
    """Photon variance [e-²] beyond that of the difference itself: of a baseline that shares no electrons with its read."""
    if not any(isinstance(stage, Cds) and stage.has_baseline for stage in chain.stages):
        return np.zeros_like(mean.cds)
    return np.maximum(mean.poisson_var - np.maximum(mean.cds + dark, 0.0) * inverse_flat, 0.0)
