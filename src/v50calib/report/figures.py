"""The figures of a visit for the page: drawn by `v50calib.plot`, embedded as WebP, each with a caption of its own numbers."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from v50calib import dq, plot
from v50calib.errors import DataError
from v50calib.qc.summary import true_depths

#: inches and dots per inch: sharp on a dense screen, text still legible when scaled to a phone's width
SIZE, WIDE, DPI = (5.4, 3.3), (5.4, 2.6), 150
#: margins in inches: left, right, top, bottom. A computed layout takes as long as the drawing itself
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.85, 0.15, 0.12, 0.55
#: a colour bar takes its width from the axes, and its labels need this much more on the right
_BAR = 0.55


@dataclass(frozen=True)
class Image:
    """A figure on the page; uri: a data URI."""

    name: str
    caption: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Drawing:
    title: str
    draw: Callable[[xr.Dataset, Axes], Any]
    caption: Callable[[xr.Dataset], str]
    size: tuple[float, float] = SIZE
    #: names on the axes are long: margins are computed
    fitted: bool = False


def draw_visit(ds: xr.Dataset, truth: np.ndarray | None) -> tuple[list[Image], dict[str, list[str]]]:
    """Images of a visit, and what could not be drawn: {reason: [title, …]}.

    ds: a product in memory; truth: true depths wl_1 … wl_283 of its planet.
    """
    images: list[Image] = []
    missing: dict[str, list[str]] = {}
    for drawing in _drawings(true_depths(ds, truth)):
        figure = Figure(figsize=drawing.size, layout="constrained" if drawing.fitted else None)
        ax = figure.subplots()
        try:
            drawing.draw(ds, ax)
            # the page's headings say whose figure it is
            ax.set_title("")
            if not drawing.fitted:
                _set_margins(figure)
            images.append(_image(figure, drawing.title, drawing.caption(ds)))
        except (DataError, ValueError) as exc:
            # numbers that the profile left out, or none that is finite: the page says so instead of the figure
            missing.setdefault(str(exc), []).append(drawing.title)
    return images, missing


def _set_margins(figure: Figure) -> None:
    width, height = figure.get_size_inches()
    right = _RIGHT + (_BAR if len(figure.axes) > 1 else 0.0)
    figure.subplots_adjust(_LEFT / width, _BOTTOM / height, 1 - right / width, 1 - _TOP / height)


def _image(figure: Figure, name: str, caption: str) -> Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="webp", dpi=DPI, pil_kwargs={"lossless": True, "quality": 30, "method": 2})
    width, height = (round(side * DPI) for side in figure.get_size_inches())
    return Image(name, caption, f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}", width, height)


def _drawings(truth: np.ndarray | None) -> list[Drawing]:
    spectrum = Drawing("Spectrum", lambda ds, ax: plot.spectrum(ds, ax, truth=truth), lambda ds: _spectrum(ds, truth))
    return [
        Drawing("White light curve", plot.white_light, _white),
        Drawing("Light curves", plot.light_curves, lambda ds: _LIGHT if ds.sizes.get("wavelength", 1) > 1 else _BAND),
        spectrum,
        Drawing("Mean frame and extraction", plot.mean_frame, lambda _: _FRAME, WIDE),
        Drawing("Dark", plot.dark, lambda _: "Dark current as subtracted, e-/s; the scale spans percentiles 1 to 99.", WIDE),
        Drawing("Flat", plot.flat, lambda _: "Flat field as divided by; the scale spans percentiles 1 to 99.", WIDE),
        Drawing("Flags", plot.flags, _flags, WIDE),
        Drawing("Noise budget", plot.noise_budget, lambda _: _BUDGET, fitted=True),
        Drawing("Scatter against averaging time", plot.rms_versus_time, lambda _: _RMS),
        Drawing("Drift", plot.drift, lambda _: _DRIFT),
    ]


_LIGHT = "Flux over its out-of-transit model, by time and wavelength; means of short blocks."
_BAND = "Flux of the one band over its out-of-transit model, by time; means of short blocks."
_FRAME = (
    "Mean difference of the two reads, e- per pair, logarithmic. Orange: pixels that hold 99 % of the extraction weight. "
    "Vermilion: centre of the weights."
)
_BUDGET = "Noise of one pair out of transit by cause, all causes together, and as measured, e-."
_RMS = "Scatter of the white light curve out of transit, averaged over longer and longer blocks. Above the line: noise correlated in time."
_DRIFT = "Position of the light against the visit's median, px: means of short blocks (lines) and the scatter in them (bands)."


def _white(ds: xr.Dataset) -> str:
    said = "Flux of all channels over its out-of-transit model, with errors of the noise model"
    source = str(ds.attrs.get("ephemeris_source", "none"))
    if source == "none" or "white_depth" not in ds or not np.isfinite(float(ds["white_depth"])):
        return f"{said}. No transit was found; the residuals below are against the median."
    depth, sigma = (1e6 * float(ds[name]) for name in ("white_depth", "white_depth_sigma"))
    return f"{said}, the fitted transit ({depth:.0f} ± {sigma:.0f} ppm) and below it the residuals on the same scale."


def _spectrum(ds: xr.Dataset, truth: np.ndarray | None) -> str:
    depth, sigma = (np.asarray(ds[name], np.float64) for name in ("transit_depth", "transit_depth_sigma"))
    said = f"Transit depth of each channel with its standard error, ppm; median error {1e6 * np.nanmedian(sigma):.0f} ppm."
    if truth is None:
        return said
    pull = (depth - truth) / sigma
    return f"{said} Line: the truth. Pulls: mean {np.nanmean(pull):+.2f}, rms {np.sqrt(np.nanmean(pull**2)):.2f}."


def _flags(ds: xr.Dataset) -> str:
    mask = np.asarray(ds["pixel_dq"]).astype(np.uint32)
    shares = ", ".join(f"{name} {100 * n / mask.size:.2g} %" for name, n in dq.counts(mask).items()) or "none"
    return f"Number of flags that a pixel carries throughout the visit. Shares of the detector: {shares}."
