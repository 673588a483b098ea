"""Light curves, the transit fitted to them, the spectrum, pointing."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from v50calib.kernels.covariance import weighted_depth
from v50calib.kernels.transit import Model
from v50calib.plot.fitted import Fitted, channel_groups, fitted, white_shape
from v50calib.plot.style import (
    BLACK,
    BLUE,
    ORANGE,
    POINTS,
    TIME,
    VERMILION,
    axes,
    block_mean,
    blocks,
    error_bars,
    need,
    panel_below,
    title,
)
from v50calib.qc.metrics import white_light as white_series

#: degree in time that the transit fits have at most, and samples from which a curve carries it
BASELINE_DEGREE, FEWEST_BLOCKS = 4, 50
#: bins that a spectrum is drawn in besides its channels
SPECTRUM_BINS = 24


def transit_model(ds: xr.Dataset, time_h: np.ndarray) -> np.ndarray | None:
    """White transit fitted to a visit, averaged over the steps of times (n,) in h, 1 out of transit; None where none was fitted.

    >>> attrs = {"source": "fit", "t0_h": 3.75, "period_h": 96.0, "a": 12.0, "b": 0.0, "depth": 0.01, "u1": 0.0, "u2": 0.0}
    >>> ds = xr.Dataset(attrs={f"ephemeris_{name}": value for name, value in attrs.items()})
    >>> transit_model(ds, np.array([0.0, 0.01, 3.74, 3.75])).round(6)
    array([1.  , 1.  , 0.99, 0.99])
    """
    shape = white_shape(ds)
    return Model(time_h, float(np.median(np.diff(time_h))))(shape) if shape is not None and time_h.size > 1 else None


def slow_course(time_h: np.ndarray, ratio: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Polynomial of degree 4 in time through curve over transit (n,), weighted by error (n,); 1 where there are too few samples.

    The transit was fitted together with terms in time up to that degree. The curve that is drawn was divided by what its pairs out of
    transit alone show of them, which is little under a long transit.

    >>> time = np.linspace(0.0, 7.5, 100)
    >>> bool(np.allclose(slow_course(time, 1.0 + 1e-3 * time**2, np.full(100, 1e-4)), 1.0 + 1e-3 * time**2))
    True
    """
    good = np.isfinite(ratio) & np.isfinite(error) & (error > 0)
    if good.sum() < FEWEST_BLOCKS:
        return np.ones(time_h.size)
    span = (float(time_h.min()), float(time_h.max()))
    fitted = np.polynomial.Legendre.fit(time_h[good], ratio[good], BASELINE_DEGREE, domain=span, w=1.0 / error[good])
    return np.asarray(fitted(time_h))


def white_light(ds: xr.Dataset, ax: Axes | None = None, *, residuals: bool = True, fit: Fitted | None = None) -> Axes:
    """White light curve with the fitted transit and, in a panel below, the residuals in ppm.

    x: h since the start of the visit; y: relative flux, 1 out of transit. Points are the bins that the transit was fitted to, without
    the baseline that was fitted with it. Of a product that does not have these they are means of short blocks over the out-of-transit
    model, and the transit is drawn times a polynomial of degree 4 in time. fit: of `fitted(ds)`, where it is at hand.

    >>> dims, flux = ("pair", "wavelength"), np.full((100, 1), 400.0)
    >>> ds = xr.Dataset({"photometry": (dims, flux), "trace_norm": (dims, flux / 400), "photometry_var": (dims, flux)})
    >>> ax = white_light(ds.assign_coords(time=("pair", np.linspace(0.0, 7.5, 100))))
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('time since the start of the visit (h)', 'relative flux')
    """
    need(ds, "photometry", "trace_norm", "photometry_var", "time")
    ax = axes(ax, (6.4, 4.4))
    t, flux, error, model, said = _white_curve(ds, fit)
    error_bars(ax, t, flux, error, color=BLUE, label=said)
    if model is not None:
        ax.plot(t, model, color=VERMILION, lw=1.4, label="fitted transit", zorder=3)
    ax.set(xlabel=TIME, ylabel="relative flux")
    # above the axes: inside, a long transit or a steep course of the light has no free corner
    ax.set_title(title(ds, "white light"), pad=22)
    ax.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, borderaxespad=0.2)
    if residuals:
        below = panel_below(ax)
        left = 1e6 * (flux - (model if model is not None else np.nanmedian(flux)))
        error_bars(below, t, left, 1e6 * error, color=BLUE)
        below.axhline(0.0, color=VERMILION if model is not None else BLACK, lw=1.0, zorder=3)
        below.set(xlabel=TIME, ylabel="residual (ppm)" if model is not None else "about the median (ppm)")
    return ax


