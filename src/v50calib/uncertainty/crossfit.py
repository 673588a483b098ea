"""Recalibration of every planet by a model that has not seen its truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from v50calib.estimators.crossfit import folds_of
from v50calib.kernels.arrays import Float
from v50calib.uncertainty.fit import fit, least
from v50calib.uncertainty.metrics import gaussian_log_density
from v50calib.uncertainty.model import apply
from v50calib.uncertainty.options import TopLevelCalib
from v50calib.uncertainty.score import aligned, bin_weights
from v50calib.uncertainty.tables import Predictions, Truth, matched

#: parts that the planets with truth are split into
FOLDS = 5


@dataclass(frozen=True)
class CrossFit:
    """Recalibrated predictions of all planets; gain: change of the mean log-likelihood on planets with truth, each judged by a model that
    has not seen it; kept: whether the recalibration was taken."""

    predictions: Predictions
    gain: float
    kept: bool
    notes: tuple[str, ...] = ()


def crossfit(predictions: Predictions, truth: Truth, options: TopLevelCalib, folds: int = FOLDS) -> CrossFit:
    """Fit `options.method` on the planets with truth, and apply it to all; a planet with truth gets a model of the others.

    The recalibration is taken where it raises the log-likelihood of the planets that each model left out, weighted as the metric
    weights channels; where it lowers it, predictions stay as they are. Too few planets with truth: they stay, and a note says so.
    Raises DataError for non-finite values.

    >>> ids, mu = tuple(map(str, range(40))), np.full((40, 283), 0.01)
    >>> signs = np.where(np.arange(40) % 2, 1.0, -1.0)[:, None]
    >>> found = crossfit(Predictions(ids, mu, 0 * mu + 1e-5), Truth(ids, mu + 2e-5 * signs), TopLevelCalib(method="temperature"))
    >>> found.kept, found.predictions.sigma[0, 0].round(7)
    (True, np.float64(2e-05))
    """
    rows, _ = matched(predictions.ids, truth.ids, "predictions and truth")
    needed, what = least(options)
    # the smallest training part of a fold must still do
    if len(rows) - -(-len(rows) // min(folds, max(len(rows), 1))) < needed:
        note = f"sigmas were not recalibrated: {len(rows)} planets have a truth, a cross-fitted {what} needs {needed} in each training part"
        return CrossFit(predictions, 0.0, False, (note,))
    rows = rows[np.argsort(np.array([predictions.ids[i] for i in rows]), kind="stable")]
    known = np.zeros(len(predictions.ids), bool)
    known[rows] = True
    mu, sigma = predictions.mu.copy(), predictions.sigma.copy()
    part = folds_of(len(rows), min(folds, len(rows)))
    for fold in range(int(part.max()) + 1):
        train = predictions.take(rows[part != fold])
        model = fit(train, _of(truth, train.ids), options)
        left_out = rows[part == fold]
        done = apply(model, predictions.take(left_out)).predictions
        mu[left_out], sigma[left_out] = done.mu, done.sigma
    whole = fit(predictions.take(rows), _of(truth, [predictions.ids[i] for i in rows]), options)
    if (~known).any():
        done = apply(whole, predictions.take(np.flatnonzero(~known))).predictions
        mu[~known], sigma[~known] = done.mu, done.sigma
    after = replace(predictions, mu=mu, sigma=sigma)
    shared = _of(truth, [predictions.ids[i] for i in rows])
    gain = _likelihood(after, shared, options) - _likelihood(predictions, shared, options)
    if gain < 0:
        note = f"sigmas were not recalibrated: {options.method} lowers the log-likelihood of planets that it has not seen by {-gain:.4f}"
        return CrossFit(predictions, gain, False, (*whole.notes, note))
    note = f"sigmas recalibrated by {options.method}: log-likelihood of planets that no fit has seen +{gain:.4f} a channel"
    return CrossFit(after, gain, True, (*whole.notes, note))


def _of(truth: Truth, ids: tuple[str, ...] | list[str]) -> Truth:
    where = {planet: i for i, planet in enumerate(truth.ids)}
    return Truth(tuple(ids), truth.y[[where[planet] for planet in ids]])


def _likelihood(predictions: Predictions, truth: Truth, options: TopLevelCalib) -> float:
    y, mu, sigma = aligned(predictions, truth)
    weight: Float = bin_weights(y.shape[1], options.score)
    density = gaussian_log_density(y, mu, np.maximum(sigma, options.score.sigma_floor)).mean(axis=0)
    return float(density @ weight / weight.sum())
