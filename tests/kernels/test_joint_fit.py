"""Fits of transits: starts, joint depths of several visits and instruments, red noise, limb darkening that stays physical."""

from __future__ import annotations

from dataclasses import replace

import batman
import numpy as np
import pytest

from v50calib.kernels.blocks import Band, Block
from v50calib.kernels.depths import fit_depths, fit_joint
from v50calib.kernels.limb import from_kipping, kipping
from v50calib.kernels.red_noise import red_noise
from v50calib.kernels.transit import Model, Prior, Shape, radius_ratio, transit_starts
from v50calib.kernels.white_fit import fit_white

PRIOR = Prior((9.0, 0.45), (0.3, 0.3), (0.2, 0.15), (0.15, 0.15))
TRUE = Shape(3.7, 80.0, 9.0, 0.3, 0.1, 0.2, 0.15)


def grid(n: int = 400, hours: float = 7.5) -> tuple[np.ndarray, float]:
    return np.linspace(0.01, hours, n), hours / n


def powers(time: np.ndarray, degree: int = 1) -> np.ndarray:
    return (2 * (time - time[0]) / np.ptp(time) - 1)[:, None] ** np.arange(degree + 1)


@pytest.mark.parametrize("u", [(0.4, 0.2), (0.1, 0.12), (0.6, -0.1), (0.0, 0.0)])
def test_kipping_is_its_own_inverse(u: tuple[float, float]) -> None:
    np.testing.assert_allclose(from_kipping(*kipping(*u)), u, atol=1e-12)


def test_kipping_s_square_is_physical() -> None:
    """Every corner has an intensity that neither rises to the limb nor falls below 0 there (Kipping 2013, eq. 5-7)."""
    for q1 in (0.0, 0.3, 1.0):
        for q2 in (0.0, 0.5, 1.0):
            u1, u2 = from_kipping(q1, q2)
            assert u1 + u2 <= 1 + 1e-12
            assert u1 >= -1e-12
            assert u1 + 2 * u2 >= -1e-12


@pytest.mark.parametrize("t0", [-0.8, 0.5, 3.7, 7.0, 8.2])
def test_a_fit_from_the_starts_finds_transits_cut_anywhere(t0: float) -> None:
    """Depth within 4 sigma and mid-time within 4 sigma, also where one contact alone is seen, against batman's own light curve."""
    time, width = grid()
    params = batman.TransitParams()
    params.t0, params.per, params.a, params.inc, params.rp = t0 / 24, 80 / 24, 9.0, np.degrees(np.arccos(0.3 / 9)), 0.1
    params.ecc, params.w, params.limb_dark, params.u = 0.0, 90.0, "quadratic", [0.2, 0.15]
    rng = np.random.default_rng(3)
    flux = batman.TransitModel(params, time / 24, supersample_factor=7, exp_time=width / 24).light_curve(params)
    flux = 1e6 * flux * (1 + 1e-3 * (time - 4)) * (1 + 1e-4 * rng.normal(size=time.size))
    sigma, design = np.full(time.size, 100.0), powers(time)
    starts = transit_starts(time, flux, sigma, design, [replace(TRUE, t0=0.0)])
    assert starts
    fit = min((fit_white(time, flux, sigma, width, design, shape, PRIOR) for shape, _ in starts), key=lambda f: f.cost)
    assert fit.converged
    assert abs(fit.shape.t0 - t0) < 4 * fit.t0_sigma + 0.01
    assert abs(fit.depth - 0.01) < 4 * fit.depth_sigma


def test_a_white_depth_may_be_negative() -> None:
    """No transit: 60 draws of noise scatter about 0 on both sides, within their errors."""
    time, width = grid(200)
    pulls = []
    for seed in range(60):
        flux = 1 + 1e-4 * np.random.default_rng(seed).normal(size=time.size)
        fit = fit_white(time, flux, np.full(time.size, 1e-4), width, powers(time), replace(TRUE, k=radius_ratio(1e-5)), PRIOR, fix_t0=True)
        pulls.append(fit.depth / fit.depth_sigma)
    assert 15 < (np.array(pulls) < 0).sum() < 45
    assert np.std(pulls) < 1.3


