"""A user's table of limb-darkening coefficients.

A table is a CSV with a header; lines that begin with # are comments. Wavelength: one of the columns `wavelength_um` (or `wavelength`,
`wave`), `wavelength_nm`, `wavelength_angstrom`, or the two edges of a bin, `wl_min_um` and `wl_max_um` (or `_nm`, `_angstrom`);
coefficients `u1` and `u2` (or `c1` and `c2`) of ``I(µ)/I(1) = 1 - u1 (1 - µ) - u2 (1 - µ)²``; optional errors `u1_err`, `u2_err`;
optional `planet_id`, where one file serves several stars.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from v50calib.errors import ConfigError, DataError
from v50calib.kernels.arrays import Float
from v50calib.tables.ids import normalise_planet_id

KEY = "calib.phase.limb_darkening"
#: names of a table's columns: wavelength with what makes it µm, the coefficients and their errors
_UNITS = {"um": 1.0, "nm": 1e-3, "angstrom": 1e-4}
_WAVELENGTH = {f"wavelength_{unit}": factor for unit, factor in _UNITS.items()} | {"wavelength": 1.0, "wave": 1.0}
_EDGES = {(f"wl_min_{unit}", f"wl_max_{unit}"): factor for unit, factor in _UNITS.items()}
_COEFFICIENTS = (("u1", "c1"), ("u2", "c2"))
_ERRORS = (("u1_err", "e1"), ("u2_err", "e2"))
#: channels may lie outside the table by this many µm (half a channel), there its ends count
BEYOND_UM = 0.05


@dataclass(frozen=True)
class Row:
    """One row: of which planet ("": of all), from where to where [µm; equal for a single wavelength], u1, u2, the larger error of both."""

    planet_id: str
    low: float
    high: float
    u1: float
    u2: float
    error: float


@dataclass(frozen=True)
class Table:
    """Coefficients of one star along wavelength: (row,) from where to where [µm], in order, and u1, u2, error."""

    low: Float
    high: Float
    values: Float

    def at(self, wavelength_um: Float) -> Float:
        """u1, u2 and error (3, channel): linear between the middles of rows; constant to the edge of a bin that touches no other.

        >>> Table(np.array([0.6, 2.0]), np.array([0.8, 4.0]), np.array([[0.5, 0.2], [0.2, 0.1], [0, 0]])).at(np.array([0.79, 1.4, 2.5]))[0]
        array([0.5 , 0.35, 0.2 ])
        """
        nodes, rows = [], []
        for row, (low, high) in enumerate(zip(self.low.tolist(), self.high.tolist(), strict=True)):
            touches_before = row > 0 and low <= float(self.high[row - 1]) + _ROUNDING
            touches_next = row + 1 < self.low.size and float(self.low[row + 1]) <= high + _ROUNDING
            wide = high > low
            ends = [low] * (wide and not touches_before) + [0.5 * (low + high)] + [high] * (wide and not touches_next)
            nodes += ends
            rows += [row] * len(ends)
        return np.array([np.interp(wavelength_um, nodes, column[rows]) for column in self.values])


#: edges that are this near, µm, are one: written with six digits they differ
_ROUNDING = 1e-5


def table_of(path: str, wavelength_um: Float, planet_id: str) -> Table:
    """The rows of a planet's star in order of wavelength; they cover the channels at wavelength_um (channel,).

    Raises DataError where the table has no rows of this planet or too few, ConfigError where it is of no use to any planet.
    """
    rows = read_rows(path)
    ids = {row.planet_id for row in rows}
    if "" not in ids and planet_id not in ids:
        raise DataError(f"{KEY}.file='{path}' has no row of planet {planet_id} (it has {len(ids)} others): add its coefficients")
    own = sorted((row for row in rows if row.planet_id in ("", planet_id)), key=lambda row: (row.low + row.high, row.low))
    low, high = np.array([row.low for row in own]), np.array([row.high for row in own])
    first, last = float(wavelength_um.min()), float(wavelength_um.max())
    if first < low.min() - BEYOND_UM or last > high.max() + BEYOND_UM:
        whose, error = ("", ConfigError) if ids == {""} else (f" for planet {planet_id}", DataError)
        raise error(
            f"{KEY}.file='{path}' covers {low.min():.3f}-{high.max():.3f} µm{whose}, the visit's channels {first:.3f}-{last:.3f} µm: "
            "compute coefficients for all of them (0.6-4.1 µm serves FGS1 and AIRS-CH0)"
        )
    return Table(low, high, np.array([[row.u1, row.u2, row.error] for row in own]).T)


def read_rows(path: str) -> list[Row]:
    """All rows of a table; a file that has not changed is read once. Raises ConfigError where it cannot be read."""
    try:
        found = Path(os.path.expanduser(path)).stat()  # noqa: PTH111 - Path.expanduser raises where there is no such home
    except OSError as exc:
        raise ConfigError(f"{KEY}.file='{path}' cannot be read ({exc.strerror}): give the path of a CSV") from exc
    return _rows(path, (found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=8)
def _rows(path: str, stamp: tuple[int, int]) -> list[Row]:
    """The rows of the file as it is at `stamp` (its size and time of change)."""
    try:
        with Path(os.path.expanduser(path)).open(newline="", encoding="utf-8-sig") as file:  # noqa: PTH111 - Path.expanduser raises where there is no such home
            lines = [line for line in file if line.strip() and not line.lstrip().startswith("#")]
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{KEY}.file='{path}' cannot be read as text ({exc}): give a CSV with a header") from exc
    reader = csv.DictReader(lines, skipinitialspace=True)
    header = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = header
    edges, factor = _wavelength_columns(header)
    names = [next((name for name in choice if name in header), None) for choice in _COEFFICIENTS]
    if edges is None or None in names:
        raise ConfigError(
            f"{KEY}.file='{path}' has the columns {header}: it needs wavelength_um (or wavelength_nm, wavelength_angstrom, or "
            "wl_min_um and wl_max_um), u1 and u2 of the quadratic law"
        )
    errors = [name for choice in _ERRORS for name in choice if name in header]
    rows = [
        _row(path, number, cells, (edges, factor), [str(name) for name in names], errors) for number, cells in enumerate(reader, start=2)
    ]
    if not rows:
        raise ConfigError(f"{KEY}.file='{path}' has a header and no row")
    return rows


def _wavelength_columns(header: list[str]) -> tuple[tuple[str, str] | None, float]:
    """The two columns of a bin's edges, twice the same for a single wavelength, and what makes them µm; None where there are none."""
    for name, factor in _WAVELENGTH.items():
        if name in header:
            return (name, name), factor
    for edges, factor in _EDGES.items():
        if set(edges) <= set(header):
            return edges, factor
    return None, 1.0


