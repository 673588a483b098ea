"""The table of worlds is what its runs say."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import uncertainty


def test_the_table_holds_the_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(uncertainty, "METHODS", {n: uncertainty.METHODS[n] for n in ("global T", "per-bin T", "shift + affine")})
    runs = [uncertainty.run_world("planet", seed, 60, 100) for seed in (1, 2)]
    for row in runs:
        assert row["none"]["gll"] < row["global T"]["gll"] < row["oracle"]["gll"]
        assert 0.8 < row["per-bin T"]["coverage"] < 0.97
        assert row["per-bin T"]["joint"] > 0.7
        row["CoRel scale"] = row["shift + affine"]
    text = uncertainty.table({"planet": runs}, 60, 100)
    mean = (runs[0]["per-bin T"]["gll"] + runs[1]["per-bin T"]["gll"]) / 2
    assert f"| per-bin T | {mean:.4f} ±" in text
    assert "shift + affine - per-bin T: +" in text
    few = uncertainty.few_planets(range(2), 200)
    assert few.count("\n") == 6