def test_red_noise_is_told_from_white() -> None:
    rng = np.random.default_rng(1)
    white = [red_noise(rng.normal(size=400), 128) for _ in range(100)]
    assert np.mean(white) < 1.08
    slow = np.convolve(rng.normal(size=460), np.ones(60) / np.sqrt(60), mode="valid")[:400]
    assert red_noise(rng.normal(size=400) + slow, 128) > 2


def curves(t0: float, depth: np.ndarray, sigma: float, seed: int, n: int = 200, slope: float = 0.0) -> tuple[np.ndarray, np.ndarray, float]:
    time, width = grid(n)
    model = Model(time, width)
    flux = np.stack([model(replace(TRUE, t0=t0, k=radius_ratio(d))) for d in depth], axis=1)
    flux = flux * (1 + slope * powers(time)[:, 1:])
    return time, flux + sigma * np.random.default_rng(seed).normal(size=flux.shape), width


def band(n: int) -> Band:
    position = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
    return Band(position, np.stack([np.full(n, 0.2), np.full(n, 0.15)]), 0.15, 0.15)


def test_a_shared_orbit_halves_what_an_instrument_does_not_know() -> None:
    """A noisy band alone, and with 40 quiet channels of the same transit: smaller error, and pulls that it deserves."""
    alone, joint, pulls, channels = [], [], [], []
    depth = 0.01 + 1e-4 * np.sin(np.arange(40))
    for seed in range(20):
        time, noisy, width = curves(3.7, np.array([0.0102]), 4e-4, 100 + seed)
        other, quiet, _ = curves(3.7, depth, 3e-4, 200 + seed, slope=2e-3)
        one = Block(time, noisy, np.full(noisy.shape, 4e-4), width, powers(time), band=0)
        many = Block(other, quiet, np.full(quiet.shape, 3e-4), width, powers(other), band=1)
        start = replace(TRUE, a=8.7, b=0.4)
        by_itself = fit_joint([one], [band(1)], start, np.array([3.69]), PRIOR)
        together = fit_joint([one, many], [band(1), band(40)], start, np.array([3.69]), PRIOR)
        assert together.converged
        alone.append(by_itself.bands[0].sigma[0])
        joint.append(together.bands[0].sigma[0])
        pulls.append((together.bands[0].depth[0] - 0.0102) / together.bands[0].sigma[0])
        off = together.bands[1].depth - depth
        # the channels' own errors scatter them about an offset that they share
        channels.append((off - off.mean()) / together.bands[1].sigma_photon)
    assert np.mean(alone) / np.mean(joint) > 1.2
    assert np.sqrt(np.mean(np.square(pulls))) < 1.5
    assert 0.9 < np.std(channels) < 1.1


def test_two_visits_share_their_depths_but_not_their_mid_times() -> None:
    depth = np.full(20, 0.012)
    blocks = []
    for visit, t0 in enumerate((3.2, 4.3)):
        time, flux, width = curves(t0, depth, 3e-4, 7 + visit)
        blocks.append(Block(time, flux, np.full(flux.shape, 3e-4), width, powers(time), visit=visit))
    both = fit_joint(blocks, [band(20)], replace(TRUE, k=radius_ratio(0.012)), np.array([3.25, 4.25]), PRIOR)
    single = fit_joint(blocks[:1], [band(20)], replace(TRUE, k=radius_ratio(0.012)), np.array([3.25]), PRIOR)
    np.testing.assert_allclose(both.t0, [3.2, 4.3], atol=4 * both.t0_sigma.max())
    assert 1.25 < np.median(single.bands[0].sigma_photon / both.bands[0].sigma_photon) < 1.6


