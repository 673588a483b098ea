"""Figures of a whole run: depths against the truth, pulls, noise and seconds of every visit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from v50calib.plot.style import BLACK, BLUE, ORANGE, VERMILION, axes

#: colours of instruments in the order in which they are met
_COLOURS = (BLUE, ORANGE, VERMILION, BLACK)
#: more points than this are a picture within the drawing, so that a page stays small
MOST_POINTS = 300
#: planets that are named on an axis
NAMED = 40
#: planets whose names stand side by side
FEW = 5
#: half the range of the histogram of pulls
PULLS = 5.0


def depth_against_truth(
    instrument: Sequence[str], depth: np.ndarray, sigma: np.ndarray, truth: np.ndarray, ax: Axes | None = None
) -> Axes:  # fmt: skip
    """White depth of each visit with its error against the true one, ppm. All arguments (visit,).

    >>> ax = depth_against_truth(["FGS1"], np.array([10100.0]), np.array([90.0]), np.array([10000.0]))
    >>> ax.lines[0].get_xydata().tolist()
    [[10000.0, 10100.0]]
    """
    ax = axes(ax)
    known = np.isfinite(depth) & np.isfinite(truth)
    for name, colour, mine in _each(instrument):
        part = mine & known
        ax.errorbar(truth[part], depth[part], sigma[part], fmt=".", ms=4, lw=0.6, color=colour, label=name, rasterized=_many(part))
    if known.any():
        ends = np.array([truth[known].min(), truth[known].max()])
        ax.plot(ends, ends, color=BLACK, lw=0.8, label="equal", zorder=3)
    ax.set(xlabel="true depth (ppm)", ylabel="measured depth (ppm)", title="depth against truth")
    ax.legend(fontsize="small")
    return ax


def pulls(instrument: Sequence[str], pull: np.ndarray, ax: Axes | None = None) -> Axes:
    """Histogram of (depth - truth) / standard error of each visit (visit,), beside what errors that are right give.

    >>> pulls(["FGS1", "FGS1"], np.array([0.5, -9.0])).get_legend().get_texts()[0].get_text()
    'FGS1: mean -4.25, rms 6.37, 1 beyond ±5'
    """
    ax = axes(ax)
    edges = np.linspace(-PULLS, PULLS, 41)
    most = 0
    for name, colour, mine in _each(instrument):
        values = pull[mine & np.isfinite(pull)]
        if values.size:
            most = max(most, values.size)
            beyond = int((np.abs(values) > PULLS).sum())
            said = f"{name}: mean {values.mean():+.2f}, rms {np.sqrt(np.mean(values**2)):.2f}" + (f", {beyond} beyond ±5" if beyond else "")
            ax.hist(np.clip(values, -PULLS, PULLS), edges.tolist(), histtype="stepfilled", alpha=0.45, color=colour, label=said)
    if most:
        x = np.linspace(-PULLS, PULLS, 101)
        height = most * (edges[1] - edges[0]) / np.sqrt(2 * np.pi)
        ax.plot(x, height * np.exp(-0.5 * x**2), color=BLACK, lw=1, label="errors that are right")
    ax.set(xlabel="(depth - truth) / standard error", ylabel="visits", title="pulls")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(fontsize="x-small")
    return ax


def noise_by_planet(instrument: Sequence[str], planet: Sequence[str], ratio: np.ndarray, ax: Axes | None = None) -> Axes:
    """Scatter out of transit over its limit of each visit (visit,), planets side by side in the order of their names.

    >>> noise_by_planet(["FGS1", "FGS1"], ["7", "8"], np.array([1.0, 1.1])).get_xticklabels()[1].get_text()
    '8'
    """
    ax = axes(ax)
    names = sorted(set(planet), key=lambda p: (len(p), p))
    place = {name: i for i, name in enumerate(names)}
    x = np.array([place[p] for p in planet], np.float64)
    for k, (name, colour, mine) in enumerate(_each(instrument)):
        part = mine & np.isfinite(ratio)
        ax.plot(x[part] + 0.12 * k, ratio[part], ".", ms=5, color=colour, label=name, rasterized=_many(part))
    ax.axhline(1.0, color=BLACK, lw=0.8, label="photon and read noise alone")
    ax.set(xlabel="planet", ylabel="noise over its limit", title="noise by planet")
    if len(names) <= NAMED:
        ax.set_xlim(-0.5, len(names) - 0.5)
        few = len(names) <= FEW
        ax.set_xticks(range(len(names)), names, rotation=0 if few else 90, fontsize="x-small")
    else:
        ax.set_xlabel(f"planet, {len(names)} in the order of their ids")
    ax.legend(fontsize="x-small")
    return ax


def seconds_of_visits(instrument: Sequence[str], seconds: np.ndarray, ax: Axes | None = None) -> Axes:
    """Histogram of the seconds of work on each visit (visit,).

    >>> seconds_of_visits(["FGS1", "FGS1"], np.array([1.0, 3.0])).get_legend().get_texts()[0].get_text()
    'FGS1: median 2.0 s, longest 3.0 s'
    """
    ax = axes(ax)
    known = np.isfinite(seconds) & (seconds > 0)
    if known.any():
        edges = np.geomspace(0.95 * seconds[known].min(), 1.05 * seconds[known].max(), 31)
        for name, colour, mine in _each(instrument):
            values = seconds[mine & known]
            if values.size:
                said = f"{name}: median {np.median(values):.1f} s, longest {values.max():.1f} s"
                ax.hist(values, edges.tolist(), histtype="stepfilled", alpha=0.5, color=colour, label=said)
        ax.legend(fontsize="x-small")
    ax.set(xlabel="work on a visit (s)", ylabel="visits", title="seconds")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def _each(instrument: Sequence[str]) -> list[tuple[str, str, np.ndarray]]:
    """Every instrument with its colour and which visits (visit,) are its own."""
    names = np.asarray(instrument, object)
    return [(name, _COLOURS[i % len(_COLOURS)], names == name) for i, name in enumerate(sorted(set(instrument)))]


def _many(part: np.ndarray) -> bool:
    return bool(part.sum() > MOST_POINTS)
