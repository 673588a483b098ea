"""Folders that lead in a circle, that may not be read, or whose name is no text: the planet fails by name, the others are calibrated."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from v50calib.array_files import refuse_special
from v50calib.errors import ConfigError
from v50calib.io import scan
from v50calib.io.folders import locked_planets, planet_folders
from v50calib.io.storage.location import locate


def test_a_planet_that_is_a_link_to_itself(dataset: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    (data / "train" / "777").symlink_to(data / "train" / "777")
    (data / "train" / "notes.txt").write_text("no planet")
    assert {str(key) for key in scan(data) if key.planet_id == "777"} == {"train/777/0/AIRS-CH0", "train/777/0/FGS1"}


@pytest.mark.skipif(not hasattr(os, "fork") or os.geteuid() != 0, reason="another user is needed, who may not read")
def test_a_planet_that_may_not_be_read(tmp_path: Path) -> None:
    for planet in ("11", "22"):
        (tmp_path / "data" / "train" / planet).mkdir(parents=True)
    (tmp_path / "data" / "train" / "11").chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o005 == 0o005:
            break
        folder.chmod(0o755)
    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            right = [f.name for _, f in planet_folders(tmp_path / "data")] == ["22"]
            right = right and list(locked_planets(tmp_path / "data")) == [("train", "11")]
        except BaseException:  # noqa: BLE001 - a child must not go on as a test
            right = False
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_folders_that_are_linked_into_each_other(tmp_path: Path) -> None:
    """Followed for ever, two of them would be 2**40 folders."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        for other in ("a", "b", "c"):
            (tmp_path / name / f"to_{other}").symlink_to(tmp_path / other)
    refuse_special(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="file systems of others have no such names")
def test_a_root_whose_name_is_no_text(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/donn\xe9es")
    os.mkdir(folder)  # noqa: PTH102
    with pytest.raises(ConfigError, match=r"donn\\xe9es' has bytes that are no UTF-8.*rename the folder"):
        locate(folder)
    with pytest.raises(ConfigError):
        scan(folder)
