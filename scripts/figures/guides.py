"""Figures of the how-to pages, the tutorial and the pages on data and simulator."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from v50calib import bin_depths, covariance, to_arrays
from v50calib.plot.curves import transit_model

from .material import Material
from .style import BLUE, COLOURS, GREEN, INK, MUTED, ORANGE, arrow, block_means, box, canvas, image, panels

PPM = 1e6


def ramps(material: Material) -> Figure:
    """How a pixel's charge grows in three ramps of AIRS-CH0, and which two reads are stored of each."""
    first, second, period = 0.1, 4.6, 4.8
    figure, axis = panels(height=2.5)
    for ramp in range(3):
        start = ramp * period
        axis.plot([start, start + second, start + second], [0, second, 0], color=MUTED, linewidth=1.0)
        axis.plot(start + first, first, "o", color=BLUE, label="first read (even frame)" if ramp == 0 else None)
        axis.plot(start + second, second, "o", color=ORANGE, label="second read (odd frame)" if ramp == 0 else None)
    axis.annotate("", (second + 0.45, second), (second + 0.45, first), arrowprops={"arrowstyle": "<->", "color": INK})
    axis.text(second + 0.6, second / 2, "cds: 4.5 s of light", va="center", fontsize=8.5)
    axis.annotate(
        "reset", (2 * period, 0), (2 * period + 0.9, 1.0), arrowprops={"arrowstyle": "-|>", "color": MUTED}, color=MUTED, fontsize=8.5
    )
    axis.set(xlabel="time [s]", ylabel="charge of a pixel", yticks=[], ylim=(-0.3, 6.4))
    axis.legend(ncols=2, loc="upper left")
    return figure


