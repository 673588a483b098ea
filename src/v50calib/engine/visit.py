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


#: star parameters that need not be positive
MAY_BE_ZERO = ("e", "i")


def star_of(attrs: dict[Any, Any]) -> dict[str, float]:
    """Star parameters of a visit's attributes, without the prefix; what is no finite number is left out, and lengths, masses, periods and
    temperatures that are not positive."""
    known = {k: float(attrs[f"star_{k}"]) for k in STAR_PARAMETERS if f"star_{k}" in attrs}
    return {k: v for k, v in known.items() if math.isfinite(v) and (v > 0 or k in MAY_BE_ZERO)}


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
        notes=notes_of(ds.attrs),
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
