"""Every kind of fault once: the run ends as documented, is resumed, and its store equals that of an undisturbed run, bit for bit.

`scripts/faults.sh` runs them all; those marked slow as well, the quicker ones, run with the other slow tests.
Processes are started as a user starts them; faults come from tests/faults/inject.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from v50calib.runs.verify import verify

from .conftest import Site, hashes

pytestmark = pytest.mark.faults

READ = ("v50calib.runtime.job", "open_source")
COMPUTE = ("v50calib.engine.engine", "Engine.run_chunk")
WRITE = ("v50calib.runs.product", "commit")
PLACES = pytest.mark.parametrize("place", [READ, pytest.param(COMPUTE, marks=pytest.mark.slow), WRITE], ids=["read", "compute", "write"])


def victim(site: Site) -> Path:
    """The signal file of the last visit."""
    return max((site.data / "train").iterdir()) / "FGS1_signal_0.parquet"


@PLACES
def test_worker_killed(site: Site, place: tuple[str, str]) -> None:
    """Dask gives the task to another worker: the run itself ends well."""
    code, text = site.calibrate(faults=[site.fault(*place, "kill")], scheduler="local")
    assert code == 0, text
    assert site.marker().exists()
    site.resume()


def test_all_workers_killed(site: Site) -> None:
    code, text = site.calibrate(faults=[site.fault(*COMPUTE, "kill", times=2)], scheduler="local")
    assert code == 0, text
    assert site.marker(1).exists()
    site.resume()


def test_worker_that_dies_of_a_visit_every_time(site: Site) -> None:
    """The visit is given up and held; the others are done. Let go by --retry-failed."""
    code, text = site.calibrate("runtime.retries=0", "runtime.allowed_failures=0", faults=[site.fault(*WRITE, "kill")], scheduler="local")
    assert code == 1, text
    assert site.status()["reasons"] == {"KilledWorker": len(site.status()["failures"])}
    code, text = site.calibrate()
    assert code == 1
    assert "in quarantine" in text
    site.resume("--retry-failed")


def test_client_killed(site: Site) -> None:
    process = site.start(faults=[site.fault(*COMPUTE, "sleep:60")], scheduler="local")
    site.wait_for(site.marker(), process)
    process.kill()
    process.wait()
    assert site.status()["phase"] == "killed"
    assert "killed" in site.end(site.start("status", str(site.run)))[1]
    site.resume()


COMMIT = "v50calib.io.storage.commit"


@pytest.mark.slow
@pytest.mark.parametrize("attr", ["exchanged", "_remove"])
def test_client_killed_while_it_replaces_a_product(site: Site, attr: str) -> None:
    """Before the two folders exchange their names, and after it: nothing is ever missing, what is left over is removed."""
    assert site.calibrate()[0] == 0
    code, _ = site.calibrate("--overwrite", faults=[site.fault(COMMIT, attr, "kill", when=".tmp")])
    assert code == -signal.SIGKILL
    assert hashes(site.run) == site.wanted
    assert verify(site.run).cleaned == 1
    assert hashes(site.run) == site.wanted
    site.resume("--overwrite")


@pytest.mark.slow
def test_client_killed_while_it_replaces_a_product_where_names_cannot_be_exchanged(site: Site) -> None:
    """Between moving the old product aside and the new one in: the old one comes back, then it is redone."""
    assert site.calibrate()[0] == 0
    # no such flag: as on a file system that knows none
    faults = [
        site.fault("v50calib.io.storage.exchange", "_RENAME_EXCHANGE", "set:1024"),
        site.fault("pathlib", "Path.rename", "kill", when=".tmp"),
    ]
    code, _ = site.calibrate("--overwrite", faults=faults)
    assert code == -signal.SIGKILL
    assert len(hashes(site.run)) == 3
    assert verify(site.run).cleaned == 2
    assert hashes(site.run) == site.wanted
    site.resume("--overwrite")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_scheduler_killed(site: Site) -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "dask"]
    scheduler = site.launch([*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"])
    fault = site.fault(*COMPUTE, "sleep:60")
    site.launch([*dask, "worker", address, "--nthreads", "1", "--no-dashboard", "--death-timeout", "60"], [fault])
    process = site.start(scheduler=address)
    site.wait_for(site.marker(), process)
    scheduler.kill()
    code, text = site.end(process)
    assert code == 5, text
    assert "does not answer any more" in text
    assert site.status()["interrupted"] > 0
    site.resume()


@pytest.mark.slow
def test_disk_full(site: Site, tmpfs: Callable[[str], Path]) -> None:
    place = tmpfs("700k")
    site.run = place / "run"
    code, text = site.calibrate()
    assert code == 4, text
    assert "No space left" in text
    os.system(f"mount -o remount,size=100m {place}")
    site.resume()


@pytest.mark.slow
def test_quota(site: Site) -> None:
    """Files may not grow beyond a size: the same verdict as for a full disk."""

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_500, 4_500))

    code, text = site.calibrate(preexec_fn=small_files)
    assert code == 4, text
    site.resume()


@pytest.mark.slow
def test_output_turns_read_only(site: Site, tmpfs: Callable[[str], Path]) -> None:
    """The products' folder is mounted read-only over itself when the second product is to be committed."""
    place = tmpfs("100m")
    site.run = place / "run"
    assert site.calibrate("--limit", "1")[0] == 0
    products = site.run / "calibrated.zarr"
    fault = {**site.fault(*WRITE, f"readonly:{products}"), "marker": str(place.parent / "marker")}
    try:
        code, text = site.calibrate(faults=[fault])
        assert code == 4, text
        assert "Read-only file system" in text
    finally:
        os.system(f"umount {products}")
    site.resume()


