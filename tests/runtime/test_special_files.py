"""A pipe in place of a file is refused before it is opened: a reader would wait for a writer that never comes."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from v50calib import calibrate
from v50calib.array_files import load_array, refuse_special
from v50calib.errors import DataError, V50CalibError
from v50calib.io import scan
from v50calib.io.catalog import open_source
from v50calib.io.detector_yaml.load import load_description


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    """A test that hangs fails instead."""
    import signal

    def late(*_: object) -> None:
        raise AssertionError("hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe_at(path: Path) -> Path:
    path.unlink()
    os.mkfifo(path)
    return path


NAMES = ["FGS1_signal_0.parquet", "FGS1_calibration_0/dark.parquet"]


@pytest.mark.parametrize("name", NAMES)
def test_pipes_among_a_planets_files(dataset: Path, tmp_path: Path, name: str) -> None:
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    key = next(key for key in scan(data) if key.instrument == "FGS1")
    pipe_at(data / "train" / key.planet_id / name)
    with pytest.raises(DataError, match="is no regular file"):
        open_source(data, key)
    summary = calibrate(data, tmp_path / "r", "calib/fast", ["runtime.scheduler=sync", "calib.photometry.instrument.name=FGS1"])
    assert (summary.count("done"), [e.label for e in summary.failed]) == (2, [key.label]), [e.error for e in summary.failed]
    assert "is no regular file" in summary.failed[0].error


@pytest.mark.parametrize("name", ["adc_info.csv", "axis_info.parquet", "train_star_info.csv"])
def test_pipes_among_a_roots_tables(dataset: Path, tmp_path: Path, name: str) -> None:
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    pipe_at(data / name)
    with pytest.raises(V50CalibError, match="is no regular file"):
        open_source(data, scan(data)[0])


@pytest.mark.parametrize(
    "pick", [lambda g: g / "raw_frames" / "c" / "0" / "0" / "0", lambda g: g / "dark" / "zarr.json"], ids=["chunk", "head"]
)
def test_pipes_in_a_raw_store(store: Path, tmp_path: Path, pick: Callable[[Path], Path]) -> None:
    copy = Path(shutil.copytree(store, tmp_path / "raw.zarr"))
    key = scan(copy)[0]
    pipe_at(pick(copy / str(key)))
    with pytest.raises(DataError, match="is no regular file"):
        open_source(copy, key)


@pytest.mark.parametrize("name", ["m.npy", "m.npz", "m.csv", "m.nc"])
def test_pipes_as_maps(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="is no regular file"):
        load_array(str(tmp_path / name), key="calib.flat.master.path")


def test_a_pipe_as_detector_yaml(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "detector.yaml")
    with pytest.raises(DataError, match="is no regular file"):
        load_description(tmp_path)


def test_what_is_regular_or_missing_passes(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.ones(3))
    (tmp_path / "link.npy").symlink_to(tmp_path / "m.npy")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({}))
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    refuse_special(tmp_path)
    refuse_special(tmp_path / "absent")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        with pytest.raises(DataError, match="a socket"):
            refuse_special(tmp_path)
