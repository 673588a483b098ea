"""Phases, bin edges and stacks of folded light curves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float


def wrapped(phase: Float) -> Float:
    """Phase in cycles taken to [-0.5, 0.5).

    >>> wrapped(np.array([0.25, 0.75, 1.5]))
    array([ 0.25, -0.25, -0.5 ])
    """
    return np.asarray((phase + 0.5) % 1.0 - 0.5)


def dense_edges(low: float, high: float, n_bins: int, dense: list[tuple[float, float]], factor: float) -> Float:
    """Edges (n_bins + 1,) from low to high, `factor` times as dense inside the given windows as outside.

    The edges are equal steps of a piecewise linear measure, so their number is what was asked for wherever the
    windows lie; windows may overlap and reach beyond the ends.

    >>> dense_edges(0.0, 3.0, 4, [(1.0, 2.0)], factor=2.0)
    array([0. , 1. , 1.5, 2. , 3. ])
    """
    knots = np.unique(np.clip(np.array([low, high, *(v for w in dense for v in w)]), low, high))
    middle = 0.5 * (knots[1:] + knots[:-1])
    inside = np.zeros(middle.shape, bool)
    for a, b in dense:
        inside |= (middle > a) & (middle < b)
    measure = np.concatenate([[0.0], np.cumsum(np.diff(knots) * np.where(inside, factor, 1.0))])
    edges = np.interp(np.linspace(0.0, measure[-1], n_bins + 1), measure, knots)
    edges[0], edges[-1] = low, high
    return np.asarray(edges)


def bin_of(values: Float, edges: Float) -> NDArray[np.int64]:
    """Bin of each value, the last edge closed; -1 outside the edges.

    >>> bin_of(np.array([0.0, 0.5, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0]))
    array([ 0,  0,  1,  1, -1])
    """
    index = np.searchsorted(edges, values, side="right") - 1
    index = np.where(values == edges[-1], len(edges) - 2, index)
    return np.where((values < edges[0]) | (values > edges[-1]), -1, index).astype(np.int64)


def inverse_variance_mean(values: Float, variance: Float, axis: int = 0) -> tuple[Float, Float]:
    """Weighted mean and its variance along an axis; NaN samples are left out, NaN where nothing is left.

    >>> inverse_variance_mean(np.array([10.0, 13.0, np.nan]), np.array([1.0, 2.0, 1.0]))
    (np.float64(11.0), np.float64(0.6666666666666666))
    """
    good = np.isfinite(values) & np.isfinite(variance) & (variance > 0)
    weight = np.where(good, 1.0 / np.where(good, variance, 1.0), 0.0)
    total = weight.sum(axis=axis)
    empty = total == 0
    total = np.where(empty, np.nan, total)
    return (weight * np.where(good, values, 0.0)).sum(axis=axis) / total, 1.0 / total
