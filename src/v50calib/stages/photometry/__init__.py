"""Photometry: fluxes and positions of each pair."""

from v50calib.stages.photometry.config import PhotometryConfig
from v50calib.stages.photometry.stage import Photometry

__all__ = ["Photometry", "PhotometryConfig"]
