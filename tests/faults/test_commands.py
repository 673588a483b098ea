"""Commands that write are killed, run into full disks, or run at once: what was there stands, what is made again is the same.

`ingest`, `simulate`, `export`, `report`, `qc`, `verify`: processes of their own, as in test_campaign.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from v50calib import calibrate
from v50calib.io.ingestion import ingest
from v50calib.io.raw_store.check import verify_store
from v50calib.io.storage.commit import is_committed, tree_hash

from .conftest import OVERRIDES, PROGRAM, Site, fill

pytestmark = pytest.mark.faults


def raw_groups(store: Path) -> dict[str, str]:
    """Hash of every committed visit of a raw store; nothing else may lie beside them."""
    found = sorted(p for p in store.glob("*/*/*/*") if p.is_dir())
    assert all(is_committed(p) and not p.name.startswith(".") for p in found), found
    return {p.relative_to(store).as_posix(): tree_hash(p) for p in found}


@pytest.fixture(scope="session")
def ingested(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw store whose making nothing disturbed."""
    store = tmp_path_factory.mktemp("ingested") / "raw.zarr"
    assert ingest(tiny, store).ok
    return store


@pytest.fixture(scope="session")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to be copied."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert calibrate(tiny, out, "calib/fast", [*OVERRIDES, "runtime.scheduler=sync"]).count("done") == 4
    return out


@pytest.fixture
def done(site: Site, finished: Path) -> Site:
    """A site whose run is finished."""
    shutil.copytree(finished, site.run)
    return site


def export(site: Site, out: Path, *options: str, faults: list[dict[str, object]] | None = None) -> tuple[int, str]:
    return site.end(site.start("export", str(site.run), str(out), *options, faults=faults))


# export


def test_export_killed_in_its_replacement_window(done: Site, tmp_path: Path) -> None:
    """kill -9 before and after the exchange of names, where the file system has it, or before each of the renames, and in the removal of
    the old one; then an export that fails. The old or the new grid stands."""
    out = tmp_path / "made" / "grid.zarr"
    assert export(done, out)[0] == 0
    old = tree_hash(out)
    assert export(done, tmp_path / "other" / "grid.zarr", "--bin-s", "700")[0] == 0
    new = tree_hash(tmp_path / "other" / "grid.zarr")
    assert old != new
    removal = {**done.fault("v50calib.io.storage.commit", "_remove", "kill"), "when": "grid.zarr"}
    unable = {**done.fault("v50calib.io.storage.exchange", "_RENAME_EXCHANGE", "set:1024"), "times": 0}
    kills = [[done.fault("v50calib.io.storage.commit", "exchanged", "kill")], [removal]]
    kills += [[unable, done.fault("pathlib", "Path.rename", "kill", when="grid", skip=n)] for n in range(3)]
    for step, faults in enumerate([*kills, [unable, removal]]):
        killing = [{**fault, "marker": str(tmp_path / f"kill{step}-{n}")} for n, fault in enumerate(faults)]
        assert export(done, out, "--bin-s", "700", "--overwrite", faults=killing)[0] == -signal.SIGKILL, step
        full = {**done.fault("v50calib.export.write", "_check_room", "errno:ENOSPC"), "marker": str(tmp_path / f"full{step}")}
        code, text = export(done, out, "--overwrite", faults=[full])
        assert code == 4, text
        assert tree_hash(out) in (old, new), step
    code, text = export(done, out, "--overwrite")
    assert code == 0, text
    assert tree_hash(out) == old
    assert [p.name for p in out.parent.iterdir()] == ["grid.zarr"]
    done.check()


def test_disk_full_during_an_export(done: Site, tmpfs: Callable[..., Path]) -> None:
    place = tmpfs("400k")
    out = place / "grid.zarr"
    assert export(done, out, "--bin-s", "700")[0] == 0
    old = tree_hash(out)
    code, text = export(done, out, "--bin-s", "1", "--overwrite")
    assert code == 4, text
    assert "No space left" in text or "disk full" in text
    assert "Traceback" not in text
    assert tree_hash(out) == old
    assert [p.name for p in place.iterdir()] == ["grid.zarr"]
    os.system(f"mount -o remount,size=100m {place}")
    code, text = export(done, out, "--bin-s", "1", "--overwrite")
    assert code == 0, text
    assert [p.name for p in place.iterdir()] == ["grid.zarr"]
    done.check()


