"""The judge of foreign frames: it finds what was put beside the truth, and reads electrons as they were written."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from benchmarks.independent import expected_flux, extraction_noise, judge, judge_planets, planets_table, summary, table

from v50calib import calibrate, open_calibrated
from v50calib.simulate import simulate_dataset


def test_expected_electrons_are_put_in_the_product_s_order(tmp_path: Path) -> None:
    """Columns fall in wavelength on the detector and rise in a product; the gain drift is interpolated between its samples."""
    (tmp_path / "truth").mkdir()
    columns = np.tile(np.arange(356.0), (11, 1))
    drift = np.linspace(1.0, 2.0, 3)[:, None] * np.ones(356)
    np.savez(tmp_path / "truth" / "expected_1_0_AIRS-CH0.npz", columns=columns, gain_drift=drift)
    found = expected_flux(tmp_path, "1", 0, "AIRS-CH0", 11)
    assert found is not None
    np.testing.assert_allclose(found[0], np.arange(320.0, 38.0, -1))
    np.testing.assert_allclose(found[5], 1.5 * found[0])
    assert expected_flux(tmp_path, "1", 1, "AIRS-CH0", 11) is None


def test_extraction_noise_is_1_at_the_limit_and_sees_no_transit() -> None:
    rng = np.random.default_rng(0)
    expected = np.outer(1.0 - 0.01 * (np.abs(np.arange(4000) - 2000) < 800), np.full(20, 1e5))
    noise = rng.normal(size=expected.shape) * np.sqrt(expected)
    for factor, wanted in ((1.0, 1.0), (1.5, 1.5)):
        dims = ("pair", "wavelength")
        ds = xr.Dataset({"photometry": (dims, expected + factor * noise), "photometry_var": (dims, expected)})
        assert extraction_noise(ds, expected) == pytest.approx(wanted, rel=0.05)


def test_pulls_are_of_the_truth_that_lies_beside(tmp_path: Path) -> None:
    """A small simulated dataset, its own truth written as a foreign simulator would: depths within 5 sigma, a line each in the table."""
    root = simulate_dataset(tmp_path / "data", planets=1, frames_fraction=0.01, seed=7)
    spectra = pd.read_csv(root / "train.csv", dtype={"planet_id": str})
    (root / "truth").mkdir()
    spectra.to_csv(root / "truth" / "train_line_shape_smoothed.csv", index=False)
    run = tmp_path / "run"
    calibrate(root, run, overrides=["runtime.scheduler=sync", "output.cubes=none"])
    planet = str(spectra["planet_id"][0])
    found = open_calibrated(run)[f"/{planet}/0/AIRS-CH0"].to_dataset()
    entry = {
        "planet_id": [planet],
        "visit": [0],
        "label": ["own"],
        "t0_h": [float(found["mid_transit_time"]) + found.attrs["first_stamp_h"]],
    }
    pd.DataFrame(entry).to_csv(root / "truth" / "ephemeris_and_noise.csv", index=False)
    rows = judge(root, run)
    assert [r["instrument"] for r in rows] == ["FGS1", "AIRS-CH0"]
    assert all(abs(r["pull"]) < 5 for r in rows)
    assert rows[1]["channels"] == 282
    assert rows[1]["t0_off_s"] == pytest.approx(0.0, abs=1e-6)
    assert math.isfinite(rows[1]["chi2"])
    assert len(table(rows).splitlines()) == 4
    json.dumps(summary(rows))
    (whole,) = judge_planets(root, run)
    assert abs(whole["fgs1_pull"]) < 5
    assert 0.7 < whole["channel_sd"] < 1.3
    assert len(planets_table([whole]).splitlines()) == 3
