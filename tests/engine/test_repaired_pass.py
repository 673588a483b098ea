"""The compiled pass with repairs in time against the stages' own steps: every digit of sums, flags, bins and cube, whatever stands off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from v50calib import Pipeline, open_visit
from v50calib.engine import chunk as chunks
from v50calib.engine import repaired_pass
from v50calib.engine.constants import VisitConstants
from v50calib.engine.engine import Engine
from v50calib.engine.repaired_pass import repairs_of
from v50calib.engine.result import ChunkResult, joined_cubes
from v50calib.engine.visit import visit_input
from v50calib.io import scan

PAIRS = 50
LOW = {
    "dark.cosmic_rays.sigma_threshold": 4, "dark.cosmic_rays.max_replace_fraction": 1, "cds.robust.sigma_clip.sigma": 3,
    "cds.robust.outlier_replace.threshold_sigma": 3, "cds.robust.outlier_replace.max_replace_fraction": 1,
}  # fmt: skip
CASES: dict[str, list[str]] = {
    "as the profile has it": [],
    "hits by the median, one pass of the clip": [
        "calib.dark.cosmic_rays.replace_mode=median",
        "calib.cds.robust.outlier_replace.mode=median",
        "calib.cds.robust.sigma_clip.max_iters=1",
    ],
    "flags alone": ["calib.dark.cosmic_rays.replace_mode=none", "calib.cds.robust.outlier_replace.enabled=false"],
    "hits alone": ["calib.cds.robust.outlier_replace.enabled=false", "calib.cds.robust.sigma_clip.enabled=false"],
    "no flat, float64": ["calib.flat.enabled=false", "output.dtype=float64"],
    "low limits": [f"calib.{key}={value}" for key, value in LOW.items()],
    "the dark's own offset": ["calib.dark.pedestal.enabled=true", "calib.dark.pedestal.fixed_value=3.5"],
}


def struck(raw: np.ndarray, seed: int) -> np.ndarray:
    """Codes with hits in single reads, in both reads of a ramp, drops, ends of the converter, and neighbours that are hit too."""
    rng = np.random.default_rng(seed)
    out = raw.astype(np.int64)
    n, ny, nx = out.shape
    for _ in range(300):
        i, y, x = (int(rng.integers(size)) for size in (n, ny, nx))
        out[i : i + int(rng.integers(1, 4)), y, x] += int(rng.choice([300, 2000, 20000, -700, -65535]))
    for i in (0, 1, n - 2, n - 1):
        out[i, rng.integers(ny), rng.integers(nx)] += 5000
    return np.clip(out, 0, 65535).astype(np.uint16)


def prepared(dataset: Path, instrument: str, overrides: list[str]) -> tuple[Engine, VisitConstants, np.ndarray]:
    overrides = ["output.cubes=both", "output.bin_s=400", *(f"calib.{s}.quality_checks.enabled=false" for s in ("adc", "cds")), *overrides]
    engine = Pipeline.from_profile("calib/strict", overrides).engine
    ds = open_visit(dataset, scan(dataset)[0].planet_id, 0, instrument).isel(time=slice(0, 2 * PAIRS)).load()
    raw = ds["raw_frames"].to_numpy()
    return engine, engine.prepare(engine.order(visit_input(ds))[0], lambda a, b: raw[a:b]), raw


def both(
    engine: Engine, constants: VisitConstants, raw: np.ndarray, keep: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> list[ChunkResult]:
    """The chunk by the compiled pass, and stage by stage."""
    with monkeypatch.context() as patch:
        compiled = engine.run_chunk(constants, raw, 0, keep)
        patch.setattr(chunks, "repairs_of", lambda plan: None)
        return [compiled, engine.run_chunk(constants, raw, 0, keep)]


def assert_same(one: ChunkResult, other: ChunkResult) -> None:
    assert (one.start, one.first_bin) == (other.start, other.first_bin)
    assert one.sums is not None
    assert other.sums is not None
    assert other.dq is not None
    flags = np.zeros_like(other.dq) if one.dq is None else one.dq
    pairs = {
        "columns": (one.sums.columns, other.sums.columns), "totals": (one.sums.totals, other.sums.totals), "flags": (flags, other.dq),
        "bins": (one.bins, other.bins), "cube": (one.cube, other.cube), "prints": (one.prints, other.prints),
    }  # fmt: skip
    for name, (a, b) in pairs.items():
        assert a is not None, name
        assert b is not None, name
        assert a.shape == b.shape, name
        assert a.dtype == b.dtype, name
        assert a.tobytes() == b.tobytes(), name


@pytest.mark.parametrize("instrument", ["AIRS-CH0", "FGS1"])
@pytest.mark.parametrize("case", CASES)
def test_every_digit_is_that_of_the_stages(dataset: Path, instrument: str, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, constants, raw = prepared(dataset, instrument, CASES[case])
    assert repairs_of(constants.plan) is not None
    tried: list[ChunkResult | None] = []
    real = chunks.repaired_pass
    monkeypatch.setattr(chunks, "repaired_pass", lambda *args: tried.append(real(*args)) or tried[-1])
    for seed, keep, tile in ((1, (0, PAIRS), 512), (2, (20, 41), 512), (3, (3, 50), 7)):
        monkeypatch.setattr(repaired_pass, "TILE_PAIRS", tile)
        compiled, stepwise = both(engine, constants, struck(raw, seed), keep, monkeypatch)
        assert compiled.dq is not None
        assert_same(compiled, stepwise)
    assert any(result is not None for result in tried)


def test_a_frame_with_too_many_hits_goes_stage_by_stage(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, constants, raw = prepared(dataset, "AIRS-CH0", [])
    raw = raw.copy()
    raw[41, :16] += 20000
    repairs = repairs_of(constants.plan)
    assert repairs is not None
    assert repaired_pass.repaired_pass(constants, repairs, raw, 0, (0, PAIRS), engine.wanted) is None
    assert_same(*both(engine, constants, raw, (0, PAIRS), monkeypatch))


@pytest.mark.parametrize(
    "override",
    [
        "calib.dark.cosmic_rays.grow_radius_px=1", "calib.dark.bad_pixel_handling.replace.mode=median8",
        "calib.cds.temporal_filter.enabled=true", "calib.cds.cds.mode=rolling_window",
    ],
)  # fmt: skip
def test_what_the_pass_does_not_do_is_left_to_the_stages(dataset: Path, override: str) -> None:
    _, constants, _ = prepared(dataset, "FGS1", [override])
    assert repairs_of(constants.plan) is None


def test_chunks_write_into_one_cube(dataset: Path) -> None:
    engine, constants, raw = prepared(dataset, "FGS1", [])
    whole = engine.whole_cube(constants)
    assert whole is not None
    parts = [engine.run_chunk(constants, raw[2 * a : 2 * b], a, (a, b), whole) for a, b in ((30, 50), (0, 30))]
    assert joined_cubes(parts) is whole
    alone = [engine.run_chunk(constants, raw[2 * a : 2 * b], a, (a, b)) for a, b in ((0, 30), (30, 50))]
    np.testing.assert_array_equal(joined_cubes(alone), whole)
