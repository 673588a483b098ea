"""Cosmic rays in the reads: detection in time (default) or by astroscrappy, repair in time that leaves differences right."""

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
from v50calib.kernels.hits import charges
from v50calib.kernels.repair import grow
from v50calib.kernels.repaired import Hits
from v50calib.kernels.series import robust_sigma
from v50calib.methods.registry import method_of
from v50calib.stages.dark.config import CosmicRays
from v50calib.stages.tile import Tile


def require_installed(config: CosmicRays) -> None:
    """Refuse a detector whose package is not installed. Raises ConfigError."""
    if config.enabled and DETECTORS.get(config.detector) is _by_shape and importlib.util.find_spec("astroscrappy") is None:
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
    """Flag hits JUMP_DET and repair them (FLUX_ESTIMATED); the tile itself where there are none.

    First and second reads are treated as two series. A read that alone is hit is filled from its neighbours in time. Charge that fell
    before the first read sits in both reads of the ramp: both lose the same electrons, those that the first read stands off its
    neighbours, and their difference stays as it was measured. Where more than max_replace_fraction of a frame's usable pixels would
    be changed, its pair keeps its values and flags: that is no cosmic ray but a jump of the pointing or the detector.
    """
    shape, ny_nx = tile.values.shape, masked.size
    series = np.ascontiguousarray(tile.values).reshape(-1, ny_nx)
    hit = np.empty(series.shape, np.bool_)
    detector = DETECTORS.get(config.detector) or _registered(config)
    if not detector(series, Noise(sigma, masked, read_noise), config.sigma_threshold, hit):
        return tile

    def grown(mask: Mask) -> Mask:
        struck = np.flatnonzero(mask.any(axis=1))
        mask[struck] = (grow(mask[struck].reshape(-1, *masked.shape), config.grow_radius_px) & ~masked).reshape(len(struck), masked.size)
        return mask

    either = hit[0::2] | hit[1::2]
    # no estimate rests on either read of a ramp that is hit
    doubtful = np.repeat(grown(either.copy()), 2, axis=0)
    filled, done = temporal.fill_marked(series, doubtful, doubtful, lag=2, use_median=config.replace_mode == "median")
    where = np.nonzero(either)
    excess = np.stack([(series[read::2] - filled[read::2])[where] for read in (0, 1)])
    known = done[0::2][where] & done[1::2][where]
    noise = sigma.reshape(2, -1)[:, where[1]]
    before, alone = charges(excess, np.stack([hit[0::2][where], hit[1::2][where]]), noise, config.sigma_threshold)
    in_both, single = np.zeros_like(either), np.zeros_like(hit)
    in_both[where] = before & known
    for read in (0, 1):
        single[read::2][where] = np.where(known, alone[read], hit[read::2][where])
    both = np.repeat(grown(in_both), 2, axis=0)
    single = grown(single) & ~both
    marked = single | both
    flags = tile.frame_dq | np.where(marked, np.uint8(DQ.JUMP_DET), np.uint8(0)).reshape(shape)
    if config.replace_mode == "none":
        return replace(tile, frame_dq=flags)
    crowded = marked.sum(axis=1) > most_of(config, masked)
    changed = marked & done & ~np.repeat(crowded[0::2] | crowded[1::2], 2)[:, None]
    # a read of which only its partner's estimate is missing must not be changed alone
    changed &= ~both | np.repeat(done[0::2] & done[1::2], 2, axis=0)
    rows, pixels = np.nonzero(changed)
    first = rows - rows % 2
    charge = series[first, pixels] - filled[first, pixels]
    values = series.copy()
    values[rows, pixels] = np.where(both[rows, pixels], series[rows, pixels] - charge, filled[rows, pixels])
    flags |= np.where(changed, FRAME_FLUX_ESTIMATED, np.uint8(0)).reshape(shape)
    return replace(tile, values=values.reshape(shape), frame_dq=flags)


def most_of(config: CosmicRays, masked: Mask) -> float:
    """Hit pixels of a frame from which on it keeps its values."""
    return config.max_replace_fraction * max(int((~masked).sum()), 1)


def compiled(config: CosmicRays, sigma: Float) -> Hits | None:
    """What `kernels.repaired` needs to do the same in its pass; None where hits are found otherwise, or grow."""
    if config.detector != "temporal" or config.grow_radius_px > 0:
        return None
    return Hits(
        np.ascontiguousarray(sigma.reshape(2, -1)), config.sigma_threshold, config.replace_mode != "none", config.replace_mode == "median"
    )


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


def _registered(config: CosmicRays) -> Callable[[Float, Noise, float, Mask], int]:
    """A registered method as a detector; masked pixels are never hits."""
    method = method_of("dark.cosmic_rays", config.detector)

    def detect(series: Float, noise: Noise, sigma: float, hit: Mask) -> int:
        frames = series.reshape(-1, *noise.masked.shape)
        found = method.array(method(frames, noise, sigma, given=config.options), frames.shape, bool) & ~noise.masked
        hit[:] = found.reshape(hit.shape)
        return int(hit.sum())

    return detect


#: calib.dark.cosmic_rays.detector -> fills the hits (n, npix) of series (n, npix), and how many there are
DETECTORS: dict[str, Callable[[Float, Noise, float, Mask], int]] = {"temporal": _in_time, "astroscrappy": _by_shape}
