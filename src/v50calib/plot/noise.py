"""The noise budget: predicted variance by cause beside the measured one, and scatter against averaging time."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from v50calib.errors import DataError
from v50calib.kernels.noise import block_sizes, rms_of_blocks
from v50calib.plot.fitted import channel_groups, span_of
from v50calib.plot.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, axes, need, title

#: groups of channels in an Allan plot
ALLAN_GROUPS = 6
_COLOURS = {"photon": BLUE, "dark": PURPLE, "sky": SKY, "read": ORANGE, "background": GREEN, "flat": VERMILION}


def noise_budget(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Standard deviation of a pair out of transit in each channel, e-: by cause, in all, and measured.

    >>> variance = np.array([[400.0], [81.0]])
    >>> budget = xr.DataArray(variance, dims=("component", "wavelength"), attrs={"components": ["photon", "read"]})
    >>> ds = xr.Dataset({"noise_budget": budget, "noise_measured": ("wavelength", [484.0])}, {"wavelength": [0.7]})
    >>> [float(bar.get_height().round(3)) for bar in noise_budget(ds).patches]  # photon, read, all, measured
    [20.0, 9.0, 21.932, 22.0]
    """
    need(ds, "noise_budget", "noise_measured", "wavelength")
    ax = axes(ax)
    wavelength, budget = np.asarray(ds["wavelength"], np.float64), np.asarray(ds["noise_budget"], np.float64)
    names = list(ds["noise_budget"].attrs["components"])
    measured = np.sqrt(np.asarray(ds["noise_measured"], np.float64))
    total = np.sqrt(np.nansum(budget, axis=0))
    if wavelength.size == 1:
        known = [n for n, row in zip(names, budget, strict=True) if np.isfinite(row).all()]
        heights = [float(np.sqrt(max(budget[names.index(n)][0], 0.0))) for n in known]
        ax.bar([*known, "all", "measured"], [*heights, total[0], measured[0]], color=[*(_COLOURS[n] for n in known), BLACK, "0.6"])
        ax.set(ylabel="noise of a pair (e-)", xlabel="cause", title=title(ds, "noise budget"))
        ax.tick_params(axis="x", rotation=30)
    else:
        for name, row in zip(names, budget, strict=True):
            if np.isfinite(row).any() and np.nanmax(row) > 0:
                ax.plot(wavelength, np.sqrt(np.maximum(row, 0.0)), color=_COLOURS[name], lw=1, label=name)
        ax.plot(wavelength, total, color=BLACK, lw=1.2, label="all, predicted")
        ax.plot(wavelength, measured, ".", color="0.5", ms=3, label="measured")
        ax.set(xlabel="wavelength (µm)", ylabel="noise of a pair (e-)", title=title(ds, "noise budget"))
        ax.legend(fontsize="x-small", ncols=4, loc="lower left")
    ax.set_yscale("log")
    if wavelength.size > 1:
        # room for the legend below the faintest cause
        low, high = ax.get_ylim()
        ax.set_ylim(low * (low / high) ** 0.25, high)
    return ax


def rms_versus_time(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Scatter of the white light curve out of transit against the time averaged over, ppm, beside the noise model's.

    >>> rms = {"rms_measured": ("averaging", [2e-4, 1e-4]), "rms_expected": ("averaging", [2e-4, 1e-4])}
    >>> rms_versus_time(xr.Dataset(rms, {"averaging": [100.0, 400.0]})).lines[1].get_ydata().round(6)  # ppm
    array([200., 100.])
    """
    need(ds, "rms_measured", "rms_expected", "averaging")
    ax = axes(ax)
    time = np.asarray(ds["averaging"], np.float64)
    measured, expected = (1e6 * np.asarray(ds[n], np.float64) for n in ("rms_measured", "rms_expected"))
    ax.loglog(time, expected, color=BLACK, lw=1, label="as the noise model predicts")
    ax.loglog(time, measured, "o-", color=BLUE, ms=3, lw=0.8, label="measured")
    ax.set(xlabel="averaged over (s)", ylabel="scatter (ppm)", title=title(ds, "scatter against averaging time"))
    _plain_decades(ax)
    ax.legend(fontsize="small")
    return ax


def allan(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Scatter of groups of channels out of transit against the time averaged over, over that of single pairs (an Allan plot).

    Noise that averages down follows the line 1 / √n; what stays above it is correlated in time.

    >>> flux = 1.0 + 1e-3 * np.random.default_rng(1).standard_normal((400, 1))
    >>> variables = {"trace_norm": (("pair", "wavelength"), flux), "out_of_transit": ("pair", np.ones(400, bool))}
    >>> ax = allan(xr.Dataset(variables, {"time": ("pair", np.arange(400) / 3600.0), "wavelength": [0.7]}))
    >>> float(ax.lines[0].get_ydata()[0]), [text.get_text() for text in ax.get_legend().get_texts()]
    (1.0, ['0.70 µm, a pair 911 ppm', 'averages down, 1 / √n'])
    """
    need(ds, "trace_norm", "out_of_transit", "time", "wavelength")
    ax = axes(ax)
    flux, usable = np.asarray(ds["trace_norm"], np.float64), np.asarray(ds["out_of_transit"], bool)
    wavelength = np.asarray(ds["wavelength"], np.float64)
    sizes = block_sizes(len(flux))
    seconds = 3600.0 * float(np.median(np.diff(np.asarray(ds["time"], np.float64)))) * sizes
    light = _light(ds, flux)
    colours = colormaps["viridis"](np.linspace(0.0, 0.9, min(ALLAN_GROUPS, wavelength.size)))
    for group, colour in zip(channel_groups(wavelength, ALLAN_GROUPS), colours, strict=True):
        part = np.nan_to_num(flux[:, group] - 1.0)
        weight = np.where(np.isfinite(flux[:, group]), light[group], 0.0)
        total = weight.sum(axis=1)
        mean = (weight * part).sum(axis=1) / np.where(total > 0, total, 1.0)
        rms = rms_of_blocks(mean, usable & (total > 0), sizes)
        if np.isfinite(rms[0]) and rms[0] > 0:
            said = f"{span_of(wavelength[group])}, a pair {1e6 * rms[0]:.0f} ppm"
            ax.loglog(seconds, rms / rms[0], "o-", color=colour, ms=2.5, lw=0.9, label=said)
    if not ax.lines:
        raise DataError("too few pairs out of transit for a scatter of their averages")
    ax.loglog(seconds, 1.0 / np.sqrt(sizes), color=BLACK, lw=1.2, ls="--", label="averages down, 1 / √n")
    ax.set(xlabel="averaged over (s)", ylabel="scatter over that of a pair", title=title(ds, "averaging by group of channels"))
    _plain_decades(ax)
    ax.legend(fontsize="x-small")
    return ax


def _light(ds: xr.Dataset, flux: np.ndarray) -> np.ndarray:
    """Light of each channel (channel,) of the photometry; all alike where a product has none."""
    if "photometry" not in ds:
        return np.ones(flux.shape[1])
    curves = np.asarray(ds["photometry"][:: max(1, len(flux) // 500)], np.float64)
    return np.maximum(np.nan_to_num(np.nanmean(curves, axis=0)), 0.0)


def _plain_decades(ax: Axes) -> None:
    """Plain numbers on two logarithmic axes: less than a decade is common, and powers of ten with factors would run into each other."""
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
