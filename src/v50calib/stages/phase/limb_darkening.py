"""Limb darkening of a visit: a user's table of coefficients, stellar models, the built-in law, or none assumed."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from v50calib.kernels.arrays import Float
from v50calib.stages.config import Section
from v50calib.stages.phase import limb_models
from v50calib.stages.phase.limb_models import ExoticLd
from v50calib.stages.phase.limb_tables import read_rows, table_of
from v50calib.stages.series.darkening import Darkening, law

#: width of the prior about a table: model atmospheres disagree with observed stars by this much
TABLE_WIDTH = 0.05
#: without any assumption: the prior is as wide as what is physical
FREE, FREE_WIDTH = 0.25, 0.5
#: half the width [µm] of a channel that has no neighbour to tell it
LONE_UM = 0.05


class LimbDarkening(Section):
    """Quadratic limb darkening that the fits start from."""

    source: Literal["auto", "law", "table", "exotic-ld", "free"] = Field(
        default="auto",
        description="`auto`: the table where `file` names one, else the law of FGK dwarfs; `exotic-ld`: of stellar models, by the "
        "optional package; `free`: nothing assumed",
    )
    file: str | None = Field(default=None, description="CSV of u1 and u2 per wavelength, of a `planet_id` where it has that column")
    width: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="standard deviation of the prior on u1 and u2; null: 0.05 (table, exotic-ld), 0.08 + 0.4 u1 (law)",
    )
    exotic_ld: ExoticLd = ExoticLd()

    @property
    def of_stars(self) -> bool:
        """Whether coefficients are a table's or models', which need not have every star or wavelength."""
        return self.file is not None or self.source == "exotic-ld"

    @model_validator(mode="after")
    def _what_the_source_needs(self) -> LimbDarkening:
        if self.source == "table" and self.file is None:
            raise ValueError("limb_darkening.source=table needs limb_darkening.file=TABLE.csv (columns wavelength_um, u1, u2)")
        if self.source in ("law", "exotic-ld", "free") and self.file is not None:
            raise ValueError(
                f"limb_darkening.file='{self.file}' is not read with source={self.source}: leave the file out, or use source=table"
            )
        lacking = [name for name in ("data", "metallicity") if getattr(self.exotic_ld, name) is None]
        if self.source == "exotic-ld" and lacking:
            raise ValueError(
                f"limb_darkening.source=exotic-ld needs {' and '.join(f'limb_darkening.exotic_ld.{name}' for name in lacking)}"
            )
        if self.source != "exotic-ld" and self.exotic_ld != ExoticLd():
            raise ValueError(f"limb_darkening.exotic_ld is not read with source={self.source}: use source=exotic-ld, or leave its keys out")
        return self


def darkening_of(
    config: LimbDarkening, wavelength_um: Float, star: dict[str, float], planet_id: str, edges_um: Float | None = None
) -> Darkening:  # fmt: skip
    """Limb darkening of channels at wavelength_um (channel,), µm.

    edges_um (channel, 2): where each channel begins and ends, for models; None: halfway to its neighbours.
    Raises ConfigError where the table cannot be read or does not cover the channels, DataError where it lacks the planet or models
    lack its star.

    >>> free = darkening_of(LimbDarkening(source="free"), np.array([0.7, 3.0]), {}, "7")
    >>> free.u1.tolist(), free.width.tolist()
    ([0.25, 0.25], [0.5, 0.5])
    """
    wavelength = np.asarray(wavelength_um, np.float64)
    if config.file is not None:
        u1, u2, error = table_of(config.file, wavelength, planet_id).at(wavelength)
        found = Darkening(u1, u2, np.hypot(TABLE_WIDTH, error))
    elif config.source == "exotic-ld":
        edges = halfway(wavelength) if edges_um is None else edges_um
        u1, u2, error = limb_models.coefficients(config.exotic_ld, star, planet_id, edges)
        found = Darkening(u1, u2, np.hypot(TABLE_WIDTH, error))
    elif config.source == "free":
        flat = np.ones(wavelength.shape)
        found = Darkening(FREE * flat, FREE * flat, FREE_WIDTH * flat)
    else:
        found = law(wavelength, star)
    return found if config.width is None else Darkening(found.u1, found.u2, np.full(wavelength.shape, config.width))


def check_source(config: LimbDarkening) -> None:
    """Refuse a table that cannot be read, or models that are not installed, before any visit is opened. Raises ConfigError."""
    if config.file is not None:
        read_rows(config.file)
    if config.source == "exotic-ld":
        limb_models.check_installed(config.exotic_ld)


def check_darkening(config: LimbDarkening, wavelength_um: Float, star: dict[str, float], planet_id: str) -> None:
    """Refuse, before a frame is read, channels or a star for which there are no coefficients; raises as `darkening_of`.

    >>> check_darkening(LimbDarkening(), np.array([0.7, 3.0]), {}, "7")
    """
    if config.file is not None:
        table_of(config.file, np.asarray(wavelength_um, np.float64), planet_id)
    if config.source == "exotic-ld":
        limb_models.check_models(config.exotic_ld, star, planet_id)


def halfway(wavelength_um: Float) -> Float:
    """Edges [µm] (channel, 2) of channels that follow each other by rising wavelength: halfway between neighbours.

    >>> halfway(np.array([1.0, 2.0, 4.0])).tolist()
    [[0.5, 1.5], [1.5, 3.0], [3.0, 5.0]]
    """
    if wavelength_um.size == 1:
        return np.array([[wavelength_um[0] - LONE_UM, wavelength_um[0] + LONE_UM]])
    middle = 0.5 * (wavelength_um[1:] + wavelength_um[:-1])
    first, last = 2 * wavelength_um[0] - middle[0], 2 * wavelength_um[-1] - middle[-1]
    return np.stack([np.append(first, middle), np.append(middle, last)], axis=1)
