"""What travels to workers: names, and the config as a text that says the same there."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from v50calib.config import load
from v50calib.config.models import RunConfig
from v50calib.io.keys import VisitKey
from v50calib.runtime import execute
from v50calib.runtime.job import Job, chunks_job, packed

OVERRIDES = {
    "plain": [],
    "no end": ["calib.trace.exclude.windows=[[-inf,1.0]]"],
    "lists and choices": ["calib.trace.along_time.decorrelate.vectors=[x,y,sky]", "calib.photometry.instrument.name=FGS1"],
    "one of two that exclude each other": ["calib.top_level_calib.corel.coverage.target=0.8"],
}


@pytest.mark.parametrize("profile", ["fast", "nominal", "strict", "official"])
@pytest.mark.parametrize("overrides", OVERRIDES.values(), ids=OVERRIDES)
def test_config_arrives_as_it_was(profile: str, overrides: list[str]) -> None:
    config = load(f"calib/{profile}", overrides)
    job = Job("root", "out", VisitKey("1", 0, "FGS1"), packed(config))
    assert pickle.loads(pickle.dumps(job)).config == config


def test_config_made_in_python_arrives_too() -> None:
    config = RunConfig.model_validate({"calib": {"top_level_calib": {"corel": {"coverage": {"target": 0.8}}}}})
    assert Job("root", "out", VisitKey("1", 0, "FGS1"), packed(config)).config == config


def test_a_worker_makes_a_config_once() -> None:
    settings = packed(load("calib/nominal"))
    first, second = (pickle.loads(pickle.dumps(Job("root", "out", VisitKey(planet, 0, "FGS1"), settings))) for planet in "12")
    assert first.config is second.config


@pytest.mark.parametrize(("slots", "runs"), [(0, [3, 3, 3]), (1, [3, 3, 3]), (2, [2, 2, 2, 2, 1]), (64, [1] * 9)])
def test_chunks_are_dealt_into_runs_however_many_workers_are_there(monkeypatch: pytest.MonkeyPatch, slots: int, runs: list[int]) -> None:
    """Nine chunks, in order and each once; none of the workers may be left when a visit is tried again."""
    submitted: list[tuple[Any, ...]] = []
    client = SimpleNamespace(submit=lambda *args, **_: submitted.append(args))
    monkeypatch.setattr("v50calib.runtime.execute.extent_of_job", lambda job: (85, job.config.runtime.chunk_pairs))
    monkeypatch.setattr("v50calib.runtime.execute.open_root", lambda _: SimpleNamespace(identity=lambda _: {}))
    job = Job("root", "out", VisitKey("1", 0, "FGS1"), packed(load("calib/nominal", ["runtime.chunk_pairs=10"])))
    execute._submit_chunks(client, job, slots)  # type: ignore[arg-type]
    dealt = [args[4] for args in submitted if args[1] is chunks_job]
    assert [len(run) for run in dealt] == runs
    assert [r for run in dealt for r in run] == [(i, min(i + 10, 85)) for i in range(0, 85, 10)]
