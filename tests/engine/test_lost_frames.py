"""Frames that were lost, repeated or swapped: recognized from the frames alone, told, and out of every fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr

from v50calib import calibrate, open_calibrated
from v50calib.dq import DQ
from v50calib.qc.distrust import judge
from v50calib.runs.calibrated import calibrated_visits
from v50calib.simulate import simulate_dataset

FIRST, COUNT = 300, 6


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One planet, 672 FGS1 pairs."""
    return Path(simulate_dataset(tmp_path_factory.mktemp("lost") / "data", planets=1, frames_fraction=0.01, seed=7))


def repeated(frames: np.ndarray) -> None:
    for pair in range(FIRST, FIRST + COUNT):
        frames[2 * pair : 2 * pair + 2] = frames[2 * FIRST - 2 : 2 * FIRST]


def swapped(frames: np.ndarray) -> None:
    block = frames[2 * FIRST : 2 * (FIRST + COUNT)].copy()
    frames[2 * FIRST : 2 * (FIRST + COUNT) : 2], frames[2 * FIRST + 1 : 2 * (FIRST + COUNT) : 2] = block[1::2], block[::2]


def empty(frames: np.ndarray) -> None:
    frames[2 * FIRST : 2 * (FIRST + COUNT)] = 0


def full(frames: np.ndarray) -> None:
    frames[2 * FIRST : 2 * (FIRST + COUNT)] = 65535


def low(frames: np.ndarray) -> None:
    frames[2 * FIRST : 2 * (FIRST + COUNT)] = (frames[2 * FIRST : 2 * (FIRST + COUNT)] * 0.9).astype(np.uint16)


def fgs1(root: Path, out: Path, *overrides: str) -> xr.Dataset:
    common = ["runtime.scheduler=sync", "output.cubes=none", "calib.photometry.instrument.name=FGS1"]
    summary = calibrate(root, out, overrides=[*common, *overrides])
    assert not summary.failed
    (ds,) = calibrated_visits(out)
    return ds.load()


