"""Frames, clock and maps in a file of NDRs, read and checked by what they declare."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.array_files import MOST_VALUES
from v50calib.errors import DataError
from v50calib.io.clock import times_in
from v50calib.io.exosim.linearity import invert
from v50calib.io.pieces import PieceFrames, as_codes, first_and_last, pair_axis, stored_reads
from v50calib.io.source import check_range
from v50calib.kernels.arrays import Float
from v50calib.untrusted.boundary import foreign
from v50calib.untrusted.hdf5 import open_hdf5, own_dataset

REMEDY = "simulate the visit again, or copy it again"


@dataclass(frozen=True)
class NdrFrames(PieceFrames):
    """Frames (n_frames, ny, nx) of one channel; pickles to a path.

    name      the dataset in the file, (stored reads, y, x)
    per_ramp  stored reads of a ramp; the first and the last are the pair
    mirrored  columns are turned round, so that wavelength falls along x as in the challenge's files
    stamp     size and time of change of the file
    """

    path: Path
    name: str
    shape: tuple[int, int]
    n_frames: int
    units: tuple[int, ...]
    per_ramp: int
    mirrored: bool
    stamp: tuple[int, int]

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return str(self.path), self.name, self.per_ramp, self.mirrored, self.stamp

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        check_range(start, stop, self.n_frames)
        first, end = stored_reads(start, stop, self.per_ramp)
        with foreign(f"{self.path}, {self.name}", "cannot be read", REMEDY), open_hdf5(self.path) as file:
            part = first_and_last(file[self.name][first:end], start, stop, self.per_ramp)
        return as_codes(part[..., ::-1] if self.mirrored else part, f"{self.path}, {self.name}")


@dataclass(frozen=True)
class Clock:
    """time_h, exposure_s (frames,): start of each sub-exposure [h] and time since reset at its end [s]."""

    time_h: Float
    exposure_s: Float


def reads_per_ramp(group: Any, what: str, wanted: str | None) -> int:
    """Stored reads of a ramp. Raises DataError where they are no two and the user has not said what to take of them."""
    per_ramp = int(_values(group, "NDRs/metadata/n_groups_per_ramp"))
    n, stamps = group["NDRs/data"].shape[0], group["NDRs/metadata/integration_times/value"].shape[0]
    if stamps != n:
        raise DataError(
            f"{what} averages {stamps // max(n, 1)} reads into each NDR (n_NRDs_per_group), and the noise of a pair is that of two "
            "single reads: simulate with n_NRDs_per_group 1"
        )
    if per_ramp < 2:
        raise DataError(f"{what} has {per_ramp} read a ramp (n_groups), and a pair needs two: simulate with n_groups 2")
    if per_ramp > 2 and wanted is None:
        raise DataError(
            f"{what} has {per_ramp} reads a ramp, and the chain takes pairs: write `reads: first_and_last` into exosim.yaml to have the "
            "last minus the first read of each ramp (the reads between them are left unused), or simulate with n_groups 2"
        )
    if n == 0 or n % per_ramp:
        raise DataError(f"{what} has {n} reads, which are no whole ramps of {per_ramp}: the simulation was stopped; run it again")
    return per_ramp


def read_clock(group: Any, per_ramp: int, what: str) -> Clock:
    """The stamps and integration times of the frames."""
    times = _series(group, "NDRs/time", what)
    time_h = times_in("h", times, _text(group, "NDRs/time_units"), "h", f"{what} time")
    lasts = _series(group, "NDRs/metadata/integration_times/value", what)
    lasts = times_in("s", lasts, _text(group, "NDRs/metadata/integration_times/unit"), "s", f"{what} integration_times")
    since_reset = np.cumsum(lasts.reshape(-1, per_ramp), axis=1).ravel()
    return Clock(pair_axis(time_h, per_ramp), pair_axis(since_reset, per_ramp))


def read_adc(group: Any, what: str) -> tuple[float, float]:
    """(offset, gain) of the converter: e- = ADU / gain + offset. Raises DataError where the counts were not converted."""
    if "NDRs/metadata/ADC" not in group:
        raise DataError(f"{what} holds electrons, not codes: simulate with <ADC> True </ADC>")
    offset, gain = (float(_values(group, f"NDRs/metadata/ADC/{name}")) for name in ("offset", "gain"))
    if not gain > 0 or not np.isfinite([offset, gain]).all():
        raise DataError(f"{what}: the converter's gain is {gain} and its offset {offset}, but e- = ADU / gain + offset: simulate it again")
    return offset, gain


def read_wavelength(group: Any, what: str) -> tuple[Float, bool]:
    """µm of each column, and whether the channel is a photometer, whose columns all see the whole band."""
    wavelength = _series(group, "NDRs/spectral", what)
    return wavelength, "NDRs/spatial" in group and np.array_equal(wavelength, _values(group, "NDRs/spatial"))


def read_flat(group: Any, shape: tuple[int, int], what: str) -> Float:
    """The map of the pixels' quantum efficiency; 1 where none was simulated. Raises DataError where it changes with time."""
    name = "simulation_data/qe_variation_map/data"
    if name not in group:
        return np.ones(shape)
    values = _map(group, name, (None, *shape), what)
    if len(values) > 1 and not (values == values[0]).all():
        raise DataError(f"{what}: its qe_variation_map changes with time ({len(values)} maps), and a visit has one flat: simulate with one")
    return np.array(values[0], np.float64)


