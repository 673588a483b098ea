"""Trends in time: every method keeps a masked transit, an unmasked filter eats it, targets, clips, exclusions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stage_curves import SHAPE, TIME, found, make

from v50calib.config.models import CalibConfig
from v50calib.engine.depths import transit_depths
from v50calib.engine.series import whitened
from v50calib.errors import ConfigError
from v50calib.kernels.transit import Model, Shape
from v50calib.stages.phase.ephemeris import EphemerisConfig
from v50calib.stages.series.curves import Ephemeris, Normalized, Series
from v50calib.stages.trace.config import TraceConfig
from v50calib.stages.trace.stage import Trace

SLOW = 1 + 1.5e-3 * np.sin(TIME / 1.6) + 5e-4 * (TIME / 7.5) ** 3


def run(curves: Series, **time: Any) -> tuple[Ephemeris, Normalized, float, float]:
    """Ephemeris after the trace, normalized curves, mean channel depth and its error."""
    config = TraceConfig.model_validate({"along_time": time})
    ephemeris = found(curves, trace=config)
    normalized = Trace(config).apply(curves, ephemeris)
    if normalized.refit_white or config.along_time.decorrelate.common_mode:
        ephemeris, normalized = whitened(curves, normalized, ephemeris, config)
    depths = transit_depths(curves, normalized, ephemeris, CalibConfig.model_validate({"trace": {"along_time": time}}))
    assert depths is not None
    return ephemeris, normalized, float(depths.depth.mean()), float(depths.sigma.mean())


METHODS: list[dict[str, Any]] = [
    {"method": "poly", "poly": {"degree": 4}},
    {"method": "spline", "spline": {"knots": 2}},
    {"method": "savgol", "savgol": {"window_h": 1.5}},
    {"method": "biweight", "biweight": {"window_h": 1.5}},
    {"method": "highpass", "highpass": {"window_frames": 301}},
    {"method": "gp"},
]


@pytest.mark.parametrize("choice", METHODS, ids=lambda c: c["method"])
def test_a_slow_trend_goes_and_the_transit_stays(choice: dict[str, Any]) -> None:
    """A sine of 1500 ppm: out of transit its rest is below 150 ppm. The linear methods know their own ignorance and are
    within 4 sigma; a filter's straight bridge errs by the trend's bow under the transit, here up to 3 %."""
    curves = make(7, factor=SLOW)
    ephemeris, normalized, depth, sigma = run(curves, **choice)
    residual = normalized.flux.mean(axis=1) - Model(TIME, 0.0)(SHAPE)
    outside = normalized.out_of_transit
    smooth = residual[outside][: outside.sum() // 20 * 20].reshape(-1, 20).mean(axis=1)
    assert smooth.std() < 1.5e-4
    allowed = 4 * sigma if choice["method"] in ("poly", "spline") else 4 * sigma + 0.03 * SHAPE.k**2
    assert depth == pytest.approx(SHAPE.k**2, abs=allowed)
    assert ephemeris.depth == pytest.approx(SHAPE.k**2, abs=4 * ephemeris.depth_sigma + 0.03 * SHAPE.k**2)


@pytest.mark.parametrize("choice", METHODS[2:5], ids=lambda c: c["method"])
def test_no_trend_no_loss(choice: dict[str, Any]) -> None:
    curves = make(8, noise=2e-4)
    ephemeris, _, depth, sigma = run(curves, **choice)
    assert depth == pytest.approx(SHAPE.k**2, abs=4 * sigma)
    assert ephemeris.depth == pytest.approx(SHAPE.k**2, abs=4 * ephemeris.depth_sigma)


def test_an_unmasked_savgol_of_three_durations_halves_the_depth_and_warns() -> None:
    """The hazard of SCIENCE (5107 of 10000 ppm), through the stage: a window of 3 T14, asked for."""
    shape = Shape(t0=3.75, period=96.0, a=15.6, b=0.2, k=0.1, u1=0.15, u2=0.2)
    curves = make(9, shape=shape, noise=2e-4, coupling=0.0)
    curves = Series(**{**vars(curves), "star": {"P": 4.0, "sma": 15.6, "i": 89.27, "Ts": 5500.0}})
    off = {"enabled": False}
    long = {"window_h": 3 * shape.duration}
    _, naive, _, _ = run(curves, method="savgol", savgol=long, mask_transit=False, poly={"degree": 0}, decorrelate=off)
    _, masked, depth, sigma = run(curves, method="savgol", savgol=long, poly={"degree": 0}, decorrelate=off)
    middle, far = np.abs(TIME - 3.75) < 0.6, np.abs(TIME - 3.75) > 1.1
    truth = 1 - Model(TIME, 0.0)(shape)[middle].mean()

    def dip(normalized: Normalized) -> float:
        white = normalized.flux.mean(axis=1)
        return 1 - white[middle].mean() / white[far].mean()

    assert any("mask_transit=false" in n for n in naive.notes)
    # the bridge over the masked transit is said, and nothing else
    (note,) = masked.notes
    assert "in no depth's error" in note
    assert dip(naive) == pytest.approx(0.51 * truth, rel=0.15)
    assert dip(masked) == pytest.approx(truth, rel=0.02)
    assert depth == pytest.approx(0.01, abs=4 * sigma)


FILTERS = {"savgol": "window_h", "biweight": "window_h", "highpass": "window_frames"}


@pytest.mark.parametrize("method", FILTERS)
def test_a_window_longer_than_the_visit_is_refused(method: str) -> None:
    longer = 7.6 if FILTERS[method] == "window_h" else 1520
    with pytest.raises(ConfigError, match=rf"along_time.{method}.{FILTERS[method]} is a window of 7.[56]\d* h, and the visit lasts 7.48 h"):
        run(make(19), method=method, **{method: {FILTERS[method]: longer}})


@pytest.mark.parametrize(("method", "left"), [("savgol", 0.05), ("biweight", 0.45), ("highpass", 0.35)])
def test_a_default_window_follows_a_bow_and_says_what_it_is(method: str, left: float) -> None:
    """3 T14 are 9.3 h in a visit of 7.5 h. A bow of 500 ppm: a window of the visit's length would leave 75-100 %."""
    bow = 5e-4 * (2 * TIME / 7.5 - 1) ** 2
    curves = make(20, factor=1 + bow, noise=5e-5, coupling=0.0)
    _, normalized, _, _ = run(curves, method=method, decorrelate={"enabled": False})
    outside, scaled = normalized.out_of_transit, 2 * TIME / 7.5 - 1
    rest = (normalized.flux.mean(axis=1) - Model(TIME, 0.0)(SHAPE))[outside]
    assert abs(np.polyfit(scaled[outside], rest, 2)[0]) < left * 5e-4
    (note,) = normalized.notes
    assert note.startswith(f"along_time: {method} with a window of 2.49 h, a third of the visit's 7.48 h, in place of 3 T14 = 9.")
    assert "bridged by a straight line, whose error under a bow is in no depth's error" in note


