"""`doctor`: every fault is seen and comes with its remedy."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from v50calib.cli.main import main
from v50calib.runtime import doctor


def ask(*args: object) -> Result:
    return CliRunner().invoke(main, ["doctor", *map(str, args)], catch_exceptions=False)


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_DIR", raising=False)


def check(report: doctor.Report, name: str) -> doctor.Check:
    return next(c for c in report.checks if c.name == name)


def test_a_dataset_is_counted(dataset: Path) -> None:
    result = ask("--data", dataset, "--json")
    said = json.loads(result.stdout)
    assert result.exit_code == 0
    assert said["ok"] is True
    found = {c["name"]: c for c in said["checks"]}
    assert found["dataset"]["found"].endswith("challenge folder, planets: 2, visits: 3, instruments: AIRS-CH0, FGS1")
    assert found["numpy"] == {"name": "numpy", "state": "ok", "found": version("numpy"), "remedy": ""}


def test_absent_data_is_a_note_unless_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = ask()
    assert result.exit_code == 0
    assert "v50calib simulate data --planets 2" in result.stdout
    result = ask("--data", tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "FAIL  dataset" in result.stdout
    assert "not ready" in result.stdout


def test_missing_and_old_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(name: str) -> str:
        if name == "astroscrappy":
            raise PackageNotFoundError(name)
        return "1.0" if name == "zarr" else version(name)

    monkeypatch.setattr(doctor, "version", installed)
    report = doctor.examine()
    assert not report.ok
    assert check(report, "zarr") == doctor.Check("zarr", "problem", "is 1.0, needs >=3.1", "pip install 'zarr>=3.1'")
    lacking = check(report, "extra cosmic")
    assert (lacking.state, lacking.remedy) == ("note", "pip install 'v50calib[cosmic]'")
    assert "astroscrappy (not installed)" in lacking.found


def test_extras_for_development_are_not_asked_for() -> None:
    names = {c.name for c in doctor.examine().checks}
    assert {"extra cosmic", "extra netcdf", "extra cluster", "extra kubernetes"} <= names
    assert not names & {f"extra {name}" for name in doctor.EXTRAS}


def test_little_memory_and_disk_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "memory_limit", lambda: 2 * 2**30)
    monkeypatch.setattr(doctor, "cores", lambda: 4)
    monkeypatch.setattr(doctor, "DISK_NEEDED", 2**80)
    report = doctor.examine()
    assert check(report, "memory").remedy.startswith("runtime.num_workers=2,")
    assert check(report, "disk for products").remedy == "give --out on another disk"
    assert report.ok


def test_numba_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    class Stats:
        cache_path = str(tmp_path / "file")

    monkeypatch.setattr("v50calib.kernels.fused.extreme_codes", type("Kernel", (), {"stats": Stats})())
    found = check(doctor.examine(), "numba cache")
    assert found.state == "problem"
    assert "NUMBA_CACHE_DIR" in found.remedy
