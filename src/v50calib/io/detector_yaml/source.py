"""A visit of a `detector.yaml` as a `VisitSource`: maps, axes and facts read and checked, frames left where they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.array_files.series import Series
from v50calib.errors import DataError
from v50calib.io.clock import check_clock, times_in
from v50calib.io.detector_yaml.frames import ArrayFrames, Readout, check_bias, open_frames
from v50calib.io.detector_yaml.load import array_file, check_paths, load_description
from v50calib.io.detector_yaml.model import MAP_KEYS, Adc, Channel, Description, Detector, Visit
from v50calib.io.keys import VisitKey
from v50calib.io.pieces import pair_axis
from v50calib.io.source import VisitSource, with_visit_hash
from v50calib.kernels.arrays import Float
from v50calib.reference import make_reference
from v50calib.schema import DETECTOR_ATTR, LINEARITY_TERMS, Instrument, describe


@dataclass(frozen=True)
class Part:
    """One detector of a description: the instrument, and the channel (index, its own facts) where it has several."""

    root: Path
    name: str
    detector: Detector
    channel: tuple[int, Channel] | None

    @property
    def shape(self) -> tuple[int, int]:
        return self.detector.shape[0], self.detector.shape[1]

    @property
    def channel_index(self) -> tuple[int, int] | None:
        """(index, count) of the channel; None where the instrument has no channels."""
        return (self.channel[0], len(self.detector.channels)) if self.channel is not None else None

    def _own(self, key: str) -> Any:
        own = getattr(self.channel[1], key) if self.channel is not None else None
        return own if own is not None else getattr(self.detector, key)

    @property
    def adc(self) -> Adc:
        adc = self._own("adc")
        assert isinstance(adc, Adc)
        return adc

    @property
    def readout(self) -> Readout:
        """How stored reads become pairs. Raises DataError where single frames have no bias."""
        single = self.detector.reads == "single"
        bias = check_bias(-self.adc.offset * self.adc.gain, self.name) if single else 0.0
        return Readout(self.detector.reads, self.detector.reads_per_ramp, bias)

    def wavelength(self) -> Float | float:
        """µm: along x of a spectrum, one number of a band. Raises DataError: shape, not finite, not monotonic."""
        given = self._own("wavelength_um")
        if isinstance(given, float | int):
            return float(given)
        shape = (len(given),) if isinstance(given, list) else array_file(self.root, given).header().shape
        if shape != (self.shape[1],):
            raise DataError(f"{self.name}: wavelength_um has the shape {shape}, expected one value for each of {self.shape[1]} columns")
        values = np.asarray(given if isinstance(given, list) else array_file(self.root, given).values(), np.float64)
        step = np.diff(values)
        if not ((step > 0).all() or (step < 0).all()):
            raise DataError(f"{self.name}: wavelength_um neither rises nor falls all along x: give µm of each column, in order")
        return values

    def instrument(self, read_times: tuple[float, float]) -> Instrument:
        """The facts as the stages take them. Raises DataError where the science columns are not on the detector."""
        given = self._own("wavelength_um")
        band = float(given) if isinstance(given, float | int) else None
        columns = self._own("science_columns") or [0, self.shape[1]]
        if not 0 <= columns[0] < columns[1] <= self.shape[1]:
            raise DataError(f"{self.name}: science_columns {columns} are not 0 <= first < end <= {self.shape[1]}, the detector's columns")
        science = None if band is not None else slice(columns[0], columns[1])
        return Instrument(self.name, self.shape, science, read_times, band, band is None, self.adc.bit_depth)


def _find(description: Description, root: Path, key: VisitKey) -> tuple[Part, Visit]:
    for known, visit in description.entries():
        if known == key:
            name = description.instrument_name(visit)
            detector = description.instruments[name]
            label = key.instrument.removeprefix(f"{name}.")
            channel = next(((i, c) for i, c in enumerate(detector.channels) if c.name == label), None)
            return Part(root, key.instrument, detector, channel), visit
    raise DataError(f"{root}/detector.yaml lists no visit {key}: add it, or ask for one that is there")


def instrument_of_visit(root: Path, key: VisitKey) -> Instrument:
    """The facts of a visit's instrument. Raises DataError."""
    part, visit = _find(load_description(root), root, key)
    # of the first two reads, where they are a pair: no file of frames is opened for that
    exposure = _exposure(part, visit, None if part.detector.reads == "pairs" else frames_of(part, visit))
    return part.instrument((float(exposure[0]), float(exposure[1])))


