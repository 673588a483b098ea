"""Nonlinearity: the inverse of the detector's response."""

from v50calib.stages.nonlinearity.config import NonlinearityConfig
from v50calib.stages.nonlinearity.stage import Nonlinearity

__all__ = ["Nonlinearity", "NonlinearityConfig"]
