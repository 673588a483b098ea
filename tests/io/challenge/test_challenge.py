from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest

from v50calib.errors import DataError
from v50calib.io.catalog import open_source, scan
from v50calib.io.challenge import parquet
from v50calib.io.keys import VisitKey
from v50calib.io.visit import open_visit
from v50calib.reference import MAP_NAMES
from v50calib.schema import INSTRUMENT

INSTRUMENTS = ("AIRS-CH0", "FGS1")


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Row groups decoded, in order."""
    calls: list[int] = []
    real = parquet.decode_row_group

    def counting(path: Path, index: int, **options: Any) -> Any:
        calls.append(index)
        return real(path, index, **options)

    monkeypatch.setattr(parquet, "decode_row_group", counting)
    return calls


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("opening computed something")


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_opening_computes_nothing_and_gives_every_variable(
    dataset: Path, instrument: str, truth: Callable[..., np.ndarray], truth_maps: Callable[..., Any], decodes: list[int]
) -> None:
    with dask.config.set(scheduler=refuse):
        ds = open_visit(dataset, 342072318.0, 0, instrument, chunks=6)
    assert decodes == []
    assert ds.raw_frames.chunks is not None
    assert ds.raw_frames.chunks[0] == (6, 6, 6, 2)
    assert ds.raw_frames.dtype == np.uint16
    np.testing.assert_array_equal(ds.raw_frames.to_numpy(), truth("342072318", 0, instrument))
    for name, values in truth_maps(instrument).items():
        np.testing.assert_array_equal(ds[name].to_numpy(), values)


def test_coordinates_and_attributes(dataset: Path) -> None:
    airs = open_visit(dataset, "342072318")
    fgs = open_visit(dataset, 1103775, 0, "FGS1")
    np.testing.assert_array_equal(airs.exposure[:4], [0.1, 4.6, 0.1, 4.6])
    np.testing.assert_array_equal(fgs.exposure[:4], [0.1, 0.2, 0.1, 0.2])
    np.testing.assert_allclose(airs.time[:3] * 3600, [0.1, 0.2, 4.9], rtol=1e-12)
    np.testing.assert_allclose(fgs.time[:3] * 3600, [0.1, 0.2, 0.5], rtol=1e-12)
    assert airs.wavelength.dims == ("x",)
    assert (np.diff(airs.wavelength) < 0).all()
    assert fgs.wavelength.dims == ()
    assert float(fgs.wavelength) == 0.7
    assert (airs.attrs["adc_offset"], airs.attrs["adc_gain"]) == (-1000.0, 0.4369)
    assert (fgs.attrs["adc_offset"], fgs.attrs["adc_gain"]) == (-990.0, 0.44)
    assert airs.attrs["star_Ts"] == 4797.5
    assert fgs.attrs["star_Ts"] == 5539.0  # its row is stored as 1103775.0
    assert airs.attrs["layout"] == "challenge-2025"
    assert set(json.loads(airs.attrs["reference_hashes"])) == set(MAP_NAMES)
    assert str(dataset) not in json.dumps(airs.attrs)


def test_2024_layout(dataset_2024: Path, truth: Callable[..., np.ndarray]) -> None:
    ds = open_visit(dataset_2024, 342072318, instrument="FGS1")
    assert (ds.attrs["adc_offset"], ds.attrs["adc_gain"], ds.attrs["layout"]) == (-900.0, 0.5, "challenge-2024")
    assert not [name for name in ds.attrs if name.startswith("star_")]
    np.testing.assert_array_equal(ds.raw_frames, truth("342072318", 0, "FGS1"))


def test_one_row_group_is_decoded_once_for_all_chunks(dataset: Path, decodes: list[int]) -> None:
    open_visit(dataset, "342072318", chunks=2).raw_frames.data.sum().compute(scheduler="threads")
    assert decodes == [0]


@pytest.mark.parametrize("chunk", [2, 6, 8, 20, 450])
def test_row_groups_are_decoded_once_each_whatever_the_chunk(
    grouped: Path, chunk: int, decodes: list[int], truth: Callable[..., np.ndarray]
) -> None:
    expected = truth("342072318", 0, "FGS1")
    ds = open_visit(grouped, "342072318", 0, "FGS1", chunks=chunk)
    np.testing.assert_array_equal(ds.raw_frames.to_numpy(), expected)
    assert sorted(decodes) == [0, 1, 2]
    decodes.clear()
    frames = open_source(grouped, VisitKey("342072318", 0, "FGS1")).frames
    blocks = dict(frames.blocks(chunk))
    assert decodes == [0, 1, 2]
    assert list(blocks) == list(range(0, 20, chunk))
    np.testing.assert_array_equal(np.concatenate(list(blocks.values())), expected)


@pytest.mark.parametrize("chunk", [1, 7, 0, -2])
def test_a_chunk_never_splits_a_pair(dataset: Path, chunk: int) -> None:
    with pytest.raises(DataError, match=f"chunk of {chunk} frames would split a CDS pair"):
        open_visit(dataset, "342072318", chunks=chunk)


def test_default_chunks_are_the_same_span_and_even() -> None:
    airs, fgs = (INSTRUMENT[name].chunk_frames for name in INSTRUMENTS)
    assert (airs, fgs) == (450, 5400)
    assert fgs == 12 * airs
    assert airs % 2 == 0


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_sources_pickle_small_and_read_ranges(dataset: Path, instrument: str, truth: Callable[..., np.ndarray], decodes: list[int]) -> None:
    expected = truth("342072318", 0, instrument)
    frames = open_source(dataset, VisitKey("342072318", 0, instrument)).frames
    np.testing.assert_array_equal(frames.read(4, 10), expected[4:10])
    np.testing.assert_array_equal(frames.read(10, 12), expected[10:12])
    assert decodes == [0]
    payload = pickle.dumps(frames)
    assert len(payload) < 2000
    again = pickle.loads(payload)
    block = again.read(0, 20)
    np.testing.assert_array_equal(block, expected)
    assert block.flags.c_contiguous
    with pytest.raises(DataError, match=r"frames 4:30 asked of a visit with 20"):
        frames.read(4, 30)


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_real_sample_equals_an_independent_read(sample: Path, instrument: str) -> None:
    key = scan(sample)[0]
    started = time.perf_counter()
    ds = open_visit(sample, key.planet_id, 0, instrument)
    assert time.perf_counter() - started < 5.0  # 0.2 s where nothing else runs
    folder = sample / "train" / key.planet_id
    frames = pd.read_parquet(folder / f"{instrument}_signal_0.parquet").to_numpy().reshape(ds.raw_frames.shape)
    np.testing.assert_array_equal(ds.raw_frames, frames)
    linear = pd.read_parquet(folder / f"{instrument}_calibration_0" / "linear_corr.parquet").to_numpy()
    np.testing.assert_array_equal(ds.linear_corr, linear.reshape(6, *ds.raw_frames.shape[1:]))
    axes = pd.read_parquet(sample / "axis_info.parquet")
    np.testing.assert_array_equal(ds.time, axes[f"{instrument}-axis0-h"].to_numpy()[: ds.sizes["time"]])
    assert ds.attrs["star_P"] == pytest.approx(2.866519462)
    if instrument == "AIRS-CH0":
        wl = pd.read_csv(sample / "wavelengths.csv").to_numpy().ravel()[1:]
        np.testing.assert_allclose(ds.wavelength.to_numpy()[39:321][::-1], wl, rtol=1e-12)
        np.testing.assert_allclose(ds.exposure[:2], [0.1, 4.6], rtol=1e-15)