@pytest.mark.slow
@pytest.mark.parametrize("action", ["remove", "truncate"])
def test_input_lost_midway(own_data: Site, action: str) -> None:
    site, path = own_data, victim(own_data)
    kept = path.with_name("kept")
    shutil.copy2(path, kept)
    code, text = site.calibrate(faults=[site.fault(*READ, f"{action}:{path}")])
    assert code == 1, text
    assert "3 calibrated, 0 already complete, 1 failed" in text
    assert [f["error_type"] for f in site.status()["failures"]] == ["DataError"]
    shutil.move(kept, path)
    assert "1 calibrated, 3 already complete" in site.resume()


@pytest.mark.slow
def test_reads_that_fail_now_and_then(site: Site) -> None:
    code, text = site.calibrate(faults=[site.fault(*READ, "errno:EIO", times=2)])
    assert code == 0, text
    assert site.status()["retried"] == 2
    site.resume()


def test_clock_jumps(site: Site) -> None:
    """Dask's own deadlines may pass by a jump: then the run ends as one whose scheduler was lost, and is resumed."""
    for _ in range(3):
        code, text = site.calibrate(faults=[site.fault("", "", "clock")], scheduler="local")
        assert code in (0, 5), text
    assert all(0 <= e["seconds"] < 2 * 86400 for e in site.status()["slowest"])
    site.resume()


@pytest.mark.slow
def test_two_clients(site: Site) -> None:
    go = site.run.parent / "go"
    first = site.start(faults=[site.fault(*COMPUTE, f"hold:{go}")])
    site.wait_for(site.marker(), first)
    code, text = site.calibrate("--overwrite")
    go.touch()
    assert code == 4
    assert "is in use by process" in text
    assert site.end(first)[0] == 0
    site.check()


def test_memory_limit_hit(site: Site) -> None:
    """The nanny ends the worker; the visit is given up after the allowed deaths and redone with --retry-failed."""
    fault = site.fault(*COMPUTE, f"hog:{700 * 2**20}")
    limits = ["runtime.memory_limit=600MiB", "runtime.allowed_failures=0", "runtime.retries=0", "runtime.num_workers=1"]
    code, text = site.calibrate(*limits, faults=[fault], scheduler="local")
    assert code == 1, text
    assert "KilledWorker" in json.dumps(site.status()["reasons"])
    site.resume("--retry-failed")


def spoil_chunk(product: Path) -> None:
    path = max((p for p in product.rglob("c.*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def lose_chunk(product: Path) -> None:
    next(p for p in sorted(product.rglob("c.*")) if p.is_file()).unlink()


def spoil_record(product: Path) -> None:
    (product / "_COMMIT.json").write_text('{"config_hash": ')


def lose_record(product: Path) -> None:
    (product / "_COMMIT.json").unlink()


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [spoil_chunk, lose_chunk, spoil_record, lose_record])
def test_committed_product_is_damaged(site: Site, spoil: Callable[[Path], None]) -> None:
    assert site.calibrate()[0] == 0
    spoil(min(p for p in (site.run / "calibrated.zarr").glob("*/*/*") if p.is_dir()))
    code, text = site.end(site.start("verify", str(site.run)))
    assert code == 1
    assert "remedy: 'v50calib verify" in text
    assert len(verify(site.run, quarantine=True).aside) == 1
    code, text = site.calibrate()
    assert code == 0
    assert "1 calibrated, 3 already complete" in text
    site.check()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("scheduler", ["local", pytest.param("sync", marks=pytest.mark.slow)])
def test_signal(site: Site, number: signal.Signals, code: int, scheduler: str) -> None:
    """SIGINT goes to the whole group, as Ctrl-C does. Stops in less than 10 s, reported in exit code, message and manifest."""
    seconds = 60 if scheduler == "local" else 3
    process = site.start(faults=[site.fault(*COMPUTE, f"sleep:{seconds}")], scheduler=scheduler)
    site.wait_for(site.marker(), process)
    began = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    found, text = site.end(process)
    assert time.monotonic() - began < 10
    assert found == code, text
    assert f"stopped by {number.name}; run the same command again" in text
    found = site.status()
    assert found["phase"] == "interrupted"
    assert found["interrupted"] >= 1
    site.resume()


@pytest.mark.slow
def test_manifest_is_torn_and_state_lost(site: Site) -> None:
    """Neither decides what is done: the products do."""
    assert site.calibrate("--limit", "2")[0] == 0
    manifest = site.run / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-100])
    (site.run / "run.json").unlink()
    assert "2 calibrated, 2 already complete" in site.resume()
