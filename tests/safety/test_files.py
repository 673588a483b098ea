"""Files that take another's place in one step: what a killed writer leaves, what another one is writing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from v50calib.safety import files
from v50calib.safety.files import replacing

WRITE_AND_WAIT = """
import sys, time
from pathlib import Path
from v50calib.safety.files import replacing
with replacing(Path(sys.argv[1])) as stream:
    stream.write(b"theirs")
    stream.flush()
    print("begun", flush=True)
    sys.stdin.read()
"""


def begun(path: Path) -> subprocess.Popen[bytes]:
    """A process that has begun to write `path` and waits."""
    process = subprocess.Popen([sys.executable, "-c", WRITE_AND_WAIT, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    return process


def write(path: Path, content: bytes) -> None:
    with replacing(path) as stream:
        stream.write(content)


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "JUST_BEGUN_S", 0.0)
    path = tmp_path / "a.csv"
    writer = begun(path)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    left = [p.name for p in tmp_path.iterdir()]
    assert len(left) == 1
    assert left[0].startswith(".a.csv.")
    (tmp_path / ".a.csv.mine.tmp").write_bytes(b"another program's")
    time.sleep(0.02)
    write(path, b"mine")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".a.csv.mine.tmp", "a.csv"]
    assert path.read_bytes() == b"mine"


def test_what_another_writer_has_begun_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "JUST_BEGUN_S", 0.0)
    path = tmp_path / "a.csv"
    writer = begun(path)
    time.sleep(0.02)
    write(path, b"mine")
    assert path.read_bytes() == b"mine"
    writer.communicate(b"go on")
    assert writer.returncode == 0
    assert path.read_bytes() == b"theirs"
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


def test_a_file_just_begun_stays(tmp_path: Path) -> None:
    """Its writer may not have locked it yet."""
    part = tmp_path / f".a.csv.{32 * '0'}.tmp"
    part.write_bytes(b"")
    write(tmp_path / "a.csv", b"mine")
    assert part.exists()
    os.utime(part, (0, 0))
    write(tmp_path / "a.csv", b"mine")
    assert not part.exists()
