"""Continua along wavelength: structure stays, depth is relative all the same, per_frame divides the transit away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stage_curves import SHAPE, TIME, found, make

from v50calib.config.models import CalibConfig
from v50calib.engine.depths import transit_depths
from v50calib.errors import ConfigError
from v50calib.kernels.transit import Model
from v50calib.stages.series.curves import Normalized
from v50calib.stages.trace.along_wavelength import MOLECULE_BANDS_UM, AlongWavelength, fitted_channels
from v50calib.stages.trace.config import TraceConfig
from v50calib.stages.trace.stage import Trace

CHANNELS = 80
WAVE = np.linspace(2.0, 3.9, CHANNELS)
CONTINUUM = 5e4 * (1 + 0.3 * (WAVE - 3.0) - 0.2 * (WAVE - 3.0) ** 2)
#: a line of 20 % that a continuum must not follow
LINE = 1 - 0.2 * np.exp(-0.5 * ((WAVE - 2.7) / 0.02) ** 2)
CURVES = make(3, spectrum=CONTINUUM * LINE)
EPHEMERIS = found(CURVES)


def traced(wavelength: dict[str, Any]) -> Normalized:
    return Trace(TraceConfig.model_validate({"along_wavelength": wavelength})).apply(CURVES, EPHEMERIS)


def depths(normalized: Normalized) -> tuple[np.ndarray, np.ndarray]:
    fitted = transit_depths(CURVES, normalized, EPHEMERIS, CalibConfig())
    assert fitted is not None
    return fitted.depth, fitted.sigma


@pytest.mark.parametrize("choice", [
    {"method": "poly", "poly": {"degree": 2}},
    {"method": "spline", "spline": {"knots": 3, "boundary": "free"}},
    {"method": "lowess", "lowess": {"frac": 0.25}},
])  # fmt: skip
def test_a_continuum_keeps_the_line_and_the_depths(choice: dict[str, Any]) -> None:
    auto, smooth = traced({}), traced(choice)
    outside = smooth.out_of_transit
    np.testing.assert_allclose(auto.flux[outside].mean(axis=0), 1.0, atol=1e-4)
    # the oracle is the injected line; a lowess window rounds the parabola by up to 2 %
    np.testing.assert_allclose(smooth.flux[outside].mean(axis=0), LINE, atol=0.02 if choice["method"] == "lowess" else 2e-3)
    np.testing.assert_allclose(smooth.level, smooth.flux[outside].mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(smooth.flux / smooth.level, auto.flux, rtol=1e-12)
    (a, sigma), (b, _) = depths(auto), depths(smooth)
    assert np.abs(a - b).max() < 0.02 * sigma.min()
    assert np.abs((b - SHAPE.k**2) / sigma).max() < 4.5


def test_variance_follows_the_divisor() -> None:
    smooth = traced({"method": "poly", "poly": {"degree": 2}})
    np.testing.assert_allclose(smooth.var, CURVES.var / smooth.baseline**2, rtol=1e-10)


def test_off_leaves_the_shape_of_the_spectrum_and_the_depths() -> None:
    plain, auto = traced({"enabled": False}), traced({})
    shape = plain.flux[plain.out_of_transit].mean(axis=0)
    np.testing.assert_allclose(shape / np.median(shape), CURVES.flux.mean(axis=0) / np.median(CURVES.flux.mean(axis=0)), rtol=2e-3)
    np.testing.assert_allclose(depths(plain)[0], depths(auto)[0], rtol=1e-6)


def test_excluded_bands_are_not_fitted() -> None:
    """Without robust clipping the line pulls a free polynomial; with its window excluded it does not."""
    loose = {"method": "poly", "poly": {"degree": 8}, "robust": {"max_iters": 0}}
    # CO2's other band is at the edge of these channels, where a polynomial has nothing to hold it
    inner = WAVE > 2.15
    excluded = ({}, {"windows": [[2.6, 2.8]]}, {"molecules": ["CO2"]})
    error = [np.abs(traced({**loose, "exclude": e}).level / LINE - 1)[inner].max() for e in excluded]
    assert error[0] > 5 * error[1]
    assert error[0] > 5 * error[2]


def test_median_one_scales_everything_alike() -> None:
    choice = {"method": "poly", "poly": {"degree": 1}, "exclude": {"windows": [[2.6, 3.9]]}, "robust": {"max_iters": 0}}
    plain, one = traced(choice), traced({**choice, "renormalize_to_median_one": True})
    assert np.median(one.level) == pytest.approx(1.0, abs=1e-12)
    assert abs(np.median(plain.level) - 1.0) > 0.01
    np.testing.assert_allclose(one.flux * np.median(plain.level), plain.flux, rtol=1e-12)


@pytest.mark.parametrize("method", ["auto", "poly", "spline", "lowess"])
def test_per_frame_divides_the_transit_away_and_says_so(method: str) -> None:
    choice = {"method": method, "reference": "per_frame", "lowess": {"frac": 0.5}}
    normalized = traced(choice)
    assert any("per_frame" in n and "the transit with it" in n for n in normalized.notes)
    middle = np.abs(TIME - SHAPE.t0) < 0.5
    left = 1 - (normalized.flux / normalized.level)[middle].mean()
    assert abs(left) < 0.02 * SHAPE.k**2
    assert 1 - traced({}).flux[middle].mean() > 0.9 * SHAPE.k**2


def test_one_band_has_no_continuum() -> None:
    band = make(5, channels=1)
    normalized = Trace(TraceConfig.model_validate({"along_wavelength": {"method": "spline"}})).apply(band, found(band))
    assert any("one band has no continuum" in n for n in normalized.notes)
    residual = normalized.flux[:, 0] - Model(TIME, 0.0)(SHAPE)
    assert residual.std() < 6e-4


def test_too_few_channels_are_refused_with_the_remedy() -> None:
    config = AlongWavelength.model_validate({"method": "poly", "poly": {"degree": 5}, "exclude": {"windows": [[1.0, 3.8]]}})
    with pytest.raises(ConfigError, match=r"exclude less, or lower poly\.degree"):
        fitted_channels(config, WAVE)


def test_bands_lie_where_the_channels_are() -> None:
    for bands in MOLECULE_BANDS_UM.values():
        assert all(1.5 < low < high < 4.1 for low, high in bands)


@pytest.mark.parametrize("window", [[3.0, 2.0], [1.0], [1.0, 1.0]])
def test_a_window_must_be_an_interval(window: list[float]) -> None:
    with pytest.raises(ValueError, match="is no interval"):
        AlongWavelength.model_validate({"exclude": {"windows": [window]}})