@pytest.fixture(scope="module")
def undisturbed(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    return fgs1(clean, tmp_path_factory.mktemp("lost") / "run")


@pytest.mark.parametrize("spoil", [repeated, swapped, empty, full, low])
def test_spoiled_pairs_are_flagged_and_change_no_depth(
    clean: Path, undisturbed: xr.Dataset, tmp_path: Path, spoil: Callable[[np.ndarray], None]
) -> None:
    root = tmp_path / "data"
    shutil.copytree(clean, root)
    (path,) = root.glob("train/*/FGS1_signal_0.parquet")
    table = pq.read_table(path)
    frames = np.stack([column.to_numpy() for column in table.columns], axis=1)
    spoil(frames)
    pq.write_table(pa.table([pa.array(np.ascontiguousarray(c)) for c in frames.T], names=table.column_names), path)
    ds = fgs1(root, tmp_path / "run")
    dropped = np.flatnonzero((np.asarray(ds["photometry_dq"])[:, 0] & np.uint32(DQ.DROPOUT)) != 0)
    before = np.flatnonzero((np.asarray(undisturbed["photometry_dq"])[:, 0] & np.uint32(DQ.DROPOUT)) != 0)
    assert set(range(FIRST, FIRST + COUNT)) <= set(dropped.tolist())
    assert len(dropped) <= len(before) + COUNT
    assert abs(float(ds["white_depth"] - undisturbed["white_depth"])) < 0.5 * float(undisturbed["white_depth_sigma"])
    assert float(ds["white_depth_sigma"]) < 1.1 * float(undisturbed["white_depth_sigma"])
    assert "DROPOUT" in ds.attrs["qc"]
    if spoil is repeated:
        assert f"{COUNT} of 672 pairs repeat the frames of the pair before" in ds.attrs["qc"]


def test_frames_without_noise_are_not_lost(tmp_path: Path) -> None:
    """Simulated without noise, pairs repeat each other by nature."""
    root = simulate_dataset(
        tmp_path / "data", planets=1, frames_fraction=0.005, seed=3, noise=False, cosmic_rays=0.0, jitter_px=(0.0, 0.0), drift_px=0.0
    )
    ds = fgs1(Path(root), tmp_path / "run")
    assert not ((np.asarray(ds["photometry_dq"]) & np.uint32(DQ.DROPOUT)) != 0).any()


@pytest.mark.parametrize("override", ["runtime.threads_per_worker=2", "runtime.chunk_pairs=50"])
def test_a_pair_that_repeats_the_last_of_another_chunk(clean: Path, tmp_path: Path, override: str) -> None:
    root = tmp_path / "data"
    shutil.copytree(clean, root)
    (path,) = root.glob("train/*/FGS1_signal_0.parquet")
    table = pq.read_table(path)
    frames = np.stack([column.to_numpy() for column in table.columns], axis=1)
    for pair in range(1, 672, 50):
        frames[2 * pair : 2 * pair + 2] = frames[2 * pair - 2 : 2 * pair]
    pq.write_table(pa.table([pa.array(np.ascontiguousarray(c)) for c in frames.T], names=table.column_names), path)
    fgs1(root, tmp_path / "run", override)
    (leaf,) = open_calibrated(tmp_path / "run").leaves
    flags = np.asarray(leaf.to_dataset()["photometry_dq"])[:, 0]
    assert ((flags[1::50] & np.uint32(DQ.DROPOUT)) != 0).all()


def test_a_visit_without_light_is_calibrated_without_a_depth(clean: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(clean, tmp_path / "data"))
    signal = next(data.rglob("FGS1_signal_0.parquet"))
    table = pq.read_table(signal)
    # the low byte alone: noise around a level below the bias
    pq.write_table(pa.table({name: pa.array(table[name].to_numpy() & 0xFF) for name in table.column_names}), signal)
    own = ["runtime.scheduler=sync", "calib.photometry.instrument.name=FGS1"]
    assert not calibrate(data, tmp_path / "run", "calib/nominal", own).failed
    assert np.isnan(open_calibrated(tmp_path / "run")[f"{signal.parent.name}/0/FGS1"]["white_depth"].item())


def test_most_of_a_visit_is_lost_and_the_rest_is_as_it_was(tmp_path: Path) -> None:
    """Oracle: the run of the whole frames. Medians of all pairs would be of pairs without light."""
    data = Path(simulate_dataset(tmp_path / "data", planets=1, frames_fraction=0.03, seed=11))
    common = ["runtime.scheduler=sync", "output.cubes=none", "calib.photometry.instrument.name=AIRS-CH0"]
    calibrate(data, tmp_path / "whole", overrides=common)
    (path,) = data.glob("train/*/AIRS-CH0_signal_0.parquet")
    table = pq.read_table(path)
    frames = np.stack([column.to_numpy() for column in table.columns], axis=1)
    pairs = len(frames) // 2
    lost = int(0.55 * pairs)
    frames[: 2 * lost] = 0
    pq.write_table(pa.table([pa.array(np.ascontiguousarray(c)) for c in frames.T], names=table.column_names), path)
    assert not calibrate(data, tmp_path / "half", overrides=common).failed
    (whole,), (half,) = calibrated_visits(tmp_path / "whole"), calibrated_visits(tmp_path / "half")
    flags = np.asarray(half["photometry_dq"])
    assert ((flags[:, 0] & int(DQ.DROPOUT)) != 0).tolist() == [True] * lost + [False] * (pairs - lost)
    kept = slice(lost + 5, None)  # the background is smoothed over a few pairs
    assert ((flags[kept] & int(DQ.OUTLIER)) != 0).mean() < 2 * (
        (np.asarray(whole["photometry_dq"])[kept] & int(DQ.OUTLIER)) != 0
    ).mean() + 1e-3
    light, as_it_was = (np.asarray(ds["photometry"], float)[kept].sum(axis=1) for ds in (half, whole))
    np.testing.assert_allclose(light / np.median(light), as_it_was / np.median(as_it_was), atol=2e-3)
    # a shift counts from the mean spectrum of the pairs that have light
    moved, as_it_moved = (np.asarray(ds["x_position"], float)[kept] for ds in (half, whole))
    assert np.std(moved - as_it_moved) < 0.02


def test_more_than_half_of_the_first_reads_are_saturated(dataset: Path, tmp_path: Path) -> None:
    """Oracle: the run of the whole frames. Blank reads here and there spoil the background's course, and so the others' light."""
    common = [
        "runtime.scheduler=sync",
        "output.cubes=none",
        "calib.photometry.instrument.name=AIRS-CH0",
        "calib.phase.depths.enabled=false",
    ]
    # the planet with one visit
    planet = next(p.name for p in (dataset / "train").iterdir() if not (p / "AIRS-CH0_signal_1.parquet").exists())
    assert not calibrate(dataset, tmp_path / "whole", overrides=common, planets=[planet]).failed
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    path = data / "train" / planet / "AIRS-CH0_signal_0.parquet"
    table = pq.read_table(path)
    frames = np.stack([column.to_numpy() for column in table.columns], axis=1)
    pairs = len(frames) // 2
    lost = np.random.default_rng(1).choice(pairs, round(0.55 * pairs), replace=False)
    frames[2 * lost] = 65535
    pq.write_table(pa.table([pa.array(np.ascontiguousarray(c)) for c in frames.T], names=table.column_names), path)
    assert not calibrate(data, tmp_path / "half", overrides=common, planets=[planet]).failed
    (whole,), (half,) = calibrated_visits(tmp_path / "whole"), calibrated_visits(tmp_path / "half")
    dropped = (np.asarray(half["photometry_dq"])[:, 0] & int(DQ.DROPOUT)) != 0
    assert np.flatnonzero(dropped).tolist() == sorted(lost.tolist())
    qc = json.loads(half.attrs["qc"])
    assert any(f"{lost.size} of {pairs} pairs have a read of one code all over" in note for note in qc["notes"])
    assert any(reason.key == "lost_pairs" for reason in judge(qc, transit_found=None).reasons)
    light, as_it_was = (np.asarray(ds["photometry"], float)[~dropped].sum(axis=1) for ds in (half, whole))
    np.testing.assert_allclose(light / np.median(light), as_it_was / np.median(as_it_was), atol=2e-3)
