"""The noise budget: predicted variance by cause beside the measured one, and scatter against averaging time."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from v50calib.plot.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, axes, need, title

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
        ax.legend(fontsize="x-small", ncols=2)
    ax.set_yscale("log")
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
    ax.loglog(time, expected, color=BLACK, lw=1, label="noise model")
    ax.loglog(time, measured, "o-", color=BLUE, ms=3, lw=0.8, label="measured")
    ax.set(xlabel="averaged over (s)", ylabel="scatter (ppm)", title=title(ds, "scatter against averaging time"))
    for axis in (ax.xaxis, ax.yaxis):
        # less than a decade is common: powers of ten with factors would run into each other
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    ax.legend(fontsize="small")
    return ax
