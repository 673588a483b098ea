"""What the figures are drawn from: one simulated planet, its frames, its run; made once, used by all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr

from v50calib import Pipeline, calibrate, open_calibrated, open_visit
from v50calib.runs.spectra import open_spectra
from v50calib.simulate import read_truth, simulate_dataset

from .style import Float

ROOT = Path(__file__).resolve().parents[2]
#: number of a table's cell: sign, digits, thousands
_NUMBER = re.compile(r"^[+-]?[\d.]+")


@dataclass(frozen=True)
class Material:
    """Dataset and run under `work`, made when a figure first asks for them; `fraction` of a visit's frames, always over its 7.5 h."""

    work: Path
    fraction: float = 0.2
    seed: int = 5

    @cached_property
    def data(self) -> Path:
        """One planet with pointing that drifts by 0.15 px and a spectrum with bands."""
        out = self.work / "data"
        if not out.is_dir():
            simulate_dataset(
                out, planets=1, frames_fraction=self.fraction, seed=self.seed, structured_spectrum=True, lost_frames=0.0,
                jitter_px=(0.1, 0.12), drift_px=0.15,
            )  # fmt: skip
        return out

    @cached_property
    def run(self) -> Path:
        """Its products, profile nominal."""
        out = self.work / "run"
        if not (out / "spectra.zarr").is_dir():
            calibrate(self.data, out, overrides=["runtime.scheduler=sync"])
        return out

    @cached_property
    def spoiled(self) -> xr.Dataset:
        """FGS1 of a visit whose star gives 10 % less light at the end, calibrated."""
        out = self.work / "spoiled"
        if not out.is_dir():
            simulate_dataset(out, planets=1, frames_fraction=self.fraction / 10, seed=self.seed, low_light=0.12)
        run = self.work / "spoiled-run"
        if not (run / "spectra.zarr").is_dir():
            calibrate(out, run, overrides=["runtime.scheduler=sync"])
        return open_calibrated(run)[f"{self._planet(out)}/0/FGS1"].to_dataset().load()

    @staticmethod
    def _planet(root: Path) -> str:
        return str(read_truth(root)["planets"][0]["planet_id"])

    @cached_property
    def truth(self) -> Float:
        """Depths (283,) that were put in."""
        return np.asarray(read_truth(self.data)["planets"][0]["depth"], float)

    def raw(self, instrument: str) -> xr.Dataset:
        """The visit's frames, lazy, and maps."""
        return open_visit(self.data, self._planet(self.data), instrument=instrument)

    def steps(self, instrument: str, last: str, pairs: int = 4) -> xr.Dataset:
        """What each stage up to `last` left of the first pairs."""
        found = Pipeline.from_profile("calib/nominal").until(last)(self.raw(instrument))
        wanted = {"time": slice(0, 2 * pairs), "frame": slice(0, 2 * pairs), "pair": slice(0, pairs)}
        return found.isel({name: part for name, part in wanted.items() if name in found.sizes}).compute()

    def weights(self, method: str) -> Float:
        """Extraction weights (y, x) of AIRS-CH0 by a method."""
        pipeline = Pipeline.from_profile("calib/nominal", [f"calib.photometry.photometry.method={method}"])
        return np.asarray(pipeline(self.raw("AIRS-CH0")).extraction_weights.compute(), float)

    @cached_property
    def products(self) -> dict[str, xr.Dataset]:
        """Dataset of each instrument."""
        return {leaf.attrs["instrument"]: leaf.to_dataset().load() for leaf in open_calibrated(self.run).leaves}

    @cached_property
    def planet(self) -> xr.Dataset:
        """The fit of both instruments together."""
        return open_spectra(self.run)[self._planet(self.data)].load()


def table(page: str, heading: str) -> list[list[str]]:
    """Cells of the first Markdown table whose head begins so; a page of the checkout. Raises ValueError where there is none."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith(heading)), None)
    if start is None:
        raise ValueError(f"{page} has no table whose first row begins with {heading!r}")
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def number(cell: str) -> float:
    """The number that a cell begins with.

    >>> number("+0.49"), number("12.2 h"), number("0.901 ± 0.1")
    (0.49, 12.2, 0.901)
    """
    found = _NUMBER.match(cell)
    if found is None:
        raise ValueError(f"{cell!r} does not begin with a number")
    return float(found[0])
