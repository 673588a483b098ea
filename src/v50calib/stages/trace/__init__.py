"""Trace: light curves normalized along time and wavelength."""

from v50calib.stages.trace.config import TraceConfig
from v50calib.stages.trace.stage import Trace

__all__ = ["Trace", "TraceConfig"]
