"""Several visits folded: against brute force on calibrated visits made here, odd against even, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from v50calib import fold, river
from v50calib.errors import DataError
from v50calib.kernels.transit import Model, Shape

TIME = np.linspace(0.0, 7.5, 900)


def visit(number: int, t0: float, depth: float = 0.01, **attrs: object) -> xr.Dataset:
    """A calibrated visit as `open_calibrated` gives it, 20 channels."""
    rng = np.random.default_rng(number)
    shape = Shape(t0, 84.0, 12.0, 0.1, float(np.sqrt(depth)), 0.1, 0.2)
    flux = Model(TIME, 0.0)(shape)[:, None] + 1e-3 * rng.standard_normal((900, 20))
    outside = np.abs(TIME - t0) > 0.6 * shape.duration
    scalars = {"mid_transit_time": t0, "transit_duration": shape.duration, "white_depth": depth, "white_depth_sigma": 2e-5}
    return xr.Dataset(
        {
            "trace_norm": (("pair", "wavelength"), flux), "trace_norm_var": (("pair", "wavelength"), np.full(flux.shape, 1e-6)),
            "out_of_transit": ("pair", outside), **{n: ((), v) for n, v in scalars.items()},
        },
        coords={"time": ("pair", TIME)},
        attrs={"planet_id": "7", "instrument": "FGS1", "visit": number, "ephemeris_period_h": 84.0, **attrs},
    )  # fmt: skip


VISITS = [visit(0, 3.2), visit(1, 4.1), visit(2, 3.75)]


def test_rows_are_aligned_on_their_own_mid_transit() -> None:
    out = river(VISITS, nbins=60)
    assert dict(out.sizes) == {"visit": 3, "phase_bin": 60}
    for row, ds in enumerate(VISITS):
        since = TIME - float(ds["mid_transit_time"])
        step = float(out["phase_h"][1] - out["phase_h"][0])
        for b in (0, 29, 59):
            inside = np.abs(since - float(out["phase_h"][b])) < 0.5 * step
            white = ds["trace_norm"].to_numpy()[inside].mean()
            level = ds["trace_norm"].to_numpy()[ds["out_of_transit"].to_numpy()].mean()
            if inside.any():
                assert float(out["flux"][row, b]) == pytest.approx(white / level, abs=3e-6)
            else:
                assert np.isnan(float(out["flux"][row, b]))
    np.testing.assert_allclose(out["phase"], out["phase_h"] / 84.0)


def test_fold_means_the_rows_and_errors_are_those_of_a_mean() -> None:
    out = fold(VISITS, nbins=60)
    flux, var = out["flux"].to_numpy(), out["flux_var"].to_numpy()
    np.testing.assert_allclose(out["flux_all"], (flux / var).sum(axis=0) / (1 / var).sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(out["flux_odd"], flux[1], rtol=1e-12)
    truth = Model(out["phase_h"].to_numpy() + 10, float(np.diff(out["phase_h"])[0]))(Shape(10.0, 84.0, 12.0, 0.1, 0.1, 0.1, 0.2))
    pull = (out["flux_all"] - truth) / np.sqrt(out["flux_all_var"])
    assert float(np.std(pull)) == pytest.approx(1.0, abs=0.3)
    assert abs(out.attrs["odd_even_sigma"]) < 1e-6


def test_odd_and_even_depths_of_a_binary_differ() -> None:
    binary = [visit(0, 3.5, 0.010), visit(1, 3.6, 0.011), visit(2, 3.7, 0.010)]
    out = fold(binary)
    assert out.attrs["depth_odd"] == pytest.approx(0.011)
    assert out.attrs["odd_even_sigma"] == pytest.approx(1e-3 / (2e-5 * np.sqrt(1.5)), rel=1e-6)
    assert fold(binary, epochs=[0, 2, 4]).attrs["depth_even"] == pytest.approx(0.031 / 3)


def test_a_visit_without_transit_is_left_out() -> None:
    empty = visit(3, 3.0).assign(mid_transit_time=((), np.nan))
    assert list(river([*VISITS, empty])["visit"].to_numpy()) == [0, 1, 2]
    with pytest.raises(DataError, match="none of the 1 visits has a transit"):
        river([empty])


def test_visits_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(DataError, match="several instruments"):
        river([*VISITS, visit(3, 3.0, instrument="AIRS-CH0")])
    with pytest.raises(DataError, match=r"lacks \['trace_norm'\]"):
        fold([VISITS[0].drop_vars("trace_norm")])
    with pytest.raises(DataError, match="2 epochs for 3 visits"):
        fold(VISITS, epochs=[1, 2])
