"""Backgrounds against photutils, astropy and injected surfaces."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.modeling.fitting import LinearLSQFitter
from astropy.modeling.models import Polynomial2D
from astropy.stats import SigmaClip, biweight_location, sigma_clip
from photutils.background import Background2D, MeanBackground, MedianBackground

from v50calib.kernels import background

RNG = np.random.default_rng(8)
YY, XX = np.mgrid[:32, :32]
SKY = np.hypot(YY - 15.3, XX - 15.4) > 9


def statistics(frames: np.ndarray, sky: np.ndarray, box: int, statistic: int, clip: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
    pixels, starts, centres = background.mesh_boxes(sky, (box, box))
    out = np.empty((len(frames), len(centres)))
    background.group_statistics(frames.reshape(len(frames), -1), pixels, starts, statistic, clip, 5, out)
    return out, centres


@pytest.mark.parametrize(
    ("statistic", "estimator"), [(background.MEAN, MeanBackground(sigma_clip=None)), (background.MEDIAN, MedianBackground(sigma_clip=None))]
)
@pytest.mark.parametrize("clip", [np.inf, 3.0])
def test_mesh_equals_photutils(statistic: int, estimator: object, clip: float) -> None:
    frame = RNG.normal(50, 4, (32, 32)) + 0.3 * YY
    frame[3, 4] = frame[20, 21] = 900
    cut = SigmaClip(sigma=clip, maxiters=5) if np.isfinite(clip) else None
    theirs = Background2D(frame, (8, 8), filter_size=1, sigma_clip=cut, bkg_estimator=estimator)
    found, _ = statistics(frame[None], np.ones((32, 32), bool), 8, statistic, clip)
    np.testing.assert_allclose(found[0], theirs.background_mesh.ravel(), rtol=1e-6)


def test_interpolated_mesh_follows_photutils_away_from_the_edge() -> None:
    """Two interpolators (thin plate, cubic zoom) of the same smooth mesh agree where neither extrapolates."""
    frame = 40 + 6 * np.sin(YY / 12) * np.cos(XX / 14)
    theirs = Background2D(frame, (4, 4), filter_size=1, sigma_clip=None, bkg_estimator=MeanBackground(sigma_clip=None)).background
    values, centres = statistics(frame[None], np.ones((32, 32), bool), 4, background.MEAN)
    ours = np.tensordot(values[0], background.interpolation_maps(centres, (32, 32)), axes=1)
    inner = slice(4, -4)
    # 1.3 % of the pattern's amplitude of 6
    assert np.abs(ours - theirs)[inner, inner].max() < 0.08
    assert np.abs(ours - frame)[inner, inner].max() < 0.1


def test_biweight_equals_astropy_and_clip_equals_astropy() -> None:
    values = np.concatenate([RNG.normal(10, 2, 60), [80.0, -50.0, 300.0, 12.0]])
    out, starts = np.empty((1, 1)), np.array([0, 64])
    background.group_statistics(values[None], np.arange(64), starts, background.BIWEIGHT, np.inf, 5, out)
    assert out[0, 0] == pytest.approx(float(biweight_location(values)), rel=1e-12)
    background.group_statistics(values[None], np.arange(64), starts, background.MEAN, 3.0, 5, out)
    assert out[0, 0] == pytest.approx(float(sigma_clip(values, sigma=3.0, maxiters=5).mean()), rel=1e-12)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_polynomial_surface_equals_astropy_and_recovers_its_own_degree(degree: int) -> None:
    frame = RNG.normal(20, 3, (32, 32))
    basis = background.polynomial_basis((32, 32), degree)
    maps = background.least_squares_maps(basis, SKY, None)
    ours = np.tensordot((maps * frame).sum(axis=(1, 2)), basis, axes=1)
    # astropy's own axes, scaled alike, so that both systems are well conditioned
    u, v = XX / 15.5 - 1, YY / 15.5 - 1
    fitted = LinearLSQFitter()(Polynomial2D(degree), u[SKY], v[SKY], frame[SKY])
    np.testing.assert_allclose(ours, fitted(u, v), rtol=0, atol=1e-9)
    truth = 5 + 2 * u**degree - v**degree
    again = np.tensordot((maps * truth).sum(axis=(1, 2)), basis, axes=1)
    np.testing.assert_allclose(again, truth, rtol=0, atol=1e-10)


@pytest.mark.parametrize("intervals", [1, 3, 6])
def test_spline_surface_recovers_planes_and_follows_curves(intervals: int) -> None:
    basis, penalty = background.spline_basis((32, 32), intervals)
    np.testing.assert_allclose(basis.sum(axis=0), 1.0, rtol=1e-12)
    maps = background.least_squares_maps(basis, SKY, penalty)
    plane = 30 + 0.4 * YY - 0.2 * XX
    np.testing.assert_allclose(np.tensordot((maps * plane).sum(axis=(1, 2)), basis, axes=1), plane, rtol=0, atol=1e-8)
    curve = plane + 0.01 * (YY - 15) ** 2
    loose = background.least_squares_maps(basis, SKY, 1e-7 * penalty)
    np.testing.assert_allclose(np.tensordot((loose * curve).sum(axis=(1, 2)), basis, axes=1), curve, rtol=0, atol=1e-3)


def test_penalized_surface_is_the_augmented_least_squares_solution() -> None:
    """Ridge rows stacked under the design, solved by numpy.linalg.lstsq."""
    basis, penalty = background.spline_basis((32, 32), 3)
    frame = RNG.normal(20, 3, (32, 32))
    values, vectors = np.linalg.eigh(penalty)
    rows = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    design = np.vstack([basis[:, SKY].T, rows])
    expected = np.linalg.lstsq(design, np.concatenate([frame[SKY], np.zeros(len(rows))]), rcond=None)[0]
    found = (background.least_squares_maps(basis, SKY, penalty) * frame).sum(axis=(1, 2))
    np.testing.assert_allclose(np.tensordot(found, basis, axes=1), np.tensordot(expected, basis, axes=1), rtol=0, atol=1e-7)


def test_mesh_surface_is_exact_for_a_plane_over_the_hole() -> None:
    plane = 30 + 0.4 * YY - 0.2 * XX
    values, centres = statistics(plane[None], SKY, 8, background.MEAN)
    np.testing.assert_allclose(np.tensordot(values[0], background.interpolation_maps(centres, (32, 32)), axes=1), plane, rtol=0, atol=1e-9)


def test_clipped_surface_is_the_fit_without_the_hits() -> None:
    frame = 30 + 0.4 * YY - 0.2 * XX + RNG.normal(0, 3, (32, 32))
    hit = frame.copy()
    hits = [(2, 3), (28, 7), (5, 30)]
    for y, x in hits:
        hit[y, x] += 5e3
    basis = background.polynomial_basis((32, 32), 1)
    out = np.empty((1, 3))
    chosen, pixels = np.ascontiguousarray(basis[:, SKY]), np.flatnonzero(SKY)
    background.clipped_surface(hit.reshape(1, -1), pixels, chosen, np.zeros((3, 3)), 4.0, 8, out)
    residual = frame - np.tensordot(out[0], basis, axes=1)
    kept = SKY & (np.abs(residual) < 4 * residual[SKY].std())
    for y, x in hits:
        kept[y, x] = False
    expected = (background.least_squares_maps(basis, kept, None) * frame).sum(axis=(1, 2))
    np.testing.assert_allclose(out[0], expected, rtol=0, atol=1e-9)


def test_a_mesh_without_three_boxes_is_their_mean() -> None:
    assert background.interpolation_maps(np.array([[1.0, 2.0], [3.0, 4.0]]), (5, 6)) == pytest.approx(np.full((2, 5, 6), 0.5))
