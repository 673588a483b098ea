"""A product in a bucket is replaced: killed at every request, met by another writer at every request, read all the while."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from v50calib.errors import StoreError
from v50calib.io.storage import object_commit
from v50calib.io.storage.commit import commit, is_committed, read_record, set_aside, write_record
from v50calib.io.storage.location import Location
from v50calib.io.storage.object_commit import clean, standing, whole
from v50calib.io.storage.objects import ObjectPath
from v50calib.io.storage.zarr_groups import write_group
from v50calib.runs.product import open_product, product_arrays, product_attrs
from v50calib.runs.verify import check_product

#: the files of the versions of a product: some are of all, others of one alone
VERSIONS = {
    1: {"a": b"a1", "b": b"b1", "d": b"d1"},
    2: {"a": b"a2", "b": b"b2", "c": b"c2"},
    3: {"a": b"a3", "d": b"d3"},
    4: {"a": b"a4", "b": b"b4"},
}
#: what changes a bucket
CHANGES = ("upload", "create", "exchange", "copy", "unlink")


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_commit, "PUTS", 1)


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., bool]:
    for n, files in VERSIONS.items():
        (tmp_path / str(n)).mkdir()
        for name, content in files.items():
            (tmp_path / str(n) / name).write_bytes(content)
    return lambda n, final, *, replace=True: commit(tmp_path / str(n), final, {"version": n}, replace=replace)


def contents(here: Location) -> dict[str, bytes]:
    assert isinstance(here, ObjectPath)
    return {p.relative_to(here).as_posix(): p.read_bytes() for p in here.objects() if p.name != "_COMMIT.json"}


def version(final: ObjectPath) -> int:
    """Number of the product that readers see, which must be all of it."""
    record, found = whole(final, lambda here: (read_record(final), contents(here)))
    assert set(record) == {"tree_sha256", "version"}
    assert found == VERSIONS[record["version"]]
    return int(record["version"])


def settled(bucket: ObjectPath, final: ObjectPath, expected: int) -> None:
    """Nothing but this version's files is there, where any program finds them."""
    assert standing(final) == final
    assert contents(bucket) == {f"{final.name}/{name}": content for name, content in VERSIONS[expected].items()}


def at_request(number: int, act: Callable[[], None], *, after: bool, once: bool) -> Iterator[pytest.MonkeyPatch]:
    """`act` before or after the change of this number (and, unless `once`, instead of all that follow)."""
    count = 0
    with pytest.MonkeyPatch.context() as patch:

        def watched(name: str) -> Callable[..., Any]:
            method = getattr(ObjectPath, name)

            def call(self: ObjectPath, *args: Any, **more: Any) -> Any:
                nonlocal count
                mine, count = count, count + 1
                if mine < number or (once and mine > number):
                    return method(self, *args, **more)
                result = method(self, *args, **more) if after and mine == number else None
                act()
                return result if after else method(self, *args, **more)

            return call

        for name in CHANGES:
            patch.setattr(ObjectPath, name, watched(name))
        yield patch
    assert count > number, "the commit has fewer changes"


def kill() -> None:
    raise Killed


#: 3 files put, 2 records exchanged, 3 copied, 1 of the old removed, 3 removed beside: 12 changes
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(12))
def test_killed_at_any_request_old_or_new_is_there(bucket: ObjectPath, put: Callable[..., bool], number: int, after: bool) -> None:
    final = bucket / "p"
    put(1, final)
    for _ in at_request(number, kill, after=after, once=False):
        with pytest.raises(Killed):
            put(2, final)
    switched = number + after > 3
    assert version(final) == (2 if switched else 1)
    # a run that begins finishes what was switched, and leaves what may be a writer's at work
    clean(bucket)
    assert version(final) == (2 if switched else 1)
    if switched:
        settled(bucket, final, 2)
    put(3, final)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(object_commit, "ABANDONED_AFTER_S", -1e6)
        clean(bucket)
    settled(bucket, final, 3)
    assert clean(bucket) == 0


@pytest.mark.parametrize("number", [4, 6, 8, 9, 11])
def test_the_next_writer_finishes(bucket: ObjectPath, put: Callable[..., bool], number: int) -> None:
    """Without a cleaner between: also one that does not replace finds the product there."""
    final = bucket / "p"
    put(1, final)
    for _ in at_request(number, kill, after=False, once=False):
        with pytest.raises(Killed):
            put(2, final)
    assert not put(1, final, replace=False)
    assert version(final) == 2
    assert put(3, final)
    settled(bucket, final, 3)


@pytest.mark.parametrize("number", range(4))
def test_a_first_product_that_is_cut_off(bucket: ObjectPath, put: Callable[..., bool], number: int) -> None:
    final = bucket / "p"
    for _ in at_request(number, kill, after=False, once=False):
        with pytest.raises(Killed):
            put(1, final)
    assert not is_committed(final)
    assert put(2, final, replace=False)
    settled(bucket, final, 2)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("there", "number"), [*((True, n) for n in range(12)), *((False, n) for n in range(4))])
