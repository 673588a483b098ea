"""How the figures look: one SVG that is legible on a light and on a dark page, the same bytes for the same numbers."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import NDArray

Float = NDArray[np.float64]
_ATTRIBUTE = re.compile(r' (?:d|x|y)="[^"]*"')
_COMMENT = re.compile(r"\s*<!--.*?-->", re.DOTALL)
_DIGITS = re.compile(r"(\.\d\d)\d+")

#: colours on a light page: text, secondary marks, shaded spans, and series of the Okabe-Ito palette, which differ for any colour vision
INK, MUTED, SHADE, BLUE, ORANGE, GREEN = "#1b1b1e", "#6b6d73", "#e6e8ec", "#0072b2", "#c84e00", "#00785a"
#: and on a dark one; a browser takes them where the page's `color-scheme` is dark
DARK = {INK: "#e2e4e9", MUTED: "#a3a7b2", SHADE: "#363b48", BLUE: "#62b8ec", ORANGE: "#ff9a4d", GREEN: "#46d3a4"}
COLOURS = {"FGS1": BLUE, "AIRS-CH0": ORANGE}
#: inches; 670 px in a browser, as wide as a page's text
WIDTH = 7.0
# Any: the stubs of matplotlib name every parameter
STYLE: Any = {
    "font.size": 9,
    "svg.hashsalt": "v50calib",
    # text that a reader can select and a search finds; half of the bytes of outlines
    "svg.fonttype": "none",
    "image.cmap": "cividis",
    "image.interpolation": "none",
    "image.origin": "lower",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "savefig.transparent": True,
    "figure.constrained_layout.use": True,
}


def panels(rows: int = 1, columns: int = 1, height: float = 2.7, **options: Any) -> tuple[Figure, Any]:
    """A figure of the pages' width, and its axes."""
    return plt.subplots(rows, columns, figsize=(WIDTH, height), **options)


def save(figure: Figure, out: Path) -> None:
    """Write an SVG whose named colours follow the page. Without time stamps, so that a rerun changes nothing."""
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(themed(shorter(text.getvalue())), encoding="utf-8")


def shorter(svg: str) -> str:
    """The same picture in half of the bytes: coordinates to a hundredth of a point, no comments, no indentation.

    >>> shorter('<g>\\n  <!-- a -->\\n  <path d="M 1.23456 2"/>\\n</g>')
    '<g>\\n<path d="M 1.23 2"/>\\n</g>'
    """
    svg = _ATTRIBUTE.sub(lambda attribute: _DIGITS.sub(r"\1", attribute[0]), svg)
    # whoever has no DejaVu Sans gets letters that are as wide
    svg = svg.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif").replace("sans-serif, sans-serif", "sans-serif")
    return re.sub(r"\n\s+", "\n", _COMMENT.sub("", svg))


def themed(svg: str) -> str:
    """An SVG with variables for our colours, and their values for light and for dark pages.

    >>> "--c0: #e2e4e9" in themed('<style type="text/css">*{}</style><path style="fill: #1b1b1e"/>')
    True
    >>> themed('<style type="text/css">*{}</style><path style="fill: #1b1b1e"/>').endswith('"fill: var(--c0)"/>')
    True
    """
    names = {colour: f"--c{number}" for number, colour in enumerate(DARK)}
    for colour, name in names.items():
        svg = svg.replace(colour, f"var({name})")
    light, dark = ("".join(f"{name}: {values[colour]};" for colour, name in names.items()) for values in ({c: c for c in DARK}, DARK))
    rules = f":root{{{light}}} @media (prefers-color-scheme: dark){{:root{{{dark}}}}}"
    return svg.replace('<style type="text/css">', f'<style type="text/css">{rules}', 1)


def image(axis: Axes, values: Float, title: str, label: str, **options: Any) -> None:
    """A detector picture with its colour bar."""
    shown = axis.imshow(values, **options)
    axis.set_title(title)
    axis.spines[:].set_visible(False)
    bar = plt.colorbar(shown, ax=axis, label=label, pad=0.02)
    bar.outline.set_visible(False)


def box(axis: Axes, x: float, y: float, text: str, *, width: float = 1.0, height: float = 0.62, colour: str = INK) -> None:
    """A rounded box with text about (x, y)."""
    corner = (x - width / 2, y - height / 2)
    axis.add_patch(FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=0.1", fill=False, ec=colour, lw=1.1))
    axis.text(x, y, text, ha="center", va="center", color=colour, fontsize=9, linespacing=1.25)


def arrow(axis: Axes, start: tuple[float, float], stop: tuple[float, float], text: str = "", *, above: float = 0.1) -> None:
    """An arrow, and a word at its middle."""
    axis.annotate("", stop, start, arrowprops={"arrowstyle": "-|>", "color": MUTED, "lw": 1.0, "shrinkA": 0, "shrinkB": 0})
    if text:
        middle = ((start[0] + stop[0]) / 2, (start[1] + stop[1]) / 2 + above)
        axis.text(*middle, text, ha="center", va="bottom", fontsize=8, color=MUTED)


def canvas(height: float, x: tuple[float, float], y: tuple[float, float]) -> tuple[Figure, Axes]:
    """An empty figure to draw boxes in."""
    figure, axis = panels(height=height)
    axis.set(xlim=x, ylim=y)
    axis.axis("off")
    return figure, axis


def block_means(values: Float, count: int) -> Float:
    """Means (blocks,) of `count` neighbours; what is left over at the end is dropped.

    >>> block_means(np.array([1.0, 3.0, 5.0, 7.0, 9.0]), 2).tolist()
    [2.0, 6.0]
    """
    blocks = len(values) // count
    return values[: blocks * count].reshape(blocks, count, *values.shape[1:]).mean(axis=1)


def slow_course(time: Float, ratio: Float, error: Float) -> Float:
    """Polynomial of degree 4 in time (n,) through a curve over its transit: what the joint fit leaves free, and `trace_norm` still has.

    >>> time = np.linspace(0.0, 7.5, 50)
    >>> bool(np.allclose(slow_course(time, 1 + 1e-3 * time**2, np.full(50, 1e-4)), 1 + 1e-3 * time**2))
    True
    """
    good = np.isfinite(ratio) & np.isfinite(error)
    return np.asarray(np.polynomial.Polynomial.fit(time[good], ratio[good], 4, w=1.0 / error[good])(time))
