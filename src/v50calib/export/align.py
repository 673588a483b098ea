"""Products of a run on one grid: which visits, time bins and channels, and one visit's row of it.

The channels are those of `schema.CHANNELS`: FGS1, then AIRS-CH0 in ascending wavelength. A time bin i of width w holds what was measured in
[i w, (i + 1) w) since the start of the visit. What a visit lacks is NaN (counts 0) and False in `mask`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from v50calib.errors import StoreError
from v50calib.export.grid import GridVar
from v50calib.io.storage.location import Location
from v50calib.kernels.detrended import Detrended
from v50calib.kernels.series import bin_mean
from v50calib.runs.product import array_metadata, product_arrays
from v50calib.schema import CALIBRATED, CHANNELS, INSTRUMENT, N_CHANNELS

#: what has a row a visit, and all exports
VisitWhat = Literal["lightcurves", "normalized", "cubes", "spectra"]
What = Literal["lightcurves", "normalized", "cubes", "spectra", "planets"]
Row = dict[str, np.ndarray]
#: the factor F of what the errors of channels have in common
SHARED = "transit_depth_shared"
#: columns of the grid's `instrument` axis
NAMES = tuple(CHANNELS)
_SCIENCE = INSTRUMENT["AIRS-CH0"].science or slice(None)
SCALARS = (*("white_depth", "white_depth_sigma", "mid_transit_time", "mid_transit_time_sigma", "transit_duration", "transit_snr"),)
#: curves of the planet's joint fit, transit left in
LIGHT = {
    "light": "flux over the baseline of the planet's joint fit, 1 out of transit",
    "light_var": "variance of light, the baseline's included",
    "light_baseline_var": "the baseline's part of light_var, one error in all bins of a transit",
}
EXTRAPOLATED = "the baseline is extrapolated through the transit: off by up to 250 ppm there, not for depths or for training; use light"
#: variables that a product must have to be exported as …
NEEDED: dict[VisitWhat, tuple[str, ...]] = {
    "lightcurves": (),
    "normalized": ("trace_norm", "trace_norm_var"),
    "cubes": ("cds_binned", "cds_binned_var_poisson", "cds_var_rnoise", "bin_time"),
    "spectra": ("transit_depth", "transit_depth_sigma"),
}


#: either of them makes light curves: those of the joint fit, or the flux in electrons
FITTED, FLUX = ("fit_flux", "fit_sigma"), ("photometry", "photometry_var", "photometry_dq")


@dataclass(frozen=True)
class Axes:
    """Bins of time: number and width [h]; wavelength (N_CHANNELS,) µm, NaN where no visit gives it.

    >>> axes = Axes(n_bins=3, width_h=0.5, wavelength=np.full(N_CHANNELS, np.nan))
    >>> axes.time_h, axes.index(np.array([0.0, 0.5, 1.4, 9.0]))
    (array([0.25, 0.75, 1.25]), array([ 0,  1,  2, -1]))
    """

    n_bins: int
    width_h: float
    wavelength: NDArray[np.float64]

    @property
    def time_h(self) -> NDArray[np.float64]:
        """Middle of each bin."""
        return np.asarray((np.arange(self.n_bins) + 0.5) * self.width_h, np.float64)

    def index(self, time_h: np.ndarray) -> NDArray[np.int64]:
        """Bin of each time; -1 outside the grid."""
        bins = np.floor(time_h / self.width_h).astype(np.int64)
        return np.where((bins >= 0) & (bins < self.n_bins), bins, -1)


def find_axes(products: Sequence[tuple[str, Location]], what: VisitWhat, bin_s: float) -> Axes:
    """The grid that holds every product; bins of `bin_s`, or as wide as the widest sampling where that is wider.

    products: (instrument, path). Reads times and wavelengths only. Raises StoreError: a product lacks what is to be
    exported, or its channels are not those of the others.
    """
    wavelength = np.full(N_CHANNELS, np.nan)
    width_h, last_h = bin_s / 3600, 0.0
    axis = "bin_time" if what == "cubes" else "time"
    for instrument, path in products:
        missing = _missing(path, NEEDED[what])
        if what == "lightcurves" and _missing(path, FITTED) and _missing(path, FLUX):
            missing = [FITTED[0], FLUX[0]]
        if missing:
            raise StoreError(
                f"{_label(path)} has no {', '.join(missing)}, which an export of {what} is made of: its profile leaves that out; "
                "calibrate with calib/nominal, or export something else"
            )
        if what != "cubes":
            join_wavelength(wavelength, instrument, own_wavelength(path), _label(path))
        if what != "spectra":
            time = product_arrays(path, [axis])[axis]
            last_h = max(last_h, float(time[-1]))
            step = float(np.median(np.diff(time))) if len(time) > 1 else 0.0
            # a sampling of 30 exposures of 4.8 s must not widen bins of 144 s by its rounding error
            width_h = step if step > 1.01 * width_h else width_h
    if what == "cubes":
        for instrument, path in products:
            if not _missing(path, ["wavelength"]):
                join_wavelength(wavelength, instrument, own_wavelength(path), _label(path))
    return Axes(int(np.floor(last_h / width_h)) + 1 if what != "spectra" else 0, width_h, wavelength)


def _missing(path: Location, names: Sequence[str]) -> list[str]:
    """Which of these arrays a product does not have."""
    there = array_metadata(path)
    return [name for name in names if name not in there]


def kinds_of_light(products: Sequence[tuple[str, Location]]) -> tuple[bool, bool]:
    """Whether some product has curves of the joint fit, and flux in electrons."""
    paths = [path for _, path in products]
    return any(not _missing(path, FITTED) for path in paths), any(not _missing(path, FLUX) for path in paths)


def own_wavelength(path: Location) -> np.ndarray:
    """Wavelengths of a product's channels, µm."""
    return product_arrays(path, ["wavelength"])["wavelength"]


