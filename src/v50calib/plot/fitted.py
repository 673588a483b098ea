"""The transit fit of a visit as it was made: each channel's light curve without its baseline, beside the transit fitted to it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from v50calib.kernels.least_squares import least_squares
from v50calib.kernels.transit import UNKNOWN_PERIOD_H, Model, Shape, radius_ratio

#: what the fit worked on, as a product keeps it
NEEDED = ("fit_time", "fit_flux", "fit_sigma", "fit_design", "fit_ridge", "fit_darkening", "transit_depth")


@dataclass(frozen=True)
class Fitted:
    """time (n,) h; flux without the baseline, its error and the transit (n, channel), 1 out of transit, NaN where a channel has no sample;
    wavelength (channel,) µm; light (channel,): share of each channel in the white light."""

    time: np.ndarray
    flux: np.ndarray
    sigma: np.ndarray
    model: np.ndarray
    wavelength: np.ndarray
    light: np.ndarray

    def mean(self, channels: np.ndarray | slice = slice(None)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Flux, error and transit (n,) of channels together, weighted with their light.

        >>> one = np.ones((2, 3))
        >>> [v.tolist() for v in Fitted(np.arange(2.0), one, 0.3 * one, 0.9 * one, np.arange(3.0), np.ones(3)).mean(np.array([0, 1, 2]))]
        [[1.0, 1.0], [0.1732..., 0.1732...], [0.9..., 0.9...]]
        """
        flux, sigma, model = self.flux[:, channels], self.sigma[:, channels], self.model[:, channels]
        weight = np.where(np.isfinite(flux) & np.isfinite(sigma), self.light[channels], 0.0)
        total = weight.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean, transit = ((weight * np.nan_to_num(v)).sum(axis=1) / total for v in (flux, model))
            error = np.sqrt(np.square(weight * np.where(weight > 0, sigma, 0.0)).sum(axis=1)) / total
        return mean, error, transit


def white_shape(ds: xr.Dataset) -> Shape | None:
    """The transit fitted to a visit's white light curve; None where none was fitted.

    >>> attrs = {"source": "fit", "t0_h": 3.75, "period_h": 96.0, "a": 12.0, "b": 0.0, "depth": 0.01, "u1": 0.0, "u2": 0.0}
    >>> white_shape(xr.Dataset(attrs={f"ephemeris_{name}": value for name, value in attrs.items()})).k
    0.1
    """
    names = ("t0_h", "period_h", "a", "b", "depth", "u1", "u2")
    t0, period, a, b, depth, u1, u2 = (float(ds.attrs.get(f"ephemeris_{name}", np.nan)) for name in names)
    if ds.attrs.get("ephemeris_source", "none") == "none" or not np.isfinite([t0, a, b, depth, u1, u2]).all():
        return None
    return Shape(t0, period if np.isfinite(period) else UNKNOWN_PERIOD_H, a, b, radius_ratio(depth), u1, u2)


def fitted(ds: xr.Dataset) -> Fitted | None:
    """The fit of a product's channels; None where no transit was fitted or the product was made without what the fit worked on.

    The baseline of each channel is the best one of the terms that were fitted with it, under its own depth.
    """
    shape = white_shape(ds)
    if shape is None or any(name not in ds.variables for name in NEEDED) or "fit_width_h" not in ds.attrs:
        return None
    time, flux, sigma, design, ridge, darkening, depth = (np.asarray(ds[name], np.float64) for name in NEEDED)
    depth = np.where(np.isfinite(depth), depth, shape.depth)
    additive, rows = bool(ds.attrs.get("fit_additive", False)), np.diag(np.sqrt(ridge))[ridge > 0]
    light = _light(ds, sigma)
    # the fit moves the limb darkening of all channels alike from where it started: by as much as the white fit did
    moved = np.array([shape.u1, shape.u2]) - darkening[:2] @ light / max(float(light.sum()), 1e-300)
    u1, u2 = darkening[:2] + moved[:, None]
    curve_of = Model(time, float(ds.attrs["fit_width_h"]))
    out, model = np.full(flux.shape, np.nan), np.full(flux.shape, np.nan)
    for c in np.flatnonzero(np.isfinite(sigma).any(axis=0)):
        model[:, c] = curve_of(replace(shape, k=radius_ratio(depth[c]), u1=u1[c], u2=u2[c]))
        seen = np.isfinite(sigma[:, c])
        out[seen, c] = _without_baseline(flux[seen, c], sigma[seen, c], design[seen], model[seen, c], rows, additive=additive)
    return Fitted(time, out, np.where(np.isfinite(sigma), sigma, np.nan), model, np.asarray(ds["wavelength"], np.float64), light)


def _without_baseline(
    flux: np.ndarray, sigma: np.ndarray, design: np.ndarray, curve: np.ndarray, rows: np.ndarray, *, additive: bool
) -> np.ndarray:
    """A light curve (n,) over the baseline that suits it best under its transit; of additive terms, less all but the first."""
    basis = np.concatenate([design[:, :1] * curve[:, None], design[:, 1:]], axis=1) if additive else design * curve[:, None]
    stacked = np.concatenate([basis / sigma[:, None], rows])
    terms = least_squares(stacked, np.concatenate([flux / sigma, np.zeros(len(rows))]))
    if additive:
        return np.asarray((flux - design[:, 1:] @ terms[1:]) / (design[:, 0] * terms[0]))
    return np.asarray(flux / (design @ terms))


def _light(ds: xr.Dataset, sigma: np.ndarray) -> np.ndarray:
    """Light of each channel (channel,): of the photometry, or by the noise, which is mostly that of the light."""
    if "photometry" in ds:
        flux = ds["photometry"]
        light = np.nanmean(np.asarray(flux[:: max(1, flux.shape[0] // 500)], np.float64), axis=0)
    else:
        light = 1.0 / np.square(np.nanmedian(np.where(np.isfinite(sigma), sigma, np.nan), axis=0))
    return np.where(np.isfinite(light) & (light > 0), light, 0.0)


def channel_groups(wavelength: np.ndarray, count: int) -> list[np.ndarray]:
    """Indices of neighbouring channels in at most `count` groups of about one size, by rising wavelength.

    >>> [group.tolist() for group in channel_groups(np.array([3.0, 1.0, 2.0, 4.0]), 2)]
    [[1, 2], [0, 3]]
    """
    return [group for group in np.array_split(np.argsort(wavelength), min(count, wavelength.size)) if group.size]


def span_of(wavelength: np.ndarray) -> str:
    """Wavelengths of a group of channels in words.

    >>> span_of(np.array([1.951, 2.204])), span_of(np.array([0.7]))
    ('1.95-2.20 µm', '0.70 µm')
    """
    low, high = float(np.min(wavelength)), float(np.max(wavelength))
    return f"{low:.2f} µm" if low == high else f"{low:.2f}-{high:.2f} µm"
