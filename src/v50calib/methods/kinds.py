"""Which methods are open to registration: the key that chooses one, what it is called with and what it must give."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """key: of the config, below `calib`; builtin: names that are taken; called: its arguments and what it returns, in words."""

    key: str
    builtin: tuple[str, ...]
    arguments: tuple[str, ...]
    called: str

    @property
    def options(self) -> str:
        """Key of the method's own parameters."""
        return f"{self.key.rpartition('.')[0]}.options"


#: kinds of method that are open
KINDS: dict[str, Kind] = {
    "photometry.background": Kind(
        "photometry.background.method", ("auto", "columns", "annulus", "mesh", "poly2d", "spline2d", "none"), ("scene",),
        "(scene[, options]) -> weights (ny, nx) of the pixels whose weighted mean is the background",
    ),
    "photometry.photometry": Kind(
        "photometry.photometry.method", ("auto", "aperture", "psf", "optimal"), ("star",),
        "(star[, options]) -> weights (ny, nx) that the flux is summed with, of a spectrum column by column",
    ),
    "dark.cosmic_rays": Kind(
        "dark.cosmic_rays.detector", ("temporal", "astroscrappy"), ("frames", "noise", "sigma"),
        "(frames (n, ny, nx), noise, sigma[, options]) -> hits (n, ny, nx), bool",
    ),
    "trace.along_time": Kind(
        "trace.along_time.method", ("auto", "poly", "spline", "savgol", "biweight", "highpass", "gp"), ("values", "window"),
        "(values (bin,), window[, options]) -> trend (bin,) about 1",
    ),
}  # fmt: skip

#: stages and sections that are not open, and why
CLOSED: dict[str, str] = {
    "adc": "its steps fold into one polynomial a pixel, which no function of frames can join",
    "nonlinearity": "its steps fold into one polynomial a pixel: give a table or coefficients of your own (method=lut, poly)",
    "dark.dark_model": "it is a map: give one of your own (method=master, per_pixel_map)",
    "flat": "it is a map: give one of your own (method=master, spectral)",
    "cds": "how reads are paired and differenced decides what all later stages measure",
    "photometry.centroid": "positions are measured together with the fluxes, in one pass over the frames",
    "trace.along_wavelength": "its continuum is fitted jointly with the channels' levels",
    "trace.decorrelate": "its regressors are columns of the joint fit",
    "phase": "its fits are joint fits of transit and baseline",
    "top_level_calib": "it is of predictions: calibrate them by a function of your own, outside the run",
}
