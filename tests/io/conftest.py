"""Tiny datasets written by hand in the challenge's two layouts: no package code on the writing side."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SHAPES = {"AIRS-CH0": (32, 356), "FGS1": (32, 32)}
PLANETS = ("1103775", "342072318")
N_FRAMES = 20


def write_columns(path: Path, values: np.ndarray, row_group: int | None = None) -> None:
    """One row a frame (or detector row), columns column_0, column_1 …"""
    path.parent.mkdir(parents=True, exist_ok=True)
    flat = values.reshape(len(values), -1)
    table = pa.table({f"column_{i}": np.ascontiguousarray(flat[:, i]) for i in range(flat.shape[1])})
    pq.write_table(table, path, compression="zstd", row_group_size=row_group or len(flat))


def frames_of(planet: str, visit: int, instrument: str, n: int = N_FRAMES) -> np.ndarray:
    seed = [int(planet), visit, len(instrument)]
    return np.random.default_rng(seed).integers(0, 65536, (n, *SHAPES[instrument]), dtype=np.uint16)


def maps_of(instrument: str) -> dict[str, np.ndarray]:
    ny, nx = SHAPES[instrument]
    rng = np.random.default_rng(len(instrument))
    return {
        "dark": rng.gamma(2.0, 0.003, (ny, nx)),
        "dead": rng.random((ny, nx)) < 0.01,
        "flat": rng.normal(1.0, 0.01, (ny, nx)),
        "read": rng.normal(13.0, 0.5, (ny, nx)),
        "linear_corr": rng.normal(0.0, 1.0, (6, ny, nx)),
    }


def axis_table(n: int = 40) -> pa.Table:
    """Padded with NaN like the real one: FGS1 is the longest column; `n` AIRS entries."""
    rows = 400

    def padded(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, np.full(rows - len(values), np.nan)])

    pair = np.arange(n // 2) * 4.8
    stamps = np.stack([pair + 0.1, pair + 0.2], axis=1).ravel() / 3600
    fgs = np.arange(rows // 2) * 0.4
    return pa.table(
        {
            "AIRS-CH0-axis0-h": padded(stamps),
            "AIRS-CH0-axis2-um": padded(np.linspace(4.08, 1.63, 356)),
            "AIRS-CH0-integration_time": padded(np.tile([0.1, 4.5], n // 2)),
            "FGS1-axis0-h": np.stack([fgs + 0.1, fgs + 0.2], axis=1).ravel() / 3600,
        }
    )


def write_visit(root: Path, planet: str, visit: int | None, instrument: str, row_group: int | None = None) -> None:
    tail = "" if visit is None else f"_{visit}"
    folder = root / "train" / planet
    frames = frames_of(planet, visit or 0, instrument)
    write_columns(folder / f"{instrument}_signal{tail}.parquet", frames, row_group)
    for name, values in maps_of(instrument).items():
        rows = values.reshape(-1, values.shape[-1])
        write_columns(folder / f"{instrument}_calibration{tail}" / f"{name}.parquet", rows)


def build_2025(root: Path) -> Path:
    """342072318 has two visits, 1103775 one; a single one of AIRS-CH0, as wide files are slow to write."""
    for planet, visit in ((PLANETS[0], 0), (PLANETS[1], 0), (PLANETS[1], 1)):
        write_visit(root, planet, visit, "FGS1")
    write_visit(root, PLANETS[1], 0, "AIRS-CH0")
    return write_tables(root)


def write_tables(root: Path) -> Path:
    columns = "FGS1_adc_offset,FGS1_adc_gain,AIRS-CH0_adc_offset,AIRS-CH0_adc_gain"
    (root / "adc_info.csv").write_text(f"{columns}\n-990.0,0.44,-1000.0,0.4369\n")
    (root / "train_star_info.csv").write_text(
        "planet_id,Rs,Ms,Ts,Mp,e,P,sma,i\n1103775.0,0.9,0.95,5539.0,1.6,0.0,6.9,15.4,89.5\n"
        "342072318,0.87,0.81,4797.5,5.6,0.0,2.8,8.9,89.9\n"
    )
    pq.write_table(axis_table(), root / "axis_info.parquet")
    return root


def build_2024(root: Path) -> Path:
    for instrument in SHAPES:
        write_visit(root, PLANETS[1], None, instrument)
    columns = "planet_id,FGS1_adc_offset,FGS1_adc_gain,AIRS-CH0_adc_offset,AIRS-CH0_adc_gain,star"
    (root / "train_adc_info.csv").write_text(f"{columns}\n7,-1.0,0.1,-2.0,0.2,0\n342072318,-900.0,0.5,-800.0,0.6,1\n")
    pq.write_table(axis_table(), root / "axis_info.parquet")
    return root


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2025 layout, shared: do not change it."""
    return build_2025(tmp_path_factory.mktemp("data2025"))


@pytest.fixture(scope="session")
def dataset_2024(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_2024(tmp_path_factory.mktemp("data2024"))


@pytest.fixture(scope="session")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Row groups of 7 frames: pairs straddle them."""
    root = tmp_path_factory.mktemp("grouped")
    for visit in (0, 1):
        write_visit(root, PLANETS[1], visit, "FGS1", row_group=7)
    return write_tables(root)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """One small visit of FGS1 to damage."""
    write_visit(tmp_path, "5", 0, "FGS1")
    (tmp_path / "adc_info.csv").write_text("FGS1_adc_offset,FGS1_adc_gain\n-1000.0,0.4369\n")
    pq.write_table(axis_table(), tmp_path / "axis_info.parquet")
    return tmp_path


@pytest.fixture(scope="session")
def truth() -> Callable[..., np.ndarray]:
    return frames_of


@pytest.fixture(scope="session")
def truth_maps() -> Callable[[str], dict[str, np.ndarray]]:
    return maps_of


@pytest.fixture(scope="session")
def columns() -> Callable[..., None]:
    return write_columns


@pytest.fixture(scope="session")
def sample() -> Path:
    """The real frames, beside the project."""
    default = Path(__file__).parents[3] / "shared" / "data" / "ariel2025-sample"
    root = Path(os.environ.get("V50CALIB_SAMPLE", default))
    if not root.is_dir():
        pytest.skip("no real sample: set V50CALIB_SAMPLE to its folder")
    return root
