"""A star too bright for the converter: pixels that clip at times are masked for the visit, and depths hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from v50calib import Pipeline, open_visit
from v50calib.dq import DQ
from v50calib.engine import samples
from v50calib.simulate import read_truth, simulate_dataset


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_dataset(tmp_path_factory.mktemp("bright") / "data", planets=1, frames_fraction=0.05, seed=21, brightness=3.5)


def test_pixels_that_clip_are_masked_and_the_channels_hold(bright: Path) -> None:
    truth = read_truth(bright)["planets"][0]
    ds = open_visit(bright, str(truth["planet_id"]), 0, "AIRS-CH0")
    clipped = (ds["raw_frames"][1::2].to_numpy() == ds["raw_frames"].to_numpy().max()).sum(axis=0)
    out = Pipeline.from_profile("calib/nominal", ["output.cubes=none"])(ds).compute(scheduler="sync")
    masked = (out["pixel_dq"].to_numpy() & np.uint32(DQ.SATURATED)) != 0
    assert masked.any()
    # a tenth of the visit's pairs is sampled: whatever clips often is found, and nothing that never does
    assert masked[clipped > 0.5 * ds.sizes["time"] / 2].all()
    assert not masked[clipped == 0].any()
    assert ((out["pixel_dq"].to_numpy()[masked] & np.uint32(DQ.DO_NOT_USE)) != 0).all()
    pull = (out["transit_depth"].to_numpy() - np.asarray(truth["depth"])[1:]) / out["transit_depth_sigma"].to_numpy()
    assert np.isfinite(pull).all()
    assert np.abs(pull).max() < 4.5
    assert 0.8 < pull.std() < 1.2


def test_without_the_mask_saturated_samples_are_flagged(bright: Path) -> None:
    truth = read_truth(bright)["planets"][0]
    ds = open_visit(bright, str(truth["planet_id"]), 0, "AIRS-CH0")
    out = Pipeline.from_profile("calib/nominal", ["output.cubes=none", "calib.adc.detector.mask_saturating=false"])(ds)
    dq = out[["pixel_dq", "photometry_dq"]].compute(scheduler="sync")
    assert not (dq["pixel_dq"].to_numpy() & np.uint32(DQ.SATURATED)).any()
    assert ((dq["photometry_dq"].to_numpy() & np.uint32(DQ.SATURATED)) != 0).any(axis=0).sum() > 10


def test_only_small_frames_are_kept_to_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> np.ndarray:
        asked.append((start, stop))
        return np.full((stop - start, 2, 2), start, np.uint16)

    monkeypatch.setattr(samples, "KEPT_BYTES", 100)
    again = samples.remembered(read)
    for _ in range(2):
        assert again(0, 4)[0, 0, 0] == 0  # 32 bytes
        assert again(8, 40)[0, 0, 0] == 8  # 256 bytes
    assert asked == [(0, 4), (8, 40), (8, 40)]


def test_lost_frames_mask_nothing(tmp_path: Path) -> None:
    """A tenth of the pairs at an end of the converter's range: no pixel is masked for it, and the depths hold."""
    data = simulate_dataset(tmp_path / "data", planets=1, frames_fraction=0.03, seed=22, lost_frames=0.1)
    truth = read_truth(data)["planets"][0]
    for instrument, own in (("FGS1", slice(0, 1)), ("AIRS-CH0", slice(1, 283))):
        ds = open_visit(data, str(truth["planet_id"]), 0, instrument)
        out = Pipeline.from_profile("calib/nominal", ["output.cubes=none"])(ds).compute(scheduler="sync")
        assert not (out["pixel_dq"].to_numpy() & np.uint32(DQ.SATURATED)).any()
        lost = ((out["photometry_dq"].to_numpy()[:, 0] & np.uint32(DQ.DROPOUT)) != 0).mean()
        assert 0.05 < lost < 0.15
        pull = (out["transit_depth"].to_numpy() - np.asarray(truth["depth"])[own]) / out["transit_depth_sigma"].to_numpy()
        assert np.abs(pull).max() < 4.5
