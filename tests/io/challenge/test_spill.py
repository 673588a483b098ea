"""Row groups too long for memory: the same frames bit for bit, from a temporary file that leaves nothing behind."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from v50calib.errors import StoreError
from v50calib.io.catalog import open_source
from v50calib.io.challenge import parquet, rowgroup
from v50calib.io.challenge.parquet import open_parquet_frames
from v50calib.io.challenge.spill import Spill
from v50calib.io.ingestion import ingest
from v50calib.io.keys import VisitKey

AIRS, FGS1 = VisitKey("342072318", 0, "AIRS-CH0"), VisitKey("342072318", 0, "FGS1")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, its own for this test."""
    folder = tmp_path / "tmpdir"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def open_files() -> Callable[[], int]:
    gc.collect()
    return lambda: sum(1 for _ in Path("/proc/self/fd").iterdir())


def spilled(root: Path, key: VisitKey, threads: int = 2) -> parquet.ParquetFrames:
    """The frames of a visit, every row group through a temporary file."""
    frames = open_source(root, key, threads=threads).frames
    assert isinstance(frames, parquet.ParquetFrames)
    frames.in_memory = 0
    return frames


@pytest.mark.parametrize(("key", "columns"), [(FGS1, 16), (FGS1, 100), (AIRS, 300)])  # 100 and 300 leave a narrow last stripe
def test_spilled_frames_are_those_in_memory(
    dataset: Path, key: VisitKey, columns: int, truth: Callable[..., np.ndarray], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rowgroup, "stripe_width", lambda rows: columns)
    monkeypatch.setattr(rowgroup, "READ_BYTES", 2 * 20 * 7)  # seven columns at a time
    expected = truth(key.planet_id, 0, key.instrument)
    frames = spilled(dataset, key)
    for start, stop in ((0, 20), (4, 10), (19, 20), (0, 1)):
        part = frames.read(start, stop)
        np.testing.assert_array_equal(part, expected[start:stop], strict=True)
        assert part.flags.c_contiguous
    assert isinstance(frames._cache[1], Spill)
    np.testing.assert_array_equal(np.concatenate([b for _, b in frames.blocks(6)]), expected)
    np.testing.assert_array_equal(frames.read_unit(0), expected)
    assert list(temporary.iterdir()) == []  # the file never has a name


def test_row_groups_are_spilled_one_after_the_other(
    grouped: Path, truth: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    real = parquet.spill_row_group

    def counting(path: Path, index: int, **options: object) -> Spill:
        done.append(index)
        return real(path, index, **options)

    monkeypatch.setattr(parquet, "spill_row_group", counting)
    frames = spilled(grouped, FGS1)
    blocks = [b for _, b in frames.blocks(4)]
    assert done == [0, 1, 2]
    np.testing.assert_array_equal(np.concatenate(blocks), truth("342072318", 0, "FGS1"))


def test_only_a_row_group_above_the_limit_is_spilled(dataset: Path) -> None:
    nbytes = 2 * 20 * 1024
    for limit, expected in ((nbytes, np.ndarray), (nbytes - 1, Spill)):
        frames = spilled(dataset, FGS1)
        frames.in_memory = limit
        frames.read(0, 2)
        assert isinstance(frames._cache[1], expected)
    full = 2 * 135000 * 1024
    assert full < parquet.IN_MEMORY_BYTES < 2 * full  # a visit of the challenge's length stays in memory


def test_a_spilled_source_pickles_to_its_path(dataset: Path, truth: Callable[..., np.ndarray]) -> None:
    frames = spilled(dataset, FGS1)
    frames.read(0, 2)
    payload = pickle.dumps(frames)
    assert len(payload) < 2000
    again = pickle.loads(payload)
    assert again.in_memory == 0
    np.testing.assert_array_equal(again.read(3, 9), truth("342072318", 0, "FGS1")[3:9])


def test_the_file_is_closed_when_the_frames_are_dropped(dataset: Path, open_files: Callable[[], int]) -> None:
    before = open_files()
    frames = spilled(dataset, FGS1)
    frames.read(0, 2)
    assert open_files() == before + 1
    frames.release()
    assert open_files() == before
    for _ in frames.blocks(8):
        pass
    assert open_files() == before
    blocks = frames.blocks(8)
    next(blocks)
    blocks.close()  # a consumer that stops early
    assert open_files() == before


def test_threads_read_while_others_release(dataset: Path, truth: Callable[..., np.ndarray]) -> None:
    """A file that a reader still holds must not be closed under it."""
    expected = truth("342072318", 0, "FGS1")
    frames = spilled(dataset, FGS1, threads=1)

    def work(i: int) -> bool:
        if i % 5 == 0:
            frames.release()
        return bool((frames.read(i % 18, i % 18 + 2) == expected[i % 18 : i % 18 + 2]).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(40)))


