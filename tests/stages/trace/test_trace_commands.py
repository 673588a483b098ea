"""Choices of trace and phase on a simulated visit, typed as a user types them: each runs and changes the product as asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from v50calib import Pipeline, open_visit
from v50calib.errors import ConfigError

TRACE, TIME = "calib.trace.along_wavelength", "calib.trace.along_time"


def run(dataset: Path, *overrides: str, instrument: str = "AIRS-CH0") -> xr.Dataset:
    planet = min(p.name for p in (dataset / "train").iterdir())
    return Pipeline.from_profile("calib/nominal", overrides)(open_visit(dataset, planet, 0, instrument)).compute(scheduler="sync")


@pytest.fixture(scope="module")
def plain(dataset: Path) -> xr.Dataset:
    return run(dataset)


def test_a_spline_continuum_leaves_the_spectrum_and_not_the_depths(dataset: Path, plain: xr.Dataset) -> None:
    ds = run(dataset, f"{TRACE}.method=spline", f"{TRACE}.spline.knots=12")
    outside = plain["out_of_transit"].to_numpy()
    level = ds["trace_norm"].to_numpy()[outside].mean(axis=0)
    shape = plain["photometry"].to_numpy()[outside].mean(axis=0)
    assert np.nanstd(level) > 10 * np.nanstd(plain["trace_norm"].to_numpy()[outside].mean(axis=0))
    # the divisor is smooth: level times a 13-piece cubic is the spectrum
    continuum = shape / level
    assert np.nanstd(np.diff(continuum, 2) / continuum[1:-1]) < 0.3 * np.nanstd(np.diff(shape, 2) / shape[1:-1])
    ratio = np.abs(ds["transit_depth"] - plain["transit_depth"]) / plain["transit_depth_sigma"]
    assert float(ratio.max()) < 0.05


@pytest.mark.parametrize("overrides", [
    (f"{TRACE}.method=lowess", f"{TRACE}.lowess.frac=0.1", f"{TRACE}.exclude.molecules=[H2O,CO2]"),
    (f"{TRACE}.method=poly", f"{TRACE}.poly.degree=6", f"{TRACE}.renormalize_to_median_one=true", "calib.trace.weights.use_variance=false"),
    (f"{TIME}.method=spline", f"{TIME}.spline.knots=2"),
    (f"{TIME}.method=biweight", f"{TIME}.biweight.window_h=2.0"),
    (f"{TIME}.method=gp",),
    (f"{TIME}.target=subtract",),
    (f"{TIME}.decorrelate.vectors=[x,y,width,sky]", f"{TIME}.decorrelate.degree=1"),
    (f"{TIME}.decorrelate.pca_components=2",),
    (f"{TIME}.decorrelate.common_mode=true",),
    ("calib.trace.exclude.windows=[[0,0.5]]",),
], ids=lambda o: o[0].rpartition(".")[2])  # fmt: skip
def test_every_choice_runs_changes_the_curves_and_keeps_the_depth(dataset: Path, plain: xr.Dataset, overrides: tuple[str, ...]) -> None:
    ds = run(dataset, *overrides)
    assert not np.array_equal(ds["trace_norm"], plain["trace_norm"], equal_nan=True)
    assert abs(float(ds["white_depth"] - plain["white_depth"])) < 3 * float(plain["white_depth_sigma"])
    assert float((np.abs(ds["transit_depth"] - plain["transit_depth"]) / plain["transit_depth_sigma"]).median()) < 1.5


def test_masked_terms_leave_the_curves_and_shrink_the_errors(dataset: Path, plain: xr.Dataset) -> None:
    ds = run(dataset, f"{TIME}.decorrelate.fit=masked")
    np.testing.assert_array_equal(ds["trace_norm"], plain["trace_norm"])
    assert float(ds["white_depth_sigma"]) < float(plain["white_depth_sigma"])
    assert abs(float(ds["white_depth"] - plain["white_depth"])) < 3 * float(plain["white_depth_sigma"])


def test_per_frame_takes_the_transit(dataset: Path, plain: xr.Dataset) -> None:
    ds = run(dataset, f"{TRACE}.reference=per_frame")
    inside = plain["in_transit"].to_numpy()

    def dip(d: xr.Dataset) -> float:
        white = np.nanmean(d["trace_norm"].to_numpy(), axis=1)
        return float(white[~inside].mean() - white[inside].mean())

    assert abs(dip(ds)) < 0.05 * dip(plain)


def test_bins_and_phases_follow_their_keys(dataset: Path, plain: xr.Dataset) -> None:
    ds = run(dataset, "calib.phase.binning.strategy=adaptive", "calib.phase.binning.nbins=60", "calib.phase.fold.enabled=false")
    assert ds.sizes["phase_bin"] == 60
    width = np.diff(ds["bin_phase"])
    assert width.max() > 3 * width.min()
    np.testing.assert_allclose(ds["phase"], plain["time"] - float(plain["mid_transit_time"]), rtol=1e-5)


def test_a_continuum_without_channels_is_refused_before_frames_are_read(dataset: Path) -> None:
    with pytest.raises(ConfigError, match="exclude less"):
        run(dataset, f"{TRACE}.method=poly", f"{TRACE}.exclude.windows=[[1.0,3.88]]")


def test_chained_stages_measure_the_width_too(dataset: Path) -> None:
    planet = min(p.name for p in (dataset / "train").iterdir())
    pipeline = Pipeline.from_profile("calib/nominal", [f"{TIME}.decorrelate.vectors=[x,y,width]"])
    visit = open_visit(dataset, planet, 0, "FGS1")
    chained, tiled = (d["trace_norm"].compute(scheduler="sync").to_numpy() for d in (pipeline.until("trace")(visit), pipeline(visit)))
    np.testing.assert_allclose(chained, tiled, rtol=2e-6)
