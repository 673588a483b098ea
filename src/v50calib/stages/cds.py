"""CDS: correlated double sampling, second minus first read of each ramp."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from v50calib.errors import DataError
from v50calib.stages.base import Float, Section, StageConfig, Tile, VisitState


class Pairing(Section):
    """How reads find their partner. All policies built so far pair reads 2i and 2i+1; with
    order_by=timestamp the time stamps are checked to say the same."""

    policy: Literal["even_odd", "nearest"] = "even_odd"
    order_by: Literal["index", "timestamp"] = "index"
    window_s: float | None = Field(default=None, gt=0)


class CdsMode(Section):
    mode: Literal["auto", "odd_even", "frame_diff"] = "auto"


class CdsConfig(StageConfig):
    cds: CdsMode = CdsMode()
    pairing: Pairing = Pairing()


class Cds:
    """flat_corrected (time) -> cds_corrected (pair) [e-].

    The photon variance of the difference is the difference of the reads' photon variances: the second
    read contains the first one's electrons. Read noise adds. SATURATED and AD_FLOOR of either read flag
    the pair.
    """

    name: ClassVar[str] = "cds"
    input_key: ClassVar[str] = "flat_corrected"
    output_key: ClassVar[str] = "cds_corrected"

    def __init__(self, config: CdsConfig) -> None:
        self.config = config

    def prepare(self, state: VisitState) -> Float:
        """Exposure (pairs,) between the two reads; refuses reads that do not pair as 2i, 2i+1."""
        exposure = state.exposure_s
        between = exposure[1::2] - exposure[0::2]
        if not (between > 0).all():
            i = int(np.argmin(between))
            raise DataError(
                f"{state.instrument}: reads {2 * i} and {2 * i + 1} have exposures {exposure[2 * i]} and {exposure[2 * i + 1]} s: "
                "the second read of a ramp must be the longer one; check axis_info.parquet"
            )
        if self.config.pairing.order_by == "timestamp" or self.config.pairing.policy == "nearest":
            _check_time_stamps(state, self.config.pairing)
        return between

    def apply(self, tile: Tile, constants: Float) -> Tile:
        first, second = slice(0, None, 2), slice(1, None, 2)
        return Tile(
            values=tile.values[second] - tile.values[first],
            exposure_s=tile.exposure_s[second] - tile.exposure_s[first],
            var_poisson=np.maximum(tile.var_poisson[second] - tile.var_poisson[first], 0.0),
            var_rnoise=tile.var_rnoise[second] + tile.var_rnoise[first],
            frame_dq=tile.frame_dq[second] | tile.frame_dq[first],
        )


def _check_time_stamps(state: VisitState, pairing: Pairing) -> None:
    """The stamps must be increasing, each second read nearest to its own first read and within window_s."""
    stamps = state.time_h * 3600.0
    if not (np.diff(stamps) > 0).all():
        raise DataError(
            f"{state.instrument}: time stamps are not increasing, so calib.cds.pairing.order_by=timestamp would shuffle the reads; "
            "pairing of shuffled frames is not built in this version"
        )
    within = stamps[1::2] - stamps[0::2]
    to_next = np.append(stamps[2::2] - stamps[1:-1:2], np.inf)
    if (within > to_next).any():
        raise DataError(
            f"{state.instrument}: by time stamp, second reads lie nearer to the next ramp ({to_next.min():.3f} s) than to their own "
            f"first read ({within.max():.3f} s); use calib.cds.pairing.policy=even_odd calib.cds.pairing.order_by=index"
        )
    if pairing.window_s is not None and (within > pairing.window_s).any():
        raise DataError(
            f"{state.instrument}: reads of a pair lie up to {within.max():.3f} s apart, outside "
            f"calib.cds.pairing.window_s={pairing.window_s}; widen the window"
        )
