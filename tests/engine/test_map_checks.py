"""Wrong dark and flat maps and curved backgrounds are told in a visit's checks; right ones are not."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray

from v50calib import Pipeline
from v50calib.dq import DQ
from v50calib.engine.engine import Engine
from v50calib.engine.visit import VisitInput
from v50calib.errors import DataError
from v50calib.kernels.background_shape import across_spectrum, beside_star
from v50calib.qc.distrust import judge
from v50calib.reference import make_reference
from v50calib.schema import INSTRUMENT
from v50calib.simulate import REALISTIC, SimConfig, effects, make_scene
from v50calib.simulate.visit import InstrumentVisit, Scene, simulate_instrument
from v50calib.stages.tile import VisitState

Map = NDArray[np.float64]
Change = Callable[[Map], Map]


@lru_cache(maxsize=2)
def simulated(instrument: str, background: float) -> tuple[Scene, InstrumentVisit]:
    """A short visit with right maps."""
    config = SimConfig(**{**REALISTIC, "seed": 5, "frames_fraction": 0.004, "background_e_s": (background, 5.0)})
    scene = make_scene(config)
    return scene, simulate_instrument(scene, "AIRS-CH0" if instrument == "AIRS-CH0" else "FGS1")


def prepared(
    *, dark: Change = np.asarray, flat: Change = np.asarray, instrument: str = "AIRS-CH0", background: float = 0.5
) -> VisitState:  # fmt: skip
    """What the stages learn of a short simulated visit whose maps are changed after the frames were made."""
    scene, made = simulated(instrument, background)
    maps = {n: getattr(made.maps, n) for n in ("dead", "read", "linear_corr")}
    maps |= {"dark": dark(made.maps.dark), "flat": flat(made.maps.flat)}
    reads = len(made.frames)
    visit = VisitInput(
        instrument=INSTRUMENT[instrument],
        reference=make_reference(maps, scene.adc_offset, scene.adc_gain),
        exposure_s=np.tile(np.asarray(made.axis.read_s), reads // 2),
        time_h=np.arange(reads) * 1e-3,
        wavelength_um=np.linspace(3.9, 1.9, 356) if instrument == "AIRS-CH0" else np.array([0.7]),
        in_pairs=True,
    )
    engine = Engine(Pipeline.from_profile("calib/nominal").config)
    return engine.prepare(visit, lambda start, stop: np.ascontiguousarray(made.frames[start:stop])).state


def reasons(state: VisitState) -> set[str]:
    """Rules of distrust that the checks break."""
    return {r.key for r in judge(state.checks, transit_found=True).reasons}


def with_some(value: float, share: float) -> Change:
    """A map with `value` at random pixels."""

    def change(rate: Map) -> Map:
        return np.where(np.random.default_rng(3).random(rate.shape) < share, value, rate)

    return change


@pytest.mark.parametrize("instrument", ["AIRS-CH0", "FGS1"])
def test_right_maps_break_no_rule(instrument: str) -> None:
    assert reasons(prepared(instrument=instrument)) == set()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda rate: 10.0 * rate, "dark_off"),
        (lambda rate: rate[::-1], "dark_off"),
        (lambda rate: -rate, "dark_negative"),
        (lambda rate: rate + 100.0, "negative_light"),
    ],
    ids=["ten-times", "another-detector's", "wrong-sign", "offset"],
)
def test_a_wrong_dark_map_is_told(change: Change, rule: str) -> None:
    assert rule in reasons(prepared(dark=change))


def test_negative_darks_are_not_hot_and_not_used() -> None:
    state = prepared(dark=with_some(-1000.0, 0.01))
    wrong = (state.pixel_dq & np.uint32(DQ.UNRELIABLE_DARK)) != 0
    assert 60 < wrong.sum() < 180
    assert state.masked[wrong].all()
    assert ((state.pixel_dq[wrong] & np.uint32(DQ.DO_NOT_USE)) != 0).all()
    assert ((state.pixel_dq[wrong] & np.uint32(DQ.HOT)) == 0).all()
    assert state.dark_rate.min() >= 0
    assert any("negative dark current, down to -1e+03" in note for note in state.notes)
    assert "dark_negative" in reasons(state)


def test_a_dark_map_that_is_negative_all_over_is_refused() -> None:
    with pytest.raises(DataError, match=r"map 'dark' is negative .* on 100% of the pixels, its median is -1e\+03 e-/s"):
        prepared(dark=lambda rate: 0.0 * rate - 1000.0)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_flat_with_a_gradient_is_told(axis: int) -> None:
    def tilted(flat: Map) -> Map:
        ramp = np.linspace(1.0, 2.0, flat.shape[axis])
        return flat * (ramp[:, None] if axis == 0 else ramp)

    assert "flat_gradient" in reasons(prepared(flat=tilted))


@pytest.mark.parametrize(("rows", "told"), [(0.3, True), (-0.3, True), (0.0, False)])
def test_a_curved_background_is_told(monkeypatch: pytest.MonkeyPatch, rows: float, told: bool) -> None:
    def curved(_: object, shape: tuple[int, int]) -> Map:
        return rows * (np.linspace(-1.0, 1.0, shape[0])[:, None] ** 2 - 1 / 3) * np.ones(shape)

    simulated.cache_clear()
    monkeypatch.setattr(effects.BackgroundTilt, "relative", curved)
    assert ("background_shape" in reasons(prepared(background=200.0))) == told


def test_shapes_that_cannot_be_told_are_left_out() -> None:
    frame, good = np.ones((6, 40)), np.zeros((6, 40), bool)
    assert across_spectrum(frame, frame, good, 2.0) is None
    assert beside_star(frame, frame, ~good, (3.0, 20.0), 10.0) is None


def test_columns_that_are_all_lit_tell_no_background() -> None:
    rows = np.arange(32.0)[:, None]
    frame = 1e4 * np.exp(-0.5 * (rows - 16.0) ** 2) * np.ones(100)
    assert across_spectrum(frame, frame + 1.0, np.zeros(frame.shape, bool), 8.0) is None
