"""From depths to a submission: covariances over visits, estimates that have not seen their planet, cross-fitted sigmas, the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result
from tests.uncertainty.test_spectra import visit

from v50calib.cli.main import main
from v50calib.errors import ConfigError, DataError, StoreError
from v50calib.estimators.crossfit import folds_of
from v50calib.estimators.measured import Measured
from v50calib.kernels.covariance import covariance
from v50calib.runs.estimates import open_estimates
from v50calib.runs.spectra import open_spectra
from v50calib.simulate import simulate_dataset
from v50calib.uncertainty.crossfit import crossfit
from v50calib.uncertainty.estimate import check_instruments, check_population, estimate, full_wavelength
from v50calib.uncertainty.fit import fit
from v50calib.uncertainty.model import apply
from v50calib.uncertainty.options import TopLevelCalib
from v50calib.uncertainty.spectra import combine
from v50calib.uncertainty.tables import N_BINS, Predictions, Truth, read_predictions, read_truth, write_truth

WAVELENGTH = np.r_[0.7, np.linspace(1.95, 3.9, 282)]


def test_covariance_of_the_mean_of_visits() -> None:
    """Oracle: the quadratic form of the weights over both visits' whole covariances."""
    rng = np.random.default_rng(0)
    visits, whole, weights = [], np.zeros((2, 282, 282)), np.zeros((2, 282))
    for i, size in enumerate((1e-4, 2e-4)):
        ds = visit("7", "AIRS-CH0", number=i)
        sigma, shared = size * rng.uniform(1.0, 1.5, 282), 0.3 * size * rng.normal(size=(282, 3)) / 2
        ds["transit_depth_sigma"] = ("wavelength", sigma)
        ds["transit_depth_shared"] = (("wavelength", "shared"), shared)
        visits += [ds, visit("7", "FGS1", number=i, sigma=size)]
        whole[i], weights[i] = covariance(sigma, shared), sigma**-2.0
    weights /= weights.sum(axis=0)
    found = combine(visits).measured[0]
    expected = sum(weights[i][:, None] * whole[i] * weights[i] for i in range(2))
    np.testing.assert_allclose(found.covariance(slice(1, 283)), expected, rtol=1e-9)
    np.testing.assert_allclose(np.diag(expected) ** 0.5, combine(visits).predictions.sigma[0, 1:], rtol=1e-9)


def test_instruments_of_a_planet_s_fit_share_its_columns() -> None:
    """A wrong orbit moves both: the covariance between FGS1 and AIRS-CH0 is that of the joint fit."""
    shared = np.full((283, 1), 5e-5)
    names = {"transit_depth": np.full(283, 0.012), "transit_depth_sigma": np.full(283, 1e-4)}
    fit_ds = xr.Dataset({name: ("wavelength", value) for name, value in names.items()})
    fit_ds["transit_depth_shared"] = (("wavelength", "shared"), shared)
    fit_ds = fit_ds.assign_coords(instrument=("wavelength", np.r_[0, np.ones(282, int)])).assign_attrs(instruments=["FGS1", "AIRS-CH0"])
    found = combine([visit("7", "FGS1"), visit("7", "AIRS-CH0")], fits={"7": fit_ds}).measured[0]
    np.testing.assert_allclose(found.covariance(), covariance(np.full(283, 1e-4), shared), rtol=1e-9)


@pytest.fixture(scope="module")
def worlds() -> tuple[list[str], list[Measured], Truth]:
    """40 planets of one family with depths of 100 ppm noise."""
    rng = np.random.default_rng(3)
    bump = np.exp(-0.5 * ((WAVELENGTH - 2.7) / 0.2) ** 2)
    truth = rng.uniform(0.005, 0.02, (40, 1)) + 2e-4 * rng.lognormal(sigma=0.5, size=(40, 1)) * bump
    measured = [Measured.independent(y + 1e-4 * rng.normal(size=N_BINS), np.full(N_BINS, 1e-4)) for y in truth]
    return [str(100 + i) for i in range(40)], measured, Truth(tuple(str(100 + i) for i in range(40)), truth)


def test_a_planet_never_sees_its_own_truth(worlds: tuple[list[str], list[Measured], Truth]) -> None:
    ids, measured, truth = worlds
    few = [0, 7, 13]
    first = estimate([ids[i] for i in few], [measured[i] for i in few], WAVELENGTH, "population", truth)
    changed = truth.y.copy()
    changed[few[1]] *= 3.0
    second = estimate([ids[i] for i in few], [measured[i] for i in few], WAVELENGTH, "population", Truth(truth.ids, changed))
    np.testing.assert_array_equal(first.mean[1], second.mean[1])
    assert np.abs(first.mean[0] - second.mean[0]).max() > 0


