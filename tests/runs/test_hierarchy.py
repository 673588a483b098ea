"""A run's stores as other readers of Zarr see them: judged by zarr and xarray themselves."""

from __future__ import annotations

import json
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
import zarr

from v50calib import calibrate, open_calibrated
from v50calib.errors import StoreError
from v50calib.io.storage.archive import ARCHIVE, Archive, ArchiveStore
from v50calib.io.storage.commit import tree_hash
from v50calib.io.storage.hierarchy import consolidate
from v50calib.runs import tree as module
from v50calib.runs.product import committed_products, open_product, product_arrays
from v50calib.runs.spectra import open_spectra
from v50calib.runs.verify import check_product, verify
from v50calib.simulate import simulate_dataset

LAYOUTS = ("zarr", "packed")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_dataset(tmp_path_factory.mktemp("hierarchy") / "data", planets=2, frames_fraction=0.01, seed=5)


@pytest.fixture(scope="module")
def runs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = {name: tmp_path_factory.mktemp("runs") / name for name in LAYOUTS}
    for name, run in out.items():
        assert not calibrate(dataset, run, "calib/nominal", [f"output.layout={name}", "runtime.scheduler=sync"]).failed
    return out


@pytest.fixture
def loud() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def labels(run: Path) -> list[str]:
    return [label for label, _ in committed_products(run / "calibrated.zarr")]


@pytest.mark.usefixtures("loud")
def test_zarr_and_xarray_open_a_run_from_its_root(runs: dict[str, Path]) -> None:
    run = runs["zarr"]
    root = run / "calibrated.zarr"
    label = labels(run)[0]
    planet = label.split("/", 1)[0]
    group = zarr.open_group(root, mode="r")
    assert sorted(name for name, _ in group.groups()) == sorted({each.split("/")[0] for each in labels(run)})
    expected = open_product(root / label).load()
    tree = xr.open_datatree(root, engine="zarr")
    assert {f"/{each}" for each in labels(run)} == {leaf.path for leaf in tree.leaves}
    for found in (tree[label].to_dataset(), xr.open_zarr(root, group=label), xr.open_zarr(root / label)):
        # the product has its variables in the chain's order
        xr.testing.assert_identical(found.load()[list(expected.variables)], expected)
    assert len(list(xr.open_datatree(root, group=planet, engine="zarr").leaves)) == 2
    spectra = xr.open_datatree(run / "spectra.zarr", engine="zarr")
    assert spectra[planet].to_dataset().load().identical(open_spectra(run)[planet].load())


@pytest.mark.usefixtures("loud")
def test_a_packed_product_is_three_files_that_zarr_opens(runs: dict[str, Path]) -> None:
    for label in labels(runs["packed"]):
        path = runs["packed"] / "calibrated.zarr" / label
        assert sorted(p.name for p in path.rglob("*")) == ["_COMMIT.json", ARCHIVE, "zarr.json"]
        expected = open_product(runs["zarr"] / "calibrated.zarr" / label).load()
        with zarr.storage.ZipStore(path / ARCHIVE, mode="r") as store:
            found = xr.open_zarr(store).load()
        xr.testing.assert_identical(found[list(expected.variables)], expected)
        xr.testing.assert_identical(open_product(path).load(), expected)
        assert found.attrs == expected.attrs
        names = ["photometry", "white_depth", "no_such"]
        ours, theirs = product_arrays(path, names), product_arrays(runs["zarr"] / "calibrated.zarr" / label, names)
        assert ours.keys() == theirs.keys() == {"photometry", "white_depth"}
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])
        with zipfile.ZipFile(path / ARCHIVE) as archive:
            assert archive.testzip() is None
    for planet, fit in open_spectra(runs["packed"]).items():
        xr.testing.assert_identical(fit.load(), open_spectra(runs["zarr"])[planet].load())
    # groups alone, which say where their arrays are, and no warning of files that are no arrays
    assert dict(zarr.open_group(runs["packed"] / "calibrated.zarr", mode="r")[label].attrs) == {**expected.attrs, "arrays_in": ARCHIVE}
    assert len(list(xr.open_datatree(runs["packed"] / "calibrated.zarr", engine="zarr").leaves)) == 4


