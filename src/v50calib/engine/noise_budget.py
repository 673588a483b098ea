"""The noise budget of a visit: predicted variance by its causes, measured scatter, scatter against averaging time."""

from __future__ import annotations

import numpy as np

from v50calib.engine.constants import VisitConstants
from v50calib.engine.series import SeriesResult
from v50calib.kernels.arrays import Float
from v50calib.kernels.noise import block_sizes, expected_rms, rms_of_blocks
from v50calib.kernels.series import robust_sigma
from v50calib.stages.photometry.config import PhotometryConfig
from v50calib.stages.photometry.constants import PhotometryConstants
from v50calib.stages.series.curves import white_normalized

#: rows of noise_budget. The first five add up to photometry_var; `background` is a pair's share of the error of the
#: subtracted background, smoothed in time (`rms_expected` has all of it); `flat` is NaN unless
#: calib.photometry.noise_model.flat_error says how good the flat is
COMPONENTS = ("photon", "dark", "sky", "read", "background", "flat")


def noise_arrays(visit: VisitConstants, result: SeriesResult, config: PhotometryConfig) -> dict[str, np.ndarray]:
    """noise_budget (component, wavelength) and noise_measured (wavelength), e-² of a pair out of transit; of the white
    light curve rms_measured and rms_expected (averaging), relative to its flux."""
    constants, normalized = visit.photometry, result.normalized
    assert constants is not None
    assert normalized is not None
    outside = normalized.out_of_transit
    if outside.sum() < 2:
        outside = np.ones_like(outside)
    divisor = _mean(normalized.baseline, outside)
    level = divisor * normalized.level
    scatter = _variance(normalized.flux, outside)
    white, var = white_normalized(result.series, normalized)
    # 0 where no channel has light: relative to that there is no noise
    total = float(np.nansum(level)) or np.nan
    whole = np.isfinite(level)
    white_slow = result.series.slow_of(whole) / total**2
    sizes = block_sizes(len(outside))
    # as `noise_over_limit` has it: the sum of the channels' variances
    expected = float(var[outside].mean()) - result.series.common_of(whole) / total**2
    return {
        "noise_budget": _budget(constants, config, level, result, outside),
        "noise_measured": scatter * divisor**2,
        "rms_measured": rms_of_blocks(white, outside, sizes),
        "rms_expected": expected_rms(expected, white_slow, constants.background.smooth_pairs, sizes),
    }


def _budget(
    constants: PhotometryConstants, config: PhotometryConfig, level: Float, result: SeriesResult, outside: np.ndarray
) -> Float:  # fmt: skip
    columns, noise, curves = constants.channels.columns, constants.noise, result.curves
    motion = [float(robust_sigma(np.asarray(p, np.float64)[outside, None])[0]) ** 2 for p in (curves.y, curves.x)]
    error = config.noise_model.flat_error
    flat = np.full(columns.size, np.nan) if error is None else error**2 * np.tensordot(motion, noise.flat_gain[:, columns], 1)
    photons = noise.constant - noise.dark
    # a pair's share in the variance of the subtracted background under its weights
    subtracted = constants.background_flux_var / max(constants.background.smooth_pairs, 1)
    parts: list[Float] = [noise.dark[columns], photons[columns], noise.read[columns], subtracted[columns], flat]
    if level.size == 1 and columns.size > 1:
        # channels summed to a band: their photons are what the summed variance has beside the rest
        parts = [np.nansum(p, keepdims=True) if np.isfinite(p).any() else np.full(1, np.nan) for p in parts]
        photon = _mean(result.series.var, outside) - sum(parts[:4])
        return np.stack([photon, *parts])
    return np.stack([noise.photon_gain[columns] * np.maximum(level, 0.0), *parts])


def _mean(values: np.ndarray, use: np.ndarray) -> Float:
    return np.asarray(values[use].mean(axis=0, dtype=np.float64))


def _variance(values: np.ndarray, use: np.ndarray) -> Float:
    """Variance (channel,) of the samples `use` (pair,), two passes in float64 sums."""
    chosen = values[use]
    centre = chosen.mean(axis=0, dtype=np.float64)
    return np.asarray(np.square(chosen - centre.astype(chosen.dtype)).mean(axis=0, dtype=np.float64))
