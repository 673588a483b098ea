"""What holds for a whole visit, made once and used by every chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float
from v50calib.stages.base import FrameStage
from v50calib.stages.photometry.constants import PhotometryConstants
from v50calib.stages.photometry.weights import MeanFrame
from v50calib.stages.tile import PixelPolynomial, VisitState


@dataclass(frozen=True)
class FrameConstants:
    """All static work of a visit's frame domain; picklable, made once, used by every chunk.

    folded       adc … flat as one polynomial of the raw code per pixel; None where a stage cannot be folded
    chain        the general path, where the folded polynomial does not do all; None: it does
    dark         electrons between the reads of pair i: ``rate·between[i]``; between (pairs,) s
    pair_bins    bin of each pair for the time-binned cube (-1: dropped)
    """

    stages: list[Any]
    constants: list[Any]
    folded: PixelPolynomial | None
    between: Float
    exposure_s: Float
    state: VisitState
    saturation_adu: int
    floor_adu: int
    mean: MeanFrame | None
    photometry: PhotometryConstants | None
    pair_bins: NDArray[np.int64]
    chain: Chain | None = None

    @property
    def shape(self) -> tuple[int, int]:
        ny, nx = self.state.masked.shape
        return ny, nx

    @property
    def n_bins(self) -> int:
        return int(self.pair_bins.max(initial=-1)) + 1


def bin_of_pairs(exposures: int, pairs_per_bin: int) -> NDArray[np.int64]:
    """Bin index of each pair; the remainder at the end is -1 (dropped, as the host's procedure does)."""
    bins = np.arange(exposures) // pairs_per_bin
    bins[bins >= exposures // pairs_per_bin] = -1
    return bins


@dataclass(frozen=True)
class Chain:
    """The frame stages of a visit with their constants; picklable.

    halo   pairs that a chunk needs on either side
    quick  the differences may be taken from the folded polynomial: only what `cds` does to them afterwards is general
    prefix how many stages from the first on fold into one polynomial of the code, and that polynomial
    """

    stages: list[FrameStage]
    constants: list[Any]
    masked: NDArray[np.bool_]
    exposure_s: Float
    halo: int
    quick: bool
    prefix: tuple[int, PixelPolynomial] | None = None
