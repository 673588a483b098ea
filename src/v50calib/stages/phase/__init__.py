"""Phase: ephemeris, fold and depths."""

from v50calib.stages.phase.config import PhaseConfig
from v50calib.stages.phase.stage import Phase

__all__ = ["Phase", "PhaseConfig"]
