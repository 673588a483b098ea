"""A visit's calibration products (dark, dead, flat, read noise, linearity, ADC constants) and their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from v50calib.dq import DQ
from v50calib.errors import DataError

#: the maps, in the order in which they are stored and hashed
MAP_NAMES: tuple[str, ...] = ("dark", "dead", "flat", "read", "linear_corr")
#: attribute of a raw visit: names of the maps that are not given, separated by blanks
ABSENT_ATTR = "absent_maps"
#: flag of every pixel where a map is absent and a benign value stands in: dark 0, flat 1, linearity the identity
ABSENT_DQ = {"dark": DQ.UNRELIABLE_DARK, "flat": DQ.NO_FLAT_FIELD, "linear_corr": DQ.NO_LIN_CORR}


@dataclass(frozen=True)
class Reference:
    """Calibration products of one visit and instrument, all in memory (about 1 MB).

    dark [ny, nx]            dark current, e-/s
    dead [ny, nx]            bool, dead pixels
    flat [ny, nx]            flat field, about 1
    read [ny, nx]            rms noise of one read, e-
    linear_corr [6, ny, nx]  linearity coefficients, ascending powers of e-
    adc_offset, adc_gain     e- = ADU / gain + offset
    hashes                   sha256 of each map (values, shape and dtype); 'none' of an absent one
    absent                   maps that the visit does not have (benign values stand in, see ABSENT_DQ)
    """

    dark: NDArray[np.float64]
    dead: NDArray[np.bool_]
    flat: NDArray[np.float64]
    read: NDArray[np.float64]
    linear_corr: NDArray[np.float64]
    adc_offset: float
    adc_gain: float
    hashes: dict[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Detector rows and columns."""
        return self.dark.shape[0], self.dark.shape[1]

    @property
    def absent_dq(self) -> int:
        """Flags that every pixel has because of absent maps."""
        return int(sum(ABSENT_DQ[name] for name in self.absent))

    def maps(self) -> dict[str, NDArray[np.generic]]:
        """The five maps by name."""
        return {name: getattr(self, name) for name in MAP_NAMES}


def hash_array(values: NDArray[np.generic]) -> str:
    """sha256 of an array's dtype, shape and values in C order; independent of the machine's byte order.

    >>> hash_array(np.arange(3)) == hash_array(np.arange(3)[::-1][::-1]), hash_array(np.arange(3)) == hash_array(np.arange(3.0))
    (True, False)
    """
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{little.dtype.str}{little.shape}".encode())
    digest.update(little.tobytes())
    return digest.hexdigest()


def hash_text(text: str) -> str:
    """sha256 of a text.

    >>> hash_text("")[:12]
    'e3b0c44298fc'
    """
    return hashlib.sha256(text.encode()).hexdigest()


def make_reference(maps: Mapping[str, NDArray[np.generic]], adc_offset: float, adc_gain: float, absent: Collection[str] = ()) -> Reference:
    """Build a Reference from its five maps, computing the hashes; `absent` names those that hold benign values only.

    Raises DataError where a map is missing, or all pixels are dead.

    >>> one = np.ones((2, 3))
    >>> maps = {"dark": one, "dead": 0 * one, "flat": one, "read": one, "linear_corr": np.zeros((6, 2, 3))}
    >>> reference = make_reference(maps, adc_offset=-1000.0, adc_gain=0.437, absent=["dark"])
    >>> reference.shape, reference.hashes["dark"], DQ(reference.absent_dq)
    ((2, 3), 'none', <DQ.UNRELIABLE_DARK: 8388608>)
    """
    missing = [name for name in MAP_NAMES if name not in maps]
    if missing:
        raise DataError(f"calibration maps {missing} are missing; found {sorted(maps)}: add them before calibrating")
    floats = {n: np.ascontiguousarray(maps[n], dtype=np.float64) for n in MAP_NAMES if n != "dead"}
    dead = np.ascontiguousarray(maps["dead"], dtype=np.bool_)
    if dead.size and dead.all():
        raise DataError(
            f"all {dead.size} pixels are dead by the map 'dead': it is damaged, or true means good in it; it is true (1) for dead pixels"
        )
    hashes = {name: hash_array(dead if name == "dead" else floats[name]) for name in MAP_NAMES}
    names = tuple(n for n in MAP_NAMES if n in absent)
    hashes |= dict.fromkeys(names, "none")
    return Reference(**floats, dead=dead, adc_offset=float(adc_offset), adc_gain=float(adc_gain), hashes=hashes, absent=names)


def reference_from_dataset(ds: xr.Dataset) -> Reference:
    """Take the calibration products out of a raw visit (see `schema.RAW_VISIT`).

    The hashes are computed from the maps as they are now, so a map that a user has edited is seen.
    Raises DataError where a map or an ADC constant is missing.

    >>> reference_from_dataset(xr.Dataset(attrs={"adc_offset": -1000.0, "adc_gain": 0.437}))
    Traceback (most recent call last):
    v50calib.errors.DataError: calibration maps ['dark', 'dead', 'flat', 'read', 'linear_corr'] are missing; ...
    """
    absent = [a for a in ("adc_offset", "adc_gain") if a not in ds.attrs]
    if absent:
        raise DataError(f"the visit has no attributes {absent}, found {sorted(ds.attrs)}: set them as open_visit does")
    maps = {name: ds[name].to_numpy() for name in MAP_NAMES if name in ds.variables}
    return make_reference(maps, ds.attrs["adc_offset"], ds.attrs["adc_gain"], str(ds.attrs.get(ABSENT_ATTR, "")).split())
