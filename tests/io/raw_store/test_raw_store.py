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
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner

from v50calib import schema
from v50calib.cli.main import main
from v50calib.errors import DataError, StoreError
from v50calib.io.catalog import open_root, open_source, scan
from v50calib.io.challenge.root import ChallengeRoot
from v50calib.io.ingestion import ingest
from v50calib.io.keys import VisitKey
from v50calib.io.raw_store import group as raw_zarr
from v50calib.io.raw_store.check import verify_store
from v50calib.io.raw_store.root import RawStoreRoot
from v50calib.io.storage.commit import COMMIT_NAME, _host, marked_group, read_record, tree_hash
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


def corrected(data: Path, what: str) -> None:
    """The dataset as its publisher has corrected it: one planet's frames, or a map, or the star."""
    if what == "frames":
        path = data / "train" / KEY.planet_id / f"FGS1_signal_{KEY.visit}.parquet"
        table = pq.read_table(path)
        name = table.column_names[500]
        other = pa.array(np.asarray(table[name]) + np.uint16(1))
        pq.write_table(table.set_column(500, name, other), path, row_group_size=table.num_rows)
    elif what == "map":
        path = data / "train" / KEY.planet_id / f"FGS1_calibration_{KEY.visit}" / "flat.parquet"
        table = pq.read_table(path)
        pq.write_table(table.set_column(3, table.column_names[3], pa.array(np.asarray(table.column(3)) * 1.01)), path)
    else:
        path = data / "train_star_info.csv"
        frame = pd.read_csv(path)
        frame.loc[frame["planet_id"].astype(int) == int(KEY.planet_id), "P"] += 0.5
        frame.to_csv(path, index=False)


@pytest.mark.parametrize(("what", "said"), [("frames", "its raw frames"), ("map", "its calibration maps"), ("star", "its attributes")])
def test_a_corrected_dataset_is_not_passed_over(dataset: Path, tmp_path: Path, what: str, said: str) -> None:
    """The visit is named and stays; --update replaces it, and it alone."""
    data, target = Path(shutil.copytree(dataset, tmp_path / "data")), tmp_path / "s"
    other = next(key for key in scan(data) if key.planet_id != KEY.planet_id and key.instrument == "FGS1")
    keys = [KEY, other]
    assert ingest(data, target, keys=keys).ok
    before = files(target)
    corrected(data, what)
    report = ingest(data, target, keys=keys)
    assert (report.written, report.skipped, list(report.failed)) == ([], [other], [KEY])
    assert said in report.failed[KEY]
    assert "--update" in report.failed[KEY]
    kept = files(target)
    assert {name for name in before if kept[name] != before[name]} <= {f"{other}/{COMMIT_NAME}"}
    report = ingest(data, target, keys=keys, update=True)
    assert (report.written, report.skipped) == ([KEY], [other])
    a, b = (open_visit(root, KEY.planet_id, KEY.visit, "FGS1") for root in (data, target))
    xr.testing.assert_identical(a.load(), b.load())
    assert ingest(data, target, keys=keys).skipped == sorted(keys)


@pytest.mark.parametrize("moment", ["moved aside", "in its place"])
def test_an_update_after_one_that_was_killed(dataset: Path, tmp_path: Path, moment: str) -> None:
    """Between the two renames of a replacement, and before the removal of the old visit: one call more updates, and clears the rest."""
    data, target = Path(shutil.copytree(dataset, tmp_path / "data")), tmp_path / "s"
    assert ingest(data, target, keys=[KEY]).ok
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    place = target / str(KEY)
    name = f".{place.name}.{_host()}-{ended.pid}-0123abcd."
    corrected(data, "frames")
    if moment == "moved aside":
        place.rename(place.with_name(name + "old"))
    else:
        shutil.copytree(place, place.with_name(name + "tmp"))
        assert ingest(data, tmp_path / "new", keys=[KEY]).ok
        shutil.rmtree(place)
        shutil.copytree(tmp_path / "new" / str(KEY), place)
    report = ingest(data, target, keys=[KEY], update=True)
    assert (report.written, report.skipped) == (([KEY], []) if moment == "moved aside" else ([], [KEY]))
    a, b = (open_visit(root, KEY.planet_id, KEY.visit, "FGS1") for root in (data, target))
    xr.testing.assert_identical(a.load(), b.load())
    assert [p.name for p in place.parent.iterdir() if p.is_dir()] == [place.name]


def test_the_same_content_in_newer_files_is_there_already(dataset: Path, tmp_path: Path) -> None:
    """A copy of a dataset, and a store that does not say what it was made of, are compared by content."""
    data, target = Path(shutil.copytree(dataset, tmp_path / "data")), tmp_path / "s"
    ingest(data, target, keys=[KEY])
    tree = read_record(target / str(KEY))["tree_sha256"]
    for path in data.rglob("*"):
        os.utime(path)
    assert ingest(data, target, keys=[KEY]).skipped == [KEY]
    record = target / str(KEY) / COMMIT_NAME
    record.write_text(json.dumps({k: v for k, v in read_record(record.parent).items() if k != "source"}))
    assert ingest(data, target, keys=[KEY]).skipped == [KEY]
    assert read_record(record.parent)["source"]
    assert read_record(record.parent)["tree_sha256"] == tree


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
        "ingestion.commit = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
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


