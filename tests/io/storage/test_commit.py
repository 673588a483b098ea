from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr

from v50calib.errors import StoreError
from v50calib.io.storage import commit as commits
from v50calib.io.storage.commit import _host, clean_leftovers, commit, is_committed, publish, read_record, staging
from v50calib.io.storage.exchange import exchanged


def make_array(path: Path, written: int) -> None:
    array = zarr.create_group(path, overwrite=True).create_array(
        "a", shape=(8,), chunks=(2,), shards=(4,), dtype="i4", config={"write_empty_chunks": True}
    )
    array[:written] = np.zeros(written, "i4")


def test_a_body_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def body() -> None:
        with staging(tmp_path / "deep" / "x") as tmp:
            (tmp / "part").write_text("1")
            raise KeyError

    with pytest.raises(KeyError):
        body()
    assert list((tmp_path / "deep").iterdir()) == []


def test_commit_moves_and_marks(tmp_path: Path) -> None:
    final = tmp_path / "x"
    with staging(final) as tmp:
        make_array(tmp, 8)
        assert not is_committed(final)
        assert commit(tmp, final, {"config_hash": "abc"})
    assert is_committed(final)
    assert read_record(final)["config_hash"] == "abc"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_missing_chunks_are_refused(tmp_path: Path) -> None:
    with staging(tmp_path / "x") as tmp:
        make_array(tmp, 4)
        with pytest.raises(StoreError, match=r"array 'a' has 1 of 2 chunk files"):
            commit(tmp, tmp_path / "x", {})
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_runs_wins(tmp_path: Path) -> None:
    final = tmp_path / "x"
    with staging(final) as one, staging(final) as two:
        (one / "v").write_text("1")
        (two / "v").write_text("2")
        assert commit(one, final, {})
        assert not commit(two, final, {})
    assert (final / "v").read_text() == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_place_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("")
    with pytest.raises(StoreError, match="was not made by a finished run"), staging(tmp_path / "x") as tmp:
        commit(tmp, tmp_path / "x", {})


def test_only_leftovers_of_dead_owners_are_removed(tmp_path: Path) -> None:
    host = _host()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = tmp_path / f".x.{host}-{ended.pid}-0123abcd.tmp"
    mine = tmp_path / f".x.{host}-{os.getpid()}-0123abcd.tmp"
    alive = tmp_path / f".x.{host}-{os.getppid()}-0123abcd.tmp"
    elsewhere = tmp_path / ".x.other-node-1-0123abcd.tmp"
    other = tmp_path / f".y.{host}-{ended.pid}-0123abcd.tmp"
    for path in (dead, mine, alive, elsewhere, other):
        path.mkdir()
    assert clean_leftovers(tmp_path / "x") == 1
    assert sorted(tmp_path.iterdir()) == sorted([mine, alive, elsewhere, other])
    os.utime(elsewhere, (0, 0))
    assert clean_leftovers(tmp_path / "x") == 1
    assert not elsewhere.exists()


def test_records_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not written completely"):
        read_record(tmp_path)
    (tmp_path / "_COMMIT.json").write_text("{")
    with pytest.raises(StoreError, match="cannot read"):
        read_record(tmp_path)
    (tmp_path / "_COMMIT.json").write_text("[]")
    with pytest.raises(StoreError, match="not an object"):
        read_record(tmp_path)


def make_version(final: Path, text: str, **more: bool) -> bool:
    with staging(final) as tmp:
        (tmp / "v").write_text(text)
        return commit(tmp, final, {}, **more)


@pytest.fixture(params=["exchanged", "renamed"])
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """How a directory is replaced: as this file system can, and as others must."""
    if request.param == "renamed":
        monkeypatch.setattr(commits, "exchanged", lambda one, other: False)
    else:
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
        if not exchanged(tmp_path / "one", tmp_path / "other"):
            pytest.skip("this file system exchanges no names")
        for name in ("one", "other"):
            (tmp_path / name).rmdir()
    return str(request.param)


@pytest.mark.usefixtures("way")
def test_replacing_leaves_the_new_one_only(tmp_path: Path) -> None:
    make_version(tmp_path / "x", "1")
    assert make_version(tmp_path / "x", "2", replace=True)
    assert (tmp_path / "x" / "v").read_text() == "2"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("way", ["renamed"], indirect=True)
@pytest.mark.usefixtures("way")
def test_a_replacement_that_fails_brings_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_version(tmp_path / "x", "1")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.endswith(".tmp"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(StoreError, match="No space left"):
        make_version(tmp_path / "x", "2", replace=True)
    assert (tmp_path / "x" / "v").read_text() == "1"
    assert is_committed(tmp_path / "x")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_replacing_leaves_no_gap_where_names_are_exchanged(tmp_path: Path, way: str) -> None:
    """A reader looks for the record all the time: it is never gone. Renamed aside it may be, for the moment of two renames."""
    final, ended, seen = tmp_path / "x", threading.Event(), list[bool]()
    make_version(final, "0")

    def look() -> None:
        while not ended.is_set():
            seen.append(os.access(final / "_COMMIT.json", os.R_OK))

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(100):
        make_version(final, str(number), replace=True)
    ended.set()
    reader.join()
    assert seen
    if way == "exchanged":
        assert all(seen)
    assert (final / "v").read_text() == "99"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


PROGRAM = """
import os, sys
from pathlib import Path
from v50calib.io.storage import commit as commits
if sys.argv[2] == "renamed":
    commits.exchanged = lambda one, other: False
final = Path(sys.argv[1])
with commits.staging(final) as tmp:
    (tmp / "v").write_text("new")
    sys.addaudithook(lambda event, args: os._exit(9) if event == "shutil.rmtree" else None)
    commits.commit(tmp, final, {}, replace=True)
"""


def test_a_kill_before_the_old_one_is_removed(tmp_path: Path, way: str) -> None:
    final = tmp_path / "x"
    make_version(final, "old")
    assert subprocess.run([sys.executable, "-c", PROGRAM, str(final), way], check=False).returncode == 9
    assert is_committed(final)
    assert (final / "v").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 2
    assert clean_leftovers(final) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert (final / "v").read_text() == "new"


@pytest.mark.usefixtures("way")
def test_an_exported_folder_replaces_another(tmp_path: Path) -> None:
    for name in ("part", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("")
    publish(tmp_path / "part", tmp_path / "out")
    assert [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*"))] == ["out", "out/part"]


def test_what_does_not_exist_is_not_exchanged(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    assert not exchanged(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one").is_dir()
