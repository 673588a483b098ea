"""Figures of docs/explanation and docs/uncertainty.md; those of measurements read the tables of the pages."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from v50calib import bin_depths
from v50calib.estimators import GaussianProcess, Measured
from v50calib.uncertainty.score import score

from .material import ROOT, Material, number, table
from .style import BLUE, COLOURS, GREEN, INK, MUTED, ORANGE, SHADE, arrow, box, canvas, panels

PPM = 1e6


def chain(material: Material) -> Figure:
    """The eight stages, what goes in and what comes out."""
    figure, axis = canvas(2.4, (-0.75, 7.7), (-1.75, 1.15))
    names = ("adc", "nonlinearity", "dark", "flat", "cds")
    places = (0.85, 2.2, 3.45, 4.45, 5.45)
    widths = (0.8, 1.35, 0.75, 0.75, 0.75)
    axis.text(-0.75, 0.5, "raw reads\n[time, y, x]\nADU", ha="left", va="center", fontsize=8.5, color=MUTED)
    arrow(axis, (0.2, 0.5), (0.45, 0.5))
    for index, (name, x, width) in enumerate(zip(names, places, widths, strict=True)):
        box(axis, x, 0.5, name, width=width, colour=BLUE)
        if index:
            arrow(axis, (places[index - 1] + widths[index - 1] / 2, 0.5), (x - width / 2, 0.5))
    axis.text(places[2], 0.95, "every pixel, in chunks of time", ha="center", fontsize=8.5, color=BLUE)
    axis.text(6.25, 0.5, "electrons\nof a pair", ha="left", va="center", fontsize=8.5, color=MUTED)
    arrow(axis, (5.825, 0.5), (6.2, 0.5))
    for x, width, name, colour in ((3.45, 1.3, "photometry", BLUE), (4.85, 0.8, "trace", ORANGE), (6.0, 0.8, "phase", ORANGE)):
        box(axis, x, -0.85, name, width=width, colour=colour)
    axis.plot([5.45, 5.45, 3.45], [0.19, -0.2, -0.2], color=MUTED, linewidth=1.0)
    arrow(axis, (3.45, -0.2), (3.45, -0.54))
    arrow(axis, (4.1, -0.85), (4.45, -0.85))
    arrow(axis, (5.25, -0.85), (5.6, -0.85))
    arrow(axis, (6.4, -0.85), (6.75, -0.85))
    axis.text(6.8, -0.85, "transit depths,\nlight curves,\nerrors, flags", ha="left", va="center", fontsize=8.5, color=MUTED)
    axis.text(3.45, -1.5, "weighted sums of a frame", ha="center", fontsize=8.5, color=BLUE)
    axis.text(5.43, -1.5, "light curves of a visit", ha="center", fontsize=8.5, color=ORANGE)
    return figure


def noise(material: Material) -> Figure:
    """Scatter of white light averaged over longer and longer blocks, and what the noise model says."""
    figure, axes = panels(columns=2, height=2.9)
    for axis, (name, ds) in zip(axes, sorted(material.products.items(), reverse=True), strict=True):
        # blocks so long that fewer than eight lie out of transit tell little
        outside = float(ds.out_of_transit.values.mean() * np.ptp(ds.time.values)) * 3600
        ds = ds.isel(averaging=ds.averaging.values < outside / 8)
        minutes = ds.averaging.values / 60
        axis.plot(minutes, PPM * ds.rms_expected.values, color=INK, linewidth=1.0, label="noise model")
        axis.plot(minutes, PPM * ds.rms_measured.values, "o", color=COLOURS[name], markersize=4, label="measured out of transit")
        axis.set(xscale="log", yscale="log", xlabel="block length [min]", title=f"{name}, white light")
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter(ScalarFormatter())
            side.set_minor_formatter(NullFormatter())
        axis.legend(loc="lower left")
    axes[0].set_ylabel("scatter of block means [ppm]")
    return figure


def recovery(material: Material) -> Figure:
    """Errors of injected transits without noise over what is allowed, and pulls with noise: the page's table."""
    rows = table("docs/explanation/recovery.md", "| depth ppm | T14 h")
    figure, (left, right) = panels(columns=2)
    for shift, (name, column) in zip((-0.08, 0.08), (("AIRS-CH0", 4), ("FGS1", 5)), strict=True):
        depths = sorted({number(row[0]) for row in rows})
        at = [depths.index(number(row[0])) + shift for row in rows]
        left.plot(at, [number(row[column]) / number(row[3]) for row in rows], "o", mfc="none", color=COLOURS[name], label=name)
    left.axhspan(-1, 1, color=SHADE, linewidth=0)
    left.set(xticks=range(len(depths)), xticklabels=[f"{d:.0f}" for d in depths], xlabel="injected depth [ppm]", ylim=(-2, 2))
    left.set(ylabel="error / allowed error", title="frames without noise")
    left.legend(ncols=2, loc="upper left")
    pulls = np.array([[number(row[8]), number(row[9])] for row in rows]).ravel()
    pull = np.linspace(-4, 4, 200)
    right.hist(
        pulls, np.arange(-4, 4.1, 0.5), density=True, color=SHADE, edgecolor=MUTED, linewidth=0.6, label=f"{len(pulls)} white depths"
    )
    right.plot(pull, np.exp(-0.5 * pull**2) / np.sqrt(2 * np.pi), color=BLUE, label="normal law")
    right.set(xlabel="(depth - truth) / σ", yticks=[], title="frames with noise")
    right.spines["left"].set_visible(False)
    right.legend(loc="upper left")
    return figure


