from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from v50calib import schema
from v50calib.errors import DataError, StoreError
from v50calib.io.catalog import open_root, open_source, scan
from v50calib.io.challenge.root import ChallengeRoot
from v50calib.io.ingestion import ingest
from v50calib.io.keys import VisitKey
from v50calib.io.raw_store import group as raw_zarr
from v50calib.io.raw_store.root import RawStoreRoot
from v50calib.io.storage.commit import COMMIT_NAME, marked_group, read_record
from v50calib.io.visit import open_visit

KEY = VisitKey("342072318", 1, "FGS1")


@pytest.fixture(scope="module")
def store(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "raw.zarr"
    assert ingest(dataset, path).ok
    return path


def files(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_store_and_dataset_open_identically(dataset: Path, store: Path) -> None:
    assert isinstance(open_root(store), RawStoreRoot)
    keys = scan(dataset)
    assert scan(store) == keys
    for key in keys:
        for chunks in (None, 6) if key.instrument == "FGS1" else (6,):
            a, b = (open_visit(root, key.planet_id, key.visit, key.instrument, chunks) for root in (dataset, store))
            assert a.raw_frames.chunks == b.raw_frames.chunks
            assert list(a.attrs.items()) == list(b.attrs.items())
            xr.testing.assert_identical(a.load(), b.load())


def test_2024_layout_survives_ingest(dataset_2024: Path, tmp_path: Path) -> None:
    ingest(dataset_2024, tmp_path / "s")
    a, b = (open_visit(root, 342072318, instrument="FGS1") for root in (dataset_2024, tmp_path / "s"))
    xr.testing.assert_identical(a.load(), b.load())


def test_sources_read_the_same(dataset: Path, store: Path) -> None:
    a, b = open_source(dataset, KEY), open_source(store, KEY)
    np.testing.assert_array_equal(a.frames.read(4, 12), b.frames.read(4, 12))
    assert [start for start, _ in b.frames.blocks(6)] == [0, 6, 12, 18]
    assert a.reference.hashes == b.reference.hashes


def test_xarray_opens_the_group_by_itself(store: Path, truth: Callable[..., np.ndarray]) -> None:
    with marked_group(), xr.open_zarr(store, group=str(KEY), consolidated=False, chunks=None) as ds:
        assert set(ds.coords) == {"time", "exposure", "wavelength"}
        np.testing.assert_array_equal(ds.raw_frames, truth(KEY.planet_id, KEY.visit, KEY.instrument))


def test_shards_and_codec(tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(schema.CHUNK_FRAMES, "FGS1", 4)
    monkeypatch.setattr(raw_zarr, "CHUNKS_PER_SHARD", 2)
    ingest(dataset, tmp_path / "s", keys=[KEY])
    array = zarr.open_array(tmp_path / "s" / str(KEY) / "raw_frames", mode="r")
    assert array.chunks == (4, 32, 32)
    assert array.shards == (8, 32, 32)
    assert array.metadata.zarr_format == 3
    assert len([name for name in files(tmp_path / "s" / str(KEY) / "raw_frames") if name != "zarr.json"]) == 3
    assert open_source(tmp_path / "s", KEY).frames.units == (4, 4, 4, 4, 4)
    a, b = (open_visit(root, KEY.planet_id, 1, "FGS1", 6) for root in (dataset, tmp_path / "s"))
    xr.testing.assert_identical(a.load(), b.load())


def test_ingest_again_skips_and_changes_nothing(dataset: Path, tmp_path: Path) -> None:
    target, seen = tmp_path / "s", []
    ingest(dataset, target, keys=[KEY], progress=lambda *args: seen.append(args))
    before = files(target)
    report = ingest(dataset, target, keys=[KEY], progress=lambda *args: seen.append(args))
    assert (report.written, report.skipped) == ([], [KEY])
    assert files(target) == before
    assert seen == [(f"{KEY} written", 1, 1), (f"{KEY} skipped", 1, 1)]


def test_the_record_is_reproducible(dataset: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        ingest(dataset, tmp_path / name, keys=[KEY])
    assert files(tmp_path / "a") == files(tmp_path / "b")
    record = read_record(tmp_path / "a" / str(KEY))
    assert record["n_frames"] == 20
    assert len(record["tree_sha256"]) == 64
    attrs = json.loads((tmp_path / "a" / "zarr.json").read_text())["attributes"]
    assert attrs == {"format": "v50calib-raw", "version": 1}


def test_processes_give_the_same_store(dataset: Path, store: Path, tmp_path: Path) -> None:
    keys = [key for key in scan(dataset) if key.instrument == "FGS1"][:2]
    assert sorted(ingest(dataset, tmp_path / "s", keys=keys, workers=2).written) == keys
    for key in keys:
        assert files(tmp_path / "s" / str(key)) == files(store / str(key))


def test_a_killed_ingest_leaves_nothing_that_is_read(grouped: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from v50calib.io import ingestion\n"
        "ingestion.commit = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "ingestion.ingest(sys.argv[1], sys.argv[2])\n"
    )
    target = tmp_path / "s"
    run = subprocess.run([sys.executable, "-c", code, str(grouped), str(target)], check=False, env=_environment())
    assert run.returncode == -9
    assert len(list(target.rglob(".*.tmp"))) == 1
    assert scan(target) == []
    with pytest.raises(DataError, match="unknown planet"):
        open_visit(target, "342072318")
    assert ingest(grouped, target).ok
    assert not list(target.rglob(".*.tmp"))
    assert scan(target) == scan(grouped)


def test_a_group_without_its_record_is_not_there(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "s")
    (tmp_path / "s" / str(KEY) / COMMIT_NAME).unlink()
    assert KEY not in scan(tmp_path / "s")
    with pytest.raises(DataError, match=r"no complete visit train/342072318/1/FGS1"):
        open_source(tmp_path / "s", KEY)


def test_a_damaged_shard_is_named(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "s")
    shard = tmp_path / "s" / str(KEY) / "raw_frames" / "c" / "0" / "0" / "0"
    shard.write_bytes(b"\x00" * shard.stat().st_size)
    with pytest.raises(DataError, match=r"store is damaged"):
        open_source(tmp_path / "s", KEY).frames.read(0, 4)


def test_one_bad_visit_does_not_stop_the_others(broken: Path, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset / "train" / "1103775", broken / "train" / "1103775")
    (broken / "train/5/FGS1_calibration_0/dark.parquet").unlink()
    keys = [key for key in scan(broken) if key.instrument == "FGS1"]
    report = ingest(broken, tmp_path / "store", keys=keys)
    assert not report.ok
    assert [key.planet_id for key in report.written] == ["1103775"]
    assert "dark.parquet" in report.failed[VisitKey("5", 0, "FGS1")]
    assert not list((tmp_path / "store").rglob("*.tmp"))


def test_output_that_cannot_be_used_is_refused_before_reading(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*_: Any, **__: Any) -> None:
        raise AssertionError("read before the output was checked")

    monkeypatch.setattr(ChallengeRoot, "open", unexpected)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is a file and is not a raw store"):
        ingest(dataset, tmp_path / "file")
    with pytest.raises(StoreError, match=r"cannot write into .*choose another folder"):
        ingest(dataset, tmp_path / "file" / "below")
    with pytest.raises(StoreError, match="holds other files"):
        ingest(dataset, tmp_path)
    zarr.create_group(tmp_path / "other", attributes={"format": "else"})
    with pytest.raises(StoreError, match=r"format 'else' .*expected 'v50calib-raw'"):
        ingest(dataset, tmp_path / "other")
    with pytest.raises(DataError, match="raw Zarr store already"):
        ingest(tmp_path / "other", tmp_path / "new")
    with pytest.raises(DataError, match="workers=0"):
        ingest(dataset, tmp_path / "new", workers=0)


def _environment() -> dict[str, str]:
    package_parent = str(Path(raw_zarr.__file__).parents[3])
    return os.environ | {"PYTHONPATH": package_parent}
