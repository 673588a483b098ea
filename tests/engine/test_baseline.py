"""The series domain on light curves whose truth is known: drifts, bows, no transit, flagged samples, exposure mid-times."""

from __future__ import annotations

import batman
import numpy as np
import pytest

from v50calib.config.models import CalibConfig
from v50calib.dq import DQ
from v50calib.engine.baseline import baseline_and_transit, log_evidence
from v50calib.engine.depths import fit_input, transit_depths
from v50calib.engine.series import pair_times
from v50calib.stages.photometry.lost import lost_pairs
from v50calib.stages.series.curves import Series
from v50calib.stages.trace.stage import Trace

TIME = np.linspace(0.0, 7.5, 750)
STAR = {"P": 4.0, "sma": 12.0, "i": 88.3, "Ts": 5500.0}
DEPTH = 0.01
CALIB = CalibConfig()


def transit(depth: float = DEPTH, t0: float = 3.7) -> np.ndarray:
    """batman's own light curve with coefficients near the law's at 2.5 µm."""
    params = batman.TransitParams()
    params.t0, params.per, params.rp, params.a, params.inc = t0, 96.0, float(np.sqrt(depth)), 12.0, 88.3
    params.ecc, params.w, params.u, params.limb_dark = 0.0, 90.0, [0.12, 0.13], "quadratic"
    return np.asarray(batman.TransitModel(params, TIME).light_curve(params))


def series(light: np.ndarray, noise: float, seed: int, channels: int = 1) -> Series:
    """Light curves of `channels` equal channels; noise: of white light, relative, a pair."""
    level, rng = 1e7, np.random.default_rng(seed)
    own = noise * np.sqrt(channels)
    flux = level / channels * (light.reshape(TIME.size, -1) + own * rng.normal(size=(TIME.size, channels)))
    var = np.full(flux.shape, np.square(level / channels * own))
    none = np.zeros(TIME.size)
    return Series(
        TIME, flux, var, np.zeros(flux.shape, np.uint32), none, none, np.linspace(1.9, 3.9, channels) if channels > 1 else np.array([2.5]),
        STAR, np.zeros(channels),
    )  # fmt: skip


def depths(curves: Series, calib: CalibConfig = CALIB) -> tuple[float, float]:
    """White depth and its error."""
    found = baseline_and_transit(curves, calib).ephemeris
    return found.depth, found.depth_sigma


def scaled(x: np.ndarray = TIME) -> np.ndarray:
    return 2.0 * (x - x[0]) / np.ptp(x) - 1.0


@pytest.mark.parametrize("bow", [5e-4, -5e-4])
def test_a_bow_does_not_move_the_depth(bow: float) -> None:
    """500 ppm peak to edge: the depth stays within its errors of the truth, on the mean of ten draws."""
    pulls = []
    for seed in range(10):
        depth, sigma = depths(series(transit() * (1.0 + bow * scaled() ** 2), 3e-4, seed))
        pulls.append((depth - DEPTH) / sigma)
    assert abs(np.mean(pulls)) < 0.9
    assert np.abs(pulls).max() < 3.5


def test_random_drifts_are_in_the_error() -> None:
    """Smooth drifts of 1000 ppm over 5 h that no fixed degree knows: pulls of depths scatter by 1."""
    pulls = []
    for seed in range(30):
        rng = np.random.default_rng(1000 + seed)
        waves = sum(rng.normal() * np.cos(TIME * rng.normal() / 2.5 + rng.uniform(0, 2 * np.pi)) for _ in range(12)) / np.sqrt(6)
        depth, sigma = depths(series(transit() * (1.0 + 1e-3 * waves), 3e-4, seed))
        pulls.append((depth - DEPTH) / sigma)
    assert np.sqrt(np.mean(np.square(pulls))) < 1.45


@pytest.mark.parametrize("bow", [0.0, 1e-3, -1e-3])
def test_a_bow_without_a_transit_is_no_transit(bow: float) -> None:
    """None is found in twenty visits, or with an error that covers 0 within 4."""
    for seed in range(20):
        found = baseline_and_transit(series(1.0 + bow * scaled() ** 2, 3e-4, seed), CALIB).ephemeris
        assert not found.found or abs(found.depth) < 4 * found.depth_sigma


