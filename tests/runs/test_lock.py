from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from v50calib.errors import StoreError
from v50calib.runs import lock
from v50calib.runs.lock import holder, is_held, run_lock


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
