"""A visit of one instrument as the fit of its planet needs it, read from its product."""

from __future__ import annotations

from typing import Any

import numpy as np

from v50calib.engine.depths import FitInput
from v50calib.engine.planet import Observation
from v50calib.engine.visit import star_of
from v50calib.io.storage.location import Location
from v50calib.runs.product import product_arrays, product_attrs
from v50calib.stages.series.curves import Ephemeris

#: variables of a visit's product that the fit needs
INPUTS = ("fit_time", "fit_flux", "fit_sigma", "fit_design", "fit_darkening", "fit_ridge", "wavelength")
#: not in products of older versions
SHIFT_NOISE = "fit_shift_noise"
#: attribute of a planet's fit: {instrument: how far u1, its slope along the band and u2 are from the prior's}
DARKENING = "limb_darkening"


def observation(path: Location) -> Observation | None:
    """A visit of one instrument as the planet's fit needs it; None where its product was made without."""
    attrs = product_attrs(path)
    found = product_arrays(path, (*INPUTS, SHIFT_NOISE))
    if not set(INPUTS) <= set(found) or "fit_width_h" not in attrs:
        return None
    time, flux, sigma, design, darkening, ridge, wavelength = (np.asarray(found[name], np.float64) for name in INPUTS)
    given = FitInput(
        time, flux, sigma, design, wavelength, darkening, float(attrs["fit_width_h"]),
        additive=bool(attrs["fit_additive"]), ridge=ridge, depth_var=attrs.get("fit_depth_var"),
        shift_noise=np.asarray(found[SHIFT_NOISE], np.float64) if SHIFT_NOISE in found else None, shift_term=attrs.get("fit_shift_term"),
    )  # fmt: skip
    ephemeris = Ephemeris(**{k.removeprefix("ephemeris_"): _number(v) for k, v in attrs.items() if k.startswith("ephemeris_")})
    return Observation(
        int(attrs["visit"]), str(attrs["instrument"]), given, ephemeris, star_of(attrs), float(attrs.get("first_stamp_h", 0.0))
    )


def _number(value: Any) -> Any:
    """A value of the attributes: numbers that JSON cannot say are stored as text, tuples as lists."""
    if isinstance(value, list):
        return tuple(value)
    return float(value) if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity") else value
