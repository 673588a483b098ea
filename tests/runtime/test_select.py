"""Which visits a run takes: a mid-transit that is given holds for one visit of a planet."""

from __future__ import annotations

from pathlib import Path

import pytest

from v50calib.config import load
from v50calib.errors import ConfigError
from v50calib.io.catalog import open_root
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
