"""Outcomes that end at about one time are recorded in one write, and none is lost whatever ends the driver."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from v50calib import calibrate
from v50calib.config import load
from v50calib.errors import ClusterError, StoreError
from v50calib.io import scan
from v50calib.runs import manifest
from v50calib.runtime import execute
from v50calib.runtime.bookkeeping import RunSummary
from v50calib.runtime.execute import Watch
from v50calib.runtime.failures import AttemptError, Failure
from v50calib.runtime.job import Done, Job

FGS = ["calib.photometry.instrument.name=FGS1", "runtime.retry_wait_s=0", "output.cubes=none"]
TWO = ["runtime.scheduler=threads", "runtime.num_workers=2"]


class Killed(BaseException):
    """The driver ends here."""


def run(data: Path, out: Path, *overrides: str, **more: Any) -> RunSummary:
    return calibrate(data, out, "calib/official", [*FGS, *overrides], **more)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Labels of each write to the manifest; whoever ends within a minute ends together."""
    kept, append = list[list[str]](), manifest.append
    monkeypatch.setattr(execute, "GATHER_S", 60.0)

    def noted(run_dir: Path, *entries: manifest.Entry) -> None:
        if entries:
            kept.append([entry.label for entry in entries])
        append(run_dir, *entries)

    monkeypatch.setattr(manifest, "append", noted)
    return kept


def test_one_write_for_all_and_progress_after_it(dataset: Path, tmp_path: Path, writes: list[list[str]]) -> None:
    told: list[tuple[str, int, int]] = []

    def progress(entry: manifest.Entry, done: int, total: int) -> None:
        assert entry in manifest.read_all(tmp_path / "run")
        told.append((entry.label, done, total))

    summary = run(dataset, tmp_path / "run", *TWO, progress=progress)
    assert summary.count("done") == 3
    assert len(writes) == 1
    assert sorted(writes[0]) == sorted(entry.label for entry in manifest.read(tmp_path / "run"))
    assert told == [(label, number, 3) for number, label in enumerate(writes[0], start=1)]


def test_the_number_that_is_taken_together_has_a_limit(
    dataset: Path, tmp_path: Path, writes: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "TOGETHER", 2)
    assert run(dataset, tmp_path / "run", *TWO).count("done") == 3
    assert [len(labels) for labels in writes] == [2, 1]


@pytest.mark.parametrize("scheduler", [["runtime.scheduler=sync"], ["runtime.scheduler=sync", "runtime.threads_per_worker=3"], TWO])
def test_a_driver_that_is_killed_before_the_write_loses_nothing(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: Sequence[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(execute, "GATHER_S", 60.0)

        def killed(*_: object) -> None:
            raise Killed

        patch.setattr(manifest, "append", lambda run_dir, *entries: killed() if entries else None)
        with pytest.raises(Killed):
            run(dataset, tmp_path / "run", *scheduler)
    assert manifest.read_all(tmp_path / "run") == []
    there = len(list((tmp_path / "run" / "calibrated.zarr").glob("*/*/*/_COMMIT.json")))
    assert there >= 1
    summary = run(dataset, tmp_path / "run", "runtime.scheduler=sync")
    assert (summary.count("skipped"), summary.count("done")) == (there, 3 - there)


def test_a_failure_that_stops_the_run_takes_nothing_from_the_others(
    dataset: Path, tmp_path: Path, writes: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of three is everyone's failure: all three that have ended with it are in the manifest, in its one write."""
    whole, bad = execute.run_job, scan(dataset)[-1].planet_id

    def failing(job: Job) -> Done:
        if job.key.planet_id == bad and job.key.visit == 0:
            raise AttemptError(Failure("stop", "disk full", "StoreError", ""))
        return whole(job)

    monkeypatch.setattr(execute, "run_job", failing)
    with pytest.raises(StoreError, match="every other visit would fail alike"):
        run(dataset, tmp_path / "run", *TWO)
    states = {entry.label: entry.state for entry in manifest.read(tmp_path / "run")}
    assert (len(writes), sorted(states.values())) == (1, ["done", "done", "failed"])
    monkeypatch.undo()
    summary = run(dataset, tmp_path / "run", "runtime.scheduler=sync")
    assert (summary.count("skipped"), summary.count("done")) == (2, 1)


def future(key: str, value: object) -> Any:
    def result() -> object:
        if isinstance(value, Exception):
            raise value
        return value

    released: list[str] = []
    failed = isinstance(value, AttemptError)
    return SimpleNamespace(
        key=key, status="error" if failed else "finished", result=result, exception=lambda: value, release=lambda: released.append(key),
        released=released,
    )  # fmt: skip


@pytest.mark.parametrize("lost", [False, True])
def test_results_are_fetched_together_or_one_by_one(lost: bool) -> None:
    asked: list[list[str]] = []

    def gather(futures: Sequence[Any]) -> list[object]:
        asked.append([one.key for one in futures])
        if lost:
            raise OSError("cut")
        return [one.result() for one in futures]

    client = SimpleNamespace(nthreads=dict, status="running", scheduler_info=lambda **_: {"workers": {}}, gather=gather)
    watch = Watch(client, load("calib/fast", ["runtime.scheduler=tcp://h:1"]).runtime)  # type: ignore[arg-type]
    error = AttemptError(Failure("retry", "no", "OSError", ""))
    futures = [future("a", 1), future("b", error), future("c", 3)]
    assert watch.results(futures) == [1, error, 3]
    assert asked == [["a", "c"]]
    assert [one.released for one in futures] == [["a"], ["b"], ["c"]]
    with pytest.raises(ClusterError, match="does not answer any more"):
        watch.results([future("a", OSError("cut")), future("b", 2)])