def _white_curve(ds: xr.Dataset, fit: Fitted | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None, str]:
    """Times, flux, errors and transit (n,) of the white light curve, and what a point is in words."""
    fit = fit if fit is not None else fitted(ds)
    if fit is not None and np.isfinite(fit.mean()[0]).any():
        flux, error, transit = fit.mean()
        minutes = 60.0 * float(np.median(np.diff(fit.time))) if fit.time.size > 1 else 0.0
        return fit.time, flux, error, transit, f"white light, means of {minutes:.2g} min"
    flux, var = white_series(ds)
    time = np.asarray(ds["time"], np.float64)
    index = blocks(len(time), POINTS // 2)
    t, flux = block_mean(time, index), block_mean(flux, index)
    error = np.sqrt(block_mean(var, index) / np.bincount(index))
    model = transit_model(ds, t)
    if model is not None:
        model = model * slow_course(t, flux / model, error)
    return t, flux, error, model, f"white light, means of {np.bincount(index)[0]} pairs"


def light_curves(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Normalized flux over time and wavelength, means of short blocks; a band is drawn as one row.

    >>> coords = {"time": ("pair", [0.0, 1.0]), "wavelength": [2.0, 2.5, 3.0]}
    >>> ds = xr.Dataset({"trace_norm": (("pair", "wavelength"), np.ones((2, 3)))}, coords)
    >>> np.array(light_curves(ds).images[0].get_extent())  # channels reach half a step beyond their wavelengths
    array([0.  , 1.  , 1.75, 3.25])
    """
    need(ds, "trace_norm", "time", "wavelength")
    ax = axes(ax)
    time, wavelength = np.asarray(ds["time"], np.float64), np.asarray(ds["wavelength"], np.float64)
    index = blocks(len(time), 150)
    values = block_mean(np.asarray(ds["trace_norm"]), index)
    low, high = np.nanpercentile(values, [1, 99])
    half = 0.5 * (wavelength[1] - wavelength[0]) if wavelength.size > 1 else 0.1
    box = (float(time[0]), float(time[-1]), float(wavelength[0]) - half, float(wavelength[-1]) + half)
    image = ax.imshow(
        values.T, origin="lower", aspect="auto", extent=box, cmap="cividis", vmin=low, vmax=high, interpolation="none"
    )  # fmt: skip
    ax.figure.colorbar(image, ax=ax, label="relative flux")
    ax.set(xlabel=TIME, ylabel="wavelength (µm)", title=title(ds, "light curves"))
    return ax


def spectrum(ds: xr.Dataset, ax: Axes | None = None, *, truth: np.ndarray | None = None) -> Axes:
    """Transit depth of each channel and of bins of neighbouring channels with standard errors, ppm; true depths (wavelength,) where known.

    The range of y is that of the middle 95 % of the channels' depths: a few channels without light do not set it.

    >>> ds = xr.Dataset({name: ("wavelength", [value] * 3) for name, value in {"transit_depth": 0.01, "transit_depth_sigma": 1e-4}.items()})
    >>> spectrum(ds.assign_coords(wavelength=[2.0, 2.5, 3.0])).lines[0].get_ydata()  # ppm
    array([10000., 10000., 10000.])
    """
    need(ds, "transit_depth", "transit_depth_sigma", "wavelength")
    ax = axes(ax)
    wavelength = np.asarray(ds["wavelength"], np.float64)
    depth, sigma = (1e6 * np.asarray(ds[name], np.float64) for name in ("transit_depth", "transit_depth_sigma"))
    many = wavelength.size >= 2 * SPECTRUM_BINS
    ax.errorbar(wavelength, depth, sigma, fmt=".", ms=3, lw=0.5, color="0.65" if many else BLUE, label="one channel" if many else "depth")
    if many:
        ax.errorbar(*_binned(ds), fmt="o", ms=4, lw=1.2, color=BLUE, label="mean of neighbouring channels", zorder=4)
        _range_of_middle(ax, depth if truth is None else np.concatenate([depth, 1e6 * np.asarray(truth)]))
    if truth is not None:
        marker = "_" if wavelength.size == 1 else None
        ax.plot(wavelength, 1e6 * np.asarray(truth), color=VERMILION, lw=1.4, marker=marker, label="truth", zorder=3)
    ax.set(xlabel="wavelength (µm)", ylabel="transit depth (ppm)", title=title(ds, "spectrum"))
    ax.legend(fontsize="small")
    return ax


def _binned(ds: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Wavelength, depth and its error in ppm of SPECTRUM_BINS groups of channels, weighted with the inverse of their variance."""
    wavelength, depth, sigma = (np.asarray(ds[n], np.float64) for n in ("wavelength", "transit_depth", "transit_depth_sigma"))
    shared = np.asarray(ds["transit_depth_shared"], np.float64) if "transit_depth_shared" in ds else np.zeros((depth.size, 1))
    shared = np.nan_to_num(shared)
    rows = []
    for group in channel_groups(wavelength, SPECTRUM_BINS):
        with np.errstate(divide="ignore"):
            mean, error = weighted_depth(depth[group], sigma[group], shared[group], 1.0 / np.square(sigma[group]))
        rows.append((float(np.mean(wavelength[group])), 1e6 * mean, 1e6 * error))
    x, y, error_y = np.array(rows).T
    return x, y, error_y


def _range_of_middle(ax: Axes, values: np.ndarray) -> None:
    """Limits of y: the middle 95 % of the finite values, and a fifth more on either side."""
    finite = values[np.isfinite(values)]
    if finite.size:
        low, high = np.percentile(finite, [2.5, 97.5])
        pad = 0.2 * (high - low) or 1.0
        ax.set_ylim(low - pad, high + pad)


def drift(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Pointing along x and y against the visit's median, px, means of short blocks with their scatter as a band.

    >>> time = np.linspace(0.0, 7.5, 9)
    >>> ds = xr.Dataset({"x_position": ("pair", 15.0 + 0.1 * time), "y_position": ("pair", 0 * time)}, {"time": ("pair", time)})
    >>> drift(ds).lines[0].get_ydata()[[0, -1]].round(9)  # about the visit's median
    array([-0.375,  0.375])
    """
    need(ds, "x_position", "y_position", "time")
    ax = axes(ax)
    time = np.asarray(ds["time"], np.float64)
    index = blocks(len(time))
    t, count = block_mean(time, index), int(np.bincount(index)[0])
    said = f"mean and scatter of {count} pairs" if count > 1 else "each pair"
    for name, colour in (("x", BLUE), ("y", ORANGE)):
        values = np.asarray(ds[f"{name}_position"], np.float64)
        values = values - np.nanmedian(values)
        mean = block_mean(values, index)
        spread = np.sqrt(np.maximum(block_mean(values**2, index) - mean**2, 0.0))
        ax.fill_between(t, mean - spread, mean + spread, color=colour, alpha=0.25, lw=0)
        ax.plot(t, mean, color=colour, lw=1, label=f"{name}, {said}")
    ax.set(xlabel=TIME, ylabel="position (px)", title=title(ds, "pointing"))
    ax.legend(fontsize="small")
    return ax


def folded(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Folded white light curve: phase bins averaged over the channels, with their errors.

    >>> dims, flux = ("phase_bin", "wavelength"), np.array([[1.0, 1.0], [0.98, 1.0]])
    >>> ds = xr.Dataset({"phase_fold": (dims, flux), "phase_fold_var": (dims, 0 * flux + 1e-6)}, {"bin_phase": ("phase_bin", [-0.1, 0.0])})
    >>> folded(ds).lines[0].get_ydata().round(9)
    array([1.  , 0.99])
    """
    need(ds, "phase_fold", "phase_fold_var", "bin_phase")
    ax = axes(ax)
    flux, var = (np.asarray(ds[name], np.float64) for name in ("phase_fold", "phase_fold_var"))
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.where(np.isfinite(flux) & (var > 0), 1.0 / var, 0.0)
        mean = np.nansum(np.nan_to_num(flux) * weight, axis=1) / weight.sum(axis=1)
        error = 1.0 / np.sqrt(weight.sum(axis=1))
    ax.errorbar(np.asarray(ds["bin_phase"]), mean, error, fmt=".", ms=3, lw=0.6, color=BLUE)
    ax.set(xlabel="phase", ylabel="relative flux", title=title(ds, "folded"))
    return ax
