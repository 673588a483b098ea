"""Flat: pixel-to-pixel response."""

from v50calib.stages.flat.config import FlatConfig
from v50calib.stages.flat.stage import Flat

__all__ = ["Flat", "FlatConfig"]