def test_the_layout_is_no_part_of_what_decides_numbers(runs: dict[str, Path], dataset: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(runs["packed"], tmp_path / "run"))
    shutil.rmtree(copy / "calibrated.zarr" / labels(copy)[0])
    summary = calibrate(dataset, copy, "calib/nominal", ["output.layout=zarr", "runtime.scheduler=sync"])
    assert (summary.count("done"), summary.count("skipped")) == (1, 3)
    assert verify(copy).ok
    for label in labels(copy):
        xr.testing.assert_identical(
            open_product(copy / "calibrated.zarr" / label).load(), open_product(runs["zarr"] / "calibrated.zarr" / label).load()
        )


def test_packed_products_are_the_same_bytes_again(runs: dict[str, Path], dataset: Path, tmp_path: Path) -> None:
    calibrate(dataset, tmp_path / "run", "calib/nominal", ["output.layout=packed", "runtime.scheduler=sync"])
    for label in labels(runs["packed"]):
        assert tree_hash(tmp_path / "run" / "calibrated.zarr" / label) == tree_hash(runs["packed"] / "calibrated.zarr" / label)


def test_lazy_arrays_of_an_archive_go_to_other_processes(runs: dict[str, Path]) -> None:
    ds = open_product(runs["packed"] / "calibrated.zarr" / labels(runs["packed"])[0])
    assert dask.is_dask_collection(ds["photometry"].data)
    copy = pickle.loads(pickle.dumps(ds["photometry"]))
    np.testing.assert_array_equal(copy.compute(scheduler="processes"), ds["photometry"].compute(scheduler="sync"))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda path: path.unlink(), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[10:]), "damaged"),
        (lambda path: compress(path), "compressed"),
    ],
    ids=["lost", "cut", "empty", "zeros", "shifted", "packed again"],
)
def test_a_lost_or_damaged_archive_is_refused(runs: dict[str, Path], tmp_path: Path, spoil, told: str) -> None:
    run = Path(shutil.copytree(runs["packed"], tmp_path / "run"))
    label = labels(run)[0]
    path = run / "calibrated.zarr" / label
    spoil(path / ARCHIVE)
    for read in (
        lambda: open_product(path).load(),
        lambda: product_arrays(path, ["photometry"]),
        lambda: open_calibrated(run)[label].to_dataset().load(),
    ):
        with pytest.raises(StoreError, match=f"{told}.*"):
            read()
    assert check_product(path)[1]
    assert list(verify(run).broken) == [label]


