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
from v50calib.runtime.select import read_planets, select

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


@pytest.mark.parametrize(
    "text",
    [
        "7\n8\n",
        "# mine\n7 # the first\n\n8",
        "\ufeff7\r\n8\r\n",
        '\ufeffplanet_id;Rs\r\n7,0;1,5\r\n"8";1,5\r\n;\r\n',
        "Rs, planet_id\n1,7.0\n1,8\n,\n",
        "7,0,0\n8,0,0\n7,1,1\n",
    ],
)
def test_lists_of_planets(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.csv").write_bytes(text.encode())
    refused: list[str] = []
    assert read_planets(tmp_path / "list.csv", refused.append) == ["7", "8"]
    assert refused == []


def test_a_line_of_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    path, refused = tmp_path / "list.csv", list[str]()
    path.write_text("planet_id,x\n1.1e+09,1\n../x,1\n7,1\n")
    assert read_planets(path, refused.append) == ["7"]
    assert refused[0].startswith(f"'{path}' line 2 is left out: planet id '1.1e+09' is not valid: it was rounded to 2 of its 10 digits")
    assert refused[1].startswith(f"'{path}' line 3 is left out: planet id '../x'")
    for content in (b"", b"# none\n", b"../x\n", b"\0\0"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="one planet id per line"):
            read_planets(path, refused.append)
