"""A run as a table: each depth with its error, beside the truth where it is known, noise over its limit, seconds."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import xarray as xr

from v50calib.errors import DataError
from v50calib.schema import CHANNELS
from v50calib.untrusted.json_text import load_json

#: what a simulated dataset says of itself
FILE = "truth.json"


class Folder(Protocol):
    """A dataset's root: a pathlib.Path, or a key in an object store."""

    def __truediv__(self, name: str, /) -> Any: ...


def _read_truth(root: Folder) -> dict[str, Any]:
    path = root / FILE
    if not path.is_file():
        raise DataError(f"'{root}' has no {FILE}: --truth takes a folder made by 'v50calib simulate'")
    content: dict[str, Any] = load_json(path.read_text(encoding="utf-8"))
    return content


def load_spectra(root: Folder) -> dict[str, np.ndarray]:
    """True depths wl_1 … wl_283 of each planet of a simulated dataset. Raises DataError where it has no truth.json."""
    return {str(planet["planet_id"]): np.asarray(planet["depth"], np.float64) for planet in _read_truth(root)["planets"]}


def true_depths(ds: xr.Dataset, spectrum: np.ndarray | None) -> np.ndarray | None:
    """Those of a planet's depths wl_1 … wl_283 that are of a product's channels: FGS1 is wl_1, AIRS-CH0 the others; else None.

    >>> fgs1 = xr.Dataset(coords={"wavelength": [0.7]}, attrs={"instrument": "FGS1"})
    >>> true_depths(fgs1, np.linspace(0.01, 0.02, 283))
    array([0.01])
    """
    own = CHANNELS.get(str(ds.attrs.get("instrument")))
    if spectrum is None or own is None:
        return None
    return spectrum[own] if spectrum[own].size == ds.sizes.get("wavelength") else None


def load_truth(root: Folder) -> dict[tuple[str, int, str], float]:
    """White depth per (planet, visit, instrument) of a simulated dataset's truth.json."""
    content = _read_truth(root)
    return {
        (str(planet["planet_id"]), int(visit["visit"]), instrument): float(part["white_depth"])
        for planet in content["planets"]
        for visit in planet["visits"]
        for instrument, part in visit["instruments"].items()
    }


#: a depth of fewer standard errors is no measurement of a transit
MEASURED = 3.0
#: an upper limit above this (ppm) says nothing about a planet
HIGHEST_LIMIT = 100_000.0


def is_measured(depth: float, sigma: float) -> bool:
    """Whether a depth stands out of its standard error: at least MEASURED of them above 0. Any one unit.

    >>> is_measured(12000.0, 80.0), is_measured(359417.0, 1252000.0), is_measured(math.nan, math.nan)
    (True, False, False)
    """
    return math.isfinite(depth) and math.isfinite(sigma) and depth >= MEASURED * sigma


def said_depth(depth: float, sigma: float, unit: str = "") -> str:
    """A white depth [ppm] in words: with its error where a transit was measured, else an upper limit of MEASURED errors where it says
    something.

    >>> said_depth(12000.4, 80.2), said_depth(20.0, 40.0, " ppm")
    ('12000 ± 80', 'no transit measured (below 140 ppm)')
    >>> said_depth(359417.0, 1252000.0), said_depth(math.nan, math.nan)
    ('no transit measured', 'no transit found')
    """
    if not math.isfinite(depth):
        return "no transit found"
    if is_measured(depth, sigma):
        return f"{depth:.0f} ± {sigma:.0f}{unit}"
    limit = max(depth, 0.0) + MEASURED * sigma
    return f"no transit measured (below {limit:.0f}{unit})" if limit < HIGHEST_LIMIT else "no transit measured"


def row(ds: xr.Dataset, seconds: float, truth: float | None) -> dict[str, Any]:
    """Numbers of one product, depths in ppm.

    >>> attrs = {"planet_id": "7", "visit": 0, "instrument": "FGS1"}
    >>> ds = xr.Dataset({"white_depth": 0.0101, "white_depth_sigma": 5e-5}, attrs=attrs)
    >>> numbers = row(ds, seconds=1.5, truth=0.01)
    >>> round(numbers["depth_ppm"], 6), round(numbers["pull"], 6)
    (10100.0, 2.0)
    """
    qc = load_json(ds.attrs.get("qc", "{}"))
    depth = float(ds["white_depth"]) if "white_depth" in ds else np.nan
    sigma = float(ds["white_depth_sigma"]) if "white_depth_sigma" in ds else np.nan
    out: dict[str, Any] = {
        "planet_id": ds.attrs["planet_id"],
        "visit": int(ds.attrs["visit"]),
        "instrument": ds.attrs["instrument"],
        "depth_ppm": 1e6 * depth,
        "sigma_ppm": 1e6 * sigma,
        "noise_over_limit": qc.get("noise_over_limit", np.nan),
        "seconds": seconds,
    }
    if truth is not None:
        out |= {"truth_ppm": 1e6 * truth, "pull": (depth - truth) / sigma}
    return out