def join_wavelength(wavelength: NDArray[np.float64], instrument: str, own: np.ndarray, label: str) -> None:
    """Set an instrument's wavelengths on the grid, or check that they are those that are set. Raises StoreError, which names `label`."""
    known = wavelength[CHANNELS[instrument]]
    if own.shape != known.shape:
        raise StoreError(f"{label} has {own.size} channels, the grid has {known.size} of {instrument}: export a run with all of them")
    if np.isfinite(known).all() and not np.allclose(known, own, rtol=0, atol=1e-6):
        raise StoreError(f"{label} has other wavelengths than those before it: they do not fit on one grid")
    wavelength[CHANNELS[instrument]] = own


def _label(path: Location) -> str:
    return "/".join(path.parts[-3:])


def shared_terms(products: Sequence[tuple[str, Location]]) -> int:
    """Columns of the factor F of errors that channels have in common: the most that any product has, 0 where none has any."""
    metas = (array_metadata(path).get(SHARED) for _, path in products)
    return max((int(meta["shape"][1]) for meta in metas if meta is not None), default=0)


def variables(
    what: VisitWhat, units: dict[str, str], terms: int = 0, light: tuple[bool, bool] = (True, True)
) -> tuple[GridVar, ...]:  # fmt: skip
    """The streamed arrays of an export; units: those of the products, which a profile may have changed; terms: columns of F; light: as
    `kinds_of_light` says.

    >>> [(var.name, var.dims) for var in variables("spectra", {})][:2]
    [('transit_depth', ('visit', 'wavelength')), ('transit_depth_sigma', ('visit', 'wavelength'))]
    """
    curves = ("visit", "bin", "wavelength")
    dims = {"lightcurves": curves, "normalized": curves, "cubes": ("visit", "bin", "y", "wavelength"), "spectra": ("visit", "wavelength")}
    whole = dims[what]

    def like(name: str, dims: tuple[str, ...], source: str, doc: str = "") -> GridVar:
        kind = "float64" if what == "spectra" or dims == ("visit", "instrument") else "float32"
        text = {"long_name": doc or CALIBRATED[source].doc, "units": units.get(source, CALIBRATED[source].units) or "1"}
        return GridVar(name, dims, np.dtype(kind), text)

    def count(name: str, dims: tuple[str, ...], doc: str) -> GridVar:
        return GridVar(name, dims, np.dtype("int32"), {"long_name": doc, "units": "1"})

    mask = GridVar("mask", whole, np.dtype(bool), {"long_name": "true where the visit has a value"})
    scalars = tuple(like(name, ("visit", "instrument"), name) for name in SCALARS)
    if what == "spectra":
        factor = (like(SHARED, (*whole, "shared"), SHARED),) if terms else ()
        return (*(like(n, whole, n) for n in NEEDED[what]), mask, *factor, *scalars)
    if what in ("lightcurves", "normalized"):
        fitted, flux = light if what == "lightcurves" else (False, True)
        names = FLUX[:2] if what == "lightcurves" else NEEDED[what]
        means = [like(n, whole, n, f"{CALIBRATED[n].doc}{', of the mean' if n.endswith('var') else ', mean of the bin'}") for n in names]
        if what == "normalized":
            means = [replace(v, attrs=v.attrs | {"comment": EXTRAPOLATED}) for v in means]
        dq = GridVar("dq", whole, np.dtype("uint32"), {"long_name": "data quality, OR over the bin"})
        own = tuple(GridVar(n, whole, np.dtype("float32"), {"long_name": doc, "units": "1"}) for n, doc in LIGHT.items()) if fitted else ()
        counted = (*means, *((dq,) if what == "lightcurves" else ()), count("count", whole, "pairs with a finite flux in the bin"))
        return (*own, *(counted if flux else ()), mask, *scalars)
    summed, frame = "FGS1 (channel 0): summed over x", ("visit", "bin", "y", "x")
    return (
        like("cube", whole, "cds_binned", f"CDS frames summed over the bin; {summed}; AIRS-CH0: science columns"),
        like("cube_var_poisson", whole, "cds_binned_var_poisson", f"photon variance of cube; {summed}"),
        like("read_var", ("visit", "y", "wavelength"), "cds_var_rnoise", f"read-noise variance of one pair; {summed}"),
        like("fgs1", frame, "cds_binned", "CDS frames of FGS1 summed over the bin"),
        like("fgs1_var_poisson", frame, "cds_binned_var_poisson", "photon variance of fgs1"),
        count("pairs", ("visit", "bin", "instrument"), "CDS pairs that were summed"),
        mask,
        *scalars,
    )