def compress(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, each in content.items():
            archive.writestr(name, each)


def test_an_archive_that_others_wrote(runs: dict[str, Path], tmp_path: Path) -> None:
    """Local headers may have extra fields of other sizes than the directory's: each member's own is read."""
    source = runs["packed"] / "calibrated.zarr" / labels(runs["packed"])[0] / ARCHIVE
    other = tmp_path / ARCHIVE
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(other, "w", zipfile.ZIP_STORED) as new:
        for name in archive.namelist():
            info = zipfile.ZipInfo(name)
            info.extra = b"\x99\x99\x04\x00abcd"
            new.writestr(info, archive.read(name))
        members = {name: archive.read(name) for name in archive.namelist()}
    ours = Archive(other)
    assert {name: ours.read(name) for name in ours.members} == members
    name = max(members, key=lambda each: len(members[each]))
    assert ours.read(name, 5, 9) == members[name][5:9]
    assert ours.read(name, len(members[name]) - 3) == members[name][-3:]
    assert xr.open_zarr(ArchiveStore(ours)).load().identical(xr.open_zarr(zarr.storage.ZipStore(source, mode="r")).load())


def test_an_archive_that_is_replaced_between_two_reads(runs: dict[str, Path], tmp_path: Path) -> None:
    """Its members are elsewhere then: no number of the one is taken for the other's."""
    first, second = (runs["packed"] / "calibrated.zarr" / label for label in labels(runs["packed"])[:2])
    path = Path(shutil.copytree(first, tmp_path / first.parts[-3] / "0" / first.name))
    ds = open_product(path)
    shutil.copy(second / ARCHIVE, path / ARCHIVE)
    with pytest.raises(StoreError, match="was replaced since it was opened"):
        ds.load()
    shutil.copy(first / ARCHIVE, path / ARCHIVE)
    content = bytearray((path / ARCHIVE).read_bytes())
    members = Archive(path / ARCHIVE).members
    name = max((each for each in members if not each.endswith("json")), key=lambda each: members[each].size)
    content[content.index(name.encode()) + len(name) + members[name].size // 2] ^= 1
    (path / ARCHIVE).write_bytes(content)
    with pytest.raises(StoreError, match=f"the checksum of {name} is another"):
        Archive(path / ARCHIVE).read(name)


def test_the_root_is_true_at_every_moment(dataset: Path, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first change of a run on, no metadata of an older state is found at the root."""
    run = Path(shutil.copytree(runs["zarr"], tmp_path / "run"))
    root = run / "calibrated.zarr"
    assert "consolidated_metadata" in json.loads((root / "zarr.json").read_text())
    shutil.rmtree(root / labels(run)[0])
    seen: list[str] = []
    words = ["runtime.scheduler=sync"]

    def killed(*_: object) -> list[str]:
        seen.append((root / "zarr.json").read_text())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("v50calib.runtime.batch.complete_stores", killed)
        with pytest.raises(KeyboardInterrupt):
            calibrate(dataset, run, "calib/nominal", words)
    assert ["consolidated_metadata" in text for text in seen] == [False]
    # all four are found by listing
    assert sum(1 for _ in zarr.open_group(root, mode="r").groups()) == 2
    assert xr.open_zarr(root / labels(run)[0]).attrs["planet_id"] == labels(run)[0].split("/")[0]
    # and the next run completes it
    (root / labels(run)[0]).parent.joinpath("zarr.json").unlink()
    assert calibrate(dataset, run, "calib/nominal", words).count("skipped") == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(xr.open_datatree(root, engine="zarr").leaves)) == 4


def test_verify_leaves_no_metadata_of_what_it_hid(runs: dict[str, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs["zarr"], tmp_path / "run"))
    label = labels(run)[0]
    (run / "calibrated.zarr" / label / "photometry" / "c.0.0").write_bytes(b"")
    assert list(verify(run, quarantine=True).aside) == [label]
    root = zarr.open_group(run / "calibrated.zarr", mode="r")
    assert label not in root
    assert labels(run)[1] in root


def test_a_root_of_many_products_stays_plain(runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who opens one product does not wait for the metadata of thousands."""
    run = Path(shutil.copytree(runs["zarr"], tmp_path / "run"))
    root = run / "calibrated.zarr"
    (root / "zarr.json").unlink()
    monkeypatch.setattr("v50calib.io.storage.hierarchy.MOST_NODES", 60)
    assert not consolidate(root, labels(run))
    assert json.loads((root / "zarr.json").read_text()) == {"attributes": {}, "zarr_format": 3, "node_type": "group"}
    assert xr.open_zarr(root / labels(run)[0]).attrs["planet_id"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_lazy_tree_is_like_any_other(runs: dict[str, Path], layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is opened at the first look is what an eager tree has; so it is with a version of xarray that allows no such thing."""
    lazy = open_calibrated(runs[layout])
    with monkeypatch.context() as patch:
        patch.setattr(module, "LAZY", False)
        eager = open_calibrated(runs[layout])
    assert module.LAZY
    opened: list[Path] = []
    real = open_product
    monkeypatch.setattr("v50calib.runs.calibrated.open_product", lambda path: opened.append(path) or real(path))
    counted = open_calibrated(runs[layout])
    assert repr(counted) == repr(eager)
    assert [leaf.path for leaf in counted.leaves] == [leaf.path for leaf in eager.leaves]
    assert not opened
    assert counted[labels(runs[layout])[1]].attrs == eager[labels(runs[layout])[1]].attrs
    assert len(opened) == 1
    xr.testing.assert_identical(counted, eager)
    assert len(opened) == 4
    xr.testing.assert_identical(lazy.copy(), eager)
    monkeypatch.undo()
    xr.testing.assert_identical(pickle.loads(pickle.dumps(open_calibrated(runs[layout]))), eager)
    label = labels(runs[layout])[0]
    lazy[label]["more"] = lazy[label]["white_depth"] * 2
    assert float(lazy[label]["more"]) == pytest.approx(2 * float(eager[label]["white_depth"]))
    assert lazy.map_over_datasets(lambda ds: ds[["white_depth"]] if "white_depth" in ds else ds).to_dict().keys() == eager.to_dict().keys()
