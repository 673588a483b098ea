"""What holds for a whole visit, made once and used by every chunk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from v50calib.engine.plan import FramePlan
from v50calib.kernels.arrays import Float, Index
from v50calib.stages.photometry.constants import PhotometryConstants
from v50calib.stages.photometry.mean_frame import MeanFrame
from v50calib.stages.tile import VisitState

#: how much more than the brightest pixel of the mean frame any pixel of a frame may hold, a saturated one for instance
BRIGHTER = 1024


@dataclass(frozen=True)
class VisitConstants:
    """A visit's masks, times, plan and weights; picklable.

    state       what the stages learned of the visit: masks, flags, notes
    plan        how raw frames become CDS frames
    pair_bins   (pairs,) bin of each pair in the time-binned cube, -1: dropped
    mean        the mean CDS frame of the sample pairs and its noise
    photometry  weight maps and noise terms; None where photometry is off
    """

    state: VisitState
    plan: FramePlan
    pair_bins: Index
    mean: MeanFrame
    photometry: PhotometryConstants | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Detector rows and columns."""
        return self.state.shape

    @property
    def n_bins(self) -> int:
        """Time bins of the binned cube."""
        return int(self.pair_bins.max(initial=-1)) + 1

    @cached_property
    def grain(self) -> float:
        """What values are rounded to in the sums of time bins: sums of its multiples are exact, so that no digit depends on the chunks."""
        return sum_grain(np.where(self.state.masked, 0.0, self.mean.cds), int(np.bincount(self.pair_bins + 1)[1:].max(initial=1)))

    @property
    def exposure_s(self) -> Float:
        """(reads,) s since reset."""
        return self.plan.exposure_s

    @property
    def between(self) -> Float:
        """(pairs,) s between the reads of a pair."""
        return self.plan.between


def sum_grain(mean: Float, pairs: int) -> float:
    """A power of 2 of which sums of `pairs` frames are whole multiples below 2**51, a frame being up to BRIGHTER times the mean one.

    Half of it is the error of a pair's value: 1e-12 or less of the brightest pixel's light in a bin.

    >>> sum_grain(np.array([[1000.0, np.nan]]), 30) == 2.0**-26
    True
    """
    largest = float(np.nanmax(np.abs(np.where(np.isfinite(mean), mean, 0.0)), initial=0.0)) or 1.0
    return 2.0 ** (math.ceil(math.log2(largest * pairs * BRIGHTER)) - 51)


def bin_of_pairs(pairs: int, pairs_per_bin: int) -> Index:
    """Bin of each pair (pairs,); the remainder at the end is -1: dropped, as the challenge's procedure does.

    >>> bin_of_pairs(7, 3).tolist()
    [0, 0, 0, 1, 1, 1, -1]
    """
    bins = np.arange(pairs) // pairs_per_bin
    bins[bins >= pairs // pairs_per_bin] = -1
    return bins
