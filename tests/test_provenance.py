"""The config's hash names what decides the numbers: keys, and the contents of the maps they point to."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from v50calib import calibrate
from v50calib.config import load
from v50calib.config.provenance import config_hash, decisive, map_hashes
from v50calib.errors import StoreError


def own_dark(path: Path) -> list[str]:
    return [
        "runtime.scheduler=sync",
        "calib.photometry.instrument.name=FGS1",
        "calib.dark.dark_model.method=per_pixel_map",
        f"calib.dark.per_pixel_map.map_path='{path}'",
        "calib.dark.per_pixel_map.units=e_per_s",
    ]


def test_without_maps_it_is_the_hash_of_the_keys() -> None:
    config = load("calib/nominal")
    assert config_hash(config) == hashlib.sha256(decisive(config).encode()).hexdigest()


def test_content_of_a_file_and_of_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "dark.npy"
    np.save(file, np.zeros((32, 32)))
    first = config_hash(config := load("calib/fast", own_dark(file)))
    assert list(map_hashes(config)) == ["calib.dark.per_pixel_map.map_path"]
    np.save(file, np.ones((32, 32)))
    assert config_hash(config) != first
    folder = tmp_path / "dark.zarr"
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    first = config_hash(config := load("calib/fast", own_dark(folder)))
    (folder / "b").write_bytes(b"")
    assert config_hash(config) != first


def test_maps_that_only_workers_have_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "dark.npy"
    np.save(file, np.zeros((32, 32)))
    config = load("calib/fast", [*own_dark(file), "calib.dark.validation.require_existing_paths=false"])
    assert map_hashes(config) == {}


def test_a_changed_map_is_another_config(dataset: Path, tmp_path: Path) -> None:
    """Same path, other content: refused, and redone with update; the product's dark is the new one."""
    file = tmp_path / "dark.npy"
    np.save(file, np.full((32, 32), 1.0))
    assert calibrate(dataset, tmp_path / "run", "calib/fast", own_dark(file), limit=1).count("done") == 1
    np.save(file, np.full((32, 32), 2.0))
    with pytest.raises(StoreError, match="the content of a map that the config names changed"):
        calibrate(dataset, tmp_path / "run", "calib/fast", own_dark(file))
    assert calibrate(dataset, tmp_path / "run", "calib/fast", own_dark(file), update=True, limit=1).count("done") == 1
    assert calibrate(dataset, tmp_path / "run", "calib/fast", own_dark(file), limit=1).count("skipped") >= 1
