"""The challenge's folder: where a visit's files are, and its small tables and calibration maps.

Layout and column names: the challenge's data description of 2025, and of 2024 where it differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from v50calib.array_files import refuse_special
from v50calib.errors import DataError
from v50calib.io.challenge.rowgroup import decoding, open_parquet, pixel_columns
from v50calib.io.clock import check_clock
from v50calib.io.keys import VisitKey
from v50calib.io.storage.location import Location, locate, size_of, version_of
from v50calib.reference import MAP_NAMES, Reference, make_reference
from v50calib.schema import INSTRUMENT, LINEARITY_TERMS, STAR_PARAMETERS
from v50calib.tables.sheet import ID, Planets, Sheet, by_planet, parse
from v50calib.untrusted.boundary import foreign
from v50calib.untrusted.parquet import refuse_huge

T = TypeVar("T")

AXIS_FILE = "axis_info.parquet"
#: rows of the axis table, at most: a hundred times a full visit of FGS1
MOST_FRAMES = 2**24
WAVELENGTHS = "wavelengths.csv"
#: the odd read of a ramp follows its integration time after the first read, this long after the reset
ODD_READ_OFFSET_S = 0.1


@dataclass(frozen=True)
class VisitFiles:
    """Where one visit's files are; `layout` says which challenge's naming was found."""

    signal: Location
    calibration: Location
    layout: str


@dataclass(frozen=True)
class Axes:
    """time_h [n] and exposure_s [n] of the reads; wavelength [nx] µm, or the band's as a float."""

    time_h: NDArray[np.float64]
    exposure_s: NDArray[np.float64]
    wavelength: NDArray[np.float64] | float


def visit_files(root: Location, key: VisitKey) -> VisitFiles:
    """Paths of a visit: with its number (2025) or, for visit 0, without one (2024)."""
    folder = root / key.split / key.planet_id
    numbered = folder / f"{key.instrument}_signal_{key.visit}.parquet"
    calibration = folder / f"{key.instrument}_calibration_{key.visit}"
    plain = folder / f"{key.instrument}_signal.parquet"
    plain_calibration = folder / f"{key.instrument}_calibration"
    old = key.visit == 0 and not numbered.exists() and not calibration.exists()
    if old and (plain.exists() or plain_calibration.exists()):
        return VisitFiles(plain, plain_calibration, "challenge-2024")
    return VisitFiles(numbered, calibration, "challenge-2025")


def read_reference(root: Location, key: VisitKey, files: VisitFiles) -> Reference:
    """The visit's five maps and ADC constants.

    Raises DataError: a map is missing, damaged, of the wrong shape or type, or wholly NaN; adc_info lacks a column.
    """
    shape = INSTRUMENT[key.instrument].shape
    offset, gain = read_adc(root, key)
    return make_reference({name: _read_map(files.calibration, name, shape) for name in MAP_NAMES}, offset, gain)


def read_adc(root: Location, key: VisitKey) -> tuple[float, float]:
    """(offset, gain) of `adc_info.csv` (one row) or `{split}_adc_info.csv` (a row a planet)."""
    names = ("adc_info.csv", f"{key.split}_adc_info.csv")
    for name in names:
        if isinstance(root, Path):
            refuse_special(root / name)
    path = next((root / name for name in names if (root / name).is_file()), None)
    if path is None:
        raise DataError(f"missing file {root / names[0]} (or {names[1]}): it has the ADC's offset and gain; re-download it")
    sheet = _cached_sheet(path)
    row = _planet_row(path, key.planet_id) if ID in sheet.header else _only_row(path, sheet)
    offset, gain = (_number(path, sheet, row, f"{key.instrument}_adc_{name}") for name in ("offset", "gain"))
    if gain == 0:
        raise DataError(f"{path}: {key.instrument}_adc_gain is 0, but e- = ADU / gain + offset: re-download the file")
    return offset, gain


