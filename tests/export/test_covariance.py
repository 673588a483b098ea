"""The covariance in every export, and planets' fits as rows, against the arrays on disk as zarr and pandas read them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from numpy.typing import NDArray
from tests.helpers.exports import invoke, read

import v50calib
from v50calib.errors import StoreError
from v50calib.export.write import export, plan_export
from v50calib.runs.spectra import open_spectra

FORMATS = ("zarr", "netcdf", "npz", "hdf5")


def raw(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of a group on disk."""
    return {p.parent.name: np.asarray(zarr.open_array(p.parent, mode="r")[...]) for p in path.glob("*/zarr.json")}


def dense(sigma: NDArray[Any], factor: NDArray[Any]) -> NDArray[Any]:
    """The covariance element by element: what channels share off the diagonal, sigma² on it."""
    out = np.empty((len(sigma), len(sigma)))
    for i in range(len(sigma)):
        for j in range(len(sigma)):
            out[i, j] = sigma[i] ** 2 if i == j else float(np.dot(factor[i], factor[j]))
    return out


def planets_of(run: Path) -> list[str]:
    return sorted(p.name for p in (run / "spectra.zarr").iterdir() if p.is_dir() and not p.name.startswith("."))


@pytest.mark.parametrize("fmt", FORMATS)
def test_visits_have_their_factor_in_every_format(whole_run: Path, tmp_path: Path, fmt: str) -> None:
    assert invoke(whole_run, tmp_path / "out", "--what", "spectra", "--format", fmt).exit_code == 0
    got = read(tmp_path / "out", fmt)
    for row, (planet, visit) in enumerate(zip(got["planet_id"].tolist(), got["visit_number"].tolist(), strict=True)):
        made = raw(whole_run / "calibrated.zarr" / planet / str(visit) / "AIRS-CH0")
        terms = made["transit_depth_shared"].shape[1]
        factor = got["transit_depth_shared"][row]
        np.testing.assert_array_equal(factor[1:, :terms], made["transit_depth_shared"])
        assert not factor[1:, terms:].any()
        # FGS1 is a fit of its own: nothing in common with AIRS-CH0
        assert not factor[0].any()
        if row == 0:
            ours = factor @ factor.T
            np.fill_diagonal(ours, got["transit_depth_sigma"][row] ** 2)
            np.testing.assert_allclose(
                ours[1:, 1:], dense(made["transit_depth_sigma"], made["transit_depth_shared"]), rtol=1e-12, atol=1e-24
            )


@pytest.mark.parametrize("fmt", FORMATS)
def test_planets_in_every_format(whole_run: Path, tmp_path: Path, fmt: str) -> None:
    result = invoke(whole_run, tmp_path / "out", "--what", "planets", "--format", fmt)
    assert result.exit_code == 0, result.output
    assert "2 of 2 planets have a fit" in result.output
    got = read(tmp_path / "out", fmt)
    assert got["planet_id"].tolist() == planets_of(whole_run)
    assert got["present"].all()
    most = 0
    for row, planet in enumerate(planets_of(whole_run)):
        path = whole_run / "spectra.zarr" / planet
        made, attrs = raw(path), json.loads((path / "zarr.json").read_text())["attributes"]
        terms, visits = made["transit_depth_shared"].shape[1], len(made["visit"])
        most = max(most, terms)
        for name in ("transit_depth", "transit_depth_sigma", "transit_depth_chi2"):
            np.testing.assert_array_equal(got[name][row], made[name])
        np.testing.assert_array_equal(got["wavelength"], made["wavelength"])
        np.testing.assert_array_equal(got["transit_depth_shared"][row, :, :terms], made["transit_depth_shared"])
        assert not got["transit_depth_shared"][row, :, terms:].any()
        np.testing.assert_array_equal(got["visit_number"][row], [*made["visit"], *[-1] * (2 - visits)])
        np.testing.assert_array_equal(got["mid_transit_time"][row, :visits], made["mid_transit_time"])
        assert np.isnan(got["mid_transit_time_sigma"][row, visits:]).all()
        for name in ("a_over_r", "a_over_r_sigma", "impact_parameter", "period_h", "chi2", "red_noise", "converged"):
            assert got[name][row] == attrs[name]
        assert got["notes"][row] == "; ".join(attrs["notes"])
        covariance = dense(made["transit_depth_sigma"], made["transit_depth_shared"])
        for column, on in enumerate((slice(0, 1), slice(1, 283))):
            weight = made["transit_depth_sigma"][on] ** -2.0
            weight /= weight.sum()
            np.testing.assert_allclose(got["white_depth"][row, column], weight @ made["transit_depth"][on], rtol=1e-12)
            np.testing.assert_allclose(got["white_depth_sigma"][row, column], np.sqrt(weight @ covariance[on, on] @ weight), rtol=1e-12)
        # the instruments of a planet share its orbit
        assert np.abs(covariance[0, 1:]).max() > 0
    assert got["transit_depth_shared"].shape[2] == most


