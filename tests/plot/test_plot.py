"""Figures show the product's numbers: read back from the artists; axes have names and units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from v50calib import Pipeline, open_visit, plot
from v50calib.errors import DataError
from v50calib.plot.style import block_mean, blocks


@pytest.fixture(scope="module")
def products(dataset: Path) -> dict[str, xr.Dataset]:
    planet = min(p.name for p in (dataset / "train").iterdir())
    made = {}
    for instrument in ("AIRS-CH0", "FGS1"):
        visit = open_visit(dataset, planet, 0, instrument)
        made[instrument] = Pipeline.from_profile("calib/nominal")(visit).compute()
    return made


ALL = [
    "white_light",
    "white_corner",
    "allan",
    "light_curves",
    "spectrum",
    "drift",
    "folded",
    "mean_frame",
    "dark",
    "flat",
    "flags",
    "noise_budget",
    "rms_versus_time",
]


@pytest.mark.parametrize("instrument", ["AIRS-CH0", "FGS1"])
@pytest.mark.parametrize("name", ALL)
def test_every_figure_has_named_axes_and_says_whose_it_is(
    products: dict[str, xr.Dataset], name: str, instrument: str, tmp_path: Path
) -> None:
    ds = products[instrument]
    ax = getattr(plot, name)(ds)
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    assert instrument in ax.get_title()
    ax.figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000


def test_spectrum_shows_depths_with_their_errors_in_ppm(products: dict[str, xr.Dataset]) -> None:
    ds = products["AIRS-CH0"]
    ax = plot.spectrum(ds, truth=np.full(282, 0.01))
    bars, means = ax.containers
    np.testing.assert_allclose(bars[0].get_ydata(), 1e6 * ds["transit_depth"], rtol=1e-12)
    segments = bars[2][0].get_segments()
    np.testing.assert_allclose([s[1, 1] - s[0, 1] for s in segments], 2e6 * ds["transit_depth_sigma"], rtol=1e-6)
    assert ax.get_lines()[-1].get_ydata()[0] == pytest.approx(1e4)
    # bins: means weighted with the inverse of the variance, their errors as their weights' sum says where channels share nothing
    depth, sigma = (1e6 * ds[n].to_numpy() for n in ("transit_depth", "transit_depth_sigma"))
    first = np.array_split(np.arange(282), 24)[0]
    weight = sigma[first] ** -2
    assert means[0].get_ydata()[0] == pytest.approx(np.average(depth[first], weights=weight), rel=1e-9)
    low, high = means[2][0].get_segments()[0][:, 1]
    assert (high - low) / 2 >= 0.999 * weight.sum() ** -0.5
    bottom, top = ax.get_ylim()
    inside = np.percentile(np.append(depth, np.full(282, 1e4)), [2.5, 97.5])
    assert bottom < inside[0] < inside[1] < top
    assert top - bottom == pytest.approx(1.4 * (inside[1] - inside[0]))


def test_white_light_and_its_residuals_are_those_of_the_fit(products: dict[str, xr.Dataset]) -> None:
    ds = products["FGS1"]
    ax = plot.white_light(ds)
    below = ax.figure.axes[1]
    assert "fitted transit" in [t.get_text() for t in ax.get_legend().get_texts()]
    flux, model = ax.lines[0].get_ydata(), ax.lines[2].get_ydata()
    np.testing.assert_allclose(below.lines[0].get_ydata(), 1e6 * (flux - model), rtol=1e-9, atol=1e-9)
    # a fit's residuals: about 0, without the transit, with the chi² that the fit itself has stored
    left = (flux - model) / ds["fit_sigma"].to_numpy()[:, 0]
    assert abs(left.mean()) < 0.3
    free = left.size - ds.sizes["fit_term"] - 1
    assert left @ left / free == pytest.approx(float(ds["transit_depth_chi2"][0]), rel=0.1)
    inside = model < 1 - 0.5 * (1 - model.min())
    assert abs(left[inside].mean() - left[~inside].mean()) < 5 * np.sqrt(1 / inside.sum() + 1 / (~inside).sum())
    assert 1e6 * (1 - np.mean(model[inside])) == pytest.approx(1e6 * float(ds["white_depth"]), rel=0.15)


def test_residual_map_is_flux_less_transit_in_errors(products: dict[str, xr.Dataset]) -> None:
    ds = products["AIRS-CH0"]
    (image,) = plot.residual_map(ds).get_images()
    shown = np.asarray(image.get_array())
    assert shown.shape == (282, ds.sizes["fit_bin"])
    chi2 = np.square(shown).sum(axis=1) / (shown.shape[1] - ds.sizes["fit_term"] - 1)
    np.testing.assert_allclose(chi2, ds["transit_depth_chi2"], rtol=0.1)
    low, high = image.get_clim()
    assert low == -high


def test_stacked_fits_are_eight_groups_by_wavelength(products: dict[str, xr.Dataset]) -> None:
    ax = plot.stacked_fits(products["AIRS-CH0"])
    said = [text.get_text() for text in ax.texts]
    assert len(said) == 8
    starts = [float(text.split("-")[0]) for text in said]
    assert starts == sorted(starts)
    assert all(text.endswith(" ppm") for text in said)


def test_figures_of_channels_refuse_a_band(products: dict[str, xr.Dataset]) -> None:
    with pytest.raises(DataError, match="one band has no residual map"):
        plot.residual_map(products["FGS1"])
    with pytest.raises(DataError, match="no transit was fitted"):
        plot.stacked_fits(products["AIRS-CH0"].drop_vars("fit_flux"))


def test_the_legend_of_white_light_covers_no_point(products: dict[str, xr.Dataset]) -> None:
    for ds in products.values():
        ax = plot.white_light(ds)
        ax.figure.canvas.draw()
        box = ax.get_legend().get_window_extent()
        for line in ax.lines:
            assert not box.count_contains(ax.transData.transform(np.column_stack(line.get_data())))
        assert not box.overlaps(ax.title.get_window_extent())


def test_white_light_with_a_given_axes_and_no_fit(products: dict[str, xr.Dataset]) -> None:
    ax = Figure().subplots()
    ds = products["FGS1"].copy()
    ds.attrs["ephemeris_source"] = "none"
    assert plot.white_light(ds, ax) is ax
    assert "fitted transit" not in [t.get_text() for t in ax.get_legend().get_texts()]


def test_light_curves_put_wavelength_upwards(products: dict[str, xr.Dataset]) -> None:
    ds = products["AIRS-CH0"]
    (image,) = plot.light_curves(ds).get_images()
    left, right, bottom, top = image.get_extent()
    assert (left, right) == (float(ds["time"][0]), float(ds["time"][-1]))
    assert bottom < float(ds["wavelength"][0]) < float(ds["wavelength"][-1]) < top
    shown = np.asarray(image.get_array())
    assert shown.shape[0] == 282
    index = blocks(ds.sizes["pair"], 150)
    np.testing.assert_allclose(shown, block_mean(ds["trace_norm"].to_numpy(), index).T)


def test_block_mean_is_the_mean_of_what_is_finite() -> None:
    values = np.array([1.0, 2.0, np.nan, 4.0, 5.0, np.nan])
    np.testing.assert_allclose(block_mean(values, np.array([0, 0, 1, 1, 2, 2])), [1.5, 4.0, 5.0])


def test_frames_mark_flagged_samples() -> None:
    flags = np.zeros((1, 4, 6), np.uint8)
    flags[0, 1, 2] = 1
    figure = plot.frames([(7, np.arange(24.0).reshape(1, 4, 6), flags)], "cds", "p/0/FGS1")
    ax = figure.axes[0]
    assert ax.get_title() == "pair 7"
    assert ax.get_lines()[0].get_xydata().tolist() == [[2.0, 1.0]]
    assert "beyond the visit's end" in plot.frames([], "cds", "p/0/FGS1").texts[-1].get_text()


def test_a_product_that_lacks_the_numbers_says_so(products: dict[str, xr.Dataset]) -> None:
    with pytest.raises(DataError, match="has no rms_measured, rms_expected: its profile left it out"):
        plot.rms_versus_time(products["FGS1"].drop_vars(["rms_measured", "rms_expected"]))