@pytest.mark.slow
def test_estimates_are_nearer_than_depths(worlds: tuple[list[str], list[Measured], Truth]) -> None:
    ids, measured, truth = worlds
    raw = np.stack([one.depth for one in measured]) - truth.y
    for method in ("gp", "population"):
        found = estimate(ids, measured, WAVELENGTH, method, truth)  # type: ignore[arg-type]
        off = found.mean - truth.y
        assert np.sqrt(np.mean(off[:, 1:] ** 2)) < 0.6 * np.sqrt(np.mean(raw[:, 1:] ** 2))
        z = off / found.predictions.sigma
        assert 0.6 < np.sqrt(np.mean(z**2)) < 1.4


def test_what_an_estimator_refuses(worlds: tuple[list[str], list[Measured], Truth]) -> None:
    ids, measured, truth = worlds
    with pytest.raises(ConfigError, match="--truth"):
        estimate(ids, measured, WAVELENGTH, "population")
    with pytest.raises(DataError, match="12"):
        estimate(["1"], measured[:1], WAVELENGTH, "population", Truth(truth.ids[:12], truth.y[:12]))
    with pytest.raises(DataError, match="FGS1"):
        full_wavelength({"AIRS-CH0": WAVELENGTH[1:]})


@pytest.mark.parametrize("method", ["temperature", "affine"])
def test_cross_fit_is_a_loop_over_the_parts(method: str) -> None:
    rng = np.random.default_rng(1)
    ids = tuple(str(i) for i in range(1000, 1060))
    y = np.full((60, N_BINS), 0.01)
    predictions = Predictions(ids, y + 2e-4 * rng.normal(size=y.shape), np.full(y.shape, 1e-4))
    truth = Truth(ids[:50][::-1], y[:50])
    options = TopLevelCalib(method=method)
    found = crossfit(predictions, truth, options)
    assert found.kept
    part = folds_of(50, 5)
    for fold in range(5):
        train, held = np.flatnonzero(part != fold), np.flatnonzero(part == fold)
        model = fit(predictions.take(train), Truth(tuple(ids[i] for i in train), y[train]), options)
        expected = apply(model, predictions.take(held)).predictions
        np.testing.assert_array_equal(found.predictions.sigma[held], expected.sigma)
        np.testing.assert_array_equal(found.predictions.mu[held], expected.mu)
    whole = fit(predictions.take(np.arange(50)), Truth(ids[:50], y[:50]), options)
    np.testing.assert_array_equal(found.predictions.sigma[50:], apply(whole, predictions.take(np.arange(50, 60))).predictions.sigma)


def test_a_recalibration_that_costs_is_not_taken() -> None:
    """Six planets: a temperature of their noise says nothing, and predictions that are right stay as they are."""
    ids, y = tuple("123456"), np.full((6, N_BINS), 0.01)
    predictions = Predictions(ids, y, np.full(y.shape, 1e-4))
    few = crossfit(predictions, Truth(ids, y), TopLevelCalib(method="affine"))
    assert not few.kept
    assert "6 planets have a truth" in few.notes[-1]
    # every second planet off by ten sigma, in pairs that the parts tear apart: what is learned elsewhere is wrong here
    off = np.where(np.arange(40) % 5 == 0, 1e-3, 1e-5)[:, None] * np.ones(N_BINS)
    ids = tuple(str(100 + i) for i in range(40))
    known = Truth(ids, np.full(off.shape, 0.01))
    worse = crossfit(Predictions(ids, 0.01 + off, np.full(off.shape, 1e-4)), known, TopLevelCalib(method="temperature"))
    assert worse.kept == (worse.gain >= 0)
    if not worse.kept:
        np.testing.assert_array_equal(worse.predictions.sigma, np.full(off.shape, 1e-4))


def test_a_population_is_refused_before_frames_are_read(worlds: tuple[list[str], list[Measured], Truth]) -> None:
    _, _, truth = worlds
    check_population(truth, truth.ids)
    few = Truth(truth.ids[:22], truth.y[:22])
    check_population(few, ["9"])
    with pytest.raises(DataError, match="the 17 that are left"):
        check_population(few, ["9", truth.ids[3]])
    with pytest.raises(DataError, match="holds 19 spectra"):
        check_population(Truth(truth.ids[:19], truth.y[:19]), ["9"])


