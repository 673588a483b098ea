"""CONFIG.md's commands, typed as they stand there, on a small dataset: each runs and changes the product as it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result

from v50calib import open_calibrated
from v50calib.cli.main import main

pytestmark = pytest.mark.slow


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False)


Products = dict[str, xr.Dataset]
#: CONFIG.md's commands, as typed, by what they are for
TYPED = {
    "nominal": ("calib/nominal", ""),
    "fast": ("calib/fast", ""),
    "strict": ("calib/strict", ""),
    "official": ("calib/official", ""),
    "aperture": ("calib/nominal", "calib.photometry.photometry.method=aperture calib.photometry.aperture.radius_px=8"),
    "spline": ("calib/nominal", "calib.trace.along_wavelength.method=spline calib.trace.along_wavelength.spline.knots=12"),
    "stamps": ("calib/nominal", "calib.cds.pairing.order_by=timestamp calib.cds.pairing.policy=nearest calib.cds.pairing.window_s=3.0"),
    "one": (
        "calib/nominal",
        "calib.photometry.instrument.name=FGS1 calib.photometry.instrument.per_channel=false calib.trace.instrument.name=FGS1",
    ),
    "small": (
        "calib/fast",
        (
            "calib.photometry.photometry.method=aperture calib.photometry.aperture.radius_px=6 calib.trace.along_time.enabled=false "
            "calib.phase.binning.nbins=30"
        ),
    ),
}


@pytest.fixture(scope="module")
def typed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Products]:
    """Products by instrument of a command of TYPED, run once."""
    found: dict[str, Products] = {}

    only = f"{min(p.name for p in (dataset / 'train').iterdir())}/0"

    def run(name: str) -> Products:
        if name not in found:
            profile, overrides = TYPED[name]
            out = tmp_path_factory.mktemp("typed") / name
            words = (
                "calibrate",
                "--config-name",
                profile,
                "--data",
                dataset,
                "--only",
                only,
                "--out",
                out,
                "runtime.scheduler=sync",
                *overrides.split(),
            )
            result = invoke(*words)
            assert result.exit_code == 0, result.stderr
            products = [leaf.to_dataset().compute() for leaf in open_calibrated(out).leaves]
            found[name] = {ds.attrs["instrument"]: ds for ds in products}
        return found[name]

    return run


def level(ds: xr.Dataset) -> np.ndarray:
    """Out-of-transit flux of each channel."""
    return np.asarray(ds["photometry"].to_numpy()[ds["out_of_transit"].to_numpy()].mean(axis=0, dtype=float))


def test_the_profiles_make_what_they_say(typed: Callable[[str], Products]) -> None:
    nominal, fast, strict, official = (typed(name) for name in ("nominal", "fast", "strict", "official"))
    methods = {name: {i: json.loads(ds.attrs["stage_status"])["photometry"] for i, ds in typed(name).items()} for name in TYPED}
    assert methods["nominal"] == methods["strict"] == {"AIRS-CH0": "optimal", "FGS1": "aperture"}
    assert methods["fast"] == {"AIRS-CH0": "aperture", "FGS1": "aperture"}
    assert methods["official"] == {"AIRS-CH0": "off", "FGS1": "off"}
    maps = {"pixel_dq", "cds_var_rnoise", "cds_mean", "dark_applied", "flat_applied"}
    for instrument in ("AIRS-CH0", "FGS1"):
        assert set(official[instrument].data_vars) == maps | {"cds_binned", "cds_binned_var_poisson"}
        assert "cds_binned" in nominal[instrument]
        assert "cds_corrected" not in nominal[instrument]
        assert not {"cds_binned", "transit_depth", "noise_budget"} & set(fast[instrument].data_vars)
        cube, binned = strict[instrument]["cds_corrected"].to_numpy(), nominal[instrument]["cds_binned"].to_numpy()
        pairs = len(cube) // len(binned)
        summed = cube[: pairs * len(binned)].reshape(len(binned), pairs, *cube.shape[1:]).sum(axis=1, dtype=float)
        # strict repairs single samples: most pixels are the same
        close = np.isclose(summed, binned, rtol=1e-4, atol=1.0, equal_nan=True)
        assert close.mean() > 0.99


def test_an_aperture_of_eight_pixels(typed: Callable[[str], Products]) -> None:
    nominal, wide = typed("nominal"), typed("aperture")
    weights = {instrument: ds["extraction_weights"].to_numpy().astype(float) for instrument, ds in wide.items()}
    # rows of the strip; area of the circle, masked pixels estimated from the others
    assert np.median((weights["AIRS-CH0"] > 0).sum(axis=0)) in (16, 17)
    assert weights["FGS1"].sum() == pytest.approx(np.pi * 64, rel=0.02)
    assert 1.0005 < float(level(wide["FGS1"])[0] / level(nominal["FGS1"])[0]) < 1.03
    assert json.loads(wide["AIRS-CH0"].attrs["stage_status"])["photometry"] == "aperture"


def test_a_spline_continuum_of_twelve_knots(typed: Callable[[str], Products]) -> None:
    nominal, spline = typed("nominal")["AIRS-CH0"], typed("spline")["AIRS-CH0"]
    outside = nominal["out_of_transit"].to_numpy()
    mean = spline["trace_norm"].to_numpy()[outside].mean(axis=0)
    # flux over the normalized level is what divided: a smooth curve where nominal divides by the spectrum itself
    smooth, own = level(spline) / mean, level(nominal) / nominal["trace_norm"].to_numpy()[outside].mean(axis=0)
    assert np.nanstd(np.diff(smooth, 2) / smooth[1:-1]) < 0.3 * np.nanstd(np.diff(own, 2) / own[1:-1])


def test_pairs_by_their_stamps_are_the_stored_ones(typed: Callable[[str], Products]) -> None:
    nominal, stamps = typed("nominal"), typed("stamps")
    row = json.loads(stamps["FGS1"].attrs["qc"])["stages"]["cds"]
    assert row["unpaired"] == 0
    np.testing.assert_allclose(stamps["FGS1"]["photometry"], nominal["FGS1"]["photometry"], rtol=1e-6)
    # AIRS' two reads are 4.5 s apart: with window_s=3 the stamps must still be those of one ramp
    assert stamps["AIRS-CH0"].sizes["pair"] == nominal["AIRS-CH0"].sizes["pair"]


def test_one_instrument_in_one_band(typed: Callable[[str], Products]) -> None:
    nominal, one = typed("nominal"), typed("one")
    assert set(one) == {"FGS1"}
    xr.testing.assert_equal(one["FGS1"], nominal["FGS1"])


def test_a_small_aperture_without_a_trend_in_thirty_bins(typed: Callable[[str], Products]) -> None:
    fast, small = typed("fast"), typed("small")
    assert float(level(small["FGS1"])[0]) < float(level(fast["FGS1"])[0])
    for ds in small.values():
        assert ds.sizes["phase_bin"] == 30
        baseline = ds["photometry"].to_numpy().astype(float) / ds["trace_norm"].to_numpy()
        # one level a channel, no slope in time or pointing
        np.testing.assert_allclose(baseline.std(axis=0) / baseline.mean(axis=0), 0.0, atol=1e-6)
    assert (fast["FGS1"]["photometry"] / fast["FGS1"]["trace_norm"]).std() > 0
