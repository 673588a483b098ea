"""Which method an instrument gets, and what is refused on it, before frames are read."""

from __future__ import annotations

from v50calib.errors import ConfigError
from v50calib.schema import Instrument
from v50calib.stages.photometry.config import PhotometryConfig
from v50calib.stages.photometry.psf import check_kernel


def resolve_method(config: PhotometryConfig, spectral: bool) -> tuple[str, str]:
    """Extraction and background method for an instrument; refuses, before frames are read, what makes no sense on it."""
    method = config.photometry.method
    if method == "auto":
        method = "optimal" if spectral else "aperture"
    if method == "optimal" and not spectral:
        raise ConfigError(
            "calib.photometry.photometry.method=optimal extracts a spectrum (AIRS) and FGS1 has none: use method=auto "
            "(optimal for AIRS, aperture for FGS1), or add calib.photometry.instrument.name=AIRS"
        )
    background = config.background.method
    if background == "auto":
        background = "columns" if spectral else "annulus"
    if background == "annulus" and spectral:
        raise ConfigError("calib.photometry.background.method=annulus needs a point source (FGS1); use auto or columns for AIRS")
    if background == "columns" and not spectral:
        raise ConfigError("calib.photometry.background.method=columns is per spectral column (AIRS); use auto or annulus for FGS1")
    inner, outer = config.background.annulus.inner_px, config.background.annulus.outer_px
    if background == "annulus" and inner >= outer:
        raise ConfigError(f"calib.photometry.background.annulus: inner_px={inner} must be smaller than outer_px={outer}")
    if spectral:
        _refuse_on_spectrum(config, method)
    elif method == "psf" and config.validation.require_existing_paths:
        check_kernel(config.psf)
    if method == "aperture" and config.aperture.recenter_on_centroid and config.centroid.chosen == "none":
        raise ConfigError("calib.photometry.aperture.recenter_on_centroid needs a centroid: choose calib.photometry.centroid.method")
    return method, background


def check_detector(config: PhotometryConfig, instrument: Instrument) -> None:
    """Refuse, before any frame is read, a method that makes no sense on an instrument or a background outside its detector."""
    _, background = resolve_method(config, instrument.spectral)
    ny, nx = instrument.shape
    rows, half = config.background.columns.edge_rows, config.optimal.window.half_height_px
    if background == "columns" and 2 * rows + 2 * half > ny:
        raise ConfigError(
            f"background rows (2 x {rows}) and extraction window (2 x {half}) overlap on the {ny} rows of {instrument}: "
            "lower calib.photometry.background.columns.edge_rows or calib.photometry.optimal.window.half_height_px"
        )
    inner = config.background.annulus.inner_px
    if background == "annulus" and inner >= min(ny, nx) / 2:
        raise ConfigError(
            f"calib.photometry.background.annulus.inner_px={inner} lies outside the {ny} x {nx} detector of {instrument}: "
            "lower it, or use calib.photometry.background.method=none"
        )


def _refuse_on_spectrum(config: PhotometryConfig, method: str) -> None:
    """A spectrum has no star in x: what needs a point source is refused by name."""
    only = "or add calib.photometry.instrument.name=FGS1"
    if method == "psf":
        raise ConfigError(f"calib.photometry.photometry.method=psf fits a point source and AIRS has a spectrum: use auto, {only}")
    if config.centroid.chosen in ("gaussian2d", "quadratic", "peak"):
        raise ConfigError(
            f"calib.photometry.centroid.method={config.centroid.method} locates a point source and AIRS has a spectrum: "
            f"use barycenter or phase_corr, {only}"
        )
    if config.centroid.method == "barycenter" and config.centroid.roi is not None:
        raise ConfigError(f"calib.photometry.centroid.roi: AIRS' barycenter is taken over the extraction window; use roi=null, {only}")
    if method != "aperture":
        return
    if config.aperture.shape == "elliptical":
        raise ConfigError(f"calib.photometry.aperture.shape=elliptical needs a point source; use box (its height counts) for AIRS, {only}")
    correction = config.aperture.aperture_correction
    if correction.enabled and correction.model == "gaussian":
        raise ConfigError(
            "calib.photometry.aperture.aperture_correction.model=gaussian is for a point source, and AIRS' profile has Lorentzian wings: "
            f"use empirical, {only}"
        )


def _check_roi(config: PhotometryConfig, shape: tuple[int, ...]) -> None:
    roi = config.centroid.roi
    if roi is not None and (roi[1] > shape[0] or roi[3] > shape[1]):
        raise ConfigError(
            f"calib.photometry.centroid.roi={roi} reaches past the detector of {shape[0]} x {shape[1]} pixels; make it smaller"
        )
