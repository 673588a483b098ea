"""Datasets, raw stores and run directories in a bucket: the same numbers as on a disk, and the same promises."""

from __future__ import annotations

import io
import json
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result
from s3_bucket import SECRET, upload

from v50calib import calibrate, open_calibrated, open_visit
from v50calib.cli.main import main
from v50calib.errors import DataError, StoreError
from v50calib.io import ingest, scan
from v50calib.io.storage import commit as commits
from v50calib.io.storage import object_commit, objects
from v50calib.io.storage.objects import ObjectPath
from v50calib.runs import lock_objects, manifest
from v50calib.runs.status import status
from v50calib.runs.verify import verify
from v50calib.runtime.bookkeeping import RunSummary

FGS = ["runtime.scheduler=sync", "calib.photometry.instrument.name=FGS1", "runtime.retry_wait_s=0", "output.cubes=binned"]


def run(data: Path | ObjectPath, out: Path | ObjectPath, *overrides: str, **more: Any) -> RunSummary:
    return calibrate(data, out, "calib/official", [*FGS, *overrides], **more)


def counts(summary: RunSummary) -> tuple[int, int, int]:
    return summary.count("done"), summary.count("skipped"), len(summary.failed)


def hashes(out: Path | ObjectPath) -> dict[str, str]:
    """Tree hash of every product, by its label: the bytes of the products."""
    root = out / "calibrated.zarr"
    markers = sorted(root.rglob("_COMMIT.json"), key=str)
    return {"/".join(p.parts[-4:-1]): json.loads(p.read_text())["tree_sha256"] for p in markers}


