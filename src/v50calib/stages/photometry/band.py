"""Extraction maps of one photometric band (FGS1): apertures and matched filters about the star's mean position."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from v50calib.errors import DataError
from v50calib.kernels import apertures, extraction, psf
from v50calib.kernels.arrays import Float, Mask
from v50calib.methods.registry import method_of
from v50calib.stages.photometry.centroid import stamp_of
from v50calib.stages.photometry.config import Aperture, PhotometryConfig
from v50calib.stages.photometry.flux_maps import FluxMaps
from v50calib.stages.photometry.mean_frame import PixelNoise
from v50calib.stages.photometry.per_frame import Recentre
from v50calib.stages.photometry.psf import build_psf

#: kind, half axes or radius a along x and b along y [px], and angle [rad] of each shape, as `apertures.fill_aperture` takes them
OUTLINES: dict[str, Callable[[Aperture], tuple[int, float, float, float]]] = {
    "circular": lambda a: (apertures.CIRCLE, a.radius_px, a.radius_px, 0.0),
    "elliptical": lambda a: (apertures.ELLIPSE, a.ellipse.a_px, a.ellipse.b_px, math.radians(a.ellipse.theta_deg)),
    "box": lambda a: (apertures.BOX, a.box.width_px / 2, a.box.height_px / 2, 0.0),
}


@dataclass(frozen=True)
class Band:
    """A star on the detector: image (ny, nx) is the mean frame without background, centre (y, x) its barycenter in px."""

    image: Float
    masked: Mask
    centre: tuple[float, float]
    noise: PixelNoise

    @property
    def shape(self) -> tuple[int, int]:
        """Detector rows and columns."""
        ny, nx = self.image.shape
        return ny, nx

    def filled(self) -> Float:
        """The image with its masked pixels filled."""
        return extraction.fill_masked(self.image, self.masked)


def band_maps(config: PhotometryConfig, method: str, image: Float, masked: Mask, noise: PixelNoise) -> FluxMaps:
    """Aperture or matched filter about the barycenter of image (ny, nx), the mean frame without background."""
    return (EXTRACTIONS.get(method) or _registered)(config, Band(image, masked, extraction.barycenter(image, masked), noise))


def _registered(config: PhotometryConfig, band: Band) -> FluxMaps:
    """The weights of a registered method in place of an aperture's; the rest is as with an aperture that stays where it is."""
    method = method_of("photometry.photometry", config.photometry.method)
    return _summed(config, band, method.array(method(band, given=config.photometry.options), band.shape))


def _aperture(config: PhotometryConfig, band: Band) -> FluxMaps:
    """Overlap with the configured aperture."""
    return _summed(config, band, aperture_image(config.aperture, band.shape, band.centre))


def _summed(config: PhotometryConfig, band: Band, weight: Float) -> FluxMaps:
    """Sums with a weight (ny, nx); their first moments are the positions, unless a roi gives others."""
    aperture, image, masked = config.aperture, band.image, band.masked
    inside = _share_inside(config, band, weight) if aperture.aperture_correction.enabled else 1.0
    moments = _moments(weight, band)
    maps = np.stack([weight, *moments[:2]]) / inside
    if config.centroid.roi is not None and config.centroid.chosen == "barycenter":
        box = np.zeros(band.shape)
        box[stamp_of(config.centroid, band.shape, band.centre, whole=False)] = 1.0
        maps = np.concatenate([maps[:1], _moments(box, band)])
    maps, estimated = MASK_TREATMENTS[aperture.mask_treatment](maps, weight, image, masked)
    profile = np.maximum(image, 0.0)
    light = (maps[0] * profile).sum()
    if not light > 0:
        raise DataError(
            f"the aperture about y {band.centre[0]:.1f}, x {band.centre[1]:.1f} px has no light in the mean frame ({light:g}): the frames "
            "are empty, or the background and the maps take all of it away; look at them, or at calib.photometry.aperture"
        )
    profile /= light
    recentre = _recentre(config, band, inside) if aperture.recenter_on_centroid else None
    return FluxMaps(maps[0], maps[1:], profile, band.centre, estimated, np.array([inside]), recentre=recentre)


def _psf(config: PhotometryConfig, band: Band) -> FluxMaps:
    """The matched filter of the visit's PSF; positions are first moments over the aperture where no fit gives them."""
    fit = build_psf(config.psf, band.image, band.masked, band.centre, band.noise)
    light = _moments(aperture_image(config.aperture, band.shape, band.centre), band)
    moments = extraction.redistribute_masked(light, band.masked, band.image)[0]
    window = np.zeros(band.shape, bool)
    window[fit.rows, fit.columns] = True
    fitted = fit if config.psf.mode == "fit" else None
    return FluxMaps(fit.filter, moments, fit.profile, band.centre, band.masked & window, np.ones(1), psf=fitted)


