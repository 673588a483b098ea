"""The general frame path: equal to the fused one where both apply, the same for any chunking, reachable from every door."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from simulated import planet_of

from v50calib import Pipeline, calibrate, open_visit
from v50calib.config import validate
from v50calib.config.compose import compose
from v50calib.dq import DQ
from v50calib.engine.frames import OrderedFrames, windows
from v50calib.engine.visit import visit_input
from v50calib.runs.product import committed_products, open_product

INSTRUMENTS = ["AIRS-CH0", "FGS1"]
#: every method that looks at neighbours in time and leaves fluxes meaningful
TEMPORAL = [
    "calib.dark.cosmic_rays.enabled=true",
    "calib.dark.bad_pixel_handling.replace.mode=median8",
    "calib.cds.robust.sigma_clip.enabled=true",
    "calib.cds.robust.outlier_replace.enabled=true",
    "output.cubes=both",
    "output.dtype=float64",
    "calib.trace.enabled=false",
    "calib.phase.enabled=false",
]
#: pairs of the short visits that chunkings are compared on
PAIRS = {"AIRS-CH0": 44, "FGS1": 400}


def visit(root: Path, instrument: str, chunks: int | None = None) -> xr.Dataset:
    extra = {} if chunks is None else {"chunks": chunks}
    return open_visit(root, planet_of(root), 1, instrument, **extra)


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_forced_general_equals_fused(dataset: Path, instrument: str) -> None:
    """Nominal by the stages' own formulas instead of one polynomial: float64 rounding of sums of up to 1e7 e-."""
    pipeline = Pipeline.from_profile("calib/nominal", ["output.cubes=both", "output.dtype=float64"])
    ds = visit(dataset, instrument)
    raw = ds["raw_frames"].to_numpy()
    constants = pipeline.engine.prepare(visit_input(ds), lambda a, b: raw[a:b])
    assert constants.plan.left == []
    fused = pipeline.engine.run_chunk(constants, raw, 0)
    unfolded = dataclasses.replace(constants, plan=dataclasses.replace(constants.plan, folded=0))
    slow = pipeline.engine.run_chunk(unfolded, raw, 0)
    assert fused.sums is not None
    assert slow.sums is not None
    scale = np.abs(fused.sums.totals).max()
    for mine, reference in ((slow.sums.totals, fused.sums.totals), (slow.sums.columns, fused.sums.columns)):
        np.testing.assert_allclose(mine, reference, rtol=1e-12, atol=1e-12 * scale)
    assert slow.dq is not None
    np.testing.assert_array_equal(slow.dq, np.zeros_like(slow.dq) if fused.dq is None else fused.dq)
    np.testing.assert_allclose(slow.bins[:, ~constants.state.masked], fused.bins[:, ~constants.state.masked], rtol=1e-12, atol=1e-6)
    assert slow.first_bin == fused.first_bin
    np.testing.assert_allclose(slow.cube, fused.cube, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("instrument", INSTRUMENTS)
@pytest.mark.parametrize("chunk", [2, 26, 100])
def test_temporal_methods_do_not_see_the_chunks(dataset: Path, instrument: str, chunk: int) -> None:
    pipeline = Pipeline.from_profile("calib/nominal", TEMPORAL)
    other = pipeline(short(dataset, instrument).chunk(time=chunk * (12 if instrument == "FGS1" else 1))).compute()
    once = pipeline(short(dataset, instrument).chunk(time=-1)).compute()
    for name in ("cds_corrected", "photometry", "photometry_dq"):
        np.testing.assert_array_equal(other[name], once[name], err_msg=name)
    # a bin that a chunk's end divides is added up in two parts
    np.testing.assert_allclose(other["cds_binned"], once["cds_binned"], rtol=1e-12, atol=1e-7)


def short(root: Path, instrument: str) -> xr.Dataset:
    return visit(root, instrument).isel(time=slice(0, 2 * PAIRS[instrument]))


@pytest.fixture(scope="module")
def whole(dataset: Path) -> dict[str, xr.Dataset]:
    pipeline = Pipeline.from_profile("calib/nominal", TEMPORAL)
    assert pipeline.engine.halo == 16
    return {i: pipeline(visit(dataset, i, 100_000)).compute() for i in INSTRUMENTS}


@pytest.mark.parametrize("extra", ["calib.cds.mode=rolling_window", "calib.cds.temporal_filter.enabled=true"])
def test_other_halos_do_not_see_the_chunks(dataset: Path, extra: str) -> None:
    pipeline = Pipeline.from_profile(
        "calib/official", [extra, "calib.cds.temporal_filter.window_pairs=9", "output.cubes=full", "output.dtype=float64"]
    )
    assert pipeline.engine.halo > 0
    once, often = (pipeline(visit(dataset, "AIRS-CH0", n))["cds_corrected"].compute() for n in (100_000, 38))
    np.testing.assert_array_equal(often, once)


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_chained_stages_equal_the_general_path(dataset: Path, instrument: str, whole: dict[str, xr.Dataset]) -> None:
    pipeline = Pipeline.from_profile("calib/nominal", TEMPORAL)
    chained = pipeline.until("cds")(visit(dataset, instrument, 60)).compute()
    good = np.isfinite(whole[instrument]["cds_corrected"].to_numpy())
    np.testing.assert_allclose(
        chained["cds_corrected"].to_numpy()[good], whole[instrument]["cds_corrected"].to_numpy()[good], rtol=1e-12, atol=1e-9
    )
    series = pipeline.until("photometry")(visit(dataset, instrument, 60)).compute()
    np.testing.assert_allclose(series["photometry"], whole[instrument]["photometry"], rtol=1e-11)
    np.testing.assert_array_equal(series["photometry_dq"], whole[instrument]["photometry_dq"])


def test_sample_flags_reach_the_light_curve(dataset: Path) -> None:
    """A hit put on a bright pixel: JUMP_DET and FLUX_ESTIMATED in its column and pair, its flux repaired to 1 %."""
    ds = visit(dataset, "AIRS-CH0").load()
    # no masked pixel is filled elsewhere in this column
    clean = Pipeline.from_profile("calib/nominal", ["calib.dark.cosmic_rays.enabled=true"])(ds).compute()
    raw = ds["raw_frames"].to_numpy().copy()
    column, pair = 180, 40
    raw[2 * pair + 1, 15, column] += 20_000
    struck = Pipeline.from_profile("calib/nominal", ["calib.dark.cosmic_rays.enabled=true"])(
        ds.assign(raw_frames=(ds["raw_frames"].dims, raw))
    )
    channel = 320 - column
    flags = struck["photometry_dq"].compute().to_numpy()
    assert flags[pair, channel] & DQ.JUMP_DET
    assert flags[pair, channel] & DQ.FLUX_ESTIMATED
    assert (flags != clean["photometry_dq"].to_numpy()).sum() == 1
    ratio = struck["photometry"].compute().to_numpy()[pair, channel] / clean["photometry"].to_numpy()[pair, channel]
    assert abs(ratio - 1) < 0.01


@pytest.mark.parametrize("source", ["dataset", "store"])
def test_batch_equals_lazy(dataset: Path, store: Path, source: str, tmp_path: Path, whole: dict[str, xr.Dataset]) -> None:
    """Streaming with a halo from parquet and from Zarr, chunks of 30 pairs."""
    root = {"dataset": dataset, "store": store}[source]
    overrides = [*TEMPORAL, "runtime.scheduler=sync", "runtime.chunk_pairs=30"]
    done = calibrate(root, tmp_path / "run", overrides=overrides, planets=[planet_of(dataset)])
    assert not done.failed, done.failed[0].error
    products = dict(committed_products(tmp_path / "run" / "calibrated.zarr"))
    for instrument in INSTRUMENTS:
        name = next(n for n in products if n.endswith(f"{planet_of(dataset)}/1/{instrument}"))
        with open_product(products[name]) as product:
            np.testing.assert_array_equal(product["cds_corrected"], whole[instrument]["cds_corrected"])
            np.testing.assert_array_equal(product["photometry"], whole[instrument]["photometry"])


class Stored:
    """Frames in memory, in blocks that are used again."""

    def __init__(self, raw: np.ndarray) -> None:
        self.raw, self.n_frames = raw, len(raw)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.raw[start:stop]

    def blocks(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        buffer = np.empty((size, *self.raw.shape[1:]), self.raw.dtype)
        for start in range(0, self.n_frames, size):
            block = self.raw[start : start + size]
            buffer[: len(block)] = block
            yield start, buffer[: len(block)]


@pytest.mark.parametrize("halo", [0, 3, 8, 40])
@pytest.mark.parametrize("chunk", [1, 7, 10, 100])
def test_windows_cover_a_visit_once_with_their_halo(halo: int, chunk: int) -> None:
    raw = np.arange(66, dtype=np.uint16)[:, None, None]
    covered: list[int] = []
    for window in windows(Stored(raw), chunk, halo):
        covered += range(window.start, window.stop)
        low, high = max(0, window.start - halo), min(33, window.stop + halo)
        assert window.first == low
        np.testing.assert_array_equal(window.raw, raw[2 * low : 2 * high])
    assert covered == list(range(33))


def test_ordered_frames_give_the_order() -> None:
    raw = np.random.default_rng(0).integers(0, 60000, (20, 2, 3)).astype(np.uint16)
    order = np.random.default_rng(1).permutation(20)[:14]
    frames = OrderedFrames(Stored(raw), order)
    np.testing.assert_array_equal(frames.read(4, 10), raw[order][4:10])
    blocks = list(frames.blocks(4))
    np.testing.assert_array_equal(np.concatenate([b for _, b in blocks]), raw[order])
    assert [start for start, _ in blocks] == [0, 4, 8, 12]


def test_building_the_general_path_computes_nothing(dataset: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was computed while building")

    pipeline = Pipeline.from_profile("calib/nominal", [*TEMPORAL, "calib.cds.mode=rolling_window"])
    ds = visit(dataset, "FGS1")
    with dask.config.set(scheduler=refuse):
        pipeline(ds)
        pipeline.until("cds")(ds)


def test_strict_recovers_what_nominal_does(dataset: Path) -> None:
    """The same light curves but for repaired samples: white flux within 1e-4 in every pair but the few that were repaired."""
    tree: dict[str, Any] = compose("calib/strict", ["output.cubes=none"])
    strict = Pipeline(validate(tree))
    nominal = Pipeline.from_profile("calib/nominal", ["output.cubes=none"])
    for instrument in INSTRUMENTS:
        ds = visit(dataset, instrument)
        a, b = (p(ds)["photometry"].compute().to_numpy().sum(axis=1) for p in (strict, nominal))
        off = np.abs(a / b - 1) > 1e-4
        print(f"{instrument}: {off.sum()} of {off.size} pairs repaired")
        assert off.mean() < 0.02