def open_listed_visit(root: Path, key: VisitKey) -> VisitSource:
    """Open one visit: shapes, types and lengths are checked, no frame is decoded. Raises DataError."""
    description = load_description(root)
    part, visit = _find(description, root, key)
    frames = frames_of(part, visit)
    gain, offset = part.adc.gain, part.adc.offset
    maps, absent = _maps(part, description.maps_of(visit), gain)
    if frames.per_ramp == 1:
        # the variance of a pair is that of two reads, and the bias has no noise
        maps["read"] = maps["read"] / np.sqrt(2.0)
    exposure = _exposure(part, visit, frames)
    time_h = _time(part, visit, exposure, frames)
    telemetry = {n: _series(part, t, f"telemetry.{n}", frames) for n, t in visit.telemetry.items()}
    wavelength = part.wavelength()
    attrs: dict[str, Any] = {
        "planet_id": key.planet_id,
        "visit": key.visit,
        "instrument": key.instrument,
        "split": key.split,
        "adc_offset": offset,
        "adc_gain": gain,
        **{f"star_{name}": value for name, value in visit.star.items()},
        "layout": "detector.yaml",
        DETECTOR_ATTR: describe(part.instrument((float(exposure[0]), float(exposure[1])))),
    }
    if part.channel_index is not None:
        attrs["channel"] = part.channel_index[0]
    reference = make_reference(maps, offset, gain, absent)
    reference = with_visit_hash(reference, attrs, time_h, exposure, np.asarray(wavelength), *telemetry.values())
    return VisitSource(key, frames, reference, time_h, exposure, wavelength, attrs, telemetry)


def frames_of(part: Part, visit: Visit) -> ArrayFrames:
    """The visit's frames, checked by their header."""
    dims = tuple(part.detector.dims) if part.detector.dims is not None else None
    return open_frames(array_file(part.root, visit.frames), part.shape, dims, part.channel_index, part.readout)


def check_root(root: Path) -> list[VisitKey]:
    """The keys of a root, after the checks that its `validation` asks for up front. Raises DataError."""
    description = load_description(root)
    if description.validation.require_existing_paths:
        check_paths(root, description)
    if description.validation.check_shape_compatibility:
        seen: set[tuple[str, str, str]] = set()
        for key, visit in description.entries():
            _check_shapes(root, _find(description, root, key)[0], visit, description.maps_of(visit), seen)
    return sorted(key for key, _ in description.entries())


def _check_shapes(root: Path, part: Part, visit: Visit, maps: dict[str, Any], seen: set[tuple[str, str, str]]) -> None:
    """Headers of a visit's frames and maps against its detector; a map that several visits share is checked once."""
    if _is_there(root, visit.frames):
        frames_of(part, visit)
    for name in MAP_KEYS:
        given = maps[name]
        if isinstance(given, str) and given != "none" and (part.name, name, given) not in seen and _is_there(root, given):
            _check_map(part, name, given)
            seen.add((part.name, name, given))


def _is_there(root: Path, text: str) -> bool:
    """False for a path that does not exist: with require_existing_paths: false its visit fails when it is opened."""
    try:
        file = array_file(root, text)
        return bool(file.files()) if isinstance(file, Series) else file.path.exists()
    except DataError:
        return False


def _check_map(part: Part, name: str, text: str) -> None:
    """A map's header against the detector: (y, x), (channel, y, x), with the order in front for linear_corr."""
    file = array_file(part.root, text)
    header, shape = file.header(), part.shape
    allowed: list[tuple[int, ...]] = [shape] + ([(len(part.detector.channels), *shape)] if part.channel is not None else [])
    terms, rest = (header.shape[0], header.shape[1:]) if name == "linear_corr" and header.shape else (1, header.shape)
    if rest not in allowed or terms > LINEARITY_TERMS:
        front = f"2 to {LINEARITY_TERMS} coefficients in front of " if name == "linear_corr" else ""
        raise DataError(
            f"map {name} of {part.name} ({file}) has the shape {header.shape}, expected {front}{' or '.join(map(str, allowed))} (y, x): "
            "it is of another detector or transposed"
        )
    if header.dtype.kind not in "biuf":
        raise DataError(f"map {name} of {part.name} ({file}) has values of type {header.dtype}, expected numbers")


def _maps(part: Part, given: dict[str, Any], gain: float) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """The five maps of `reference.MAP_NAMES`, and the names of those that the user does not have, with benign values."""
    ny, nx = part.shape
    identity = np.zeros((LINEARITY_TERMS, ny, nx))
    identity[1] = 1.0
    benign: dict[str, NDArray[Any]] = {
        "dark": np.zeros((ny, nx)), "dead": np.zeros((ny, nx), bool), "flat": np.ones((ny, nx)), "linear_corr": identity,
    }  # fmt: skip
    maps, absent = {}, []
    for name in MAP_KEYS:
        value, key = given[name], "read" if name == "read_noise" else name
        if value is None or value == "none":
            maps[key] = benign[key]
            absent.append(key)
        elif isinstance(value, str):
            maps[key] = _map(part, name, value)
        else:
            maps[key] = np.full((ny, nx), float(value))
    if given["dark_units"] == "adu_per_s":
        maps["dark"] = maps["dark"] / gain
    return maps, tuple(n for n in absent if n != "dead")


