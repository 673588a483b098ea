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


def axes(ax: Axes | None, size: tuple[float, float] = (6.4, 3.6)) -> Axes:
    """The Axes given, or one of a new figure.

    >>> axes(None).figure.get_size_inches()
    array([6.4, 3.6])
    """
    return ax if ax is not None else Figure(figsize=size, layout="constrained").subplots()


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
    """Mean of finite values (n, …) in each block.

    >>> block_mean(np.array([1.0, 3.0, np.nan, 8.0]), blocks(4, points=2))
    array([2., 8.])
    """
    flat = values.reshape(len(values), -1).astype(np.float64)
    good = np.isfinite(flat)
    total, count = np.zeros((2, index[-1] + 1, flat.shape[1]))
    np.add.at(total, index, np.where(good, flat, 0.0))
    np.add.at(count, index, good)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean.reshape(-1, *values.shape[1:])