def test_one_instrument_is_refused_before_frames_are_read(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    common = ("--no-plan", "runtime.scheduler=sync", "calib.photometry.instrument.name=FGS1")
    refused = invoke("solve", dataset, out, *common)
    assert refused.exit_code == ConfigError.exit_code
    assert "visits of FGS1 alone, and the estimator gp needs the wavelengths of FGS1 and AIRS-CH0" in refused.stderr
    assert "--estimator depths" in refused.stderr
    assert not out.exists()
    check_instruments(["AIRS-CH0", "FGS1"], "population", "it")
    check_instruments(["AIRS-CH0"], "depths", "it")
    for method in ("depths", "gp"):
        with pytest.raises(ConfigError, match="it has visits of BENCH, and spectra are made of FGS1 and AIRS-CH0"):
            check_instruments(["FGS1", "BENCH"], method, "it")


def test_a_damaged_sample_submission_is_refused_before_frames_are_read(dataset: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in dataset.iterdir():
        (data / path.name).symlink_to(path)
    (data / "sample_submission.csv").write_text("wl_1,wl_2\n0.1,0.1\n")
    refused = invoke("solve", data, tmp_path / "run", "--no-plan", "runtime.scheduler=sync")
    assert (refused.exit_code, "sample_submission.csv" in refused.stderr) == (DataError.exit_code, True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("factor", [1e6, 100.0])
def test_true_spectra_in_ppm_or_percent(tmp_path: Path, factor: float) -> None:
    write_truth(tmp_path / "train.csv", Truth(("7",), np.full((1, N_BINS), 0.012 * factor)))
    with pytest.raises(DataError, match=f"wl_1 of planet 7 is {0.012 * factor:g}.*divide ppm by 1e6, percent by 100"):
        read_truth(tmp_path / "train.csv")


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False)


@pytest.mark.slow
def test_solve_from_frames_to_a_submission(dataset: Path, tmp_path: Path) -> None:
    out, lean = tmp_path / "run", ("runtime.scheduler=sync", "output.cubes=none")
    refused = invoke("solve", dataset, out, "--estimator", "population", *lean)
    assert refused.exit_code == 2
    assert "--truth train.csv" in refused.stderr
    assert not out.exists()
    few = invoke("solve", dataset, out, "--truth", dataset / "train.csv", "--estimator", "population", *lean)
    assert few.exit_code != 0
    assert "holds 2 spectra, and a population takes at least 20" in few.stderr
    assert not out.exists()
    short = invoke("solve", dataset, out, "--hours", "0", *lean)
    assert short.exit_code == 1
    assert "does NOT fit: hours" in short.stdout
    assert not out.exists()
    done = invoke("solve", dataset, out, "--truth", dataset / "train.csv", "--estimator", "gp", "--no-plan", *lean)
    assert done.exit_code == 0, done.output
    assert "score of depths" in done.stdout
    assert "score of gp" in done.stdout
    assert "2 planets have a truth" in done.stdout
    predictions, truth = read_predictions(out / "submission.csv"), read_truth(dataset / "train.csv")
    assert set(predictions.ids) == set(truth.ids)
    stored = open_estimates(out, "gp")
    np.testing.assert_allclose(stored["depth"].sel(planet=int(predictions.ids[0])), predictions.mu[0], rtol=1e-9)
    np.testing.assert_allclose(np.diagonal(stored["covariance"], axis1=1, axis2=2) ** 0.5, stored["depth_sigma"], rtol=1e-5)
    # the depths keep no trace of the prior
    fits = open_spectra(str(out))
    assert fits
    assert not any("prior" in str(ds.attrs) for ds in fits.values())
    assert np.linalg.cholesky(stored["covariance"].to_numpy()).shape == (2, 283, 283)
    page = (out / "spectra.html").read_text()
    assert "score of each step" in page.lower()
    assert "would claim" in page
    stranger = tmp_path / "other"
    simulate_dataset(stranger, planets=1, frames_fraction=0.005, seed=99)
    mixed = invoke("solve", stranger, out, "--estimator", "gp", "--no-plan", *lean)
    assert mixed.exit_code == 2
    assert "holds 6 products of visits that DATA does not have" in mixed.stderr
    again = invoke("solve", dataset, out, "--estimator", "gp", *lean)
    assert again.exit_code == 0, again.output
    assert "0 calibrated, 6 already complete" in again.stdout


@pytest.mark.slow
def test_a_dataset_solved_in_parts(dataset: Path, tmp_path: Path) -> None:
    out, (one, other) = tmp_path / "run", sorted(path.name for path in (dataset / "train").iterdir())
    (tmp_path / "rest.txt").write_text(f"{other}\n")
    common = ("--estimator", "gp", "--no-plan", "runtime.scheduler=sync", "output.cubes=none")
    assert invoke("solve", dataset, out, "--planet", one, *common).exit_code == 0
    assert read_predictions(out / "submission.csv").ids == (one,)
    assert invoke("solve", dataset, out, "--planets-from", tmp_path / "rest.txt", *common).exit_code == 0
    assert set(read_predictions(out / "submission.csv").ids) == {one, other}


def test_fits_of_a_run_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no run directory"):
        open_spectra(tmp_path / "nowhere")


def test_spectra_writes_what_an_estimator_says(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    common = ("runtime.scheduler=sync", "output.cubes=none")
    assert invoke("calibrate", "--data", dataset, "--out", out, *common).exit_code == 0
    for method in ("depths", "gp"):
        result = invoke("spectra", out, "--out", tmp_path / f"{method}.csv", "--estimator", method, "--missing", "naive")
        assert result.exit_code == 0, result.output
        assert f"({method})" in result.stdout
    one, other = (read_predictions(tmp_path / f"{method}.csv") for method in ("depths", "gp"))
    assert other.sigma[:, 1:].mean() < one.sigma[:, 1:].mean()
    assert invoke("spectra", out, "--out", tmp_path / "p.csv", "--estimator", "population").exit_code == 2
