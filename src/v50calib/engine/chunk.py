"""A chunk of a visit's frames: what one Dask task does. Raw uint16 in; weighted sums, flags and cube bins out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from v50calib.engine.constants import VisitConstants
from v50calib.engine.one_pass import one_pass
from v50calib.engine.repaired_pass import repaired_pass, repairs_of
from v50calib.engine.result import ChunkResult, Wanted, chunk_of_tile
from v50calib.stages.photometry.lost import blank_pairs, fingerprints
from v50calib.stages.photometry.stage import Photometry
from v50calib.stages.tile import cut


def run_chunk(
    visit: VisitConstants, raw: NDArray[np.uint16], start_pair: int, photometry: Photometry | None, wanted: Wanted,
    keep: tuple[int, int] | None = None,
) -> ChunkResult:  # fmt: skip
    """Raw frames (2n, ny, nx) of pairs start_pair … through adc … photometry.

    keep  (first, end) of the pairs that are wanted; the others are the halo of steps that look at neighbours in time (default: all)
    """
    result = _calibrated(visit, raw, start_pair, photometry, wanted, keep)
    first, end = (0, len(raw) // 2) if keep is None else (keep[0] - start_pair, keep[1] - start_pair)
    wanted_reads = raw[2 * first : 2 * end]
    result.prints, result.blank = fingerprints(wanted_reads), blank_pairs(wanted_reads)
    return result


def _calibrated(
    visit: VisitConstants, raw: NDArray[np.uint16], start_pair: int, photometry: Photometry | None, wanted: Wanted,
    keep: tuple[int, int] | None,
) -> ChunkResult:  # fmt: skip
    per_frame = visit.photometry is not None and visit.photometry.per_frame is not None
    if not visit.plan.left and not per_frame:
        assert keep is None or keep == (start_pair, start_pair + len(raw) // 2)
        return one_pass(visit, raw, start_pair, wanted)
    repairs = repairs_of(visit.plan) if not per_frame else None
    if repairs is not None:
        kept = keep if keep is not None else (start_pair, start_pair + len(raw) // 2)
        result = repaired_pass(visit, repairs, raw, start_pair, kept, wanted)
        if result is not None:
            return result
    tile = visit.plan.cds(raw, start_pair)
    if keep is not None:
        tile = cut(tile, keep[0] - start_pair, keep[1] - start_pair)
    return chunk_of_tile(visit, tile, photometry, wanted)
