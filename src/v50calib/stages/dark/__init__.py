"""Dark: dark current, cosmic rays and hot pixels."""

from v50calib.stages.dark.config import DarkConfig
from v50calib.stages.dark.stage import Dark

__all__ = ["Dark", "DarkConfig"]