def test_a_window_that_sees_the_transit_keeps_its_length_and_says_that_it_follows_nothing() -> None:
    _, normalized, _, _ = run(make(21), method="biweight", mask_transit=False)
    assert any("all of the visit's 7.48 h, in place of 3 T14" in n and "follows next to no trend" in n for n in normalized.notes)


@pytest.mark.parametrize("method", ["auto", "spline"])
def test_subtract_and_divide_differ_by_the_dip_times_the_trend(method: str) -> None:
    curves = make(11, factor=1 + 0.02 * (TIME - 3.8))
    _, divided, depth, sigma = run(curves, method=method)
    config = {"method": method, "target": "subtract"}
    _, subtracted, _, _ = run(curves, **config)
    level = divided.baseline[divided.out_of_transit].mean(axis=0)
    np.testing.assert_allclose(subtracted.flux - 1, (divided.flux - 1) * divided.baseline / level, atol=1e-9)
    assert depth == pytest.approx(SHAPE.k**2, abs=4 * sigma)


def test_subtract_recovers_the_depth_under_an_additive_trend() -> None:
    """Stray light that grows does not dim with the star: 4 % of the level over the visit."""
    curves = make(12, noise=2e-4, coupling=0.0)
    level = np.linspace(1e4, 1e5, 6)
    curves = Series(**{**vars(curves), "flux": curves.flux + level * (0.02 * (TIME - 3.75) / 3.75)[:, None]})
    ephemeris, _, depth, sigma = run(curves, target="subtract")
    assert depth == pytest.approx(SHAPE.k**2, abs=4 * sigma)
    assert ephemeris.depth == pytest.approx(SHAPE.k**2, abs=4 * ephemeris.depth_sigma)


