"""Bins, outliers, windows and wrapping of the phase stage against brute force."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from stage_curves import SHAPE, TIME, found, make

from v50calib.dq import DQ
from v50calib.kernels.transit import Model
from v50calib.stages.phase.config import PhaseConfig
from v50calib.stages.phase.stage import Phase
from v50calib.stages.series.curves import Ephemeris, Folded, Normalized
from v50calib.stages.trace.config import TraceConfig
from v50calib.stages.trace.stage import Trace

CURVES = make(41, coupling=0.0)
EPHEMERIS = found(CURVES)
NORMALIZED = Trace(TraceConfig()).apply(CURVES, EPHEMERIS)


def folded(normalized: Normalized = NORMALIZED, ephemeris: Ephemeris = EPHEMERIS, **choice: Any) -> Folded:
    return Phase(PhaseConfig.model_validate(choice)).apply(CURVES, normalized, ephemeris)


def test_adaptive_bins_are_four_times_denser_about_ingress_and_egress() -> None:
    plain, fine = (folded(binning={"nbins": 150, "strategy": s}) for s in ("uniform", "adaptive"))
    assert len(fine.bin_phase) == 150
    hours = fine.bin_phase * EPHEMERIS.period_h
    contact = np.abs(np.abs(hours) - 0.5 * EPHEMERIS.duration_h + 0.5 * EPHEMERIS.ingress_h) < 0.8 * EPHEMERIS.ingress_h
    width = np.gradient(hours)
    assert np.median(width[~contact]) == pytest.approx(4 * np.median(width[contact]), rel=0.05)
    # second contact is where the model says: Winn's (2010) T23 against batman's own bottom without limb darkening
    flat = Model(TIME, 0.0)(replace(SHAPE, u1=0.0, u2=0.0))
    bottom = np.ptp(TIME[flat < flat.min() + 1e-9])
    assert EPHEMERIS.duration_h - 2 * EPHEMERIS.ingress_h == pytest.approx(bottom, abs=0.05)
    assert plain.count[:, 0].min() >= 9
    assert fine.count.sum() == plain.count.sum() == NORMALIZED.flux.size


def test_weighted_bins_are_inverse_variance_means() -> None:
    var = NORMALIZED.var * np.where(np.arange(1500) % 3 == 0, 25.0, 1.0)[:, None]
    unequal = replace(NORMALIZED, var=var)
    choice = {"nbins": 100, "strategy": "snr_weighted"}
    out = folded(unequal, binning=choice, outliers={"replace_with": "none"})
    weight = (1 / var).reshape(100, 15, -1)
    expected = (weight * NORMALIZED.flux.reshape(100, 15, -1)).sum(axis=1) / weight.sum(axis=1)
    np.testing.assert_allclose(out.flux, expected, rtol=1e-10)
    np.testing.assert_allclose(out.var, 1 / weight.sum(axis=1), rtol=1e-10)
    plain = folded(unequal, binning={"nbins": 100}, outliers={"replace_with": "none"})
    assert (out.var < plain.var).all()


@pytest.mark.parametrize("how", ["none", "nan", "median", "interpolate"])
def test_outliers_are_replaced_as_asked_and_flagged_where_estimated(how: str) -> None:
    flux = NORMALIZED.flux.copy()
    flux[[100, 101, 700], 2] += 0.2
    out = folded(replace(NORMALIZED, flux=flux), binning={"nbins": 100}, outliers={"replace_with": how})
    clean = NORMALIZED.flux.reshape(100, 15, -1).mean(axis=1)
    off = np.abs(out.flux - clean)[[6, 46], 2].max()
    assert (off > 0.01) == (how == "none")
    assert off < 5e-4 or how == "none"
    assert out.count[6, 2] == (13 if how == "nan" else 15)
    estimated = (out.dq & np.uint32(DQ.FLUX_ESTIMATED)) != 0
    assert estimated.sum() == (2 if how in ("median", "interpolate") else 0)
    if how == "median":
        expected = flux[90:105, 2].copy()
        expected[[10, 11]] = np.median(np.delete(expected, [10, 11]))
        assert out.flux[6, 2] == pytest.approx(expected.mean(), rel=1e-12)


def test_windows_take_the_place_of_t14() -> None:
    out = folded(windows={"in_transit": [[-0.5, 0.25]], "out_of_transit": [[-9, -2.2], [2.2, 9]]})
    since = TIME - EPHEMERIS.t0_h
    np.testing.assert_array_equal(out.in_transit, (since >= -0.5) & (since <= 0.25))
    allowed = Phase(PhaseConfig.model_validate({"windows": {"out_of_transit": [[-9, -2.2], [2.2, 9]]}})).allowed(CURVES, EPHEMERIS)
    assert allowed is not None
    outside = Trace(TraceConfig()).apply(CURVES, EPHEMERIS, None, allowed).out_of_transit
    np.testing.assert_array_equal(outside, np.abs(since) >= 2.2)


def test_without_fold_phases_are_hours() -> None:
    out = folded(fold={"enabled": False})
    np.testing.assert_allclose(out.phase, TIME - EPHEMERIS.t0_h, rtol=1e-12)
    np.testing.assert_allclose(out.bin_phase, folded().bin_phase * EPHEMERIS.period_h, rtol=1e-12)


def test_a_visit_of_several_orbits_is_stacked() -> None:
    """Period 2.5 h in 7.5 h: every bin holds the samples of three orbits, as a loop over them says."""
    short = replace(EPHEMERIS, period_h=2.5, duration_h=0.6)
    out = folded(ephemeris=short, binning={"nbins": 50}, outliers={"replace_with": "none"})
    assert out.phase.min() >= -0.5
    assert out.phase.max() < 0.5
    since = np.array([min((t - short.t0_h - k * 2.5 for k in range(-3, 4)), key=abs) for t in TIME])
    np.testing.assert_allclose(out.phase * 2.5, since, atol=1e-9)
    edges = np.linspace(since.min(), since.max(), 51)
    for b in (0, 24, 49):
        inside = (since >= edges[b]) & (since < edges[b + 1] if b < 49 else since <= edges[b + 1])
        np.testing.assert_allclose(out.flux[b], NORMALIZED.flux[inside].mean(axis=0), rtol=1e-9)
    assert out.in_transit.sum() == pytest.approx(3 * 0.6 / 7.48 * 1500, abs=4)
    apart = folded(ephemeris=short, fold={"wrap": False})
    np.testing.assert_allclose(apart.phase, (TIME - short.t0_h) / 2.5, rtol=1e-12)


def test_excluded_pairs_reach_no_bin() -> None:
    used = ~((TIME > 1.0) & (TIME < 1.5))
    out = Phase(PhaseConfig.model_validate({"binning": {"nbins": 150}})).apply(replace(CURVES, used=used), NORMALIZED, EPHEMERIS)
    hours = out.bin_phase * EPHEMERIS.period_h + EPHEMERIS.t0_h
    empty = (hours > 1.05) & (hours < 1.45)
    assert np.isnan(out.flux[empty]).all()
    assert (out.dq[empty] & np.uint32(DQ.DO_NOT_USE)).all()
    assert out.count.sum() == used.sum() * NORMALIZED.flux.shape[1]


@pytest.mark.parametrize("windows", [{"in_transit": [[1.0, -1.0]]}, {"out_of_transit": [[1.0]]}])
def test_windows_must_be_intervals(windows: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is no interval"):
        PhaseConfig.model_validate({"windows": windows})