def read_dead(group: Any, shape: tuple[int, int], what: str) -> NDArray[np.bool_]:
    """Dead pixels: a map, or the table of their coordinates; none where none were simulated."""
    name = "simulation_data/dead_pixel_map/dead_pixel_map"
    if name not in group:
        return np.zeros(shape, bool)
    dataset = own_dataset(group, name)
    if dataset.dtype.names is None:
        return np.asarray(_map(group, name, shape, what) != 0)
    dead = np.zeros(shape, bool)
    table = dataset[: dead.size + 1]
    x, y = (np.asarray(table[column], np.int64) for column in ("spectral_coords", "spatial_coords"))
    if ((x < 0) | (x >= shape[1]) | (y < 0) | (y >= shape[0])).any():
        raise DataError(f"{what}: a dead pixel is outside the detector of {shape} pixels (y, x): simulate it again")
    dead[y, x] = True
    return dead


def read_linearity(group: Any, shape: tuple[int, int], what: str) -> Float:
    """Coefficients (6, y, x) from measured to true electrons; the identity where no non-linearity was simulated."""
    name = "simulation_data/pixel_non_linearity"
    if name not in group:
        forward, well = np.concatenate([np.ones((1, *shape)), np.zeros((1, *shape))]), 1e5
    else:
        forward = np.asarray(_map(group, f"{name}/map", (None, *shape), what), np.float64)
        well = float(_values(group, f"{name}/saturation")) if f"{name}/saturation" in group else 1e5
    if not np.isfinite(forward).all() or not 0 < well < np.inf:
        raise DataError(f"{what}: its non-linearity has values that are not finite, or a full well of {well} e-: simulate it again")
    with foreign(what, "cannot be linearised", REMEDY):
        return _inverse(forward.tobytes(), forward.shape, well).copy()


@lru_cache(maxsize=16)
def _inverse(forward: bytes, shape: tuple[int, ...], well: float) -> Float:
    """Kept: visits share their detector, and a visit is opened several times."""
    return invert(np.frombuffer(forward).reshape(shape), well)


def _map(group: Any, name: str, shape: tuple[int | None, ...], what: str) -> NDArray[Any]:
    """A map by its name; None in `shape` is any length."""
    dataset = own_dataset(group, name)
    fits = len(dataset.shape) == len(shape) and all(w in (None, n) for n, w in zip(dataset.shape, shape, strict=True))
    if not fits or dataset.size == 0 or dataset.size > MOST_VALUES or dataset.dtype.kind not in "biuf":
        expected = tuple("any" if n is None else n for n in shape)
        raise DataError(f"{what}: {name} holds {dataset.dtype} of shape {dataset.shape}, expected numbers of shape {expected}: {REMEDY}")
    return np.asarray(dataset[()])


def _series(group: Any, name: str, what: str) -> Float:
    dataset = own_dataset(group, name)
    if len(dataset.shape) != 1 or dataset.size == 0 or dataset.size > MOST_VALUES or dataset.dtype.kind not in "iuf":
        raise DataError(f"{what}: {name} holds {dataset.dtype} of shape {dataset.shape}, expected a row of numbers: {REMEDY}")
    return np.asarray(dataset[()], np.float64)


def _values(group: Any, name: str) -> Any:
    dataset = own_dataset(group, name)
    if dataset.size > MOST_VALUES:
        raise ValueError(f"{name} says that it holds {dataset.size} values")
    return dataset[()]


def _text(group: Any, name: str) -> str | None:
    value = _values(group, name) if name in group else None
    return value.decode() if isinstance(value, bytes) else None