def estimators(material: Material) -> Figure:
    """Depths as fitted, the spectrum under the Gaussian process, and the truth."""
    planet, truth = material.planet, PPM * material.truth
    depth, sigma = planet.transit_depth.values, planet.transit_depth_sigma.values
    shared = np.nan_to_num(planet.transit_depth_shared.values)
    wavelength = planet.wavelength.values
    posterior = GaussianProcess(wavelength).posterior(Measured(depth, sigma**2 - (shared**2).sum(axis=1), shared))
    airs = slice(1, None)
    figure, axis = panels(height=3.2)
    found = bin_depths(planet, 60).isel(wavelength=slice(1, None))
    axis.errorbar(
        found.wavelength,
        PPM * found.depth,
        PPM * found.depth_sigma,
        fmt="o",
        color=MUTED,
        markersize=3,
        elinewidth=0.8,
        label="depths as fitted, R = 60",
    )
    mean, error = PPM * posterior.mean[airs], PPM * posterior.sigma[airs]
    axis.fill_between(wavelength[airs], mean - error, mean + error, color=BLUE, alpha=0.25, linewidth=0)
    axis.plot(wavelength[airs], mean, color=BLUE, label="Gaussian process, ± 1 σ")
    axis.plot(wavelength[airs], truth[airs], color=ORANGE, linewidth=1.1, label="truth")
    middle = np.percentile(PPM * found.depth, [2.5, 97.5])
    axis.set(ylim=middle + np.array([-0.5, 0.9]) * np.ptp(middle), xlabel="wavelength [µm]", ylabel="depth [ppm]")
    axis.legend(ncols=3, loc="upper center")
    return figure


def recalibration(material: Material) -> Figure:
    """Coverage of 90 % intervals by method, in two worlds of the page's tables."""
    page = "docs/explanation/uncertainty.md"
    text_of = {
        "per-bin mis-scale, Gaussian": "each channel's σ is off",
        "planet-dependent mis-scale, bias, heavy tails": "σ is off by planet, too",
    }
    figure, axes = panels(columns=2, height=2.6, sharex=True)
    for axis, (heading, title) in zip(axes, text_of.items(), strict=True):
        rows = [row for row in _below(page, f"**{heading}**") if row[2] != "–"]
        at = np.arange(len(rows))[::-1]
        axis.barh(at, [number(row[2]) for row in rows], color=[MUTED, *[BLUE] * (len(rows) - 1)], height=0.55, label="all planets")
        axis.plot([number(row[3]) for row in rows], at, "D", color=ORANGE, markersize=5, label="worst fifth of the planets")
        axis.axvline(0.9, color=INK, linestyle="--", linewidth=0.9)
        axis.set(yticks=at, yticklabels=[row[0] for row in rows], xlabel="share of truths inside (90 % wanted)", title=title, xlim=(0, 1))
    axes[1].set_yticklabels([])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _below(page: str, heading: str) -> list[list[str]]:
    """Rows of the first table below a line."""
    lines = (ROOT / page).read_text(encoding="utf-8").split(heading, 1)[1].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[first + 2 :]]
    return cells[: next(i for i, row in enumerate(cells) if len(row) < 2)]


def performance(material: Material) -> Figure:
    """Seconds of a full visit: README.md's table of speed."""
    rows = table("README.md", "| from → to")
    # what a bar says is told once: the page has the whole sentence
    names = [row[0].replace("`", "").replace(", cosmic rays and outliers repaired, every frame kept", "") for row in rows]
    seconds = [number(row[1]) for row in rows]
    at = np.arange(len(rows))[::-1]
    figure, axis = panels(height=2.6)
    ours = [GREEN if "nothing else" in name else MUTED if "notebook" in name else BLUE for name in names]
    axis.barh(at, seconds, color=ours, height=0.6)
    for y, value in zip(at, seconds, strict=True):
        axis.text(value * 1.05, y, f"{value:g} s", va="center", fontsize=8.5)
    axis.set(xscale="log", xlim=(0.5, 150), yticks=at, yticklabels=names, xlabel="one visit of full length, one thread [s]")
    return figure


