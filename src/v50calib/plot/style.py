"""Axes, colours, block means, and the error for variables that a product does not have."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from v50calib.errors import DataError

#: Okabe & Ito (2008), Color Universal Design
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
#: points drawn of a curve, at most, so that a page with a hundred visits stays small
POINTS = 400
#: label of the axis of time
TIME = "time since the start of the visit (h)"


def axes(ax: Axes | None, size: tuple[float, float] = (6.4, 3.6)) -> Axes:
    """The Axes given, or one of a new figure.

    >>> axes(None).figure.get_size_inches()
    array([6.4, 3.6])
    """
    return ax if ax is not None else Figure(figsize=size, layout="constrained").subplots()


def panel_below(ax: Axes, share: float = 0.3) -> Axes:
    """A panel under an Axes, of `share` of its height and with its x axis: the label and the numbers of x go there.

    >>> ax = axes(None)
    >>> below = panel_below(ax)
    >>> bool(below.get_position().y1 < ax.get_position().y0), below.get_shared_x_axes().joined(ax, below)
    (True, True)
    """
    figure, spec = ax.figure, ax.get_subplotspec()
    if spec is not None:
        grid = spec.subgridspec(2, 1, height_ratios=[1 - share, share], hspace=0.06)
        ax.set_subplotspec(grid[0])
        below: Axes = figure.add_subplot(grid[1], sharex=ax)
    else:
        box = ax.get_position()
        ax.set_position((box.x0, box.y0 + share * box.height, box.width, (1 - share) * box.height))
        below = figure.add_axes((box.x0, box.y0, box.width, (share - 0.02) * box.height), sharex=ax)
    ax.tick_params(labelbottom=False)
    ax.xaxis.label.set_visible(False)
    return below


def error_bars(ax: Axes, x: np.ndarray, y: np.ndarray, error: np.ndarray, *, color: str, label: str | None = None) -> None:
    """Points with error bars as two lines: an errorbar of matplotlib draws each bar as a path of its own, and a page holds thousands.

    >>> ax = axes(None)
    >>> error_bars(ax, np.arange(2.0), np.ones(2), 0.1 * np.ones(2), color=BLUE)
    >>> ax.lines[0].get_ydata(), ax.lines[1].get_ydata()
    (array([1., 1.]), array([0.9, 1.1, nan, 0.9, 1.1, nan]))
    """
    ax.plot(x, y, ".", ms=3, color=color, label=label, zorder=2)
    bars = np.stack([y - error, y + error, np.full(y.shape, np.nan)], axis=1).ravel()
    ax.plot(np.repeat(x, 3), bars, lw=0.6, color=color, alpha=0.6, zorder=1.5)


def need(ds: xr.Dataset, *names: str) -> None:
    """Raises DataError where the product lacks a variable, naming what makes it.

    >>> need(xr.Dataset({"photometry": 1.0}), "photometry", "trace_norm")
    Traceback (most recent call last):
    v50calib.errors.DataError: this product has no trace_norm: ...
    """
    missing = [name for name in names if name not in ds.variables]
    if missing:
        raise DataError(
            f"this product has no {', '.join(missing)}: its profile left it out (stages that are off, output.diagnostics=false, "
            "output.cubes); calibrate with a profile that makes it"
        )


def title(ds: xr.Dataset, what: str) -> str:
    """What is drawn, of which visit.

    >>> title(xr.Dataset(attrs={"planet_id": "7", "visit": 0, "instrument": "FGS1"}), "spectrum")
    'spectrum: planet 7, visit 0, FGS1'
    """
    return f"{what}: planet {ds.attrs.get('planet_id', '?')}, visit {ds.attrs.get('visit', '?')}, {ds.attrs.get('instrument', '?')}"


def blocks(n: int, points: int = POINTS) -> np.ndarray:
    """Index (n,) of the block that each of n samples is averaged in; about `points` blocks.

    >>> blocks(6, points=3)
    array([0, 0, 1, 1, 2, 2])
    """
    return np.arange(n) // max(1, n // points)


def block_mean(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Mean of finite values (n, …) in each block; index (n,) as `blocks` gives it, rising.

    >>> block_mean(np.array([1.0, 3.0, np.nan, 8.0]), blocks(4, points=2))
    array([2., 8.])
    """
    flat = values.reshape(len(values), -1).astype(np.float64)
    good = np.isfinite(flat)
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    total = np.add.reduceat(np.where(good, flat, 0.0), starts, axis=0)
    count = np.add.reduceat(good, starts, axis=0, dtype=np.int64)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean.reshape(-1, *values.shape[1:])