def _row(
    path: str, number: int, cells: dict[str, str], wavelength: tuple[tuple[str, str], float], names: list[str], errors: list[str]
) -> Row:  # fmt: skip
    """One line of the table as a Row. Raises ConfigError for what is no number or not physical."""
    edges, factor = wavelength
    try:
        low, high = sorted(float(cells[name]) * factor for name in edges)
        u1, u2 = (float(cells[name]) for name in names)
        error = max((abs(float(cells[name])) for name in errors if (cells[name] or "").strip()), default=0.0)
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"{KEY}.file='{path}', line {number}: {exc}: every cell of wavelength, u1 and u2 is a number") from exc
    if not (np.isfinite(error) and 0.05 < low <= high < 100 and physical(u1, u2)):
        at = f"{low:g}" if low == high else f"{low:g}-{high:g}"
        raise ConfigError(
            f"{KEY}.file='{path}', line {number}: wavelength {at} µm, u1 {u1:g}, u2 {u2:g}: wavelengths lie between 0.05 and "
            "100 µm, and a star that is nowhere dark or brighter at its limb has u1 >= 0 and u1 + u2 <= 1; check the columns and "
            "their units"
        )
    return Row(_planet(cells.get("planet_id")), low, high, u1, u2, error)


def _planet(cell: str | None) -> str:
    """The planet of a row: "" of all; an id that cannot be read stays as it is, and is that of no planet."""
    text = (cell or "").strip()
    try:
        return normalise_planet_id(text) if text else ""
    except DataError:
        return text


def physical(u1: float, u2: float) -> bool:
    """Whether a star may be so: nowhere dark, and no brighter at its limb.

    >>> physical(0.4, 0.2), physical(0.9, 0.3), physical(float("nan"), 0.2)
    (True, False, False)
    """
    return 0 <= u1 <= 2 and -1 <= u2 <= 1 and u1 + u2 <= 1
