"""Cosmic rays in the reads: detection in time (default) or by astroscrappy, repair by interpolation in time."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from v50calib.dq import DQ, FRAME_FLUX_ESTIMATED
from v50calib.errors import ConfigError
from v50calib.kernels import temporal
from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.repair import grow
from v50calib.kernels.series import robust_sigma
from v50calib.stages.dark.config import CosmicRays
from v50calib.stages.tile import Tile


def require_installed(config: CosmicRays) -> None:
    """Refuse a detector whose package is not installed. Raises ConfigError."""
    if config.enabled and DETECTORS[config.detector] is _by_shape and importlib.util.find_spec("astroscrappy") is None:
        raise ConfigError(
            "calib.dark.cosmic_rays.detector=astroscrappy needs the package astroscrappy, which is not installed: "
            "pip install astroscrappy, or use detector=temporal"
        )


def spike_sigma(tiles: list[Tile], read_noise: Float) -> Float:
    """Noise (2, ny, nx) [e-] of first and of second reads against the median of their neighbours in time.

    Robust (1.4826·MAD) over the sample frames, at least the read noise: a quiet pixel's spread may be 0 codes.
    """
    shape = tiles[0].values.shape[1:]
    out = np.empty((2, *shape))
    floor = np.where(np.isfinite(read_noise), read_noise, np.nanmedian(read_noise)) if np.isfinite(read_noise).any() else 0.0
    for kind in (0, 1):
        parts = []
        for tile in tiles:
            series = np.ascontiguousarray(tile.values[kind::2]).reshape(-1, shape[0] * shape[1])
            level = np.empty_like(series)
            temporal.neighbour_median(series, level)
            parts.append(series - level)
        out[kind] = np.maximum(robust_sigma(np.concatenate(parts)).reshape(shape), floor)
    return out


def clean(tile: Tile, config: CosmicRays, sigma: Float, masked: Mask, read_noise: float) -> Tile:
    """Flag hits JUMP_DET and fill them (FLUX_ESTIMATED); the tile itself where there are none.

    First and second reads are treated as two series. A frame in which more than max_replace_fraction of the usable
    pixels would be filled keeps its values and flags: that is no cosmic ray but a jump of the pointing or the detector.
    """
    shape, ny_nx = tile.values.shape, masked.size
    series = np.ascontiguousarray(tile.values).reshape(-1, ny_nx)
    hit = np.empty(series.shape, np.bool_)
    if not DETECTORS[config.detector](series, Noise(sigma, masked, read_noise), config.sigma_threshold, hit):
        return tile
    struck = np.flatnonzero(hit.any(axis=1))
    spread = grow(hit[struck].reshape(-1, *masked.shape), config.grow_radius_px) & ~masked
    hit[struck] = spread.reshape(len(struck), -1)
    flags = tile.frame_dq.copy()
    flags[struck] |= np.where(spread, np.uint8(DQ.JUMP_DET), np.uint8(0))
    if config.replace_mode == "none":
        return replace(tile, frame_dq=flags)
    wanted = hit.copy()
    wanted[hit.sum(axis=1) > config.max_replace_fraction * max(int((~masked).sum()), 1)] = False
    values, done = temporal.fill_marked(series, hit, wanted, lag=2, use_median=config.replace_mode == "median")
    flags[struck] |= np.where(done[struck].reshape(spread.shape), FRAME_FLUX_ESTIMATED, np.uint8(0))
    return replace(tile, values=values.reshape(shape), frame_dq=flags)


class Noise(NamedTuple):
    """What hits are judged by: noise of first and of second reads (2, ny, nx) [e-], masked pixels (ny, nx), read noise [e-]."""

    spikes: Float
    masked: Mask
    read: float


def _in_time(series: Float, noise: Noise, sigma: float, hit: Mask) -> int:
    """Hits that stand off the neighbours in time, for series (n, npix) of alternating first and second reads."""
    return temporal.find_spikes(series, sigma * noise.spikes.reshape(2, -1), hit)


def _by_shape(series: Float, noise: Noise, sigma: float, hit: Mask) -> int:
    """Hits by their sharp edges in single frames: L.A.Cosmic (van Dokkum 2001) as astroscrappy has it."""
    import astroscrappy

    for i, frame in enumerate(np.maximum(series.reshape(-1, *noise.masked.shape), 0.0)):
        found = astroscrappy.detect_cosmics(
            frame, inmask=noise.masked, sigclip=sigma, gain=1.0, readnoise=noise.read, satlevel=np.inf
        )  # fmt: skip
        hit[i] = found[0].ravel()
    return int(hit.sum())


#: calib.dark.cosmic_rays.detector -> fills the hits (n, npix) of series (n, npix), and how many there are
DETECTORS: dict[str, Callable[[Float, Noise, float, Mask], int]] = {"temporal": _in_time, "astroscrappy": _by_shape}


def needs_noise(config: CosmicRays) -> bool:
    """Whether hits are judged by the reads' own scatter in time (`spike_sigma`)."""
    return config.enabled and DETECTORS[config.detector] is _in_time