def test_another_writer_at_any_request(bucket: ObjectPath, put: Callable[..., bool], there: bool, number: int, after: bool) -> None:
    """A whole commit of another writer, before or after each change of the first: one product comes out, and at no time a mixture.

    The other's has no file that the first one removes: a removal cannot be made to depend on what is there (docs, object stores).
    """
    final, seen = bucket / "p", []
    if there:
        put(1, final)

    def other() -> None:
        put(4, final)
        seen.append(version(final))

    for _ in at_request(number, other, after=after, once=True):
        assert put(2, final)
    assert seen == [4]
    settled(bucket, final, version(final))


def test_a_writer_that_slept_spoils_nothing(bucket: ObjectPath, put: Callable[..., bool]) -> None:
    """It wakes in the middle of its copies, when two others have replaced its product."""
    final = bucket / "p"
    put(1, final)

    def others() -> None:
        put(3, final)
        put(4, final)

    for number in range(4, 9):
        for _ in at_request(number, others, after=False, once=True):
            assert put(2, final)
        settled(bucket, final, 4)
        put(1, final)


def test_writers_and_readers_at_once(bucket: ObjectPath, put: Callable[..., bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_commit, "PUTS", 4)
    monkeypatch.setattr(object_commit, "READS", 10**6)
    final, ended, faults, seen = bucket / "p", threading.Event(), list[BaseException](), set[int]()
    put(1, final)

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def call() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - the test's own thread reports it
                faults.append(error)

        return call

    def write(n: int) -> None:
        for _ in range(6):
            put(n, final)

    def read() -> None:
        while not ended.is_set():
            seen.add(version(final))

    writers = [threading.Thread(target=guarded(lambda n=n: write(n))) for n in (2, 4)]  # type: ignore[misc]
    reader = threading.Thread(target=guarded(read))
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    ended.set()
    reader.join()
    assert faults == []
    settled(bucket, final, version(final))


def test_lost_answers_are_told_from_refusals(bucket: ObjectPath, put: Callable[..., bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every record is put, and the answer to it is that another was there: obstore's second try after a lost answer."""
    final = bucket / "p"
    for name in ("create", "exchange"):
        method = getattr(ObjectPath, name)
        monkeypatch.setattr(ObjectPath, name, lambda self, *a, method=method: method(self, *a) and False)
    assert put(1, final)
    assert put(2, final)
    settled(bucket, final, 2)


def test_files_that_were_lost_are_told_and_replaced(bucket: ObjectPath, put: Callable[..., bool]) -> None:
    final = bucket / "p"
    put(1, final)
    for _ in at_request(4, kill, after=False, once=False):
        with pytest.raises(Killed):
            put(2, final)
    (standing(final) / "a").unlink()  # type: ignore[operator]
    with pytest.raises(StoreError, match="were removed before they were copied"):
        object_commit.finish(final)
    assert clean(bucket) == 0
    assert put(3, final)
    assert version(final) == 3


def test_a_record_is_changed_while_files_are_copied(bucket: ObjectPath, put: Callable[..., bool]) -> None:
    final = bucket / "p"
    put(1, final)
    for _ in at_request(5, kill, after=False, once=False):
        with pytest.raises(Killed):
            put(2, final)
    write_record(final, read_record(final))
    settled(bucket, final, 2)
    set_aside(final, "broken")
    assert put(3, final)
    settled(bucket, final, 3)


def test_products_are_read_where_they_stand(bucket: ObjectPath, tmp_path: Path) -> None:
    """Arrays, attributes and an open Dataset, while the copy hangs and after it; a plain reader finds all afterwards."""
    final, root = bucket / "7" / "0" / "FGS1", bucket

    def product(level: float) -> Path:
        folder = tmp_path / str(level)
        folder.mkdir()
        attrs = {"planet_id": "7", "visit": 0, "instrument": "FGS1", "level": level, "config_hash": "x"}
        write_group(folder, xr.Dataset({"flux": ("pair", np.full(5, level)), "white_depth": level}, attrs=attrs))
        return folder

    commit(product(1.0), final, {"config_hash": "x"})
    # 5 files put, the record exchanged, 2 files copied
    for _ in at_request(8, kill, after=False, once=False):
        with pytest.raises(Killed):
            commit(product(2.0), final, {"config_hash": "x"}, replace=True)
    assert standing(final) != final
    opened = open_product(final)
    assert (product_attrs(final)["level"], opened.attrs["level"]) == (2.0, 2.0)
    np.testing.assert_array_equal(product_arrays(final, ["flux"])["flux"], np.full(5, 2.0))
    assert check_product(final) == ({"config_hash": "x", "tree_sha256": read_record(final)["tree_sha256"]}, [])
    assert clean(root) == 1
    # opened before, read after its sources were removed
    np.testing.assert_array_equal(opened["flux"].values, np.full(5, 2.0))
    plain = zarr.open_group(root.zarr_store(), path="7/0/FGS1", mode="r")
    np.testing.assert_array_equal(plain["flux"][...], np.full(5, 2.0))
