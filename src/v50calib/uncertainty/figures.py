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
    """Observed over nominal coverage of central intervals; on the diagonal sigma tells the truth."""
    ax = _axes(ax)
    ax.plot([0, 1], [0, 1], color="0.6", lw=1)
    for label, (mu, sigma) in cases.items():
        ax.plot(LEVELS, central_coverage((y - mu) / sigma), marker="o", ms=3, label=label)
    ax.set(xlabel="nominal coverage", ylabel="observed coverage", xlim=(0, 1), ylim=(0, 1), title="reliability")
    ax.legend()
    return ax


def pit_histogram(y: Float, cases: Cases, ax: Axes | None = None) -> Axes:
    """Histogram of the probability integral transform; flat where sigma tells the truth, a U where it is too small."""
    ax = _axes(ax)
    edges = np.linspace(0, 1, PIT_BINS + 1)
    for label, (mu, sigma) in cases.items():
        ax.stairs(np.histogram(pit(y, mu, sigma), bins=edges)[0] * PIT_BINS / y.size, edges, label=label)
    ax.axhline(1.0, color="0.6", lw=1)
    ax.set(xlabel="PIT", ylabel="density", xlim=(0, 1), title="probability integral transform")
    ax.legend()
    return ax


def coverage_per_bin(y: Float, cases: Cases, ax: Axes | None = None, *, level: float = 0.9) -> Axes:
    """Observed coverage of each channel's central interval; the band is what chance allows with so many planets (2 sigma)."""
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
    """rms residual of elements with alike sigma, over that sigma; on the diagonal they agree."""
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
    """Mean Gaussian log-likelihood of each channel: where the score is gained and lost."""
    ax = _axes(ax)
    for label, (mu, sigma) in cases.items():
        ax.plot(np.arange(1, y.shape[1] + 1), per_bin(y, mu, sigma)["gll"], lw=0.9, label=label)
    ax.set(xlabel="channel (1: FGS1)", ylabel="mean log-likelihood", title="likelihood per channel")
    ax.legend()
    return ax


def scores(values: Mapping[str, float], ax: Axes | None = None) -> Axes:
    """The score of each case as a bar."""
    ax = _axes(ax)
    bars = ax.bar(list(values), list(values.values()), width=0.5)
    ax.bar_label(bars, fmt="%.4f")
    ax.set(ylabel="score", ylim=(0, max(1.0, 1.1 * max(values.values()))), title="score")
    return ax


def overview(y: Float, cases: Cases, score_values: Mapping[str, float]) -> Figure:
    """All six in one figure."""
    figure = Figure(figsize=(15, 8.5), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for draw, ax in zip((reliability, pit_histogram, coverage_per_bin, sigma_against_residual, likelihood_per_bin), axes, strict=False):
        draw(y, cases, ax)
    scores(score_values, axes[5])
    return figure
