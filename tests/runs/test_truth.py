"""The truth of a summary and a report: a simulated dataset, its table of spectra, or neither."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from v50calib import calibrate
from v50calib.errors import DataError
from v50calib.report import write_report
from v50calib.runs.summary import rows


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("truth") / "run"
    assert not calibrate(dataset, out, "calib/nominal", ["runtime.scheduler=sync", "output.cubes=none"]).failed
    return out


def test_a_table_of_spectra_says_what_the_simulation_says(run: Path, dataset: Path, tmp_path: Path) -> None:
    simulated, told = rows(run, dataset), rows(run, dataset / "train.csv")
    assert len(told) == 6
    for one, other in zip(simulated, told, strict=True):
        assert one["planet_id"] == other["planet_id"]
        # FGS1 is one channel; the channels of AIRS-CH0 are weighted with the light of the product in place of the star's
        far = 1e-6 if one["instrument"] == "FGS1" else 0.1 * one["sigma_ppm"]
        assert abs(one["truth_ppm"] - other["truth_ppm"]) < far
        assert other["pull"] == pytest.approx((other["depth_ppm"] - other["truth_ppm"]) / other["sigma_ppm"])
    # a challenge's folder has the table alone
    shutil.copy(dataset / "train.csv", tmp_path / "train.csv")
    assert rows(run, tmp_path) == told


def test_the_report_takes_the_table(run: Path, dataset: Path, tmp_path: Path) -> None:
    made = write_report(run, tmp_path / "page.html", limit=1, truth=dataset / "train.csv")
    page = (tmp_path / "page.html").read_text()
    assert made.visits == 6
    assert "pull" in page
    assert "Line: the truth. Pulls" in page


def test_another_dataset_s_truth_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(",".join(["planet_id", *(f"wl_{i}" for i in range(1, 284))]) + "\n7" + ",0.01" * 283)
    for ask in (lambda: rows(run, tmp_path), lambda: write_report(run, tmp_path / "x.html", truth=tmp_path / "train.csv")):
        with pytest.raises(DataError, match="holds none of this run's 2 planets"):
            ask()
    with pytest.raises(DataError, match=r"no truth\.json and no train\.csv"):
        rows(run, tmp_path / "nothing")
