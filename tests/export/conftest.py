"""A calibrated run that all tests of exports start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from v50calib import calibrate


@pytest.fixture(scope="session")
def whole_run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two planets, of two visits and one: six products and two planets' fits. Tests that change it copy it first."""
    out = tmp_path_factory.mktemp("whole") / "run"
    summary = calibrate(dataset, out, "calib/nominal", ["runtime.scheduler=sync", "calib.phase.depths.enabled=true"])
    assert not summary.failed
    return out
