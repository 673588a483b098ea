"""Limb darkening of a visit: a user's table of coefficients, the built-in law, or none assumed.

A table is a CSV with a header. Wavelength: one of the columns `wavelength_um` (or `wavelength`), `wavelength_nm`, `wavelength_angstrom`,
or the two edges of a bin as `wl_min_um` and `wl_max_um`; coefficients `u1` and `u2` (or `c1` and `c2`) of
``I(µ)/I(1) = 1 - u1 (1 - µ) - u2 (1 - µ)²``; optional errors `u1_err`, `u2_err`; optional `planet_id`, where one file serves several
stars.
"""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from v50calib.errors import ConfigError, DataError
from v50calib.kernels.arrays import Float
from v50calib.stages.config import Section
from v50calib.stages.series.darkening import Darkening, law

KEY = "calib.phase.limb_darkening"
#: names of a table's columns: wavelength with what makes it µm, the coefficients and their errors
_WAVELENGTH = {"wavelength_um": 1.0, "wavelength": 1.0, "wavelength_nm": 1e-3, "wavelength_angstrom": 1e-4}
_EDGES = ("wl_min_um", "wl_max_um")
_COEFFICIENTS = (("u1", "c1"), ("u2", "c2"))
_ERRORS = (("u1_err", "e1"), ("u2_err", "e2"))
#: width of the prior about a table: model atmospheres disagree with observed stars by this much
TABLE_WIDTH = 0.05
#: without any assumption: the prior is as wide as what is physical
FREE, FREE_WIDTH = 0.25, 0.5
#: channels may lie outside the table by this many µm (half a channel), there its ends count
BEYOND_UM = 0.05


class LimbDarkening(Section):
    """Quadratic limb darkening that the fits start from."""

    source: Literal["auto", "law", "table", "free"] = Field(
        default="auto", description="`auto`: the table where `file` names one, else the law of FGK dwarfs; `free`: nothing assumed"
    )
    file: str | None = Field(default=None, description="CSV of u1 and u2 per wavelength, of a `planet_id` where it has that column")
    width: float | None = Field(
        default=None, gt=0, le=1, description="standard deviation of the prior on u1 and u2; null: 0.05 (table), 0.08 + 0.4 u1 (law)"
    )

    @model_validator(mode="after")
    def _file_of_a_table(self) -> LimbDarkening:
        if self.source == "table" and self.file is None:
            raise ValueError("limb_darkening.source=table needs limb_darkening.file=TABLE.csv (columns wavelength_um, u1, u2)")
        if self.source in ("law", "free") and self.file is not None:
            raise ValueError(
                f"limb_darkening.file='{self.file}' is not read with source={self.source}: leave the file out, or use source=table"
            )
        return self


def darkening_of(config: LimbDarkening, wavelength_um: Float, star: dict[str, float], planet_id: str) -> Darkening:
    """Limb darkening of channels at wavelength_um (channel,), µm.

    Raises ConfigError where the table cannot be read or does not cover the channels, DataError where it lacks the planet.

    >>> free = darkening_of(LimbDarkening(source="free"), np.array([0.7, 3.0]), {}, "7")
    >>> free.u1.tolist(), free.width.tolist()
    ([0.25, 0.25], [0.5, 0.5])
    """
    wavelength = np.asarray(wavelength_um, np.float64)
    if config.file is not None:
        found = _from_table(config.file, wavelength, planet_id)
    elif config.source == "free":
        flat = np.ones(wavelength.shape)
        found = Darkening(FREE * flat, FREE * flat, FREE_WIDTH * flat)
    else:
        found = law(wavelength, star)
    return found if config.width is None else Darkening(found.u1, found.u2, np.full(wavelength.shape, config.width))


def check_table(config: LimbDarkening) -> None:
    """Refuse a table that cannot be read, before any frame is. Raises ConfigError."""
    if config.file is not None:
        _rows(config.file, _stamp(config.file))


