from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from v50calib.errors import LockLostError, StoreError
from v50calib.runs import lock
from v50calib.runs.lock import check_token, holder, is_held, run_lock
from v50calib.runs.stop import STOP
from v50calib.runs.verify import verify


def test_a_second_run_is_refused_and_names_the_holder(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        assert is_held(tmp_path)
        assert holder(tmp_path)["pid"] == os.getpid()
        with pytest.raises(StoreError, match=rf"in use by process {os.getpid()} on .*, since 20"), run_lock(tmp_path):
            pass
    assert not is_held(tmp_path)
    with run_lock(tmp_path):
        pass


def test_a_crash_leaves_no_lock(tmp_path: Path) -> None:
    code = f"import os, pathlib; from v50calib.runs.lock import run_lock\nwith run_lock(pathlib.Path({str(tmp_path)!r})): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert "pid" in holder(tmp_path)
    assert not is_held(tmp_path)
    began = time.monotonic()
    with run_lock(tmp_path):
        assert time.monotonic() - began < 2


def record(tmp_path: Path, beat: int) -> None:
    content = json.dumps({"host": "another-node", "pid": 1, "started": "2026-01-01", "beat": beat})
    with (tmp_path / lock.NAME).open("r+" if (tmp_path / lock.NAME).exists() else "w") as stream:
        stream.write(content.ljust(255))


def test_another_hosts_beating_record_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a flock between the hosts: the record changes while it is watched."""
    monkeypatch.setattr(lock, "WATCH_S", 5.0)
    record(tmp_path, 1)
    later = threading.Timer(0.5, record, (tmp_path, 2))
    later.start()
    with pytest.raises(StoreError, match="process 1 on another-node"), run_lock(tmp_path):
        pass
    later.join()


def test_another_hosts_silent_record_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "WATCH_S", 0.5)
    record(tmp_path, 1)
    with run_lock(tmp_path):
        assert holder(tmp_path)["pid"] == os.getpid()


def test_the_record_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.05)
    with run_lock(tmp_path):
        until = time.monotonic() + 10
        while holder(tmp_path).get("beat", 0) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        assert holder(tmp_path)["beat"] >= 2


# a lock that is lost


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Lustre in its default mount: flock(2) is not there, and the heartbeat alone decides."""

    def missing(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    monkeypatch.setattr(lock, "BEAT_S", 0.1)
    monkeypatch.setattr(lock, "WATCH_S", 2.0)


@pytest.fixture(autouse=True)
def _no_stop() -> Iterator[None]:
    yield
    STOP.number, STOP.lost = 0, None


def replace_record(run_dir: Path, token: str) -> None:
    content = {"host": "other", "pid": 1, "started": "now", "token": token, "machine": "m", "beat": 0}
    (run_dir / lock.NAME).write_text(json.dumps(content).ljust(511))


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_beating_holder_is_refused(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        assert is_held(tmp_path)
        with pytest.raises(StoreError, match="in use by process"), run_lock(tmp_path):
            pass


@pytest.mark.parametrize("removed", [False, True])
def test_a_holder_that_was_taken_over_notices_before_it_writes(tmp_path: Path, removed: bool) -> None:
    def body() -> None:
        with run_lock(tmp_path) as held:
            held.check()
            check_token(tmp_path, held.token)
            if removed:
                (tmp_path / lock.NAME).unlink()
            else:
                replace_record(tmp_path, "theirs")
            with pytest.raises(LockLostError, match="was taken over by another run"):
                check_token(tmp_path, held.token)
            held.check()

    with pytest.raises(LockLostError, match="writes nothing more there"):
        body()
    if not removed:
        assert holder(tmp_path)["token"] == "theirs"


@pytest.mark.usefixtures("no_flock")
def test_the_heartbeat_never_overwrites_the_record_of_another_run(tmp_path: Path) -> None:
    def body() -> None:
        with run_lock(tmp_path):
            replace_record(tmp_path, "theirs")
            until = time.monotonic() + 10
            while not STOP and time.monotonic() < until:
                time.sleep(0.02)
            assert isinstance(STOP.error(), LockLostError)

    with pytest.raises(LockLostError):
        body()
    assert holder(tmp_path)["token"] == "theirs"


def test_nothing_is_checked_of_what_is_no_runs_part(tmp_path: Path) -> None:
    check_token(tmp_path, "")


def test_a_lock_that_cannot_be_read_is_not_a_lost_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The visit is tried again."""
    with run_lock(tmp_path) as held:

        def stale(*_: object) -> None:
            raise OSError(errno.ESTALE, "Stale file handle")

        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", stale)
            with pytest.raises(OSError, match="Stale"):
                check_token(tmp_path, held.token)


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "fifo"])
def test_a_lock_is_a_file_of_its_own(tmp_path: Path, kind: str) -> None:
    """A link that somebody planted would be truncated at the end of the run."""
    victim, planted = tmp_path / "victim", tmp_path / "run" / lock.NAME
    victim.write_text("precious")
    planted.parent.mkdir()
    if kind == "symlink":
        planted.symlink_to(victim)
    elif kind == "hardlink":
        planted.hardlink_to(victim)
    else:
        os.mkfifo(planted)
    with pytest.raises(StoreError, match=r"remove"), run_lock(tmp_path / "run"):
        pass
    assert victim.read_text() == "precious"


PAUSED = """
import errno, fcntl, sys, time
from pathlib import Path
def missing(*_):
    raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = missing
from v50calib.runs import lock
lock.BEAT_S, lock.WATCH_S = 0.2, 1.0
from v50calib.cli.main import main
from v50calib.runtime import execute
real = execute.run_job
def slow(job):
    Path(sys.argv[1]).touch()
    time.sleep(float(sys.argv[2]))
    return real(job)
execute.run_job = slow
main(sys.argv[3:])
"""


@pytest.mark.slow
def test_a_paused_holder_that_was_taken_over_stops_when_it_wakes(dataset: Path, tmp_path: Path) -> None:
    """Without flock: the first run is stopped, the second takes over with another config, the first wakes up in the middle of a visit."""
    out, marker = tmp_path / "run", tmp_path / "marker"
    words = ["calibrate", "--config-name", "calib/fast", "--data", str(dataset), "--out", str(out), "--scheduler", "sync"]

    def start(name: str, seconds: float, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PAUSED, f"{marker}.{name}", str(seconds), *words, "calib.photometry.instrument.name=FGS1", *more]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    first = start("first", 2.0)
    second = None
    try:
        until = time.monotonic() + 120
        while not Path(f"{marker}.first").exists() and time.monotonic() < until:
            time.sleep(0.05)
        first.send_signal(signal.SIGSTOP)
        second = start("second", 0.5, "--update", "calib.phase.binning.nbins=33")
        while not Path(f"{marker}.second").exists() and time.monotonic() < until:
            time.sleep(0.05)
        first.send_signal(signal.SIGCONT)
        said = first.communicate(timeout=120)
        assert first.returncode == 4, said
        assert "was taken over by another run" in said[1]
        said = second.communicate(timeout=120)
        assert second.returncode == 0, said
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                process.wait()
    found = verify(out)
    assert (found.whole, found.stale, found.ok) == (3, [], True)
