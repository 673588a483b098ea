"""Photometry on frames of known flux: absolute bias, predicted scatter, and what each choice changes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from photometry_case import READ, config, constants_of, extract, spectrum, star
from photutils.centroids import centroid_com

from v50calib.dq import DQ
from v50calib.stages.photometry.constants import LightCurves


def noisy(truth: np.ndarray, n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return truth + rng.standard_normal((n, *truth.shape), dtype=np.float32) * np.sqrt(READ**2 + truth)


@lru_cache
def tilted(instrument: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Light, background plane and 300 noisy frames of a star or spectrum."""
    rows, columns = np.mgrid[:32, : 356 if instrument == "AIRS-CH0" else 32]
    light = spectrum(np.linspace(8e3, 1e5, 356)) if instrument == "AIRS-CH0" else star(15.3, 15.4)
    plane = 20.0 + 0.1 * (rows - 15.5) + (0.1 * (columns - 15.4) if instrument == "FGS1" else 0.01 * columns)
    return light, plane, noisy(light + plane, 300, 23)


def window_light(truth: np.ndarray) -> np.ndarray:
    """Light of each science column inside the extraction window, ascending wavelength."""
    return truth[8:24].sum(axis=0)[39:321][::-1]


@pytest.mark.parametrize(("level", "limit_ppm"), [(1e4, 50.0), (1e3, 400.0)])
def test_optimal_extraction_is_unbiased_in_absolute_flux(level: float, limit_ppm: float) -> None:
    truth = spectrum(level)
    curves = extract(config(), noisy(truth + 2.0, 600, 21), "AIRS-CH0")
    bias = 1e6 * (curves.flux / window_light(truth) - 1).mean()
    error = 1e6 * np.sqrt(curves.variance.mean() / curves.flux.size) / level
    # 282 x 600 samples; the mean frame (profile, weights) comes from the same noise, as in a visit
    assert abs(bias) < limit_ppm + 3 * error
    assert error < 0.7 * limit_ppm


def test_optimal_beats_the_box_at_the_faint_end_by_the_predicted_factor() -> None:
    truth = spectrum(np.linspace(5.5e3, 1.5e5, 356), width=1.9)
    frames = noisy(truth, 600, 22)
    optimal = extract(config(), frames, "AIRS-CH0")
    box = extract(config(photometry={"method": "aperture"}, aperture={"shape": "box", "box": {"height_px": 16.0}}), frames, "AIRS-CH0")
    faint = slice(-40, None)

    def scatter(curves: LightCurves) -> np.ndarray:
        return (curves.flux / curves.flux.mean(axis=0))[:, faint].std(axis=0)

    def predicted(curves: LightCurves) -> np.ndarray:
        return np.sqrt(curves.variance.mean(axis=0))[faint] / curves.flux.mean(axis=0)[faint]

    gain, expected = (scatter(box) / scatter(optimal)).mean(), (predicted(box) / predicted(optimal)).mean()
    # written out: box variance 16 read² + F, optimal 1 / Σ P²/V
    column = truth[8:24, 39:79]
    direct = np.sqrt((16 * READ**2 + column.sum(axis=0)) * ((column / column.sum(axis=0)) ** 2 / (READ**2 + column)).sum(axis=0))
    assert expected == pytest.approx(direct.mean(), rel=0.01)
    # 40 columns x 600 pairs: the ratio of two correlated scatters is known to about 0.3 %
    assert gain == pytest.approx(expected, rel=0.01)
    assert gain > 1.02


