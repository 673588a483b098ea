"""A visit of ExoSim's output as a `VisitSource`: what the file holds, what its configuration says, and what neither does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.array_files import ArrayFile
from v50calib.errors import DataError
from v50calib.io.exosim import ndrs
from v50calib.io.exosim.files import Listed
from v50calib.io.exosim.settings import Settings, settings_beside
from v50calib.io.exosim.sidecar import FILE
from v50calib.io.pieces import units_of
from v50calib.io.source import VisitSource, with_visit_hash
from v50calib.kernels.arrays import Float
from v50calib.reference import make_reference
from v50calib.schema import DETECTOR_ATTR, INSTRUMENT, NOTES_ATTR, NOTES_BETWEEN, STAR_PARAMETERS, Instrument, describe
from v50calib.untrusted.hdf5 import open_hdf5, own_dataset

#: maps that ExoSim does not write into its output: keys of the configuration (switch, file, one number), and the file beside it
_OUTSIDE = {
    "dark": ("dark_current", "dc_map_filename", "dc_mean"),
    "read": ("read_noise", "read_noise_filename", "read_noise_sigma"),
}


@dataclass(frozen=True)
class _Channel:
    """What the file says of one channel."""

    frames: ndrs.NdrFrames
    clock: ndrs.Clock
    adc: tuple[float, float]
    wavelength: Float
    photometer: bool
    maps: dict[str, NDArray[Any]]


def open_listed(one: Listed) -> VisitSource:
    """Open one visit: everything that is cheap is checked, no frame is decoded. Raises DataError."""
    folder, what = one.file.path.parent, f"{one.file.path}, channel {one.channel}"
    settings = settings_beside(folder)
    channel = _read_channel(one, what)
    outside = {name: _outside_map(name, one, settings, channel.frames.shape) for name in _OUTSIDE}
    if outside["read"] is None:
        raise DataError(
            f"{what}: the read noise is neither in read_{one.channel}.npy beside it nor in a configuration there (read_noise_filename, "
            "read_noise_sigma), and every variance needs it: put the configuration (.xml) or the map into the folder"
        )
    absent = ("dark",) if outside["dark"] is None else ()
    maps = channel.maps | {name: values if values is not None else np.zeros(channel.frames.shape) for name, values in outside.items()}
    if channel.frames.mirrored:
        maps = {name: values[..., ::-1] for name, values in maps.items()}
    star = {n: v for n, v in ((settings.star if settings is not None else {}) | one.said.star).items() if math.isfinite(v)}
    facts = _instrument(one, channel, settings)
    offset, gain = channel.adc
    attrs: dict[str, Any] = {
        "planet_id": one.key.planet_id,
        "visit": one.key.visit,
        "instrument": one.key.instrument,
        "split": one.key.split,
        "adc_offset": offset,
        "adc_gain": gain,
        **{f"star_{name}": star[name] for name in STAR_PARAMETERS if name in star},
        "layout": "exosim",
    }
    if facts.name not in INSTRUMENT:
        attrs[DETECTOR_ATTR] = describe(facts)
    if notes := _notes(settings, star, absent):
        attrs[NOTES_ATTR] = NOTES_BETWEEN.join(notes)
    wavelength: Float | float = facts.band_um if facts.band_um is not None else _in_order(channel)
    time_h, exposure_s = channel.clock.time_h, channel.clock.exposure_s
    reference = with_visit_hash(make_reference(maps, offset, gain, absent), attrs, time_h, exposure_s, np.asarray(wavelength))
    return VisitSource(one.key, channel.frames, reference, time_h, exposure_s, wavelength, attrs)


def instrument_of_listed(one: Listed) -> Instrument:
    """The facts of a visit's instrument. Raises DataError."""
    if one.key.instrument in INSTRUMENT:
        return INSTRUMENT[one.key.instrument]
    channel = _read_channel(one, f"{one.file.path}, channel {one.channel}")
    return _instrument(one, channel, settings_beside(one.file.path.parent))


