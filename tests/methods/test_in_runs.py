"""Registered methods at work: a copy of a built-in method gives its digits, lazily, in batch and in worker processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from pydantic import Field
from tests.helpers.toyring import install_toy

import v50calib
from v50calib import Pipeline, calibrate, open_calibrated, open_visit
from v50calib.errors import ConfigError, DataError
from v50calib.kernels import detrend, temporal
from v50calib.kernels.apertures import circular_aperture
from v50calib.kernels.extraction import barycenter, optimal_weights
from v50calib.methods import Options, register, registry
from v50calib.simulate import simulate_dataset
from v50calib.stages.photometry.spectrum import column_model

QUICK = ["output.cubes=none", "calib.phase.enabled=false"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_dataset(tmp_path_factory.mktemp("sim") / "data", planets=1, frames_fraction=0.01, seed=9)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_METHODS", {})


def products(data: Path, instrument: str, *overrides: str) -> xr.Dataset:
    planet = next((data / "train").iterdir()).name
    return Pipeline.from_profile("calib/nominal", [*QUICK, *overrides])(open_visit(data, planet, 0, instrument)).compute()


def assert_same(mine: xr.Dataset, theirs: xr.Dataset, rtol: float = 0.0) -> None:
    assert set(mine.data_vars) == set(theirs.data_vars)
    for name in mine.data_vars:
        np.testing.assert_allclose(mine[name], theirs[name], rtol=rtol, err_msg=str(name))


class Radii(Options):
    inner_px: float = Field(default=10.0, gt=0)
    outer_px: float = Field(default=20.0, gt=0)


class Order(Options):
    order: int = Field(default=2, ge=0)
    window_h: float | None = None


def test_a_background_of_ones_own(data: Path) -> None:
    @register("photometry.background", "ring", options=Radii)
    def ring(scene: Any, options: Radii) -> Any:
        centre = barycenter(scene.image, scene.masked)
        outer, inner = (circular_aperture(scene.shape, centre, r) for r in (options.outer_px, options.inner_px))
        return outer - inner

    for more in ([], ["calib.photometry.background.robust.sigma_clip=4"]):
        mine = products(data, "FGS1", "fgs1.photometry.background.method=ring", "fgs1.photometry.background.options.inner_px=9", *more)
        theirs = products(data, "FGS1", "calib.photometry.background.annulus.inner_px=9", *more)
        assert_same(mine, theirs)


def test_weights_of_ones_own_for_a_band_and_a_spectrum(data: Path) -> None:
    @register("photometry.photometry", "disc", on=["band"])
    def disc(star: Any) -> Any:
        return circular_aperture(star.shape, star.centre, 7.0)

    @register("photometry.photometry", "horne", on=["spectrum"])
    def horne(star: Any) -> Any:
        return np.nan_to_num(7.0 * optimal_weights(star.profile, column_model(star), star.masked | ~star.window))

    both = ["fgs1.photometry.photometry.method=disc", "airs.photometry.photometry.method=horne"]
    assert_same(products(data, "FGS1", *both), products(data, "FGS1"))
    # its scale is the profile's, whatever the function gave
    assert_same(products(data, "AIRS-CH0", *both), products(data, "AIRS-CH0", "airs.photometry.photometry.method=optimal"), rtol=2e-5)
    with pytest.raises(ConfigError, match="recenter_on_centroid moves an aperture"):
        products(data, "FGS1", both[0], "fgs1.photometry.aperture.recenter_on_centroid=true")


def test_a_detector_of_hits_and_a_trend_of_ones_own(data: Path) -> None:
    @register("dark.cosmic_rays", "mine")
    def mine(frames: Any, noise: Any, sigma: float) -> Any:
        hit = np.empty((len(frames), noise.masked.size), bool)
        temporal.find_spikes(np.ascontiguousarray(frames).reshape(hit.shape), sigma * noise.spikes.reshape(2, -1), hit)
        return hit.reshape(frames.shape)

    @register("trace.along_time", "mysavgol", options=Order)
    def mysavgol(values: Any, window: int, options: Order) -> Any:
        return detrend.savgol(values, window, options.order)

    on, window = "calib.dark.cosmic_rays.enabled=true", "window_h=2.0"
    found = products(
        data, "FGS1", on, "calib.dark.cosmic_rays.detector=mine", "calib.trace.along_time.method=mysavgol",
        f"calib.trace.along_time.options.{window}",
    )  # fmt: skip
    assert_same(found, products(data, "FGS1", on, "calib.trace.along_time.method=savgol", f"calib.trace.along_time.savgol.{window}"))
    with pytest.raises(ConfigError, match=r"calib.trace.along_time.options.window_h is a window of 99 h"):
        products(data, "FGS1", "calib.trace.along_time.method=mysavgol", "calib.trace.along_time.options.window_h=99")


def test_what_a_method_gives_is_looked_at(data: Path) -> None:
    register("photometry.background", "none_at_all")(lambda scene: np.zeros(scene.shape))
    register("photometry.background", "flat")(lambda scene: np.ones(3))
    with pytest.raises(DataError, match="leaves no usable pixel with a weight above 0 in this visit of FGS1"):
        products(data, "FGS1", "calib.photometry.background.method=none_at_all")
    with pytest.raises(ConfigError, match=r"background.method=flat .* gave an array \(3,\) of float64, and must give \(32, 32\)"):
        products(data, "FGS1", "calib.photometry.background.method=flat")


def test_batch_equals_lazy_and_a_changed_cell_is_another_config(data: Path, tmp_path: Path) -> None:
    words = [*QUICK, "runtime.scheduler=sync", "calib.photometry.instrument.name=FGS1", "fgs1.photometry.background.method=whole"]
    register("photometry.background", "whole")(lambda scene: scene.good * 1.0)
    run = calibrate(data, tmp_path / "run", overrides=words)
    assert (run.count("done"), len(run.failed)) == (1, 0)
    (leaf,) = open_calibrated(tmp_path / "run").leaves
    batch, lazy = leaf.to_dataset().compute(), products(data, "FGS1", words[-1])
    for name in lazy.data_vars:
        np.testing.assert_array_equal(batch[name], lazy[name], err_msg=str(name))
    assert json.loads(batch.attrs["methods"])[0]["name"] == "whole"
    assert calibrate(data, tmp_path / "run", overrides=words).count("skipped") == 1
    register("photometry.background", "whole")(lambda scene: scene.good * (scene.image > 0))
    assert calibrate(data, tmp_path / "run", overrides=words, update=True).count("done") == 1


NOTEBOOK = """
import sys

