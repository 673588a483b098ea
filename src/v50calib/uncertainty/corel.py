"""CoRel: relational calibration. A network over channels predicts log scale beyond the per-bin T; never without its baselines.

Planets are split in two: the network is fitted on one half, the other half gives the intervals and the comparison. Where
validation does not show a gain over affine, affine is used and a note says so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.uncertainty.covariates import covariates, prepared_features, standardizer
from v50calib.uncertainty.metrics import gaussian_log_density
from v50calib.uncertainty.model import Calibrator, Inputs, Ratio, Scale, corel_module
from v50calib.uncertainty.options import AffineOptions, CorelOptions, TopLevelCalib
from v50calib.uncertainty.temperature import fit_temperature, need

Float = NDArray[np.float64]
Index = NDArray[np.int64]

#: fewer planets are refused
MIN_PLANETS = 100
#: bounds of T around a network or slopes
WIDE = (1e-3, 1e3)


def fit_corel(inputs: Inputs, y: Float, options: TopLevelCalib, names: tuple[str, ...], notes: list[str]) -> Calibrator:
    """Fit, compare, fall back where it does not win. Raises DataError under 100 planets or without torch."""
    from v50calib.uncertainty.fit import affine_scale, make_bands, split_planets

    need(len(y), MIN_PLANETS, "corel")
    module, cfg = corel_module(), options.corel
    rest, held = split_planets(len(y), cfg.fit.conformal_fraction, cfg.fit.seed)
    training, validation = split_planets(len(rest), cfg.fit.early_stop.validation_fraction, cfg.fit.seed + 2)
    fit_inputs, fit_y = inputs.take(rest), y[rest]
    network = network_scale(fit_inputs, fit_y, training, validation, cfg, module)
    simple = affine_scale(fit_inputs.take(training), fit_y[training], options.affine)
    gains = [_gll(s, fit_inputs.take(validation), fit_y[validation]) for s in (network, simple)]
    wins = gains[0] > gains[1]
    chosen = network if wins else affine_scale(fit_inputs, fit_y, options.affine)
    if not wins:
        notes.append(f"corel did not beat affine on its validation planets (GLL {gains[0]:.4f} against {gains[1]:.4f}): affine is used")
    report = comparison(inputs, y, rest, held, network, options) | {"corel " + cfg.model.backend: _row(network, inputs.take(held), y[held])}
    if cfg.ablation and cfg.model.backend != "none":
        bare = cfg.model_copy(update={"model": cfg.model.model_copy(update={"backend": "none"})})
        report["corel none"] = _row(network_scale(fit_inputs, fit_y, training, validation, bare, module), inputs.take(held), y[held])
    final = full_scale(chosen, inputs, y, rest[training], wins) if wins else affine_scale(inputs, y, options.affine)
    bands = make_bands(chosen, inputs.take(held), y[held], cfg, notes) if cfg.conformal.enabled else None
    return Calibrator("corel", "corel" if wins else "affine", len(y), final, bands, names, report, tuple(notes))


def network_scale(inputs: Inputs, y: Float, training: Index, validation: Index, options: CorelOptions, module: Any) -> Scale:
    """Shift, per-bin T and network of the fit planets; T is made anew around the network, its level on the validation planets."""
    from v50calib.uncertainty.affine import shrunk_shift

    features, positive = prepared_features(inputs.features)
    values = covariates(inputs.mu, inputs.sigma, features)
    standard = standardizer(values)
    z = (y - inputs.mu) / inputs.sigma
    shift = shrunk_shift(z)
    T = fit_temperature(z - shift, per_bin=True, clamp=WIDE).T
    x = standard(values)
    trained = module.train((z - shift) / T, x, training, validation, options)
    ratio = Ratio(standard, positive, 1, network=trained.arrays, options=options)
    log_scale = module.log_scale(trained, x, options)
    shift = shrunk_shift(z, np.exp(-2.0 * log_scale))
    return Scale(around(z - shift, log_scale, validation), shift, ratio)


def around(z: Float, log_scale: Float, fresh: Index) -> Float:
    """Per-bin T (bin,) of residuals divided by a fitted scale: deviations from all planets, the level from planets it has not seen."""
    scaled = z * np.exp(-log_scale)
    T = fit_temperature(scaled, per_bin=True, clamp=WIDE).T
    return np.asarray(T * np.sqrt(np.mean(np.square(scaled[fresh] / T))))


def full_scale(scale: Scale, inputs: Inputs, y: Float, seen: Index, refit: bool) -> Scale:
    """The same network, with T and shift from all planets: for sigma, which needs no held-out set; the intervals keep their own."""
    assert refit
    assert scale.ratio is not None
    log_scale, z = scale.ratio(inputs), (y - inputs.mu) / inputs.sigma
    from v50calib.uncertainty.affine import shrunk_shift

    shift = shrunk_shift(z, np.exp(-2.0 * log_scale))
    fresh = np.setdiff1d(np.arange(len(y)), seen)
    return replace(scale, T=around(z - shift, log_scale, fresh), shift=shift)


def comparison(inputs: Inputs, y: Float, rest: Index, held: Index, network: Scale, options: TopLevelCalib) -> dict[str, dict[str, float]]:
    """GLL and 90 % coverage of the simple methods on the held-out planets, each fitted on the planets that the network had."""
    from v50calib.uncertainty.fit import affine_scale

    fit_inputs, fit_y = inputs.take(rest), y[rest]
    z, bins = (fit_y - fit_inputs.mu) / fit_inputs.sigma, y.shape[1]
    none, one = np.zeros(bins), np.ones(bins)
    plain = replace(fit_inputs, features=None)
    rows = {
        "none": Scale(one, none),
        "global T": Scale(fit_temperature(z, clamp=WIDE).T, none),
        "per-bin T": Scale(fit_temperature(z, per_bin=True, clamp=WIDE).T, none),
        "affine": affine_scale(plain, fit_y, options.affine),
    }
    out = {name: _row(s, replace(inputs.take(held), features=None), y[held]) for name, s in rows.items()}
    if inputs.features is not None:
        smoothed = AffineOptions(ridge=options.affine.ridge, shift=options.affine.shift, smooth_bins=options.affine.smooth_bins)
        out[f"affine, features over {smoothed.smooth_bins} bins"] = _row(affine_scale(fit_inputs, fit_y, smoothed), inputs.take(held), y[held])
    return out


def _gll(scale: Scale, inputs: Inputs, y: Float) -> float:
    mu, sigma = scale(inputs)
    return float(gaussian_log_density(y, mu, sigma).mean())


def _row(scale: Scale, inputs: Inputs, y: Float) -> dict[str, float]:
    mu, sigma = scale(inputs)
    return {"gll": _gll(scale, inputs, y), "coverage_90": float((np.abs(y - mu) <= 1.6448536269514722 * sigma).mean())}
