"""runtime.scheduler=auto: what is chosen, and that it is said; an explicit choice stays."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from v50calib import calibrate
from v50calib.config import load
from v50calib.runtime import chosen as module
from v50calib.runtime.batch import make_jobs
from v50calib.runtime.chosen import chosen, frame_bytes
from v50calib.runtime.job import Job


def jobs_of(dataset: Path, out: Path, *overrides: str) -> list[Job]:
    return make_jobs(dataset, out, load("calib/fast", overrides))


def scheduler(dataset: Path, out: Path, *overrides: str) -> str:
    config, said = chosen(load("calib/fast", overrides), jobs_of(dataset, out))
    assert bool(said) == (config.runtime.scheduler == "threads" and "runtime.scheduler=threads" not in overrides)
    return config.runtime.scheduler


def test_bytes_are_those_of_the_frames(dataset: Path, tmp_path: Path) -> None:
    jobs = jobs_of(dataset, tmp_path)
    stored = 0
    for job in jobs:
        table = dataset / "train" / job.key.planet_id / f"{job.key.instrument}_signal_{job.key.visit}.parquet"
        facts = pq.ParquetFile(table).metadata
        stored += 2 * facts.num_rows * facts.num_columns
    assert frame_bytes(jobs) == stored


def test_a_small_job_is_done_by_threads_and_others_by_processes(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert scheduler(dataset, tmp_path) == "threads"
    for word in ("runtime.num_workers=2", "runtime.threads_per_worker=2", "runtime.memory_limit=2GB", "runtime.adaptive.enabled=true"):
        assert scheduler(dataset, tmp_path, word) == "local", "whoever asks for workers gets them"
    for name in ("local", "threads", "sync"):
        assert scheduler(dataset, tmp_path, f"runtime.scheduler={name}") == name
    with monkeypatch.context() as patch:
        patch.setattr(module, "_fits", lambda *_: False)
        assert scheduler(dataset, tmp_path) == "local"
    monkeypatch.setattr(module, "SMALL", 1000)
    assert scheduler(dataset, tmp_path) == "local"
    monkeypatch.setattr(multiprocessing, "current_process", lambda: SimpleNamespace(daemon=True, name="w", _inheriting=False))
    assert scheduler(dataset, tmp_path) == "threads", "a daemonic process may start none"


def test_nothing_left_chooses_nothing() -> None:
    config = load("calib/fast")
    assert chosen(config, []) == (config, "")


def test_the_run_says_what_was_chosen(dataset: Path, tmp_path: Path) -> None:
    summary = calibrate(dataset, tmp_path / "r", "calib/official", ["calib.photometry.instrument.name=FGS1"])
    assert summary.count("done") == len(summary.entries) > 0
    assert sum("threads of this process were used (runtime.scheduler=local" in note for note in summary.notes) == 1
    assert json.loads((tmp_path / "r" / "run.json").read_text())["scheduler"] == "threads"
