"""The figures of a visit for the page: drawn by `v50calib.plot`, embedded as SVG, each with a caption of its own numbers."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from v50calib import dq, plot
from v50calib.errors import DataError
from v50calib.plot.fitted import Fitted, fitted
from v50calib.qc.summary import said_depth, true_depths

#: inches, and dots per inch of the pictures within a drawing; a drawing itself is as sharp as one looks at it
SIZE, TALL, WIDE, SQUARE, DPI = (6.4, 4.0), (6.4, 5.4), (6.4, 2.9), (6.4, 6.0), 110
#: margins in inches: left, right, top, bottom. A computed layout takes as long as the drawing itself
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.95, 0.15, 0.12, 0.55
#: a colour bar takes its width from the axes, and its labels need a little more on the right
_BAR = 0.1
#: what an SVG may hold unquoted in a data URI that stands between double quotes
_PLAIN = " !$&'()*+,-./:;=?@[]^_`{|}~"
#: text stays text: it takes a tenth of the outlines of its letters and can be searched for; the same drawing has the same bytes
#: a picture within a drawing keeps its own pixels, which the reader's program enlarges
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "v50calib", "image.composite_image": False}


@dataclass(frozen=True)
class Image:
    """A figure on the page; uri: a data URI; width, height: px at which its letters have the size of the page's."""

    name: str
    caption: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Drawing:
    """spectral: of several channels alone. right, bottom: inches beyond the usual margins."""

    title: str
    draw: Callable[[xr.Dataset, Axes], Any]
    caption: Callable[[xr.Dataset], str]
    size: tuple[float, float] = SIZE
    spectral: bool = False
    right: float = 0.0
    bottom: float = 0.0


def draw_visit(ds: xr.Dataset, truth: np.ndarray | None) -> tuple[list[Image], dict[str, list[str]]]:
    """Images of a visit, and what could not be drawn: {reason: [title, …]}.

    ds: a product in memory; truth: true depths wl_1 … wl_283 of its planet.
    """
    images: list[Image] = []
    missing: dict[str, list[str]] = {}
    channels = ds.sizes.get("wavelength", 1)
    for drawing in _drawings(true_depths(ds, truth), fitted(ds)):
        if drawing.spectral and channels < 2:
            continue
        try:
            images.append(
                drawn(
                    drawing.title, partial(drawing.draw, ds), partial(drawing.caption, ds), drawing.size,
                    right=drawing.right, bottom=drawing.bottom,
                )
            )  # fmt: skip
        except (DataError, ValueError) as exc:
            # numbers that the profile left out, or none that is finite: the page says so instead of the figure
            missing.setdefault(str(exc), []).append(drawing.title)
    return images, missing


def drawn(
    name: str, draw: Callable[[Axes], Any], caption: str | Callable[[], str], size: tuple[float, float] = SIZE,
    *, right: float = 0.0, bottom: float = 0.0,
) -> Image:  # fmt: skip
    """What `draw` draws on an Axes, as an image of the page. right, bottom: as of `Drawing`.

    caption: a text, or what gives it once the figure is drawn (the figure refuses a product that lacks its numbers).
    """
    figure = Figure(figsize=size)
    ax = figure.subplots()
    draw(ax)
    # the page's headings say whose figure it is
    ax.set_title("")
    _set_margins(figure, right + (_BAR if _has_bar(figure) else 0.0), bottom)
    return _image(figure, name, caption if isinstance(caption, str) else caption())


def _has_bar(figure: Figure) -> bool:
    return any(ax.get_label() == "<colorbar>" for ax in figure.axes)


def _set_margins(figure: Figure, right: float, bottom: float) -> None:
    width, height = figure.get_size_inches()
    figure.subplots_adjust(_LEFT / width, (_BOTTOM + bottom) / height, 1 - (_RIGHT + right) / width, 1 - _TOP / height)


def _image(figure: Figure, name: str, caption: str) -> Image:
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", dpi=DPI, metadata={"Date": None, "Creator": None})
    width, height = (round(side * 100) for side in figure.get_size_inches())
    return Image(name, caption, f"data:image/svg+xml,{quote(_compact(buffer.getvalue()), safe=_PLAIN)}", width, height)