CASES: list[tuple[str, dict[str, Any]]] = [
    ("FGS1", {"aperture": {"shape": "elliptical"}}),
    ("FGS1", {"aperture": {"edge_sampling": "subpixel"}}),
    ("FGS1", {"aperture": {"shape": "box"}, "background": {"method": "mesh"}}),
    ("FGS1", {"background": {"method": "poly2d", "poly2d": {"degree": 2}}}),
    ("FGS1", {"background": {"method": "poly2d", "robust": {"sigma_clip": 3.0}}}),
    ("FGS1", {"background": {"method": "spline2d"}}),
    ("FGS1", {"background": {"robust": {"sigma_clip": 3.0}}}),
    ("FGS1", {"photometry": {"method": "psf"}}),
    ("FGS1", {"photometry": {"method": "psf"}, "psf": {"model": "gaussian"}}),
    ("FGS1", {"photometry": {"method": "psf"}, "psf": {"mode": "matched_filter", "model": "gaussian"}}),
    ("AIRS-CH0", {}),
    ("AIRS-CH0", {"photometry": {"method": "aperture"}}),
    ("AIRS-CH0", {"background": {"method": "mesh"}}),
    ("AIRS-CH0", {"background": {"method": "mesh", "mesh": {"statistic": "mean"}}}),
    ("AIRS-CH0", {"background": {"method": "poly2d"}}),
    ("AIRS-CH0", {"background": {"method": "spline2d"}}),
    ("AIRS-CH0", {"background": {"robust": {"sigma_clip": 3.0}}}),
    ("AIRS-CH0", {"optimal": {"trace_model": "centerline_poly", "profile": {"model": "gaussian"}}}),
    ("AIRS-CH0", {"optimal": {"trace_model": "centerline_spline", "profile": {"refit": True}}}),
    ("AIRS-CH0", {"optimal": {"profile": {"variance_weighted": False}}}),
    ("AIRS-CH0", {"optimal": {"robust": {"sigma_clip": 6.0}}}),
    ("AIRS-CH0", {"centroid": {"method": "phase_corr"}}),
]


@pytest.mark.parametrize(("instrument", "sections"), CASES, ids=str)
def test_flux_and_error_bars_on_a_tilted_background(instrument: str, sections: dict[str, Any]) -> None:
    """Every method: the true flux, and scatter as predicted, with a background plane under the star."""
    light, plane, frames = tilted(instrument)
    curves = extract(config(**sections), frames, instrument)
    # the annulus, cut by the detector's edge, sees a plane off centre; the PSF window and the 7 px circle hold all but 1e-4
    truth = window_light(light) if instrument == "AIRS-CH0" else np.array([light.sum()])
    error = np.sqrt(curves.variance.mean(axis=0) / 300)
    pulls = (curves.flux.mean(axis=0) - truth) / np.hypot(error, 6e-4 * truth)
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size) + 0.3
    assert np.abs(pulls).max() < 5.0
    ratio = curves.flux.std(axis=0) / np.sqrt(curves.variance.mean(axis=0))
    # one series of 300 is known to 4 %
    assert ratio.mean() == pytest.approx(1.0, abs=0.12 if instrument == "FGS1" else 0.02)
    assert curves.background.mean() == pytest.approx(plane[:, 39:321].mean() if instrument == "AIRS-CH0" else 20.0, abs=0.5)


@pytest.mark.parametrize("method", ["barycenter", "gaussian2d", "quadratic", "phase_corr"])
def test_positions_follow_a_moving_star(method: str) -> None:
    rng = np.random.default_rng(24)
    places = np.array([15.3, 15.4]) + rng.normal(0, 0.1, (60, 2))
    frames = np.stack([star(y, x) for y, x in places]) + 3.0
    curves = extract(config(centroid={"method": method}), frames, "FGS1")
    # a parabola through three pixels bends with the sub-pixel place; the others follow it linearly
    limit = 0.08 if method == "quadratic" else 1e-3
    assert np.abs(np.stack([curves.y, curves.x], axis=1) - places - np.mean([curves.y - places[:, 0]])).max() < limit


def test_barycenter_in_a_roi_equals_photutils() -> None:
    rng = np.random.default_rng(25)
    frames = np.stack([star(y, x) for y, x in 15.4 + rng.normal(0, 0.1, (8, 2))])
    curves = extract(config(centroid={"roi": [9, 22, 10, 23]}, background={"method": "none"}), frames, "FGS1")
    theirs = np.array([centroid_com(f[9:22, 10:23]) for f in frames]) + np.array([10, 9])
    np.testing.assert_allclose(np.stack([curves.x, curves.y], axis=1), theirs, rtol=0, atol=1e-10)


