"""The part of exotic-ld 3.2 that is used, in a few lines, and a folder of model spectra whose law is known."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

#: [M/H], Teff, log g of the models that the fake grid has
GRID = [(m, t, g) for m in (0.0, 0.5) for t in (5500.0, 5600.0) for g in (4.4, 4.5)]


def true_law(wavelength_um: Any, teff: float) -> tuple[Any, Any]:
    """u1 and u2 of the models, straight lines in wavelength and temperature."""
    return 0.6 - 0.1 * wavelength_um - 2e-4 * (teff - 5500.0), 0.1 + 0.02 * wavelength_um


def write_model(folder: Path, teff: float, logg: float = 4.4, metallicity: float = 0.0, model: str = "mps1") -> Path:
    """A model of even intensity at the centre of the disc, as exotic-ld's data archive has it: µ, then Å and intensities a line."""
    mus = np.linspace(1.0, 0.02, 24)
    angstrom = np.linspace(4000.0, 45000.0, 821)
    u1, u2 = true_law(angstrom[:, None] / 1e4, teff)
    intensities = 1e8 * (1 - u1 * (1 - mus) - u2 * (1 - mus) ** 2)
    path = folder / model / f"MH{metallicity}" / f"teff{int(teff)}" / f"logg{logg}" / f"{model}_spectra.dat"
    path.parent.mkdir(parents=True)
    rows = [" ".join(f"{v:.10g}" for v in row) for row in np.column_stack([angstrom, intensities])]
    path.write_text("\n".join(["# wavelengths [A], intensities", " ".join(map(str, mus)), *rows]), encoding="ascii")
    return path


class StellarGrids:
    """Looks a star up among GRID; a model that is not in the folder would be downloaded."""

    def __init__(
        self, M_H: float, Teff: float, logg: float, ld_model: str, ld_data_path: str, remote_ld_data_path: str, ld_data_version: str,
        interpolate_type: str, verbose: int,
    ) -> None:  # fmt: skip
        assert (ld_data_version, verbose, "://" in remote_ld_data_path) == ("", 0, False)
        self.star, self.folder, self.ld_model, self.interpolate_type = (M_H, Teff, logg), Path(ld_data_path), ld_model, interpolate_type

    def get_stellar_data(self) -> Any:
        if self.interpolate_type == "nearest":
            return self._read_in_stellar_model(
                *min(GRID, key=lambda point: abs(point[1] - self.star[1]) + 607 * abs(point[2] - self.star[2]))
            )
        low, high = 5500.0, 5600.0
        if not low <= self.star[1] <= high:
            self.interpolate_type = "nearest"
            return self.get_stellar_data()
        below, above = (self._read_in_stellar_model(0.0, t, 4.4) for t in (low, high))
        share = (self.star[1] - low) / (high - low)
        return below[0], below[1], below[2] * (1 - share) + above[2] * share

    def _read_in_stellar_model(self, M_H: float, Teff: float, logg: float) -> Any:
        path = self.folder / self.ld_model / f"MH{M_H}" / f"teff{int(Teff)}" / f"logg{logg}" / f"{self.ld_model}_spectra.dat"
        if not path.exists():
            raise AssertionError(f"{path} would be downloaded")
        mus = np.loadtxt(path, skiprows=1, max_rows=1)
        data = np.loadtxt(path, skiprows=2)
        return data[:, 0], mus, data[:, 1:]


class StellarLimbDarkening:
    """Fits the quadratic law to mean intensities."""

    computed = 0

    def __init__(
        self, *, ld_model: str, custom_wavelengths: Any, custom_mus: Any, custom_stellar_model: Any, verbose: int
    ) -> None:  # fmt: skip
        assert (ld_model, verbose) == ("custom", 0)
        self.wavelengths, self.mus, self.model = custom_wavelengths, custom_mus, custom_stellar_model

    def compute_quadratic_ld_coeffs(
        self, wavelength_range: Any, mode: str, custom_wavelengths: Any, custom_throughput: Any, *, mu_min: float, return_sigmas: bool
    ) -> Any:  # fmt: skip
        assert (mode, return_sigmas, len(custom_wavelengths), len(custom_throughput)) == ("custom", True, 2, 2)
        type(self).computed += 1
        inside = np.linspace(*wavelength_range, 201)
        if inside[-1] > self.wavelengths[-1]:
            raise ValueError("no overlap with stellar spectra's range")
        profile = np.array([np.interp(inside, self.wavelengths, column).mean() for column in self.model.T])
        use = self.mus >= mu_min
        below = 1 - self.mus[use]
        u, *_ = np.linalg.lstsq(np.stack([below, below**2], axis=1), 1 - profile[use] / profile[0], rcond=None)
        return tuple(u), (0.01, 0.02)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `import exotic_ld` find this instead."""
    package, grids = ModuleType("exotic_ld"), ModuleType("exotic_ld.ld_grids")
    StellarLimbDarkening.computed = 0
    package.StellarLimbDarkening = StellarLimbDarkening  # type: ignore[attr-defined]
    grids.StellarGrids = StellarGrids  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "exotic_ld", package)
    monkeypatch.setitem(sys.modules, "exotic_ld.ld_grids", grids)
