"""Diagnostic figures of predictions with truth: drawn from arrays (planet, bin) onto given or new matplotlib axes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import ndtri

from v50calib.kernels.arrays import Float
from v50calib.uncertainty.metrics import LEVELS, central_coverage, per_bin, pit

#: {label: (mu, sigma)}: what is drawn into one figure, "before" and "after" for example
Cases = Mapping[str, tuple[Float, Float]]

PIT_BINS = 20
#: groups of elements of equal size by sigma
SIGMA_GROUPS = 15


def _axes(ax: Axes | None) -> Axes:
    # Figure without pyplot: no global state, no display
    return ax if ax is not None else Figure(figsize=(5.2, 4.2), layout="constrained").add_subplot()


def reliability(y: Float, cases: Cases, ax: Axes | None = None) -> Axes:
    """Observed over nominal coverage of central intervals; on the diagonal sigma is right.

    >>> y = np.random.default_rng(1).normal(size=(1000, 4))
    >>> nominal, observed = reliability(y, {"exact": (0 * y, 0 * y + 1)}).lines[1].get_data()
    >>> bool(np.abs(observed - nominal).max() < 0.03)
    True
    """
    ax = _axes(ax)
    ax.plot([0, 1], [0, 1], color="0.6", lw=1)
    for label, (mu, sigma) in cases.items():
        ax.plot(LEVELS, central_coverage((y - mu) / sigma), marker="o", ms=3, label=label)
    ax.set(xlabel="nominal coverage", ylabel="observed coverage", xlim=(0, 1), ylim=(0, 1), title="reliability")
    ax.legend()
    return ax


def pit_histogram(y: Float, cases: Cases, ax: Axes | None = None) -> Axes:
    """Histogram of the probability integral transform; flat where sigma is right, U-shaped where it is too small.

    >>> y = np.random.default_rng(1).normal(size=(1000, 4))
    >>> density = pit_histogram(y, {"exact": (0 * y, 0 * y + 1)}).patches[0].get_data().values
    >>> density.mean().round(9)
    np.float64(1.0)
    """
    ax = _axes(ax)
    edges = np.linspace(0, 1, PIT_BINS + 1)
    for label, (mu, sigma) in cases.items():
        ax.stairs(np.histogram(pit(y, mu, sigma), bins=edges)[0] * PIT_BINS / y.size, edges, label=label)
    ax.axhline(1.0, color="0.6", lw=1)
    ax.set(xlabel="PIT", ylabel="density", xlim=(0, 1), title="probability integral transform")
    ax.legend()
    return ax


def coverage_per_bin(y: Float, cases: Cases, ax: Axes | None = None, *, level: float = 0.9) -> Axes:
    """Observed coverage of each channel's central interval; the band is what chance allows with this number of planets (2 sigma).

    >>> y = np.array([[0.0, 9.0], [0.0, 0.0]])
    >>> coverage_per_bin(y, {"case": (0 * y, 0 * y + 1)}).lines[1].get_ydata()
    array([1. , 0.5])
    """
    ax = _axes(ax)
    channel, spread = np.arange(1, y.shape[1] + 1), 2.0 * np.sqrt(level * (1.0 - level) / len(y))
    ax.axhspan(level - spread, min(level + spread, 1.0), color="0.9")
    ax.axhline(level, color="0.6", lw=1)
    for label, (mu, sigma) in cases.items():
        ax.plot(channel, (np.abs(y - mu) <= ndtri(0.5 + 0.5 * level) * sigma).mean(axis=0), lw=0.9, label=label)
    ax.set(xlabel="channel (1: FGS1)", ylabel=f"coverage of {level:.0%} intervals", title="coverage per channel")
    ax.legend()
    return ax


def sigma_against_residual(y: Float, cases: Cases, ax: Axes | None = None) -> Axes:
    """rms residual of elements of similar sigma against that sigma; on the diagonal they agree.

    >>> y = np.random.default_rng(1).choice([-1.0, 1.0], (30, 4))
    >>> sigma_against_residual(y, {"case": (0 * y, 0 * y + 2)}).lines[0].get_data()[1][0]  # residuals of 1 at sigma 2
    np.float64(1.0)
    """
    ax = _axes(ax)
    for label, (mu, sigma) in cases.items():
        groups = np.array_split(np.argsort(sigma, axis=None), SIGMA_GROUPS)
        residual, flat = (y - mu).ravel(), sigma.ravel()
        x = [np.sqrt(np.mean(flat[g] ** 2)) for g in groups]
        ax.plot(x, [np.sqrt(np.mean(residual[g] ** 2)) for g in groups], marker="o", ms=4, label=label)
    low, high = ax.get_xlim()
    ax.plot([max(low, 1e-12), high], [max(low, 1e-12), high], color="0.6", lw=1)
    ax.set(xscale="log", yscale="log", xlabel="sigma (rms of a group)", ylabel="rms residual", title="sigma against residual")
    ax.legend()
    return ax


def likelihood_per_bin(y: Float, cases: Cases, ax: Axes | None = None) -> Axes:
    """Mean Gaussian log-likelihood of each channel: where the score is gained or lost.

    >>> y = np.zeros((2, 1))
    >>> likelihood_per_bin(y, {"case": (y, y + 1)}).lines[0].get_ydata().round(4)  # -log(2π)/2
    array([-0.9189])
    """
    ax = _axes(ax)
    for label, (mu, sigma) in cases.items():
        ax.plot(np.arange(1, y.shape[1] + 1), per_bin(y, mu, sigma)["gll"], lw=0.9, label=label)
    ax.set(xlabel="channel (1: FGS1)", ylabel="mean log-likelihood", title="likelihood per channel")
    ax.legend()
    return ax


def scores(values: Mapping[str, float], ax: Axes | None = None) -> Axes:
    """The score of each case as a bar.

    >>> [float(bar.get_height()) for bar in scores({"before": 0.25, "after": 0.5}).patches]
    [0.25, 0.5]
    """
    ax = _axes(ax)
    bars = ax.bar(list(values), list(values.values()), width=0.5)
    ax.bar_label(bars, fmt="%.4f")
    ax.set(ylabel="score", ylim=(0, max(1.0, 1.1 * max(values.values()))), title="score")
    return ax


def overview(y: Float, cases: Cases, score_values: Mapping[str, float]) -> Figure:
    """All six in one figure.

    >>> y = np.random.default_rng(1).normal(size=(20, 4))
    >>> [ax.get_title() for ax in overview(y, {"before": (0 * y, 0 * y + 1)}, {"before": 0.5}).axes][:3]
    ['reliability', 'probability integral transform', 'coverage per channel']
    """
    figure = Figure(figsize=(15, 8.5), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for draw, ax in zip((reliability, pit_histogram, coverage_per_bin, sigma_against_residual, likelihood_per_bin), axes, strict=False):
        draw(y, cases, ax)
    scores(score_values, axes[5])
    return figure