def test_no_centroid_is_a_constant_place() -> None:
    frames = noisy(star(15.3, 15.4), 20, 26)
    curves = extract(config(centroid={"method": "none"}), frames, "FGS1")
    assert np.ptp(curves.x) == np.ptp(curves.y) == 0
    assert (curves.y[0], curves.x[0]) == pytest.approx((15.3, 15.4), abs=0.02)


def test_track_interpolates_and_flags_a_jump() -> None:
    frames = noisy(star(15.3, 15.4), 60, 27)
    frames[30] = noisy(star(18.3, 15.4), 1, 28)[0]
    free = extract(config(centroid={"method": "gaussian2d"}), frames, "FGS1")
    kept = extract(config(centroid={"method": "gaussian2d", "track": {"enabled": True, "smooth_window": 3}}), frames, "FGS1")
    assert free.y[30] == pytest.approx(18.3, abs=0.05)
    assert kept.y[30] == pytest.approx(15.3, abs=0.05)
    assert kept.flagged == {"centroid": 1}
    assert kept.dq[30, 0] & DQ.OUTLIER
    assert np.std(kept.x) < 0.8 * np.std(free.x)


def test_a_moving_aperture_holds_the_flux_of_a_wandering_star() -> None:
    places = 15.4 + np.stack([np.linspace(-0.8, 0.8, 80), np.zeros(80)], axis=1)
    frames = np.stack([star(y, x) for y, x in places]) + 3.0
    small = {"radius_px": 3.0}
    fixed = extract(config(aperture=small), frames, "FGS1", mean=frames.mean(axis=0))
    moving = extract(
        config(aperture={**small, "recenter_on_centroid": True}, centroid={"method": "gaussian2d"}),
        frames,
        "FGS1",
        mean=frames.mean(axis=0),
    )
    assert moving.flux.std() < 0.1 * fixed.flux.std()


@pytest.mark.parametrize("model", ["empirical", "gaussian"])
def test_aperture_correction_is_the_share_of_the_star(model: str) -> None:
    frames = noisy(star(15.3, 15.4) + 2.0, 144, 29)
    plain = extract(config(aperture={"radius_px": 2.5}), frames, "FGS1")
    corrected = extract(config(aperture={"radius_px": 2.5, "aperture_correction": {"enabled": True, "model": model}}), frames, "FGS1")
    ratio = corrected.flux / plain.flux
    assert np.ptp(ratio) < 1e-12
    assert ratio[0, 0] == pytest.approx(2e5 / plain.flux.mean(), rel=2e-3)
    assert (corrected.variance / plain.variance).mean() == pytest.approx(ratio[0, 0] ** 2, rel=1e-3)
    spectral = config(photometry={"method": "aperture"}, aperture={"radius_px": 2.0, "aperture_correction": {"enabled": True}})
    light = spectrum(5e4)
    airs = extract(spectral, noisy(light, 144, 30), "AIRS-CH0")
    assert airs.flux.mean() == pytest.approx(5e4, rel=1e-3)


@pytest.mark.parametrize(("treatment", "low", "high"), [("fill", 0.985, 1.015), ("rescale", 0.985, 1.015), ("omit", 0.80, 0.95)])
def test_masked_pixel_beside_the_peak(treatment: str, low: float, high: float) -> None:
    masked = np.zeros((32, 32), bool)
    masked[16, 15] = True
    curves = extract(config(aperture={"mask_treatment": treatment}), noisy(star(15.3, 15.4), 144, 31), "FGS1", masked=masked)
    assert low < curves.flux.mean() / 2e5 < high
    assert bool(curves.dq[0, 0] & DQ.FLUX_ESTIMATED) == (treatment != "omit")