def _map(part: Part, name: str, text: str) -> NDArray[Any]:
    """One map's values (y, x) or (6, y, x) of this detector. Raises DataError: shape, type, nothing finite."""
    _check_map(part, name, text)
    values = array_file(part.root, text).values()
    if values.ndim - (name == "linear_corr") == 3:
        assert part.channel is not None
        values = np.take(values, part.channel[0], axis=-3)
    if name == "dead":
        return np.asarray(values != 0)
    values = values.astype(np.float64)
    if not np.isfinite(values).any():
        raise DataError(f"map {name} of {part.name} ({text}) has no finite value: write `{name}: none` where there is no such map")
    if name == "linear_corr" and len(values) < LINEARITY_TERMS:
        values = np.concatenate([values, np.zeros((LINEARITY_TERMS - len(values), *part.shape))])
    return values


def _series(part: Part, text: str, what: str, frames: ArrayFrames) -> Float:
    file = array_file(part.root, text)
    shape = file.header().shape
    if len(shape) != 1 or shape[0] not in _lengths(frames):
        raise DataError(f"{part.name}: {what} ({text}) has the shape {shape}, expected {_wanted(frames)}: one value a frame")
    values = np.asarray(file.values(), np.float64)
    return np.repeat(values, 2) if len(values) == frames.n_ramps else _of_frames(values, frames)


def _lengths(frames: ArrayFrames) -> tuple[int, ...]:
    """Lengths that an axis of a visit may have: one value a frame; of ramps and single frames one a stored read, or one a ramp."""
    if frames.per_ramp == 2:
        return (frames.n_frames,)
    return frames.n_frames, frames.n_ramps * frames.per_ramp, frames.n_ramps


def _wanted(frames: ArrayFrames | None) -> str:
    return " or ".join(f"({n},)" for n in dict.fromkeys(_lengths(frames))) if frames is not None else "one dimension"


def _of_frames(values: Float, frames: ArrayFrames) -> Float:
    """An axis with one value a stored read or a frame, as one with one value a frame."""
    return values if len(values) == frames.n_frames else pair_axis(values, frames.per_ramp)


def _times(part: Part, text: str, what: str, frames: ArrayFrames | None, assumed: str, wanted: str) -> Float:
    """Times in the unit `wanted`, one a frame, read or ramp, in the units that the file names, else in `assumed`."""
    file = array_file(part.root, text)
    values, units = file.values(), file.header().units
    if values.dtype.kind in "mM":
        units = None
    times = times_in(wanted, values, units, assumed, f"{part.name}: {what} ({text})")
    if times.ndim != 1 or (frames is not None and len(times) not in _lengths(frames)):
        raise DataError(f"{part.name}: {what} ({text}) has the shape {times.shape}, expected {_wanted(frames)}: one value a frame")
    return times


def _exposure(part: Part, visit: Visit, frames: ArrayFrames | None) -> Float:
    """Time since reset [s] of each of the frames; of the first two where `frames` is None. Of a single frame: 0 and its exposure time."""
    given = visit.exposure_s if visit.exposure_s is not None else part.detector.exposure_s
    if isinstance(given, str):
        values = _times(part, given, "exposure_s", frames, "s", "s")
        if len(values) < (2 if frames is None or frames.per_ramp > 1 else 1) or not np.isfinite(values).all():
            raise DataError(f"{part.name}: exposure_s ({given}) has values that are not finite, or fewer than 2")
        if frames is None:
            return values
        if len(values) == frames.n_ramps:
            if frames.per_ramp > 1:
                raise DataError(f"{part.name}: exposure_s ({given}) has one value a ramp: give the times of its first and last read")
            return np.stack([np.zeros(len(values)), values], axis=1).ravel()
        return _of_frames(values, frames)
    assert given is not None
    return np.tile(np.asarray(given, np.float64), 1 if frames is None else frames.n_ramps)


def _time(part: Part, visit: Visit, exposure: Float, frames: ArrayFrames) -> Float:
    """Time stamps [h]; from the cadence where the visit has none: ramp i starts at i·cadence_s. One stamp a ramp is its reset."""
    if visit.time_h is not None:
        stamps = _times(part, visit.time_h, "time_h", frames, "h", "h")
    elif visit.time_s is not None:
        stamps = _times(part, visit.time_s, "time_s", frames, "s", "h")
    else:
        assert part.detector.cadence_s is not None
        stamps = (np.repeat(np.arange(len(exposure) // 2), 2) * part.detector.cadence_s + exposure) / 3600.0
    if len(stamps) == frames.n_ramps:
        stamps = np.repeat(stamps, 2) + exposure / 3600.0
    stamps = _of_frames(stamps, frames)
    if not (np.isfinite(stamps).all() and (np.diff(stamps) > 0).all()):
        raise DataError(
            f"{part.name}: the time stamps do not rise from frame to frame: sort the frames in time, or check cadence_s and exposure_s"
        )
    check_clock(part.name, stamps, exposure)
    return stamps