def lightcurve_row(row: Row, instrument: str, path: Location, axes: Axes) -> None:
    """Means over the pairs of each bin, their variance, flags and counts; pairs that are not finite are left out. `light_row` has the
    curves of the joint fit."""
    if "count" in row:
        _means(row, "photometry", instrument, product_arrays(path, ["time", *FLUX]), axes)


def normalized_row(row: Row, instrument: str, path: Location, axes: Axes) -> None:
    """The same of curves over a baseline that was extrapolated through the transit."""
    _means(row, "trace_norm", instrument, product_arrays(path, ["time", *NEEDED["normalized"]]), axes)


def _means(row: Row, name: str, instrument: str, have: Row, axes: Axes) -> None:
    if name not in have:
        return
    bins, own = axes.index(have["time"]), CHANNELS[instrument]
    # a variance counts where its value does
    usable = np.isfinite(have[name]) & np.isfinite(have[f"{name}_var"])
    mean, number = bin_mean(np.where(usable, have[name], np.nan), bins, axes.n_bins)
    mean_var, _ = bin_mean(np.where(usable, have[f"{name}_var"], np.nan), bins, axes.n_bins)
    row[name][:, own], row[f"{name}_var"][:, own] = mean, mean_var / np.maximum(number, 1)
    row["count"][:, own] = number
    if "photometry_dq" in have:
        np.bitwise_or.at(row["dq"][:, own], bins[bins >= 0], have["photometry_dq"][bins >= 0])
    row["mask"][:, own] = row["count"][:, own] > 0


