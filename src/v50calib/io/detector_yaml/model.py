"""What a `detector.yaml` may say of detectors and their visits: the models that validate it.

Paths are relative to the file's folder and may name an array of a file (`frames.nc::counts`). Every map is a path or the word
`none`, so that nothing is left out by accident; docs/other-detectors.md lists the keys with an example.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from v50calib.errors import DataError
from v50calib.io.keys import Split, VisitKey, normalise_planet_id
from v50calib.schema import RAW_VISIT

_Axis = Literal["time", "integration", "group", "channel", "y", "x"]
#: how the stored reads become pairs: they are some; the last minus the first read of each ramp; single frames minus the bias
Reads = Literal["pairs", "first_and_last", "single"]
#: what a raw visit holds besides telemetry
_TAKEN = {*RAW_VISIT, "wavelength", "channel", "y", "x", "order"}
_Star = Literal["Rs", "Ms", "Ts", "Mp", "e", "P", "sma", "i"]


def _as_number(value: Any) -> Any:
    """YAML reads 1e-3 as text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Number = Annotated[float, BeforeValidator(_as_number), Field(allow_inf_nan=False)]
Positive = Annotated[float, BeforeValidator(_as_number), Field(gt=0, allow_inf_nan=False)]
#: a path, a number for every pixel, or none
MapOrNumber = Annotated[float | str | None, BeforeValidator(_as_number)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Adc(_Model):
    """e- = ADU / gain_adu_per_e + offset_e = (ADU - bias_adu) * conversion_gain_e_per_adu."""

    conversion_gain_e_per_adu: Positive | None = None
    gain_adu_per_e: Positive | None = None
    offset_e: Number | None = None
    bias_adu: Number | None = None
    bit_depth: int = Field(default=16, ge=1, le=16)

    @model_validator(mode="after")
    def _one_of_each(self) -> Adc:
        if (self.conversion_gain_e_per_adu is None) == (self.gain_adu_per_e is None):
            raise ValueError("give one of conversion_gain_e_per_adu [e-/ADU] and gain_adu_per_e [ADU/e-]")
        if self.offset_e is not None and self.bias_adu is not None:
            raise ValueError("offset_e [e-] and bias_adu [ADU] say the same thing: give one")
        return self

    @property
    def gain(self) -> float:
        """ADU per electron."""
        return self.gain_adu_per_e if self.gain_adu_per_e is not None else 1.0 / float(self.conversion_gain_e_per_adu or 1.0)

    @property
    def offset(self) -> float:
        """Electrons at code 0."""
        return -self.bias_adu / self.gain if self.bias_adu is not None else self.offset_e or 0.0


class Maps(_Model):
    """Calibration maps (y, x) or (channel, y, x); linear_corr (order, y, x) or (order, channel, y, x), ascending powers of e-."""

    dark: MapOrNumber = None
    dark_units: Literal["e_per_s", "adu_per_s"] = "e_per_s"
    flat: MapOrNumber = None
    dead: str | None = None
    read_noise: MapOrNumber = None
    linear_corr: str | None = None


MAP_KEYS = ("dark", "flat", "dead", "read_noise", "linear_corr")


class Optics(_Model):
    """What may differ between the channels of an instrument."""

    wavelength_um: Annotated[float | list[float] | str | None, BeforeValidator(_as_number)] = None
    science_columns: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    adc: Adc | None = None


class Channel(Optics):
    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")


class Detector(Optics):
    """One instrument: its detector, or several of one shape read together (`channels`)."""

    shape: Annotated[list[int], Field(min_length=2, max_length=2)]
    dims: list[_Axis] | None = None
    reads: Reads = "pairs"
    reads_per_ramp: int | None = Field(default=None, ge=2)
    channels: list[Channel] = []
    exposure_s: Annotated[list[Number], Field(min_length=2, max_length=2)] | str | None = None
    cadence_s: Positive | None = None
    maps: Maps = Maps()

    @model_validator(mode="after")
    def _sensible(self) -> Detector:
        if min(self.shape) < 1:
            raise ValueError(f"shape {self.shape}: rows and columns of the detector, both at least 1")
        names = [c.name for c in self.channels]
        if len(set(names)) < len(names):
            raise ValueError(f"channels {names}: a name comes twice")
        if self.reads_per_ramp is not None and self.reads != "first_and_last":
            raise ValueError(f"reads_per_ramp {self.reads_per_ramp} goes with reads: first_and_last; reads is {self.reads}")
        return self


class Visit(_Model):
    planet_id: str | int | float
    visit: int = Field(default=0, ge=0)
    instrument: str | None = None
    split: Split = "train"
    frames: str
    time_h: str | None = None
    time_s: str | None = None
    exposure_s: Annotated[list[Number], Field(min_length=2, max_length=2)] | str | None = None
    maps: Maps = Maps()
    star: dict[_Star, Number] = {}
    telemetry: dict[Annotated[str, Field(pattern=r"^[A-Za-z]\w*$")], str] = {}

    @model_validator(mode="after")
    def _own_names(self) -> Visit:
        # it would stand in for the clock, or a map, of that name
        if taken := _TAKEN & set(self.telemetry):
            raise ValueError(f"telemetry cannot be called {sorted(taken)}: a raw visit has these of its own; give other names")
        return self


class Validation(_Model):
    """True: the whole root is checked before any frame is read; False: each visit when it is opened."""

    require_existing_paths: bool = True
    check_shape_compatibility: bool = True


class Description(_Model):
    """The file: instruments by name, visits, when to check what they name."""

    instruments: Annotated[dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")], Detector], Field(min_length=1)]
    visits: Annotated[list[Visit], Field(min_length=1)]
    validation: Validation = Validation()

    @model_validator(mode="after")
    def _consistent(self) -> Description:
        if reserved := {"all", "AIRS"} & set(self.instruments):
            raise ValueError(
                f"an instrument cannot be called {sorted(reserved)}: the word has a meaning in calib.photometry.instrument.name"
            )
        seen: set[tuple[str, int, str]] = set()
        for i, visit in enumerate(self.visits):
            name = self.instrument_name(visit)
            if name not in self.instruments:
                near = difflib.get_close_matches(name, self.instruments, n=1, cutoff=0.0)
                raise ValueError(f"visits[{i}].instrument is '{name}', nearest of the instruments is {near}")
            key = (_planet(visit, i), visit.visit, name)
            if key in seen:
                raise ValueError(f"visits[{i}]: planet {key[0]} visit {key[1]} of {name} is listed twice")
            seen.add(key)
            self._complete(visit, i, self.instruments[name])
        return self

    def _complete(self, visit: Visit, i: int, detector: Detector) -> None:
        """Every fact is given somewhere: at the visit, the channel or the instrument."""
        where, name = f"visits[{i}]", self.instrument_name(visit)
        given = detector.maps.model_fields_set | visit.maps.model_fields_set
        if missing := [k for k in MAP_KEYS if k not in given]:
            raise ValueError(f"{where}: maps {missing} of {name} are not given: a path, or the word none where there is no such map")
        if self.maps_of(visit)["read_noise"] in (None, "none"):
            raise ValueError(
                f"instruments.{name}.maps.read_noise is none, but every variance and weight needs it: give a map or one number "
                "(e- rms of one read)"
            )
        if visit.exposure_s is None and detector.exposure_s is None:
            raise ValueError(f"{where}: exposure_s of {name} is not given: time since reset [s] of the two reads, [0.1, 4.6], or an array")
        clocks = [visit.time_h is not None, visit.time_s is not None]
        if sum(clocks) > 1 or (not any(clocks) and detector.cadence_s is None):
            raise ValueError(
                f"{where}: give one of time_h, time_s (arrays, one stamp a frame), or cadence_s of {name} [s from ramp to ramp]"
            )
        several: list[Optics] = [*detector.channels]
        for optics in several or [detector]:
            part = f"{name}.{optics.name}" if isinstance(optics, Channel) else name
            if optics.wavelength_um is None and detector.wavelength_um is None:
                raise ValueError(
                    f"instruments.{part}.wavelength_um is not given: µm, one number for a band, an array along x for a spectrum"
                )
            if optics.adc is None and detector.adc is None:
                raise ValueError(
                    f"instruments.{part}.adc is not given: conversion_gain_e_per_adu or gain_adu_per_e turns codes into electrons"
                )

    def instrument_name(self, visit: Visit) -> str:
        """The visit's instrument; may be left out where there is one."""
        return visit.instrument if visit.instrument is not None else next(iter(self.instruments))

    def maps_of(self, visit: Visit) -> dict[str, Any]:
        """Maps of a visit: the instrument's, its own where it gives them."""
        detector = self.instruments[self.instrument_name(visit)]
        return detector.maps.model_dump() | visit.maps.model_dump(exclude_unset=True)

    def entries(self) -> list[tuple[VisitKey, Visit]]:
        """Every visit with its key; a visit of several channels has one key a channel, instrument `NAME.CHANNEL`."""
        found = []
        for visit in self.visits:
            name = self.instrument_name(visit)
            parts = [f"{name}.{c.name}" for c in self.instruments[name].channels] or [name]
            found += [(VisitKey(normalise_planet_id(visit.planet_id), visit.visit, part, visit.split), visit) for part in parts]
        return found

    def paths_of(self, visit: Visit) -> list[str]:
        """Every path that a visit needs."""
        detector = self.instruments[self.instrument_name(visit)]
        exposure = visit.exposure_s if visit.exposure_s is not None else detector.exposure_s
        texts: list[Any] = [visit.frames, visit.time_h, visit.time_s, exposure, *visit.telemetry.values()]
        texts += [self.maps_of(visit)[k] for k in MAP_KEYS]
        texts += [o.wavelength_um for o in (detector, *detector.channels)]
        return [t for t in texts if isinstance(t, str) and t != "none"]


def _planet(visit: Visit, i: int) -> str:
    try:
        return normalise_planet_id(visit.planet_id)
    except DataError as error:
        raise ValueError(f"visits[{i}].{error}") from error
