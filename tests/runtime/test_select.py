"""Which visits a run takes: a mid-transit that is given holds for one visit of a planet."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from v50calib import calibrate
from v50calib.config import load
from v50calib.errors import ConfigError, DataError
from v50calib.io.catalog import open_root, scan
from v50calib.io.keys import VisitKey
from v50calib.runtime.select import select

GIVEN = ["calib.phase.ephemeris.t0_h=3.6", "calib.phase.ephemeris.duration_h=3"]


def test_a_given_mid_transit_is_that_of_one_visit(dataset: Path) -> None:
    root = open_root(dataset)
    keys = [VisitKey("1", 0, "FGS1"), VisitKey("1", 0, "AIRS-CH0"), VisitKey("1", 1, "FGS1"), VisitKey("2", 0, "FGS1")]
    config = load("calib/nominal", GIVEN)
    with pytest.raises(
        ConfigError, match=r"t0_h=3\.6 is in hours since the start of a visit, and planet 1 has the visits 0, 1.*--only 1/0"
    ):
        select(keys, config, [], root)
    assert len(select(keys, config, [], root, ["1/0", "2"])) == 3
    assert len(select(keys, load("calib/nominal", [*GIVEN, "calib.phase.ephemeris.source=fit"]), [], root)) == 4
    assert len(select(keys, load("calib/nominal", GIVEN[:1]), [], root)) == 4


def test_a_planet_in_both_splits(dataset: Path, tmp_path: Path) -> None:
    """Products have no split in their path: both are refused, before a frame is read, and either can be chosen."""
    root = tmp_path / "data"
    shutil.copytree(dataset, root)
    planet = min(path.name for path in (root / "train").iterdir())
    shutil.copytree(root / "train" / planet, root / "test" / planet)
    out = tmp_path / "run"
    for planets in ((), (planet,)):
        with pytest.raises(DataError, match=f"in train/ and in test/.*{planet}/0/.*--only train, --only test"):
            calibrate(root, out, "calib/fast", ["runtime.scheduler=sync"], planets=planets)
    assert not out.exists()
    keys, config = scan(root), load("calib/fast")
    assert {k.split for k in select(keys, config, (), open_root(root), ["test"])} == {"test"}
    assert {k.split for k in select(keys, config, (), open_root(root), ["train"])} == {"train"}
    assert [str(k) for k in select(keys, config, (), open_root(root), [f"test/{planet}/0/FGS1"])] == [f"test/{planet}/0/FGS1"]


def test_a_split_that_is_not_there(dataset: Path) -> None:
    with pytest.raises(DataError, match="nothing to calibrate at 'test': the dataset has no such split"):
        select(scan(dataset), load("calib/fast"), (), open_root(dataset), ["test"])