def _compact(svg: str) -> str:
    """A drawing without what no reader of it needs: the prolog, comments, line breaks; double quotes would end the page's attribute.

    >>> _compact('<?xml version="1.0"?>\\n<!DOCTYPE svg>\\n<svg id="a">\\n  <!-- no -->\\n <g/>\\n</svg>\\n')
    "<svg id='a'> <g/> </svg>"
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # a font's name stands in single quotes within a style's double ones
    svg = svg.replace("'", "").replace('"', "'")
    return re.sub(r"\s+", " ", svg).strip()


def _drawings(truth: np.ndarray | None, fit: Fitted | None = None) -> list[Drawing]:
    return [
        Drawing("White light curve", lambda ds, ax: plot.white_light(ds, ax, fit=fit), _white, TALL),
        Drawing("White fit: covariance of its parameters", plot.white_corner, lambda _: _CORNER, SQUARE),
        Drawing("Spectrum", lambda ds, ax: plot.spectrum(ds, ax, truth=truth), lambda ds: _spectrum(ds, truth), spectral=True),
        Drawing("Channels, stacked", lambda ds, ax: plot.stacked_fits(ds, ax, fit=fit), lambda _: _STACKED, TALL, spectral=True, right=0.8),
        Drawing("Light curves by wavelength", plot.light_curves, lambda _: _LIGHT, spectral=True),
        Drawing("Residuals by wavelength", lambda ds, ax: plot.residual_map(ds, ax, fit=fit), lambda _: _RESIDUALS, spectral=True),
        Drawing("Averaging, by group of channels", plot.allan, lambda _: _ALLAN, spectral=True),
        Drawing("Scatter of white light against averaging time", plot.rms_versus_time, lambda _: _RMS),
        Drawing("Noise budget", plot.noise_budget, lambda _: _BUDGET, bottom=0.35),
        Drawing("Drift", plot.drift, lambda _: _DRIFT),
        Drawing("Mean frame and extraction", plot.mean_frame, lambda _: _FRAME, WIDE),
        Drawing("Dark", plot.dark, lambda _: "Dark current as subtracted, e-/s; the scale spans percentiles 1 to 99.", WIDE),
        Drawing("Flat", plot.flat, lambda _: "Flat field as divided by; the scale spans percentiles 1 to 99.", WIDE),
        Drawing("Flags", plot.flags, _flags, WIDE),
    ]


_CORNER = (
    "Covariance of the fit of the white light curve: ellipses of 1 and 2 standard errors for each pair of parameters, with their "
    "coefficient of correlation above the diagonal. Held parameters are left out."
)
_STACKED = "Means of groups of neighbouring channels, without their baseline, with the transit fitted to them; shifted by a constant each."
_RESIDUALS = (
    "What the fitted transit leaves of each channel, in standard errors. A row that stands out is a channel, a column a moment; without "
    "either, it is noise."
)
_ALLAN = (
    "Scatter out of transit of means over longer and longer times, relative to that of a pair, by group of channels. Above the dashed "
    "line: noise correlated in time."
)
_LIGHT = "Flux over its out-of-transit model, by time and wavelength; means of short blocks."
_FRAME = (
    "Mean difference of the two reads, e- per pair, logarithmic. Orange: pixels that hold 99 % of the extraction weight. "
    "Vermilion: centre of the weights."
)
_BUDGET = "Noise of one pair out of transit by cause, all causes together, and as measured, e-."
_RMS = "Scatter of the white light curve out of transit, averaged over longer and longer blocks. Above the line: noise correlated in time."
_DRIFT = "Position of the light against the visit's median, px: means of short blocks (lines) and the scatter in them (bands)."


def _white(ds: xr.Dataset) -> str:
    said = "White light with its standard errors"
    source = str(ds.attrs.get("ephemeris_source", "none"))
    depth, sigma = (1e6 * float(ds[name]) if name in ds else np.nan for name in ("white_depth", "white_depth_sigma"))
    if source == "none" or not np.isfinite(depth):
        return f"{said}. No transit was found; the lower panel is about the median."
    return f"{said} and the fitted transit (depth: {said_depth(depth, sigma, ' ppm')}); below it what the fit leaves, in ppm."


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
