"""Photometry alone on synthetic CDS frames: known flux, profile, position and background."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from v50calib.schema import INSTRUMENT
from v50calib.stages.photometry.config import PhotometryConfig
from v50calib.stages.photometry.constants import LightCurves, PhotometryConstants
from v50calib.stages.photometry.mean_frame import MeanFrame
from v50calib.stages.photometry.stage import Photometry
from v50calib.stages.photometry.weights import build_constants
from v50calib.stages.tile import VisitState

#: e- rms of one CDS value
READ = 18.4


def config(**sections: Any) -> PhotometryConfig:
    return PhotometryConfig.model_validate(sections)


def constants_of(cfg: PhotometryConfig, mean: np.ndarray, instrument: str, masked: np.ndarray | None = None) -> PhotometryConstants:
    shape = mean.shape
    masked = np.zeros(shape, bool) if masked is None else masked
    state = VisitState(
        reference=None,  # photometry takes nothing from it
        exposure_s=np.zeros(0), time_h=np.zeros(0), wavelength_um=np.linspace(4.0, 1.6, shape[1]),
        instrument=replace(INSTRUMENT[instrument], shape=shape),
        pixel_dq=np.zeros(shape, np.uint32), masked=masked,
    )  # fmt: skip
    maps = MeanFrame(np.where(masked, 0.0, mean), np.full(shape, READ**2), np.ones(shape), np.zeros(shape))
    return build_constants(cfg, state, maps, pair_cadence_s=4.8)


def extract(
    cfg: PhotometryConfig, frames: np.ndarray, instrument: str, *, mean: np.ndarray | None = None, masked: np.ndarray | None = None
) -> LightCurves:
    constants = constants_of(cfg, frames[:144].mean(axis=0) if mean is None else mean, instrument, masked)
    photometry = Photometry(cfg)
    sums = photometry.measure(frames, constants, "float64")
    return photometry.finish(sums, np.zeros((len(frames), constants.areas.flux.size), np.uint32), constants)


def star(cy: float, cx: float, flux: float = 2e5, sigma: float = 1.3, shape: tuple[int, int] = (32, 32)) -> np.ndarray:
    """A Gaussian integrated over pixels."""
    from scipy.special import erf

    axes = [np.diff(erf((np.arange(n + 1) - 0.5 - c) / (sigma * np.sqrt(2)))) / 2 for n, c in zip(shape, (cy, cx), strict=True)]
    return flux * axes[0][:, None] * axes[1]


def spectrum(level: float | np.ndarray, centre: float | np.ndarray = 15.55, width: float = 1.6, nx: int = 356) -> np.ndarray:
    """A Gaussian profile integrated over rows, `level` electrons per column."""
    from scipy.special import erf

    edges = (np.arange(33)[:, None] - 0.5 - np.broadcast_to(centre, nx)) / (width * np.sqrt(2))
    return np.broadcast_to(level, nx) * np.diff(erf(edges), axis=0) / 2
