"""Figures of docs/stages."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from v50calib.plot.curves import transit_model
from v50calib.qc.metrics import white_light

from .material import Material
from .style import BLUE, COLOURS, GREEN, INK, MUTED, ORANGE, SHADE, Float, block_means, image, panels, slow_course

#: iterations and limit of the clip of hot pixels (calib.dark.hot_pixel_detection)
ITERATIONS, CLIP = 5, 5.0
#: columns of AIRS-CH0 that are channels
SCIENCE = slice(39, 321)
#: columns that a picture of a map has: it stays small, and its pixels can be seen
SHOWN = 170


def adc(material: Material) -> Figure:
    """Blank pixels of first reads, in electrons, over what their read noise says; the line from codes to electrons."""
    visit = material.raw("AIRS-CH0")
    offset, gain = visit.attrs["adc_offset"], visit.attrs["adc_gain"]
    corner = {"y": slice(0, 4), "x": slice(0, 30)}
    codes = visit.raw_frames.isel(time=slice(0, 60, 2), **corner).values.astype(float)
    electrons = (codes / gain + offset).ravel()
    read = float(visit.read.isel(**corner).median())
    figure, (left, right) = panels(columns=2)
    ends = np.array([0, 65535])
    left.plot(ends / 1e3, (ends / gain + offset) / 1e3, color=BLUE)
    for code, text, where, shift in ((0, "AD_FLOOR", "left", (12, -3)), (65535, "SATURATED", "right", (0, 8))):
        left.plot(code / 1e3, (code / gain + offset) / 1e3, "o", color=ORANGE)
        left.annotate(text, (code / 1e3, (code / gain + offset) / 1e3), shift, textcoords="offset points", ha=where, color=ORANGE)
    left.set(xlabel="code of the converter [1000 ADU]", ylabel="signal [1000 e-]", title="codes to electrons", ylim=(-12, 170))
    step = 1 / gain
    edges = np.arange(-24, 25) * step + step / 2
    right.hist(electrons - np.median(electrons), edges, density=True, color=SHADE, edgecolor=MUTED, linewidth=0.5)
    at = np.linspace(-55, 55, 200)
    right.plot(at, np.exp(-0.5 * (at / read) ** 2) / (read * np.sqrt(2 * np.pi)), color=BLUE, label=f"read noise {read:.1f} e-")
    right.set(xlabel="blank pixel, first read [e-]", yticks=[], title="half of the noise is negative")
    right.spines["left"].set_visible(False)
    right.legend(loc="upper right")
    return figure


def nonlinearity(material: Material) -> Figure:
    """The polynomials of pixels, and what a transit of 1 % would lose without them."""
    figure, (left, right) = panels(columns=2)
    for name, top in (("AIRS-CH0", 5e4), ("FGS1", 5e4)):
        maps = material.raw(name).linear_corr.values.reshape(6, -1)
        maps = maps[:, np.isfinite(maps).all(axis=0)][:, ::97][:, :40]
        level = np.linspace(1e3, top, 40)
        true = np.polynomial.polynomial.polyval(level, maps)
        left.plot(level / 1e3, 100 * (true / level - 1).T, color=COLOURS[name], alpha=0.25, linewidth=0.7)
        left.plot([], [], color=COLOURS[name], label=f"pixels of {name}")
        slope = np.gradient(true, level, axis=1)
        # a change of 1 % of the true signal is seen as 1 % / (slope e / e_lin) of the measured one
        lost = 100 * (true / (slope * level) - 1)
        right.plot(level / 1e3, np.median(lost, axis=0), color=COLOURS[name], label=name)
    left.set(xlabel="signal before the correction [1000 e-]", ylabel="correction [%]", title="one polynomial for each pixel")
    right.set(xlabel="signal before the correction [1000 e-]", ylabel="error of a depth [%]", title="depths without it: too small")
    right.axhline(0, color=MUTED, linewidth=0.8)
    left.legend()
    right.legend()
    return figure


def dark(material: Material) -> Figure:
    """The dark map with hot pixels, and the limit they are beyond."""
    visit = material.raw("AIRS-CH0").isel(x=SCIENCE)
    rate = visit.dark.values.copy()
    rate[visit.dead.values] = np.nan
    limit, good = _clip_limit(rate)
    figure, (upper, lower) = panels(rows=2, height=4.1, height_ratios=[1.0, 1.3])
    image(upper, rate[:, :SHOWN], "dark current of a part of the detector, hot pixels ringed", "e-/s", aspect="auto", vmin=0, vmax=limit)
    hot = rate > limit
    y, x = np.nonzero(hot[:, :SHOWN])
    upper.plot(x, y, "o", mfc="none", mec=ORANGE, markersize=6)
    upper.set(ylabel="row y", xlabel="science column")
    values = rate[np.isfinite(rate) & (rate > 0)]
    edges = np.geomspace(np.percentile(values, 0.1), max(values.max(), 2 * limit), 70)
    lower.hist(values[values <= limit], edges, color=MUTED, label=f"{good} pixels")
    lower.hist(values[values > limit], edges, color=ORANGE, label=f"{hot.sum()} hot pixels")
    lower.axvline(limit, color=INK, linestyle="--", linewidth=0.8)
    lower.set(xscale="log", yscale="log", xlabel="dark current [e-/s]", ylabel="pixels", title="5 standard deviations about the median")
    lower.legend()
    return figure


def _clip_limit(rate: Float) -> tuple[float, int]:
    """Upper limit of the iterated clip about the median, and how many pixels are below it."""
    kept = rate[np.isfinite(rate)]
    for _ in range(ITERATIONS):
        limit = float(np.median(kept) + CLIP * kept.std())
        kept = kept[kept <= limit]
    return limit, len(kept)


def flat(material: Material) -> Figure:
    """The flat, and the brightest row of a read before and after it."""
    visit = material.raw("AIRS-CH0")
    steps = material.steps("AIRS-CH0", "flat", pairs=100)
    figure, (upper, lower) = panels(rows=2, height=3.9, height_ratios=[1.0, 1.3])
    image(
        upper,
        np.where(visit.dead, np.nan, visit.flat)[:, :SHOWN],
        "flat field of a part of the detector",
        "response",
        aspect="auto",
        vmin=0.95,
        vmax=1.05,
    )
    upper.set(ylabel="row y")
    before, after = (steps[name].isel(time=slice(1, None, 2)).mean("time").values for name in ("dark_corrected", "flat_corrected"))
    row = int(np.nanargmax(after.mean(axis=1)))
    columns = slice(60, 160)
    x = np.arange(356)[columns]
    smooth = np.polynomial.Polynomial.fit(x, after[row, columns], 9)(x)
    lower.plot(x, 100 * (before[row, columns] / smooth - 1), ".-", color=MUTED, linewidth=0.8, label="before")
    lower.plot(x, 100 * (after[row, columns] / smooth - 1), ".-", color=BLUE, linewidth=0.8, label="after")
    lower.set(
        xlabel="column x",
        ylabel="off a smooth curve [%]",
        title=f"row {row}: pixels agree once each is divided by its response",
        ylim=(-8, 8),
    )
    lower.legend(loc="lower left", ncols=2)
    return figure


def cds(material: Material) -> Figure:
    """First read, second read, and their difference."""
    steps = material.steps("FGS1", "cds").isel(y=slice(6, 26), x=slice(6, 26))
    reads = steps.flat_corrected.isel(frame=slice(0, 2)).values
    difference = steps.cds_corrected.isel(pair=0).values
    top = float(np.nanmax(reads[1])) / 1e3
    figure, axes = panels(columns=3, height=2.4)
    titles = ("first read, 0.1 s", "second read, 0.2 s", "second - first")
    for axis, frame, title in zip(axes, (*reads, difference), titles, strict=True):
        shown = axis.imshow(frame / 1e3, vmin=0, vmax=top, extent=(5.5, 25.5, 5.5, 25.5))
        axis.set(title=title, xlabel="column x")
        axis.spines[:].set_visible(False)
    axes[0].set_ylabel("row y")
    bar = plt.colorbar(shown, ax=axes, label="1000 e-", pad=0.02)
    bar.outline.set_visible(False)
    return figure


def photometry(material: Material) -> Figure:
    """Where the light of FGS1 is summed, and how AIRS-CH0's rows are weighted."""
    figure, (left, right) = panels(columns=2, height=3.0)
    ds = material.products["FGS1"]
    frame, weights = ds.cds_mean.values, ds.extraction_weights.values
    image(left, np.log10(np.clip(frame, 1, None)), "FGS1: mean frame and aperture", "log10 e- a pair")
    left.contour(weights, [0.5], colors=[ORANGE], linewidths=1.4)
    left.set(xlabel="column x", ylabel="row y")
    airs = material.products["AIRS-CH0"]
    column = 180
    rows = np.arange(airs.sizes["y"])
    profile = airs.cds_mean.values[:, column]
    right.fill_between(rows, profile / np.nanmax(profile), step="mid", color=SHADE, label="light of a column")
    for method, colour in (("aperture", ORANGE), ("optimal", BLUE)):
        weight = material.weights(method)[:, column]
        right.step(rows, weight / np.nanmax(weight), where="mid", color=colour, label=f"weights, {method}")
    edge = 8
    for start in (-0.5, len(rows) - edge - 0.5):
        right.axvspan(start, start + edge, ymin=0, ymax=0.05, color=GREEN, alpha=0.7, linewidth=0)
    right.text(31.5, 0.2, "background rows", color=GREEN, fontsize=8, ha="right")
    right.set(xlabel="row y", ylabel="relative to the largest", title=f"AIRS-CH0: column {column}", ylim=(0, 1.5))
    right.legend(loc="upper left", ncols=1)
    return figure