@pytest.fixture
def copy(store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store, tmp_path / "copy"))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["dark", "dead", "flat", "read", "linear_corr", "time", "exposure", "wavelength"])
def test_a_changed_map_or_axis_is_refused_by_name(copy: Path, name: str) -> None:
    """Written anew by zarr, as a user would: its own checksums are right, the visit's is not."""
    path = copy / str(KEY) / name
    values = zarr.open_array(path, mode="r")[...]
    array = zarr.open_array(path, mode="r+")
    array[...] = ~values if values.dtype == bool else values * (1 + 1e-12) + 1e-12
    with pytest.raises(DataError, match=f"not as it was ingested: {name} differ from their checksums"):
        open_source(copy, KEY)


def test_a_changed_attribute_is_refused(copy: Path) -> None:
    meta = copy / str(KEY) / "zarr.json"
    content = json.loads(meta.read_text())
    content["attributes"]["adc_gain"] *= 1.0001
    meta.write_text(json.dumps(content))
    with pytest.raises(DataError, match="attributes differ from their checksums"):
        open_source(copy, KEY)


def test_a_flipped_bit_in_frames_fails_the_visit(copy: Path) -> None:
    shard = copy / str(KEY) / "raw_frames" / "c" / "0" / "0" / "0"
    source = open_source(copy, KEY)
    flip(shard, shard.stat().st_size // 2)
    with pytest.raises(DataError, match="checksum differs"):
        source.frames.read(0, source.frames.n_frames)


def test_verify_takes_a_raw_store(copy: Path, store: Path) -> None:
    whole = CliRunner().invoke(main, ["verify", str(copy)])
    assert whole.exit_code == 0
    assert "0 broken" in whole.stdout
    flip(copy / str(KEY) / "raw_frames" / "c" / "0" / "0" / "0", 40)
    broken = CliRunner().invoke(main, ["verify", str(copy)])
    assert broken.exit_code == 1
    assert "1 broken" in broken.stdout
    assert f"{KEY}: its bytes are not those that were ingested" in " ".join(broken.stdout.split())
    refused = CliRunner().invoke(main, ["verify", str(copy), "--quarantine"])
    assert refused.exit_code == 2
    assert "is a raw store" in refused.stderr


def test_a_lost_or_empty_record_is_told_with_its_own_remedy(copy: Path) -> None:
    record = copy / str(KEY) / COMMIT_NAME
    content = record.read_bytes()
    others = len(scan(copy)) - 1
    record.unlink()
    found = verify_store(copy)
    assert (found.whole, list(found.broken)) == (others, [str(KEY)])
    assert f"has no {COMMIT_NAME}, so that no command reads it" in found.broken[str(KEY)]
    assert "ingest the visit again" in found.broken[str(KEY)]
    assert CliRunner().invoke(main, ["verify", str(copy)]).exit_code == 1
    record.write_bytes(b"")
    (reason,) = verify_store(copy).broken.values()
    assert "ingest the visit again" in reason
    with pytest.raises(StoreError, match=r"remove .* and ingest the visit again"):
        open_root(copy).identity(KEY)
    record.write_bytes(content)
    assert verify_store(copy).ok


def test_a_group_of_an_older_version_is_read_and_named(copy: Path) -> None:
    """Without the hashes, as written before there were any: it opens as it did, and verify says what is not checked."""
    meta = copy / str(KEY) / "zarr.json"
    content = json.loads(meta.read_text())
    del content["attributes"][raw_zarr.HASHES_ATTR]
    meta.write_text(json.dumps(content))
    open_source(copy, KEY)
    record = json.loads((copy / str(KEY) / COMMIT_NAME).read_text())
    record["tree_sha256"] = tree_hash(copy / str(KEY))
    (copy / str(KEY) / COMMIT_NAME).write_text(json.dumps(record))
    found = json.loads(CliRunner().invoke(main, ["verify", str(copy), "--json"]).stdout)
    assert found["ok"]
    assert found["unchecked"] == [str(KEY)]


def test_a_group_of_another_visit_at_this_place_is_refused(store: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(store, tmp_path / "raw.zarr"))
    other = next(k for k in scan(copy) if k.instrument == KEY.instrument and k.planet_id != KEY.planet_id)
    shutil.rmtree(copy / str(KEY))
    shutil.copytree(copy / str(other), copy / str(KEY))
    with pytest.raises(DataError, match=f"holds {other.planet_id}/{other.visit}/FGS1, not {KEY.planet_id}/{KEY.visit}/FGS1"):
        open_source(copy, KEY)
    assert list(verify_store(copy).broken) == [str(KEY)]
