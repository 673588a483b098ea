"""Exports against the products themselves, each format by a reader that is not ours; what is missing, refused and unfinished."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import binned_statistic
from tests.helpers.exports import invoke, read

from v50calib import calibrate, open_calibrated
from v50calib.errors import ConfigError, StoreError
from v50calib.export import write as module
from v50calib.export.write import export, plan_export

WHAT = ("lightcurves", "normalized", "cubes", "spectra")


@pytest.fixture(scope="module")
def run(whole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three visits x two instruments, of which one product is gone."""
    out = Path(shutil.copytree(whole_run, tmp_path_factory.mktemp("export") / "run"))
    shutil.rmtree(gone(out))
    return out


def gone(out: Path) -> Path:
    return max(p for p in (out / "calibrated.zarr").iterdir() if p.is_dir()) / "0" / "FGS1"


def products(run: Path) -> dict[tuple[str, int, str], xr.Dataset]:
    found = [leaf.to_dataset().load() for leaf in open_calibrated(run).leaves]
    return {(ds.attrs["planet_id"], ds.attrs["visit"], ds.attrs["instrument"]): ds for ds in found}


def place(got: dict[str, NDArray[Any]], key: tuple[str, int, str]) -> tuple[int, slice]:
    (row,) = np.flatnonzero((got["planet_id"].astype(object) == key[0]) & (got["visit_number"] == key[1]))
    return int(row), slice(0, 1) if key[2] == "FGS1" else slice(1, 283)


@pytest.mark.parametrize("fmt", ["zarr", "netcdf", "npz", "hdf5"])
@pytest.mark.parametrize("what", WHAT)
def test_round_trip(run: Path, tmp_path: Path, what: str, fmt: str) -> None:
    result = invoke(run, tmp_path / "out", "--what", what, "--format", fmt)
    assert result.exit_code == 0, result.output
    got = read(tmp_path / "out", fmt)
    made = products(run)
    assert len(made) == 5
    assert got["wavelength"].shape == (283,)
    assert got["wavelength"][0] == 0.7
    assert (np.diff(got["wavelength"][1:]) > 0).all()
    assert got["present"].sum() == 5
    for key, ds in made.items():
        row, channels = place(got, key)
        np.testing.assert_array_equal(got["wavelength"][channels], ds.wavelength)
        column = 0 if key[2] == "FGS1" else 1
        assert got["white_depth"][row, column] == ds.white_depth
        check(what, got, row, channels, ds)
    row, channels = place(got, (gone(run).parts[-3], 0, "FGS1"))
    assert not got["mask"][row][..., channels].any()
    value = {"lightcurves": "photometry", "normalized": "trace_norm", "cubes": "cube", "spectra": "transit_depth"}[what]
    assert np.isnan(got[value][row][..., channels]).all()
    assert got["mask"][row][..., 1:].any()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def check(what: str, got: dict[str, NDArray[Any]], row: int, channels: slice, ds: xr.Dataset) -> None:
    if what == "spectra":
        np.testing.assert_array_equal(got["transit_depth"][row, channels], ds.transit_depth)
        np.testing.assert_array_equal(got["transit_depth_sigma"][row, channels], ds.transit_depth_sigma)
        return
    width = float(np.diff(got["time"])[0])
    edges = np.arange(len(got["time"]) + 1) * width
    if what == "lightcurves":
        flux = ds.photometry.values.astype(float)
        mean = binned_statistic(ds.time.values, flux.T, "mean", edges).statistic.T
        number = np.histogram(ds.time.values, edges)[0]
        np.testing.assert_array_equal(got["count"][row, :, channels], np.repeat(number[:, None], mean.shape[1], 1))
        np.testing.assert_allclose(got["photometry"][row, :, channels], mean, rtol=2e-7)
        assert "trace_norm" not in got
        outside = np.abs(got["time"] - float(ds.mid_transit_time)) > 0.6 * float(ds.transit_duration)
        light, var = got["light"][row, :, channels], got["light_var"][row, :, channels]
        pull = ((light[outside] - 1.0) / np.sqrt(var[outside])).ravel()
        # the fitted terms take some %; the one channel of FGS1 has some 50 samples, and their rms scatters by 1 / sqrt(2 n)
        assert abs(np.sqrt(np.nanmean(pull**2)) - 0.95) < 0.08 + 4 / np.sqrt(2 * pull.size)
        total = binned_statistic(ds.time.values, ds.photometry_var.values.astype(float).T, "sum", edges).statistic.T
        np.testing.assert_allclose(got["photometry_var"][row, :, channels], total / number[:, None] ** 2, rtol=2e-7)
        np.testing.assert_array_equal(got["mask"][row, :, channels], np.isfinite(mean))
        flags = np.bitwise_or.reduce(ds.photometry_dq.values, axis=0)
        np.testing.assert_array_equal(np.bitwise_or.reduce(got["dq"][row, :, channels], axis=0), flags)
        return
    if what == "normalized":
        normal = binned_statistic(ds.time.values, ds.trace_norm.values.astype(float).T, "mean", edges).statistic.T
        np.testing.assert_allclose(got["trace_norm"][row, :, channels], normal, rtol=2e-7)
        np.testing.assert_array_equal(got["mask"][row, :, channels], np.isfinite(normal))
        return
    cube = ds.cds_binned.values.astype(float)
    narrow = np.nansum(cube, axis=2, keepdims=True) if channels.start == 0 else cube[:, :, 320:38:-1]
    for i in range(len(edges) - 1):
        inside = (ds.bin_time.values >= edges[i]) & (ds.bin_time.values < edges[i + 1])
        if inside.any():
            expected = narrow[inside].sum(axis=0)
            np.testing.assert_allclose(got["cube"][row, i, :, channels], expected, rtol=2e-7, atol=1e-2)
            np.testing.assert_array_equal(got["mask"][row, i, :, channels], np.isfinite(expected))
    # no electron is lost on the way to the grid
    assert got["pairs"][row, :, 0 if channels.start == 0 else 1].sum() == ds.sizes["bin"] * round(ds.sizes["pair"] / ds.sizes["bin"])
    if channels.start == 0:
        np.testing.assert_allclose(np.nansum(got["fgs1"][row].astype(float)), np.nansum(cube), rtol=1e-6)