def test_a_table_has_the_factor_as_columns(whole_run: Path, tmp_path: Path) -> None:
    for what in ("spectra", "planets"):
        assert invoke(whole_run, tmp_path / f"{what}.csv", "--what", what, "--format", "csv").exit_code == 0
    table = pd.read_csv(tmp_path / "planets.csv", dtype={"planet_id": str})
    for planet, lines in table.groupby("planet_id"):
        made = raw(whole_run / "spectra.zarr" / str(planet))
        factor = lines.filter(regex=r"^transit_depth_shared_\d+$").to_numpy()
        assert len(lines) == 283
        np.testing.assert_array_equal(factor[:, : made["transit_depth_shared"].shape[1]], made["transit_depth_shared"])
        np.testing.assert_array_equal(lines["transit_depth"], made["transit_depth"])
        assert lines["mid_transit_time_0"].nunique() == 1
        assert lines["white_depth_AIRS-CH0"].iloc[0] == pytest.approx(lines["transit_depth"].median(), rel=0.1)
    visits = pd.read_csv(tmp_path / "spectra.csv", dtype={"planet_id": str})
    one = visits[(visits["planet_id"] == planets_of(whole_run)[0]) & (visits["visit_number"] == 1)]
    made = raw(whole_run / "calibrated.zarr" / planets_of(whole_run)[0] / "1" / "AIRS-CH0")
    np.testing.assert_array_equal(one.filter(like="transit_depth_shared_").to_numpy()[1:], made["transit_depth_shared"])


def test_rows_of_exports_say_the_same_as_what_they_are_made_of(whole_run: Path, tmp_path: Path) -> None:
    export(whole_run, tmp_path / "planets.zarr", "planets")
    export(whole_run, tmp_path / "visits.nc", "spectra", "netcdf")
    planet = planets_of(whole_run)[0]
    fit = open_spectra(whole_run)[planet]
    row = xr.open_zarr(tmp_path / "planets.zarr", consolidated=False).isel(planet=0)
    product = v50calib.open_calibrated(whole_run)[f"{planet}/0/AIRS-CH0"].to_dataset()
    with xr.open_dataset(tmp_path / "visits.nc", engine="h5netcdf") as visits:
        visit = visits.isel(visit=0).load()
    for one, other, cut in ((fit, row, 0), (product, visit, 1)):
        np.testing.assert_allclose(v50calib.covariance(one), v50calib.covariance(other)[cut:, cut:], rtol=1e-12, atol=1e-25)
        bins, same = (
            v50calib.bin_depths(one, 50),
            v50calib.bin_depths(other, 50).isel(wavelength=slice(cut, None), wavelength_too=slice(cut, None)),
        )
        xr.testing.assert_allclose(bins.drop_vars("instrument"), same.drop_vars("instrument"), rtol=1e-12, atol=1e-25)
        assert bins["instrument"].values.tolist() == same["instrument"].values.tolist()