def trace(material: Material) -> Figure:
    """The white light of AIRS-CH0 as summed, the pointing beside it, and after the trend is divided out."""
    ds = material.products["AIRS-CH0"]
    time = ds.time.values
    raw = ds.photometry.sum("wavelength").values
    clean, _ = white_light(ds)
    outside = ds.out_of_transit.values.astype(bool)
    count = max(len(time) // 225, 1)
    binned = block_means(time, count)
    figure, axes = panels(rows=3, height=4.4, sharex=True, height_ratios=[1.2, 0.8, 1.2])
    axes[0].plot(binned, block_means(raw / np.median(raw[outside]), count), ".", color=MUTED, markersize=3)
    axes[0].set(ylabel="summed flux", title="before: the star moves over pixels of different response, the gain drifts")
    for name, colour in (("x_position", BLUE), ("y_position", GREEN)):
        moved = ds[name].values - np.median(ds[name].values)
        axes[1].plot(binned, block_means(moved, count), color=colour, linewidth=0.9, label=name.replace("_", " "))
    axes[1].set(ylabel="pixels", title="pointing, measured from the same frames")
    axes[1].legend(ncols=2, loc="upper left")
    axes[2].plot(binned, block_means(clean, count), ".", color=ORANGE, markersize=3)
    axes[2].set(ylabel="trace_norm", xlabel="time since the start of the visit [h]", title="after: 1 out of transit")
    for axis in axes:
        axis.axvspan(time[~outside].min(), time[~outside].max(), color=SHADE, linewidth=0, zorder=0)
    return figure


def phase(material: Material) -> Figure:
    """The folded curve of FGS1 in bins with the fit, and residuals in units of their errors."""
    ds = material.products["FGS1"]
    flux, error = ds.phase_fold.values[:, 0], np.sqrt(ds.phase_fold_var.values[:, 0])
    hours = ds.bin_phase.values * ds.attrs["ephemeris_period_h"]
    model = transit_model(ds, hours + float(ds.mid_transit_time))
    assert model is not None
    flux = flux / slow_course(hours, flux / model, error / model)
    figure, (upper, lower) = panels(rows=2, height=3.9, sharex=True, height_ratios=[2.2, 1.0])
    upper.errorbar(hours, flux, error, fmt=".", color=BLUE, markersize=4, elinewidth=0.7, errorevery=3, label="phase bins of FGS1")
    upper.plot(hours, model, color=INK, linewidth=1.1, label="fitted transit")
    depth, sigma = 1e6 * float(ds.white_depth), 1e6 * float(ds.white_depth_sigma)
    upper.set(
        ylabel="flux / out of transit", title=f"(Rp/Rs)² = {depth:.0f} ± {sigma:.0f} ppm; simulated: {1e6 * material.truth[0]:.0f} ppm"
    )
    upper.legend()
    lower.axhspan(-1, 1, color=SHADE, linewidth=0)
    lower.plot(hours, (flux - model) / error, ".", color=BLUE, markersize=4)
    lower.set(ylabel="residual / σ", xlabel="time from mid-transit [h]", ylim=(-4, 4))
    return figure


FIGURES = {f.__name__: f for f in (adc, nonlinearity, dark, flat, cds, photometry, trace, phase)}
