"""One visit that nothing can be made of: its DataError, with what was seen and the remedy; the others are calibrated."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from v50calib import calibrate
from v50calib.errors import DataError
from v50calib.reference import make_reference


@pytest.fixture
def data(dataset: Path, tmp_path: Path) -> Path:
    root = tmp_path / "data"
    shutil.copytree(dataset, root)
    return root


def first_planet(root: Path) -> str:
    return min(path.name for path in (root / "train").iterdir())


def failed(root: Path, out: Path) -> dict[str, tuple[str, str]]:
    """Type and message of each failed visit; the others must be done."""
    summary = calibrate(root, out, "calib/fast", ["runtime.scheduler=sync"])
    assert summary.count("done") + len(summary.failed) == 6
    return {entry.label: (entry.error_type, entry.error) for entry in summary.failed}


def test_a_visit_of_two_frames(data: Path, tmp_path: Path) -> None:
    planet = first_planet(data)
    path = data / "train" / planet / "FGS1_signal_0.parquet"
    pq.write_table(pq.read_table(path).slice(0, 2), path)
    found = failed(data, tmp_path / "run")
    assert list(found) == [f"{planet}/0/FGS1"]
    kind, said = found[f"{planet}/0/FGS1"]
    assert kind == "DataError"
    assert said.startswith("FGS1: the visit has 1 pair of reads, a light curve two at least: its file is cut, get it again")


def test_a_visit_without_a_usable_pixel(data: Path, tmp_path: Path) -> None:
    planet = first_planet(data)
    path = data / "train" / planet / "AIRS-CH0_calibration_0" / "dead.parquet"
    dead = pd.read_parquet(path)
    dead[:] = True
    dead.to_parquet(path)
    found = failed(data, tmp_path / "run")
    assert list(found) == [f"{planet}/0/AIRS-CH0"]
    kind, said = found[f"{planet}/0/AIRS-CH0"]
    assert kind == "DataError"
    assert said.endswith("dead.parquet says that all 11392 pixels are dead: it is damaged, or true means good in it; re-download it")


def test_a_broken_star_table_row_is_one_planets_failure(data: Path, tmp_path: Path) -> None:
    planet = first_planet(data)
    path = data / "train_star_info.csv"
    lines = path.read_text().splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith(f"{planet},"))
    lines[row] = lines[row].replace(lines[row].split(",")[1], "#REF!", 1)
    path.write_text("\n".join(lines))
    found = failed(data, tmp_path / "run")
    assert {label.partition("/")[0] for label in found} == {planet}
    assert all(kind == "DataError" and "'Rs'" in said and "'#REF!', expected a finite number" in said for kind, said in found.values())


def test_maps_of_another_detector_that_call_all_pixels_dead() -> None:
    one = np.ones((2, 3))
    with pytest.raises(DataError, match=r"all 6 pixels are dead by the map 'dead'.*true means good"):
        make_reference({"dark": one, "dead": one, "flat": one, "read": one, "linear_corr": np.zeros((6, 2, 3))}, 0.0, 1.0)


def test_a_planet_that_is_a_link_to_itself(data: Path, tmp_path: Path) -> None:
    (data / "train" / "777").symlink_to(data / "train" / "777")
    other = max(path.name for path in (data / "train").iterdir() if path.name != "777")
    summary = calibrate(data, tmp_path / "run", "calib/fast", ["runtime.scheduler=sync"], planets=["777", other])
    assert summary.count("done") == 2
    assert sorted(entry.label for entry in summary.failed) == ["777/0/AIRS-CH0", "777/0/FGS1"]
    assert {entry.error_type for entry in summary.failed} == {"DataError"}
    assert all("777" in entry.error for entry in summary.failed)


def test_frames_that_are_empty_or_full_all_over(data: Path, tmp_path: Path) -> None:
    planet = first_planet(data)
    for name, code in (("FGS1_signal_0", 0), ("FGS1_signal_1", 65535)):
        path = data / "train" / planet / f"{name}.parquet"
        frame = pd.read_parquet(path)
        frame[:] = np.uint16(code)
        frame.to_parquet(path)
    found = failed(data, tmp_path / "run")
    assert sorted(found) == [f"{planet}/0/FGS1", f"{planet}/1/FGS1"]
    assert all(kind == "DataError" and "no pixel of the frames has light" in said for kind, said in found.values())


@pytest.mark.parametrize(("name", "value", "said"), [("dark", 1e300, "goes from 1e+300")])
def test_a_map_of_absurd_values_is_named(data: Path, tmp_path: Path, name: str, value: float, said: str) -> None:
    planet = first_planet(data)
    path = data / "train" / planet / "FGS1_calibration_0" / f"{name}.parquet"
    frame = pd.read_parquet(path)
    frame[:] = value
    frame.to_parquet(path)
    found = failed(data, tmp_path / "run")
    assert list(found) == [f"{planet}/0/FGS1"]
    kind, words = found[f"{planet}/0/FGS1"]
    assert (kind, said in words) == ("DataError", True), words
