"""Shared: where the real sample is, and small simulated visits made once a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=1, help="of the damages that tests/mutations draws")


@pytest.fixture(scope="session")
def sample() -> Path:
    """Folder of the real frames; tests that need it skip, saying so, where it is not."""
    path = Path(os.environ.get("V50CALIB_SAMPLE", PROJECT.parent / "shared" / "data" / "ariel2025-sample"))
    if not (path / "train").is_dir():
        pytest.skip(f"the real sample is not at {path} (set V50CALIB_SAMPLE)")
    return path


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two simulated planets, the first with two visits, 1/50 of the frames over the whole 7.5 h."""
    from v50calib.simulate import simulate_dataset

    return simulate_dataset(tmp_path_factory.mktemp("sim") / "data", planets=2, visits=[2, 1], frames_fraction=0.02, seed=77)


@pytest.fixture(scope="session")
def store(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same dataset as a raw Zarr store."""
    from v50calib.io import ingest

    path = tmp_path_factory.mktemp("store") / "raw.zarr"
    report = ingest(dataset, path)
    assert not report.failed
    return path
