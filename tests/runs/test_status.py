from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from v50calib.cli.main import main
from v50calib.errors import StoreError
from v50calib.runs import manifest
from v50calib.runs.lock import run_lock
from v50calib.runs.manifest import Entry
from v50calib.runs.state import RunState
from v50calib.runs.status import status


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("config_hash: x\n")
    return tmp_path


def entry(number: int, state: manifest.State = "done", **more: object) -> Entry:
    qc = {"noise_over_limit": 1 + number / 1e4, "notes": ["a note of some length about this visit"] * 5}
    return Entry(str(number), 0, "FGS1", state, seconds=number / 100, qc=qc, at=time.time(), **more)  # type: ignore[arg-type]


def test_numbers_of_a_run(run_dir: Path) -> None:
    with run_lock(run_dir):
        state = RunState(run_dir, total=12, skipped=1, todo=11, scheduler="local")
        for number in range(6):
            manifest.append(run_dir, entry(number))
        manifest.append(run_dir, entry(7, "retry", attempts=1, error="worker lost", error_type="KilledWorker"))
        manifest.append(run_dir, entry(7, "failed", attempts=2, error="worker lost", error_type="KilledWorker"))
        state._written = float("-inf")
        state.begin("9/0/FGS1")
        found = status(run_dir)
        assert (found["phase"], found["done"], found["failed"], found["retried"], found["left"]) == ("running", 6, 1, 1, 4)
        assert found["running"] == ["9/0/FGS1"]
        assert found["eta_s"] == pytest.approx(3600 * 4 / found["per_hour"])
        assert found["failures"] == [{"visit": "7/0/FGS1", "attempts": 2, "error_type": "KilledWorker", "error": "worker lost"}]
        assert [i["visit"] for i in found["slowest"]] == [f"{n}/0/FGS1" for n in (5, 4, 3, 2, 1)]
        assert found["worst_qc"][0] == {"visit": "5/0/FGS1", "noise_over_limit": 1.0005}
    assert status(run_dir)["phase"] == "killed"
    state.close("finished")
    assert status(run_dir)["phase"] == "finished"
    result = CliRunner().invoke(main, ["status", str(run_dir)], catch_exceptions=False)
    assert "7/0/FGS1 (2 attempts): worker lost" in result.stdout
    assert json.loads(CliRunner().invoke(main, ["status", str(run_dir), "--json"]).stdout)["reasons"] == {"KilledWorker": 1}


def test_a_run_that_was_killed_on_another_host(run_dir: Path) -> None:
    """Its process cannot be seen from here: what tells is that it no longer renews its lock."""
    state = RunState(run_dir, total=4, skipped=0, todo=4, scheduler="local")
    manifest.append(run_dir, entry(1))
    state.begin("2/0/FGS1")
    lock = run_dir / ".lock"
    lock.write_text(json.dumps({"host": "node-17", "pid": 4711, "started": "2026-01-01T00:00:00+00:00", "beat": 3}))
    found = status(run_dir)
    assert (found["phase"], found["silent_s"], found["left"]) == ("running", None, 3)
    assert found["eta_s"] is not None

    ago = time.time() - 3 * 3600 - 25 * 60
    os.utime(lock, (ago, ago))
    content = json.loads((run_dir / "run.json").read_text())
    (run_dir / "run.json").write_text(json.dumps(content | {"updated": ago - 30, "started": ago - 90}))
    found = status(run_dir)
    assert (found["phase"], found["eta_s"], found["running"], found["left"]) == ("silent", None, [], 3)
    assert found["silent_s"] == pytest.approx(3 * 3600 + 25 * 60, abs=5)
    assert found["per_hour"] == pytest.approx(60, rel=0.01)
    said = CliRunner().invoke(main, ["status", str(run_dir)], catch_exceptions=False).stdout
    assert "silent (process 4711 on node-17)" in said
    assert "silent for 3 h 25 min, no sign of life from its host: the process was probably killed; the same calibrate command" in said
    assert "running, " not in said

    # a record that was renewed since counts, however old run.json is: a long visit
    os.utime(lock)
    assert status(run_dir)["phase"] == "running"


def test_a_run_that_was_killed_here_says_for_how_long(run_dir: Path) -> None:
    RunState(run_dir, total=4, skipped=0, todo=4, scheduler="local")
    ago = time.time() - 600
    content = json.loads((run_dir / "run.json").read_text())
    (run_dir / "run.json").write_text(json.dumps(content | {"updated": ago}))
    said = CliRunner().invoke(main, ["status", str(run_dir)], catch_exceptions=False).stdout
    assert ": killed" in said
    assert "silent for 10 min" in said
    assert "nobody holds its lock" in said


def test_four_thousand_entries_in_less_than_a_second(run_dir: Path) -> None:
    lines = [json.dumps(vars(entry(n)) | {"traceback": "x" * (500 if n % 50 == 0 else 0)}) for n in range(4000)]
    (run_dir / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    began = time.process_time()
    assert status(run_dir)["done"] == 4000
    assert time.process_time() - began < 0.5


def test_a_torn_line_swallows_nothing(run_dir: Path) -> None:
    manifest.append(run_dir, entry(1))
    path = run_dir / "manifest.jsonl"
    path.write_bytes(path.read_bytes() + b'{"planet_id": "2", "vis\xff')
    manifest.append(run_dir, entry(3))
    assert [e.planet_id for e in manifest.read(run_dir)] == ["1", "3"]


def test_no_run_directory(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no run directory"):
        status(tmp_path)
