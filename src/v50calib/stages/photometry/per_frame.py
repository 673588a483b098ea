"""Photometry that needs the frames themselves: clipped backgrounds, centroids and PSF fits pair by pair, rejected pixels.

Every method gives the same sums as the static maps do, so that the light curves are finished in one place: the flux with the
background under the *static* aperture left in, and the background per pixel beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from v50calib.dq import DQ
from v50calib.kernels import apertures
from v50calib.kernels.arrays import Float
from v50calib.kernels.extraction import repair_frames
from v50calib.kernels.fused import weighted_column_sums
from v50calib.kernels.horne import extract_with_rejection
from v50calib.stages.photometry.background import SkyModel
from v50calib.stages.photometry.centroid import CentroidWork
from v50calib.stages.photometry.psf import PsfWork


@dataclass(frozen=True)
class Recentre:
    """An aperture that follows the star: its shape, and the aperture correction (channels,) of its sum.

    A centroid further than reach px from `centre`, or none, leaves the aperture at `centre`.
    """

    kind: int
    a: float
    b: float
    theta: float
    subpixels: int
    scale: Float
    centre: tuple[float, float]
    reach: float


@dataclass(frozen=True)
class Rejection:
    """Horne's rejection in each pair: profile, model variance and P/V (0: not used), all (ny, nx)."""

    profile: Float
    variance: Float
    weighting: Float
    slope: Float
    clip: float
    max_iters: int


@dataclass(frozen=True)
class FrameWork:
    """What is measured on each frame; parts that are None come from the static maps.

    repair    masked pixels as sums of their neighbours (`extraction.masked_shares`)
    under     (channels, terms) background per pixel of each channel from the sky's coefficients; None: they are it
    moments_on_clean  the background is a surface that no map says: moments are taken after its subtraction
    """

    spectral: bool
    repair: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Float]
    sky: SkyModel
    under: Float | None
    centroid: CentroidWork | None
    psf: PsfWork | None
    recentre: Recentre | None
    rejection: Rejection | None
    moments_on_clean: bool

    @property
    def direct(self) -> bool:
        """Whether positions are measured directly: two columns [y, x] at the end of the totals."""
        return self.centroid is not None or self.psf is not None


@dataclass(frozen=True)
class FrameSums:
    """As `photometry.Sums`: columns (n, 2 or 0, nx), totals (n, k), dq (n, channels) uint32."""

    columns: Float
    totals: Float
    dq: NDArray[np.uint32]


def measure_frames(
    frames: Float, work: FrameWork, weights: Float, first: NDArray[np.int64], last: NDArray[np.int64], areas: tuple[Float, Float]
) -> FrameSums:
    """Flux, background, moments and positions of CDS frames (n, ny, nx), masked pixels at any finite value.

    weights, first, last: the static maps; areas: Σ of the flux map (channels,) and of the moment maps.
    """
    n, _, nx = frames.shape
    whole = frames.copy()
    repair_frames(whole.reshape(n, -1), *work.repair)
    coefficients = work.sky.coefficients(whole)
    sky = coefficients if work.under is None else coefficients @ work.under.T
    sums = np.empty((n, len(weights), nx))
    weighted_column_sums(frames, weights, first, last, sums)
    dq = np.zeros((n, nx if work.spectral else 1), np.uint32)
    clean = whole - work.sky.image(coefficients)
    flux = sums[:, 0].copy() if work.spectral else sums[:, 0].sum(axis=1, keepdims=True)
    if work.moments_on_clean:
        weighted_column_sums(clean, weights, first, last, sums)
    moments = sums[:, 2:].sum(axis=2)
    if work.moments_on_clean:
        moments += _below(sky, areas[1])
    place = work.centroid.measure(clean) if work.centroid is not None else np.full((n, 2), np.nan)
    if work.psf is not None:
        fitted, fitted_place, good = work.psf.measure(clean)
        flux = (fitted + areas[0][0] * sky[:, 0])[:, None]
        dq[~good] |= np.uint32(DQ.OUTLIER | DQ.FLUX_ESTIMATED)
        place = fitted_place if work.centroid is None else place
    if work.rejection is not None:
        r, rejected = work.rejection, np.empty((n, nx), np.int64)
        flux = np.empty((n, nx))
        extract_with_rejection(
            frames, sky, r.profile, r.variance, r.weighting, r.slope, r.clip, r.max_iters, flux, rejected
        )  # fmt: skip
        dq[rejected > 0] |= np.uint32(DQ.OUTLIER | DQ.FLUX_ESTIMATED)
    if work.recentre is not None:
        at = place if work.centroid is not None else _barycentre(flux, sky, moments, areas, work.recentre.centre)
        flux = _follow(whole, sky, at, work, areas[0])
    totals = moments if work.spectral else np.concatenate([flux, sky, moments], axis=1)
    if work.direct:
        totals = np.concatenate([totals, place], axis=1)
    columns = np.stack([flux, sky], axis=1) if work.spectral else np.zeros((n, 0, nx))
    return FrameSums(columns, totals, dq)


def _below(sky: Float, moment_area: Float) -> Float:
    """Background under the moment maps (n, maps): sky (n, channels), moment_area (maps, nx) or (maps, 1)."""
    return np.asarray(sky @ moment_area.T)


def _barycentre(flux: Float, sky: Float, moments: Float, areas: tuple[Float, Float], centre: tuple[float, float]) -> Float:
    """Position (n, 2) [y, x] from the static moment maps; a spectrum has no x here."""
    first = moments - _below(sky, areas[1])
    light = first[:, 2] if first.shape[1] > 2 else (flux - sky * np.nan_to_num(areas[0])).sum(axis=1)
    light = np.where(light > 0, light, np.nan)
    y = centre[0] + first[:, 0] / light
    return np.stack([y, centre[1] + first[:, 1] / light if first.shape[1] > 1 else np.zeros_like(y)], axis=1)


def _follow(frames: Float, sky: Float, place: Float, work: FrameWork, area: Float) -> Float:
    """Flux (n, channels) in apertures about each pair's own centre, with the static aperture's background left in."""
    r = work.recentre
    assert r is not None
    at = np.where(np.isfinite(place), place, np.array(r.centre))
    off = np.abs(at[:, 0] - r.centre[0]) if work.spectral else np.hypot(*(at - np.array(r.centre)).T)
    at = np.where((off <= r.reach)[:, None], at, np.array(r.centre))
    if work.spectral:
        flux = np.empty((len(frames), frames.shape[2]))
        apertures.recentred_strips(frames, np.ascontiguousarray(at[:, 0]), r.b, flux)
        covered = np.minimum(at[:, 0] + r.b, frames.shape[1] - 0.5) - np.maximum(at[:, 0] - r.b, -0.5)
        return np.asarray(r.scale * (flux - covered[:, None] * sky) + np.nan_to_num(area) * sky)
    total, used = np.empty(len(frames)), np.empty(len(frames))
    apertures.recentred_sums(frames, np.ascontiguousarray(at), r.kind, r.a, r.b, r.theta, r.subpixels, total, used)
    return np.asarray((r.scale[0] * (total - used * sky[:, 0]) + area[0] * sky[:, 0])[:, None])
