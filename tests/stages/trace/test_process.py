"""A Gaussian process in the baseline: errors of depths hold what it may hide, over noise drawn from its own covariance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from stage_curves import SHAPE, TIME, found, make

from v50calib.config.models import CalibConfig
from v50calib.engine.depths import fit_input, transit_depths
from v50calib.engine.planet import Observation, fit_planet
from v50calib.engine.series import whitened
from v50calib.kernels.blocks import Depths
from v50calib.stages.phase.config import PhaseConfig
from v50calib.stages.phase.stage import Phase
from v50calib.stages.series.curves import Ephemeris, Normalized, Series
from v50calib.stages.trace.config import TraceConfig
from v50calib.stages.trace.stage import Trace

SEEDS, AMPLITUDE, LENGTH_H = 30, 3e-4, 1.0
#: every 10th pair, with a tenth of its noise's variance: 150 bins take a fifth of the time
FEW = slice(None, None, 10)


def red(seed: int) -> np.ndarray:
    """Noise of the process, drawn by its covariance's factor."""
    r = np.sqrt(3) * np.abs(TIME[FEW, None] - TIME[FEW]) / LENGTH_H
    covariance = AMPLITUDE**2 * (1 + r) * np.exp(-r) + 1e-16 * np.eye(len(r))
    return np.asarray(np.linalg.cholesky(covariance) @ np.random.default_rng(seed).standard_normal(len(r)))


def curves_of(seed: int) -> Series:
    whole = make(seed, noise=1e-4, coupling=0.0)
    few = {name: getattr(whole, name)[FEW] for name in ("time_h", "flux", "var", "dq", "x", "y")}
    few["flux"] = few["flux"] * (1 + red(seed))[:, None]
    return Series(**{**vars(whole), **few})


def run(curves: Series, **time: Any) -> tuple[Ephemeris, Normalized, Depths]:
    along = {"along_time": {"decorrelate": {"enabled": False}, **time}}
    config = TraceConfig.model_validate(along)
    ephemeris = found(curves, trace=config)
    normalized = Trace(config).apply(curves, ephemeris)
    if normalized.refit_white:
        ephemeris, normalized = whitened(curves, normalized, ephemeris, config)
    depths = transit_depths(curves, normalized, ephemeris, CalibConfig.model_validate({"trace": along}))
    assert depths is not None
    return ephemeris, normalized, depths


@pytest.mark.slow
def test_depths_scatter_by_their_errors() -> None:
    """Oracle: depths over 30 draws against the depth put in; amplitude and length of the process are not told."""
    white, channel, middle = [], [], []
    for seed in range(SEEDS):
        ephemeris, _, depths = run(curves_of(seed), method="gp")
        white.append((ephemeris.depth - SHAPE.k**2) / ephemeris.depth_sigma)
        middle.append((ephemeris.t0_h - SHAPE.t0) / ephemeris.t0_sigma_h)
        channel.append((depths.depth[3] - SHAPE.k**2) / depths.sigma[3])
    for pulls in (np.array(white), np.array(channel), np.array(middle)):
        assert 0.8 < np.sqrt(np.mean(pulls**2)) < 1.25
        assert abs(pulls.mean()) < 3 / np.sqrt(SEEDS)


def test_the_process_s_share_of_the_error_is_common_to_all_channels() -> None:
    """Differences of channels know nothing of it: their covariance is that of white noise."""
    _, normalized, depths = run(curves_of(3), method="gp")
    assert normalized.depth_var is not None
    assert normalized.depth_var > 4 * (depths.sigma_photon**2).min()
    own = depths.sigma**2 - np.square(depths.shared).sum(axis=1)
    np.testing.assert_allclose(own, depths.sigma_photon**2, rtol=1e-6)
    np.testing.assert_allclose(depths.shared[:, -1] ** 2, normalized.depth_var)
    spread = depths.depth - SHAPE.k**2
    assert np.std(spread) < 3 * np.sqrt(np.mean(own))


