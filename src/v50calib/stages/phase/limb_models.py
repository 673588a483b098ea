"""Limb darkening of stellar model grids, computed by the package exotic-ld (Grant & Wakeford 2024) of data that are installed.

exotic-ld fetches a model that is not in its folder from the internet. Here it never does: a model that is not there is refused, with
the file that is missing.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from pydantic import Field

from v50calib.errors import ConfigError, DataError
from v50calib.kernels.arrays import Float
from v50calib.stages.config import Section
from v50calib.stages.phase.limb_tables import physical

KEY = "calib.phase.limb_darkening.exotic_ld"
#: log g [cgs] of one solar mass and radius (IAU 2015 B3)
LOGG_SUN = 4.43807
#: where exotic-ld is told to fetch from: no address, should it ever try
NOWHERE = "no-download"
#: the scale on which exotic-ld calls the nearest model far: dex, K, dex
FAR = (1.0, 607.0, 1.54)

Models = tuple[Float, Float, Float]


class ExoticLd(Section):
    """What exotic-ld computes coefficients with."""

    data: str | None = Field(default=None, description="folder of ExoTiC-LD's data, which holds the grid's folder; nothing is downloaded")
    model: Literal["mps1", "mps2", "kurucz", "phoenix", "stagger"] = Field(
        default="mps1", description="grid of stellar models: MPS-ATLAS sets 1 and 2, Kurucz, PHOENIX (1D), Stagger (3D)"
    )
    interpolation: Literal["nearest", "trilinear"] = Field(
        default="nearest", description="the model nearest to the star, or between the eight about it"
    )
    mu_min: float = Field(default=0.1, ge=0, lt=0.9, description="the law is fitted to the intensities from this µ to the centre")
    teff: float | None = Field(default=None, gt=0, description="effective temperature [K] of every star; null: Ts of the star table")
    logg: float | None = Field(default=None, description="log g [cgs] of every star; null: of Ms and Rs of the star table")
    metallicity: float | None = Field(default=None, description="[M/H] [dex] of every star; star tables have none")


@dataclass(frozen=True)
class StarPoint:
    """Where a star lies in a grid: [M/H], Teff [K], log g [cgs]."""

    metallicity: float
    teff: float
    logg: float

    def __str__(self) -> str:
        return f"[M/H] {self.metallicity:g}, Teff {self.teff:.0f} K, log g {self.logg:.2f}"


def star_point(config: ExoticLd, star: dict[str, float], planet_id: str) -> StarPoint:
    """The star's parameters: the config's where it has them, else the star table's. Raises DataError naming what neither has.

    >>> str(star_point(ExoticLd(metallicity=0.0), {"Ts": 5772.0, "Ms": 1.0, "Rs": 1.0}, "7"))
    '[M/H] 0, Teff 5772 K, log g 4.44'
    """
    teff = config.teff if config.teff is not None else star.get("Ts")
    logg = config.logg
    if logg is None and {"Ms", "Rs"} <= star.keys():
        logg = LOGG_SUN + math.log10(star["Ms"]) - 2 * math.log10(star["Rs"])
    lacking = {
        "teff (Ts of the star table)": teff,
        "logg (Ms and Rs of the star table)": logg,
        "metallicity (no column has it)": config.metallicity,
    }
    if teff is None or logg is None or config.metallicity is None:
        names = ", ".join(name for name, value in lacking.items() if value is None)
        raise DataError(
            f"limb_darkening.source=exotic-ld lacks, of the star of planet {planet_id}: {names}. Complete the table or set {KEY}"
        )
    return StarPoint(config.metallicity, teff, logg)


def check_installed(config: ExoticLd) -> None:
    """Refuse a config for which the package or its data are not installed. Raises ConfigError."""
    _package()
    _folder(config)


def check_models(config: ExoticLd, star: dict[str, float], planet_id: str) -> None:
    """Refuse a star whose models are not installed, without reading them. Raises DataError, ConfigError."""
    _stellar_model(config, star_point(config, star, planet_id), read=False)


def coefficients(config: ExoticLd, star: dict[str, float], planet_id: str, edges_um: Float) -> Float:
    """u1, u2 and the larger error of both (3, channel) of channels from edges_um[:, 0] to edges_um[:, 1] µm, of even response.

    A star and its channels are computed once a process: 12 ms a channel. Raises DataError, ConfigError.
    """
    point = star_point(config, star, planet_id)
    found = _computed(config.model_dump_json(), point, tuple(map(tuple, np.asarray(edges_um, np.float64).tolist())))
    for (low, high), (u1, u2, error) in zip(edges_um, found, strict=True):
        if not (physical(u1, u2) and math.isfinite(error)):
            raise DataError(
                f"exotic-ld gives u1 {u1:.3f}, u2 {u2:.3f} at {low:.3f}-{high:.3f} µm for planet {planet_id} ({point}, {config.model}), "
                f"which no star has (u1 >= 0, u1 + u2 <= 1): take another {KEY}.model or mu_min, or a table"
            )
    return np.array(found).T


@lru_cache(maxsize=64)
def _computed(settings: str, point: StarPoint, edges_um: tuple[tuple[float, float], ...]) -> list[tuple[float, float, float]]:
    """u1, u2, error of each channel; settings: the config as JSON, which can be compared."""
    config = ExoticLd.model_validate_json(settings)
    wavelengths, mus, intensities = _stellar_model(config, point, read=True)
    limb = _package().StellarLimbDarkening(
        ld_model="custom", custom_wavelengths=wavelengths, custom_mus=mus, custom_stellar_model=intensities, verbose=0
    )
    found = []
    for edges in edges_um:
        angstrom = 1e4 * np.array(edges)
        try:
            (u1, u2), errors = limb.compute_quadratic_ld_coeffs(
                angstrom, "custom", angstrom, np.ones(2), mu_min=config.mu_min, return_sigmas=True
            )
        except (ValueError, RuntimeError) as exc:
            raise DataError(f"exotic-ld has no coefficients at {edges[0]:.3f}-{edges[1]:.3f} µm ({point}, {config.model}): {exc}") from exc
        found.append((float(u1), float(u2), float(max(errors))))
    return found


def _package() -> ModuleType:
    """exotic-ld. Raises ConfigError where it is not installed or is of a version that would look for its data elsewhere."""
    remedy = "pip install exotic-ld 'setuptools<82', or use limb_darkening.file=TABLE.csv or source=law"
    try:
        package, grids = import_module("exotic_ld"), import_module("exotic_ld.ld_grids")
    except ImportError as exc:
        raise ConfigError(
            f"limb_darkening.source=exotic-ld needs the package exotic-ld, which cannot be imported ({exc}): {remedy}"
        ) from exc
    known = inspect.signature(grids.StellarGrids).parameters
    if "remote_ld_data_path" not in known or not hasattr(grids.StellarGrids, "_read_in_stellar_model"):
        raise ConfigError(f"limb_darkening.source=exotic-ld knows exotic-ld 3.2, and another version is installed: {remedy}")
    return package


def _folder(config: ExoticLd) -> Path:
    """The folder of the data. Raises ConfigError where it holds no models of the grid."""
    folder = Path(os.path.expanduser(str(config.data)))  # noqa: PTH111 - Path.expanduser raises where there is no such home
    if not (folder / config.model).is_dir():
        raise ConfigError(
            f"{KEY}.data='{config.data}' has no folder {config.model}/: nothing is downloaded in a run; get the grid's models from "
            "ExoTiC-LD's data archive first (docs/stages/phase.md), or choose a grid that is there"
        )
    return folder


def _stellar_model(config: ExoticLd, point: StarPoint, *, read: bool) -> Models:
    """Wavelengths [Å], µ and intensities (wavelength, µ) of a star; read=False: only whether the files are there, and no numbers.

    Raises DataError where a file is missing or damaged, or the grid has no model near the star.
    """
    _package()
    grids = import_module("exotic_ld.ld_grids").StellarGrids(
        M_H=point.metallicity, Teff=point.teff, logg=point.logg, ld_model=config.model, ld_data_path=str(_folder(config)),
        remote_ld_data_path=NOWHERE, ld_data_version="", interpolate_type=config.interpolation, verbose=0,
    )  # fmt: skip
    used: list[StarPoint] = []
    # its own function fetches a file that is missing
    grids._read_in_stellar_model = _reader(config, grids._read_in_stellar_model, used, read)
    wavelengths, mus, intensities = grids.get_stellar_data()
    # it falls back to the nearest model, in silence
    if grids.interpolate_type != config.interpolation:
        raise DataError(
            f"the grid {config.model} has no eight models about the star ({point}): use {KEY}.interpolation=nearest, or another model"
        )
    off = (used[0].metallicity - point.metallicity, used[0].teff - point.teff, used[0].logg - point.logg)
    if math.hypot(*(difference / scale for difference, scale in zip(off, FAR, strict=True))) > 1:
        raise DataError(f"the grid {config.model} has no model near the star ({point}): the nearest is {used[0]}; take another {KEY}.model")
    return wavelengths, mus, intensities


def _reader(config: ExoticLd, own: Callable[..., Models], used: list[StarPoint], read: bool) -> Callable[..., Models]:
    """In place of exotic-ld's reader of a model (`own`): refuses a file that is not there, and keeps which models were `used`."""

    def local(M_H: Any, Teff: Any, logg: Any) -> Models:
        point = StarPoint(float(M_H) + 0.0, float(Teff), float(logg))
        file = _file(config, point)
        if not file.is_file():
            raise DataError(
                f"{KEY}.data='{config.data}' lacks the model {file.relative_to(_folder(config))}: nothing is downloaded in a run; get it "
                "from ExoTiC-LD's data archive first (docs/stages/phase.md)"
            )
        used.append(point)
        if not read:
            return np.zeros(2), np.zeros(2), np.zeros((2, 2))
        try:
            return own(M_H, Teff, logg)
        except (OSError, ValueError, IndexError) as exc:
            raise DataError(f"{file}: no model of exotic-ld ({exc}): fetch it again") from exc

    return local


def _file(config: ExoticLd, point: StarPoint) -> Path:
    """Where exotic-ld keeps a model."""
    metallicity = f"MH{round(point.metallicity, 2) + 0.0}"
    return (
        _folder(config)
        / config.model
        / metallicity
        / f"teff{round(point.teff)}"
        / f"logg{round(point.logg, 1)}"
        / f"{config.model}_spectra.dat"
    )