def _from_table(path: str, wavelength_um: Float, planet_id: str) -> Darkening:
    rows = _rows(path, _stamp(path))
    ids = {row[0] for row in rows}
    if "" not in ids and planet_id not in ids:
        raise DataError(f"{KEY}.file='{path}' has no row of planet {planet_id} (it has {len(ids)} others): add its coefficients")
    table = np.array(sorted(row[1:] for row in rows if row[0] in ("", planet_id)))
    known, u1, u2, error = table.T
    low, high = float(wavelength_um.min()), float(wavelength_um.max())
    if known.size > 1 and (low < known[0] - BEYOND_UM or high > known[-1] + BEYOND_UM):
        raise ConfigError(
            f"{KEY}.file='{path}' covers {known[0]:.3f}-{known[-1]:.3f} µm, the visit's channels {low:.3f}-{high:.3f} µm: "
            "compute coefficients for all of them (0.6-4.1 µm serves FGS1 and AIRS-CH0)"
        )
    if known.size == 1 and max(abs(low - known[0]), abs(high - known[0])) > BEYOND_UM:
        raise ConfigError(f"{KEY}.file='{path}' has one wavelength, {known[0]:.3f} µm, the visit's channels {low:.3f}-{high:.3f} µm")
    at = [np.interp(wavelength_um, known, values) for values in (u1, u2, error)]
    return Darkening(at[0], at[1], np.hypot(TABLE_WIDTH, at[2]))


def _stamp(path: str) -> tuple[int, int]:
    """Size and time of change of a table. Raises ConfigError where there is none."""
    try:
        found = Path(path).expanduser().stat()
    except OSError as exc:
        raise ConfigError(f"{KEY}.file='{path}' cannot be read ({exc.strerror}): give the path of a CSV") from exc
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=8)
def _rows(path: str, stamp: tuple[int, int]) -> list[tuple[str, float, float, float, float]]:
    """(planet_id or "", µm, u1, u2, the larger error) of each row of a table. Raises ConfigError."""
    try:
        with Path(path).expanduser().open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in file if line.strip() and not line.lstrip().startswith("#")]
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{KEY}.file='{path}' cannot be read as text ({exc}): give a CSV with a header") from exc
    reader = csv.DictReader(lines, skipinitialspace=True)
    header = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = header
    wavelength = next((name for name in _WAVELENGTH if name in header), None)
    names = [next((name for name in choice if name in header), None) for choice in _COEFFICIENTS]
    if None in names or (wavelength is None and not set(_EDGES) <= set(header)):
        raise ConfigError(
            f"{KEY}.file='{path}' has the columns {header}: it needs wavelength_um (or wavelength_nm, wavelength_angstrom, or "
            "wl_min_um and wl_max_um), u1 and u2 of the quadratic law"
        )
    errors = [name for choice in _ERRORS for name in choice if name in header]
    rows = []
    for number, row in enumerate(reader, start=2):
        try:
            if wavelength is not None:
                micron = float(row[wavelength]) * _WAVELENGTH[wavelength]
            else:
                micron = 0.5 * (float(row[_EDGES[0]]) + float(row[_EDGES[1]]))
            u1, u2 = (float(row[str(name)]) for name in names)
            error = max((abs(float(row[name])) for name in errors if (row[name] or "").strip()), default=0.0)
        except (TypeError, ValueError) as exc:
            raise ConfigError(f"{KEY}.file='{path}', line {number}: {exc}: every cell of wavelength, u1 and u2 is a number") from exc
        finite = all(np.isfinite(v) for v in (micron, u1, u2, error))
        if not finite or not 0.05 < micron < 100 or not (0 <= u1 <= 2 and -1 <= u2 <= 1 and u1 + u2 <= 1):
            raise ConfigError(
                f"{KEY}.file='{path}', line {number}: wavelength {micron:g} µm, u1 {u1:g}, u2 {u2:g}: wavelengths lie between 0.05 and "
                "100 µm, and a star that is nowhere dark or brighter at its limb has u1 >= 0 and u1 + u2 <= 1; check the columns and "
                "their units"
            )
        rows.append(((row.get("planet_id") or "").strip().removesuffix(".0"), micron, u1, u2, error))
    if not rows:
        raise ConfigError(f"{KEY}.file='{path}' has a header and no row")
    return rows