@pytest.fixture(scope="module")
def local(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run on a disk."""
    out = tmp_path_factory.mktemp("local") / "run"
    assert counts(run(dataset, out)) == (3, 0, 0)
    return out


def test_a_visit_is_the_same_from_a_bucket(dataset: Path, remote: ObjectPath) -> None:
    assert scan(remote) == scan(dataset)
    key = scan(dataset)[0]
    here, there = (open_visit(root, key.planet_id, 0, "AIRS-CH0").load() for root in (dataset, remote))
    xr.testing.assert_identical(here, there)
    with pytest.raises(DataError, match=r"unknown planet .*; nearest are"):
        open_visit(remote, f"{key.planet_id}1")


def test_ingest_and_runs_give_the_same_bytes(dataset: Path, remote: ObjectPath, bucket: ObjectPath, local: Path) -> None:
    keys = [key for key in scan(dataset) if key.instrument == "FGS1"]
    assert len(ingest(remote, bucket / "raw.zarr", keys=keys).written) == 3
    assert len(ingest(remote, bucket / "raw.zarr", keys=keys).skipped) == 3
    assert scan(bucket / "raw.zarr") == keys
    for data, name in ((remote, "from-parquet"), (bucket / "raw.zarr", "from-store")):
        out = bucket / name
        assert counts(run(data, out)) == (3, 0, 0)
        assert counts(run(data, out)) == (0, 3, 0)
    assert hashes(bucket / "from-parquet") == hashes(local)
    # the layout's name is an attribute, so only the numbers can be compared
    one, other = (open_calibrated(where)["/" + keys[0].planet_id + "/0/FGS1"].to_dataset() for where in (local, bucket / "from-store"))
    np.testing.assert_array_equal(one.cds_binned.values, other.cds_binned.values)


def test_packed_products_and_roots_in_a_bucket(dataset: Path, bucket: ObjectPath, local: Path) -> None:
    """Three objects a product, read in ranges; zarr and xarray open the run from its root without a word."""
    out = bucket / "packed"
    assert counts(run(dataset, out, "output.layout=packed")) == (3, 0, 0)
    labels = sorted(hashes(local))
    assert sorted(hashes(out)) == labels
    for label in labels:
        below = (out / "calibrated.zarr" / label).objects()
        assert sorted(path.name for path in below) == ["_COMMIT.json", "arrays.zip", "zarr.json"]
        one, other = (open_calibrated(where)[label].to_dataset().load() for where in (local, out))
        xr.testing.assert_identical(one, other)
    assert verify(out).ok
    (out / "calibrated.zarr" / labels[0] / "arrays.zip").unlink()
    with pytest.raises(StoreError, match="damaged"):
        open_calibrated(out)[labels[0]].to_dataset()
    assert list(verify(out).broken) == [labels[0]]
    plain = bucket / "plain"
    assert counts(run(dataset, plain)) == (3, 0, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = (plain / "calibrated.zarr").zarr_store()
        assert {leaf.path.strip("/") for leaf in xr.open_datatree(store, engine="zarr").leaves} == set(labels)
        found = xr.open_zarr(store, group=labels[0]).load()
    xr.testing.assert_identical(
        found[list(open_calibrated(local)[labels[0]].to_dataset().variables)], open_calibrated(local)[labels[0]].to_dataset().load()
    )


@pytest.mark.slow
def test_what_changed_is_redone(dataset: Path, bucket: ObjectPath) -> None:
    data, out = upload(dataset, bucket / "data"), bucket / "run"
    assert counts(run(data, out)) == (3, 0, 0)
    planet = scan(dataset)[-1].planet_id
    table = data / "train_star_info.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line.replace(",", ",1", 1) if line.startswith(planet) else line for line in lines))
    assert counts(run(data, out)) == (1, 2, 0)
    assert counts(run(data, out)) == (0, 3, 0)
    with pytest.raises(StoreError, match="another config"):
        run(data, out, "calib.flat.enabled=false")
    assert counts(run(data, out, "calib.flat.enabled=false", update=True, limit=1)) == (1, 0, 0)
    assert counts(run(data, out, "calib.flat.enabled=false")) == (2, 1, 0)


def test_what_is_not_committed_is_not_there(remote: ObjectPath, bucket: ObjectPath, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection ends while a product is put: no reader sees it, the visit is tried again, and comes out whole."""
    whole, puts = ObjectPath.upload, iter(range(10**6))

    def upload_until(self: ObjectPath, file: Path, **new: bool) -> str | None:
        if next(puts) == 12:
            raise ConnectionError("cut")
        return whole(self, file, **new)

    monkeypatch.setattr(ObjectPath, "upload", upload_until)
    out = bucket / "run"
    assert counts(run(remote, out, "runtime.retries=0")) == (2, 0, 1)
    assert len(open_calibrated(out).leaves) == 2
    assert len(verify(out).partial) == 1
    assert counts(run(remote, out)) == (1, 2, 0)
    assert hashes(out) == hashes(local)
    assert verify(out).ok


def test_a_replaced_product_is_never_a_mixture(bucket: ObjectPath, tmp_path: Path) -> None:
    """Files that only the old one had go, and nothing is left beside the product."""
    final, seen = bucket / "p", []
    for content, files in ((b"old", ("a", "b")), (b"new", ("a", "c"))):
        with commits.staging(final) as tmp:
            for name in files:
                (tmp / name).write_bytes(content)
            seen.append(commits.commit(tmp, final, {"n": content.decode()}, replace=True))
            assert not commits.commit(tmp, final, {"n": "late"})
    assert seen == [True, True]
    assert [p.relative_to(bucket).as_posix() for p in bucket.objects()] == ["p/_COMMIT.json", "p/a", "p/c"]
    assert commits.read_record(final)["n"] == "new"
    assert commits.tree_hash(final) == commits.read_record(final)["tree_sha256"]


@pytest.mark.parametrize("after", [0, 2, 3])
def test_two_writers_of_other_digits_leave_no_mixture(
    bucket: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """A second writer of the same product, with other bytes, starts after so many puts of the first (3: before its record is put)."""
    final, puts, upload_one, create = bucket / "p", iter(range(10**6)), ObjectPath.upload, ObjectPath.create
    contents = {n: tmp_path / str(n) for n in (1, 2)}
    for n, folder in contents.items():
        folder.mkdir()
        for name in "abc":
            (folder / name).write_text(f"{name}{n}")

    def second() -> None:
        with commits.staging(final) as tmp:
            for file in contents[2].iterdir():
                (tmp / file.name).write_bytes(file.read_bytes())
            commits.commit(tmp, final, {"by": 2})

    def upload(self: ObjectPath, file: Path, **new: bool) -> str | None:
        tag = upload_one(self, file, **new)
        if next(puts) == after:
            second()
        return tag

    def create_after(self: ObjectPath, content: bytes) -> bool:
        if after == 3 and next(puts) == 3:
            second()
        return create(self, content)

    monkeypatch.setattr(object_commit, "PUTS", 1)
    monkeypatch.setattr(ObjectPath, "upload", upload)
    monkeypatch.setattr(ObjectPath, "create", create_after)
    commits.commit(contents[1], final, {"by": 1})
    assert commits.tree_hash(final) == commits.read_record(final)["tree_sha256"]
    assert len({p.read_text()[1] for p in final.objects() if p.name != "_COMMIT.json"}) == 1


def test_writers_that_never_agree_leave_nothing(bucket: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("ours")
    put = ObjectPath.upload

    def overwritten(self: ObjectPath, file: Path, **new: bool) -> str | None:
        tag = put(self, file, **new)
        self.write_text("theirs")
        return tag

    monkeypatch.setattr(ObjectPath, "upload", overwritten)
    with pytest.raises(StoreError, match="another process keeps writing"):
        commits.commit(tmp_path, bucket / "p", {})
    assert not commits.is_committed(bucket / "p")


@pytest.mark.slow
def test_damage_is_found_set_aside_and_mended(remote: ObjectPath, bucket: ObjectPath, local: Path) -> None:
    out = bucket / "run"
    run(remote, out)
    first, second, third = sorted(hashes(out))
    chunk = out / "calibrated.zarr" / first / "cds_binned" / "c.0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\0")
    (out / "calibrated.zarr" / second / "pixel_dq" / "c.0.0").unlink()
    found = verify(out)
    assert sorted(found.broken) == [first, second]
    assert "tree_sha256 differs" in found.broken[first][0]
    assert "0 of 1 chunk files" in found.broken[second][0]
    assert sorted(verify(out, quarantine=True).aside) == [first, second]
    assert sorted(hashes(out)) == [third]
    assert counts(run(remote, out)) == (2, 1, 0)
    assert hashes(out) == hashes(local)
    assert verify(out).ok


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_objects, "BEAT_S", 0.2)
    monkeypatch.setattr(lock_objects, "WATCH_S", 1.5)


@pytest.mark.usefixtures("quick")
def test_a_second_run_is_refused_while_the_first_lives(bucket: ObjectPath) -> None:
    with lock_objects.object_lock(bucket):
        assert lock_objects.is_beating(bucket / ".lock")
        with pytest.raises(StoreError, match=r"in use by process \d+ on"), lock_objects.object_lock(bucket):
            raise AssertionError("two hold it")
    with lock_objects.object_lock(bucket):
        pass
    assert lock_objects.read_record(bucket / ".lock") == {}


@pytest.mark.usefixtures("quick")
def test_of_two_that_take_over_a_dead_run_one_wins(bucket: ObjectPath) -> None:
    (bucket / ".lock").write_text(json.dumps({"host": "gone", "pid": 1, "started": "then", "token": "t", "beat": 3}))
    won, refused, hold = [], [], threading.Event()

    def take() -> None:
        try:
            with lock_objects.object_lock(bucket):
                won.append(1)
                hold.wait(10)
        except StoreError as exc:
            refused.append(str(exc))

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    stop = time.monotonic() + 20
    while len(refused) < 2 and time.monotonic() < stop:
        time.sleep(0.05)
    hold.set()
    for thread in threads:
        thread.join()
    assert (len(won), len(refused)) == (1, 2)


def hold_until_taken(bucket: ObjectPath) -> None:
    from v50calib.runs.stop import STOP

    with lock_objects.object_lock(bucket):
        (bucket / ".lock").write_text(json.dumps({"host": "other", "pid": 2, "token": "theirs"}))
        stop = time.monotonic() + 10
        while not STOP and time.monotonic() < stop:
            time.sleep(0.05)
        assert STOP


@pytest.mark.usefixtures("quick")
def test_a_holder_that_was_replaced_ends_its_run(bucket: ObjectPath) -> None:
    from v50calib.runs.stop import STOP

    try:
        with pytest.raises(StoreError, match="taken over by another run"):
            hold_until_taken(bucket)
    finally:
        STOP.number = 0
    assert lock_objects.read_record(bucket / ".lock")["token"] == "theirs"


@pytest.mark.usefixtures("quick")
def test_an_answer_is_lost_when_the_lock_is_taken(bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """The put went through, and obstore's second one found it: ours, without waiting that it stands still."""
    create = ObjectPath.create
    monkeypatch.setattr(ObjectPath, "create", lambda self, content: create(self, content) and False)
    monkeypatch.setattr(lock_objects, "WATCH_S", 600.0)
    with lock_objects.object_lock(bucket):
        assert lock_objects.read_record(bucket / ".lock")["token"]
    assert lock_objects.read_record(bucket / ".lock") == {}


@pytest.mark.usefixtures("quick")
def test_the_lock_beats_on_after_an_outage(bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer to the look at the new record, which was put: the next beat finds it ours. None at the end: the record stays."""
    head, out = ObjectPath.head, threading.Event()

    def failing(self: ObjectPath) -> dict[str, Any]:
        if out.is_set():
            raise ConnectionError("no answer")
        return head(self)

    monkeypatch.setattr(ObjectPath, "head", failing)
    with lock_objects.object_lock(bucket):
        for phase in (out.set, out.clear):
            phase()
            time.sleep(0.7)
        before = lock_objects.read_record(bucket / ".lock")["beat"]
        time.sleep(0.7)
        assert lock_objects.read_record(bucket / ".lock")["beat"] > before
        monkeypatch.setattr(ObjectPath, "exchange", lambda self, content, tag: failing(self) and False)
        out.set()
    assert lock_objects.read_record(bucket / ".lock")["token"]


def test_manifest_in_parts(bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "PART_BYTES", 1500)
    entries = [manifest.Entry("p", i, "FGS1", "done", float(i)) for i in range(12)]
    for entry in entries:
        manifest.append(bucket, entry)  # type: ignore[arg-type]
    assert manifest.read_all(bucket) == entries
    assert len(list((bucket / "manifest").objects())) >= 2


def test_qc_reads_and_writes_in_the_bucket(bucket: ObjectPath) -> None:
    (bucket / "config.yaml").write_text("config_hash: x\n")
    manifest.append(bucket, manifest.Entry("7", 0, "FGS1", "done", qc={"stages": {"cds": {"unpaired": 2}}}))  # type: ignore[arg-type]
    assert invoke("qc", bucket, "--csv", bucket / "table.csv").exit_code == 0
    assert (bucket / "table.csv").read_text().splitlines() == ["planet_id,visit,instrument,stage,notes,unpaired", "7,0,FGS1,cds,,2"]


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False)


@pytest.mark.slow
def test_commands(remote: ObjectPath, bucket: ObjectPath, tmp_path: Path) -> None:
    """Every command that takes a dataset or a run directory takes a URL."""
    out = bucket / "run"
    common = ["calibrate", "--config-name", "calib/fast", "--data", remote, "--out", out, "runtime.scheduler=sync"]
    only = ["--only", f"{scan(remote)[0].planet_id}/0"]
    assert "2 to calibrate (no product)" in invoke(*common, *only, "--dry-run").stdout
    assert invoke(*common, *only).stdout.startswith("2 calibrated, 0 already complete, 0 failed → s3://")
    found = json.loads(invoke("status", out, "--json").stdout)
    assert (found["phase"], found["done"]) == ("finished", 2)
    assert invoke("verify", out).stdout.startswith("2 products whole, 0 broken")
    assert len(json.loads(invoke("summary", out, "--json").stdout)) == 2
    result = invoke("export", out, tmp_path / "curves.zarr")
    assert result.exit_code == 0, result.output
    assert xr.open_zarr(tmp_path / "curves.zarr", consolidated=False).mask.sum() > 0
    refused = invoke("calibrate", "--data", "s3://key:hush-hush@bucket/data", "--out", tmp_path / "r")
    assert refused.exit_code == 2
    assert "hush-hush" not in refused.output
    assert invoke("ingest", remote, tmp_path / "raw.zarr").exit_code == 0


@pytest.mark.slow
def test_planets_and_spectra_are_exported_from_the_bucket(remote: ObjectPath, bucket: ObjectPath, tmp_path: Path) -> None:
    out, planet = bucket / "run", scan(remote)[0].planet_id
    words = ["calibrate", "--config-name", "calib/nominal", "--data", remote, "--out", out, "--only", f"{planet}/0/FGS1"]
    assert invoke(*words, "runtime.scheduler=sync").exit_code == 0
    for what in ("planets", "spectra"):
        result = invoke("export", out, tmp_path / what, "--what", what, "--format", "npz")
        assert result.exit_code == 0, result.output
    with np.load(tmp_path / "planets") as planets, np.load(tmp_path / "spectra") as visits:
        row = planets["planet_id"].tolist().index(planet)
        assert planets["present"][row].tolist() == [True, False]
        np.testing.assert_allclose(planets["white_depth_sigma"][row, 0], planets["transit_depth_sigma"][row, 0], rtol=1e-12)
        assert not visits["transit_depth_shared"][visits["mask"]].any()
        assert planets["mask"][row].sum() == 1


@pytest.mark.slow
def test_plan_counts_what_a_run_in_the_bucket_lacks(remote: ObjectPath, bucket: ObjectPath) -> None:
    words = [remote, "--config-name", "calib/official", "--out", bucket / "run", "--json", *FGS]
    everything = json.loads(invoke("plan", *words).stdout)
    assert [(part["instrument"], part["left"], part["sampled"]) for part in everything["parts"]] == [("FGS1", 3, 2)]
    assert not (bucket / "run").exists()
    run(remote, bucket / "run", limit=1)
    assert json.loads(invoke("plan", *words).stdout)["parts"][0]["left"] == 2
    refused = invoke("plan", remote, "--scratch", bucket)
    assert refused.exit_code == 2
    assert "must be a local path" in refused.stderr


def test_doctor_asks_the_bucket(remote: ObjectPath, bucket: ObjectPath) -> None:
    result = invoke("doctor", "--data", remote, "--out", bucket / "run", "--json")
    assert result.exit_code == 0
    found = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert found["dataset"]["found"] == f"{remote}: challenge folder, planets: 2, visits: 3, instruments: AIRS-CH0, FGS1"
    assert found["store for products"]["found"] == f"{bucket}/run is writable"
    assert "disk for products" not in found
    assert list(bucket.objects()) == []
    lacking = invoke("doctor", "--data", bucket / "nothing", "--out", "s3://there-is-no-such-bucket/run")
    assert lacking.exit_code == 1
    assert f"no folder {bucket}/nothing" in lacking.stdout
    assert "cannot write below 's3://there-is-no-such-bucket/run'" in lacking.stdout


def test_a_store_that_does_not_answer_is_reported_by_every_command(monkeypatch: pytest.MonkeyPatch, bucket: ObjectPath) -> None:
    monkeypatch.setattr(objects, "FIRST_PATIENCE_S", 0.5)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for words in (["status", bucket], ["plan", bucket], ["spectra", bucket, "--out", "x.csv"], ["summary", "run", "--truth", bucket]):
        result = invoke(*words)
        assert result.exit_code == 4
        assert "(asked for 0.5 s): look at the network and at the endpoint" in result.stderr
    result = invoke("doctor", "--data", bucket, "--out", bucket)
    assert result.exit_code == 1
    assert result.stdout.count("(asked for 0.5 s)") == 2


@pytest.mark.slow
def test_what_is_made_of_a_run(dataset: Path, remote: ObjectPath, bucket: ObjectPath, tmp_path: Path) -> None:
    """Depths and truth are read from a bucket as from a disk."""
    only = [f"{scan(dataset)[0].planet_id}/0"]
    calibrate(dataset, tmp_path / "run", "calib/nominal", ["runtime.scheduler=sync", "output.cubes=none"], only=only)
    there = upload(tmp_path / "run", bucket / "run")
    for where, name in ((tmp_path / "run", "disk.csv"), (there, "bucket.csv")):
        result = invoke("spectra", where, "--out", tmp_path / name, "--missing", "naive")
        assert result.exit_code == 0, result.output
    assert (tmp_path / "disk.csv").read_bytes() == (tmp_path / "bucket.csv").read_bytes()
    rows = json.loads(invoke("summary", there, "--truth", remote, "--json").stdout)
    assert [row["instrument"] for row in rows if "truth_ppm" in row] == ["AIRS-CH0", "FGS1"]
    assert invoke("report", there, "--truth", remote, "--limit", 0).exit_code == 0
    assert (there / "report.html").is_file()


def test_a_command_that_needs_a_local_path_refuses_a_url(bucket: ObjectPath) -> None:
    result = invoke("simulate", bucket / "data")
    assert result.exit_code == 2
    assert "must be a local path" in result.stderr
    result = invoke("spectra", bucket / "nothing", "--out", "x.csv")
    assert result.exit_code == 4
    assert "holds no calibrated.zarr" in result.stderr


def test_runs_that_are_not_there(remote: ObjectPath, bucket: ObjectPath, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder s3://"):
        run(bucket / "nothing", tmp_path / "r")
    nowhere = ObjectPath("s3://there-is-no-such-bucket", "run")
    with pytest.raises(StoreError, match="cannot write below 's3://there-is-no-such-bucket/run'"):
        run(remote, nowhere)
    (bucket / "full" / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="is not empty and is no run directory"):
        run(remote, bucket / "full")


def test_a_store_that_does_not_answer_is_a_failure_that_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged as lost connections are; what obstore says of it beyond the first line is left out."""
    from v50calib.io.storage.objects import _as_os_errors
    from v50calib.runtime.failures import judge

    exceptions = pytest.importorskip("obstore.exceptions")
    for error, expected in (("GenericError", "retry"), ("PermissionDeniedError", "give_up")):
        with pytest.raises((ConnectionError, PermissionError)) as caught, _as_os_errors(ObjectPath("s3://b", "k")):
            raise getattr(exceptions, error)("503 SlowDown\n\nDebug source:\nGeneric { }")
        failure = judge(caught.value)
        assert failure.verdict == expected
        assert "Debug source" not in failure.message


def test_secrets_are_nowhere(dataset: Path, bucket: ObjectPath, capfd: pytest.CaptureFixture[str]) -> None:
    """Credentials are in the environment only: not in any object of the run, and not in what is printed, failures included."""
    data, out = upload(dataset, bucket / "data"), bucket / "run"
    planet = scan(dataset)[0].planet_id
    (data / "train" / planet / "FGS1_signal_0.parquet").write_bytes(b"PAR1 no more")
    result = invoke("calibrate", "--config-name", "calib/official", "--data", data, "--out", out, *FGS)
    assert result.exit_code == 1
    printed = result.output + "".join(capfd.readouterr())
    kept = {str(p): p.read_bytes() for p in out.objects()}
    assert len(kept) > 20
    assert SECRET not in printed
    assert [name for name, content in kept.items() if SECRET.encode() in content or b"testing" in content] == []
    stream = io.StringIO(json.dumps(status(out)))
    assert SECRET not in stream.read()