def scene(material: Material) -> Figure:
    """What a simulated visit looks like: one read, the pointing, the spectrum that is put in."""
    visit = material.raw("AIRS-CH0")
    figure, axes = panels(rows=3, height=5.0, height_ratios=[1.0, 1.0, 1.0])
    image(axes[0], visit.raw_frames.isel(time=1).values / 1e3, "one second read of AIRS-CH0", "1000 ADU", aspect="auto")
    axes[0].set_ylabel("row y")
    ds = material.products["FGS1"]
    for name, colour in (("x_position", BLUE), ("y_position", GREEN)):
        count = max(ds.sizes["pair"] // 150, 1)
        moved = block_means(ds[name].values - np.median(ds[name].values), count)
        axes[1].plot(block_means(ds.time.values, count), moved, ".", color=colour, markersize=2, label=name[0])
    axes[1].set(xlabel="time [h]", ylabel="pixels", title="pointing: FGS1 by its centroids, means of some pairs")
    axes[1].legend(ncols=2, loc="upper left", markerscale=4)
    axes[2].plot(material.planet.wavelength.values[1:], PPM * material.truth[1:], color=ORANGE)
    axes[2].set(xlabel="wavelength [µm]", ylabel="depth [ppm]", title="the true spectrum, written to train.csv")
    return figure


def curves(material: Material) -> Figure:
    """White light of both instruments with the fitted transit: what a first run gives."""
    found = to_arrays(material.run, n_bins=110)
    figure, axes = panels(columns=2, height=2.8)
    for axis, (name, ds) in zip(axes, sorted(material.products.items(), reverse=True), strict=True):
        light = found.light[0, :, :1] if name == "FGS1" else found.light[0, :, 1:]
        weight = ds.photometry.median("pair").values * np.isfinite(light)
        model = transit_model(ds, found.time + float(ds.mid_transit_time))
        assert model is not None
        axis.plot(found.time, np.nansum(weight * light, axis=1) / weight.sum(axis=1), ".", color=COLOURS[name], markersize=4)
        axis.plot(found.time, model, color=INK, linewidth=1.0)
        depth, sigma = PPM * float(ds.white_depth), PPM * float(ds.white_depth_sigma)
        axis.set(xlabel="time from mid-transit [h]", title=f"{name}: {depth:.0f} ± {sigma:.0f} ppm")
    axes[0].set_ylabel("flux / baseline")
    return figure


def spoiled(material: Material) -> Figure:
    """A visit that loses light at its end, and the numbers that give it away."""
    ds = material.spoiled
    flux = ds.photometry.values[:, 0]
    time, count = ds.time.values, max(len(flux) // 220, 1)
    model = transit_model(ds, time)
    figure, axis = panels(height=2.7)
    axis.plot(
        block_means(time, count), block_means(flux, count) / np.median(flux), ".", color=BLUE, markersize=4, label="summed flux of FGS1"
    )
    if model is not None:
        axis.plot(time[::count], model[::count], color=ORANGE, linewidth=1.1, label="transit that was fitted to it")
    axis.set(xlabel="time since the start of the visit [h]", ylabel="flux / median")
    axis.set_title(f"reduced chi² of the fit: {ds.attrs['ephemeris_chi2_reduced']:.1f}, where 1 is expected")
    axis.legend(loc="lower left")
    return figure


def arrays(material: Material) -> Figure:
    """The light of every channel against time: one row of `to_arrays`."""
    found = to_arrays(material.run, n_bins=75)
    light = found.light[0, :, 1:]
    channels = block_means(np.nan_to_num(light, nan=1.0).T.astype(np.float64), 6)
    wavelength = found.wavelength[1:]
    figure, axis = panels(height=3.0)
    extent = (float(found.time[0]), float(found.time[-1]), float(np.nanmin(wavelength)), float(np.nanmax(wavelength)))
    image(
        axis,
        channels,
        "light[planet, time, wavelength] of one planet, means of 6 channels",
        "flux / baseline",
        extent=extent,
        aspect="auto",
    )
    axis.set(xlabel="time from mid-transit [h]", ylabel="wavelength [µm]")
    return figure


def binned(material: Material) -> Figure:
    """Depths in bins with their errors, and what the channels' errors have in common."""
    planet = material.planet
    found = bin_depths(planet, 20)
    figure, (left, right) = panels(columns=2, height=3.0, width_ratios=[1.35, 1.0])
    truth = bin_depths(planet.assign(transit_depth=("wavelength", material.truth)), 20)
    left.errorbar(
        found.wavelength,
        PPM * found.depth,
        PPM * found.depth_sigma,
        found.half_width,
        fmt="o",
        color=BLUE,
        markersize=4,
        label="bins, R = 20",
    )
    left.plot(truth.wavelength, PPM * truth.depth, "_", color=ORANGE, markersize=11, markeredgewidth=2, label="truth in the same bins")
    left.set(xlabel="wavelength [µm]", ylabel="depth [ppm]")
    left.margins(y=0.2)
    left.legend(loc="upper left", ncols=2, columnspacing=0.8, handletextpad=0.3)
    matrix = covariance(planet).values[1:, 1:]
    sigma = np.sqrt(np.diag(matrix))
    correlation = block_means(block_means(matrix / np.outer(sigma, sigma), 3).T, 3)
    edges = (float(planet.wavelength[1]), float(planet.wavelength[-1]))
    image(right, correlation, "correlation of channels", "", extent=(*edges, *edges), vmin=0, vmax=0.08)
    right.set(xlabel="wavelength [µm]")
    return figure


def solve(material: Material) -> Figure:
    """The steps of `v50calib solve`."""
    figure, axis = canvas(1.5, (-0.7, 9.3), (-0.75, 0.75))
    steps = ("plan", "calibrate\nvisits", "fit each\nplanet", "estimate\nspectra", "recalibrate\nσ", "submission\nand pages")
    for index, name in enumerate(steps):
        box(axis, 1.72 * index, 0, name, width=1.36, height=0.9, colour=GREEN if index == len(steps) - 1 else BLUE)
        if index:
            arrow(axis, (1.72 * index - 1.04, 0), (1.72 * index - 0.68, 0))
    return figure


def cluster(material: Material) -> Figure:
    """Who talks to whom in a run on several machines."""
    figure, axis = canvas(2.7, (-1.0, 8.3), (-1.7, 1.5))
    box(axis, 0, 0, "v50calib\ncalibrate", width=1.5, height=0.9, colour=BLUE)
    box(axis, 2.6, 0, "Dask\nscheduler", width=1.5, height=0.9)
    for y in (1.0, 0, -1.0):
        box(axis, 5.1, y, "worker", width=1.2, height=0.55)
        arrow(axis, (3.35, y * 0.3), (4.5, y))
        arrow(axis, (5.7, y), (6.7, y * 0.3))
    box(axis, 7.45, 0, "storage:\nframes, products", width=1.6, height=0.9, colour=GREEN)
    arrow(axis, (0.75, 0), (1.85, 0), "names")
    curve = {"arrowstyle": "-|>", "color": MUTED, "connectionstyle": "angle,angleA=0,angleB=-90,rad=6"}
    axis.annotate("", (7.45, -0.45), (0.0, -1.5), arrowprops=curve)
    axis.plot([0, 0], [-1.5, -0.45], color=MUTED, linewidth=1.0)
    axis.text(3.0, -1.45, "manifest: one line for each attempt", ha="center", fontsize=8, color=MUTED)
    axis.text(6.6, 1.0, "arrays", fontsize=8, color=MUTED)
    return figure


FIGURES = {
    "ramps": ramps,
    "scene": scene,
    "curves": curves,
    "spoiled": spoiled,
    "arrays": arrays,
    "binned": binned,
    "solve": solve,
    "cluster": cluster,
}
