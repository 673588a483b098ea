"""Trace and phase on light curves made here: baselines, masks, given ephemeris, no transit, missing channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from v50calib.config.models import CalibConfig
from v50calib.dq import DQ
from v50calib.kernels.transit import Model, Shape
from v50calib.stages.phase.config import PhaseConfig
from v50calib.stages.phase.ephemeris import EphemerisConfig, resolve_ephemeris
from v50calib.stages.phase.stage import Phase
from v50calib.stages.series.curves import Ephemeris, Series
from v50calib.stages.series.time_bins import TimeBins
from v50calib.stages.trace.config import TraceConfig
from v50calib.stages.trace.stage import Trace, search_model

RNG = np.random.default_rng(21)
TIME = np.linspace(0.01, 7.49, 1500)
SHAPE = Shape(t0=3.8, period=84.0, a=9.0, b=0.2, k=0.11, u1=0.15, u2=0.2)
STAR = {"P": 3.5, "sma": 9.1, "i": 88.8, "Ts": 5500.0}


def series(
    *, depth: bool = True, channels: int = 6, noise: float = 5e-4, jitter: float = 0.1, coupling: float = 0.02, slope: float = 1e-3
) -> Series:
    transit = Model(TIME, 0.0)(SHAPE) if depth else np.ones_like(TIME)
    x, y = jitter * RNG.standard_normal((2, TIME.size)) + 0.05 * np.sin(TIME)
    level = np.linspace(1e4, 1e5, channels)
    flux = level * transit[:, None] * (1 + coupling * (x + y**2) + slope * (TIME - 3))[:, None]
    flux = flux * (1 + noise * RNG.standard_normal(flux.shape))
    return Series(
        time_h=TIME, flux=flux, var=(noise * level) ** 2 * np.ones_like(flux), dq=np.zeros(flux.shape, np.uint32), x=x, y=y,
        wavelength_um=np.linspace(2.0, 3.9, channels), star=STAR, slow_var=np.zeros(channels),
    )  # fmt: skip


def found(curves: Series, config: EphemerisConfig | None = None, trace: TraceConfig | None = None) -> Ephemeris:
    return resolve_ephemeris(curves, config or EphemerisConfig(), search_model(curves, trace or TraceConfig()))


def test_ephemeris_is_found_without_any_given() -> None:
    ephemeris = found(series())
    assert ephemeris.source == "fit"
    assert ephemeris.t0_h == pytest.approx(SHAPE.t0, abs=5 * ephemeris.t0_sigma_h)
    assert ephemeris.duration_h == pytest.approx(SHAPE.duration, abs=0.02)
    assert ephemeris.depth == pytest.approx(SHAPE.k**2, abs=4 * ephemeris.depth_sigma)


def test_no_transit_is_said_and_everything_counts_as_out_of_transit() -> None:
    curves = series(depth=False)
    ephemeris = found(curves)
    assert ephemeris.source == "none"
    assert Trace(TraceConfig()).apply(curves, ephemeris).out_of_transit.all()


def test_given_ephemeris_stands_and_depth_is_fitted_all_the_same() -> None:
    ephemeris = found(series(), EphemerisConfig(source="given", t0_h=3.79, duration_h=3.2))
    assert (ephemeris.source, ephemeris.t0_h, ephemeris.duration_h) == ("given", 3.79, 3.2)
    assert ephemeris.depth == pytest.approx(SHAPE.k**2, abs=4 * ephemeris.depth_sigma)


def test_trace_removes_trend_and_pointing_and_keeps_the_transit() -> None:
    """Oracle: the injected transit itself; residuals must be the injected white noise."""
    curves = series()
    normalized = Trace(TraceConfig()).apply(curves, found(curves))
    residual = normalized.flux - Model(TIME, 0.0)(SHAPE)[:, None]
    assert np.abs(residual.mean(axis=0)).max() < 6e-5
    np.testing.assert_allclose(residual.std(axis=0), 5e-4, rtol=0.1)
    np.testing.assert_allclose(normalized.var, curves.var / normalized.baseline**2, rtol=1e-12)
    raw = curves.flux / np.median(curves.flux[normalized.out_of_transit], axis=0) - Model(TIME, 0.0)(SHAPE)[:, None]
    assert raw.std() > 3 * residual.std()


def test_without_along_time_only_the_level_is_divided_out() -> None:
    curves = series(coupling=0.0, slope=0.0)
    config = TraceConfig.model_validate({"along_time": {"enabled": False}})
    ephemeris = found(curves, trace=config)
    assert ephemeris.t0_h == pytest.approx(SHAPE.t0, abs=0.02)
    normalized = Trace(config).apply(curves, ephemeris)
    assert np.ptp(normalized.baseline, axis=0).max() == 0
    outside = normalized.out_of_transit
    np.testing.assert_allclose(normalized.baseline[0], np.median(curves.flux[outside], axis=0), rtol=1e-12)


def test_unmasked_trend_takes_part_of_the_transit_and_says_so() -> None:
    curves = series()
    config = TraceConfig.model_validate({"along_time": {"mask_transit": False, "poly": {"degree": 4}}})
    normalized = Trace(config).apply(curves, found(curves))
    assert any("mask_transit=false" in n for n in normalized.notes)
    middle = np.abs(TIME - SHAPE.t0) < 0.5
    assert 1 - normalized.flux[middle].mean() < 0.8 * SHAPE.k**2


def test_too_few_pairs_out_of_transit_fall_back_to_a_level_and_say_so() -> None:
    curves = series()
    long = Ephemeris(3.8, 7.45, 84.0, "given")
    normalized = Trace(TraceConfig()).apply(curves, long)
    assert any("lie out of transit" in n for n in normalized.notes)
    assert np.ptp(normalized.baseline, axis=0).max() == 0


def test_a_lost_channel_stays_nan_and_alone() -> None:
    curves = series()
    curves.flux[:, 2] = np.nan
    ephemeris = found(curves)
    normalized = Trace(TraceConfig()).apply(curves, ephemeris)
    assert np.isnan(normalized.flux[:, 2]).all()
    assert np.isfinite(np.delete(normalized.flux, 2, axis=1)).all()
    folded = Phase(PhaseConfig()).apply(curves, normalized, ephemeris)
    assert (folded.dq[:, 2] == DQ.DO_NOT_USE).all()
    assert np.isnan(folded.flux[:, 2]).all()


def test_phase_bins_average_and_carry_the_variance_of_a_mean() -> None:
    curves = series(coupling=0.0)
    ephemeris = found(curves)
    normalized = Trace(TraceConfig()).apply(curves, ephemeris)
    config = PhaseConfig.model_validate({"binning": {"nbins": 100}, "outliers": {"replace_with": "none"}})
    folded = Phase(config).apply(curves, normalized, ephemeris)
    np.testing.assert_allclose(folded.flux, normalized.flux.reshape(100, 15, -1).mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(folded.var, normalized.var.reshape(100, 15, -1).mean(axis=1) / 15, rtol=1e-12)
    assert (folded.count == 15).all()
    assert folded.phase[np.argmin(np.abs(TIME - ephemeris.t0_h))] == pytest.approx(0, abs=1e-4)
    assert folded.in_transit.sum() == (np.abs(TIME - ephemeris.t0_h) <= ephemeris.duration_h / 2).sum()


def test_bins_with_too_few_points_are_nan_and_flagged() -> None:
    curves = series()
    ephemeris = found(curves)
    normalized = Trace(TraceConfig()).apply(curves, ephemeris)
    config = PhaseConfig.model_validate({"binning": {"nbins": 100, "min_points": 16}})
    folded = Phase(config).apply(curves, normalized, ephemeris)
    assert np.isnan(folded.flux).all()
    assert (folded.dq == DQ.DO_NOT_USE).all()


def test_defaults_of_the_whole_calib_section_are_consistent() -> None:
    assert all(CalibConfig().covers(name) for name in ("AIRS-CH0", "FGS1", "MINE.red"))
    one = CalibConfig.model_validate({"trace": {"instrument": {"name": "FGS1"}}})
    assert [one.covers(name) for name in ("FGS1", "AIRS-CH0", "FGS1x", "FGS1.red")] == [True, False, False, True]
    assert CalibConfig.model_validate({"photometry": {"instrument": {"name": "AIRS"}}}).covers("AIRS-CH0")


def test_a_few_pairs_out_of_transit_keep_the_terms_that_they_carry() -> None:
    """25 pairs out of transit, as in a visit of 1 % of the frames: they carry level and slope, not all of the pointing too."""
    curves, thin = series(slope=2e-3, coupling=0.0), slice(None, None, 36)
    parts = {name: getattr(curves, name)[thin] for name in ("time_h", "flux", "var", "dq", "x", "y")}
    short = replace(curves, **parts)
    normalized = Trace(TraceConfig()).apply(short, Ephemeris(3.8, 3.0, 84.0, "given"))
    assert any("terms of the trend" in n for n in normalized.notes)
    outside = normalized.out_of_transit
    assert outside.sum() < 30
    # the slope of 2000 ppm an hour, 4000 ppm rms, is off it
    assert np.std(normalized.flux[outside]) < 1e-3


def test_light_of_a_bin_lasts_as_long_as_its_pairs() -> None:
    one, many = TimeBins(TIME[::30], 200), TimeBins(TIME, 100)
    assert one.width == 0.0
    assert many.width == pytest.approx((TIME[-1] - TIME[0]) / 100, rel=0.01)
    # by the model: a bin's mean over its own pairs is the mean over a band of that width
    fine, coarse = Model(TIME, 0.0)(SHAPE), Model(many.time_h, many.width)(SHAPE)
    assert np.abs(many.mean(fine[:, None])[:, 0] - coarse).max() < 3e-5