def test_ingest_of_a_spilled_visit_is_the_same_store(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(dataset, tmp_path / "a", keys=[FGS1])
    with monkeypatch.context() as patch:
        patch.setattr("v50calib.io.challenge.root.open_parquet_frames", lambda *a, **k: _spilling(open_parquet_frames(*a, **k)))
        ingest(dataset, tmp_path / "b", keys=[FGS1])
    a, b = ({str(p.relative_to(t)): p.read_bytes() for p in t.rglob("c/*/*/*") if p.is_file()} for t in (tmp_path / "a", tmp_path / "b"))
    assert a
    assert a == b


def _spilling(frames: parquet.ParquetFrames) -> parquet.ParquetFrames:
    frames.in_memory = 0
    return frames


def test_a_folder_too_small_is_refused_before_anything_is_decoded(dataset: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))
    monkeypatch.setattr(rowgroup, "_decode_columns", lambda *_: pytest.fail("decoded"))
    with pytest.raises(StoreError, match=r"cannot take 0 MB of decoded frames \(0 MB are free\).*set TMPDIR") as caught:
        spilled(dataset, FGS1).read(0, 2)
    assert str(temporary) in str(caught.value)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fills_up_is_named_and_not_called_a_damaged_file(
    dataset: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, number: int, open_files: Callable[[], int]
) -> None:
    def full(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    before = open_files()
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError, match=rf"{temporary}.*{os.strerror(number)}.*set TMPDIR") as caught:
        spilled(dataset, FGS1).read(0, 2)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == number
    del caught
    gc.collect()
    assert open_files() == before


def test_no_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(StoreError, match=r"No usable temporary directory.*set TMPDIR"):
        Spill(2, 2, 2)


def test_short_writes_and_reads_are_continued(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write, real_read = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real_write(fd, data[:7], offset))
    monkeypatch.setattr(os, "preadv", lambda fd, parts, offset: real_read(fd, [parts[0][:5]], offset))
    values = np.arange(60, dtype=np.uint16).reshape(6, 10)
    held = Spill(6, 10, 4)
    for first in (8, 0, 4):
        held.write(first, values[:, first : first + 4])
    np.testing.assert_array_equal(held.read(1, 5), values[1:5])
    monkeypatch.setattr(os, "preadv", lambda *_: 0)
    with pytest.raises(StoreError, match="is cut"):
        held.read(0, 1)


_MEASURE = """
import re, sys
from pathlib import Path
from v50calib.io.challenge import rowgroup
from v50calib.io.challenge.parquet import open_parquet_frames

rowgroup.READ_BYTES = 1 << 20

def mb(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) / 1024

frames = open_parquet_frames(Path(sys.argv[1]), (32, 32), threads=1)
frames.in_memory = int(sys.argv[2])
before = mb("VmRSS")
total = sum(int(block.sum()) for _, block in frames.blocks(1000))
print(mb("VmHWM") - before, total)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_of_a_spilled_file_is_bounded(tmp_path: Path) -> None:
    """61 MB of frames: at least that in memory; one read of 1 MB, times ten, and two blocks of 2 MB when spilled."""
    path = tmp_path / "long.parquet"
    one = np.random.default_rng(1).integers(0, 4096, 30000, dtype=np.uint16)
    pq.write_table(
        pa.table({f"column_{i}": one for i in range(1024)}), path, compression="zstd", use_dictionary=False, row_group_size=len(one)
    )
    assert pq.ParquetFile(path).metadata.num_row_groups == 1
    found = {}
    for limit in (0, 1 << 30):
        done = subprocess.run([sys.executable, "-c", _MEASURE, str(path), str(limit)], capture_output=True, text=True, check=True)
        found[limit] = [float(v) for v in done.stdout.split()]
    assert found[0][1] == found[1 << 30][1] == 1024 * int(one.sum(dtype=np.int64))
    assert found[1 << 30][0] > 58
    assert found[0][0] < 35
