"""Planets' fits on one grid: a row a planet, its depths over all instruments, its orbit, and what there is to say against it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from v50calib.errors import StoreError
from v50calib.export.align import NAMES, SHARED, Axes, Row, join_wavelength, put_factor
from v50calib.export.grid import Grid, GridVar
from v50calib.io.storage.commit import read_record
from v50calib.io.storage.location import Location
from v50calib.kernels.covariance import weighted_depth
from v50calib.runs.planet_verdicts import missing_of, reasons_of
from v50calib.runs.product import open_product, product_arrays
from v50calib.runs.spectra import STORE, fitted_planets, is_current, planet_record
from v50calib.schema import CHANNELS, N_CHANNELS, SPECTRUM

Fits = Mapping[str, xr.Dataset]
Products = Mapping[tuple[str, int], Mapping[str, Location]]
#: arrays along wavelength that a fit has, and those along its visits
DEPTHS = ("transit_depth", "transit_depth_sigma", "transit_depth_chi2")
TIMES = ("mid_transit_time", "mid_transit_time_sigma")
#: numbers of a fit (its attributes), with what they are and their units
NUMBERS = {
    "a_over_r": ("semi-major axis over the radius of the star", "1"),
    "a_over_r_sigma": ("standard error of a_over_r", "1"),
    "impact_parameter": ("impact parameter", "1"),
    "impact_parameter_sigma": ("standard error of impact_parameter", "1"),
    "period_h": ("orbital period that the fit took", "h"),
    "chi2": ("reduced chi² of the joint fit", "1"),
    "red_noise": ("factor by which noise that does not average down has widened the errors", "1"),
}
WHITE = {
    "white_depth": "mean of transit_depth over an instrument, weighted with 1 / transit_depth_sigma²",
    "white_depth_sigma": "standard error of white_depth by the covariance of transit_depth",
}
_COVARIANCE = "covariance of a row, over both instruments: diag(sigma² - Σ F²) + F Fᵀ"


def stored_fits(root: Location, run_dir: Location, products: Products) -> dict[str, xr.Dataset]:
    """The fits of a run's planets, of `products` under `root`. Raises StoreError where one is older than its planet's visits."""
    found = {planet: open_product(path) for planet, path in fitted_planets(run_dir)}
    refuse_old_fits(list(found), root, run_dir, products)
    return found


def refuse_old_fits(planets: Sequence[str], root: Location, run_dir: Location, products: Products) -> None:
    """Raises StoreError where the stored fit of a planet is not of `products` under `root`."""
    labels: dict[str, list[str]] = {}
    for (planet, visit), paths in products.items():
        labels.setdefault(planet, []).extend(f"{planet}/{visit}/{instrument}" for instrument in paths)
    for planet in planets:
        record = planet_record({label: read_record(root / label) for label in labels.get(planet, [])})
        if not is_current(run_dir / STORE, planet, record):
            raise StoreError(f"the fit of planet {planet} is older than its visits: 'v50calib export' or 'v50calib spectra' makes it again")


def planets_grid(planets: Sequence[str], fits: Fits, products: Products, about: Mapping[str, Any]) -> tuple[Grid, Axes]:
    """The grid of the planets' fits: a row for each of `planets`, empty where it has none.

    Raises StoreError where there is no fit at all, or fits do not fit on one grid.
    """
    if not fits:
        raise StoreError(
            "the run has no fit of any planet: no transit was found, or its profile leaves depths out; calibrate with calib/nominal"
        )
    axes, missing = Axes(0, 0.0, _wavelengths(fits)), missing_of({planet: ds.attrs for planet, ds in fits.items()})
    row, spectrum = ("planet",), ("planet", "wavelength")
    names = [str(name) for name in NAMES]
    fixed = [
        GridVar("planet_id", row, np.dtype("U"), {}, np.array(planets, object), coordinate=True),
        GridVar("instrument", ("instrument",), np.dtype("U"), {}, np.array(names, object), coordinate=True),
        GridVar("wavelength", ("wavelength",), np.dtype("float64"), {"units": "um"}, axes.wavelength, coordinate=True),
        _text("notes", "what the fit notes", [_notes(fits.get(p)) for p in planets]),
        _text("reasons", "reasons to distrust the depths", [_reasons(p, fits.get(p), products, missing.get(p, ())) for p in planets]),
    ]
    streamed = [
        *(_float(name, spectrum, SPECTRUM[name].doc, SPECTRUM[name].units) for name in DEPTHS),
        GridVar("mask", spectrum, np.dtype(bool), {"long_name": "true where the planet has a depth"}),
        _float(SHARED, (*spectrum, "shared"), SPECTRUM[SHARED].doc, "", comment=_COVARIANCE),
        *(_float(name, ("planet", "instrument"), doc) for name, doc in WHITE.items()),
        *(_float(name, row, doc, units) for name, (doc, units) in NUMBERS.items()),
        GridVar("converged", row, np.dtype(bool), {"long_name": "the joint fit converged"}),
        GridVar("visit_number", ("planet", "visit"), np.dtype("int32"), {"long_name": "-1: no further visit"}, coordinate=True, empty=-1),
        *(_float(name, ("planet", "visit"), SPECTRUM[name].doc, SPECTRUM[name].units) for name in TIMES),
        GridVar("present", ("planet", "instrument"), np.dtype(bool), {"long_name": "the instrument has a part in the fit"}),
    ]
    sizes = {
        "planet": len(planets), "instrument": len(NAMES), "wavelength": N_CHANNELS,
        "visit": max(ds.sizes["visit"] for ds in fits.values()), "shared": max(ds.sizes["shared"] for ds in fits.values()),
    }  # fmt: skip
    attrs = {"what": "planets", "channel_0": "FGS1", **about}
    return Grid(sizes, (*fixed, *streamed), attrs, columns=("shared", "visit", "instrument")), axes


def planet_row(row: Row, planet: str, ds: xr.Dataset) -> None:
    """A planet's fit in its row; F has as many columns as the run's largest, those that this fit lacks are 0."""
    own = {name: np.asarray(ds[name].values) for name in (*DEPTHS, SHARED)}
    for instrument, mine in _channels(planet, ds).items():
        on = CHANNELS[instrument]
        for name in DEPTHS:
            row[name][on] = own[name][mine]
        put_factor(row[SHARED][on], own[SHARED][mine])
        depth, sigma, factor = (own[name][mine] for name in ("transit_depth", "transit_depth_sigma", SHARED))
        with np.errstate(divide="ignore"):
            white = weighted_depth(depth, sigma, factor, 1.0 / np.square(sigma, dtype=np.float64))
        column = NAMES.index(instrument)
        row["white_depth"][column], row["white_depth_sigma"][column] = white
        row["present"][column] = True
    row["mask"][...] = np.isfinite(row["transit_depth"])
    for name in NUMBERS:
        row[name][...] = float(ds.attrs.get(name, math.nan))
    row["converged"][...] = bool(ds.attrs["converged"])
    count = ds.sizes["visit"]
    row["visit_number"][:count] = ds["visit"].values
    for name in TIMES:
        row[name][:count] = ds[name].values


def _float(name: str, dims: tuple[str, ...], doc: str, units: str = "", comment: str = "") -> GridVar:
    about = {"long_name": doc, "units": units or "1"} | ({"comment": comment} if comment else {})
    return GridVar(name, dims, np.dtype("float64"), about)


def _text(name: str, doc: str, texts: Iterable[str]) -> GridVar:
    """Text of each planet."""
    return GridVar(name, ("planet",), np.dtype("U"), {"long_name": doc}, np.array(list(texts), object))


def _notes(ds: xr.Dataset | None) -> str:
    """The notes of a fit in one line."""
    return "" if ds is None else "; ".join(map(str, ds.attrs.get("notes", [])))


def _reasons(planet: str, ds: xr.Dataset | None, products: Products, missing: Sequence[str]) -> str:
    """The reasons to distrust a planet's depths, or why it has none."""
    if ds is not None:
        return reasons_of(ds.attrs, missing=missing)
    return reasons_of(None, transit_found=_transit_found(planet, products))


