"""Called in a worker of multiprocessing.Pool or of Dask, which may have no processes of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

from v50calib import calibrate
from v50calib.errors import ConfigError
from v50calib.io.ingestion import ingest
from v50calib.simulate import simulate_dataset

Called = Callable[..., str]


def tell(what: str, data: str, out: str, *options: str) -> str:
    """In the worker: what a call said."""
    try:
        if what == "ingest":
            return str(len(ingest(data, out, workers=2).written))
        if what == "simulate":
            return str(simulate_dataset(out, planets=2, frames_fraction=0.002, workers=2))
        return str(calibrate(data, out, "calib/fast", options, limit=1))
    except Exception as exc:  # noqa: BLE001 - it is what is asked for
        return f"{type(exc).__name__}: {exc}"


@pytest.fixture(scope="module", params=["pool", "dask"])
def called(request: pytest.FixtureRequest) -> Iterator[Called]:
    if request.param == "pool":
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            yield lambda *a: pool.apply(tell, a)
        return
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        yield lambda *a: str(client.submit(tell, *a, pure=False).result())


@pytest.mark.parametrize(
    ("what", "asked", "instead"),
    [
        ("calibrate", "runtime.scheduler=local", "use runtime.scheduler=threads or sync here"),
        ("ingest", "ingest with workers=2", "use workers=1 here"),
        ("simulate", "simulate with workers=2", "use workers=1 here"),
    ],
)
def test_the_cause_is_named(called: Called, dataset: Path, tmp_path: Path, what: str, asked: str, instead: str) -> None:
    said = called(what, str(dataset), str(tmp_path / "out"), "runtime.num_workers=1")
    assert said.startswith(f"ConfigError: {asked} starts processes, and this one (")
    assert "is a daemonic process, as the workers of multiprocessing.Pool and of Dask are" in said
    assert instead in said
    assert "__main__" not in said


@pytest.mark.parametrize("scheduler", ["threads", "sync"])
def test_what_is_named_instead_works(called: Called, dataset: Path, tmp_path: Path, scheduler: str) -> None:
    said = called("calibrate", str(dataset), str(tmp_path / "run"), f"runtime.scheduler={scheduler}", "runtime.num_workers=1")
    assert said.endswith("run: 1 done)"), said


def test_the_main_process_may(monkeypatch: pytest.MonkeyPatch) -> None:
    from v50calib.errors import refuse_in_a_daemon

    refuse_in_a_daemon("this", "that")
    process: Any = type("Process", (), {"daemon": True, "name": "SpawnPoolWorker-1"})()
    monkeypatch.setattr(multiprocessing, "current_process", lambda: process)
    with pytest.raises(ConfigError, match=r"this starts processes, and this one \(SpawnPoolWorker-1\).*use that here"):
        refuse_in_a_daemon("this", "that")
