"""Roots of every kind answer the same questions, on disk and in an object store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from exosim_files import write_simulation
from obstore.store import MemoryStore

from v50calib.io import ingest, open_root
from v50calib.io.identity import STAMP, same, unchanged
from v50calib.io.keys import VisitKey
from v50calib.io.root import Root
from v50calib.io.storage import objects

LAMP = VisitKey("lamp-1", 0, "CAM", "test")


def described(folder: Path) -> Path:
    """A detector.yaml with one visit."""
    np.save(folder / "frames.npy", np.arange(4 * 3 * 5, dtype=np.uint16).reshape(4, 3, 5))
    maps = {"dark": "none", "flat": "none", "dead": "none", "read_noise": 3.0, "linear_corr": "none"}
    adc = {"gain_adu_per_e": 0.5}
    detector = {"shape": [3, 5], "wavelength_um": 0.6, "exposure_s": [1.0, 2.0], "cadence_s": 3.0, "adc": adc, "maps": maps}
    visit = {"planet_id": "lamp-1", "frames": "frames.npy", "split": "test"}
    (folder / "detector.yaml").write_text(yaml.safe_dump({"instruments": {"CAM": detector}, "visits": [visit]}))
    return folder


def simulated(folder: Path) -> Path:
    """Two files of ExoSim's."""
    for visit in (0, 1):
        write_simulation(folder / f"342072318_{visit}", shapes={"FGS1": (32, 32)}, seed=visit)
    return folder


@pytest.fixture(params=["challenge folder", "raw Zarr store", "detector.yaml", "ExoSim output"])
def root(request: pytest.FixtureRequest, grouped: Path, tmp_path: Path) -> Root:
    kind = request.param
    if kind == "raw Zarr store":
        ingest(grouped, tmp_path / "raw.zarr")
    made: dict[str, Callable[[], Path]] = {
        "challenge folder": lambda: grouped, "raw Zarr store": lambda: tmp_path / "raw.zarr", "detector.yaml": lambda: described(tmp_path),
        "ExoSim output": lambda: simulated(tmp_path),
    }  # fmt: skip
    opened = open_root(made[kind]())
    assert opened.kind == kind
    return opened


def test_every_kind_answers(root: Root) -> None:
    keys = root.visits()
    assert keys == ([LAMP] if root.kind == "detector.yaml" else [VisitKey("342072318", visit, "FGS1") for visit in (0, 1)])
    assert root.visits(keys[0].planet_id) == keys
    assert root.visits("7") == []
    assert root.whole_files == (root.kind == "challenge folder")
    source = root.open(keys[-1])
    assert source.key == keys[-1]
    assert source.instrument == root.instrument(keys[-1])
    assert source.instrument.name == keys[-1].instrument


def test_an_identity_is_of_one_visit(root: Root) -> None:
    key = root.visits()[0]
    known = root.identity(key)
    assert root.identity(key, root.open(key)) == known
    assert (STAMP in known) == bool(root.stamp(key)) == (root.kind in ("challenge folder", "ExoSim output"))
    assert str(root.location) not in str(known)
    assert unchanged(root, key, known)
    assert not unchanged(root, key, {**known, STAMP: "", next(iter(known)): "of other files"})
    assert not unchanged(root, key, {})
    if len(root.visits()) > 1:
        assert not same(root.identity(root.visits()[1]), known)


def test_what_an_identity_says_without_its_stamp(root: Root) -> None:
    key = root.visits()[0]
    known = {part: text for part, text in root.identity(key).items() if part != STAMP}
    assert unchanged(root, key, known)
    assert unchanged(root, key, {**known, STAMP: "of another day"})


NAMES = {
    "challenge folder": {
        VisitKey("12", 0, "FGS1"): "train/12/FGS1_signal.parquet",
        VisitKey("12", 1, "AIRS-CH0"): "train/12/AIRS-CH0_calibration_1/dark.parquet",
        VisitKey("7", 0, "FGS1", "test"): "test/7/FGS1_signal_0.parquet",
    },
    "raw Zarr store": {
        VisitKey("12", 0, "FGS1"): "train/12/0/FGS1/_COMMIT.json",
        VisitKey("12", 1, "TRI.red"): "train/12/1/TRI.red/_COMMIT.json",
        VisitKey("7", 0, "FGS1", "test"): "test/7/0/FGS1/_COMMIT.json",
    },
}
NO_VISITS = [
    *("axis_info.parquet", "train/.tmp/FGS1_signal_0.parquet", "train/13/notes.txt", "train/FGS1_signal_0.parquet"),
    *("train/13/0/FGS1/zarr.json", "train/13/x/FGS1/_COMMIT.json", "train/13/0/a b/_COMMIT.json", "train/13/0/FGS1/x/_COMMIT.json"),
]


@pytest.mark.parametrize("kind", NAMES)
def test_visits_in_an_object_store(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = MemoryStore()
    monkeypatch.setattr(objects, "_store", lambda _: memory)
    for name in [*NAMES[kind].values(), *NO_VISITS, *(["zarr.json"] if kind == "raw Zarr store" else [])]:
        memory.put(f"data/{name}", b"{}")
    root = open_root(f"s3://a-bucket-of-{kind.split()[0]}/data")
    assert root.kind == kind
    assert root.visits() == sorted(NAMES[kind])
    assert root.visits("12") == sorted(NAMES[kind])[:2]
    assert root.visits("1") == []


@pytest.mark.parametrize("kind", NAMES)
def test_visits_on_disk_have_the_same_names(kind: str, tmp_path: Path) -> None:
    for name in [*NAMES[kind].values(), *NO_VISITS, *(["zarr.json"] if kind == "raw Zarr store" else [])]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    root = open_root(tmp_path)
    assert root.kind == kind
    assert root.visits() == sorted(NAMES[kind])
    assert root.visits("12") == sorted(NAMES[kind])[:2]
    assert root.visits("1") == []
