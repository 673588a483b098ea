"""Damaged files of every kind end in the package's own errors or in a product, quickly and in little memory; other planets go on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.mutations.campaign import Campaign

#: LAPACK's words about NaN, NumPy's about overflow: what the values in a damaged file lead to is judged by what the visit ends in
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("count", [40, pytest.param(300, marks=pytest.mark.slow)])
def test_damaged_files(tmp_path: Path, count: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    outcome = Campaign(tmp_path).run(int(request.config.getoption("--seed")), count)
    assert not outcome.faults, "\n".join(outcome.faults)
    # not everything is refused, and not nothing
    assert outcome.counts["DataError"] > count / 3
    assert outcome.counts["product"] > count / 30
