"""Stages step by step on tiles of frames: for what does not fold into one polynomial per pixel.

Methods that look at neighbours in time get their chunk with a halo of pairs on either side, cut at the visit's ends, so
results do not depend on the chunking. What they need to know of the whole visit is measured once (`engine.samples`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from v50calib.errors import DataError
from v50calib.kernels.arrays import Float, Mask
from v50calib.stages.base import FrameStage
from v50calib.stages.tile import Tile, cut, join, raw_tile

#: frames of a piece that runs through the pointwise steps at once: it stays in the cache
PIECE_BYTES = 1536 * 1024


class BoundStep(NamedTuple):
    """One step of a stage with the stage's constants; last: it completes the stage."""

    stage: FrameStage
    constants: Any
    run: Callable[[Tile, Any], Tile]
    over_time: bool
    last: bool


def bound_steps(stages: Sequence[FrameStage], constants: Sequence[Any]) -> list[BoundStep]:
    """The steps of all stages in order."""
    return [
        BoundStep(stage, constant, step.run, step.over_time, last=i == len(steps))
        for stage, constant in zip(stages, constants, strict=True)
        for steps in [stage.steps()]
        for i, step in enumerate(steps, start=1)
    ]


def halo_of(stages: Sequence[FrameStage]) -> int:
    """Pairs on either side of a chunk that all temporal methods together look at."""
    return sum(stage.halo for stage in stages)


def through(steps: Sequence[BoundStep], tile: Tile, masked: Mask) -> Tile:
    """A tile through steps: pointwise ones piece by piece, those that look at neighbours in time on the whole tile."""
    for over_time, group in groupby(steps, key=lambda step: step.over_time):
        members = list(group)
        length = len(tile.values) if over_time else max(2, PIECE_BYTES // (8 * masked.size) // 2 * 2)
        parts = []
        for i in range(0, len(tile.values), length):
            part = cut(tile, i, i + length)
            part.values = np.asarray(part.values, dtype=np.float64)
            for step in members:
                part = step.run(part, step.constants)
                if step.last:
                    check_finite(step.stage, part, masked)
            parts.append(part)
        tile = join(parts)
    return tile


def check_finite(stage: FrameStage, tile: Tile, masked: Mask) -> None:
    """The stage's `assert_finite_output`. Raises DataError."""
    # one sum tells of any NaN or infinity; only then are masked pixels told apart
    if not stage.config.assert_finite_output or np.isfinite(tile.values.sum()):
        return
    bad = np.argwhere(~np.isfinite(tile.values) & ~masked)
    if len(bad):
        raise DataError(
            f"calib.{stage.name}.assert_finite_output: {len(bad)} values that are not finite, the first at frame "
            f"{tile.start + int(bad[0][0])}, pixel (y, x) = ({bad[0][1]}, {bad[0][2]}); look at the maps of that stage, or turn the check "
            "off to have such values flagged only"
        )


def stage_by_stage(
    stages: Sequence[FrameStage], constants: Sequence[Any], raw: NDArray[np.uint16], exposure_s: Float, start_frame: int, last: str
) -> Tile:
    """Raw frames through each stage's own formula up to and including `last`, with variances.

    exposure_s (n,) of these frames; start_frame: the first one's index in the visit.
    """
    tile = raw_tile(raw.astype(np.float64), exposure_s, start_frame, variance=True)
    for stage, constant in zip(stages, constants, strict=True):
        tile = stage.apply(tile, constant)
        if stage.name == last:
            break
    return tile
