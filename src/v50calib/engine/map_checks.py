"""Numbers of a visit that tell whether its maps and its background can be right: `VisitState.checks`, judged in `qc.distrust`."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from v50calib.dq import DQ
from v50calib.kernels import background_shape, map_checks
from v50calib.kernels.arrays import Float
from v50calib.stages.photometry.config import PhotometryConfig
from v50calib.stages.photometry.constants import PhotometryConstants
from v50calib.stages.photometry.mean_frame import MeanFrame
from v50calib.stages.photometry.weights import Star, mean_background
from v50calib.stages.tile import VisitState

#: errors that a deviation is taken less of: chance alone gives 0
CHANCE = 3.0


def variance_of(mean: MeanFrame) -> Float:
    """Variance (ny, nx) of the mean frame, e-²."""
    return np.asarray((mean.read_var + np.maximum(mean.cds + mean.dark, 0.0) * mean.inverse_flat) / max(mean.pairs, 1))


def check_maps(state: VisitState, mean: MeanFrame) -> dict[str, float]:
    """dark_off: by how much the frames contradict the dark map, relative to it; negative_light: share of pixels below zero;
    flat_gradient: change of the flat on large scales. What cannot be told is left out."""
    science = np.zeros(state.shape, bool)
    columns = state.instrument.science if state.instrument.science is not None else slice(None)
    science[:, columns] = True
    bad, variance = state.masked | ~np.isfinite(mean.cds), variance_of(mean)
    found = {
        "negative_light": map_checks.negative_light(mean.cds, variance, bad),
        "flat_gradient": map_checks.flat_gradient(1.0 / mean.inverse_flat, science & ~bad),
    }
    if (left := map_checks.dark_left(mean.cds, mean.dark, variance, bad)) is not None:
        found["dark_off"] = beyond_chance(*left)
    return found


def check_background(
    config: PhotometryConfig, state: VisitState, mean: MeanFrame, star: Star, built: PhotometryConstants
) -> dict[str, float]:
    """background_shape: share of the white light that the background's surface misses, where the frame tells the shape."""
    bad, variance = state.masked | ~np.isfinite(mean.cds), variance_of(mean)
    bad = bad | ((state.pixel_dq & np.uint32(DQ.HOT)) != 0)
    if built.spectral:
        surface = background_shape.across_spectrum(mean.cds, variance, bad, float(config.optimal.window.half_height_px))
    else:
        surface = background_shape.beside_star(mean.cds, variance, bad, built.centre, config.background.annulus.inner_px)
    if surface is None:
        return {}
    weights = np.where(np.isfinite(built.maps.flux), built.maps.flux, 0.0)
    if built.spectral and state.instrument.science is not None:
        inside = np.zeros(weights.shape[1], bool)
        inside[state.instrument.science] = True
        weights = weights * inside
    light = float((weights * np.where(bad, star.filled, star.image)).sum())
    if not light > 0:
        return {}
    missed = (
        np.array([(weights * (s - mean_background(star.model, replace(mean, cds=s), state.masked))).sum() for s in surface.basis]) / light
    )
    error = math.sqrt(max(float(missed @ surface.covariance @ missed), 0.0))
    return {"background_shape": beyond_chance(float(missed @ surface.coefficients), error)}


def beyond_chance(value: float, error: float) -> float:
    """How large a deviation is beyond its chance.

    >>> beyond_chance(-0.5, 0.1), beyond_chance(0.2, 0.1)
    (0.2, 0.0)
    """
    return round(max(abs(value) - CHANCE * error, 0.0), 9)