def read_star(root: Location, key: VisitKey) -> dict[str, float]:
    """`{Rs: …, P: …}` of `{split}_star_info.csv`; empty where the dataset or the planet has none (2024)."""
    path = root / f"{key.split}_star_info.csv"
    if isinstance(path, Path):
        # else a pipe in its place would pass for a table that is not there
        refuse_special(path)
    if not path.is_file():
        return {}
    try:
        sheet, row = _cached_sheet(path), _cached_planets(path).row(key.planet_id) or {}
    except DataError as error:
        raise DataError(f"{error} (without the file, transits are fitted without the star's values)") from error
    values = {name: _number(path, sheet, row, name, finite=False) for name in STAR_PARAMETERS if name in row}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def missing_tables(root: Location, key: VisitKey, star: Mapping[str, float]) -> list[str]:
    """What is done without since the dataset lacks a table: a sentence each. star: what `read_star` found."""
    notes = []
    table = f"{key.split}_star_info.csv"
    if not star:
        lacks = f"has no row of planet {key.planet_id}" if (root / table).is_file() else "is missing"
        notes.append(f"{table} {lacks}: transits are fitted without what it says of the star; download it again")
    if not (root / WAVELENGTHS).is_file():
        notes.append(f"{WAVELENGTHS} is missing: wavelengths are those of {AXIS_FILE}")
    return notes


