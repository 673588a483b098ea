from __future__ import annotations

import time
from pathlib import Path

import pytest

from v50calib.errors import DataError
from v50calib.io.catalog import find, open_root, scan
from v50calib.io.challenge.root import ChallengeRoot
from v50calib.io.keys import VisitKey, normalise_planet_id


def test_scan_finds_visits_from_file_names(dataset: Path) -> None:
    assert scan(dataset) == [
        VisitKey("1103775", 0, "FGS1"),
        VisitKey("342072318", 0, "AIRS-CH0"),
        VisitKey("342072318", 0, "FGS1"),
        VisitKey("342072318", 1, "FGS1"),
    ]
    assert isinstance(open_root(dataset), ChallengeRoot)


def test_scan_of_the_2024_layout_is_visit_zero(dataset_2024: Path) -> None:
    assert scan(dataset_2024) == [VisitKey("342072318", 0, "AIRS-CH0"), VisitKey("342072318", 0, "FGS1")]


def test_a_visit_whose_signal_is_missing_is_still_listed(broken: Path) -> None:
    (broken / "train/5/FGS1_signal_0.parquet").unlink()
    assert scan(broken) == [VisitKey("5", 0, "FGS1")]


def test_scan_of_1210_visits_is_quick(tmp_path: Path) -> None:
    for planet in range(1100):
        folder = tmp_path / "train" / str(planet)
        folder.mkdir(parents=True)
        for visit in range(2 if planet < 110 else 1):
            (folder / f"AIRS-CH0_signal_{visit}.parquet").touch()
            (folder / f"FGS1_signal_{visit}.parquet").touch()
    started = time.perf_counter()
    keys = scan(tmp_path)
    assert len(keys) == 2420
    assert time.perf_counter() - started < 2.0  # about 0.03 s where nothing else runs


@pytest.mark.parametrize("value", [1103775, 1103775.0, "1103775", "1103775.0", " 1103775 "])
def test_planet_ids_are_normalised(value: object) -> None:
    assert normalise_planet_id(value) == "1103775"


@pytest.mark.parametrize("value", ["../etc", "a/b", "", ".", "1.5", float("nan")])
def test_planet_ids_that_could_leave_the_root_are_refused(value: object) -> None:
    with pytest.raises(DataError, match=r"not valid|there is no planet id"):
        normalise_planet_id(value)


def test_unknown_planet_names_the_nearest_and_the_number(dataset: Path) -> None:
    with pytest.raises(DataError, match=r"unknown planet 342072319: .*2 planets; nearest are 342072318"):
        find(dataset, 342072319)


def test_unknown_visit_and_instrument_name_what_there_is(dataset: Path) -> None:
    with pytest.raises(DataError, match=r"no visit 3 of FGS1 .*visit 0 AIRS-CH0, .*visit 1 FGS1"):
        find(dataset, "342072318", 3, "FGS1")
    with pytest.raises(DataError, match=r"unknown instrument 'airs'.*nearest is 'AIRS-CH0'"):
        find(dataset, "342072318", 0, "airs")


def test_a_planet_in_both_splits_needs_the_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "7").mkdir(parents=True)
        (tmp_path / split / "7" / "FGS1_signal_0.parquet").touch()
    with pytest.raises(DataError, match="both train/ and test/"):
        find(tmp_path, 7, 0, "FGS1")
    assert find(tmp_path, 7, 0, "FGS1", split="test").split == "test"


def test_a_folder_that_is_no_root_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "342072318").mkdir()
    with pytest.raises(DataError, match=r"neither train/ nor test/ .*342072318"):
        scan(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        scan(tmp_path / "absent")
