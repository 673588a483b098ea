"""Products on a disk that are replaced, written or damaged while others read: one of the two or an error, and never a mix."""

from __future__ import annotations

import pickle
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from v50calib.errors import StoreError
from v50calib.io.keys import VisitKey
from v50calib.io.storage import commit, zarr_groups
from v50calib.io.storage.commit import COMMIT_NAME
from v50calib.io.storage.zarr_groups import Layout, Written, write_group
from v50calib.runs.product import open_product, product_arrays, write_product

KEY = VisitKey("7", 0, "FGS1")
NAMES = [f"v{i}" for i in range(5)]


def dataset(number: int, instrument: str = "FGS1") -> xr.Dataset:
    arrays = {name: (("pair",), np.full(50, float(number))) for name in NAMES}
    return xr.Dataset(arrays, attrs={"planet_id": "7", "visit": 0, "instrument": instrument, "number": number})


def write(root: Path, number: int, layout: Layout = "zarr", key: VisitKey = KEY) -> Path:
    ds = dataset(number, key.instrument)
    return Path(write_product(root, key, ds, config_hash=str(number), reference_hashes={}, inputs={}, layout=layout))  # type: ignore[arg-type]


def values(ds: xr.Dataset) -> set[float]:
    return {float(v) for name in NAMES for v in np.unique(ds[name].values)}


@pytest.mark.parametrize("layout", ["zarr", "packed"])
def test_what_was_opened_before_is_not_read_from_what_took_its_place(tmp_path: Path, layout: Layout) -> None:
    path = write(tmp_path / "calibrated.zarr", 1, layout)
    opened = open_product(path)
    copied = pickle.loads(pickle.dumps(opened))
    assert values(open_product(path)) == {1.0}
    write(tmp_path / "calibrated.zarr", 2, layout)
    for stale in (opened, copied):
        with pytest.raises(StoreError, match="replaced"):
            stale.load()
    assert values(open_product(path)) == {2.0}


def test_a_reader_beside_a_writer(tmp_path: Path) -> None:
    """Arrays and attributes of one product, or an error that says why."""
    root = tmp_path / "calibrated.zarr"
    path = write(root, 0)
    done = threading.Event()

    def replace() -> None:
        number = 0
        while not done.is_set():
            number += 1
            write(root, number)
            # time to read it whole, as the pause between two visits gives
            done.wait(0.1)

    writer = threading.Thread(target=replace)
    writer.start()
    whole = told = 0
    try:
        for _ in range(60):
            arrays = product_arrays(path, NAMES)
            assert len({float(v) for each in arrays.values() for v in each}) == 1
            try:
                ds = open_product(path)
                found = values(ds)
            except StoreError as error:
                told += "was replaced or removed after it was opened" in str(error)
                continue
            assert found == {float(ds.attrs["number"])}
            whole += 1
    finally:
        done.set()
        writer.join()
    # how many are whole depends on the load of the machine
    assert whole + told == 60
    assert values(open_product(path)) == {float(open_product(path).attrs["number"])}


@pytest.mark.parametrize("layout", ["zarr", "packed"])
def test_a_bit_that_flips_is_an_error_of_every_reader(tmp_path: Path, layout: Layout) -> None:
    path = write(tmp_path / "calibrated.zarr", 1, layout)
    file = path / "v3" / "c.0" if layout == "zarr" else path / "arrays.zip"
    content = bytearray(file.read_bytes())
    # of an archive: in the chunk whose checksum ends it, not in its names
    at = len(content) // 2 if layout == "zarr" else bytes(content).index(b"v3/c.0") + len("v3/c.0") + 20
    content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"v3 .*is damaged"):
        product_arrays(path, NAMES)
    with pytest.raises((StoreError, ValueError), match=r"(?i)checksum|damaged"):
        open_product(path).load()
    if layout == "zarr":
        with pytest.raises(ValueError, match="checksum"):
            zarr.open_group(path, mode="r")["v3"][:]  # type: ignore[index]
        with pytest.raises(ValueError, match="checksum"):
            xr.open_zarr(path, consolidated=True)["v3"].load()


def test_groups_without_checksums_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As versions before wrote them."""
    real, pack = zarr_groups._metadata, zarr_groups._packed_chunks
    plain = lambda *args: {k: v[:2] if k == "codecs" else v for k, v in real(*args).items()}  # noqa: E731
    monkeypatch.setattr(zarr_groups, "_metadata", plain)
    monkeypatch.setattr(zarr_groups, "_packed_chunks", lambda *args: ((name, content[:-4]) for name, content in pack(*args)))
    path = write(tmp_path / "calibrated.zarr", 3)
    monkeypatch.undo()
    assert {float(v) for each in product_arrays(path, NAMES).values() for v in each} == {3.0}
    assert values(open_product(path)) == {3.0}


def test_no_reader_lists_what_is_being_written_or_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each file of a product that is written, of its replacement, and while the old one is removed; by plain zarr from the root."""
    root, seen = tmp_path / "calibrated.zarr", []
    write(root, 1, key=VisitKey("7", 0, "AIRS-CH0"))

    def look() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seen.append({name.split("/")[2] for name, _ in zarr.open_group(root, mode="r").members(max_depth=None) if name.count("/") == 2})

    real, remove = zarr_groups._write, commit.shutil.rmtree

    def write_one(path: Path, content: bytes) -> Written:
        look()
        return real(path, content)

    def remove_all(path: Path, **more: bool) -> None:
        look()
        remove(path, **more)

    monkeypatch.setattr(zarr_groups, "_write", write_one)
    monkeypatch.setattr(commit.shutil, "rmtree", remove_all)
    write(root, 1)
    assert len(seen) >= 2 * len(NAMES) + 1
    assert {frozenset(names) for names in seen} <= {frozenset({"AIRS-CH0"}), frozenset({"AIRS-CH0", "FGS1"})}
    write(root, 2)
    assert {frozenset(names) for names in seen} == {frozenset({"AIRS-CH0"}), frozenset({"AIRS-CH0", "FGS1"})}


def test_the_groups_own_file_is_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real = zarr_groups._write
    monkeypatch.setattr(
        zarr_groups, "_write", lambda path, content: (order.append(path.relative_to(tmp_path).as_posix()), real(path, content))[1]
    )
    for layout in ("zarr", "packed"):
        (tmp_path / layout).mkdir()
        write_group(tmp_path / layout, dataset(1), layout)  # type: ignore[arg-type]
        assert order[-1] == f"{layout}/zarr.json"
    assert COMMIT_NAME not in order