def test_robust_clip_keeps_spoiled_pairs_out_of_the_baseline() -> None:
    factor = np.ones_like(TIME)
    factor[20:40] = 1.02
    curves = make(13, factor=factor)
    _, plain, _, _ = run(curves)
    _, clipped, _, _ = run(curves, robust={"max_iters": 5})
    _, clean, _, _ = run(make(13))
    worst = [np.abs(n.baseline / clean.baseline - 1)[60:].max() for n in (plain, clipped)]
    assert worst[1] < 0.2 * worst[0]


def test_excluded_windows_take_no_part() -> None:
    factor = np.where(TIME < 0.6, 1.01, 1.0)
    curves = make(14, factor=factor)
    config = TraceConfig.model_validate({"exclude": {"windows": [[0, 0.6]]}})
    used = config.used_pairs(TIME)
    assert used is not None
    cut = Series(**{**vars(curves), "used": used})
    ephemeris = found(cut, trace=config)
    normalized = Trace(config).apply(cut, ephemeris)
    assert not normalized.out_of_transit[TIME < 0.6].any()
    assert normalized.flux[normalized.out_of_transit].mean() == pytest.approx(1.0, abs=1e-4)
    assert normalized.flux[TIME < 0.55].mean() == pytest.approx(1.01, abs=1e-3)
    assert abs(ephemeris.depth - SHAPE.k**2) < 4 * ephemeris.depth_sigma
    assert abs(found(curves).depth - SHAPE.k**2) > 5 * abs(ephemeris.depth - SHAPE.k**2)
    with pytest.raises(ConfigError, match="exclude less"):
        TraceConfig.model_validate({"exclude": {"windows": [[0, 8]]}}).used_pairs(TIME)


def test_given_mid_time_is_held_everywhere() -> None:
    """Given 3 min late: white fit and spectral fit keep that time; a free fit moves back."""
    curves = make(15, noise=2e-4)
    config = EphemerisConfig(source="given", t0_h=SHAPE.t0 + 0.05, duration_h=SHAPE.duration)
    ephemeris = found(curves, config)
    depths = transit_depths(curves, Trace(TraceConfig()).apply(curves, ephemeris), ephemeris, CalibConfig())
    assert depths is not None
    assert depths.shape.t0 == pytest.approx(SHAPE.t0 + 0.05, abs=1e-7)
    assert (ephemeris.t0_h, ephemeris.t0_sigma_h) == (SHAPE.t0 + 0.05, 0.0)
    assert found(curves).t0_h == pytest.approx(SHAPE.t0, abs=0.005)


@pytest.mark.parametrize(("t0", "duration_a", "least"), [(0.3, 9.0, 1.2), (7.2, 9.0, 1.2), (3.7, 3.3, 1.2), (8.4, 9.0, 1.2)])
def test_incomplete_transits_have_honest_errors(t0: float, duration_a: float, least: float) -> None:
    """Egress or ingress only, T14 longer than the visit, a tail of an ingress: found with a larger error, or not found."""
    complete = found(make(16, shape=Shape(3.7, 84.0, 9.0, 0.2, 0.11, 0.15, 0.2)))
    shape = Shape(t0, 84.0, duration_a, 0.2, 0.11, 0.15, 0.2)
    curves = make(16, shape=shape)
    curves = Series(
        **{**vars(curves), "star": {"P": 3.5, "sma": duration_a, "i": float(np.degrees(np.arccos(0.2 / duration_a))), "Ts": 5500.0}}
    )
    ephemeris = found(curves)
    normalized = Trace(TraceConfig()).apply(curves, ephemeris)
    assert np.isfinite(normalized.flux).all()
    if ephemeris.source == "none":
        assert np.isnan(ephemeris.depth)
        return
    assert ephemeris.depth_sigma > least * complete.depth_sigma
    assert abs(ephemeris.depth - shape.k**2) < 4 * ephemeris.depth_sigma


def test_given_where_nothing_stands_out_is_fitted_and_may_come_out_near_zero() -> None:
    curves = make(17, shape=None)
    ephemeris = found(curves, EphemerisConfig(source="given", t0_h=3.8, duration_h=3.0))
    assert ephemeris.source == "given"
    assert ephemeris.depth < 4 * ephemeris.depth_sigma
    depths = transit_depths(curves, Trace(TraceConfig()).apply(curves, ephemeris), ephemeris, CalibConfig())
    assert depths is not None
    assert (depths.depth < 0).any()
    assert np.abs(depths.depth / depths.sigma).max() < 4.5


def test_given_off_the_visit_has_no_depth() -> None:
    ephemeris = found(make(18), EphemerisConfig(source="given", t0_h=30.0, duration_h=3.0))
    assert np.isnan(ephemeris.depth)