@pytest.mark.parametrize("what", ["lightcurves", "normalized", "spectra"])
def test_csv_has_a_line_for_each_value_that_is_there(run: Path, tmp_path: Path, what: str) -> None:
    assert invoke(run, tmp_path / "o.csv", "--what", what, "--format", "csv", "--bin-s", "900").exit_code == 0
    assert invoke(run, tmp_path / "o.npz", "--what", what, "--format", "npz", "--bin-s", "900").exit_code == 0
    got = read(tmp_path / "o.npz", "npz")
    with (tmp_path / "o.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == got["mask"].sum()
    value = {"lightcurves": "light", "normalized": "trace_norm", "spectra": "transit_depth"}[what]
    kind = got[value].dtype.type
    assert [kind(line[value]) for line in lines] == got[value][got["mask"]].tolist()
    assert {line["planet_id"] for line in lines} == set(got["planet_id"].tolist())
    assert {float(line["wavelength"]) for line in lines} == set(got["wavelength"].tolist())


def test_blocks_of_one_visit_give_the_same(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few visits are held at a time: memory is bounded by a block, and nothing depends on it."""
    export(run, tmp_path / "a.npz", "lightcurves", "npz")
    monkeypatch.setattr("v50calib.export.grid.BLOCK_BYTES", 1)
    sizes: list[int] = []
    blocks = module._blocks
    monkeypatch.setattr(module, "_blocks", lambda *a: ((sizes.append(len(r["mask"])), (s, r))[1] for s, r in blocks(*a)))
    export(run, tmp_path / "b.npz", "lightcurves", "npz")
    assert sizes == [1, 1, 1]
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_bins_are_as_wide_as_asked_or_as_the_sampling(run: Path) -> None:
    assert plan_export(run, "lightcurves", "zarr", bin_s=900.0).grid.sizes["bin"] == 30
    made = products(run)
    slowest = max(float(np.median(np.diff(ds.time))) for ds in made.values())
    assert plan_export(run, "lightcurves", "zarr").axes.width_h == slowest > 144 / 3600


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--what", "cubes", "--format", "csv"], 2, "csv cannot hold cubes"),
        (["--bin-s", "-3"], 2, "no width of a time bin"),
        (["--format", "parquet"], 2, "'zarr', 'netcdf', 'npz', 'hdf5', 'csv'"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Path, tmp_path: Path, options: list[str], code: int, words: str) -> None:
    result = invoke(run, tmp_path / "out", *options)
    assert result.exit_code == code
    assert words in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_used(run: Path, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    for out, words in ((tmp_path / "there", "--overwrite"), (tmp_path / "there" / "x", "cannot write"), (run, "--overwrite")):
        result = invoke(run, out, "--what", "spectra")
        assert result.exit_code == 4
        assert words in result.stderr
    assert invoke(run, run, "--what", "spectra", "--overwrite").exit_code == 4
    assert (tmp_path / "there").read_text() == "mine"
    assert invoke(tmp_path / "nothing", tmp_path / "out").exit_code == 4


def test_an_object_store_is_refused(run: Path) -> None:
    pytest.importorskip("obstore")
    with pytest.raises(ConfigError, match="writes to a local file system, not to s3://bucket/out"):
        export(run, "s3://bucket/out", "spectra")


def test_overwrite_replaces_a_store_and_a_file(run: Path, tmp_path: Path) -> None:
    for fmt in ("zarr", "npz", "zarr"):
        assert invoke(run, tmp_path / "out", "--what", "spectra", "--format", fmt, "--overwrite").exit_code == 0
        assert read(tmp_path / "out", fmt)["present"].sum() == 5
        assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("fmt", ["zarr", "npz", "hdf5"])
def test_an_export_that_fails_leaves_what_was_there(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fmt: str) -> None:
    """A product that goes bad midway: no half-written file, and an older one stays."""
    old = tmp_path / "out"
    export(run, old, "spectra", "csv")
    before = old.read_bytes()
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    chunk = max((copy / "calibrated.zarr").glob("*/0/AIRS-CH0")) / "trace_norm" / "c.0.0"
    chunk.write_bytes(chunk.read_bytes()[:100])
    monkeypatch.setattr("v50calib.export.grid.BLOCK_BYTES", 1)
    with pytest.raises(StoreError, match=r"trace_norm of product .* is damaged.*verify --quarantine"):
        export(copy, old, "normalized", fmt, overwrite=True)  # type: ignore[arg-type]
    assert old.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "run"]


def test_products_that_do_not_fit(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    first = min((copy / "calibrated.zarr").glob("*/0/AIRS-CH0"))
    meta = json.loads((first / "zarr.json").read_text())
    (first / "zarr.json").write_text(json.dumps(meta | {"attributes": meta["attributes"] | {"config_hash": "other"}}))
    with pytest.raises(StoreError, match="of another config"):
        plan_export(copy, "spectra", "zarr")
    (first / "zarr.json").write_text(json.dumps(meta))
    first.rename(first.with_name("NIRCam"))
    with pytest.raises(StoreError, match="FGS1 and AIRS-CH0 only"):
        plan_export(copy, "spectra", "zarr")
    shutil.rmtree(first.with_name("NIRCam"))
    other = copy / "calibrated.zarr" / first.parts[-3] / "1" / "AIRS-CH0"
    shutil.rmtree(other / "transit_depth")
    with pytest.raises(StoreError, match=r"/1/AIRS-CH0 has lost transit_depth, which it was committed with"):
        plan_export(copy, "spectra", "zarr")
    meta = json.loads((other / "zarr.json").read_text())
    del meta["consolidated_metadata"]["metadata"]["transit_depth"]
    (other / "zarr.json").write_text(json.dumps(meta))
    with pytest.raises(StoreError, match=r"/1/AIRS-CH0 has no transit_depth"):
        plan_export(copy, "spectra", "zarr")


def test_room_is_looked_at_before(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type(usage)(1, 1, 0))
    with pytest.raises(StoreError, match=r"npz needs .* GB while it is written"):
        export(run, tmp_path / "o.npz", "spectra", "npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["spectra", "planets"])
def test_an_update_during_an_export_is_noticed(dataset: Path, whole_run: Path, tmp_path: Path, what: str) -> None:
    """What the grid says of its config is true of every number in it, or there is no grid."""
    copy = Path(shutil.copytree(whole_run, tmp_path / "run"))

    def update(label: str, done: int, total: int) -> None:
        if done == 1:
            more = ["runtime.scheduler=sync", "calib.phase.depths.enabled=true", "calib.phase.binning.nbins=77"]
            assert not calibrate(dataset, copy, "calib/nominal", more, update=True).failed

    with pytest.raises(StoreError, match=r"was replaced by a run while the export read it.*nothing was written"):
        export(copy, tmp_path / "out", what, progress=update)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    export(copy, tmp_path / "out", what)  # type: ignore[arg-type]
    (claimed,) = {leaf.attrs["config_hash"] for leaf in open_calibrated(copy).leaves if leaf.has_data}
    with xr.open_zarr(tmp_path / "out", consolidated=False) as ds:
        assert ds.attrs["config_hash"] == claimed
