"""Digits do not depend on how a visit is cut into chunks: sums over time are exact, and every frame is measured by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from v50calib import Pipeline, open_visit
from v50calib.engine.constants import VisitConstants, sum_grain
from v50calib.engine.engine import Engine
from v50calib.engine.result import ChunkResult, assemble_bins, bin_sums
from v50calib.engine.visit import visit_input
from v50calib.io import scan
from v50calib.kernels.products import row_products
from v50calib.stages.photometry.weight_maps import Sums, joined

RNG = np.random.default_rng(5)
#: several pairs to a bin, and the digits that a product in float32 would round away
COARSE = ["output.cubes=both", "output.dtype=float64"]
BIN_S = {"AIRS-CH0": 6000, "FGS1": 400}
CASES = {
    "one pass": ("AIRS-CH0", []),
    "one pass of a band": ("FGS1", []),
    "step by step": ("AIRS-CH0", ["calib.dark.cosmic_rays.enabled=true"]),
    "a fitted PSF": ("FGS1", ["calib.photometry.photometry.method=psf", "calib.photometry.centroid.method=quadratic"]),
    "a surface and a moving aperture": (
        "FGS1",
        [
            "calib.photometry.background.method=poly2d",
            "calib.photometry.background.robust.sigma_clip=4",
            "calib.photometry.aperture.recenter_on_centroid=true",
        ],
    ),
}


def chunks(engine: Engine, constants: VisitConstants, raw: np.ndarray, length: int) -> list[ChunkResult]:
    n, out = len(raw) // 2, []
    for start in range(0, n, length):
        stop = min(n, start + length)
        low, high = max(0, start - engine.halo), min(n, stop + engine.halo)
        out.append(engine.run_chunk(constants, raw[2 * low : 2 * high], low, (start, stop)))
    return out


@pytest.mark.parametrize("case", [pytest.param(name, marks=pytest.mark.slow) if "surface" in name else name for name in CASES])
def test_chunks_do_not_change_a_digit(dataset: Path, case: str) -> None:
    instrument, overrides = CASES[case]
    engine = Pipeline.from_profile("calib/nominal", [*COARSE, f"output.bin_s={BIN_S[instrument]}", *overrides]).engine
    ds = open_visit(dataset, scan(dataset)[0].planet_id, 0, instrument).isel(time=slice(0, 100)).load()
    raw = ds["raw_frames"].to_numpy()
    constants = engine.prepare(engine.order(visit_input(ds))[0], lambda a, b: raw[a:b])
    assert constants.n_bins > 1
    assert constants.pair_bins.tolist().count(0) > 2
    whole = chunks(engine, constants, raw, 50)
    for length in (1, 2, 7, 20):
        parts = chunks(engine, constants, raw, length)
        for name in ("columns", "totals"):
            one, other = (getattr(joined([_sums(r) for r in results]), name) for results in (whole, parts))
            assert one.tobytes() == other.tobytes(), (length, name)
        one, other = (assemble_bins(results, constants.n_bins, constants.shape) for results in (whole, parts))
        assert np.where(constants.state.masked, 0, one).tobytes() == np.where(constants.state.masked, 0, other).tobytes(), length
        one, other = (np.concatenate([r.cube for r in results if r.cube is not None]) for results in (whole, parts))
        assert one.tobytes() == other.tobytes(), length


def _sums(result: ChunkResult) -> Sums:
    assert result.sums is not None
    return result.sums


def test_sums_of_rounded_values_are_exact_in_any_order() -> None:
    """Against integers: what is added is a whole number of grains."""
    values = RNG.lognormal(5.0, 3.0, (200, 3, 4)) * RNG.choice([-1, 1], (200, 3, 4))
    grain = sum_grain(np.abs(values).mean(axis=0), 200)
    whole = bin_sums(values, np.zeros(200, np.int64), grain)[1]
    shuffled = bin_sums(RNG.permutation(values), np.zeros(200, np.int64), grain)[1]
    assert whole.tobytes() == shuffled.tobytes()
    counted = sum(np.round(value / grain).astype(np.int64) for value in values) * grain
    assert whole[0].tobytes() == counted.tobytes()
    np.testing.assert_allclose(whole[0], values.sum(axis=0), rtol=0, atol=200 * grain)


@pytest.mark.parametrize(("k", "n"), [(1024, 1), (1024, 3), (5, 1024)])
def test_a_row_by_itself_has_the_digits_it_has_among_others(k: int, n: int) -> None:
    a, b = RNG.standard_normal((37, k)), RNG.standard_normal((k, n))
    whole = row_products(a, b)
    np.testing.assert_allclose(whole, a @ b, rtol=1e-12, atol=1e-11)
    assert whole.tobytes() == np.concatenate([row_products(a[i : i + 1], b) for i in range(37)]).tobytes()