def scaling(material: Material) -> Figure:
    """Simulated wall time against workers: the page's table."""
    rows = table("docs/explanation/scaling.md", "| visits | workers")
    figure, axes = panels(columns=2, sharey=False)
    for axis, visits in zip(axes, ("1100", "100000"), strict=True):
        for storage, colour in (("1", ORANGE), ("20", BLUE)):
            chosen = [row for row in rows if row[0] == visits and row[2] == storage]
            minutes = [number(row[3]) * {"h": 60, "s": 1 / 60}.get(row[3][-1], 1) for row in chosen]
            axis.plot([number(row[1]) for row in chosen], minutes, "o-", color=colour, label=f"storage of {storage} GB/s")
        axis.set(
            xscale="log",
            yscale="log",
            xlabel="workers",
            title=f"{int(visits):,} visits",
            xticks=[4, 64, 1024],
            xticklabels=["4", "64", "1024"],
        )
        axis.minorticks_off()
    axes[0].set(ylabel="wall time [min]", yticks=[0.5, 1, 2, 5, 8], yticklabels=["0.5", "1", "2", "5", "8"])
    axes[1].set(yticks=[30, 60, 120, 360, 720], yticklabels=["30", "60", "120", "360", "720"])
    axes[0].legend()
    return figure


def score_of_sigma(material: Material) -> Figure:
    """The challenge's score of predictions whose sigma is stated too small or too large."""
    rng = np.random.default_rng(0)
    truth = 0.01 + 1e-3 * rng.normal(size=(300, 283))
    factors = np.geomspace(0.25, 4, 25)
    figure, axis = panels(height=2.7)
    for error, colour in ((50e-6, BLUE), (150e-6, GREEN), (400e-6, ORANGE)):
        predicted = truth + error * rng.normal(size=truth.shape)
        values = [score(truth, predicted, np.full_like(truth, factor * error)).value for factor in factors]
        axis.plot(factors, values, color=colour, label=f"errors of {PPM * error:.0f} ppm")
    axis.axvline(1, color=MUTED, linestyle="--", linewidth=0.8)
    axis.set(
        xscale="log", xticks=[0.25, 0.5, 1, 2, 4], xticklabels=["¼", "½", "1", "2", "4"], xlabel="stated σ / true error", ylabel="score"
    )
    axis.minorticks_off()
    axis.legend()
    return figure


def states(material: Material) -> Figure:
    """What becomes of a visit in a run."""
    figure, axis = canvas(2.5, (-0.5, 8.6), (-1.7, 1.05))
    box(axis, 0.2, 0, "waits", width=1.1)
    box(axis, 2.6, 0, "is calibrated", width=1.7, colour=BLUE)
    box(axis, 5.4, 0, "whole, under a\nhidden name", width=1.8, colour=BLUE)
    box(axis, 8.0, 0, "product", width=1.1, colour=GREEN)
    box(axis, 2.6, -1.2, "failed", width=1.2, colour=ORANGE)
    box(axis, 5.4, -1.2, "quarantine", width=1.8, colour=ORANGE)
    arrow(axis, (0.75, 0), (1.75, 0))
    arrow(axis, (3.45, 0), (4.5, 0), "checked")
    arrow(axis, (6.3, 0), (7.45, 0), "renamed")
    arrow(axis, (2.6, -0.31), (2.6, -0.89))
    axis.text(2.7, -0.62, "error", fontsize=8, color=MUTED, va="center")
    arrow(axis, (3.2, -1.2), (4.5, -1.2), "ends workers")
    axis.plot([2.0, 0.2], [-1.2, -1.2], color=MUTED, linewidth=1.0)
    arrow(axis, (0.2, -1.2), (0.2, -0.31))
    axis.text(1.1, -1.3, "the next call", ha="center", va="top", fontsize=8, color=MUTED)
    axis.plot([8.0, 8.0, 0.2], [0.31, 0.75, 0.75], color=MUTED, linewidth=1.0)
    arrow(axis, (0.2, 0.75), (0.2, 0.31))
    axis.text(4.1, 0.8, "changed input, --update or --overwrite", ha="center", va="bottom", fontsize=8, color=MUTED)
    return figure


FIGURES = {
    "chain": chain,
    "noise": noise,
    "recovery": recovery,
    "estimators": estimators,
    "recalibration": recalibration,
    "performance": performance,
    "scaling": scaling,
    "score": score_of_sigma,
    "states": states,
}
