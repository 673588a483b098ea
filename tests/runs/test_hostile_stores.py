"""Stores that people deleted in, copied in, moved about or tampered with."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from v50calib import calibrate, open_calibrated
from v50calib.errors import StoreError
from v50calib.io.keys import VisitKey
from v50calib.io.storage.archive import ARCHIVE, Archive, pack
from v50calib.io.storage.hierarchy import consolidate
from v50calib.runs.estimates import write_estimates
from v50calib.runs.product import committed_products, open_product, write_product
from v50calib.runs.stores import complete_stores
from v50calib.runs.verify import check_product, verify
from v50calib.simulate import simulate_dataset

KEY = VisitKey("11", 0, "FGS1")


def make(run: Path, layout: Any) -> Path:
    """A store of one product; its folder."""
    ds = xr.Dataset({"white_depth": ("time", np.arange(4.0))}, attrs={"planet_id": "11", "visit": 0, "instrument": "FGS1"})
    write_product(run / "calibrated.zarr", KEY, ds, config_hash="c", reference_hashes={}, inputs={}, layout=layout)
    return run / "calibrated.zarr" / KEY.label


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    data = simulate_dataset(folder / "data", planets=2, frames_fraction=0.002, seed=5)
    calibrate(data, folder / "run", "calib/nominal", ["runtime.scheduler=sync"])
    return folder / "run"


@pytest.mark.parametrize("layout", ["zarr", "packed"])
def test_a_relative_run_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    # Dask's workers may have another folder than who opened the run
    make(tmp_path / "run", layout)
    monkeypatch.chdir(tmp_path)
    tree, product = open_calibrated("run"), open_product(Path("run/calibrated.zarr") / KEY.label)
    text = pickle.dumps(product)
    monkeypatch.chdir("/")
    for ds in (tree[KEY.label].to_dataset(), product, pickle.loads(text)):
        np.testing.assert_array_equal(ds["white_depth"].compute(), np.arange(4.0))


def test_verify_quarantine_takes_from_the_roots_what_was_deleted_by_hand_or_set_aside(made: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(made, run)
    labels = [label for label, _ in committed_products(run / "calibrated.zarr")]
    gone, broken = labels[0], labels[-1]
    shutil.rmtree(run / "spectra.zarr" / gone.split("/")[0])
    assert verify(run, quarantine=True).ok, "a fit that is not there is made again when it is asked for"
    fits = xr.open_datatree(run / "spectra.zarr", engine="zarr")
    assert {leaf.path for leaf in fits.leaves} == {f"/{labels[-1].split('/')[0]}"}
    shutil.rmtree(run / "calibrated.zarr" / gone)
    (run / "calibrated.zarr" / broken / "_COMMIT.json").unlink()
    assert list(verify(run, quarantine=True).aside) == [broken]
    # the folder that was set aside is hidden, and a listing would find it
    tree = xr.open_datatree(run / "calibrated.zarr", engine="zarr")
    assert {leaf.path for leaf in tree.leaves} == {f"/{label}" for label in labels[1:-1]}


def test_verify_quarantine_takes_from_the_root_estimates_that_were_deleted_by_hand(made: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(made, run)
    for method in ("gp", "population"):
        write_estimates(run, method, xr.Dataset({"mu": ("planet", np.arange(2.0))}, attrs={"estimator": method}), {"estimator": method})
    shutil.rmtree(run / "estimates.zarr/gp")
    assert verify(run, quarantine=True).ok
    assert [leaf.path for leaf in xr.open_datatree(run / "estimates.zarr", engine="zarr").leaves] == ["/population"]


def test_hidden_folders_above_products_are_no_products(tmp_path: Path) -> None:
    make(tmp_path, "zarr")
    root = tmp_path / "calibrated.zarr"
    shutil.copytree(root / "11", root / ".11")
    shutil.copytree(root / "11/0", root / "11/.0")
    assert [leaf.path for leaf in open_calibrated(tmp_path).leaves] == [f"/{KEY.label}"]
    complete_stores(tmp_path)
    assert [leaf.path for leaf in xr.open_datatree(root, engine="zarr").leaves] == [f"/{KEY.label}"]


def retold(path: Path, size: int) -> None:
    """Rewrite an archive so that its second member claims a size."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
        archive.infolist()[1].file_size = size


@pytest.mark.parametrize("size", [1 << 45, 0xFFFF_FFF0])
def test_an_archive_claims_more_than_it_has(tmp_path: Path, size: int) -> None:
    path = make(tmp_path, "packed")
    retold(path / ARCHIVE, size)
    with pytest.raises(StoreError, match="would end beyond"):
        open_product(path)


def test_two_members_of_one_name(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        pack(tmp_path / ARCHIVE, [("zarr.json", b"{}"), ("zarr.json", b"[]")])
    with pytest.raises(StoreError, match="one name"):
        Archive(tmp_path / ARCHIVE).read("zarr.json")


def test_an_archive_that_was_replaced_since_gives_no_other_member(tmp_path: Path) -> None:
    pack(tmp_path / ARCHIVE, [("aa", b"1234")])
    archive = Archive(tmp_path / ARCHIVE)
    assert archive.read("aa") == b"1234"
    pack(tmp_path / ARCHIVE, [("bb", b"5678")])
    with pytest.raises(StoreError, match="replaced since"):
        archive.read("aa")


def listing(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        node = json.loads((path / "zarr.json").read_text())
        node["consolidated_metadata"]["metadata"] = change(node["consolidated_metadata"]["metadata"])
        (path / "zarr.json").write_text(json.dumps(node))

    return apply


NONSENSE = {
    "numbers": listing(lambda m: dict.fromkeys(m, 3)),
    "empty": listing(lambda m: {name: {} for name in m}),
    "outside": listing(lambda m: m | {"../../0/FGS1/white_depth": m["white_depth"]}),
    "absolute": listing(lambda m: m | {os.sep + "white_depth": m["white_depth"]}),
    "many": listing(lambda m: m | {f"x{n}": m["white_depth"] for n in range(10_000)}),
    "half": listing(lambda m: {name: {"node_type": "array", "shape": [4], "dimension_names": ["time"]} for name in m}),
}


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_among_the_arrays(tmp_path: Path, nonsense: str) -> None:
    path = make(tmp_path, "zarr")
    NONSENSE[nonsense](path)
    with pytest.raises(StoreError, match=r"is damaged|has lost") as told:
        open_product(path)
    assert len(str(told.value)) < 1_000
    assert check_product(path)[1]


def test_nonsense_does_not_come_into_the_root(tmp_path: Path) -> None:
    path = make(tmp_path, "zarr")
    NONSENSE["numbers"](path)
    assert not consolidate(tmp_path / "calibrated.zarr", [KEY.label])


@pytest.mark.parametrize("layout", ["zarr", "packed"])
def test_metadata_that_are_a_list_are_a_fault_and_no_traceback(tmp_path: Path, layout: str) -> None:
    path = make(tmp_path, layout)
    (path / "zarr.json").write_text("[1]")
    assert "damaged" in check_product(path)[1][0]