from v50calib import Pipeline, calibrate, open_visit
from v50calib.methods import Options, register


class Share(Options):
    rows: int = 8


@register("photometry.background", "edge", options=Share)
def edge(scene, options):
    weights = scene.good * 1.0
    weights[options.rows : -options.rows] = 0.0
    return weights


if __name__ == "__main__":
    data, out, scheduler = sys.argv[1:]
    words = ["output.cubes=none", f"runtime.scheduler={scheduler}", "runtime.num_workers=1", "fgs1.photometry.background.method=ring"]
    words += ["airs.photometry.background.method=edge", "airs.photometry.background.options.rows=6"]
    run = calibrate(data, out, overrides=words)
    print(run, [entry.error for entry in run.failed])
    pipeline = Pipeline.from_profile("calib/nominal", words)
    lazy = pipeline(open_visit(data, run.entries[0].planet_id, 0, "AIRS-CH0"))["photometry"]
    how = "processes" if scheduler == "local" else "sync"
    print("lazily", float(lazy.data.compute(scheduler=how, num_workers=1).sum(dtype="float64")))
"""


@pytest.mark.slow
def test_a_plug_in_and_a_function_of_a_notebook_in_worker_processes(data: Path, tmp_path: Path) -> None:
    install_toy(tmp_path)
    (tmp_path / "notebook.py").write_text(NOTEBOOK)
    env = os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(v50calib.__file__).parents[1]}"}
    trees, sums = [], set[str]()
    for scheduler in ("local", "sync"):
        words = [sys.executable, str(tmp_path / "notebook.py"), str(data), str(tmp_path / scheduler), scheduler]
        told = subprocess.run(words, env=env, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
        assert "2 done" in told, told
        sums.add(told.partition("lazily")[2])
        trees.append({leaf.path: leaf.to_dataset().compute() for leaf in open_calibrated(tmp_path / scheduler).leaves})
    assert len(sums) == 1
    by_processes, here = trees
    assert by_processes.keys() == here.keys()
    for path, products_here in here.items():
        xr.testing.assert_identical(by_processes[path], products_here)
