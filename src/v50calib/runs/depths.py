"""Depths of one spectrum with their covariance, and averaged over bins: of a visit's product, a planet's fit, or a row of an export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from v50calib.errors import ConfigError, DataError
from v50calib.kernels.arrays import Float
from v50calib.kernels.covariance import averaged
from v50calib.kernels.covariance import covariance as whole

NEEDED = ("transit_depth", "transit_depth_sigma", "transit_depth_shared")
#: µm, instruments that are one band; those of a spectrum end half a channel beyond their outer channels
BANDS = {"FGS1": (0.6, 0.8)}


def covariance(ds: xr.Dataset) -> xr.DataArray:
    """Covariance of the depths of one spectrum: ``diag(sigma² - Σ F²) + F Fᵀ``, F = transit_depth_shared.

    ds: a visit's product (`open_calibrated`), a planet's fit (`open_spectra`), or a row of an export of spectra or planets.
    Returns (wavelength, wavelength_too); NaN where a channel has no depth. Raises DataError where ds is more than one spectrum, or
    does not say what its errors have in common.

    >>> ds = xr.Dataset(
    ...     {
    ...         "transit_depth": ("wavelength", [0.010, 0.011]),
    ...         "transit_depth_sigma": ("wavelength", [5e-5, 5e-5]),
    ...         "transit_depth_shared": (("wavelength", "shared"), [[3e-5], [4e-5]]),
    ...     },
    ...     {"wavelength": [2.0, 2.1]},
    ... )
    >>> np.round(covariance(ds).values * 1e10, 6)
    array([[25., 12.],
           [12., 25.]])
    """
    depth, sigma, factor = _spectrum(ds)
    matrix = whole(sigma, factor)
    lost = ~(np.isfinite(depth) & np.isfinite(sigma))
    matrix[lost, :] = matrix[:, lost] = np.nan
    wavelength = np.asarray(ds["wavelength"].values, np.float64)
    about = {"long_name": "covariance of transit_depth", "units": "1"}
    coords = {"wavelength": ("wavelength", wavelength, {"units": "um"}), "wavelength_too": ("wavelength_too", wavelength, {"units": "um"})}
    return xr.DataArray(matrix, coords, ("wavelength", "wavelength_too"), "covariance", about)


def bin_depths(ds: xr.Dataset, bins: float | Sequence[float] | None = None) -> xr.Dataset:
    """Depths of one spectrum averaged over bins of wavelength, with the covariance of the means: what a retrieval takes.

    ds     as for `covariance`
    bins   None: the channels as they are; a number: resolving power λ/Δλ, as near as whole bins allow, the band of FGS1 stays a bin
           of its own; a sequence: edges in µm, a channel belongs to the bin that its middle is in, and a bin ends where the channels
           of its instruments end

    Returns depth, depth_sigma, half_width [µm], channels (how many) and instrument along wavelength (middle of the bin, µm, ascending),
    covariance (wavelength, wavelength_too). Weights are 1 / transit_depth_sigma² within a bin: they are positive, so that a mean stays
    between its channels, and their errors are those of the whole covariance. Channels without a depth take no part, bins without any
    are left out. Raises ConfigError for bins that make no sense, DataError as `covariance`.

    >>> ds = xr.Dataset(
    ...     {
    ...         "transit_depth": ("wavelength", [0.010, 0.011, 0.012, np.nan]),
    ...         "transit_depth_sigma": ("wavelength", [5e-5, 5e-5, 5e-5, np.nan]),
    ...         "transit_depth_shared": (("wavelength", "shared"), [[3e-5], [4e-5], [0.0], [0.0]]),
    ...     },
    ...     {"wavelength": [2.0, 2.1, 2.2, 2.3]},
    ...     {"instrument": "AIRS-CH0"},
    ... )
    >>> binned = bin_depths(ds, [1.95, 2.15, 2.35])
    >>> binned["depth"].values.round(6), binned["depth_sigma"].values.round(8), binned["channels"].values
    (array([0.0105, 0.012 ]), array([4.301e-05, 5.000e-05]), array([2, 1]))
    """
    depth, sigma, factor = _spectrum(ds)
    wavelength = np.asarray(ds["wavelength"].values, np.float64)
    names = _instruments(ds)
    good = np.isfinite(depth) & np.isfinite(sigma) & (sigma > 0)
    if not good.any():
        raise DataError(f"{_label(ds)} has no depth in any channel: choose a visit or planet with a transit (`mask` of an export)")
    if not np.isfinite(wavelength[good]).all():
        raise DataError(f"{_label(ds)} does not say the wavelengths of all its channels: put wavelengths.csv into the dataset")
    groups = {name: wavelength[(names == name) & np.isfinite(wavelength)] for name in dict.fromkeys(names)}
    asked = isinstance(bins, Sequence | np.ndarray)
    low, high = _explicit(bins) if asked else _by_instrument(groups, bins)
    member = (wavelength[None, :] >= low[:, None]) & (wavelength[None, :] < high[:, None]) & good
    kept = np.flatnonzero(member.any(axis=1))
    if not kept.size:
        raise ConfigError(
            f"no channel with a depth is in a bin: edges go from {low[0]:g} to {high[-1]:g} µm, {_label(ds)} {_range(groups)}"
        )
    kept = kept[np.argsort(low[kept] + high[kept])]
    member, low, high = member[kept], low[kept], high[kept]
    if asked:
        low, high = _within(groups, [set(names[row]) for row in member], low, high)
    weight = np.where(good, 1.0 / np.square(np.where(good, sigma, 1.0)), 0.0)
    mean, matrix = averaged(
        np.where(good, depth, 0.0), np.where(good, sigma, 0.0), np.where(good[:, None], factor, 0.0), np.where(member, weight, 0.0)
    )
    middle = 0.5 * (low + high)
    of = ["+".join(dict.fromkeys(names[row])) for row in member]
    about = {"units": "1"}
    return xr.Dataset(
        {
            "depth": ("wavelength", mean, {"long_name": "(Rp/Rs)^2, mean of the bin weighted with 1 / sigma²"} | about),
            "depth_sigma": ("wavelength", np.sqrt(np.diag(matrix)), {"long_name": "standard error of depth by the covariance"} | about),
            "covariance": (("wavelength", "wavelength_too"), matrix, {"long_name": "covariance of depth"} | about),
            "half_width": ("wavelength", 0.5 * (high - low), {"units": "um"}),
            "channels": ("wavelength", member.sum(axis=1), {"long_name": "channels of the bin that have a depth"}),
            "instrument": ("wavelength", np.array(of, dtype=np.str_)),
        },
        {"wavelength": ("wavelength", middle, {"units": "um"}), "wavelength_too": ("wavelength_too", middle, {"units": "um"})},
    )


def _spectrum(ds: xr.Dataset) -> tuple[Float, Float, Float]:
    """Depths and sigmas (channel,) and F (channel, k), in memory. Raises DataError where ds is something else."""
    missing = [name for name in NEEDED if name not in ds]
    if missing:
        raise DataError(
            f"{_label(ds)} has no {', '.join(missing)}: the covariance is of a product, a planet's fit or an exported row of a run whose "
            "profile makes depths (calib/nominal)"
        )
    dims = tuple(map(str, ds["transit_depth"].dims))
    if dims != ("wavelength",):
        raise DataError(f"transit_depth has dimensions {' x '.join(dims)}: give one spectrum, e.g. ds.isel({dims[0]}=0)")
    depth, sigma = (np.asarray(ds[name].values, np.float64) for name in NEEDED[:2])
    factor = np.asarray(ds[NEEDED[2]].transpose("wavelength", ...).values, np.float64)
    good = np.isfinite(depth) & np.isfinite(sigma)
    if not np.isfinite(factor[good]).all():
        raise DataError(f"{_label(ds)} does not say what the errors of its channels have in common: calibrate it again, then export")
    return depth, sigma, factor


def _instruments(ds: xr.Dataset) -> np.ndarray:
    """(channel,) the instrument of each channel, as text."""
    count = ds.sizes["wavelength"]
    along = ds.coords.get("instrument")
    if along is not None and along.dims == ("wavelength",):
        return np.array(str(along.attrs["flag_meanings"]).split(), object)[along.values.astype(int)]
    if "channel_0" in ds.attrs:
        return np.array([str(ds.attrs["channel_0"]), *["AIRS-CH0"] * (count - 1)], object)
    if "instrument" in ds.attrs:
        return np.full(count, str(ds.attrs["instrument"]), object)
    raise DataError(
        f"{_label(ds)} does not say which instrument its channels are of: its attributes were lost on the way (xarray.set_options("
        "keep_attrs=True)); a visit has 'instrument', an export 'channel_0'"
    )


def _explicit(bins: Any) -> tuple[Float, Float]:
    """Lower and upper edges. Raises ConfigError where they do not ascend."""
    edges = np.asarray(bins, np.float64)
    if edges.ndim != 1 or edges.size < 2 or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        raise ConfigError(f"bins {np.array2string(edges, threshold=6)} are no edges: give two or more wavelengths in µm that ascend")
    return edges[:-1], edges[1:]


def _within(groups: dict[str, Float], held: list[set[str]], low: Float, high: Float) -> tuple[Float, Float]:
    """Bins cut to where the channels of the instruments that each holds begin and end, as far as that is known."""
    known = {n: _channel_edges(n, np.sort(w)) for n, w in groups.items() if w.size > 1 or n in BANDS}
    ends = {n: (known[n][0], known[n][-1]) if n in known else (-np.inf, np.inf) for n in groups}
    first = np.array([min(ends[n][0] for n in names) for names in held])
    last = np.array([max(ends[n][1] for n in names) for names in held])
    return np.maximum(low, first), np.minimum(high, last)


def _by_instrument(groups: dict[str, Float], power: Any) -> tuple[Float, Float]:
    """Bins of each instrument alone: its channels, or of a resolving power."""
    if power is not None and not (np.isfinite(power) and power > 0):
        raise ConfigError(f"bins = {power} is no resolving power λ/Δλ: give a number above 0, edges in µm, or nothing for the channels")
    parts = []
    for name, wavelength in groups.items():
        edges = _channel_edges(name, np.sort(wavelength))
        parts.append(edges if power is None or edges.size == 2 else _even(name, edges, np.sort(wavelength), float(power)))
    return np.concatenate([e[:-1] for e in parts]), np.concatenate([e[1:] for e in parts])


def _channel_edges(name: str, wavelength: Float) -> Float:
    """(n + 1,) edges midway between channels. Raises ConfigError for a single channel the band of which is not known."""
    if name in BANDS and wavelength.size == 1:
        return np.array(BANDS[name])
    if wavelength.size < 2:
        raise ConfigError(f"{name} has one channel, and no band of that name is known ({', '.join(BANDS)} is): give edges in µm")
    middle = 0.5 * (wavelength[1:] + wavelength[:-1])
    return np.concatenate([[2 * wavelength[0] - middle[0]], middle, [2 * wavelength[-1] - middle[-1]]])


def _even(name: str, edges: Float, wavelength: Float, power: float) -> Float:
    """Edges of bins of one resolving power from the first to the last of `edges`. Raises ConfigError where they are finer than channels."""
    # a bin of R goes from λ (1 - 1/2R) to λ (1 + 1/2R)
    step = np.log((2 * power + 1) / (2 * power - 1)) if power > 0.5 else np.inf
    span = np.log(edges[-1] / edges[0])
    out = np.exp(np.linspace(np.log(edges[0]), np.log(edges[-1]), max(1, round(span / step)) + 1))
    out[0], out[-1] = edges[0], edges[-1]
    if (np.histogram(wavelength, out)[0] == 0).any():
        finest = float(np.min(wavelength / np.diff(edges)))
        raise ConfigError(
            f"resolving power {power:g} is finer than the channels of {name}, which have {finest:.0f} where they are widest: give a lower "
            "one, edges in µm, or nothing for the channels themselves"
        )
    return out


def _range(groups: dict[str, Float]) -> str:
    every = np.concatenate(list(groups.values()))
    return f"from {every.min():g} to {every.max():g}"


def _label(ds: xr.Dataset) -> str:
    """A spectrum's name for messages."""
    parts = [str(ds.attrs[key]) for key in ("planet_id", "visit", "instrument") if key in ds.attrs]
    return f"the spectrum {'/'.join(parts)}" if parts else "the spectrum"
