"""What a run stands in is not as it should be: its reader, its processes, its limits, its clock, its folders."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from .conftest import Site, fill
from .test_campaign import COMPUTE

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(
    "tail", ["2>&1 | head -2; exit ${PIPESTATUS[0]}", "2>/dev/full >/dev/full", "2>&- >&-"], ids=["head", "full", "closed"]
)
def test_nobody_reads_the_progress(site: Site, tail: str) -> None:
    """The run goes on to its end without a word."""
    assert site.shell(tail) == 0
    site.check()
    site.resume()


def test_term_to_the_group_while_workers_start(site: Site) -> None:
    process = site.start(scheduler="local")
    site.wait_for(site.run / "run.json", process)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGTERM)
    code, text = site.end(process)
    assert code == 143, text
    assert "stopped by SIGTERM; run the same command again" in text
    site.resume()


def test_a_worker_is_stopped_for_40_s(site: Site) -> None:
    """It is named with its visit after 30 s, and goes on when it is woken: nothing is done twice."""
    process = site.start(faults=[site.fault(*COMPUTE, "sleep:1")], scheduler="local")
    site.wait_for(site.marker(), process)
    workers = [p for p in psutil.Process(process.pid).children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
    assert workers
    for worker in workers:
        worker.suspend()
    time.sleep(40)
    for worker in workers:
        worker.resume()
    code, text = site.end(process)
    assert code == 0, text
    assert "has given no sign of life for 30 s" in text
    site.check()
    site.resume()


def test_memory_of_a_nested_control_group(site: Site, tmp_path: Path) -> None:
    """As Slurm's: the job's own group has 50 MB, the groups above are wide. Refused before a frame is read."""
    root = tmp_path / "root"
    job = root / "sys/fs/cgroup/slurm/job_7/step_0"
    job.mkdir(parents=True)
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("0::/slurm/job_7/step_0\n")
    (root / "proc/self/mountinfo").write_text("30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n")
    (job / "memory.max").write_text("max\n")
    (job.parent / "memory.max").write_text(f"{50 * 2**20}\n")
    fault = site.fault("v50calib.io.storage.machine", "memory_limits", f"below:{root}")
    code, text = site.calibrate(faults=[fault])
    assert code == 2, text
    assert "too little memory" in text
    assert "50.00 MiB" in text
    assert not list(site.run.glob("calibrated.zarr/*"))
    site.resume()


def test_few_descriptors(site: Site) -> None:
    """ulimit -n 40: enough for a run in this process."""
    code, text = site.calibrate(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)))
    assert code == 0, text
    site.check()
    site.resume()


def test_too_few_descriptors_for_workers(site: Site) -> None:
    """ulimit -n 24 with worker processes: the run ends with a reason, in bounded time, and is resumed with more."""
    process = site.start(scheduler="local", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24)))
    code, text = site.end(process, 200)
    assert code in (1, 3, 4, 5), text
    assert "open files" in text
    site.resume()


@pytest.mark.parametrize("how", ["full", "readonly"])
def test_folder_of_the_workers_cannot_be_written(site: Site, tmpfs: Callable[..., Path], how: str) -> None:
    """Dask's local directory (temporary-directory), where workers spill: the run ends well, or with a reason; then it is resumed."""
    place = tmpfs("8k")
    if how == "full":
        fill(place)
    else:
        os.system(f"mount -o remount,ro {place}")
    process = site.start(scheduler="local", env={"DASK_TEMPORARY_DIRECTORY": str(place)})
    code, text = site.end(process, 200)
    assert code in (0, 4, 5), text
    assert code == 0 or "Traceback" not in text.splitlines()[-1]
    site.resume()


def test_temporary_folder_is_read_only(site: Site, tmpfs: Callable[..., Path]) -> None:
    """TMPDIR; the run takes another one, or needs none."""
    place = tmpfs("1m")
    os.system(f"mount -o remount,ro {place}")
    code, text = site.calibrate(env={"TMPDIR": str(place)})
    assert code == 0, text
    site.check()
    site.resume()


@pytest.mark.parametrize("home", ["/nowhere/at/all", ""])
def test_no_home(site: Site, home: str) -> None:
    """As in a container with a number for a user."""
    code, text = site.calibrate(env={"HOME": home, "XDG_CACHE_HOME": ""})
    assert code == 0, text
    site.check()
    site.resume()


def test_clock_before_1970(site: Site) -> None:
    """A node whose battery is empty: time is negative. Half of the run, then the rest with the right clock."""
    code, text = site.calibrate("--limit", "2", faults=[site.fault("", "", "clock before 1970")])
    assert code == 0, text
    assert site.status()["done"] >= 2
    assert "2 calibrated, 2 already complete" in site.resume()


def test_compiled_kernels_are_spoiled(site: Site, tmp_path: Path) -> None:
    """The cache of compiled kernels after a full disk: files cut short, empty, full of zeros. They are compiled anew; same products."""
    cache = tmp_path / "cache"
    shutil.copytree(os.environ["NUMBA_CACHE_DIR"], cache)
    cache.chmod(0o700)
    files = [p for p in sorted(cache.rglob("*")) if p.suffix in (".nbi", ".nbc")]
    assert files
    for number, path in enumerate(files):
        content = path.read_bytes()
        path.write_bytes((content[: len(content) // 2], b"", bytes(len(content)))[number % 3])
    code, text = site.calibrate(env={"NUMBA_CACHE_DIR": str(cache)})
    assert code == 0, text
    site.check()
    site.resume()