def light_row(row: Row, instrument: str, curves: Detrended) -> None:
    """Curves of the joint fit, on the grid already."""
    own = CHANNELS[instrument]
    for name, values in zip(LIGHT, (curves.flux, curves.noise_var + curves.baseline_var, curves.baseline_var), strict=True):
        row[name][:, own] = values
    row["mask"][:, own] |= np.isfinite(curves.flux)


def cube_row(row: Row, instrument: str, path: Location, axes: Axes) -> None:
    """Binned frames added up in the bins of the grid; masked pixels stay NaN."""
    have = product_arrays(path, [*NEEDED["cubes"], "time"])
    bins, own = axes.index(have["bin_time"]), CHANNELS[instrument]
    per_bin = _pairs_per_bin(have["time"], float(have["bin_time"][0]))
    row["pairs"][:, NAMES.index(instrument)] = per_bin * np.bincount(bins[bins >= 0], minlength=axes.n_bins)
    filled = row["pairs"][:, NAMES.index(instrument)] > 0
    for source, name in (("cds_binned", "cube"), ("cds_binned_var_poisson", "cube_var_poisson")):
        total = np.zeros((axes.n_bins, *have[source].shape[1:]))
        np.add.at(total, bins[bins >= 0], have[source][bins >= 0])
        total[~filled] = np.nan
        if instrument == "FGS1":
            row[name.replace("cube", "fgs1")][...] = total
        row[name][:, :, own] = _channels(instrument, total)
    row["read_var"][:, own] = _channels(instrument, have["cds_var_rnoise"][None])[0]
    row["mask"][:, :, own] = np.isfinite(row["cube"][:, :, own])


def spectrum_row(row: Row, instrument: str, path: Location, axes: Axes) -> None:
    """Depths and their errors, unchanged, and the factor F of what channels have in common.

    Each instrument of a visit has a fit of its own, so that instruments have nothing in common: the one channel of FGS1 has all its
    variance for itself, F = 0. F has as many columns as the run's largest; those that a product lacks are 0.
    """
    have, own = product_arrays(path, (*NEEDED["spectra"], SHARED)), CHANNELS[instrument]
    for name in NEEDED["spectra"]:
        row[name][own] = have[name]
    row["mask"][own] = np.isfinite(have["transit_depth"])
    if SHARED not in row:
        return
    if have["transit_depth"].size == 1:
        row[SHARED][own] = np.where(row["mask"][own], 0.0, np.nan)[:, None]
    elif SHARED in have:
        put_factor(row[SHARED][own], have[SHARED])


def put_factor(out: np.ndarray, factor: np.ndarray) -> None:
    """Write F (channel, k) into `out` (channel, K ≥ k), the other columns 0.

    >>> out = np.full((1, 3), np.nan)
    >>> put_factor(out, np.array([[2.0]]))
    >>> out
    array([[2., 0., 0.]])
    """
    out[:] = 0.0
    out[:, : factor.shape[1]] = factor


def scalar_row(row: Row, instrument: str, path: Location) -> None:
    """The numbers of an instrument's white light curve, where its profile has them."""
    for name, value in product_arrays(path, SCALARS).items():
        row[name][NAMES.index(instrument)] = value


ROWS: dict[VisitWhat, Callable[[Row, str, Location, Axes], None]] = {
    "lightcurves": lightcurve_row,
    "normalized": normalized_row,
    "cubes": cube_row,
    "spectra": spectrum_row,
}


def _channels(instrument: str, frames: np.ndarray) -> np.ndarray:
    """(n, y, x) frames as (n, y, channels): FGS1 summed over its finite pixels, AIRS-CH0 science columns by wavelength."""
    if instrument == "FGS1":
        total = np.nansum(frames, axis=2, keepdims=True)
        return np.where(np.isfinite(frames).any(axis=2, keepdims=True), total, np.nan)
    # wavelength falls with the detector's column
    return frames[:, :, _SCIENCE][:, :, ::-1]


def _pairs_per_bin(time_h: np.ndarray, first_bin_h: float) -> int:
    """Pairs per bin: the number whose mean time is that of the first bin."""
    means = np.cumsum(time_h) / np.arange(1, len(time_h) + 1)
    return int(np.argmin(np.abs(means - first_bin_h))) + 1
