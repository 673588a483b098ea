"""Somebody else may write into the run directory: links that are planted there lead nothing out of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from v50calib import calibrate
from v50calib.errors import StoreError, V50CalibError
from v50calib.io import ingest, scan
from v50calib.io.storage.location import replace_text
from v50calib.runs import manifest
from v50calib.safety.files import refuse_links

OVERRIDES = ["runtime.scheduler=sync", "calib.photometry.instrument.name=FGS1"]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "victim").write_text("precious")
    return folder


def untouched(elsewhere: Path) -> bool:
    return [p.name for p in elsewhere.iterdir()] == ["victim"] and (elsewhere / "victim").read_text() == "precious"


@pytest.mark.parametrize("depth", ["planet", "visit", "instrument"])
def test_a_planted_folder_does_not_redirect_products(dataset: Path, tmp_path: Path, elsewhere: Path, depth: str) -> None:
    out = tmp_path / "run"
    calibrate(dataset, out, "calib/fast", OVERRIDES, limit=1)
    key = [key for key in scan(dataset) if key.instrument == "FGS1"][-1]
    parts = {"planet": [key.planet_id], "visit": [key.planet_id, str(key.visit)], "instrument": [key.planet_id, str(key.visit), "FGS1"]}[
        depth
    ]
    link = out / "calibrated.zarr" / Path(*parts)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    summary = calibrate(dataset, out, "calib/fast", OVERRIDES)
    assert [e.label for e in summary.failed] == [key.label]
    assert "is a symbolic link to" in summary.failed[0].error
    assert untouched(elsewhere)


def test_a_planted_folder_does_not_redirect_an_ingest(dataset: Path, tmp_path: Path, elsewhere: Path) -> None:
    key = scan(dataset)[0]
    ingest(dataset, tmp_path / "raw.zarr", keys=scan(dataset)[-1:])
    (tmp_path / "raw.zarr" / "train" / key.planet_id).symlink_to(elsewhere)
    assert "is a symbolic link to" in ingest(dataset, tmp_path / "raw.zarr", keys=[key]).failed[key]
    assert untouched(elsewhere)


def test_temporary_names_cannot_be_foreseen(tmp_path: Path, elsewhere: Path) -> None:
    target = tmp_path / "config.yaml"
    (tmp_path / f".config.yaml.{os.getpid()}.tmp").symlink_to(elsewhere / "victim")
    replace_text(target, "ours")
    assert target.read_text() == "ours"
    assert untouched(elsewhere)


@pytest.mark.parametrize("name", ["config.yaml", "run.json", "quarantine.json", "qc.csv"])
def test_a_planted_link_is_replaced(tmp_path: Path, elsewhere: Path, name: str) -> None:
    (tmp_path / name).symlink_to(elsewhere / "victim")
    replace_text(tmp_path / name, "ours")
    assert not (tmp_path / name).is_symlink()
    assert untouched(elsewhere)


def test_a_planted_manifest_is_refused(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / manifest.NAME).symlink_to(elsewhere / "victim")
    with pytest.raises(OSError, match="symbolic link"):
        manifest.append(tmp_path, manifest.Entry("1", 0, "FGS1", "done"))
    assert untouched(elsewhere)


def test_a_planted_lock_stops_the_run(dataset: Path, tmp_path: Path, elsewhere: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / ".lock").symlink_to(elsewhere / "victim")
    with pytest.raises(V50CalibError, match="is a symbolic link, and a lock is a file of its own"):
        calibrate(dataset, out, "calib/fast", OVERRIDES)
    assert untouched(elsewhere)


def test_the_users_own_link_to_another_disk_is_followed(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").mkdir()
    calibrate(dataset, tmp_path / "run", "calib/fast", OVERRIDES, limit=1)
    (tmp_path / "run" / "calibrated.zarr").rename(tmp_path / "disk" / "products")
    (tmp_path / "run" / "calibrated.zarr").symlink_to(tmp_path / "disk" / "products")
    assert calibrate(dataset, tmp_path / "run", "calib/fast", OVERRIDES).count("done") == 2
    if os.geteuid() == 0:
        os.chown(tmp_path / "run" / "calibrated.zarr", 12345, -1, follow_symlinks=False)
        with pytest.raises(StoreError, match="symbolic link of user 12345"):
            refuse_links(tmp_path / "run" / "calibrated.zarr", tmp_path / "run" / "calibrated.zarr" / "1")