def test_two_exports_at_once(done: Site, tmp_path: Path) -> None:
    """Both write beside the place; one of them stays as a whole, and the other is refused or replaced as a whole."""
    out = tmp_path / "made" / "grid.zarr"
    assert export(done, tmp_path / "alone" / "grid.zarr")[0] == 0
    processes = [done.start("export", str(done.run), str(out), "--overwrite") for _ in range(2)]
    codes = [done.end(p)[0] for p in processes]
    assert 0 in codes
    assert set(codes) <= {0, 4}
    assert tree_hash(out) == tree_hash(tmp_path / "alone" / "grid.zarr")
    assert [p.name for p in out.parent.iterdir()] == ["grid.zarr"]
    done.check()


# report, qc, summary, verify


def test_report_killed(done: Site) -> None:
    """The page that was there stands; the next one replaces it."""
    page = done.run / "report.html"
    assert done.end(done.start("report", str(done.run), "--limit", "1"))[0] == 0
    old = page.read_bytes()
    for number, place in enumerate([("v50calib.report.build", "_write"), ("pathlib", "Path.replace")]):
        fault = {**done.fault(*place, "kill", when=".tmp" if place[0] == "pathlib" else ""), "marker": f"{done.run.parent}/kill{number}"}
        code, text = done.end(done.start("report", str(done.run), "--limit", "1", faults=[fault]))
        assert code == -signal.SIGKILL, text
        assert page.read_bytes() == old
    code, text = done.end(done.start("report", str(done.run), "--limit", "1"))
    assert code == 0, text
    assert len(page.read_bytes()) > 1000
    done.check()


def test_disk_full_during_a_report(done: Site, tmpfs: Callable[..., Path]) -> None:
    place = tmpfs("64k")
    page = place / "page.html"
    page.write_text("")
    code, text = done.end(done.start("report", str(done.run), "--out", str(page)))
    assert code == 4, text
    assert "No space left" in text
    assert "Traceback" not in text
    assert page.read_text() == ""
    assert [p.name for p in place.iterdir()] == ["page.html"]
    os.system(f"mount -o remount,size=100m {place}")
    assert done.end(done.start("report", str(done.run), "--out", str(page)))[0] == 0
    done.check()


def test_verify_on_a_full_disk(site: Site, finished: Path, tmpfs: Callable[..., Path]) -> None:
    """It needs no space: it reads, and says what it finds."""
    place = tmpfs("3m")
    site.run = place / "run"
    shutil.copytree(finished, site.run)
    fill(place)
    code, text = site.end(site.start("verify", str(site.run)))
    assert code == 0, text
    assert "4 products whole" in text
    (place / "filler").unlink()
    site.resume()


def test_commands_that_only_read_are_killed(done: Site) -> None:
    """kill -9 of verify, status, summary and qc at some moment changes nothing, and holds nothing up."""
    moments = random.Random(7)
    for command in ("verify", "status", "summary", "qc"):
        process = done.start(command, str(done.run))
        time.sleep(moments.uniform(0.5, 4.0))
        process.kill()
        process.communicate()
        done.check()
    done.resume()


