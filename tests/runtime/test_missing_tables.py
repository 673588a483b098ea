"""A dataset without its tables of stars and wavelengths: said in the product, by doctor and by plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from v50calib import calibrate, open_calibrated, open_visit
from v50calib.config import load
from v50calib.runtime.doctor import examine
from v50calib.runtime.forecast import forecast

NOTES = ("train_star_info.csv is missing", "wavelengths.csv is missing")


@pytest.fixture(scope="module")
def bare(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    for path in dataset.iterdir():
        if path.name not in ("train_star_info.csv", "wavelengths.csv"):
            (folder / path.name).symlink_to(path)
    return folder


def told(notes: list[str]) -> bool:
    return all(any(note.startswith(said) for note in notes) for said in NOTES)


def test_products_say_it(bare: Path, dataset: Path, tmp_path: Path) -> None:
    quick = ["runtime.scheduler=sync", "calib.photometry.instrument.name=FGS1"]
    for data, expected in ((bare, True), (dataset, False)):
        out = tmp_path / data.name
        summary = calibrate(data, out, "calib/fast", quick)
        assert not summary.failed
        # and the run itself, at its end
        assert told(summary.notes) is expected
        for leaf in open_calibrated(out).leaves:
            assert told(json.loads(leaf.attrs["qc"])["notes"]) is expected


def test_a_planet_without_a_row_is_told_apart(dataset: Path, tmp_path: Path) -> None:
    for path in dataset.iterdir():
        if path.name != "train_star_info.csv":
            (tmp_path / path.name).symlink_to(path)
    head, first, *_ = (dataset / "train_star_info.csv").read_text().splitlines()
    (tmp_path / "train_star_info.csv").write_text(f"{head}\n{first}\n")
    planets = [path.name for path in (dataset / "train").iterdir()]
    kept = str(int(float(first.split(",")[0])))
    for planet in planets:
        note = open_visit(tmp_path, planet, 0, "FGS1").attrs.get("input_notes", "")
        assert note.startswith(f"train_star_info.csv has no row of planet {planet}") is (planet != kept)


def test_doctor_and_plan_say_it(bare: Path, dataset: Path, tmp_path: Path) -> None:
    for data, expected in ((bare, True), (dataset, False)):
        checks = [check for check in examine(data).checks if check.name == "dataset tables"]
        assert told([check.found for check in checks]) is expected
        assert {check.state for check in checks} <= {"note"}
    config = load("calib/fast", ["runtime.scheduler=sync", "calib.photometry.instrument.name=FGS1"])
    assert told(forecast(bare, config, visits=1, scratch=tmp_path).notes)
