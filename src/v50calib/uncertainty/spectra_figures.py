"""Figures of estimated spectra: depths, posterior and truth; correlations; whether the sigmas of each part are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import ndtr

from v50calib.estimators.measured import Measured
from v50calib.kernels.arrays import Float, Real
from v50calib.schema import CHANNELS
from v50calib.uncertainty.parts import NAMES, Parts

_AIRS = CHANNELS["AIRS-CH0"]
#: channels that are averaged for a point of a measured spectrum
POINT = 6
PIT_BINS = 12
DEPTHS, POSTERIOR, TRUTH = "0.45", "tab:blue", "tab:orange"


def _axes(ax: Axes | None) -> Axes:
    # Figure without pyplot: no global state, no display
    return ax if ax is not None else Figure(figsize=(5.2, 4.2), layout="constrained").add_subplot()


def spectrum(
    wavelength: Float, measured: Measured, mean: Real, sigma: Real, truth: Real | None = None, title: str = "", ax: Axes | None = None
) -> Axes:  # fmt: skip
    """One planet: depths in bins of six channels, the posterior with its band of one sigma, and the truth where it is known.

    wavelength, mean, sigma and truth (283,), FGS1 first. The range shown is that of the posterior and the truth.

    >>> wavelength = np.r_[0.7, np.linspace(1.95, 3.9, 282)]
    >>> planet = Measured.independent(np.full(283, 0.01), np.full(283, 1e-4))
    >>> ax = spectrum(wavelength, planet, np.full(283, 0.01), np.full(283, 2e-5), title="planet 7")
    >>> ax.get_ylabel()
    'transit depth, ppm'
    """
    ax = _axes(ax)
    x, y, error = [], [], []
    for start in range(_AIRS.start, _AIRS.stop, POINT):
        own = np.zeros(len(wavelength), bool)
        own[start : start + POINT] = True
        own &= measured.known
        if own.any():
            depth, width = measured.white(own)
            x.append(float(wavelength[own].mean()))
            y.append(1e6 * depth)
            error.append(1e6 * width)
    ax.errorbar(x, y, error, fmt=".", ms=3, lw=0.7, color=DEPTHS, label="depths, six channels a point")
    if measured.known[0]:
        ax.errorbar(
            wavelength[:1], 1e6 * measured.depth[:1], 1e6 * np.sqrt(np.diag(measured.covariance(slice(0, 1)))), fmt="s", ms=4, color=DEPTHS
        )
    centre, half = 1e6 * np.asarray(mean), 1e6 * np.asarray(sigma)
    ax.fill_between(wavelength[1:], (centre - half)[1:], (centre + half)[1:], color=POSTERIOR, alpha=0.3, lw=0)
    ax.plot(wavelength[1:], centre[1:], color=POSTERIOR, lw=1.2, label="posterior, one sigma")
    ax.errorbar(wavelength[:1] + 0.03, centre[:1], half[:1], fmt="o", ms=4, color=POSTERIOR)
    shown = [centre - 3 * half, centre + 3 * half]
    if truth is not None:
        ax.plot(wavelength[1:], 1e6 * np.asarray(truth)[1:], color=TRUTH, lw=1.0, label="truth")
        ax.plot(wavelength[:1] + 0.06, 1e6 * np.asarray(truth)[:1], "D", ms=4, color=TRUTH)
        shown.append(1e6 * np.asarray(truth))
    low, high = float(np.min(shown)), float(np.max(shown))
    ax.set(xlabel="wavelength, µm", ylabel="transit depth, ppm", title=title, ylim=(low - 0.1 * (high - low), high + 0.1 * (high - low)))
    return ax


def correlation(cov: Real, title: str = "", ax: Axes | None = None) -> Axes:
    """Correlation matrix of a covariance (283, 283).

    >>> ax = correlation(np.eye(283) + 1.0, "common level")
    >>> round(float(ax.images[0].get_array()[0, 1]), 6)
    0.5
    """
    ax = _axes(ax)
    whole = np.asarray(cov, np.float64)
    unit = np.sqrt(np.diag(whole))
    image = ax.imshow(whole / np.outer(unit, unit), vmin=-1, vmax=1, cmap="RdBu_r", origin="lower", interpolation="nearest")
    ax.set(xlabel="channel (0: FGS1)", ylabel="channel (0: FGS1)", title=title)
    if ax.figure is not None:
        ax.figure.colorbar(image, ax=ax, shrink=0.8, label="correlation")
    return ax


def pit_of_parts(found: Parts, ax: Axes | None = None) -> Axes:
    """Histogram of the probability integral transform of each part; flat where its sigma is right, high at both ends where too small.

    >>> rng = np.random.default_rng(1)
    >>> ax = pit_of_parts(Parts(rng.normal(size=900), rng.normal(size=900), rng.normal(size=(900, 282))))
    >>> bool(np.abs(ax.patches[2].get_data().values - 1).max() < 0.05)
    True
    """
    ax = _axes(ax)
    edges = np.linspace(0.0, 1.0, PIT_BINS + 1)
    for name, z in zip(NAMES, (found.fgs1, found.level, found.shape), strict=True):
        value = ndtr(-np.asarray(z).ravel())
        value = value[np.isfinite(value)]
        ax.stairs(np.histogram(value, bins=edges)[0] * PIT_BINS / max(value.size, 1), edges, label=f"{name}: rms z {found.rms[name]:.2f}")
    ax.axhline(1.0, color="0.6", lw=1)
    ax.set(xlabel="probability integral transform", ylabel="density", xlim=(0, 1), title="are the sigmas of each part right?")
    ax.legend()
    return ax


def gallery(
    wavelength: Float, measured: Mapping[str, Measured], mean: Mapping[str, Real], sigma: Mapping[str, Real], truth: Mapping[str, Real],
    chosen: Sequence[str],
) -> Figure:  # fmt: skip
    """The spectra of some planets, three to a row, with one legend."""
    rows = -(-len(chosen) // 3)
    figure = Figure(figsize=(15, 3.8 * rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, min(3, len(chosen)), squeeze=False).ravel())
    for planet, ax in zip(chosen, axes, strict=False):
        spectrum(wavelength, measured[planet], mean[planet], sigma[planet], truth.get(planet), f"planet {planet}", ax)
    for ax in axes[len(chosen) :]:
        ax.set_visible(False)
    axes[0].legend(fontsize=8)
    return figure