def test_rejection_removes_a_hit_and_flags_its_channel() -> None:
    frames = noisy(spectrum(2e4), 200, 32)
    struck = frames.copy()
    struck[50, 17, 200] += 1e4
    cfg = config(optimal={"robust": {"sigma_clip": 6.0}}, outlier_replace={"enabled": False})
    clean, hit = (extract(cfg, f, "AIRS-CH0", mean=frames.mean(axis=0)) for f in (frames, struck))
    channel = 320 - 200
    assert hit.dq[50, channel] & DQ.OUTLIER
    assert hit.dq[50, channel] & DQ.FLUX_ESTIMATED
    assert abs(hit.flux[50, channel] - clean.flux[50, channel]) < 3 * np.sqrt(hit.variance[50, channel])
    plain = extract(config(outlier_replace={"enabled": False}), struck, "AIRS-CH0", mean=frames.mean(axis=0))
    assert plain.flux[50, channel] - clean.flux[50, channel] > 1000
    assert (hit.dq[:, np.arange(282) != channel] & DQ.OUTLIER == 0).mean() > 0.999


def test_failed_psf_fit_is_the_matched_filter_and_flagged() -> None:
    frames = noisy(star(15.3, 15.4), 40, 33)
    frames[7] = noisy(star(25.0, 5.0), 1, 34)[0]
    cfg = config(photometry={"method": "psf"}, outlier_replace={"enabled": False})
    curves = extract(cfg, frames, "FGS1", mean=frames[:7].mean(axis=0))
    assert curves.dq[7, 0] & DQ.OUTLIER
    assert np.isfinite(curves.flux).all()
    assert abs(curves.flux[7, 0]) < 0.1 * 2e5
    assert curves.y[7] == pytest.approx(15.3, abs=0.1)


def test_kernel_from_a_file(tmp_path: Any) -> None:
    path = tmp_path / "psf.npy"
    np.save(path, star(8.0, 8.0, 1.0, shape=(17, 17)))
    cfg = config(photometry={"method": "psf"}, psf={"kernel_path": str(path)})
    curves = extract(cfg, noisy(star(15.3, 15.4), 100, 35), "FGS1")
    assert curves.flux.mean() == pytest.approx(2e5, rel=3e-3)


def test_flags_of_each_threshold() -> None:
    frames = noisy(star(15.3, 15.4) + 3.0, 300, 36)
    frames[40] += 60.0
    frames[90] = noisy(star(16.4, 15.4) + 3.0, 1, 37)[0]
    masked = np.zeros((32, 32), bool)
    masked[16, 15] = True
    flags = {"excessive_bkg": 8.0, "off_center": 0.5, "too_many_replaced": 0.01, "low_snr": 1e4}
    curves = extract(config(flags=flags), frames, "FGS1", masked=masked)
    assert curves.flagged == {"excessive_bkg": 1, "off_center": 1, "too_many_replaced": 1, "low_snr": 1}
    assert np.flatnonzero(curves.dq[:, 0] & DQ.OUTLIER).tolist() == [40, 90]
    assert (curves.dq & DQ.DO_NOT_USE).all()
    calm = extract(config(flags={"too_many_replaced": 0.9, "low_snr": 1.0}), frames, "FGS1", masked=masked)
    assert calm.flagged == {}


@pytest.mark.parametrize("key", ["include_shot_noise", "include_background_var"])
def test_noise_terms_can_be_left_out(key: str) -> None:
    frames = noisy(star(15.3, 15.4) + 30.0, 144, 38)
    whole, part = extract(config(), frames, "FGS1"), extract(config(noise_model={key: False}), frames, "FGS1")
    assert part.variance.mean() < whole.variance.mean() * (0.5 if key == "include_shot_noise" else 0.9999)
    if key == "include_shot_noise":
        # a circle of 7 px: read noise alone, and what the background adds to a pair
        area = (constants_of(config(), frames.mean(axis=0), "FGS1").maps.flux ** 2).sum()
        assert part.variance.mean() == pytest.approx(area * READ**2, rel=0.02)
