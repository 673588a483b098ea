"""A visit as the engine sees it: arrays and numbers, no files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float
from v50calib.reference import Reference, reference_from_dataset
from v50calib.schema import NOTES_ATTR, NOTES_BETWEEN, STAR_PARAMETERS, Instrument, instrument_of


@dataclass
class VisitInput:
    """A visit as the engine sees it: arrays and numbers, no files.

    telemetry   other numbers on the time axis; notes, qc: what reading it has found already
    in_pairs    the frames are in the order of their pairs (`stages.cds.pairing`)
    """

    instrument: Instrument
    reference: Reference
    exposure_s: Float
    time_h: Float
    wavelength_um: Float
    attrs: dict[str, Any] = field(default_factory=dict)
    telemetry: dict[str, NDArray[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    qc: dict[str, dict[str, Any]] = field(default_factory=dict)
    in_pairs: bool = False


#: what a star and a planet can have, in the units of `schema.STAR_PARAMETERS`; sma is a/R*, i in degrees
STAR_LIMITS: dict[str, tuple[float, float]] = {
    "Rs": (1e-3, 1e4), "Ms": (1e-3, 1e3), "Ts": (100.0, 1e6), "Mp": (1e-9, 1e6), "e": (0.0, 0.999), "P": (1e-3, 1e7), "sma": (1.0, 1e6),
    "i": (0.0, 180.0),
}  # fmt: skip


def star_of(attrs: dict[Any, Any]) -> dict[str, float]:
    """Star parameters of a visit's attributes, without the prefix; what no star or orbit has is left out (`star_notes` tells it).

    >>> star_of({"star_P": 3.0, "star_sma": 0.4, "star_e": 0.0, "star_i": 92.0, "star_Ts": 1e300})
    {'e': 0.0, 'P': 3.0, 'i': 88.0}
    """
    known = {k: float(attrs[f"star_{k}"]) for k in STAR_PARAMETERS if f"star_{k}" in attrs}
    kept = {k: v for k, v in known.items() if STAR_LIMITS[k][0] <= v <= STAR_LIMITS[k][1]}
    # an orbit seen from its other side
    return kept | ({"i": 180.0 - kept["i"]} if kept.get("i", 0.0) > 90.0 else {})


def star_notes(attrs: dict[Any, Any]) -> list[str]:
    """What is said of star parameters that are not taken as they are.

    >>> star_notes({"star_P": 0.0, "star_i": 92.0})
    ["star: P=0 is left out: it lies within 0.001 to 1e+07; correct the star's table", 'star: i=92 is taken as 88: the same transit']
    """
    kept, notes = star_of(attrs), []
    for name in STAR_PARAMETERS:
        value = float(attrs.get(f"star_{name}", math.nan))
        if not math.isnan(value) and name not in kept:
            low, high = STAR_LIMITS[name]
            notes.append(f"star: {name}={value:g} is left out: it lies within {low:g} to {high:g}; correct the star's table")
        elif name in kept and kept[name] != value:
            notes.append(f"star: {name}={value:g} is taken as {kept[name]:g}: the same transit")
    return notes


def visit_input(ds: xr.Dataset) -> VisitInput:
    """The maps and coordinates of a raw visit as arrays; frames stay where they are."""
    return VisitInput(
        instrument=instrument_of(ds.attrs),
        reference=reference_from_dataset(ds),
        exposure_s=np.asarray(ds["exposure"], dtype=np.float64),
        time_h=np.asarray(ds["time"], dtype=np.float64),
        wavelength_um=np.atleast_1d(np.asarray(ds["wavelength"], dtype=np.float64)),
        attrs=dict(ds.attrs),
        telemetry=telemetry_of(ds),
        notes=[*star_notes(ds.attrs), *notes_of(ds.attrs)],
    )


def notes_of(attrs: Mapping[Any, Any]) -> list[str]:
    """What reading a visit has noted, from its attributes.

    >>> notes_of({"input_notes": "one; also two"}), notes_of({})
    (['one', 'two'], [])
    """
    text = str(attrs.get(NOTES_ATTR, ""))
    return text.split(NOTES_BETWEEN) if text else []


def telemetry_of(ds: xr.Dataset) -> dict[str, NDArray[Any]]:
    """Numbers and flags on a visit's time axis beside its stamps and exposures."""
    other = [n for n in ds.variables if ds[n].dims == ("time",) and n not in ("time", "exposure") and ds[n].dtype.kind in "biuf"]
    return {str(n): np.asarray(ds[n]) for n in other}
