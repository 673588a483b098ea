"""Regressors: products, the cubic test, width and sky, patterns of the residuals, common mode; joint against masked."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest
from stage_curves import SHAPE, TIME, found, make

from v50calib.config.models import CalibConfig, RunConfig
from v50calib.engine.depths import transit_depths
from v50calib.engine.series import whitened, without_star
from v50calib.errors import ConfigError
from v50calib.kernels.transit import Model
from v50calib.stages.series.curves import Ephemeris, Normalized, Series
from v50calib.stages.trace.config import TraceConfig
from v50calib.stages.trace.regressors import regressors, rms_height, to_pairs
from v50calib.stages.trace.stage import Trace

RNG = np.random.default_rng(31)


def run(curves: Series, **chosen: Any) -> tuple[Ephemeris, Normalized, np.ndarray, np.ndarray]:
    config = TraceConfig.model_validate({"along_time": {"decorrelate": chosen}})
    ephemeris = found(curves, trace=config)
    normalized = Trace(config).apply(curves, ephemeris)
    if normalized.refit_white or config.along_time.decorrelate.common_mode:
        ephemeris, normalized = whitened(curves, normalized, ephemeris, config)
    depths = transit_depths(curves, normalized, ephemeris, CalibConfig(trace=config))
    assert depths is not None
    return ephemeris, normalized, depths.depth, depths.sigma


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
@pytest.mark.parametrize("vectors", [("x",), ("x", "y"), ("y", "sky", "width")])
def test_terms_are_all_products_once(vectors: tuple[str, ...], degree: int) -> None:
    curves = replace(make(1), width=RNG.normal(2.0, 0.1, TIME.size), background=RNG.normal(5.0, 1.0, TIME.size))
    measured = {"x": curves.x, "y": curves.y, "width": curves.width, "sky": curves.background}
    centred = [measured[v] - np.median(measured[v]) for v in vectors]
    expected = [
        np.prod([centred[i] for i in chosen], axis=0)
        for d in range(1, degree + 1)
        for chosen in combinations_with_replacement(range(len(vectors)), d)
    ]
    np.testing.assert_allclose(regressors(curves, vectors, degree), np.stack(expected, axis=1), rtol=1e-12)


def test_higher_terms_come_where_the_light_shows_them_and_not_elsewhere() -> None:
    plain = make(2, jitter=0.3)
    bent = make(2, jitter=0.3, factor=1 + 0.02 * plain.y**3)
    assert regressors(plain, ("x", "y"), "auto").shape[1] == 5
    assert regressors(bent, ("x", "y"), "auto").shape[1] == 9
    # a bend of the seventh degree alone shows as cubic and as higher powers of y
    sharp = make(2, jitter=0.3, factor=1 + 0.3 * plain.y**7)
    y = sharp.y - np.median(sharp.y)
    higher = regressors(sharp, ("x", "y"), "auto")
    assert higher.shape[1] == 13
    np.testing.assert_allclose(higher[:, -4:], np.stack([y**k for k in range(4, 8)], axis=1), rtol=1e-9)
    fifth = make(2, jitter=0.3, factor=1 + 0.02 * plain.y**3 + 0.05 * plain.y**5)
    assert regressors(fifth, ("x", "y"), "auto").shape[1] == 13
    # the seven products of both of the fourth and fifth degree, without the cubic terms, which show nothing
    crossed = make(2, jitter=0.3, factor=1 + 0.05 * plain.x * plain.y**3)
    assert regressors(crossed, ("x", "y"), "auto").shape[1] == 12
    # a transit and a trend are slow: neither asks for more terms
    assert regressors(make(2, factor=1 + 0.05 * (TIME - 4) ** 3 / 40), ("x", "y"), "auto").shape[1] == 5


def test_a_cubic_bend_is_left_by_quadratic_terms_and_taken_by_auto() -> None:
    y = make(3, jitter=0.3).y
    curves = make(3, jitter=0.3, factor=1 + 0.05 * (y - np.median(y)) ** 3)
    scatter = []
    for degree in (2, "auto"):
        _, normalized, _, _ = run(curves, degree=degree)
        white = normalized.flux.mean(axis=1) - Model(TIME, 0.0)(SHAPE)
        scatter.append(white[normalized.out_of_transit].std() / (5e-4 / np.sqrt(6)))
    assert scatter[0] > 3
    assert scatter[1] == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("vector", ["width", "sky"])
def test_width_and_sky_are_regressors_like_the_others(vector: str) -> None:
    measured = 2.0 + 0.05 * np.sin(TIME) + 0.01 * RNG.standard_normal(TIME.size)
    attribute = {"width": "width", "sky": "background"}[vector]
    curves = replace(make(4, factor=1 + 0.05 * (measured - 2.0)), **{attribute: measured})
    _, with_it, depth, sigma = run(curves, vectors=["x", "y", vector])
    _, without, _, _ = run(curves)
    outside = with_it.out_of_transit
    residual = with_it.flux - Model(TIME, 0.0)(SHAPE)[:, None]
    np.testing.assert_allclose(residual[outside].std(axis=0), 5e-4, rtol=0.1)
    assert without.flux[outside].std() > 1.3 * with_it.flux[outside].std()
    assert np.abs((depth - SHAPE.k**2) / sigma).max() < 4


def test_sky_does_not_dim_with_the_star() -> None:
    """Oracle: sky made as wings of 1 % of the star plus a wave of its own; only the wave is left."""
    star = 1e6 * Model(TIME, 0.0)(SHAPE)
    wave = 50 * np.sin(5 * TIME)
    sky = without_star(200 + 0.01 * star + wave, star)
    inside = np.abs(TIME - SHAPE.t0) < 1.0
    assert abs((sky - wave)[inside].mean() - (sky - wave)[~inside].mean()) < 0.1 * 0.01 * 1e6 * SHAPE.k**2
    assert np.corrcoef(sky, wave)[0, 1] > 0.99


def test_a_vector_that_was_not_measured_is_an_error() -> None:
    with pytest.raises(ConfigError, match="names 'width', but these light curves come without it"):
        regressors(make(5), ("width",), 1)


def test_width_without_the_binned_cube_is_refused_when_configured() -> None:
    tree = {"calib": {"trace": {"along_time": {"decorrelate": {"vectors": ["width"]}}}}, "output": {"cubes": "none"}}
    with pytest.raises(ValueError, match="width, which is measured on the binned cube"):
        RunConfig.model_validate(tree)


@pytest.mark.parametrize("round_star", [False, True])
def test_width_of_a_gaussian_is_its_sigma(round_star: bool) -> None:
    """A Gaussian of sigma 1.2 in ±6 px on a background: its rms, pixel width 1/sqrt(12) px included, to 0.5 %."""
    yy, xx = np.mgrid[:32, :33].astype(float)
    sigma = np.array([1.2, 1.3])
    image = np.exp(-0.5 * (yy - 15.4) ** 2 / sigma[:, None, None] ** 2)
    if round_star:
        image = image * np.exp(-0.5 * (xx - 15.6) ** 2 / sigma[:, None, None] ** 2)
    found_sigma = rms_height(1e4 * image + 50.0, np.full((2, 1), 50.0), 15.5, 6, round_star=round_star)
    np.testing.assert_allclose(found_sigma, sigma, rtol=5e-3)


def test_bins_are_brought_to_pairs_by_straight_lines() -> None:
    bins = np.repeat(np.arange(10), 10)
    time = np.linspace(0, 1, 100)
    centres = time.reshape(10, 10).mean(axis=1)
    np.testing.assert_allclose(to_pairs(2 * centres, bins, time)[5:-5], 2 * time[5:-5], rtol=1e-12)


def test_masked_terms_are_not_fitted_in_transit_and_give_the_same_depth() -> None:
    curves = make(6)
    joint, (_, masked, depth, sigma) = run(curves), run(curves, fit="masked")
    assert masked.joint is not None
    assert masked.joint.regressors.shape[1] == 0
    np.testing.assert_allclose(masked.flux, joint[1].flux, rtol=1e-12)
    assert np.abs(depth - joint[2]).max() < 2 * sigma.min()
    assert (sigma <= joint[3] * (1 + 1e-6)).all()


def test_patterns_that_channels_share_unevenly_are_taken_out() -> None:
    """A slow wave that grows along the spectrum: PCA takes it, white light apart; depths stay."""
    channels = 40
    wave = 2e-3 * np.sin(TIME * 2.3)[:, None] * np.linspace(-1, 1, channels)
    curves = make(8, channels=channels, factor=1 + wave)
    _, plain, _, _ = run(curves)
    _, taken, depth, sigma = run(curves, pca_components=1)
    outside = plain.out_of_transit
    assert plain.flux[outside].std() > 1.8 * taken.flux[outside].std()
    np.testing.assert_allclose(taken.flux[outside].std(), 5e-4, rtol=0.05)
    assert np.abs((depth - SHAPE.k**2) / sigma).max() < 4.5


def test_common_mode_takes_what_all_channels_share() -> None:
    shared = 1 + 1e-3 * np.random.default_rng(900).standard_normal(TIME.size)
    curves = make(9, channels=60, factor=shared)
    _, plain, _, _ = run(curves)
    ephemeris, taken, depth, _ = run(curves, common_mode=True)
    outside = plain.out_of_transit
    assert plain.flux[outside].std() == pytest.approx(np.hypot(1e-3, 5e-4), rel=0.05)
    assert taken.flux[outside].std() == pytest.approx(5e-4, rel=0.05)
    # depths are then relative to the white fit's
    assert depth.mean() == pytest.approx(ephemeris.depth, abs=2e-5)


def test_one_band_has_nothing_to_share_and_says_so() -> None:
    band = make(10, channels=1)
    _, normalized, _, _ = run(band, common_mode=True, pca_components=2)
    assert sum("one band" in n for n in normalized.notes) == 2
    with pytest.raises(ValueError, match="FGS1 has one"):
        TraceConfig.model_validate({"instrument": {"name": "FGS1"}, "along_time": {"decorrelate": {"common_mode": True}}})
