"""The fit of each planet: read from the products of its visits, kept in spectra.zarr/<planet_id>.

A planet's group is written as a whole or not at all; its commit record names the products that it was made of, so that a resumed run
knows which planets are finished.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from v50calib.engine.depths import FitInput
from v50calib.engine.planet import Observation, PlanetFit
from v50calib.engine.visit import star_of
from v50calib.errors import StoreError
from v50calib.io.storage.commit import COMMIT_NAME, commit, is_committed, read_record, staging
from v50calib.io.storage.location import Location
from v50calib.io.storage.objects import ObjectPath
from v50calib.io.storage.zarr_groups import write_group
from v50calib.runs.product import open_product, product_arrays, product_attrs
from v50calib.schema import SPECTRUM
from v50calib.stages.series.curves import Ephemeris

#: the store of planets' fits in a run directory
STORE = "spectra.zarr"
#: variables of a visit's product that the fit needs
INPUTS = ("fit_time", "fit_flux", "fit_sigma", "fit_design", "fit_darkening", "wavelength", "time")


def observation(path: Location) -> Observation | None:
    """A visit of one instrument as the planet's fit needs it; None where its product was made without."""
    attrs = product_attrs(path)
    found = product_arrays(path, INPUTS)
    if not set(INPUTS) <= set(found) or "fit_width_h" not in attrs:
        return None
    time, flux, sigma, design, darkening, wavelength, _ = (np.asarray(found[name], np.float64) for name in INPUTS)
    given = FitInput(time, flux, sigma, design, wavelength, darkening, float(attrs["fit_width_h"]), additive=bool(attrs["fit_additive"]))
    ephemeris = Ephemeris(**{k.removeprefix("ephemeris_"): _number(v) for k, v in attrs.items() if k.startswith("ephemeris_")})
    return Observation(
        int(attrs["visit"]), str(attrs["instrument"]), given, ephemeris, star_of(attrs), float(attrs.get("first_stamp_h", 0.0))
    )


def _number(value: Any) -> Any:
    """A value of the attributes: numbers that JSON cannot say are stored as text."""
    return float(value) if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity") else value


def planet_record(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What identifies a planet's fit: a hash of the commit records of the products that it is made of."""
    content = json.dumps({label: dict(record) for label, record in sorted(records.items())}, sort_keys=True, default=str)
    return {"products": hashlib.sha256(content.encode()).hexdigest()}


def is_current(root: Location, planet_id: str, record: Mapping[str, Any]) -> bool:
    """Whether the planet's fit is there, made of the same products."""
    path = root / planet_id
    return is_committed(path) and read_record(path).get("products") == record["products"]


def dataset_of(planet_id: str, fit: PlanetFit, attrs: Mapping[str, Any]) -> xr.Dataset:
    """The fit of a planet as a Dataset: depths of all instruments along wavelength, mid-times along visit."""
    values = {
        "transit_depth": np.concatenate([d.depth for d in fit.depths]),
        "transit_depth_sigma": np.concatenate([d.sigma for d in fit.depths]),
        "transit_depth_chi2": np.concatenate([d.chi2 for d in fit.depths]),
        "transit_depth_shared": np.concatenate([d.shared for d in fit.depths]),
        "mid_transit_time": fit.joint.t0,
        "mid_transit_time_sigma": fit.joint.t0_sigma,
    }
    variables = {name: (SPECTRUM[name].dims, value, _about(name)) for name, value in values.items()}
    instrument = np.repeat(np.arange(len(fit.instruments), dtype=np.int32), [w.size for w in fit.wavelength])
    joint = fit.joint
    return xr.Dataset(
        variables,
        coords={
            "wavelength": ("wavelength", np.concatenate(fit.wavelength), {"units": "um"}),
            "instrument": ("wavelength", instrument, {"flag_meanings": " ".join(fit.instruments)}),
            "visit": ("visit", np.array(fit.visits, np.int32)),
        },
        attrs={
            "planet_id": planet_id,
            "instruments": list(fit.instruments),
            "a_over_r": joint.shape.a,
            "a_over_r_sigma": joint.a_sigma,
            "impact_parameter": joint.shape.b,
            "impact_parameter_sigma": joint.b_sigma,
            "period_h": joint.shape.period,
            "chi2": joint.chi2,
            "red_noise": max(d.red for d in fit.depths),
            "converged": joint.converged,
            "notes": list(fit.notes),
            **attrs,
        },
    )


def _about(name: str) -> dict[str, str]:
    spec = SPECTRUM[name]
    return {"long_name": spec.doc} | ({"units": spec.units} if spec.units else {})


def write_planet(root: Location, planet_id: str, ds: xr.Dataset, record: Mapping[str, Any]) -> Location:
    """Write a planet's fit as a whole; an older one is replaced. Raises StoreError where the disk is full or not writable."""
    final = root / planet_id
    try:
        with staging(final) as tmp:
            written = write_group(tmp, ds)
            commit(tmp, final, dict(record), written, replace=True)
    except OSError as exc:
        raise StoreError(
            f"cannot write the fit of planet {planet_id} under '{root}': {exc.strerror or exc}; free space or give another --out"
        ) from exc
    return final


def open_spectra(run_dir: Location) -> dict[str, xr.Dataset]:
    """The fits of a run's planets by planet_id, lazily opened; empty where the run has none."""
    root = run_dir / STORE
    if not root.is_dir():
        return {}
    paths: list[Location]
    if isinstance(root, ObjectPath):
        paths = [p.parent for p in root.rglob(COMMIT_NAME)]
    else:
        paths = [p for p in root.glob("*") if is_committed(p)]
    return {path.name: open_product(path) for path in sorted(paths, key=str) if not path.name.startswith(".")}


def depths_of(ds: xr.Dataset, instrument: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Depth and sigma (channel,) of one instrument in a planet's fit; None where it has no part in it."""
    names = list(ds.attrs["instruments"])
    if instrument not in names:
        return None
    own = np.asarray(ds["instrument"]) == names.index(instrument)
    depth, sigma = (np.asarray(ds[name], np.float64)[own] for name in ("transit_depth", "transit_depth_sigma"))
    return depth, sigma if math.isfinite(float(np.nansum(sigma))) else np.full(sigma.shape, np.nan)
