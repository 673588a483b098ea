"""Products, fits and estimates in the place of another: whoever reads a run refuses them, by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from v50calib import calibrate, open_calibrated, to_arrays
from v50calib.errors import StoreError
from v50calib.export.write import export
from v50calib.report.visits import collect
from v50calib.runs.calibrated import calibrated_visits
from v50calib.runs.estimates import open_estimates, write_estimates
from v50calib.runs.planet_verdicts import planet_qc_rows
from v50calib.runs.spectra import fitted_planets, open_spectra
from v50calib.runs.verify import verify
from v50calib.runtime.solution import measured_spectra


def exchange(first: Path, second: Path) -> None:
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


@pytest.fixture
def run(whole_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_run, tmp_path / "run"))


@pytest.fixture
def exchanged(run: Path) -> tuple[Path, str, str]:
    """A run with the FGS1 products of two planets exchanged, and the labels of their places."""
    labels = sorted(p.relative_to(run / "calibrated.zarr").as_posix() for p in (run / "calibrated.zarr").glob("*/0/FGS1"))
    exchange(*(run / "calibrated.zarr" / label for label in labels))
    return run, labels[0], labels[1]


READERS: dict[str, Callable[[Path], object]] = {
    "lightcurves": lambda run: export(run, run.parent / "grid", "lightcurves"),
    "spectra grid": lambda run: export(run, run.parent / "grid", "spectra"),
    "planets grid": lambda run: export(run, run.parent / "grid", "planets"),
    "arrays": lambda run: to_arrays(run),
    "spectra": lambda run: measured_spectra(run, None),
    "tree": lambda run: [leaf.to_dataset() for leaf in open_calibrated(run).leaves],
    "visits": lambda run: list(calibrated_visits(run)),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_refuses_exchanged_products(exchanged: tuple[Path, str, str], reader: str) -> None:
    run, first, second = exchanged
    with pytest.raises(StoreError) as refused:
        READERS[reader](run)
    assert any(f"{here} holds {there}:" in str(refused.value) for here, there in ((first, second), (second, first)))
    assert not (run.parent / "grid").exists()


def test_the_report_names_them_and_does_without(exchanged: tuple[Path, str, str]) -> None:
    run, first, second = exchanged
    reasons = {visit.label: visit.verdict.reasons[0].text for visit in collect(run, {})[:2]}
    assert set(reasons) == {first, second}
    assert f"{first} holds {second}" in reasons[first]
    assert all(visit.product is None for visit in collect(run, {})[:2])


@pytest.mark.parametrize("copied", [False, True], ids=["another planet's", "another visit's"])
def test_the_next_calibrate_mends_them(exchanged: tuple[Path, str, str], dataset: Path, copied: bool) -> None:
    run, first, second = exchanged
    if copied:
        exchange(run / "calibrated.zarr" / first, run / "calibrated.zarr" / second)
        planet = next(p.parent.parent for p in (run / "calibrated.zarr").glob("*/1/FGS1"))
        exchange(planet / "0" / "FGS1", planet / "1" / "FGS1")
    summary = calibrate(dataset, run, "calib/nominal", ["runtime.scheduler=sync", "calib.phase.depths.enabled=true"])
    assert (summary.count("done"), summary.count("skipped")) == (2, 4)
    assert verify(run).ok


def test_exchanged_fits_are_refused_and_named(run: Path) -> None:
    first, second = (path for _, path in fitted_planets(run))
    exchange(first, second)
    for reader in (open_spectra, lambda run: list(planet_qc_rows(run))):
        with pytest.raises(StoreError, match=rf"{first.name} holds {second.name}: "):
            reader(run)
    assert verify(run).broken[f"spectra.zarr/{first.name}"] == [f"its attributes name {second.name}"]
    assert set(measured_spectra(run, None)[0].predictions.ids) == {first.name, second.name}
    assert set(open_spectra(run)) == {first.name, second.name}


def test_exchanged_estimates_are_refused(run: Path) -> None:
    for method in ("gp", "population"):
        write_estimates(run, method, xr.Dataset({"depth": ("planet", np.ones(2))}, attrs={"estimator": method}), {})
    exchange(run / "estimates.zarr" / "gp", run / "estimates.zarr" / "population")
    with pytest.raises(StoreError, match="gp holds population: "):
        open_estimates(run, "gp")
