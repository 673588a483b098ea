"""Which method an instrument gets, and what is refused on it, before frames are read."""

from __future__ import annotations

from v50calib.errors import ConfigError
from v50calib.methods.kinds import KINDS
from v50calib.methods.registry import Light, method_of
from v50calib.schema import Instrument
from v50calib.stages.photometry.background import edge_rows
from v50calib.stages.photometry.centroid import STAR_KERNELS
from v50calib.stages.photometry.config import PhotometryConfig
from v50calib.stages.photometry.psf import check_kernel

#: what `auto` is: extraction, background
AUTO_OF_SPECTRUM, AUTO_OF_BAND = ("optimal", "columns"), ("aperture", "annulus")


def resolve_method(config: PhotometryConfig, spectral: bool) -> tuple[str, str]:
    """Extraction and background method for an instrument. Raises ConfigError, before frames are read, for what makes no sense on it."""
    chosen, auto = (config.photometry.method, config.background.method), AUTO_OF_SPECTRUM if spectral else AUTO_OF_BAND
    method, background = (default if word == "auto" else word for word, default in zip(chosen, auto, strict=True))
    for kind, name in (("photometry.photometry", method), ("photometry.background", background)):
        _refuse_light(kind, name, "spectrum" if spectral else "band")
    if spectral:
        _refuse_on_spectrum(config, method, background)
    else:
        _refuse_on_band(config, method, background)
    if method not in KINDS["photometry.photometry"].builtin and config.aperture.recenter_on_centroid:
        raise ConfigError(
            f"calib.photometry.aperture.recenter_on_centroid moves an aperture, and calib.photometry.photometry.method={method} has "
            "weights that stay: set it to false"
        )
    if method == "aperture" and config.aperture.recenter_on_centroid and not config.centroid.measured:
        raise ConfigError("calib.photometry.aperture.recenter_on_centroid needs a centroid: choose calib.photometry.centroid.method")
    return method, background


def check_detector(config: PhotometryConfig, instrument: Instrument) -> None:
    """Refuse, before any frame is read, a method that makes no sense on an instrument or a background outside its detector."""
    _, background = resolve_method(config, instrument.spectral)
    ny, nx = instrument.shape
    if background == "columns":
        edge_rows(config, ny, str(instrument))
    inner = config.background.annulus.inner_px
    if background == "annulus" and inner >= min(ny, nx) / 2:
        raise ConfigError(
            f"calib.photometry.background.annulus.inner_px={inner} lies outside the {ny} x {nx} detector of {instrument}: "
            "lower it, or use calib.photometry.background.method=none"
        )


def check_roi(config: PhotometryConfig, shape: tuple[int, ...]) -> None:
    """Refuse a centroid's region that reaches past the detector (ny, nx)."""
    roi = config.centroid.roi
    if roi is not None and (roi[1] > shape[0] or roi[3] > shape[1]):
        raise ConfigError(
            f"calib.photometry.centroid.roi={roi} reaches past the detector of {shape[0]} x {shape[1]} pixels; make it smaller"
        )


def _refuse_light(kind: str, name: str, light: Light) -> None:
    """A registered method on what it was not made for."""
    if name in KINDS[kind].builtin:
        return
    method = method_of(kind, name)
    if light not in method.on:
        stage, _, key = KINDS[kind].key.partition(".")
        section = "fgs1" if light == "spectrum" else "airs"
        raise ConfigError(
            f"{method} was registered for {' and '.join(method.on)} alone, and this instrument has a {light}: give it to an instrument of "
            f"that kind alone ({section}.{stage}.{key}={name})"
        )


def _refuse_on_band(config: PhotometryConfig, method: str, background: str) -> None:
    """A band has no spectrum: what needs its columns is refused by name."""
    if method == "optimal":
        raise ConfigError(
            "calib.photometry.photometry.method=optimal extracts a spectrum (AIRS) and FGS1 has none: use method=auto "
            "(optimal for AIRS, aperture for FGS1), give it to AIRS alone (airs.photometry.… in place of calib.photometry.…), or add "
            "calib.photometry.instrument.name=AIRS"
        )
    if background == "columns":
        raise ConfigError("calib.photometry.background.method=columns is per spectral column (AIRS); use auto or annulus for FGS1")
    inner, outer = config.background.annulus.inner_px, config.background.annulus.outer_px
    if background == "annulus" and outer - inner < 1.0:
        raise ConfigError(
            f"calib.photometry.background.annulus: inner_px={inner} must be smaller than outer_px={outer}, by a pixel at least"
        )
    if method == "psf" and config.validation.require_existing_paths:
        check_kernel(config.psf)


def _refuse_on_spectrum(config: PhotometryConfig, method: str, background: str) -> None:
    """A spectrum has no star in x: what needs a point source is refused by name."""
    only = "give it to FGS1 alone (fgs1.photometry.… in place of calib.photometry.…), or add calib.photometry.instrument.name=FGS1"
    if background == "annulus":
        raise ConfigError("calib.photometry.background.method=annulus needs a point source (FGS1); use auto or columns for AIRS")
    if method == "psf":
        raise ConfigError(f"calib.photometry.photometry.method=psf fits a point source and AIRS has a spectrum: use auto, {only}")
    if config.centroid.chosen in STAR_KERNELS:
        raise ConfigError(
            f"calib.photometry.centroid.method={config.centroid.method} locates a point source and AIRS has a spectrum: "
            f"use barycenter or phase_corr, {only}"
        )
    if config.centroid.method == "barycenter" and config.centroid.roi is not None:
        raise ConfigError(f"calib.photometry.centroid.roi: AIRS' barycenter is taken over the extraction window; use roi=null, {only}")
    if method == "aperture":
        _refuse_aperture(config, only)


def _refuse_aperture(config: PhotometryConfig, only: str) -> None:
    """Shapes and corrections that a strip of rows has no use for."""
    if config.aperture.shape == "elliptical":
        raise ConfigError(f"calib.photometry.aperture.shape=elliptical needs a point source; use box (its height counts) for AIRS, {only}")
    correction = config.aperture.aperture_correction
    if correction.enabled and correction.model == "gaussian":
        raise ConfigError(
            "calib.photometry.aperture.aperture_correction.model=gaussian is for a point source, and AIRS' profile has Lorentzian wings: "
            f"use empirical, {only}"
        )
