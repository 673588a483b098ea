"""Photometry's choices inside the pipeline: chunks, chained stages, units, kept variables, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from simulated import planet_of

from v50calib import Pipeline, open_visit
from v50calib.errors import ConfigError, DataError
from v50calib.runtime.failures import verdict

PHOTOMETRY = "calib.photometry."
ONLY = [PHOTOMETRY + "output.save.flux=true", "calib.phase.depths.enabled=false", "output.cubes=binned"]
#: overrides that measure on the frames themselves
FRAMES = {
    "FGS1": ["centroid.method=gaussian2d", "photometry.method=psf", "background.robust.sigma_clip=4", "background.method=mesh"],
    "AIRS-CH0": ["centroid.method=phase_corr", "optimal.robust.sigma_clip=8", "background.robust.sigma_clip=4"],
}


def run(root: Path, instrument: str, overrides: list[str], chunks: int | None = None) -> xr.Dataset:
    ds = open_visit(root, planet_of(root), 0, instrument, chunks=chunks) if chunks else open_visit(root, planet_of(root), 0, instrument)
    return Pipeline.from_profile("calib/nominal", [*ONLY, *(PHOTOMETRY + o for o in overrides)])(ds).compute()


@pytest.mark.parametrize("instrument", ["FGS1", "AIRS-CH0"])
def test_measured_frames_do_not_depend_on_chunks_and_equal_the_chain(dataset: Path, instrument: str) -> None:
    overrides = FRAMES[instrument]
    whole, split = run(dataset, instrument, overrides), run(dataset, instrument, overrides, chunks=26 if instrument == "AIRS-CH0" else 312)
    pipeline = Pipeline.from_profile("calib/nominal", [*ONLY, *(PHOTOMETRY + o for o in overrides)])
    chained = pipeline.until("photometry")(open_visit(dataset, planet_of(dataset), 0, instrument)).compute()
    for name in ("photometry", "photometry_var", "x_position", "y_position", "background"):
        np.testing.assert_allclose(split[name], whole[name], rtol=3e-6, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(chained[name], whole[name], rtol=3e-5, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(split["photometry_dq"], whole["photometry_dq"])
    plain = run(dataset, instrument, [])
    np.testing.assert_allclose(split["cds_binned"], plain["cds_binned"], rtol=1e-6)
    assert not np.array_equal(plain["photometry"], whole["photometry"])


def test_static_choices_stay_one_weighted_sum(dataset: Path) -> None:
    """A surface fitted to fixed pixels is linear: the flux is close to the default's, and its background is a surface.

    On AIRS-CH0 the spectrum's wings reach the edge rows, most where it is bright: a plane cannot follow that.
    """
    for instrument, close in (("FGS1", 0.002), ("AIRS-CH0", 0.05)):
        plain, surface = run(dataset, instrument, []), run(dataset, instrument, ["background.method=poly2d"])
        ratio = surface["photometry"].mean("pair") / plain["photometry"].mean("pair")
        np.testing.assert_allclose(ratio, 1.0, atol=close)
        assert not np.array_equal(surface["background"], plain["background"])


def test_flux_units_and_kept_variables(dataset: Path) -> None:
    e = run(dataset, "FGS1", [])
    rate = run(dataset, "FGS1", ["output.flux_units=e_per_s", "output.save.background=false", "output.save.centroids=false"])
    adu = run(dataset, "FGS1", ["output.flux_units=ADU"])
    assert [v["photometry"].attrs["units"] for v in (e, rate, adu)] == ["e-", "e- s-1", "ADU"]
    seconds = e["exposure"].to_numpy()[:, None]
    np.testing.assert_allclose(rate["photometry"], e["photometry"] / seconds, rtol=1e-6)
    np.testing.assert_allclose(rate["photometry_var"], e["photometry_var"] / seconds**2, rtol=1e-6)
    # SCIENCE: e- = ADU / 0.4369 + offset
    np.testing.assert_allclose(adu["photometry"], e["photometry"] * 0.4369, rtol=1e-5)
    np.testing.assert_allclose(adu["photometry_var_rnoise"], e["photometry_var_rnoise"] * 0.4369**2, rtol=1e-5)
    np.testing.assert_array_equal(rate["trace_norm"], e["trace_norm"])
    assert {"background", "x_position", "y_position"}.isdisjoint(rate.data_vars)
    assert {"background", "x_position", "y_position"} <= set(adu.data_vars)


@pytest.mark.parametrize(
    ("method", "said"),
    [("annulus", r"FGS1: no usable pixel lies 10.* px from the star at y=1\d"), ("poly2d", "0 background pixels"), ("mesh", "no box of")],
)
def test_a_visit_without_background_pixels_is_its_own_fault(dataset: Path, method: str, said: str) -> None:
    """Bad pixels all about the star: an error of this visit, after which a run goes on with the others."""
    ds = open_visit(dataset, planet_of(dataset), 0, "FGS1")
    y, x = np.ogrid[:32, :32]
    ds["dead"] = ds["dead"] | xr.DataArray(np.hypot(y - 15.5, x - 15.5) > 8, dims=("y", "x"))
    with pytest.raises(DataError, match=said) as caught:
        Pipeline.from_profile("calib/nominal", [*ONLY, f"calib.photometry.background.method={method}"])(ds).compute()
    assert verdict(caught.value) == "give_up"


@pytest.mark.parametrize(
    ("instrument", "overrides", "said"),
    [
        ("AIRS-CH0", ["photometry.method=psf"], "psf fits a point source"),
        ("AIRS-CH0", ["centroid.method=gaussian2d"], "gaussian2d locates a point source"),
        ("AIRS-CH0", ["centroid.roi=[5,20,5,20]"], "over the extraction window"),
        ("AIRS-CH0", ["photometry.method=aperture", "aperture.shape=elliptical"], "elliptical needs a point source"),
        (
            "AIRS-CH0",
            ["photometry.method=aperture", "aperture.aperture_correction.enabled=true", "aperture.aperture_correction.model=gaussian"],
            "Lorentzian wings",
        ),
        ("FGS1", ["background.method=columns"], "per spectral column"),
        ("FGS1", ["background.annulus.inner_px=30"], "must be smaller than outer_px"),
        ("FGS1", ["photometry.method=psf", "psf.kernel_path=nowhere.npy"], "kernel_path='nowhere.npy' does not exist"),
        ("FGS1", ["aperture.recenter_on_centroid=true", "centroid.method=none"], "needs a centroid"),
    ],
)
def test_what_makes_no_sense_is_refused_before_frames_are_read(dataset: Path, instrument: str, overrides: list[str], said: str) -> None:
    pipeline = Pipeline.from_profile("calib/nominal", [PHOTOMETRY + o for o in overrides])
    with pytest.raises(ConfigError, match=said):
        pipeline(open_visit(dataset, planet_of(dataset), 0, instrument))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("centroid.roi=[5,6,5,20]", "at least 3 x 3 px"),
        ("psf.model=moffat calib.photometry.psf.kernel_path=a.npy", "goes with psf.model=empirical"),
        ("aperture.recenter_on_centroid=true calib.photometry.aperture.mask_treatment=omit", "would move through the aperture"),
    ],
)
def test_contradicting_keys_are_refused(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Pipeline.from_profile("calib/nominal", (PHOTOMETRY + override).split(" "))


def test_a_damaged_kernel_is_refused(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "psf.npy"
    for content, said in ((np.zeros((5, 5)), "positive sum"), (np.ones(5), "2-D image")):
        np.save(path, content)
        pipeline = Pipeline.from_profile("calib/nominal", [PHOTOMETRY + "photometry.method=psf", f"{PHOTOMETRY}psf.kernel_path='{path}'"])
        with pytest.raises(ConfigError, match=said):
            pipeline(open_visit(dataset, planet_of(dataset), 0, "FGS1"))
    path.write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"psf.kernel_path: .* cannot be read as npy"):
        pipeline(open_visit(dataset, planet_of(dataset), 0, "FGS1"))
