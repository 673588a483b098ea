"""What the transit fit of a visit leaves: residuals by time and wavelength, groups of channels, how its parameters hang together."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from v50calib.errors import DataError
from v50calib.plot.fitted import Fitted, channel_groups, fitted, span_of
from v50calib.plot.style import BLACK, BLUE, TIME, VERMILION, axes, block_mean, blocks, error_bars, title

#: colours of the residual map run to this many standard errors
SIGMAS = 4.0
#: groups of channels that are drawn one above the other, and points of each
STACKED, STACKED_POINTS = 8, 70
#: parameters of the white fit in the order of its covariance: symbol, attribute of its value, factor, unit
PARAMETERS = (
    ("mid-transit", "t0_h", 1.0, " h"),
    ("depth", "depth", 1e6, " ppm"),
    ("a / R*", "a", 1.0, ""),
    ("impact b", "b", 1.0, ""),
    ("limb q1", "q1", 1.0, ""),
    ("limb q2", "q2", 1.0, ""),
)
#: errors of these are in attributes of their own, widened by what the covariance does not know
ERRORS = {"t0_h": "t0_sigma_h", "depth": "depth_sigma"}
MIDDLE: dict[str, Any] = {"ha": "center", "va": "center"}
#: half a cell of the corner figure, in standard errors
REACH = 3.2


def _need_fit(ds: xr.Dataset) -> Fitted:
    fit = fitted(ds)
    if fit is None:
        raise DataError("no transit was fitted to this visit's channels, or its profile left out what the fit worked on (fit_flux)")
    return fit


def residual_map(ds: xr.Dataset, ax: Axes | None = None, *, fit: Fitted | None = None) -> Axes:
    """Light curves less the fitted transit, by time and wavelength, each sample in its standard errors.

    fit: of `fitted(ds)`, where it is at hand.

    >>> time, one = np.linspace(0.0, 7.5, 60), np.ones((60, 3))
    >>> made = {"fit_time": ("fit_bin", time), "fit_flux": (("fit_bin", "wavelength"), one), "fit_sigma": (("fit_bin", "wavelength"), one)}
    >>> made |= {"fit_design": (("fit_bin", "fit_term"), one[:, :1]), "fit_ridge": ("fit_term", [0.0])}
    >>> made |= {"fit_darkening": (("limb_darkening", "wavelength"), 0 * one[:3]), "transit_depth": ("wavelength", np.zeros(3))}
    >>> numbers = {"source": "fit", "t0_h": 3.75, "a": 12.0, "b": 0.0, "depth": 0.0, "u1": 0.0, "u2": 0.0}
    >>> attrs = {f"ephemeris_{name}": value for name, value in numbers.items()} | {"fit_width_h": 0.1}
    >>> ax = residual_map(xr.Dataset(made, {"wavelength": [2.0, 2.5, 3.0]}, attrs))  # no transit in a flat curve: nothing is left
    >>> float(np.abs(ax.images[0].get_array()).max().round(9))
    0.0
    """
    fit = fit if fit is not None else _need_fit(ds)
    if fit.wavelength.size < 2:
        raise DataError("one band has no residual map: its residuals are below its light curve")
    ax = axes(ax)
    values = ((fit.flux - fit.model) / fit.sigma).T
    step = 0.5 * float(np.median(np.diff(fit.time))) if fit.time.size > 1 else 0.5
    half = 0.5 * float(np.median(np.diff(fit.wavelength)))
    box = (float(fit.time[0]) - step, float(fit.time[-1]) + step, float(fit.wavelength[0]) - half, float(fit.wavelength[-1]) + half)
    image = ax.imshow(
        values, origin="lower", aspect="auto", extent=box, cmap="RdBu_r", vmin=-SIGMAS, vmax=SIGMAS, interpolation="none"
    )  # fmt: skip
    ax.figure.colorbar(image, ax=ax, label="residual (standard errors)", extend="both")
    ax.set(xlabel=TIME, ylabel="wavelength (µm)", title=title(ds, "residuals"))
    return ax


def stacked_fits(ds: xr.Dataset, ax: Axes | None = None, *, fit: Fitted | None = None) -> Axes:
    """Light curves of groups of channels with the fitted transit, the shortest wavelength at the bottom, shifted by a constant each.

    Beside each: its wavelengths and the scatter of its residuals in ppm. fit: of `fitted(ds)`, where it is at hand.

    >>> time, one = np.linspace(0.0, 7.5, 60), np.ones((60, 3))
    >>> made = {"fit_time": ("fit_bin", time), "fit_flux": (("fit_bin", "wavelength"), one), "fit_sigma": (("fit_bin", "wavelength"), one)}
    >>> made |= {"fit_design": (("fit_bin", "fit_term"), one[:, :1]), "fit_ridge": ("fit_term", [0.0])}
    >>> made |= {"fit_darkening": (("limb_darkening", "wavelength"), 0 * one[:3]), "transit_depth": ("wavelength", np.zeros(3))}
    >>> numbers = {"source": "fit", "t0_h": 3.75, "a": 12.0, "b": 0.0, "depth": 0.0, "u1": 0.0, "u2": 0.0}
    >>> attrs = {f"ephemeris_{name}": value for name, value in numbers.items()} | {"fit_width_h": 0.1}
    >>> ax = stacked_fits(xr.Dataset(made, {"wavelength": [2.0, 2.5, 3.0]}, attrs))
    >>> [text.get_text() for text in ax.texts][::2]
    ['2.00 µm\\n0 ppm', '3.00 µm\\n0 ppm']
    """
    fit = fit if fit is not None else _need_fit(ds)
    ax = axes(ax, (6.4, 5.6))
    index = blocks(fit.time.size, STACKED_POINTS)
    time = block_mean(fit.time, index)
    curves = []
    for group in channel_groups(fit.wavelength, STACKED):
        flux, error, model = fit.mean(group)
        flux, var, model = (block_mean(v, index) for v in (flux, np.square(error), model))
        curves.append((span_of(fit.wavelength[group]), flux, np.sqrt(var / np.bincount(index)), model))
    scatter = [float(np.nanstd(flux - model)) for _, flux, _, model in curves]
    dips = [float(np.nanmax(model) - np.nanmin(model)) for *_, model in curves]
    step = 1.1 * float(np.nanmax(dips)) + 5.0 * float(np.nanmedian(scatter))
    for i, ((name, flux, error, model), rms) in enumerate(zip(curves, scatter, strict=True)):
        error_bars(ax, time, flux + i * step, error, color=BLUE, label="light curve, shifted" if i == 0 else None)
        ax.plot(time, model + i * step, color=VERMILION, lw=1.2, zorder=3, label="fitted transit" if i == 0 else None)
        ax.annotate(
            f"{name}\n{1e6 * rms:.0f} ppm", (1.01, 1 + i * step), xycoords=("axes fraction", "data"), va="center", fontsize="x-small"
        )
    ax.set(xlabel=TIME, ylabel="relative flux, shifted", title=title(ds, "channels"))
    ax.legend(fontsize="x-small", loc="lower left", ncols=2)
    return ax


def white_corner(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """How the parameters of the white transit fit hang together: their covariance as ellipses of 1 and 2 standard errors.

    Every cell reaches 3 standard errors to each side of the best fit; above the diagonal stand the coefficients of correlation.
    Parameters that were held are left out.

    >>> numbers = {"t0_h": 3.7, "depth": 0.01, "a": 12.0, "b": 0.3, "u1": 0.1, "u2": 0.1}
    >>> attrs = {f"ephemeris_{name}": value for name, value in numbers.items()}
    >>> cov = np.diag([0.01, 1e-4, 0.2, 0.1, 0.0, 0.0]) ** 2
    >>> ax = white_corner(xr.Dataset(attrs=attrs | {"ephemeris_covariance": cov.ravel().tolist()}))
    >>> [text.get_text() for text in ax.texts if "depth" in text.get_text()]
    ['depth\\n10000\\n± 100 ppm']
    """
    cov = np.asarray(ds.attrs.get("ephemeris_covariance", ()), np.float64)
    if cov.size != len(PARAMETERS) ** 2:
        raise DataError("this product has no covariance of a white transit fit: none was fitted, or an earlier version made it")
    cov = cov.reshape(len(PARAMETERS), -1)
    free = np.flatnonzero(np.diag(cov) > 0)
    sigma = np.sqrt(np.diag(cov)[free])
    correlation = cov[np.ix_(free, free)] / np.outer(sigma, sigma)
    ax = axes(ax, (6.4, 6.0))
    angle, bell = np.linspace(0.0, 2 * np.pi, 73), np.linspace(-REACH, REACH, 41)
    width, n = 2 * REACH, free.size
    curves, best = [], []
    for row in range(n):
        ax.text(row * width, -row * width + 0.48 * REACH, _said(ds, int(free[row]), float(sigma[row])), fontsize="xx-small", **MIDDLE)
        curves.append((bell + row * width, -REACH + 0.95 * REACH * np.exp(-0.5 * bell**2) - row * width))
        for column in range(row):
            rho = float(np.clip(correlation[row, column], -1.0, 1.0))
            x, y = np.cos(angle), rho * np.cos(angle) + np.sqrt(1 - rho**2) * np.sin(angle)
            curves += [(k * x + column * width, k * y - row * width) for k in (1.0, 2.0)]
            best.append((column * width, -row * width))
            ax.text(row * width, -column * width, f"{rho:+.2f}", fontsize="small", alpha=0.35 + 0.65 * abs(rho), **MIDDLE)
    edges = np.arange(n + 1) * width - REACH
    grid = [([e, e], [REACH, REACH - n * width]) for e in edges] + [([-REACH, n * width - REACH], [-e, -e]) for e in edges]
    ax.plot(*_joined(grid), color=BLACK, lw=0.5)
    ax.plot(*_joined(curves), color=BLUE, lw=1.0)
    ax.plot([x for x, _ in best], [y for _, y in best], "+", color=VERMILION, ms=5)
    middle, names = width * np.arange(n), [PARAMETERS[i][0] for i in free]
    ax.set(xlim=(-REACH, n * width - REACH), ylim=(REACH - n * width, REACH), xlabel="parameter, ±3 standard errors", ylabel="parameter")
    ax.set_xticks(middle, names, fontsize="x-small")
    ax.set_yticks(-middle, names, fontsize="x-small", rotation=90, va="center")
    ax.tick_params(length=0)
    ax.set_title(title(ds, "white fit"))
    return ax


def _joined(curves: list[tuple[Any, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Curves (x, y) as one with gaps: one line is drawn in a tenth of the time of thirty."""
    x, y = (np.concatenate([np.append(np.asarray(curve[i], np.float64), np.nan) for curve in curves]) for i in (0, 1))
    return x, y


def _said(ds: xr.Dataset, i: int, sigma: float) -> str:
    """Name of parameter i, its value and error."""
    name, key, factor, unit = PARAMETERS[i]
    u1, u2 = (float(ds.attrs.get(f"ephemeris_u{k}", np.nan)) for k in (1, 2))
    q = {"q1": (u1 + u2) ** 2, "q2": 0.5 * u1 / (u1 + u2) if u1 + u2 else np.nan}
    value = q[key] if key in q else float(ds.attrs[f"ephemeris_{key}"])
    error = float(ds.attrs.get(f"ephemeris_{ERRORS[key]}", sigma)) if key in ERRORS else sigma
    value, error = factor * value, factor * error
    digits = int(np.clip(1 - np.floor(np.log10(error)), 0, 6)) if error > 0 else 3
    return f"{name}\n{value:.{digits}f}\n± {error:.{digits}f}{unit}"