def test_verify_from_another_pid_namespace(site: Site) -> None:
    """A live run's processes have no number there; nothing of it is taken for a dead one's."""
    enter = ["unshare", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a PID namespace cannot be made here")
    go = site.run.parent / "go"
    process = site.start(faults=[site.fault("v50calib.runs.product", "commit", f"hold:{go}")])
    site.wait_for(site.marker(), process)
    assert list((site.run / "calibrated.zarr").glob("*/*/.*.tmp"))
    for _ in range(2):
        code, text = site.end(site.launch([*enter, *PROGRAM, "verify", str(site.run)]))
        assert code == 0, text
        assert "is in use by process" in text
    go.touch()
    code, text = site.end(process)
    assert code == 0, text
    site.check()
    site.resume()


# ingest, simulate


def test_ingest_killed_at_random_moments(site: Site, ingested: Path, tmp_path: Path) -> None:
    store, moments = tmp_path / "raw.zarr", random.Random(3)
    words = ("ingest", str(site.data), str(store))
    killed = 0
    for _ in range(5):
        process = site.start(*words)
        until = time.monotonic() + 60
        while not store.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(moments.uniform(0.0, 1.5))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        groups = [p for p in store.glob("*/*/*/*") if p.is_dir() and not p.name.startswith(".")]
        assert all(is_committed(p) for p in groups)
    assert killed >= 2
    code, text = site.end(site.start(*words))
    assert code == 0, text
    assert raw_groups(store) == raw_groups(ingested)
    assert verify_store(store).ok


def test_ingest_update_killed_in_its_replacement(own_data: Site, ingested: Path, tmp_path: Path) -> None:
    """Killed before and after the visit and its new one exchange their names, and where they cannot, before each rename: the visit is there
    again, old or new, as a whole."""
    site, store = own_data, tmp_path / "raw.zarr"
    shutil.copytree(ingested, store)
    first, second = sorted(p for p in (site.data / "train").iterdir() if p.is_dir())[:2]
    frames = first / "FGS1_signal_0.parquet"
    kept, others = frames.read_bytes(), (second / "FGS1_signal_0.parquet").read_bytes()
    words = ("ingest", str(site.data), str(store), "--update")
    unable = site.fault("v50calib.io.storage.exchange", "_RENAME_EXCHANGE", "set:1024")
    kills = [[site.fault("v50calib.io.storage.commit", "exchanged", "kill")], [site.fault("v50calib.io.storage.commit", "_remove", "kill")]]
    kills += [[unable, site.fault("pathlib", "Path.rename", "kill", when="FGS1", skip=n)] for n in range(2)]
    changed = {f"train/{first.name}/0/FGS1"}
    for step, faults in enumerate(kills):
        frames.write_bytes(others if step % 2 == 0 else kept)
        killing = [{**fault, "marker": str(tmp_path / f"kill{step}-{n}")} for n, fault in enumerate(faults)]
        code, text = site.end(site.start(*words, faults=killing))
        assert code == -signal.SIGKILL, text
        code, text = site.end(site.start(*words))
        assert code == 0, text
        assert verify_store(store).ok
        assert {k for k, v in raw_groups(store).items() if raw_groups(ingested)[k] != v} == (changed if step % 2 == 0 else set())
        assert not [p for p in (store / "train" / first.name / "0").iterdir() if p.name.startswith(".")]
    assert raw_groups(store) == raw_groups(ingested)


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Worker processes, without multiprocessing's resource tracker, which ends by itself."""
    try:
        return [p for p in psutil.Process(process.pid).children(recursive=True) if "resource_tracker" not in " ".join(p.cmdline())]
    except psutil.NoSuchProcess:
        return []


def end_midway(site: Site, words: tuple[str, ...], at_work: Callable[[], bool], number: signal.Signals) -> None:
    """Start a command with workers, end its parent by a signal while they work; none of them may be left."""
    process = site.start(*words, "--workers", "2")
    until = time.monotonic() + 120
    while not (at_work() and workers_of(process)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    workers = workers_of(process)
    process.send_signal(number)
    code, text = site.end(process, 60)
    assert code == (-number if number == signal.SIGKILL else 128 + number), text
    until = time.monotonic() + 10
    while any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers):
        assert time.monotonic() < until, "an orphan"
        time.sleep(0.05)


def test_parent_of_ingest_workers_ends(site: Site, ingested: Path, tmp_path: Path) -> None:
    """By SIGTERM, then by kill -9: no orphan, and the store is finished by the same command."""
    store = tmp_path / "raw.zarr"
    words = ("ingest", str(site.data), str(store))
    for number in (signal.SIGTERM, signal.SIGKILL):
        shutil.rmtree(store, ignore_errors=True)
        end_midway(site, words, lambda: any(store.rglob("*.tmp/*")), number)
    code, text = site.end(site.start(*words))
    assert code == 0, text
    assert raw_groups(store) == raw_groups(ingested)


def test_parent_of_simulate_workers_ends(site: Site, tmp_path: Path) -> None:
    """The same of simulate, whose folder appears when it is complete: the same arguments then give the same files."""
    shape = ("--planets", "2", "--frames-fraction", "0.02", "--seed", "5")
    assert site.end(site.start("simulate", str(tmp_path / "wanted" / "data"), *shape))[0] == 0
    place = tmp_path / "again"
    for number in (signal.SIGTERM, signal.SIGKILL):
        end_midway(site, ("simulate", str(place / "data"), *shape), lambda: any(place.rglob("*calibration*")), number)
        assert not (place / "data").exists()
    code, text = site.end(site.start("simulate", str(place / "data"), *shape))
    assert code == 0, text
    assert tree_hash(place / "data") == tree_hash(tmp_path / "wanted" / "data")