#: methods of calib.photometry.photometry for a band
EXTRACTIONS: dict[str, Callable[[PhotometryConfig, Band], FluxMaps]] = {"aperture": _aperture, "psf": _psf}


def aperture_image(aperture: Aperture, shape: tuple[int, int], centre: tuple[float, float]) -> Float:
    """Overlap (0-1) of each pixel with the configured aperture about centre (y, x)."""
    return apertures.overlap(shape, centre, *OUTLINES[aperture.shape](aperture), subpixels=aperture.samples)


def _moments(weight: Float, band: Band) -> Float:
    """Maps (3, ny, nx) of the first moments in y and x about the centre, and of the light itself."""
    yy, xx = np.mgrid[: band.shape[0], : band.shape[1]].astype(np.float64)
    cy, cx = band.centre
    return np.stack([weight * (yy - cy), weight * (xx - cx), weight])


def _filled(maps: Float, weight: Float, image: Float, masked: Mask) -> tuple[Float, Mask]:
    """The weight of masked pixels on their neighbours."""
    return extraction.redistribute_masked(maps, masked, image)


def _omitted(maps: Float, weight: Float, image: Float, masked: Mask) -> tuple[Float, Mask]:
    """Masked pixels left out of the sums."""
    return np.where(masked, 0.0, maps), np.zeros(masked.shape, bool)


def _rescaled(maps: Float, weight: Float, image: Float, masked: Mask) -> tuple[Float, Mask]:
    """Masked pixels left out, the sums scaled by the mean image's light that goes with them."""
    light = np.maximum(extraction.fill_masked(image, masked), 0.0) * weight
    return np.where(masked, 0.0, maps) * float(light.sum() / light[~masked].sum()), masked & (weight > 0)


#: maps (k, ny, nx) -> maps that do not use masked pixels, and the pixels whose light is estimated
MASK_TREATMENTS: dict[str, Callable[[Float, Float, Float, Mask], tuple[Float, Mask]]] = {
    "fill": _filled, "omit": _omitted, "rescale": _rescaled,
}  # fmt: skip


def _share_inside(config: PhotometryConfig, band: Band, weight: Float) -> float:
    """Share of the mean PSF's light inside the aperture `weight` (ny, nx)."""
    return CORRECTIONS[config.aperture.aperture_correction.model](config, band, weight, band.filled())


def _empirical_share(config: PhotometryConfig, band: Band, weight: Float, filled: Float) -> float:
    """Of the mean frame's light up to the detector's edge."""
    # signed: cutting the noise off at zero would add light that is not there
    return float((weight * filled).sum() / filled.sum())


def _gaussian_share(config: PhotometryConfig, band: Band, weight: Float, filled: Float) -> float:
    """Of a Gaussian's whole plane, fitted to the mean frame."""
    bounds, init, total, centre = config.psf.bounds, config.psf.init, float(filled.sum()), band.centre
    reach, low, high = bounds.max_shift_px, bounds.min_width_px, bounds.max_width_px
    variance = band.noise.read + np.maximum(filled, 0.0) * band.noise.photon + band.noise.constant
    shape, found, _, _ = psf.fit_shape(
        filled, np.where(band.masked, 0.0, 1.0 / variance), psf.GAUSSIAN, (total, *centre, init.width_px, init.width_px),
        [0.0, centre[0] - reach, centre[1] - reach, low, low], [np.inf, centre[0] + reach, centre[1] + reach, high, high],
    )  # fmt: skip
    return float((weight * psf.image(psf.GAUSSIAN, shape, np.zeros((1, 1)), found, band.shape)).sum())


#: models of calib.photometry.aperture.aperture_correction
CORRECTIONS: dict[str, Callable[[PhotometryConfig, Band, Float, Float], float]] = {
    "empirical": _empirical_share, "gaussian": _gaussian_share,
}  # fmt: skip


def _recentre(config: PhotometryConfig, band: Band, inside: float) -> Recentre:
    """The aperture that follows the star pair by pair."""
    kind, a, b, theta = OUTLINES[config.aperture.shape](config.aperture)
    scale = np.array([1.0 / inside])
    return Recentre(kind, a, b, theta, config.aperture.samples, scale, band.centre, config.centroid.track.max_step_px)