def _transit_found(planet: str, products: Products) -> bool:
    """Whether some visit of a planet found a transit."""
    paths = [path for (owner, _), each in products.items() if owner == planet for path in each.values()]
    return any(np.isfinite(t).any() for path in paths for t in product_arrays(path, ["mid_transit_time"]).values())


def _wavelengths(fits: Fits) -> np.ndarray:
    """(N_CHANNELS,) µm of all fits. Raises StoreError where they differ, or are of other instruments."""
    wavelength = np.full(N_CHANNELS, np.nan)
    for planet, ds in fits.items():
        for instrument, mine in _channels(planet, ds).items():
            join_wavelength(wavelength, instrument, ds["wavelength"].values[mine], f"the fit of planet {planet}")
    return wavelength


def _channels(planet: str, ds: xr.Dataset) -> dict[str, np.ndarray]:
    """Which channels of a fit are of which instrument. Raises StoreError for instruments that the grid does not hold."""
    found = {str(name): np.asarray(ds["instrument"].values == i) for i, name in enumerate(ds.attrs["instruments"])}
    other = sorted(set(found) - set(NAMES))
    if other:
        raise StoreError(
            f"the fit of planet {planet} is of {', '.join(other)}: the grid holds {' and '.join(NAMES)} only; use open_spectra"
        )
    return found
