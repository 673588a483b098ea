"""Photometry that needs the frames themselves: clipped backgrounds, centroids and PSF fits pair by pair, rejected pixels.

Every method gives the same sums as the static maps do, so that light curves are finished by one function: the flux with the
background in the *static* aperture left in, and the background per pixel beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v50calib.dq import DQ
from v50calib.kernels import apertures
from v50calib.kernels.arrays import Float, Index, Mask
from v50calib.kernels.extraction import repair_frames
from v50calib.kernels.fused import weighted_column_sums
from v50calib.kernels.horne import extract_with_rejection
from v50calib.kernels.products import row_products
from v50calib.stages.photometry.background import BackgroundModel
from v50calib.stages.photometry.centroid import CentroidPerFrame
from v50calib.stages.photometry.psf import PsfPerFrame
from v50calib.stages.photometry.weight_maps import FLUX, LIGHT, Areas, Sums, WeightMaps, X, Y

#: flags of a value that another method, or fewer pixels, had to give
REPLACED = np.uint32(DQ.OUTLIER | DQ.FLUX_ESTIMATED)


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
class PerFrame:
    """What is measured on each frame; parts that are None come from the static maps.

    repair            masked pixels as sums of their neighbours (`extraction.masked_shares`)
    mix               (channels, terms) background per pixel of each channel from the model's coefficients; None: they are it
    moments_on_clean  the background is a surface that no map describes: moments are taken after its subtraction
    """

    spectral: bool
    repair: tuple[Index, Index, Index, Float]
    background: BackgroundModel
    mix: Float | None
    centroid: CentroidPerFrame | None
    psf: PsfPerFrame | None
    recentre: Recentre | None
    rejection: Rejection | None
    moments_on_clean: bool

    @property
    def locates(self) -> bool:
        """Whether positions are measured directly: two columns [y, x] at the end of the totals."""
        return self.centroid is not None or self.psf is not None


def measure_frames(frames: Float, per_frame: PerFrame, maps: WeightMaps, areas: Areas) -> Sums:
    """Flux, background, moments and positions of CDS frames (n, ny, nx), masked pixels at any finite value."""
    n, _, nx = frames.shape
    whole = frames.copy()
    repair_frames(whole.reshape(n, -1), *per_frame.repair)
    coefficients = per_frame.background.coefficients(whole)
    background = coefficients if per_frame.mix is None else row_products(coefficients, per_frame.mix.T)
    sums = np.empty((n, len(maps.weights), nx))
    weighted_column_sums(frames, maps.weights, maps.first, maps.last, sums)
    dq = np.zeros((n, nx if per_frame.spectral else 1), np.uint32)
    clean = whole - per_frame.background.image(coefficients)
    flux = sums[:, FLUX].copy() if per_frame.spectral else sums[:, FLUX].sum(axis=1, keepdims=True)
    if per_frame.moments_on_clean:
        weighted_column_sums(clean, maps.weights, maps.first, maps.last, sums)
    moments = sums[:, maps.moments].sum(axis=2)
    if per_frame.moments_on_clean:
        moments += row_products(background, areas.moments.T)
    positions = per_frame.centroid.measure(clean) if per_frame.centroid is not None else np.full((n, 2), np.nan)
    if per_frame.psf is not None:
        fitted, fitted_positions, good = per_frame.psf.measure(clean)
        flux = (fitted + areas.flux[0] * background[:, 0])[:, None]
        dq[~good] |= REPLACED
        positions = fitted_positions if per_frame.centroid is None else positions
    if per_frame.rejection is not None:
        flux, rejected = _without_outliers(frames, background, per_frame.rejection)
        dq[rejected] |= REPLACED
    if per_frame.recentre is not None:
        known = per_frame.centroid is not None
        at = positions if known else _barycentre(flux, background, moments, areas, per_frame.recentre.centre)
        follow = _strips if per_frame.spectral else _apertures
        flux = follow(whole, background, at, per_frame.recentre, areas.flux)
    totals = moments if per_frame.spectral else np.concatenate([flux, background, moments], axis=1)
    if per_frame.locates:
        totals = np.concatenate([totals, positions], axis=1)
    return Sums(np.stack([flux, background]) if per_frame.spectral else np.zeros((0, n, nx)), totals, dq)


def _without_outliers(frames: Float, background: Float, rejection: Rejection) -> tuple[Float, Mask]:
    """Flux (n, nx) without the pixels that do not fit the profile, and where there were any."""
    r, shape = rejection, (len(frames), frames.shape[2])
    flux, rejected = np.empty(shape), np.empty(shape, np.int64)
    extract_with_rejection(frames, background, r.profile, r.variance, r.weighting, r.slope, r.clip, r.max_iters, flux, rejected)
    return flux, rejected > 0


def _barycentre(flux: Float, background: Float, moments: Float, areas: Areas, centre: tuple[float, float]) -> Float:
    """Position (n, 2) [y, x] from the static moment maps; a spectrum has no x here."""
    first = moments - row_products(background, areas.moments.T)
    light = first[:, LIGHT] if first.shape[1] > LIGHT else (flux - background * np.nan_to_num(areas.flux)).sum(axis=1)
    light = np.where(light > 0, light, np.nan)
    y = centre[0] + first[:, Y] / light
    return np.stack([y, centre[1] + first[:, X] / light if first.shape[1] > X else np.zeros_like(y)], axis=1)


def _strips(frames: Float, background: Float, positions: Float, recentre: Recentre, area: Float) -> Float:
    """Flux (n, nx) in strips of rows about each pair's own row, with the static aperture's background left in."""
    r, at = recentre, np.where(np.isfinite(positions), positions, np.array(recentre.centre))
    at = _within_reach(at, np.abs(at[:, 0] - r.centre[0]), r)
    flux = np.empty((len(frames), frames.shape[2]))
    apertures.recentred_strips(frames, np.ascontiguousarray(at[:, 0]), r.b, flux)
    covered = np.minimum(at[:, 0] + r.b, frames.shape[1] - 0.5) - np.maximum(at[:, 0] - r.b, -0.5)
    return np.asarray(r.scale * (flux - covered[:, None] * background) + np.nan_to_num(area) * background)


def _apertures(frames: Float, background: Float, positions: Float, recentre: Recentre, area: Float) -> Float:
    """Flux (n, 1) in apertures about each pair's own centre, with the static aperture's background left in."""
    r, at = recentre, np.where(np.isfinite(positions), positions, np.array(recentre.centre))
    at = _within_reach(at, np.hypot(*(at - np.array(r.centre)).T), r)
    total, used = np.empty(len(frames)), np.empty(len(frames))
    apertures.recentred_sums(frames, np.ascontiguousarray(at), r.kind, r.a, r.b, r.theta, r.subpixels, total, used)
    return np.asarray((r.scale[0] * (total - used * background[:, 0]) + area[0] * background[:, 0])[:, None])


def _within_reach(positions: Float, off: Float, recentre: Recentre) -> Float:
    """Positions (n, 2), those further `off` than the reach put back to the centre."""
    return np.where((off <= recentre.reach)[:, None], positions, np.array(recentre.centre))
