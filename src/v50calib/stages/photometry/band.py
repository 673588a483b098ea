"""Extraction maps of one photometric band (FGS1): apertures and matched filters about the star's mean place."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from v50calib.kernels import apertures, extraction, psf
from v50calib.kernels.arrays import Float, Mask
from v50calib.stages.photometry.centroid import stamp_of
from v50calib.stages.photometry.config import Aperture, PhotometryConfig, Psf
from v50calib.stages.photometry.per_frame import Recentre
from v50calib.stages.photometry.psf import PsfWork, build_psf


@dataclass(frozen=True)
class BandMaps:
    """Maps of a band, (ny, nx); moments (2 or 3, ny, nx): first moments in y and x, and the light they are divided by where
    that is not the flux. profile: Σ weight·profile = 1. inside: share of the star's light in the aperture (1: not corrected)."""

    weight: Float
    moments: Float
    profile: Float
    centre: tuple[float, float]
    estimated: Mask
    inside: float
    psf: PsfWork | None


def aperture_image(aperture: Aperture, shape: tuple[int, int], centre: tuple[float, float]) -> Float:
    """Overlap (0-1) of each pixel with the configured aperture about centre."""
    n = aperture.samples
    if aperture.shape == "circular":
        return apertures.circular_aperture(shape, centre, aperture.radius_px, subpixels=n)
    if aperture.shape == "elliptical":
        ellipse = aperture.ellipse
        return apertures.elliptical_aperture(shape, centre, (ellipse.a_px, ellipse.b_px), math.radians(ellipse.theta_deg), subpixels=n)
    return apertures.box_aperture(shape, centre, (aperture.box.height_px, aperture.box.width_px), subpixels=n)


def band_maps(
    config: PhotometryConfig, method: str, image: Float, masked: Mask, *, read_var: Float, photon: Float, constant: Float
) -> BandMaps:
    """Aperture or matched filter about the barycenter of image (ny, nx), the mean frame without background."""
    shape = (image.shape[0], image.shape[1])
    cy, cx = centre = extraction.barycenter(image, masked)
    aperture, weight = config.aperture, aperture_image(config.aperture, shape, centre)
    yy, xx = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    filled = extraction.fill_masked(image, masked) if method == "psf" or aperture.aperture_correction.enabled else image
    if method == "psf":
        work = build_psf(config.psf, image, masked, centre, read_var, photon, constant)
        light = _moments(weight, yy - cy, xx - cx)
        moments = extraction.redistribute_masked(light, masked, image)[0]
        inside = np.zeros(shape, bool)
        inside[work.rows, work.columns] = True
        return BandMaps(work.filter, moments, work.profile, centre, masked & inside, 1.0, work)
    share = 1.0
    if aperture.aperture_correction.enabled:
        share = _share_inside(config.psf, aperture, weight, filled, masked, centre, read_var + np.maximum(filled, 0.0) * photon + constant)
    maps = np.stack([weight, weight * (yy - cy), weight * (xx - cx)]) / share
    if config.centroid.roi is not None and config.centroid.chosen == "barycenter":
        box = np.zeros(shape)
        box[stamp_of(config.centroid, shape, centre, whole=False)] = 1.0
        maps = np.concatenate([maps[:1], _moments(box, yy - cy, xx - cx)])
    if aperture.mask_treatment == "fill":
        maps, estimated = extraction.redistribute_masked(maps, masked, image)
    else:
        estimated = masked & (weight > 0) if aperture.mask_treatment == "rescale" else np.zeros(shape, bool)
        maps = np.where(masked, 0.0, maps) * _rescale(config, image, masked, weight)
    profile = np.maximum(image, 0.0)
    profile /= (maps[0] * profile).sum()
    return BandMaps(maps[0], maps[1:], profile, centre, estimated, share, None)


def _moments(weight: Float, dy: Float, dx: Float) -> Float:
    """Maps of the first moments in y and x, and of the light itself."""
    return np.stack([weight * dy, weight * dx, weight])


def _rescale(config: PhotometryConfig, image: Float, masked: Mask, weight: Float) -> float:
    """What makes up for the light of masked pixels that are left out, by the mean image; 1 where they are just omitted."""
    if config.aperture.mask_treatment == "omit":
        return 1.0
    light = np.maximum(extraction.fill_masked(image, masked), 0.0) * weight
    return float(light.sum() / light[~masked].sum())


def _share_inside(
    config: Psf, aperture: Aperture, weight: Float, filled: Float, masked: Mask, centre: tuple[float, float], variance: Float
) -> float:
    """Share of the mean PSF's light inside the aperture: up to the detector's edge (empirical), of a Gaussian's whole plane."""
    if aperture.aperture_correction.model == "empirical":
        # signed: cutting the noise off at zero would add light that is not there
        return float((weight * filled).sum() / filled.sum())
    bounds, total = config.bounds, float(filled.sum())
    reach, low, high = bounds.max_shift_px, bounds.min_width_px, bounds.max_width_px
    shape, found, _, _ = psf.fit_shape(
        filled, np.where(masked, 0.0, 1.0 / variance), psf.GAUSSIAN, (total, *centre, config.init.width_px, config.init.width_px),
        [0.0, centre[0] - reach, centre[1] - reach, low, low], [np.inf, centre[0] + reach, centre[1] + reach, high, high],
    )  # fmt: skip
    size = (filled.shape[0], filled.shape[1])
    return float((weight * psf.image(psf.GAUSSIAN, shape, np.zeros((1, 1)), found, size)).sum())


def recentre_of(config: PhotometryConfig, band: BandMaps) -> Recentre | None:
    """The aperture that follows the star pair by pair, where asked for."""
    aperture = config.aperture
    if not aperture.recenter_on_centroid:
        return None
    kind, a, b, theta = apertures.CIRCLE, aperture.radius_px, aperture.radius_px, 0.0
    if aperture.shape == "elliptical":
        kind, a, b, theta = apertures.ELLIPSE, aperture.ellipse.a_px, aperture.ellipse.b_px, math.radians(aperture.ellipse.theta_deg)
    elif aperture.shape == "box":
        kind, a, b = apertures.BOX, aperture.box.width_px / 2, aperture.box.height_px / 2
    scale = np.array([1.0 / band.inside])
    return Recentre(kind, a, b, theta, aperture.samples, scale, band.centre, config.centroid.track.max_step_px)
