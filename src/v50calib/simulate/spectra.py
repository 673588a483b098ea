"""Spectra of depths: smooth ones, ones with the structure of molecular bands, and a user's own."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import numpy as np

from v50calib.errors import DataError
from v50calib.kernels.arrays import Float
from v50calib.simulate.axes import channel_wavelength
from v50calib.tables.sheet import Sheet, parse, readable

#: centre and width (µm) of the absorption bands that shape a smooth spectrum: H2O, CO2, CH4, CO by position
BANDS_UM = ((1.85, 0.10), (2.00, 0.05), (2.30, 0.12), (2.70, 0.16), (3.30, 0.18), (3.75, 0.20))
#: bands of a structured spectrum per molecule: (head [µm], extent to the blue, to the red [µm], strength)
MOLECULES = {
    "H2O": ((1.87, 0.10, 0.09, 0.8), (2.66, 0.14, 0.20, 1.0)),
    "CH4": ((1.67, 0.05, 0.05, 0.4), (2.31, 0.10, 0.09, 0.6), (3.32, 0.12, 0.16, 1.0)),
    "CO2": ((2.01, 0.03, 0.03, 0.4), (2.70, 0.04, 0.05, 0.8), (4.25, 0.10, 0.14, 1.0)),
    "CO": ((2.32, 0.02, 0.09, 0.4),),
}
#: depths of the published training set, (Rp/Rs)^2
DEPTH_RANGE = (0.0036, 0.0890)
#: rms of a structured spectrum over AIRS-CH0, relative to its mean, and its largest value [ppm]: a few hundred ppm, up
#: to about the 95th percentile (461 ppm) of the published training set
STRUCTURE_RELATIVE, STRUCTURE_MAX_PPM = (0.015, 0.04), 480.0
_COLUMNS = ("planet_id", *(f"wl_{n}" for n in range(1, 284)))


def draw_depths(rng: np.random.Generator) -> Float:
    """[283] smooth depths with the published training set's statistics (mean, spread between and within planets).

    >>> depth = draw_depths(np.random.default_rng(1))
    >>> depth.size, bool(depth.min() >= 0.0036), bool(depth.max() <= 0.0890)
    (283, True, True)
    """
    wavelength = channel_wavelength()
    mean = np.exp(np.clip(rng.normal(-4.42, 0.61), np.log(0.0038), np.log(0.080)))
    spread = 10.0 ** np.clip(rng.normal(1.74, 0.55), 0.41, 2.67) * 1e-6
    shape = rng.normal(0.0, 0.25) * (wavelength - 2.9)
    for centre, width in BANDS_UM:
        shape = shape + abs(rng.normal()) * np.exp(-0.5 * ((wavelength - centre) / width) ** 2)
    airs = shape[1:] - shape[1:].mean()
    depth = np.empty_like(wavelength)
    depth[1:] = mean + airs * (spread / airs.std())
    depth[0] = mean + rng.normal(0.0, 1.5) * spread
    return np.clip(depth, *DEPTH_RANGE)


def structured_depths(rng: np.random.Generator, mean: float) -> Float:
    """[283] depths about `mean` with bands of H2O, CH4, CO2 and CO, whose abundances are drawn.

    A band has a sharp head, wings of two lengths, and within it the uneven course of its lines: noise correlated over
    2-3 channels. The rms over the AIRS-CH0 channels is 1.5-4 % of the mean, at most 480 ppm.

    >>> depth = structured_depths(np.random.default_rng(1), mean=0.012)
    >>> depth.size, bool(150e-6 < depth[1:].std() < 481e-6)
    (283, True)
    """
    wavelength = channel_wavelength()
    relative = math.exp(rng.uniform(*np.log(STRUCTURE_RELATIVE)))
    rms = min(relative * mean, STRUCTURE_MAX_PPM * 1e-6)
    shape = rng.normal(0.0, 0.1) * (wavelength - 2.9)
    for bands in MOLECULES.values():
        abundance = math.exp(rng.normal(0.0, 0.8))
        for head, blue, red, strength in bands:
            distance = np.where(wavelength < head, (head - wavelength) / blue, (wavelength - head) / red)
            shape = shape + abundance * strength * np.exp(-distance) * (1.0 + 0.35 * _lines(rng, wavelength.size))
    airs = shape[1:] - shape[1:].mean()
    depth = np.empty_like(wavelength)
    depth[1:] = mean + airs * (rms / airs.std())
    # the optical side is set by haze and clouds, about as far from the mean as the bands are
    depth[0] = mean + rng.normal(0.0, 1.0) * rms
    return np.clip(depth, *DEPTH_RANGE)


def _lines(rng: np.random.Generator, size: int) -> Float:
    """Noise of unit rms, correlated over 2-3 channels."""
    noise = np.convolve(rng.normal(size=size + 4), [0.25, 0.75, 1.0, 0.75, 0.25], mode="valid")
    return np.asarray(noise / math.sqrt(2.25))


def read_spectra(path: str | Path) -> list[tuple[int, Float]]:
    """Planets of a file in the format of train.csv, in its order: (planet_id, [283] depths).

    Raises DataError for a file that is missing, has other columns than planet_id, wl_1..wl_283, no planet, a planet
    twice, or a value that is no depth in 0 <= depth < 0.25.

    >>> read_spectra("nowhere.csv")
    Traceback (most recent call last):
    v50calib.errors.DataError: nowhere.csv cannot be read: ...
    """
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}; give a file in the format of train.csv") from error
    return list(_read(str(path), stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=4)
def _read(path: str, _changed: int, _size: int) -> tuple[tuple[int, Float], ...]:
    try:
        sheet = parse(path, Path(path).read_bytes(), "depths")
    except (OSError, DataError) as error:
        raise DataError(f"{path} cannot be read: {error}; give a file in the format of train.csv") from error
    _check_header(path, list(sheet.header))
    planets = tuple(_row(path, number, row, sheet) for number, row in sheet.rows())
    if not planets:
        raise DataError(f"{path} has a header but no planet: give a row per planet")
    seen: set[int] = set()
    for planet, _ in planets:
        if planet in seen:
            raise DataError(f"{path} has planet {planet} twice: a dataset has a folder per planet, leave one row")
        seen.add(planet)
    return planets


def _check_header(path: str, names: list[str]) -> None:
    """Refuse other columns than those of train.csv, in its order. Raises DataError."""
    if names == list(_COLUMNS):
        return
    missing = [name for name in _COLUMNS if name not in names]
    extra = [name for name in names if name not in _COLUMNS]
    wrong = (("lacks", missing), ("has", extra))
    parts = [f"{word} {', '.join(found[:3])}{' ...' if len(found) > 3 else ''}" for word, found in wrong if found]
    reason = " and ".join(parts) or "has them in another order or twice"
    raise DataError(f"{path} must have the {len(_COLUMNS)} columns planet_id, wl_1..wl_283; it {reason}")


def _row(path: str, number: int, row: list[str], sheet: Sheet) -> tuple[int, Float]:
    """One planet. Raises DataError with the line's number."""
    if len(row) != len(_COLUMNS):
        raise DataError(f"{path} line {number} has {len(row)} values for {len(_COLUMNS)} columns: complete the line")
    try:
        planet, why = readable(row[0])
        depth = np.array([sheet.number(value) for value in row[1:]])
    except ValueError as error:
        raise DataError(f"{path} line {number}: {error}; planet ids and depths must be numbers") from error
    if not planet.isdecimal():
        raise DataError(f"{path} line {number}: planet_id is {row[0]}, use an integer >= 0" + (f" ({why})" if why else ""))
    wrong = ~((depth >= 0.0) & (depth < 0.25))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(f"{path} line {number}: {_COLUMNS[first + 1]} is {row[first + 1]}; (Rp/Rs)^2 must lie in 0 <= depth < 0.25")
    depth.flags.writeable = False  # the rows are kept for the next call
    return int(planet), depth
