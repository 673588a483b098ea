"""`pipeline(visit)` and what a run stores are one Dataset; `until` stops where it says; a raw visit and a run show themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import v50calib
from v50calib import Pipeline, calibrate, open_calibrated, open_visit
from v50calib.errors import DataError
from v50calib.runs.manifest import Entry
from v50calib.runtime.notebook import Bar, notebook_progress

INSTRUMENTS = ("AIRS-CH0", "FGS1")


@pytest.fixture(scope="module")
def planet(dataset: Path) -> str:
    return min(p.name for p in (dataset / "train").iterdir())


@pytest.fixture(scope="module")
def tree(dataset: Path, planet: str, tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    run = tmp_path_factory.mktemp("lazy") / "run"
    assert not calibrate(dataset, run, overrides=["runtime.scheduler=sync"], only=[f"{planet}/0"]).failed
    return open_calibrated(run)


def assert_same_record(one: Any, other: Any, where: str) -> None:
    """Two JSON records with the same keys and words, and numbers that are alike."""
    if isinstance(other, dict):
        assert one.keys() == other.keys(), where
        for name, value in other.items():
            assert_same_record(one[name], value, f"{where}.{name}")
    elif isinstance(other, float):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-7, nan_ok=True), where
    else:
        assert one == other, where


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_a_pipeline_gives_what_a_run_stores(dataset: Path, planet: str, tree: xr.DataTree, instrument: str) -> None:
    stored = tree[f"{planet}/0/{instrument}"].to_dataset()
    lazy = Pipeline()(open_visit(dataset, planet, 0, instrument))
    made = lazy.compute()
    assert type(made) is xr.Dataset
    assert "rest" in lazy
    assert list(made.data_vars) == list(stored.data_vars)
    assert list(made.coords) == list(stored.coords)
    assert list(made.attrs) == list(stored.attrs)
    for name, value in stored.attrs.items():
        if isinstance(value, float):
            assert made.attrs[name] == pytest.approx(value, rel=1e-6, nan_ok=True), name
        elif name == "qc":
            assert_same_record(json.loads(made.attrs[name]), json.loads(value), name)
        elif name != "ephemeris_covariance":
            assert made.attrs[name] == value, name
    for name in stored.variables:
        assert (made[name].dims, made[name].dtype, made[name].attrs) == (stored[name].dims, stored[name].dtype, stored[name].attrs)
        np.testing.assert_allclose(made[name], stored[name], rtol=1e-4, atol=1e-7, err_msg=str(name))


def test_parts_of_lazy_products(dataset: Path, planet: str, tree: xr.DataTree) -> None:
    stored = tree[f"{planet}/0/FGS1"].to_dataset()
    lazy = Pipeline()(open_visit(dataset, planet, 0, "FGS1"))
    (together,) = dask.compute(lazy[["white_depth", "rest"]])
    assert (type(together), list(together.attrs)) == (xr.Dataset, list(stored.attrs))
    # what is selected before it is computed may no longer fit the rest, and a part of the variables has none
    few = lazy.isel(wavelength=slice(0, 1), pair=slice(0, 10)).compute()
    assert few.sizes["wavelength"] == 1
    assert list(lazy[["white_depth"]].compute().data_vars) == ["white_depth"]


def test_lazy_products_can_be_written(dataset: Path, planet: str, tmp_path: Path) -> None:
    lazy = Pipeline.from_profile("calib/official")(open_visit(dataset, planet, 0, "FGS1"))
    lazy.to_zarr(tmp_path / "visit.zarr", zarr_format=3, consolidated=False)
    written = xr.open_zarr(tmp_path / "visit.zarr", consolidated=False)
    assert "rest" not in written
    np.testing.assert_array_equal(written["cds_binned"], lazy["cds_binned"])


def test_a_band_has_one_depth(tree: xr.DataTree, planet: str) -> None:
    ds = tree[f"{planet}/0/FGS1"].to_dataset()
    depths = [float(ds["white_depth"]), float(ds["transit_depth"][0]), ds.attrs["ephemeris_depth"]]
    sigmas = [float(ds["white_depth_sigma"]), float(ds["transit_depth_sigma"][0]), ds.attrs["ephemeris_depth_sigma"]]
    np.testing.assert_allclose(depths, depths[0], rtol=1e-12)
    np.testing.assert_allclose(sigmas, sigmas[0], rtol=1e-9)


def test_the_figure_of_a_lazy_visit_has_its_fit(dataset: Path, planet: str) -> None:
    from matplotlib.figure import Figure

    lazy = Pipeline()(open_visit(dataset, planet, 0, "FGS1"))
    ax = lazy.v50.plot.white_light(Figure().subplots())
    assert "fitted transit" in [t.get_text() for t in ax.get_legend().get_texts()]


PHOTOMETRY = ["photometry", "photometry_var", "photometry_var_rnoise", "photometry_dq", "background", "x_position", "y_position"]


def test_until_stops_there(dataset: Path, planet: str, tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a stage after the last one was run")

    visit = open_visit(dataset, planet, 0, "FGS1")
    stored = tree[f"{planet}/0/FGS1"].to_dataset()
    monkeypatch.setattr("v50calib.engine.series.baseline_and_transit", refuse)
    made = Pipeline().until("photometry")(visit).compute(scheduler="sync")
    assert list(made.data_vars) == PHOTOMETRY
    np.testing.assert_allclose(made["photometry"], stored["photometry"], rtol=1e-5)
    np.testing.assert_array_equal(made["time"], stored["time"])
    monkeypatch.undo()
    monkeypatch.setattr("v50calib.engine.series.depths_of", refuse)
    made = Pipeline().until("trace")(visit).compute(scheduler="sync")
    assert "trace_norm" in made
    assert not [n for n in made.variables if str(n).startswith(("phase", "transit_depth", "fit_", "white_depth"))]


def test_frames_up_to_cds_have_the_times_of_products(dataset: Path, planet: str, tree: xr.DataTree) -> None:
    steps = Pipeline().until("cds")(open_visit(dataset, planet, 0, "AIRS-CH0"))
    np.testing.assert_array_equal(steps["time"], tree[f"{planet}/0/AIRS-CH0"].to_dataset()["time"])
    assert steps["cds_corrected"].dims == ("pair", "y", "x")
    assert steps["raw_frames"].dims == ("frame", "y", "x")


def test_visits_of_a_root_are_a_table(dataset: Path, planet: str) -> None:
    table = v50calib.visits(dataset)
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == ["planet_id", "visit", "instrument", "split"]
    # two planets, one of them with two visits
    assert len(table) == 6
    for row in v50calib.visits(dataset, planet).itertuples():
        assert open_visit(dataset, row.planet_id, row.visit, row.instrument).attrs["split"] == row.split
    with pytest.raises(DataError, match="12345"):
        v50calib.visits(dataset, 12345)


def test_a_raw_visit_draws_a_read(dataset: Path, planet: str) -> None:
    visit = open_visit(dataset, planet, 0, "FGS1")
    with dask.config.set(scheduler="sync"):
        ax = visit.v50.plot.raw_frames(frame=3)
    np.testing.assert_array_equal(ax.images[0].get_array(), visit["raw_frames"][3])
    assert "read 3" in ax.get_title()
    with pytest.raises(DataError, match="is not among the"):
        visit.v50.plot.raw_frames(frame=10**6)


def test_a_run_says_what_it_holds_in_a_few_lines(tree: xr.DataTree, planet: str) -> None:
    text = repr(tree)
    assert text.splitlines()[0] == "Calibrated visits: 2 products of 1 planet (1 AIRS-CH0, 1 FGS1)"
    assert len(text.splitlines()) < 12
    assert planet in tree._repr_html_()
    # a product says all of itself
    assert "white_depth" in repr(tree[f"{planet}/0/FGS1"])


def test_a_bar_in_a_notebook() -> None:
    assert notebook_progress() is None
    bar, shown = Bar(), []
    bar._show = shown.append  # type: ignore[method-assign]
    bar(Entry("7", 0, "FGS1", "skipped"), 1, 3)
    bar(Entry("7", 1, "FGS1", "failed"), 2, 3)
    bar(Entry("7", 2, "FGS1", "done"), 3, 3)
    assert shown[-1]["text/plain"] == "2 of 2 visits, 1 failed"
    assert shown[-1]["text/html"].startswith('<progress value="2" max="2"')
