from __future__ import annotations

from pathlib import Path

import pytest

from v50calib.config import load
from v50calib.errors import ConfigError
from v50calib.io.catalog import open_root, scan
from v50calib.io.storage import machine
from v50calib.runtime import memory
from v50calib.runtime.batch import make_jobs
from v50calib.runtime.cluster import auto_memory
from v50calib.runtime.job import Job, packed
from v50calib.runtime.memory import BASE, check_memory, projected


def jobs(root: Path, *overrides: str) -> list[Job]:
    config = load("calib/nominal", overrides)
    return [Job(str(root), "unused", key, packed(config)) for key in scan(root)]


def test_parts_follow_the_frames(dataset: Path, store: Path) -> None:
    """AIRS-CH0: 226 reads of 32 x 356; a file is held whole, a store's chunk twice."""
    file = projected(jobs(dataset)[0], open_root(dataset))
    assert file.instrument == "AIRS-CH0"
    source_bytes = 2 * 226 * 32 * 356
    assert file.frames == pytest.approx(1.6 * source_bytes, rel=0.02)
    assert file.base == BASE
    chunked = projected(jobs(store)[0], open_root(store))
    assert chunked.frames <= 2 * 2 * 450 * 32 * 356
    none = projected(jobs(dataset, "output.cubes=none")[0], open_root(dataset))
    full = projected(jobs(dataset, "output.cubes=full")[0], open_root(dataset))
    assert none.cubes == 0
    assert full.cubes == pytest.approx(2.2 * 4 * 113 * 32 * 356, rel=0.02)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["runtime.memory_limit=200MB"], r"a worker has 190\.73 MiB \(runtime\.memory_limit\)"),
        (["compute=threads", "runtime.num_workers=8", "runtime.memory_limit=350MB"], r"8 at once 7\d\d\.\d\d MiB"),
        (["compute=slurm", "runtime.queue.memory=1GB", "runtime.queue.cores=4", "runtime.queue.processes=4"], r"queue\.memory / processes"),
        (["compute=kubernetes", "runtime.kubernetes.memory=256Mi"], r"256\.00 MiB \(runtime\.kubernetes\.memory\)"),
    ],
)
def test_what_cannot_hold_is_refused_with_the_numbers(dataset: Path, tmp_path: Path, overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"too little memory: 4\d\d\.\d\d MiB for a visit.*{words}.*ingest"):
        make_jobs(dataset, tmp_path / "r", load("calib/nominal", overrides))
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("scheduler", ["local", "threads", "sync"])
def test_the_memory_of_the_job_counts(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str) -> None:
    """A job of 450 MB on a machine of 23 GB: known by its control group, refused, and so asked of Dask."""
    monkeypatch.setattr(machine, "memory_limits", lambda: (450_000_000,))
    monkeypatch.setattr(memory, "memory_limits", lambda: (450_000_000,))
    config = load("calib/nominal", [f"runtime.scheduler={scheduler}", "runtime.num_workers=1"])
    with pytest.raises(ConfigError, match=r"too little memory.*this job's or container's memory"):
        make_jobs(dataset, tmp_path / "r", config)
    assert auto_memory(config.runtime) <= 450_000_000


def test_what_holds_passes(dataset: Path) -> None:
    needs = check_memory(load("calib/nominal", ["runtime.memory_limit=1GB"]), jobs(dataset))
    assert {n.instrument for n in needs} == {"AIRS-CH0", "FGS1"}


@pytest.mark.slow
@pytest.mark.parametrize("instrument", ["AIRS-CH0", "FGS1"])
def test_projection_covers_the_measured_peak(dataset: Path, tmp_path: Path, instrument: str) -> None:
    """The peak of a process of its own is below the projection, and not absurdly so.

    VmHWM, not getrusage: on Linux ru_maxrss starts at the peak of the process that started this one, pytest's.
    """
    import subprocess
    import sys

    code = f"""
from pathlib import Path
from v50calib.config import load
from v50calib.io.catalog import scan
from v50calib.runtime.job import Job, packed, run_job
key = next(k for k in scan({str(dataset)!r}) if k.instrument == {instrument!r})
run_job(Job({str(dataset)!r}, {str(tmp_path)!r}, key, packed(load("calib/nominal"))))
print(1024 * int(next(x for x in open("/proc/self/status") if x.startswith("VmHWM")).split()[1]))
"""
    peak = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    job = next(j for j in jobs(dataset) if j.key.instrument == instrument)
    expected = projected(job, open_root(dataset)).total
    assert 0.6 * expected < peak < expected
