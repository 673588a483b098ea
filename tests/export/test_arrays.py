"""Arrays for training: what is in them is what the run measured, what is not is NaN, and errors are those of the simulated truth."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.exports import invoke

import v50calib
from v50calib.errors import ConfigError, DataError, StoreError
from v50calib.simulate import simulate_dataset
from v50calib.simulate.transit import light_curves
from v50calib.simulate.truth import read_truth


def table(data: Path) -> dict[int, list[float]]:
    with (data / "train.csv").open(newline="") as stream:
        _, *lines = csv.reader(stream)
    return {int(line[0]): [float(cell) for cell in line[1:]] for line in lines}


def pulls(run: Path, data: Path) -> Iterator[np.ndarray]:
    """(measured less true mean in transit) / its error, (283,) of each visit. The truth comes from the simulator, at the bins' times."""
    arrays = v50calib.to_arrays(run, visits="stacked", clock="start")
    truth = {int(planet["planet_id"]): planet for planet in read_truth(data)["planets"]}
    width = arrays.time[1] - arrays.time[0]
    fine = arrays.time[:, None] + (np.arange(9) - 4) / 9 * width
    assert arrays.visit is not None
    for row, (planet, visit) in enumerate(zip(arrays.ids, arrays.visit, strict=True)):
        one = truth[int(planet)]
        t0 = one["visits"][visit]["t0_h"]
        curve = light_curves(fine.ravel(), t0, one["star"], *(np.array(one[name]) for name in ("depth", "u1", "u2")))
        inside = np.abs(arrays.time - t0) < 0.4 * one["duration_h"]
        mean, sigma = arrays.mean(inside)
        true = np.where(arrays.mask[row], curve.reshape(len(arrays.time), 9, -1).mean(axis=1), np.nan)
        yield (mean[row] - np.nanmean(true[inside], axis=0)) / sigma[row]


def test_rows_are_planets_and_labels_are_theirs(whole_run: Path, dataset: Path) -> None:
    arrays, known = v50calib.to_arrays(whole_run, labels=dataset / "train.csv"), table(dataset)
    assert sorted(arrays.ids.tolist()) == sorted(known)
    assert arrays.labels is not None
    np.testing.assert_allclose(arrays.labels, [known[i] for i in arrays.ids.tolist()], rtol=1e-6)
    assert arrays.light.shape == (2, len(arrays.time), 283)
    assert {a.dtype for a in (arrays.light, arrays.variance, arrays.baseline_variance, arrays.labels)} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(arrays.mask, np.isfinite(arrays.light))
    np.testing.assert_array_equal(arrays.mask, np.isfinite(arrays.variance))
    # hours from mid-transit: bins beyond a visit are missing, and are no zeros
    assert arrays.time[0] < -2 < 2 < arrays.time[-1]
    assert 0 < (~arrays.mask).sum() < 0.4 * arrays.mask.size
    assert arrays.light[arrays.mask].min() > 0.5
    assert (np.diff(arrays.wavelength[1:]) > 0).all()
    assert (arrays.visit, arrays.notes) == (None, ())
    assert len(repr(arrays)) < 100


def test_stacked_visits_are_what_combined_ones_are_made_of(whole_run: Path) -> None:
    one, each = v50calib.to_arrays(whole_run, n_bins=40), v50calib.to_arrays(whole_run, n_bins=40, visits="stacked")
    assert each.visit is not None
    assert len(each.ids) == 3
    row = next(i for i, planet in enumerate(one.ids) if (each.ids == planet).sum() == 2)
    own = np.flatnonzero(each.ids == one.ids[row])
    assert each.visit[own].tolist() == [0, 1]
    noise = (each.variance - each.baseline_variance)[own].astype(float)
    both = each.mask[own].all(axis=0)
    mean = (each.light[own] / noise).sum(axis=0) / (1 / noise).sum(axis=0)
    np.testing.assert_allclose(one.light[row][both], mean[both], rtol=1e-5)
    np.testing.assert_allclose((one.variance - one.baseline_variance)[row][both], 1 / (1 / noise).sum(axis=0)[both], rtol=1e-2)


def test_the_mean_in_transit_is_the_true_one_within_its_error(whole_run: Path, dataset: Path) -> None:
    found = np.concatenate(list(pulls(whole_run, dataset)))
    assert found.size == 3 * 283
    assert abs(found.mean()) < 0.3
    assert 0.85 < found.std() < 1.1


@pytest.mark.slow
def test_of_twenty_planets_as_well(tmp_path: Path) -> None:
    """Pulls of 20 planets, 30 visits: no bias, rms 0.9 to 1.1, for each instrument."""
    data = simulate_dataset(tmp_path / "data", planets=20, visits=[2, 1], frames_fraction=0.02, seed=501)
    run = tmp_path / "run"
    lean = ["output.cubes=none", "calib.photometry.output.save.flux=false", "calib.photometry.output.save.variance=false"]
    assert not v50calib.calibrate(data, run, overrides=["runtime.scheduler=sync", *lean]).failed
    found = np.stack(list(pulls(run, data)))
    assert abs(found[:, 0].mean()) < 2.5 / np.sqrt(len(found))
    assert abs(found[:, 1:].mean()) < 0.1
    assert 0.75 < np.sqrt(np.square(found[:, 0]).mean()) < 1.25
    assert 0.9 < np.sqrt(np.square(found[:, 1:]).mean()) < 1.1