def read_axes(root: Location, instrument: str, n_frames: int) -> Axes:
    """The first `n_frames` entries of the root's axis table: all visits of a root share it.

    exposure = integration time, + 0.1 s on odd frames (AIRS: 0.1, 4.6 s); an instrument without that
    column has the reads of `schema.INSTRUMENT`. Never derived from the time stamps.
    Raises DataError where the table lacks a column or is too short.
    """
    path = root / AXIS_FILE
    facts = INSTRUMENT[instrument]
    table = _cached_axes(path)
    time_h = _axis(path, table, f"{instrument}-axis0-h", n_frames)
    if (np.diff(time_h) <= 0).any():
        raise DataError(f"{path}: '{instrument}-axis0-h' does not rise over the first {n_frames} entries: re-download it")
    integration = f"{instrument}-integration_time"
    if integration in table:
        exposure = _axis(path, table, integration, n_frames).copy()
        if (exposure <= 0).any():
            i = int(np.flatnonzero(exposure <= 0)[0])
            raise DataError(f"{path}: '{integration}' is {exposure[i]:g} s at entry {i}: integration times are positive; re-download it")
        exposure[1::2] += ODD_READ_OFFSET_S
    else:
        exposure = np.tile(np.asarray(facts.read_times, np.float64), n_frames // 2)
    check_clock(f"{path}, {instrument}", time_h, exposure)
    if facts.band_um is not None:
        return Axes(time_h, exposure, facts.band_um)
    return Axes(time_h, exposure, _axis(path, table, f"{instrument}-axis2-um", facts.shape[1]))


def _axis(path: Location, table: dict[str, NDArray[np.float64]], column: str, n: int) -> NDArray[np.float64]:
    if column not in table:
        raise DataError(f"{path} has no column '{column}', found {sorted(table)}: re-download it")
    values = table[column]
    bad = np.flatnonzero(~np.isfinite(values[:n]))
    have = int(bad[0]) if bad.size else min(n, values.size)
    if have < n:
        raise DataError(
            f"{path}: '{column}' has {have} finite entries, {n} are needed for this signal: the table belongs to "
            "shorter visits or is damaged; re-download it"
        )
    return np.array(values[:n])


def _read_map(folder: Location, name: str, shape: tuple[int, int]) -> NDArray[np.generic]:
    path = folder / f"{name}.parquet"
    terms = LINEARITY_TERMS if name == "linear_corr" else 1
    expected = (terms * shape[0], shape[1])
    with decoding(path):
        file = open_parquet(path)
        names = pixel_columns(path, file.schema_arrow)
        found = (file.metadata.num_rows, len(names))
        if found != expected:
            raise DataError(f"map {path} has shape {found}, expected {expected}: it is of another instrument or cut; re-download it")
        values = file.read(columns=names, use_threads=False).select(names).to_pandas(ignore_metadata=True).to_numpy()
    if name == "dead":
        return _as_mask(path, values)
    if values.dtype.kind not in "fiu":
        raise DataError(f"map {path} has values of type {values.dtype}, expected floating point: re-download it")
    if not np.isfinite(values).any():
        raise DataError(f"map {path} has no finite value ({values.size} pixels, all NaN): re-download it")
    return values.astype(np.float64).reshape((terms, *shape) if terms > 1 else shape)


def _as_mask(path: Location, values: NDArray[np.generic]) -> NDArray[np.bool_]:
    if values.dtype.kind == "f" and np.isnan(values).all():
        raise DataError(f"map {path} has no finite value ({values.size} pixels, all NaN): re-download it")
    if values.dtype.kind != "b" and not (values.dtype.kind in "fiu" and np.isin(values, (0, 1)).all()):
        raise DataError(f"map {path} has values of type {values.dtype} other than true/false: re-download it")
    mask = values.astype(np.bool_)
    if mask.all():
        raise DataError(f"map {path} says that all {mask.size} pixels are dead: it is damaged, or true means good in it; re-download it")
    return mask


def _planet_row(path: Location, planet_id: str) -> dict[str, str]:
    planets = _cached_planets(path)
    row = planets.row(planet_id)
    if row is None:
        raise DataError(f"{path} has no row for planet {planet_id} ({len(planets.rows)} rows): re-download it")
    return row


def _only_row(path: Location, sheet: Sheet) -> dict[str, str]:
    """The row of a table that holds for all planets."""
    rows = list(sheet.rows())
    if not rows:
        raise DataError(f"{path} has no rows: re-download it")
    if len(rows) > 1:
        lines = ", ".join(str(line) for line, _ in rows[:5])
        raise DataError(f"{path} has {len(rows)} rows (lines {lines}) and no column '{ID}' that says whose they are: leave one row")
    line, cells = rows[0]
    if len(cells) != len(sheet.header):
        raise DataError(f"{path} line {line} has {len(cells)} cells for {len(sheet.header)} columns: complete it, or re-download the file")
    return dict(zip(sheet.header, cells, strict=True))


def _number(path: Location, sheet: Sheet, row: dict[str, str], column: str, *, finite: bool = True) -> float:
    if column not in row:
        raise DataError(f"{path} has no column '{column}', found {sorted(row)}: re-download it")
    text, whose = row[column], f" of planet {row[ID]}" if ID in row else ""
    try:
        value = sheet.number(text)
        if not math.isfinite(value) and (finite or text):
            raise ValueError(f"{text!r}, expected numbers")
    except ValueError as error:
        expected = str(error).replace("numbers", "a finite number")
        raise DataError(f"{path}: '{column}'{whose} is {expected}: re-download the file") from error
    return value


def _stamp(path: Location) -> tuple[str, str]:
    """Cache key that changes when the file does."""
    try:
        return str(path), version_of(path)
    except FileNotFoundError:
        raise DataError(f"missing file {path}: it is one of the dataset's root tables; re-download it") from None


def _by_stamp(read: Callable[[Location], T]) -> Callable[[Location], T]:
    """Cache the result per version of the file: a root's tables are read once, not once a visit."""

    @lru_cache(maxsize=16)
    def cached(stamp: tuple[str, str]) -> T:
        return read(locate(stamp[0]))

    return lambda path: cached(_stamp(path))


def _read_sheet(path: Location) -> Sheet:
    if isinstance(path, Path):
        refuse_special(path)
    with foreign(path, remedy="re-download it"):
        return parse(str(path), path.read_bytes(), "the dataset")


def _read_axis_table(path: Location) -> dict[str, NDArray[np.float64]]:
    with decoding(path):
        file = open_parquet(path)
        if file.metadata.num_rows > MOST_FRAMES:
            raise ValueError(f"it says that it has {file.metadata.num_rows} rows, one a frame")
        refuse_huge(file.metadata, size_of(path))
        table = file.read(use_threads=False)
        return {n: table.column(n).to_numpy().astype(np.float64) for n in table.column_names}


def _read_planets(path: Location) -> Planets[dict[str, str]]:
    sheet = _cached_sheet(path)
    return by_planet(sheet, lambda cells: dict(zip(sheet.header, cells, strict=True)))


_cached_sheet = _by_stamp(_read_sheet)
_cached_axes = _by_stamp(_read_axis_table)
_cached_planets = _by_stamp(_read_planets)