def _read_channel(one: Listed, what: str) -> _Channel:
    status = one.file.path.stat()
    with open_hdf5(one.file.path) as file:
        group = file["channels"][one.channel]
        if "NDRs/data" not in group:
            raise DataError(f"{what} has no NDRs: the simulation was stopped before it wrote them; run it again")
        data = own_dataset(group, "NDRs/data")
        if len(data.shape) != 3 or data.dtype.kind not in "iuf":
            raise DataError(f"{what} holds {data.dtype} of shape {data.shape}, expected codes (read, y, x): simulate it again")
        shape = (int(data.shape[1]), int(data.shape[2]))
        if one.key.instrument in INSTRUMENT and shape != INSTRUMENT[one.key.instrument].shape:
            raise DataError(f"{what} has frames of {shape} pixels (y, x): the file was damaged or exchanged while it was read")
        adc = ndrs.read_adc(group, what)
        per_ramp = ndrs.reads_per_ramp(group, what, one.sidecar.reads)
        clock = ndrs.read_clock(group, per_ramp, what)
        wavelength, photometer = ndrs.read_wavelength(group, what)
        n = 2 * (data.shape[0] // per_ramp)
        for axis, found, wanted in (("time", len(clock.time_h), n), ("spectral", len(wavelength), shape[1])):
            if found != wanted:
                raise DataError(
                    f"{what}: {found} values of {axis} for {wanted} {'frames' if axis == 'time' else 'columns'}: simulate again"
                )
        # the challenge's spectra fall along x
        mirrored = one.key.instrument == "AIRS-CH0" and not photometer and wavelength[0] < wavelength[-1]
        chunk = data.chunks[0] if data.chunks else 1
        frames = ndrs.NdrFrames(
            one.file.path, data.name, shape, n, _even_units(n, chunk, shape), per_ramp, bool(mirrored), (status.st_size, status.st_mtime_ns)
        )
        maps: dict[str, NDArray[Any]] = {
            "flat": ndrs.read_flat(group, shape, what),
            "dead": ndrs.read_dead(group, shape, what),
            "linear_corr": ndrs.read_linearity(group, shape, what),
        }
    return _Channel(frames, clock, adc, wavelength, photometer, maps)


def _even_units(n: int, chunk: int, shape: tuple[int, int]) -> tuple[int, ...]:
    """Pieces of whole pairs."""
    return units_of(n, chunk + chunk % 2, shape)


def _in_order(channel: _Channel) -> Float:
    return channel.wavelength[::-1].copy() if channel.frames.mirrored else channel.wavelength


def _instrument(one: Listed, channel: _Channel, settings: Settings | None) -> Instrument:
    """The challenge's detector of that name, or what the file says of another."""
    if one.key.instrument in INSTRUMENT:
        return INSTRUMENT[one.key.instrument]
    first, second = (float(value) for value in channel.clock.exposure_s[:2])
    band = float(channel.wavelength.mean()) if channel.photometer else None
    science = None if channel.photometer else slice(0, channel.frames.shape[1])
    bits = settings.text(one.channel, "ADC_num_bit") if settings is not None else None
    depth = min(int(float(bits)), 16) if bits is not None else 16
    return Instrument(one.key.instrument, channel.frames.shape, science, (first, second), band, band is None, depth)


def _outside_map(name: str, one: Listed, settings: Settings | None, shape: tuple[int, int]) -> Float | None:
    """A map (y, x) that ExoSim was given and did not write; None where nothing says what it was."""
    switch, file_key, number_key = _OUTSIDE[name]
    beside = one.file.path.parent / f"{name}_{one.channel}.npy"
    if settings is not None and settings.switched_off(one.channel, switch):
        return np.zeros(shape)
    named = settings.path(one.channel, file_key) if settings is not None else None
    if named is not None:
        return _from_npy(named, shape)
    number = settings.text(one.channel, number_key) if settings is not None else None
    if number is not None:
        return np.full(shape, float(number))
    return _from_npy(beside, shape) if beside.is_file() else None


def _from_npy(path: Path, shape: tuple[int, int]) -> Float:
    file = ArrayFile(path, None, "npy")
    header = file.header()
    if header.shape != shape or header.dtype.kind not in "iuf":
        raise DataError(
            f"map {path} holds {header.dtype} of shape {header.shape}, expected numbers of shape {shape} (y, x): it is of another detector"
        )
    return np.asarray(file.values(), np.float64)


def _notes(settings: Settings | None, star: dict[str, float], absent: tuple[str, ...]) -> list[str]:
    """What is done without, a sentence each."""
    notes = []
    if settings is None:
        notes.append("no ExoSim configuration (.xml) lies beside the file: it says the star, the orbit, dark current and read noise")
    if lacking := [name for name in STAR_PARAMETERS if name not in star]:
        notes.append(
            f"ExoSim's configuration does not say {', '.join(lacking)} of star and planet: transits are fitted without; {FILE} may"
        )
    if absent:
        notes.append("no map of the dark current is there: none is subtracted; put the configuration or dark_CHANNEL.npy beside the file")
    return notes
