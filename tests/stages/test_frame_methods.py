"""Methods of adc, nonlinearity, dark and flat: a detector with known everything, inverted.

Tolerance where nothing else is said: a code is 0.125 e-, so a difference of two rounded reads is off by 0.125 e- at most,
and by 0.2 e- after a flat of 0.8.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage
from tests.stages.detector import SHAPE, Detector, cds_of, pipeline

from v50calib.dq import DQ
from v50calib.engine.plan import check_folded
from v50calib.engine.steps import check_finite
from v50calib.errors import ConfigError, DataError
from v50calib.stages.tile import PixelPolynomial, Tile

CODE = 0.2
YY, XX = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)


def saved(folder: Path, name: str, values: Any) -> str:
    np.save(folder / f"{name}.npy", np.asarray(values))
    return str(folder / f"{name}.npy")


def pixel_dq(ds: xr.Dataset, **calib: Any) -> np.ndarray:
    return pipeline(**calib)(ds)["pixel_dq"].compute(scheduler="sync").to_numpy()


def prepared(ds: xr.Dataset, **calib: Any) -> Any:
    """VisitConstants of a visit."""
    from v50calib.engine.visit import visit_input

    pipe = pipeline(**calib)
    raw = ds["raw_frames"].to_numpy()
    return pipe.engine.prepare(visit_input(ds), lambda a, b: raw[a:b])


# adc


def test_the_dataset_s_own_constants() -> None:
    detector = Detector()
    np.testing.assert_allclose(cds_of(detector.visit()), detector.truth(), atol=CODE)


def test_offset_and_gain_per_pixel_and_per_channel(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    gain, offset = rng.uniform(7.0, 9.0, SHAPE), rng.uniform(-120.0, -80.0, SHAPE)
    detector = Detector(gain=gain, offset=offset, quadratic=2e-6)
    both = {"offset_correction": {"method": "per_pixel", "map_path": saved(tmp_path, "o", offset)}}
    both["gain_correction"] = {"method": "per_pixel", "map_path": saved(tmp_path, "g", gain)}
    np.testing.assert_allclose(cds_of(detector.visit(), adc=both), detector.truth(), atol=CODE)
    assert np.abs(cds_of(detector.visit()) - detector.truth()).max() > 100
    (tmp_path / "gain.csv").write_text("gain\n" + "\n".join(map(repr, gain[0].tolist())), encoding="utf-8")
    detector = Detector(gain=np.broadcast_to(gain[0], SHAPE))
    table = {"gain_correction": {"method": "per_channel", "table_path": str(tmp_path / "gain.csv")}}
    np.testing.assert_allclose(cds_of(detector.visit(), adc=table), detector.truth(), atol=CODE)


def test_a_relative_gain_map_keeps_the_dataset_s_gain(tmp_path: Path) -> None:
    relative = np.random.default_rng(3).uniform(0.9, 1.1, SHAPE)
    detector = Detector(gain=8.0 * relative / relative.mean())
    section = {"gain_correction": {"method": "per_pixel", "map_path": saved(tmp_path, "g", 5 * relative), "renormalize_to_mean_one": True}}
    np.testing.assert_allclose(cds_of(detector.visit(), adc=section), detector.truth(), atol=CODE)


def test_conversion_gain_is_the_gain_s_reciprocal() -> None:
    detector = Detector()
    ds = detector.visit()
    ds.attrs["adc_gain"] = 3.0
    np.testing.assert_allclose(cds_of(ds, adc={"detector": {"conversion_gain_e_per_adu": 1 / 8}}), detector.truth(), atol=CODE)


def test_a_pixel_without_a_gain_is_flagged_and_left_out(tmp_path: Path) -> None:
    gain = np.full(SHAPE, 8.0)
    gain[3, 4], gain[5, 6] = np.nan, 0.0
    section = {"gain_correction": {"method": "per_pixel", "map_path": saved(tmp_path, "g", gain)}}
    detector = Detector()
    flags, cds = pixel_dq(detector.visit(), adc=section), cds_of(detector.visit(), adc=section)
    lost = np.isnan(cds[0])
    assert sorted(map(tuple, np.argwhere(lost).tolist())) == [(3, 4), (5, 6)]
    assert (flags[lost] & (DQ.NO_GAIN_VALUE | DQ.DO_NOT_USE) == DQ.NO_GAIN_VALUE | DQ.DO_NOT_USE).all()
    np.testing.assert_allclose(cds[:, ~lost], detector.truth()[:, ~lost], atol=CODE)


@pytest.mark.parametrize("strategy", ["border_mean", "mask_mean", "per_row", "per_col"])
def test_reference_pixels_take_away_a_drift_that_cds_does_not(tmp_path: Path, strategy: str) -> None:
    """Pedestal that moves between reads, per frame (or row, or column) and the same in reference pixels that see no light."""
    detector = Detector(quadratic=0.0)
    border = {"top": 2, "bottom": 2, "left": 2, "right": 2}
    dark_pixels = np.ones(SHAPE, bool)
    dark_pixels[2:-2, 2:-2] = False
    detector.rate[dark_pixels], detector.dark[:] = 0.0, 0.0
    n = 2 * detector.pairs
    shape = {"per_row": (n, SHAPE[0], 1), "per_col": (n, 1, SHAPE[1])}.get(strategy, (n, 1, 1))
    detector.extra = detector.rng.normal(0, 12, shape)
    section: dict[str, Any] = {"use": True, "strategy": strategy, "border": border}
    if strategy == "mask_mean":
        section["mask_path"] = saved(tmp_path, "mask", dark_pixels)
    with_drift = cds_of(detector.visit())
    without = cds_of(detector.visit(), adc={"reference_pixel": section})
    assert np.abs(with_drift - detector.truth()).max() > 10
    np.testing.assert_allclose(without, detector.truth(), atol=2 * CODE)
    assert any("has no reference pixels" in note for note in prepared(detector.visit(), adc={"reference_pixel": section}).state.notes)


@pytest.mark.parametrize("mode", ["col_median", "row_median", "both"])
def test_fixed_pattern_stripes_are_removed(tmp_path: Path, mode: str) -> None:
    """Stripes that change from read to read; half of the detector is blank, and the medians are taken there."""
    detector = Detector()
    blank = detector.rng.random(SHAPE) < 0.6
    detector.rate[blank], detector.dark[:], detector.flat[:] = 0.0, 0.0, 1.0
    n = 2 * detector.pairs
    columns, rows = (detector.rng.normal(0, 8, s) for s in ((n, 1, SHAPE[1]), (n, SHAPE[0], 1)))
    columns -= np.median(columns, axis=2, keepdims=True)
    rows -= np.median(rows, axis=1, keepdims=True)
    detector.extra = columns * (mode != "row_median") + rows * (mode != "col_median")
    section = {"enabled": True, "mode": mode, "valid_mask_path": saved(tmp_path, "valid", blank)}
    out = cds_of(detector.visit(), adc={"fpn_cleanup": section})
    before = np.abs(cds_of(detector.visit()) - detector.truth()).std()
    residual = out - detector.truth()
    # what is left is one number a frame: the medians' own level
    per_frame = np.median(residual, axis=(1, 2), keepdims=True)
    left = (residual - per_frame).std() / before
    print(f"{mode}: {left:.3f} of the stripes left")
    # one direction alone is exact but for rounding; both at once disturb each other's medians over 6 pixels
    assert left < (0.02 if mode != "both" else 0.3)


def test_stripes_without_a_mask_are_warned_about() -> None:
    notes = prepared(Detector().visit(), adc={"fpn_cleanup": {"enabled": True}}).state.notes
    assert any("removes the spectrum's background" in note for note in notes)


@pytest.mark.parametrize("method", ["poly", "lut-linear", "lut-pchip"])
def test_linearization_in_adu(tmp_path: Path, method: str) -> None:
    """Codes u of a detector whose linear code is v = u + a u²; the table is exact at its rows (linear: 1e-3 code between)."""
    detector, a = Detector(), 1.5e-6
    ds = detector.visit()
    linear = ds["raw_frames"].to_numpy().astype(float)
    ds["raw_frames"] = (ds["raw_frames"].dims, np.rint((np.sqrt(1 + 4 * a * linear) - 1) / (2 * a)).astype(np.uint16))
    if method == "poly":
        section = {"method": "poly", "poly_coeffs": [0.0, 1.0, a * 1000.0], "poly_norm_adu": 1000.0}
    else:
        u = np.linspace(0, 65535, 1200)
        table = np.stack([u, u + a * u**2], axis=1)
        section = {"method": "lut", "lut_path": saved(tmp_path, "lut", table), "lut_interp": method.removeprefix("lut-")}
    out = cds_of(ds, adc={"linearization": section}, nonlinearity={"enabled": False})
    np.testing.assert_allclose(out, detector.truth(), atol=1.5 * CODE)


def test_linearizing_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"linearization.method=poly and calib.nonlinearity.method=auto both correct"):
        pipeline(adc={"linearization": {"method": "poly", "poly_coeffs": [0.0, 1.0, 1e-9]}})


def test_clip_is_what_the_note_says() -> None:
    """Blank short reads with read noise 2 e-: clipping at 0 raises their mean by sigma/sqrt(2 pi)."""
    detector = Detector(pairs=200)
    detector.rate[:], detector.dark[:] = 0.0, 0.0
    detector.extra = detector.rng.normal(0, 2.0, (400, *SHAPE))
    ds = detector.visit()
    clipped = pipeline(adc={"clip": {"min": 0.0}}).until("adc")(ds)["adc_corrected"].compute(scheduler="sync").to_numpy()
    np.testing.assert_allclose(clipped.mean(), 2.0 / np.sqrt(2 * np.pi), rtol=0.02)
    assert any("rectifies read noise" in note for note in prepared(ds, adc={"clip": {"min": 0.0}}).state.notes)


def test_output_in_adu() -> None:
    detector = Detector()
    detector.dark[:] = 0.0
    off = {"nonlinearity": {"enabled": False}, "dark": {"dark_model": {"method": "none"}}}
    ds = pipeline(adc={"units_out": "ADU"}, **off)(detector.visit()).compute(scheduler="sync")
    np.testing.assert_allclose(ds["cds_corrected"], 8.0 * detector.truth(), atol=8 * CODE)
    assert ds["cds_corrected"].attrs["units"] == "ADU"
    with pytest.raises(ConfigError, match=r"calib\.nonlinearity, calib\.dark take electrons"):
        pipeline(adc={"units_out": "ADU"})


def test_saturation_level_is_in_electrons_through_a_linearization() -> None:
    detector = Detector()
    ds = detector.visit()
    adc = {"detector": {"saturation_level_e": 2000.0}, "linearization": {"method": "poly", "poly_coeffs": [0.0, 1.0, 1e-6]}}
    chained = pipeline(adc=adc, nonlinearity={"enabled": False}).until("adc")(ds).compute(scheduler="sync")
    saturated = (chained["adc_corrected_frame_dq"].to_numpy() & DQ.SATURATED).astype(bool)
    np.testing.assert_array_equal(saturated, chained["adc_corrected"].to_numpy() >= 2000.0)
    assert 0 < saturated.sum() < saturated.size


def test_histogram_guard() -> None:
    detector = Detector()
    quality = {"enabled": True, "histogram_after": {"bins": 32, "max_saturated_frac": 0.0}}
    adc = {"detector": {"saturation_level_e": 3000.0}, "quality_checks": quality}
    state = prepared(detector.visit(), adc=adc).state
    codes = detector.visit()["raw_frames"].to_numpy()
    share = float(np.mean((codes / 8.0 - 100.0) >= 3000.0))
    assert state.qc["adc"]["saturated_fraction"] == pytest.approx(share, abs=1e-12)
    assert sum(state.qc["adc"]["histogram_counts"]) == codes.size
    assert any("are saturated, more than" in note for note in state.notes)
    with pytest.raises(DataError, match=r"max_saturated_frac=0\.0"):
        prepared(detector.visit(), adc=adc | {"quality_checks": quality | {"action_on_fail": "error"}})


# nonlinearity


@pytest.mark.parametrize("method", ["auto", "poly", "per_pixel", "lut"])
def test_linearity_is_inverted(tmp_path: Path, method: str) -> None:
    q = 3e-6
    detector = Detector(quadratic=q)
    section: dict[str, Any] = {"method": method}
    if method == "poly":
        section["poly_coeffs"] = [0.0, 1.0, q]
    elif method == "per_pixel":
        section["map_path"] = saved(tmp_path, "c", np.broadcast_to(np.array([0.0, 1.0, q])[:, None, None], (3, *SHAPE)))
    elif method == "lut":
        e = np.linspace(-200, 6000, 2000)
        section["lut_path"] = saved(tmp_path, "lut", np.stack([e, e + q * e**2], axis=1))
    np.testing.assert_allclose(cds_of(detector.visit(), nonlinearity=section), detector.truth(), atol=CODE)
    assert np.abs(cds_of(detector.visit(), nonlinearity={"method": "none"}) - detector.truth()).max() > 10


def test_variance_follows_the_slope(tmp_path: Path) -> None:
    """Against a Monte Carlo of the look-up: var_out = slope² var_in, slope from finite differences of the correction itself."""
    e = np.linspace(-200, 6000, 400)
    path = saved(tmp_path, "lut", np.stack([e, e + 4e-5 * e**2], axis=1))
    pipe = pipeline(nonlinearity={"method": "lut", "lut_path": path, "lut_interp": "pchip"})
    ds = pipe.until("nonlinearity")(Detector().visit()).compute(scheduler="sync")
    seen = ds["raw_frames"].to_numpy() / 8.0 - 100.0
    np.testing.assert_allclose(ds["adc_corrected_var_rnoise"], 4.0 * (1 + 8e-5 * seen) ** 2, rtol=2e-3)


def test_garbage_coefficients_get_identity_and_a_flag() -> None:
    detector = Detector(quadratic=2e-6)
    ds = detector.visit()
    coef = ds["linear_corr"].to_numpy().copy()
    coef[2, 1, 1], coef[1, 2, 2], coef[2, 3, 3] = np.nan, -1.0, 5e-5
    ds["linear_corr"] = (("order", "y", "x"), coef)
    section = {"max_correction_frac": 0.3}
    bad = (pixel_dq(ds, nonlinearity=section) & DQ.NO_LIN_CORR).astype(bool)
    assert sorted(map(tuple, np.argwhere(bad).tolist())) == [(1, 1), (2, 2), (3, 3)]
    chained = pipeline(nonlinearity=section).until("nonlinearity")(ds).compute(scheduler="sync")["adc_corrected"].to_numpy()
    seen = ds["raw_frames"].to_numpy() / 8.0 - 100.0
    np.testing.assert_allclose(chained[:, bad], seen[:, bad], rtol=1e-12)
    np.testing.assert_allclose(chained[:, ~bad], detector.electrons()[:, ~bad], atol=CODE)


def test_beyond_the_valid_range_the_correction_is_frozen_and_flagged() -> None:
    detector = Detector(quadratic=3e-6)
    section = {"valid_range": [0.0, 2000.0]}
    ds = detector.visit()
    out = pipeline(nonlinearity=section).until("nonlinearity")(ds).compute(scheduler="sync")["adc_corrected"].to_numpy()
    seen = ds["raw_frames"].to_numpy() / 8.0 - 100.0
    np.testing.assert_allclose(out, seen + 3e-6 * np.clip(seen, 0.0, 2000.0) ** 2, atol=1e-9)
    flags = prepared(ds, nonlinearity=section).state.pixel_dq
    np.testing.assert_array_equal((flags & DQ.NONLINEAR).astype(bool), ((seen > 2000.0) | (seen < 0.0)).any(axis=0))


# dark


def test_master_dark_scales_with_exposure(tmp_path: Path) -> None:
    detector = Detector()
    section = {
        "dark_model": {"method": "master"},
        "master": {"path": saved(tmp_path, "m", 30.0 * detector.dark), "reference_exposure_s": 30.0},
    }
    ds = detector.visit()
    ds["dark"] = 0.0 * ds["dark"]
    np.testing.assert_allclose(cds_of(ds, dark=section), detector.truth(), atol=CODE)
    section["master"] = {"path": section["master"]["path"], "scale_exposure": False}  # type: ignore[index]
    left = cds_of(ds, dark=section) - detector.truth()
    np.testing.assert_allclose(left, np.broadcast_to(detector.dark / detector.flat, left.shape), atol=CODE)
    assert any("cancels in every CDS pair" in note for note in prepared(ds, dark=section).state.notes)


@pytest.mark.parametrize("units", ["e_per_s", "adu_per_s"])
def test_rate_map_in_both_units(tmp_path: Path, units: str) -> None:
    detector = Detector()
    values = detector.dark * (8.0 if units == "adu_per_s" else 1.0)
    section = {"dark_model": {"method": "per_pixel_map"}, "per_pixel_map": {"map_path": saved(tmp_path, "d", values), "units": units}}
    ds = detector.visit()
    ds["dark"] = 0.0 * ds["dark"]
    np.testing.assert_allclose(cds_of(ds, dark=section), detector.truth(), atol=CODE)


@pytest.mark.parametrize("method", ["linear", "arrhenius"])
def test_dark_follows_the_temperature(method: str) -> None:
    detector = Detector()
    kelvin = 45.0 + 2.0 * np.sin(np.arange(2 * detector.pairs) / 5.0)
    if method == "linear":
        detector.dark_scale = 1.0 + 0.2 * (kelvin - 45.0)
        keys = {"slope_per_K": 0.2}
    else:
        detector.dark_scale = np.exp(-0.05 / 8.617333262e-5 * (1 / kelvin - 1 / 45.0))
        keys = {"activation_energy_eV": 0.05}
    section = {"temperature": {"enabled": True, "method": method, "ref_temp_K": 45.0, "temp_key": "cold_plate", **keys}}
    ds = detector.visit(cold_plate=kelvin)
    np.testing.assert_allclose(cds_of(ds, dark=section), detector.truth(), atol=CODE)
    assert np.abs(cds_of(ds) - detector.truth()).max() > 5
    with pytest.raises(ConfigError, match=r"no 'cold_plate' on its time axis.*enabled=auto"):
        cds_of(detector.visit(), dark=section)
    auto = section | {"temperature": section["temperature"] | {"enabled": "auto"}}
    assert any("dark.temperature is off" in note for note in prepared(detector.visit(), dark=auto).state.notes)


def test_pedestals() -> None:
    """A pedestal that differs between the reads of a ramp does not cancel in CDS; a blank region knows it."""
    detector = Detector()
    detector.rate[:3], detector.dark[:3] = 0.0, 0.0
    detector.extra = detector.rng.normal(0, 10, (2 * detector.pairs, 1, 1))
    out = cds_of(detector.visit(), dark={"pedestal": {"enabled": True, "roi": [0, 3, 0, 10]}})
    np.testing.assert_allclose(out, detector.truth(), atol=2 * CODE)
    fixed = {"pedestal": {"enabled": True, "fixed_value": 25.0}}
    ds = Detector().visit()
    both = [pipeline(dark=d).until("dark")(ds)["dark_corrected"].compute(scheduler="sync").to_numpy() for d in ({}, fixed)]
    np.testing.assert_allclose(both[0] - both[1], 25.0, atol=1e-9)
    np.testing.assert_allclose(cds_of(ds, dark=fixed), cds_of(ds), atol=1e-9)


def test_hot_pixels_grow_by_a_disc() -> None:
    detector = Detector()
    ds = detector.visit()
    dark = np.full(SHAPE, 10.0) + detector.rng.normal(0, 0.1, SHAPE)
    dark[6, 5] = 900.0
    ds["dark"] = (("y", "x"), dark)
    section = {"bad_pixel_handling": {"hot_pixel_detection": {"dilate_radius_px": 2}}}
    hot = (pixel_dq(ds, dark=section) & DQ.HOT).astype(bool)
    np.testing.assert_array_equal(hot, (YY - 6) ** 2 + (XX - 5) ** 2 <= 4)


@pytest.mark.parametrize("mode", ["median4", "median8", "gaussian3"])
def test_bad_pixels_are_filled_from_their_neighbours(tmp_path: Path, mode: str) -> None:
    """Dead and listed pixels on a smooth scene; SciPy's filter over good neighbours is the oracle."""
    detector = Detector()
    detector.rate, detector.flat = 1000.0 + 20.0 * YY + 30.0 * XX, np.ones(SHAPE)
    detector.dead[4, 4] = True
    listed = np.zeros(SHAPE)
    listed[8, 2] = 1
    ds = detector.visit()
    ds["raw_frames"][:, 4, 4] = 900
    handling = {"bpm_path": saved(tmp_path, "bpm", listed), "replace": {"mode": mode}}
    out = cds_of(ds, dark={"bad_pixel_handling": handling})
    bad = detector.dead | (listed != 0)
    plain = cds_of(ds, dark={"bad_pixel_handling": {"bpm_path": handling["bpm_path"]}})
    assert np.isnan(plain[:, bad]).all()
    assert np.isfinite(out).all()
    truth = np.where(bad, np.nan, detector.truth()[0])
    footprint = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]) if mode == "median4" else np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
    kernel = np.exp(-0.5 * (np.mgrid[-1:2, -1:2] ** 2).sum(axis=0))
    if mode == "gaussian3":
        oracle = ndimage.convolve(np.nan_to_num(truth), kernel) / ndimage.convolve((~bad).astype(float), kernel)
    else:
        oracle = ndimage.generic_filter(truth, np.nanmedian, footprint=footprint, mode="constant", cval=np.nan)
    np.testing.assert_allclose(out[:, bad], np.broadcast_to(oracle[bad], (detector.pairs, 2)), atol=CODE)
    flags = pixel_dq(ds, dark={"bad_pixel_handling": handling})
    assert (flags[bad] & DQ.FLUX_ESTIMATED).all()
    handling["replace"] = {"mode": mode, "max_replace_fraction": 0.01}
    with pytest.raises(DataError, match=r"would fill 1.67% of FGS1's pixels, more than max_replace_fraction=0.01"):
        cds_of(ds, dark={"bad_pixel_handling": handling})