def test_normalized_curves_carry_the_variance_of_the_trend() -> None:
    curves = curves_of(4)
    ephemeris, normalized, _ = run(curves, method="gp")
    assert normalized.trend_var is not None
    extra = normalized.total_var - normalized.var
    np.testing.assert_allclose(extra, normalized.trend_var[:, None] * normalized.flux**2, rtol=1e-9)
    inside = np.abs(curves.time_h - SHAPE.t0) < 0.5
    assert normalized.trend_var[inside].mean() > 2 * normalized.trend_var[normalized.out_of_transit].mean()
    config = PhaseConfig.model_validate({"binning": {"nbins": 15}, "outliers": {"replace_with": "none"}})
    folded = Phase(config).apply(curves, normalized, ephemeris)
    alone = normalized.var.reshape(15, 10, -1).mean(axis=1) / 10
    shared = normalized.trend_var.reshape(15, 10).mean(axis=1)[:, None] * folded.flux**2
    np.testing.assert_allclose(folded.var, alone + shared, rtol=1e-9)


def test_white_noise_alone_costs_little() -> None:
    """No process in the data: depth and error are nearly those of a line in time."""
    whole = make(5, noise=3e-4, coupling=0.0)
    line, _, _ = run(whole, method="poly", poly={"degree": 1})
    process, _, _ = run(whole, method="gp")
    assert process.depth_sigma == pytest.approx(line.depth_sigma, rel=0.35)
    assert process.depth == pytest.approx(line.depth, abs=line.depth_sigma)


def test_additive_light_of_a_process_is_subtracted() -> None:
    curves = curves_of(6)
    level = np.linspace(1e4, 1e5, 6)
    stray = Series(**{**vars(curves), "flux": curves.flux / (1 + red(6))[:, None] + level * red(6)[:, None]})
    ephemeris, normalized, depths = run(stray, method="gp", target="subtract")
    assert ephemeris.depth == pytest.approx(SHAPE.k**2, abs=3 * ephemeris.depth_sigma)
    assert depths.depth.mean() == pytest.approx(SHAPE.k**2, abs=3 * depths.sigma.mean())
    assert any(note.startswith("along_time: Gaussian process of about") for note in normalized.notes)
    assert len(set(normalized.notes)) == len(normalized.notes)


def test_a_planet_s_fit_holds_it_for_each_instrument_apart() -> None:
    """Two visits of a band with a process each, and another band without: the mean of two equal variances halves, the other has none."""
    blocks = []
    for visit, (seed, method, name) in enumerate([(7, "gp", "A"), (8, "gp", "A"), (9, "poly", "B")]):
        along = {"along_time": {"method": method, "decorrelate": {"enabled": False}}}
        config, curves = TraceConfig.model_validate(along), curves_of(seed)
        ephemeris = found(curves, trace=config)
        normalized = Trace(config).apply(curves, ephemeris)
        if method == "gp":
            ephemeris, normalized = whitened(curves, normalized, ephemeris, config)
            normalized = replace(normalized, depth_var=1e-8)
        given = fit_input(curves, normalized, CalibConfig.model_validate({"trace": along}))
        blocks.append(Observation(visit, name, given, ephemeris, curves.star))
    fit = fit_planet(blocks)
    without = fit_planet([replace(one, given=replace(one.given, depth_var=None)) for one in blocks])
    assert fit is not None
    assert without is not None
    assert fit.instruments == ("A", "B")  # of the same wavelengths: by name, not by chance
    (a, b), (a0, b0) = fit.depths, without.depths
    np.testing.assert_allclose(a.sigma**2 - a0.sigma**2, 0.5e-8, rtol=0.05)
    np.testing.assert_array_equal(b.sigma, b0.sigma)
    assert a.shared.shape[1] == b.shared.shape[1] == a0.shared.shape[1] + 2
    assert np.abs(a.shared[:, -1]).max() == np.abs(b.shared[:, -2:]).max() == 0
