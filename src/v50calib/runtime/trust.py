"""What distrust does to the spectra of planets: bad visits are left out where others serve, else errors are widened."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from v50calib.engine.planet import Observation
from v50calib.kernels.arrays import Mask
from v50calib.qc.distrust import Verdict, judge
from v50calib.qc.planet_fit import Spectrum, white
from v50calib.qc.widening import Widening, harmful, of_planet, of_visit, ruinous

#: variables of depths that have errors
SIGMA, SHARED = "transit_depth_sigma", "transit_depth_shared"


def verdict_of(attrs: Mapping[str, Any], *, found: bool) -> Verdict:
    """The verdict on a visit, from the attributes of its product."""
    return judge(json.loads(attrs.get("qc", "{}")), transit_found=found)


def without_bad(
    observations: Sequence[Observation], verdicts: Mapping[tuple[int, str], Verdict]
) -> tuple[list[Observation], dict[str, list[str]]]:  # fmt: skip
    """Observations for the planet's fit, and those left out (visit/instrument) with the reasons for it.

    One is left out where its reasons are harmful and another visit of its instrument found a transit and has none that are; also where
    they are ruinous and any other visit or instrument of the planet found a transit and has none that are: all share the orbit.
    """
    ruined = {key: ruinous(one) for key, one in verdicts.items()}
    bad = {key: list(dict.fromkeys([*ruined[key], *harmful(one)])) for key, one in verdicts.items()}
    good = {o.instrument for o in observations if o.found and not bad.get(_key(o))}
    sound = any(o.found and not ruined.get(_key(o)) for o in observations)
    kept: list[Observation] = []
    left: dict[str, list[str]] = {}
    for o in observations:
        why = bad.get(_key(o), []) if o.instrument in good else ruined.get(_key(o), []) if sound else []
        if why:
            left[f"{o.visit}/{o.instrument}"] = why
        else:
            kept.append(o)
    return kept, left


def _key(o: Observation) -> tuple[int, str]:
    return o.visit, o.instrument


def left_out_notes(left: Mapping[str, Sequence[str]]) -> list[str]:
    """For the user, of what `without_bad` left out.

    >>> left_out_notes({"1/FGS1": ["red_noise 3 > 2"]})
    ['visit 1, FGS1: left out of the fit (red_noise 3 > 2): the planet has others that are trusted']
    """
    return [
        f"visit {label.replace('/', ', ')}: left out of the fit ({'; '.join(why)}): the planet has others that are trusted"
        for label, why in left.items()
    ]


def planet_widenings(record: Mapping[str, Any], instruments: Sequence[str]) -> dict[str, Widening]:
    """The widening of each instrument in a planet's fit that has one above 1."""
    every = {name: of_planet(record, name) for name in instruments}
    return {name: one for name, one in every.items() if one.why}


def widened_fit(fit: xr.Dataset, widenings: Mapping[str, Widening]) -> xr.Dataset:
    """A planet's fit (spectra.zarr) with wider errors of some instruments."""
    names = list(fit.attrs["instruments"])
    for name, one in widenings.items():
        fit = widened(fit, one, np.asarray(fit["instrument"]) == names.index(name))
    return fit


def widened_visit(ds: xr.Dataset) -> tuple[xr.Dataset, str]:
    """A visit's own depths with errors widened by its own reasons, and a note; as it is, and "", where there is nothing to widen."""
    if SIGMA not in ds:
        return ds, ""
    one = of_visit(verdict_of(ds.attrs, found=bool(np.isfinite(np.asarray(ds["transit_depth"])).any())))
    if not one.why:
        return ds, ""
    return widened(ds, one, np.ones(ds.sizes["wavelength"], bool)), f"visit {ds.attrs['visit']}, {ds.attrs['instrument']}: {one.text}"


def widened(ds: xr.Dataset, one: Widening, own: Mask) -> xr.Dataset:
    """Depths with wider errors of the channels `own` (channel,).

    Their covariance C becomes shape² C + (level² - shape²) s² 1 1ᵀ, s the error of their mean: the error of the mean is `level` times
    as large, that of one channel against another `shape` times. depth itself stays.

    >>> ds = xr.Dataset({"transit_depth": ("wavelength", [0.01, 0.01]), SIGMA: ("wavelength", [2e-4, 2e-4])})
    >>> wider = widened(ds, Widening(2.0, 1.0), np.ones(2, bool))
    >>> wider[SIGMA].values.round(7), wider[SHARED].values.round(7).tolist()  # √(2² + (2² - 1) 2²/2) 1e-4
    (array([0.0003162, 0.0003162]), [[0.0002449], [0.0002449]])
    """
    depth, sigma = (np.asarray(ds[name], np.float64) for name in ("transit_depth", SIGMA))
    dims = ds[SHARED].dims if SHARED in ds else ("wavelength", "shared")
    shared = np.asarray(ds[SHARED], np.float64) if SHARED in ds else np.zeros((sigma.size, 0))
    _, mean_sigma = white(Spectrum(depth[own], sigma[own], shared[own]))
    if not np.isfinite(mean_sigma):
        return ds
    level = max(one.level, one.shape)
    column = np.where(own, mean_sigma * np.sqrt(level**2 - one.shape**2), 0.0)
    scale = np.where(own, one.shape, 1.0)
    # a column of zeros says nothing: one channel alone has a level only
    columns = [scale[:, None] * shared] + ([column[:, None]] if column.any() else [])
    sigma_wide = np.hypot(scale * sigma, np.where(np.isfinite(sigma), column, np.nan))
    return ds.drop_vars(SHARED, errors="ignore").assign(
        {SIGMA: (ds[SIGMA].dims, sigma_wide, ds[SIGMA].attrs), SHARED: (dims, np.concatenate(columns, axis=1))}
    )
