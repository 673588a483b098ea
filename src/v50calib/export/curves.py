"""Light curves of a run's visits as a joint fit leaves them: which fit a planet has, and the curves of a visit and instrument by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from v50calib.engine.planet import Observation
from v50calib.io.storage.commit import is_committed, read_record
from v50calib.io.storage.location import Location
from v50calib.kernels.arrays import Float
from v50calib.kernels.detrended import Detrended, detrended
from v50calib.kernels.transit import Shape
from v50calib.runs.calibrated import PRODUCTS
from v50calib.runs.product import product_arrays, product_attrs
from v50calib.runs.spectra import STORE, is_current, planet_record
from v50calib.runtime.observations import DARKENING

#: detrended: over the baseline of the joint fit; relative: over each channel's level, baseline left in
Curves = Literal["detrended", "relative"]
_READ = ("transit_depth", "instrument", "visit", "mid_transit_time")


@dataclass(frozen=True)
class Fit:
    """What a planet's fit says of its curves: orbit (`shape` without a mid-time of its own), mid-time of each visit [h since its first
    stamp], depths (channel,) and limb darkening (3,) of each instrument, and what was left out of it, visit/instrument."""

    shape: Shape
    t0: Mapping[int, float]
    depth: Mapping[str, Float]
    darkening: Mapping[str, Float]
    left_out: frozenset[str]

    def why_not(self, visit: int, instrument: str) -> str:
        """Why this fit has no curve of a visit and instrument; empty where it has one."""
        if f"{visit}/{instrument}" in self.left_out:
            return "not trusted: the planet's fit leaves it out"
        if visit not in self.t0 or instrument not in self.depth:
            return "no transit found: the planet's fit leaves it out"
        return ""


def fit_of(run_dir: Location, planet: str, labels: Sequence[str]) -> Fit | None:
    """The fit of a planet's products (labels planet/visit/instrument): the stored one, or where that is missing, older than its products,
    or of a version that did not keep the limb darkening, one that is made now and not kept. None where no visit has a transit."""
    path = run_dir / STORE / planet
    if is_committed(path):
        attrs = product_attrs(path)
        record = planet_record({label: read_record(run_dir / PRODUCTS / label) for label in labels})
        if DARKENING in attrs and is_current(run_dir / STORE, planet, record):
            return _facts(attrs, product_arrays(path, _READ))
    from v50calib.runtime.planets import fitted_dataset

    ds = fitted_dataset(run_dir, planet, labels)
    return None if ds is None else _facts(ds.attrs, {name: np.asarray(ds[name].values) for name in _READ})


def fit_of_products(run_dir: Location, planet: str, products: Mapping[tuple[str, int], Mapping[str, Location]]) -> Fit | None:
    """`fit_of` a planet of a run, with all its products."""
    labels = [f"{owner}/{visit}/{name}" for (owner, visit), paths in products.items() if owner == planet for name in paths]
    return fit_of(run_dir, planet, labels) if labels else None


def _facts(attrs: Mapping[Any, Any], arrays: Mapping[str, np.ndarray]) -> Fit:
    names = list(attrs["instruments"])
    depth = {name: np.asarray(arrays["transit_depth"][arrays["instrument"] == i], np.float64) for i, name in enumerate(names)}
    shape = Shape(0.0, float(attrs["period_h"]), float(attrs["a_over_r"]), float(attrs["impact_parameter"]), 0.1, 0.0, 0.0)
    t0 = dict(zip(map(int, arrays["visit"]), map(float, arrays["mid_transit_time"]), strict=True))
    darkening = {name: np.asarray(attrs[DARKENING][name], np.float64) for name in names}
    return Fit(shape, t0, depth, darkening, frozenset(attrs.get("left_out", {})))


def curves_of(given: Observation, fit: Fit | None, kind: Curves, start_h: float) -> Detrended:
    """The curves (bin, channel) of a visit and instrument, NaN where a channel has none. start_h: what fit's times count from."""
    flux, sigma = given.given.flux, given.given.sigma
    if kind == "relative":
        seen = np.isfinite(sigma)
        return Detrended(
            np.where(seen, flux, np.nan), np.where(seen, np.square(np.where(seen, sigma, 1.0)), np.nan), np.where(seen, 0.0, np.nan)
        )
    assert fit is not None
    depth = fit.depth[given.instrument]
    of_planet = np.isfinite(depth)
    here = given.given.channels()[of_planet]
    band = given.given.band(of_planet)
    band = replace(band, position=band.position[here], darkening=band.darkening[:, here])
    good = np.flatnonzero(of_planet)[here]
    mask = np.zeros(depth.size, bool)
    mask[good] = True
    shape = replace(fit.shape, t0=fit.t0[given.visit] + start_h - given.first_stamp_h)
    found = detrended(given.given.block(mask), band, shape, fit.darkening[given.instrument], depth[mask])
    return found if mask.all() else Detrended(*(_wide(v, mask) for v in (found.flux, found.noise_var, found.baseline_var)))


def _wide(values: Float, mask: np.ndarray) -> Float:
    out = np.full((values.shape[0], mask.size), np.nan)
    out[:, mask] = values
    return out