def test_covariance_of_the_channels_is_that_of_their_scatter() -> None:
    """Mean depth of all channels: its scatter over 40 draws is what diag + shared sharedᵀ says, not what independent errors would."""
    means, said, independent = [], [], []
    for seed in range(40):
        time, flux, width = curves(3.7, np.full(30, 0.01), 4e-4, 500 + seed)
        fit = fit_joint(
            [Block(time, flux, np.full(flux.shape, 4e-4), width, powers(time))], [band(30)], TRUE, np.array([3.7]), PRIOR
        ).bands[0]
        own = np.diag(fit.sigma**2 - np.square(fit.shared).sum(axis=1))
        covariance = own + fit.shared @ fit.shared.T
        means.append(fit.depth.mean())
        said.append(np.sqrt(covariance.sum()) / 30)
        independent.append(np.sqrt(np.square(fit.sigma).sum()) / 30)
    assert np.mean(said) > 1.5 * np.mean(independent)
    # the priors' share of the errors does not scatter: the draws have the prior's own mean as their truth
    assert np.std(means) < 1.2 * np.mean(said)


def test_a_drift_that_was_not_divided_out_is_fitted() -> None:
    """A slope of 4 % over a long transit: divided by a level alone, with the slope in the fit, depths hold."""
    time, width = grid(200)
    slow = replace(TRUE, period=180.0, a=8.0, b=0.14, t0=4.6)
    truth = np.full(30, 0.01)
    flux = np.stack([Model(time, width)(slow)] * 30, axis=1) * (1 + 0.04 * powers(time)[:, 1:])
    flux = flux + 3e-4 * np.random.default_rng(2).normal(size=flux.shape)
    found = fit_depths(
        time, flux / np.median(flux, axis=0), np.full(flux.shape, 3e-4), width, powers(time), slow,
        Prior((8.0, 0.4), (0.14, 0.3), (0.2, 0.15), (0.15, 0.15)), np.linspace(-1, 1, 30), np.stack([np.full(30, 0.2), np.full(30, 0.15)]),
    )  # fmt: skip
    assert found.converged
    assert abs(np.mean((found.depth - truth) / found.sigma)) < 3
    assert 0.7 < np.std((found.depth - truth) / found.sigma_photon) < 1.3


def test_samples_without_weight_do_not_count() -> None:
    time, flux, width = curves(3.7, np.full(12, 0.01), 3e-4, 4)
    sigma = np.full(flux.shape, 3e-4)
    spoiled = flux.copy()
    spoiled[150:170, 3] = 0.2
    sigma[150:170, 3] = np.inf
    spoiled[150:160, 3] = np.nan
    block = Block(time, spoiled, sigma, width, powers(time))
    found = fit_joint([block], [band(12)], TRUE, np.array([3.7]), PRIOR).bands[0]
    assert abs(found.depth[3] - 0.01) < 4 * found.sigma[3]
    assert found.sigma_photon[3] > found.sigma_photon[2]


def test_channels_whose_noise_exceeds_their_depth_scatter_by_their_errors() -> None:
    """A transit cut at its egress, 5000 ± about 10000 ppm a channel: pulls of 1, no heavy tails, on batman's own light curves."""
    time, width = grid(170)
    true = Shape(5.0, 134.0, 6.4, 0.35, np.sqrt(0.005), 0.2, 0.15)
    prior, design = Prior((6.4, 0.32), (0.4, 0.3), (0.2, 0.15), (0.15, 0.15)), powers(time, 3)
    light = Model(time, width)(true)[:, None]
    pulls = []
    for seed in range(3):
        flux = light + 1.2e-2 * np.random.default_rng(seed).normal(size=(time.size, 200))
        block = Block(time, flux, np.full(flux.shape, 1.2e-2), width, design)
        fit = fit_joint([block], [band(200)], true, np.array([5.0]), prior, fix_t0=True)
        assert fit.converged
        assert 0.7 < np.median(fit.bands[0].sigma) / np.std(fit.bands[0].depth) < 1.4
        pulls.append((fit.bands[0].depth - 0.005) / fit.bands[0].sigma)
    pull = np.concatenate(pulls)
    assert 0.88 < pull.std() < 1.12
    assert np.mean((pull - pull.mean()) ** 4) / pull.var() ** 2 < 3.6