def test_depths_of_channels_with_own_drifts_hold() -> None:
    """40 channels that drift against each other: pulls of mean 0 and scatter 1."""
    slope = np.linspace(-1.0, 1.0, 40)
    light = transit()[:, None] * (1.0 + 1e-3 * scaled()[:, None] ** 2 * slope)
    pulls = []
    for seed in range(4):
        curves = series(light, 2e-4, seed, 40)
        found = baseline_and_transit(curves, CALIB)
        normalized = Trace(CALIB.trace).apply(curves, found.ephemeris, found.divided)
        fitted = transit_depths(curves, normalized, found.ephemeris, CALIB)
        assert fitted is not None
        pulls.append((fitted.depth - DEPTH) / fitted.sigma)
    assert abs(np.mean(pulls)) < 0.35
    assert 0.85 < np.std(pulls) < 1.15


def test_flagged_samples_take_no_part_and_a_bad_sample_costs_no_channel() -> None:
    curves = series(np.repeat(transit()[:, None], 12, axis=1), 1e-4, 3, 12)
    curves.flux[300:330, 4] *= 0.5
    curves.dq[300:330, 4] |= np.uint32(DQ.SATURATED)
    curves.flux[10, 5] = -1.0
    found = baseline_and_transit(curves, CALIB)
    normalized = Trace(CALIB.trace).apply(curves, found.ephemeris, found.divided)
    given = fit_input(curves, normalized, CALIB)
    assert np.isinf(given.sigma[:, 4]).any()
    fitted = transit_depths(curves, normalized, found.ephemeris, CALIB)
    assert fitted is not None
    assert np.isfinite(fitted.depth).all()
    assert abs(fitted.depth[4] - DEPTH) < 4 * fitted.sigma[4]


def test_absolute_stamps_give_the_numbers_of_relative_ones() -> None:
    """Barycentric dates in hours: mid-times since the first stamp, the same to a millisecond."""
    stamps = np.sort(np.concatenate([np.arange(100) * 4.8 + 0.1, np.arange(100) * 4.8 + 0.2])) / 3600.0
    between = np.full(100, 4.5)
    relative, absolute = pair_times(stamps, between), pair_times(stamps + 24.0 * 2459000.5, between)
    np.testing.assert_allclose(absolute, relative, atol=3e-7 / 3.6)
    # AIRS-CH0: the exposure begins at the second stamp and lasts 4.5 s
    np.testing.assert_allclose(relative * 3600.0, np.arange(100) * 4.8 + 0.1 + 2.25, atol=1e-9)


def test_stamps_of_the_reads_themselves_have_their_exposure_between_them() -> None:
    stamps = np.array([5.0, 6.0, 9.0, 10.0])
    assert pair_times(stamps, np.full(2, 3600.0)).tolist() == [0.5, 4.5]


def test_evidence_is_that_of_dense_gaussians() -> None:
    """Against the marginal likelihood with the whole covariance matrix, free terms given a very wide prior."""
    rng = np.random.default_rng(5)
    free, held = rng.normal(size=(60, 3)), rng.normal(size=(60, 2))
    target = 0.3 * held[:, 0] + rng.normal(size=60)
    target *= 0.5  # below the noise: the scale is 1
    widths = np.array([0.01, 0.1, 1.0, 5.0])

    def dense(width: float) -> float:
        cov = np.eye(60) + width**2 * held @ held.T + 1e8 * free @ free.T
        return float(-0.5 * target @ np.linalg.solve(cov, target) - 0.5 * np.linalg.slogdet(cov)[1])

    expected = np.array([dense(w) for w in widths])
    found = log_evidence(free, held, target, widths)
    np.testing.assert_allclose(found - found[0], expected - expected[0], atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 65535.0 / 2000.0])
def test_lost_frames_are_found_and_a_transit_is_not(value: float) -> None:
    rng = np.random.default_rng(0)
    light = transit(0.08) * (1.0 + 3e-4 * rng.normal(size=TIME.size))
    assert not lost_pairs(light).any()
    light[[5, 200, 201, 640]] = value
    assert np.flatnonzero(lost_pairs(light)).tolist() == [5, 200, 201, 640]
    light[-15:] *= 0.9
    assert np.flatnonzero(lost_pairs(light)).tolist() == [5, 200, 201, 640, *range(735, 750)]


def test_a_long_block_without_light_is_lost() -> None:
    """A fifth of the visit is zero: no running median sees it, and no planet takes half of a star's light."""
    rng = np.random.default_rng(1)
    light = transit(0.08) * (1.0 + 3e-4 * rng.normal(size=TIME.size))
    light[20:170] = 0.0
    assert np.flatnonzero(lost_pairs(light)).tolist() == list(range(20, 170))
    # around nothing but background there is no light to lack
    assert not lost_pairs(1e-3 * rng.normal(size=TIME.size) - 1.0).any()
