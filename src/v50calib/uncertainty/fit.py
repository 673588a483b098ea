"""Fit of a calibrator: temperature, affine or corel, with intervals from held-out planets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from v50calib.errors import ConfigError
from v50calib.kernels.arrays import Float
from v50calib.uncertainty.affine import MIN_PLANETS as AFFINE_PLANETS
from v50calib.uncertainty.bands import affine_scale, make_bands, split_planets
from v50calib.uncertainty.corel import MIN_PLANETS as COREL_PLANETS
from v50calib.uncertainty.corel import fit_corel
from v50calib.uncertainty.model import Calibrator, Inputs, Scale
from v50calib.uncertainty.options import TopLevelCalib
from v50calib.uncertainty.tables import Features, Predictions, Truth, matched
from v50calib.uncertainty.temperature import MIN_PLANETS, MIN_PLANETS_PER_BIN, fit_temperature, need

Log = Callable[[str], None]

#: rms z below this looks like residuals of planets that the model was trained on
SUSPICIOUS_Z = 0.5


def fit(
    predictions: Predictions, truth: Truth, options: TopLevelCalib, features: Features | None = None, log: Log | None = None
) -> Calibrator:
    """Calibrator of `options.method` from the planets that predictions and truth have in common.

    The planets must not have been used to train the model that made the predictions. Their order does not matter: they are
    sorted by id, and splits are drawn from options.corel.fit.seed. Raises DataError for too few planets, with the number
    needed; ConfigError for method none.

    >>> ids, mu, sigma = tuple(map(str, range(40))), np.full((40, 2), 0.01), np.full((40, 2), 1e-5)
    >>> truth = Truth(ids, mu + 2.0 * sigma * np.where(np.arange(40) % 2, 1.0, -1.0)[:, None])  # residuals of ±2 sigma
    >>> fit(Predictions(ids, mu, sigma), truth, TopLevelCalib(method="temperature")).scale.T.round(6)
    array([2., 2.])
    """
    if options.method == "none":
        raise ConfigError("calib.top_level_calib.method=none fits nothing: choose temperature, affine or corel")
    ids, inputs, y = common(predictions, truth, features)
    notes = list(_warnings(inputs, y))
    notes += [f"{len(predictions.ids) - len(ids)} planets of the predictions have no truth: not used in the fit"] * (
        len(predictions.ids) > len(ids)
    )
    names = features.names if features is not None else ()
    if options.method == "temperature":
        result = _fit_temperature(inputs, y, options, notes)
    elif options.method == "affine":
        result = _fit_affine(inputs, y, options, names, notes)
    else:
        result = fit_corel(inputs, y, options, names, notes)
    for note in result.notes:
        (log or (lambda _: None))(note)
    return result


def common(predictions: Predictions, truth: Truth, features: Features | None) -> tuple[list[str], Inputs, Float]:
    """Ids, inputs and truth of the planets that all have, sorted by id. Raises DataError where none is common or features lack one.

    >>> one = np.ones((1, 2))
    >>> common(Predictions(("7", "8"), np.ones((2, 2)), np.ones((2, 2))), Truth(("8",), one), None)[0]
    ['8']
    """
    rows, of_truth = matched(predictions.ids, truth.ids, "predictions and truth")
    order = np.argsort(np.array([predictions.ids[i] for i in rows]), kind="stable")
    rows, of_truth = rows[order], of_truth[order]
    ids = [predictions.ids[i] for i in rows]
    values = None
    if features is not None:
        _, of_features = matched(ids, features.ids, "predictions and features", all_left=True)
        values = features.values[of_features]
    return ids, Inputs(predictions.mu[rows], predictions.sigma[rows], values), truth.y[of_truth]


def least(options: TopLevelCalib) -> tuple[int, str]:
    """Fewest planets with truth that a method takes, and what is fitted.

    >>> least(TopLevelCalib(method="affine"))
    (30, 'affine')
    """
    if options.method == "temperature":
        return (MIN_PLANETS_PER_BIN, "temperature per bin") if options.temperature.per_bin else (MIN_PLANETS, "temperature")
    return (AFFINE_PLANETS if options.method == "affine" else COREL_PLANETS), options.method


def _warnings(inputs: Inputs, y: Float) -> list[str]:
    rms = float(np.sqrt(np.mean(np.square((y - inputs.mu) / inputs.sigma))))
    if rms >= SUSPICIOUS_Z:
        return []
    return [
        (
            f"residuals are {rms:.2f} of sigma (rms): either sigma is far too large, or these planets were in the training set; "
            "no guarantee holds on planets that the model has seen, use out-of-fold predictions"
        )
    ]


def _fit_temperature(inputs: Inputs, y: Float, options: TopLevelCalib, notes: list[str]) -> Calibrator:
    z = (y - inputs.mu) / inputs.sigma
    cfg = options.temperature
    found = fit_temperature(z, per_bin=cfg.per_bin, shrinkage=cfg.shrinkage, clamp=cfg.clamp_T, grid=cfg.grid_search)
    if found.clamped:
        notes.append(f"T was limited to {cfg.clamp_T} in {found.clamped} channels: look at the predictions")
    none = np.zeros(z.shape[1])
    # ranks do not change when all scores of a bin are scaled: no planet needs to be held out for T
    raw = Scale(np.ones(z.shape[1]), none)
    bands = make_bands(raw, inputs, y, options.corel, notes) if options.corel.conformal.enabled else None
    return Calibrator("temperature", "temperature", len(y), Scale(found.T, none), bands, notes=tuple(notes))


def _fit_affine(inputs: Inputs, y: Float, options: TopLevelCalib, names: tuple[str, ...], notes: list[str]) -> Calibrator:
    need(len(y), AFFINE_PLANETS, "affine")
    bands = None
    if options.corel.conformal.enabled:
        rest, held = split_planets(len(y), options.corel.fit.conformal_fraction, options.corel.fit.seed)
        part = affine_scale(inputs.take(rest), y[rest], options.affine)
        bands = make_bands(part, inputs.take(held), y[held], options.corel, notes)
    scale = affine_scale(inputs, y, options.affine)
    return Calibrator("affine", "affine", len(y), scale, bands, names, notes=tuple(notes))
