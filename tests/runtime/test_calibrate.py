"""`calibrate` on small datasets: products, resume, isolation of failures, schedulers that agree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from v50calib import Pipeline, calibrate, open_calibrated, open_visit
from v50calib.errors import DataError, StoreError
from v50calib.io.storage.commit import is_committed
from v50calib.runs import manifest
from v50calib.schema import CALIBRATED

SYNC = ["runtime.scheduler=sync"]


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "nominal"
    summary = calibrate(dataset, out, overrides=SYNC)
    assert (summary.count("done"), len(summary.failed)) == (6, 0)
    return out


def test_products_are_what_the_schema_says(run: Path, dataset: Path) -> None:
    tree = open_calibrated(run)
    assert len(tree.leaves) == 6
    for leaf in tree.leaves:
        ds = leaf.to_dataset()
        assert leaf.path == f"/{ds.attrs['planet_id']}/{ds.attrs['visit']}/{ds.attrs['instrument']}"
        assert {"cds_binned", "photometry", "trace_norm", "phase_fold", "transit_depth", "pixel_dq"} <= set(ds.data_vars)
        for name, var in ds.data_vars.items():
            spec = CALIBRATED[str(name)]
            assert (var.dims, var.dtype.kind in spec.kinds, var.attrs.get("units", "")) == (spec.dims, True, spec.units), name
        assert json.loads(ds.attrs["stage_status"])["cds"] == "done"
        assert {"config_hash", "reference_hashes", "versions", "qc"} <= set(ds.attrs)
        assert not any(str(dataset) in str(v) for v in ds.attrs.values())
        wavelength = ds["wavelength"].to_numpy()
        if ds.attrs["instrument"] == "AIRS-CH0":
            expected = np.loadtxt(dataset / "wavelengths.csv", delimiter=",", skiprows=1)[1:]
            np.testing.assert_allclose(wavelength, expected, rtol=0, atol=2e-15)
        else:
            assert wavelength.tolist() == [0.7]


@pytest.mark.parametrize("instrument", ["AIRS-CH0", "FGS1"])
def test_batch_equals_the_lazy_pipeline(run: Path, dataset: Path, instrument: str) -> None:
    planet = sorted(p.name for p in (dataset / "train").iterdir())[1]
    batch = open_calibrated(run)[f"/{planet}/0/{instrument}"].to_dataset().compute()
    lazy = Pipeline.from_profile("calib/nominal")(open_visit(dataset, planet, 0, instrument)).compute()
    # what the planet's fit works on is stored with the products of a run alone: its size is known only when it has been made
    assert {name for name in set(batch.data_vars) ^ set(lazy.data_vars) if not str(name).startswith("fit_")} == set()
    for name in lazy.data_vars:
        np.testing.assert_array_equal(batch[name], lazy[name], err_msg=str(name))


def test_running_again_skips_and_another_config_is_refused(run: Path, dataset: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in run.rglob("_COMMIT.json")}
    assert len([p for p in before if "calibrated.zarr" in p.parts]) == 6
    assert calibrate(dataset, run, overrides=SYNC).count("skipped") == 6
    assert before == {p: p.stat().st_mtime_ns for p in run.rglob("_COMMIT.json")}
    with pytest.raises(StoreError, match=r"another config.*calib\.phase\.binning\.nbins \(187 → 50\)"):
        calibrate(dataset, run, overrides=[*SYNC, "calib.phase.binning.nbins=50"])
    assert before == {p: p.stat().st_mtime_ns for p in run.rglob("_COMMIT.json")}


def test_a_removed_product_is_redone_and_identical(run: Path, dataset: Path) -> None:
    victim = next(p.parent for p in sorted(run.rglob("_COMMIT.json")))
    record = (victim / "_COMMIT.json").read_text()
    shutil.rmtree(victim)
    summary = calibrate(dataset, run, overrides=SYNC)
    assert (summary.count("done"), summary.count("skipped")) == (1, 5)
    assert (victim / "_COMMIT.json").read_text() == record


def test_overwrite_redoes_under_the_new_config(dataset: Path, tmp_path: Path) -> None:
    planet = sorted(p.name for p in (dataset / "train").iterdir())[1]
    only = {"planets": [planet]}
    fgs = [*SYNC, "calib.photometry.instrument.name=FGS1"]
    calibrate(dataset, tmp_path / "r", overrides=fgs, **only)
    calibrate(dataset, tmp_path / "r", overrides=[*fgs, "calib.phase.binning.nbins=33"], overwrite=True, **only)
    leaves = open_calibrated(tmp_path / "r").leaves
    assert [leaf.to_dataset().sizes["phase_bin"] for leaf in leaves] == [33]


def test_one_bad_visit_is_recorded_and_the_others_are_done(dataset: Path, tmp_path: Path) -> None:
    broken = tmp_path / "data"
    shutil.copytree(dataset, broken)
    planet = min(p.name for p in (broken / "train").iterdir())
    (broken / "train" / planet / "FGS1_calibration_1" / "flat.parquet").unlink()
    out = tmp_path / "r"
    summary = calibrate(broken, out, overrides=SYNC)
    assert (summary.count("done"), len(summary.failed)) == (5, 1)
    failed = summary.failed[0]
    assert failed.label == f"{planet}/1/FGS1"
    assert "flat.parquet" in failed.error
    assert failed.error_type == "DataError"
    assert not is_committed(out / "calibrated.zarr" / planet / "1" / "FGS1")
    kept = {e.label: e.state for e in manifest.read(out)}
    assert kept[failed.label] == "failed"
    assert sum(s == "done" for s in kept.values()) == 5
    # repaired: the same call resumes the run
    shutil.copy(dataset / "train" / planet / "FGS1_calibration_1" / "flat.parquet", broken / "train" / planet / "FGS1_calibration_1")
    again = calibrate(broken, out, overrides=SYNC)
    assert (again.count("done"), again.count("skipped")) == (1, 5)
    assert {e.state for e in manifest.read(out)} == {"done"}


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_a_damaged_first_visit_does_not_stop_the_others(store: Path, tmp_path: Path, scheduler: str) -> None:
    """The one that memory is planned by, and one whose chunks were to be tasks of their own (more threads than visits)."""
    broken = tmp_path / "raw.zarr"
    shutil.copytree(store, broken)
    planet = min(p.name for p in (broken / "train").iterdir() if p.is_dir())
    (broken / "train" / planet / "0" / "FGS1" / "time" / "zarr.json").write_text("{")
    fgs1 = ["calib.photometry.instrument.name=FGS1", "runtime.num_workers=9"]
    summary = calibrate(broken, tmp_path / "r", overrides=[f"runtime.scheduler={scheduler}", *fgs1])
    assert summary.count("done") == 2
    assert [(e.label, e.error_type) for e in summary.failed] == [(f"{planet}/0/FGS1", "DataError")]
    assert "is damaged" in summary.failed[0].error


@pytest.mark.parametrize(("root", "planets", "threads"), [("dataset", 3, 2), ("store", 3, 4), ("store", 1, 3)])
def test_threads_without_dask_give_identical_bytes(
    run: Path, request: pytest.FixtureRequest, dataset: Path, tmp_path: Path, root: str, planets: int, threads: int
) -> None:
    """Several visits at a time, or (fewer visits than threads) the chunks of one visit at a time."""
    chosen = sorted(p.name for p in (dataset / "train").iterdir())[:planets]
    overrides = [*SYNC, f"runtime.threads_per_worker={threads}", "runtime.chunk_pairs=60"]
    summary = calibrate(request.getfixturevalue(root), tmp_path / "r", overrides=overrides, planets=chosen)
    assert summary.count("failed") == 0
    for leaf in open_calibrated(tmp_path / "r").leaves:
        reference, mine = open_calibrated(run)[leaf.path].to_dataset(), leaf.to_dataset()
        for name in mine.data_vars:
            if str(name).startswith("cds_binned"):  # bins that lie across two chunks are added in another order
                np.testing.assert_allclose(mine[name], reference[name], rtol=3e-7, err_msg=f"{leaf.path} {name}")
            else:
                np.testing.assert_array_equal(mine[name], reference[name], err_msg=f"{leaf.path} {name}")


@pytest.mark.slow
@pytest.mark.parametrize("root", ["dataset", "store"])
@pytest.mark.parametrize("scheduler", ["threads", "local"])
def test_schedulers_give_identical_bytes(run: Path, request: pytest.FixtureRequest, tmp_path: Path, root: str, scheduler: str) -> None:
    source = request.getfixturevalue(root)
    out = tmp_path / "r"
    summary = calibrate(source, out, overrides=[f"runtime.scheduler={scheduler}", "runtime.num_workers=2"])
    assert summary.count("done") == 6
    for leaf in open_calibrated(run).leaves:
        other = open_calibrated(out)[leaf.path].to_dataset()
        mine = leaf.to_dataset()
        for name in mine.data_vars:
            np.testing.assert_array_equal(mine[name], other[name], err_msg=f"{leaf.path} {name}")


@pytest.mark.slow
def test_few_visits_of_a_store_fan_out_over_time_chunks(run: Path, store: Path, dataset: Path, tmp_path: Path) -> None:
    """One visit on two workers: its chunks become tasks of their own; the numbers stay."""
    planet = sorted(p.name for p in (dataset / "train").iterdir())[1]
    overrides = ["runtime.num_workers=2", "runtime.chunk_pairs=40", "calib.photometry.instrument.name=AIRS"]
    calibrate(store, tmp_path / "r", overrides=overrides, planets=[planet])
    mine = open_calibrated(tmp_path / "r")[f"/{planet}/0/AIRS-CH0"].to_dataset()
    reference = open_calibrated(run)[f"/{planet}/0/AIRS-CH0"].to_dataset()
    for name in ("photometry", "trace_norm", "phase_fold", "photometry_var"):
        xr.testing.assert_allclose(mine[name], reference[name], rtol=1e-6)


def test_unknown_planet_and_empty_root(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown planet 12345.*nearest are"):
        calibrate(dataset, tmp_path / "r", overrides=SYNC, planets=["12345"])
    assert not (tmp_path / "r").exists()


def test_a_directory_that_is_no_run_is_refused(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(StoreError, match="not empty and is no run directory"):
        calibrate(dataset, tmp_path, overrides=SYNC)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