def test_the_command_makes_fits_that_are_missing_or_old(whole_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(whole_run, tmp_path / "run"))
    first, second = planets_of(copy)
    shutil.rmtree(copy / "calibrated.zarr" / first / "1" / "FGS1")
    with pytest.raises(StoreError, match=f"fit of planet {first} is older than its visits"):
        plan_export(copy, "planets", "zarr")
    shutil.rmtree(copy / "spectra.zarr" / second)
    assert invoke(copy, tmp_path / "o.npz", "--what", "planets", "--format", "npz").exit_code == 0
    got, older = read(tmp_path / "o.npz", "npz"), raw(whole_run / "spectra.zarr" / second)
    np.testing.assert_allclose(got["transit_depth"][1], older["transit_depth"], rtol=1e-9)
    assert got["transit_depth_sigma"][0, 0] > raw(whole_run / "spectra.zarr" / first)["transit_depth_sigma"][0]


def test_a_planet_without_a_fit_has_an_empty_row_that_says_why(whole_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(whole_run, tmp_path / "run"))
    shutil.rmtree(copy / "spectra.zarr" / planets_of(copy)[0])
    export(copy, tmp_path / "o.npz", "planets", "npz")
    got = read(tmp_path / "o.npz", "npz")
    assert not got["mask"][0].any()
    assert not got["present"][0].any()
    assert (got["visit_number"][0] == -1).all()
    assert np.isnan(got["transit_depth_shared"][0]).all()
    assert np.isnan(got["chi2"][0])
    assert got["reasons"][0].startswith("no fit of the planet: it failed or was not made")
    assert got["mask"][1].all()
    shutil.rmtree(copy / "spectra.zarr")
    with pytest.raises(StoreError, match="no fit of any planet"):
        plan_export(copy, "planets", "zarr")


def test_reasons_to_distrust_are_text(whole_run: Path, tmp_path: Path) -> None:
    plan = plan_export(whole_run, "planets", "hdf5")
    fits = dict(plan.fits)
    first = plan.planets[0]
    record = json.loads(fits[first].attrs["qc"]) | {"contacts_seen": 0.3}
    fits[first] = fits[first].assign_attrs(qc=json.dumps(record), notes=["one, with a comma", "two"])
    for fmt in ("hdf5", "netcdf", "zarr", "npz"):
        export(whole_run, tmp_path / fmt, "planets", fmt, fits=fits)  # type: ignore[arg-type]
        got = read(tmp_path / fmt, fmt)
        assert "contacts_seen 0.3 < 0.9" in got["reasons"][0]
        assert got["notes"][0] == "one, with a comma; two"
    export(whole_run, tmp_path / "csv", "planets", "csv", fits=fits)
    assert pd.read_csv(tmp_path / "csv")["notes"].iloc[0] == "one, with a comma; two"


def test_fits_that_do_not_fit_are_refused(whole_run: Path) -> None:
    fits = dict(plan_export(whole_run, "planets", "zarr").fits)
    second = sorted(fits)[1]
    moved = fits | {second: fits[second].assign_coords(wavelength=fits[second]["wavelength"] + 0.01)}
    with pytest.raises(StoreError, match=f"fit of planet {second} has other wavelengths"):
        plan_export(whole_run, "planets", "zarr", fits=moved)
    other = fits | {second: fits[second].assign_attrs(instruments=["FGS1", "NIRCam"])}
    with pytest.raises(StoreError, match="NIRCam"):
        plan_export(whole_run, "planets", "zarr", fits=other)


def test_planets_do_not_depend_on_the_block(whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(whole_run, tmp_path / "a.npz", "planets", "npz")
    monkeypatch.setattr("v50calib.export.grid.BLOCK_BYTES", 1)
    export(whole_run, tmp_path / "b.npz", "planets", "npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