@pytest.mark.parametrize("replace_mode", ["interpolate", "median", "none"])
def test_cosmic_rays_are_found_and_bridged(replace_mode: str) -> None:
    """Hits of 60-400 e- on second reads, noise 2 e- a read (limit 20 sigma of about 2.4): all found, nothing else."""
    detector = Detector(pairs=60)
    detector.light = 1.0 - 0.02 * (np.abs(np.arange(60) - 30) < 10)
    noise = detector.rng.normal(0, 2.0, (120, *SHAPE))
    hits = np.zeros((120, *SHAPE))
    where = [(1, 0, 0), (41, 3, 3), (43, 7, 7), (77, 11, 9), (119, 5, 5)]
    for k, at in enumerate(where):
        hits[at] = 400.0 - 60.0 * k
    detector.extra = noise
    clean = cds_of(detector.visit())
    detector.extra = noise + hits
    struck = detector.visit()
    section = {"cosmic_rays": {"enabled": True, "replace_mode": replace_mode}}
    pipe = pipeline(dark=section)
    ds = pipe.until("cds")(struck).compute(scheduler="sync")
    jump = (ds["cds_corrected_frame_dq"].to_numpy() & DQ.JUMP_DET).astype(bool)
    assert sorted(map(tuple, np.argwhere(jump).tolist())) == sorted((t // 2, y, x) for t, y, x in where)
    out = pipe(struck)["cds_corrected"].compute(scheduler="sync").to_numpy()
    np.testing.assert_allclose(out[~jump], clean[~jump], rtol=1e-14)
    if replace_mode == "none":
        assert np.abs(out[jump] - clean[jump]).min() > 100
    else:
        # noise of the interpolated read, its neighbours and the lost one, over a flat of 0.8; 5 sigma
        assert np.abs(out[jump] - clean[jump]).max() < 5 * 2.0 * 2 / 0.8 + 0.02 * 4000 * 0.1


def early_hits(detector: Detector) -> tuple[xr.Dataset, xr.Dataset, list[tuple[int, int, int]]]:
    """A visit without and with charge of 150-2000 e- that fell before the first read of some ramps: both reads hold it.

    Second reads scatter more than first ones (20 e- against 2 e-), as a bright pixel's do: the smaller charges stay below their limit.
    """
    noise = detector.rng.normal(0, 1.0, (2 * detector.pairs, *SHAPE)) * np.tile([2.0, 20.0], detector.pairs)[:, None, None]
    where = [(0, 0, 0), (7, 3, 3), (9, 3, 3), (20, 11, 9), (33, 6, 2), (detector.pairs - 1, 5, 5)]
    hits = np.zeros_like(noise)
    for k, (pair, y, x) in enumerate(where):
        hits[2 * pair : 2 * pair + 2, y, x] = (150.0, 2000.0, 900.0, 300.0, 1500.0, 600.0)[k]
    detector.extra = noise
    clean = detector.visit()
    detector.extra = noise + hits
    return clean, detector.visit(), where


def test_charge_from_before_the_first_read_leaves_the_difference_as_it_is() -> None:
    """Oracle: the same visit without the hits. The difference of two reads that share a charge never saw it."""
    clean, struck, where = early_hits(Detector(pairs=60))
    section = {"cosmic_rays": {"enabled": True}}
    ds = pipeline(dark=section).until("cds")(struck).compute(scheduler="sync")
    np.testing.assert_allclose(ds["cds_corrected"], cds_of(clean), atol=2 * CODE)
    flags = ds["cds_corrected_frame_dq"].to_numpy()
    for at in where:
        assert flags[at] & DQ.JUMP_DET


def test_charge_from_before_the_first_read_reaches_no_running_baseline() -> None:
    """A mode that subtracts other ramps' first reads needs both reads free of it: within the noise of the estimate, 5 sigma of 3 e-."""
    clean, struck, _ = early_hits(Detector(pairs=60))
    mode = {"cds": {"mode": "rolling_window"}, "rolling_window": {"baseline": "mean", "half_window": 2}}
    section = {"cosmic_rays": {"enabled": True}}
    np.testing.assert_allclose(cds_of(struck, dark=section, cds=mode), cds_of(clean, cds=mode), atol=5 * 3.0 / 0.8)


def test_a_first_read_that_alone_is_off_is_filled_alone() -> None:
    detector = Detector(pairs=40)
    noise = detector.rng.normal(0, 2.0, (80, *SHAPE))
    detector.extra = noise
    clean = cds_of(detector.visit())
    detector.extra = noise.copy()
    detector.extra[30, 4, 4] += 700.0
    out = cds_of(detector.visit(), dark={"cosmic_rays": {"enabled": True}})
    assert abs(out[15, 4, 4] - clean[15, 4, 4]) < 5 * 3.0 / 0.8
    others = np.ones(out.shape, bool)
    others[15, 4, 4] = False
    np.testing.assert_allclose(out[others], clean[others], rtol=1e-14)


def test_two_hits_in_one_ramp_are_both_filled() -> None:
    """One before the first read, one between the reads: the difference holds the second, and is estimated from its neighbours."""
    detector = Detector(pairs=40)
    detector.extra = detector.rng.normal(0, 2.0, (80, *SHAPE))
    detector.extra[30:32, 4, 4] += 700.0
    detector.extra[31, 4, 4] += 900.0
    out = cds_of(detector.visit(), dark={"cosmic_rays": {"enabled": True}})
    assert abs(out[15, 4, 4] - detector.truth()[15, 4, 4]) < 5 * 3.0 / 0.8


def test_a_frame_with_too_many_hits_keeps_its_values() -> None:
    detector = Detector(pairs=40)
    detector.extra = detector.rng.normal(0, 2.0, (80, *SHAPE))
    detector.extra[41] += 500.0
    section = {"cosmic_rays": {"enabled": True}}
    ds = detector.visit()
    chained = pipeline(dark=section).until("cds")(ds).compute(scheduler="sync")
    jump = (chained["cds_corrected_frame_dq"].to_numpy() & DQ.JUMP_DET).astype(bool)
    assert jump[20].all()
    assert jump.sum() == jump[20].size
    np.testing.assert_allclose(cds_of(ds, dark=section), cds_of(ds), atol=1e-9)


def test_growing_hits_flags_their_neighbours() -> None:
    detector = Detector(pairs=30)
    detector.extra = detector.rng.normal(0, 2.0, (60, *SHAPE))
    detector.extra[31, 5, 5] += 900.0
    section = {"cosmic_rays": {"enabled": True, "grow_radius_px": 1, "max_replace_fraction": 0.1}}
    chained = pipeline(dark=section).until("cds")(detector.visit()).compute(scheduler="sync")
    jump = (chained["cds_corrected_frame_dq"].to_numpy() & DQ.JUMP_DET).astype(bool)
    np.testing.assert_array_equal(jump[15], (YY - 5) ** 2 + (XX - 5) ** 2 <= 1)


def test_astroscrappy_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install astroscrappy, or use detector=temporal"):
        pipeline(dark={"cosmic_rays": {"enabled": True, "detector": "astroscrappy"}})


def test_astroscrappy_finds_a_sharp_hit() -> None:
    pytest.importorskip("astroscrappy")
    detector = Detector(pairs=8)
    detector.rate[:], detector.flat[:] = 300.0, 1.0
    detector.extra = detector.rng.normal(0, 2.0, (16, *SHAPE))
    detector.extra[9, 6, 4] += 3000.0
    section = {"cosmic_rays": {"enabled": True, "detector": "astroscrappy", "sigma_threshold": 10.0}}
    chained = pipeline(dark=section).until("cds")(detector.visit()).compute(scheduler="sync")
    jump = (chained["cds_corrected_frame_dq"].to_numpy() & DQ.JUMP_DET).astype(bool)
    assert jump[4, 6, 4]
    assert jump.sum() <= 9
    assert abs(chained["cds_corrected"].to_numpy()[4, 6, 4] - 300.0) < 25.0


# flat


@pytest.mark.parametrize("method", ["poly2d", "spline2d", "gaussian"])
def test_a_lamp_s_illumination_is_divided_out_of_a_master_flat(tmp_path: Path, method: str) -> None:
    """Master = response x lamp; the fit absorbs the response's own large-scale part, sqrt(terms / pixels) of its 2 % scatter."""
    detector = Detector()
    detector.flat = detector.rng.normal(1.0, 0.02, SHAPE)
    lamp = 3000.0 * (1.0 + 0.3 * (YY / 12) - 0.2 * (XX / 10))
    master = {"path": saved(tmp_path, "flat", detector.flat * lamp)}
    master["illumination_normalization"] = {"enabled": True, "method": method, "degree": 1, "knots": 1, "sigma_px": 2.5}  # type: ignore[assignment]
    out = cds_of(detector.visit(), flat={"flat_model": {"method": "master"}, "master": master})
    error = out[0] / detector.truth()[0] - 1
    bound = {"poly2d": 0.02 * np.sqrt(3 / 120), "spline2d": 0.02 * np.sqrt(25 / 120), "gaussian": 0.03}[method]
    assert np.sqrt(np.mean((error - error.mean()) ** 2)) < 1.3 * bound
    assert abs(error.mean()) < 0.01


def test_spectral_and_hybrid_flats(tmp_path: Path) -> None:
    detector = Detector()
    channels = np.array([0.9, 1.0, 1.1, 1.05, 0.95])
    remap = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    pixels = detector.flat.copy()
    spectral = {"path": saved(tmp_path, "s", channels), "channel_remap": remap}
    detector.flat = pixels * channels[remap]
    master = {"path": saved(tmp_path, "m", pixels)}
    out = cds_of(detector.visit(), flat={"flat_model": {"method": "hybrid"}, "master": master, "spectral": spectral})
    np.testing.assert_allclose(out, detector.truth(), atol=CODE)
    detector.flat = np.broadcast_to(channels[remap], SHAPE).copy()
    flat = {"flat_model": {"method": "spectral"}, "spectral": spectral | {"per_channel_norm": True}}
    np.testing.assert_allclose(cds_of(detector.visit(), flat=flat), detector.truth() * np.mean(channels[remap]), rtol=2e-3)
    smooth = {"flat_model": {"method": "spectral"}, "spectral": spectral | {"spectral_smoothing": 3}}
    oracle = ndimage.uniform_filter1d(channels[remap], 3, mode="nearest")
    np.testing.assert_allclose(1.0 / prepared(detector.visit(), flat=smooth).state.inverse_flat[0], oracle, rtol=1e-12)


def test_clamp_renormalize_and_valid_mask(tmp_path: Path) -> None:
    detector = Detector()
    ds = detector.visit()
    valid = np.ones(SHAPE)
    valid[2, 2] = 0
    model = {
        "clamp_gain": {"min_gain": 0.9, "max_gain": 1.1},
        "valid_mask_path": saved(tmp_path, "v", valid),
        "renormalize_to_mean_one": True,
    }
    state = prepared(ds, flat={"flat_model": model}).state
    expected = detector.flat[valid > 0].mean() / detector.flat
    good = valid > 0
    np.testing.assert_allclose(state.inverse_flat[good], np.clip(expected, 0.9, 1.1)[good], rtol=1e-12)
    clamped = (state.pixel_dq & DQ.UNRELIABLE_FLAT).astype(bool)
    np.testing.assert_array_equal(clamped, good & ((expected < 0.9) | (expected > 1.1)))
    assert state.pixel_dq[2, 2] & DQ.NO_FLAT_FIELD
    assert state.masked[2, 2]


def test_illumination_per_frame(tmp_path: Path) -> None:
    """A tilt that changes from frame to frame, on a uniformly lit detector: flattened to its mean; faint reads are left."""
    detector = Detector()
    detector.rate, detector.flat, detector.dark = np.full(SHAPE, 3000.0), np.ones(SHAPE), np.zeros(SHAPE)
    y, x = np.linspace(-1, 1, 12)[:, None], np.linspace(-1, 1, 10)[None, :]
    tilt = 1.0 + 0.1 * y * detector.rng.normal(0, 1, (24, 1, 1)) + 0.1 * x * detector.rng.normal(0, 1, (24, 1, 1))
    detector.extra = np.repeat(tilt - 1, 2, axis=0) * 3000.0 * detector.exposure[:, None, None]
    section = {"illumination_correction": {"enabled": True, "mask_path": saved(tmp_path, "sky", np.ones(SHAPE)), "min_level_e": 50.0}}
    ds = detector.visit()
    np.testing.assert_allclose(cds_of(ds, flat=section), 3000.0, atol=1.0)
    assert np.abs(cds_of(ds) - 3000.0).max() > 200
    faint = {"illumination_correction": section["illumination_correction"] | {"min_level_e": 1e5}}
    np.testing.assert_allclose(cds_of(ds, flat=faint), cds_of(ds), atol=1e-9)


# files and refusals


@pytest.mark.parametrize(
    ("calib", "said"),
    [
        ({"adc": {"gain_correction": {"method": "per_pixel"}}}, "'map_path' goes with method=per_pixel"),
        ({"adc": {"offset_correction": {"value": 3.0}}}, "'value' goes with method=global, and method is auto"),
        ({"adc": {"detector": {"conversion_gain_e_per_adu": 2.0}, "gain_correction": {"method": "none"}}}, "both state the gain"),
        ({"adc": {"reference_pixel": {"strategy": "mask_mean"}}}, "'mask_path' goes with strategy=mask_mean"),
        ({"adc": {"io": {"input_key": "frames"}}}, "calib.adc.io.input_key is 'frames'"),
        ({"nonlinearity": {"method": "lut"}}, "'lut_path' goes with method=lut"),
        ({"nonlinearity": {"valid_range": [5.0, 1.0]}}, "the first must be smaller"),
        ({"dark": {"dark_model": {"method": "master"}}}, "'master.path' goes with dark_model.method=master"),
        ({"dark": {"pedestal": {"enabled": True}}}, "either roi"),
        ({"dark": {"temperature": {"enabled": True}}}, "slope_per_K=0 changes nothing"),
        ({"flat": {"master": {"path": "x.npy"}}}, "'master.path' goes with flat_model.method=master or hybrid"),
        ({"flat": {"illumination_correction": {"enabled": True}}}, "pixels without the source"),
        ({"flat": {"flat_model": {"clamp_gain": {"min_gain": 2.0, "max_gain": 1.0}}}}, "must be smaller"),
    ],
)
def test_a_method_without_what_it_needs_is_refused(calib: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pipeline(**calib)
    assert said in str(caught.value)


def test_missing_files_are_told_when_the_pipeline_is_built(tmp_path: Path) -> None:
    flat = {"flat_model": {"method": "master"}, "master": {"path": str(tmp_path / "no.npy")}}
    with pytest.raises(ConfigError, match=r"calib.flat.master.path='.*no.npy'"):
        pipeline(flat=flat)
    late = pipeline(flat=flat | {"validation": {"require_existing_paths": False}})
    with pytest.raises(ConfigError, match="does not exist"):
        late(Detector().visit())["cds_corrected"].compute(scheduler="sync")


def test_a_map_of_another_detector_is_refused(tmp_path: Path) -> None:
    flat = {"flat_model": {"method": "master"}, "master": {"path": saved(tmp_path, "f", np.ones(SHAPE[1]))}}
    with pytest.raises(DataError, match=r"has the shape \(10,\), this visit needs \(12, 10\)"):
        cds_of(Detector().visit(), flat=flat)
    assert np.isfinite(cds_of(Detector().visit(), flat=flat | {"validation": {"check_shape_compatibility": False}})).all()


@pytest.mark.parametrize(("stage", "name"), [("dark", "dark"), ("flat", "flat"), ("nonlinearity", "linear_corr")])
def test_the_dataset_s_maps_must_be_finite_where_asked(stage: str, name: str) -> None:
    ds = Detector().visit()
    ds[name][..., 2, 2] = np.nan
    assert np.isfinite(np.delete(cds_of(ds).reshape(-1, 120), 22, axis=1)).all()
    with pytest.raises(DataError, match=f"the dataset's map '{name}' has"):
        cds_of(ds, **{stage: {"validation": {"require_finite_inputs": True}}})


def test_assert_finite_output_on_both_paths() -> None:
    """Every map is guarded against NaN, so the check is given a tile and a polynomial that have one."""
    ds = Detector().visit()
    strict = {"assert_finite_output": True}
    np.testing.assert_array_equal(cds_of(ds, dark=strict), cds_of(ds))
    stage = pipeline(dark=strict).engine.stages[2]
    masked = np.zeros(SHAPE, bool)
    masked[0, 0] = True
    values = np.ones((4, *SHAPE))
    values[:, 0, 0] = np.nan
    tile = Tile(values, np.ones(4), values, values, np.zeros(values.shape, np.uint8), start=10)
    check_finite(stage, tile, masked)
    values[2, 3, 4] = np.inf
    with pytest.raises(DataError, match=r"calib.dark.assert_finite_output: 1 values .* frame 12, pixel \(y, x\) = \(3, 4\)"):
        check_finite(stage, tile, masked)
    folded = PixelPolynomial(values[:2], np.zeros(SHAPE))
    check_folded([stage], folded, masked)
    with pytest.raises(DataError, match="the correction of 1 usable pixels is not finite"):
        check_folded([stage], PixelPolynomial(values[1:3], np.zeros(SHAPE)), masked)


@pytest.mark.parametrize(
    ("calib", "note"),
    [
        ({"flat": {"quality_checks": {"enabled": True, "max_unusable_fraction": 0.0}}}, "have no usable flat"),
        ({"dark": {"quality_checks": {"enabled": True, "max_hot_fraction": 0.0}}}, "of the pixels are hot"),
        ({"adc": {"quality_checks": {"enabled": True, "min_samples": 1000}}}, "fewer than min_samples=1000"),
    ],
)
def test_guards_become_notes(calib: dict[str, Any], note: str) -> None:
    ds = Detector().visit()
    ds["flat"][0, 0] = 0.0
    ds["dark"][3, 3] = 9000.0
    state = prepared(ds, **calib).state
    assert any(note in said for said in state.notes)
    if "min_samples" not in note:
        assert state.qc[next(iter(calib))]["nonfinite_fraction"] == 0.0
