"""Where visits are fewer than threads, the idle ones help: same bytes, and no worker is given threads of another machine."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from v50calib import calibrate
from v50calib.config import load
from v50calib.io import scan
from v50calib.runtime import execute
from v50calib.runtime.execute import Watch
from v50calib.runtime.job import Done, Job


@pytest.mark.parametrize(
    ("scheduler", "workers", "visits", "expected"),
    [
        ("threads", [4], 1, 4),
        ("threads", [4], 2, 3),
        ("threads", [4], 4, 2),
        ("threads", [4], 5, 1),
        ("local", [1, 1], 1, 2),
        ("local", [1, 1], 2, 2),
        ("local", [1, 1], 3, 1),
        ("local", [], 1, 1),
        ("tcp://h:1", [1, 1, 1], 1, 1),
        ("tcp://h:1", [8, 4], 2, 4),
        ("tcp://h:1", [8, 4], 4, 2),
        ("slurm", [8, 8], 3, 4),
    ],
)
def test_threads_of_a_visit(scheduler: str, workers: list[int], visits: int, expected: int) -> None:
    held = {f"tcp://w:{number}": threads for number, threads in enumerate(workers)}
    own = object() if scheduler in ("local", "threads") else None
    client = SimpleNamespace(nthreads=lambda: held, status="running", scheduler_info=lambda **_: {"workers": {}}, cluster=own)
    more = ["runtime.num_workers=2"] if scheduler == "slurm" else []
    runtime = load("calib/fast", [f"runtime.scheduler={scheduler}", *more]).runtime
    assert Watch(client, runtime).threads(visits) == expected  # type: ignore[arg-type]


def test_an_adaptive_cluster_gives_none() -> None:
    client = SimpleNamespace(nthreads=lambda: {"a": 4}, status="running", scheduler_info=lambda **_: {"workers": {}}, cluster=object())
    runtime = load("calib/fast", ["runtime.scheduler=local", "runtime.adaptive.enabled=true"]).runtime
    assert Watch(client, runtime).threads(1) == 1  # type: ignore[arg-type]


def test_a_lone_visit_has_all_threads_and_the_same_bytes(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, notes = execute.run_job, tmp_path / "threads"

    def noted(job: Job) -> Done:
        # the function is pickled on its way
        with notes.open("a") as stream:
            stream.write(f"{job.threads} ")
        return whole(job)

    monkeypatch.setattr(execute, "run_job", noted)
    one = next(key for key in scan(dataset) if key.instrument == "AIRS-CH0")
    # several chunks, so that there is something to divide
    common = ["output.cubes=binned", "runtime.chunk_pairs=4"]
    trees = []
    for name, places in (("alone", ["sync"]), ("helped", ["threads", "runtime.num_workers=3"])):
        overrides = [f"runtime.scheduler={places[0]}", *places[1:], *common]
        out = tmp_path / name
        summary = calibrate(dataset, out, "calib/official", overrides, only=[f"{one.planet_id}/{one.visit}/AIRS-CH0"])
        assert summary.count("done") == 1
        trees.append(json.loads((out / "calibrated.zarr" / one.label / "_COMMIT.json").read_text())["tree_sha256"])
    assert notes.read_text().split() == ["1", "3"]
    assert trees[0] == trees[1]