def test_what_is_missing_is_nan_and_noted(whole_run: Path, dataset: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole_run, tmp_path / "run"))
    visit = min((run / "calibrated.zarr").glob("*/1")).parent / "0"
    shutil.rmtree(visit / "FGS1")
    planet = visit.parent.name
    arrays = v50calib.to_arrays(run, visits="stacked", clock="start")
    assert arrays.visit is not None
    row = int(np.flatnonzero((arrays.ids == int(planet)) & (arrays.visit == 0))[0])
    assert np.isnan(arrays.light[row, :, 0]).all()
    assert not arrays.mask[row, :, 0].any()
    assert arrays.mask[row, :, 1:].any()
    assert f"planet {planet}, visit 0, FGS1: no product" in arrays.notes
    # a table that lacks a planet
    lines = (dataset / "train.csv").read_text().splitlines()
    (tmp_path / "some.csv").write_text("\n".join(line for line in lines if not line.startswith(f"{planet},")))
    some = v50calib.to_arrays(run, labels=tmp_path / "some.csv")
    assert some.labels is not None
    assert np.isnan(some.labels[some.ids == int(planet)]).all()
    assert np.isfinite(some.labels[some.ids != int(planet)]).all()
    assert f"planet {planet}: no label" in some.notes


def test_a_folder_is_mapped_and_holds_the_same(whole_run: Path, dataset: Path, tmp_path: Path) -> None:
    held = v50calib.to_arrays(whole_run, labels=dataset)
    result = invoke(whole_run, tmp_path / "out", "--format", "npy", "--labels", dataset / "train.csv")
    assert result.exit_code == 0, result.output
    there = v50calib.open_arrays(tmp_path / "out")
    assert isinstance(there.light, np.memmap)
    for name in ("light", "variance", "baseline_variance", "mask", "labels", "ids", "time", "wavelength"):
        np.testing.assert_array_equal(getattr(held, name), getattr(there, name))
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "light.npy", allow_pickle=False), held.light)
    # what an export made is replaced when asked, what someone put there is not
    assert invoke(whole_run, tmp_path / "out", "--format", "npy").exit_code == 4
    assert invoke(whole_run, tmp_path / "out", "--format", "npy", "--overwrite").exit_code == 0
    (tmp_path / "out" / "mine.txt").write_text("mine")
    refused = invoke(whole_run, tmp_path / "out", "--format", "npy", "--overwrite")
    assert (refused.exit_code, "mine.txt" in refused.stderr) == (4, True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_relative_curves_keep_their_baseline(whole_run: Path) -> None:
    plain = v50calib.to_arrays(whole_run, curves="relative", visits="stacked", clock="start")
    clean = v50calib.to_arrays(whole_run, visits="stacked", clock="start")
    np.testing.assert_array_equal(plain.mask, clean.mask)
    assert np.nanstd(plain.light - clean.light) > 1e-5
    assert (plain.baseline_variance[plain.mask] == 0).all()


def test_choices_that_do_not_fit_are_refused(whole_run: Path, tmp_path: Path) -> None:
    ask = v50calib.to_arrays
    with pytest.raises(ConfigError, match=r"n_bins = 900 is finer than the light curves, which have bins of \d+ s: ask for \d+ at most"):
        ask(whole_run, n_bins=900)
    with pytest.raises(ConfigError, match="several visits"):
        ask(whole_run, clock="start")
    with pytest.raises(ConfigError, match="visits = 'all' is none of combined, stacked"):
        ask(whole_run, visits="all")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="does not exist"):
        ask(whole_run, labels=tmp_path / "train.csv")
    (tmp_path / "other.csv").write_text(",".join(["planet_id", *(f"wl_{i}" for i in range(1, 284))]) + "\n7" + ",0.01" * 283)
    with pytest.raises(DataError, match="no planet in common"):
        ask(whole_run, labels=tmp_path / "other.csv")
    with pytest.raises(StoreError, match="no run directory"):
        ask(tmp_path)
    for options in (["--what", "spectra"], ["--bin-s", "200"]):
        assert invoke(whole_run, tmp_path / "out", "--format", "npy", *options).exit_code == 2
    assert invoke(whole_run, tmp_path / "out", "--labels", tmp_path / "other.csv").exit_code == 2


def test_a_run_without_depths_is_told_what_to_do(whole_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole_run, tmp_path / "run"))
    shutil.rmtree(run / "spectra.zarr")
    for meta in (run / "calibrated.zarr").glob("*/*/*/zarr.json"):
        content = json.loads(meta.read_text())
        del content["attributes"]["fit_width_h"]
        meta.write_text(json.dumps(content))
    with pytest.raises(StoreError, match=r"calib\.phase\.depths\.enabled=true"):
        v50calib.to_arrays(run, curves="relative", visits="stacked", clock="start")
    with pytest.raises(StoreError, match=r"calib\.phase\.depths\.enabled=true"):
        v50calib.to_arrays(run)


def test_fits_that_are_missing_are_made(whole_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole_run, tmp_path / "run"))
    shutil.rmtree(run / "spectra.zarr")
    again, stored = v50calib.to_arrays(run), v50calib.to_arrays(whole_run)
    np.testing.assert_allclose(again.light, stored.light, rtol=1e-6)
