"""The challenge's metric: Gaussian log-likelihood on a scale from a naive answer (0) to an ideal one (1).

2025: per element ``(GLL_pred - GLL_mean) / (GLL_true - GLL_mean)``, averaged with a weight for FGS1, clipped to [0, 1].
2024: the three are summed over everything before the ratio, one ideal sigma, no weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v50calib.errors import DataError
from v50calib.kernels.arrays import Float
from v50calib.schema import CHANNELS
from v50calib.uncertainty.metrics import gaussian_log_density, per_bin
from v50calib.uncertainty.options import ScoreOptions
from v50calib.uncertainty.tables import Predictions, Truth, matched


@dataclass(frozen=True)
class Score:
    """value: the score in [0, 1]; unclipped: before the clip; per_bin: (bin,) each channel's own, before weights and clip."""

    value: float
    unclipped: float
    per_bin: Float


def bin_weights(n_bins: int, options: ScoreOptions) -> Float:
    """Weight of each channel in the edition's average, (bin,).

    >>> bin_weights(3, ScoreOptions(fgs1_weight=2.0))
    array([2., 1., 1.])
    """
    weights = np.ones(n_bins)
    if options.edition == "2025":
        weights[CHANNELS["FGS1"]] = options.fgs1_weight
    return weights


def score(y: Float, mu: Float, sigma: Float, options: ScoreOptions | None = None) -> Score:
    """Score of predictions mu, sigma on truth y, all (planet, bin); FGS1 is the first bin (`schema.CHANNELS`).

    Raises DataError for shapes that differ, NaN, negative mu or sigma. A sigma of 0 counts as options.sigma_floor.

    >>> truth, best = np.full((5, 283), 0.01), np.full((5, 283), 1e-5)
    >>> best[:, 0] = ScoreOptions().sigma_fgs1
    >>> best[:, 1:] = ScoreOptions().sigma_airs
    >>> score(truth, truth, best).value
    1.0
    """
    options = options or ScoreOptions()
    y, mu, sigma = (np.asarray(a, dtype=np.float64) for a in (y, mu, sigma))
    if not y.shape == mu.shape == sigma.shape or y.ndim != 2 or y.size == 0:
        raise DataError(
            f"truth, mu and sigma have the shapes {y.shape}, {mu.shape}, {sigma.shape}: expected one (planets, channels) for all"
        )
    for name, values in (("truth", y), ("mu", mu), ("sigma", sigma)):
        if not np.isfinite(values).all():
            raise DataError(f"{name} holds {int((~np.isfinite(values)).sum())} values that are not finite: the metric takes none")
        if name != "truth" and (values < 0).any():
            raise DataError(f"{name} holds {int((values < 0).sum())} negative values: the metric takes none; clip at 0")
    predicted = gaussian_log_density(y, mu, np.maximum(sigma, options.sigma_floor))
    naive = gaussian_log_density(y, options.naive_mean, options.naive_sigma)
    if options.edition == "2024":
        ideal = np.full(y.shape, gaussian_log_density(np.zeros(1), 0.0, options.sigma_2024)[0])
        each = (predicted.sum(axis=0) - naive.sum(axis=0)) / (ideal.sum(axis=0) - naive.sum(axis=0))
        raw = float((predicted.sum() - naive.sum()) / (ideal.sum() - naive.sum()))
    else:
        best = np.full(y.shape[1], options.sigma_airs)
        best[CHANNELS["FGS1"]] = options.sigma_fgs1
        ideal = np.broadcast_to(-0.5 * np.log(2.0 * np.pi) - np.log(best), y.shape)
        ratio = (predicted - naive) / (ideal - naive)
        each = ratio.mean(axis=0)
        raw = float(np.average(ratio, weights=np.broadcast_to(bin_weights(y.shape[1], options), y.shape)))
    return Score(float(np.clip(raw, 0.0, 1.0)), raw, each)


def aligned(predictions: Predictions, truth: Truth) -> tuple[Float, Float, Float]:
    """y, mu, sigma of the planets of the truth, in its order. Raises DataError where one has no prediction.

    >>> predictions = Predictions(("1", "2"), np.array([[0.1], [0.2]]), np.ones((2, 1)))
    >>> aligned(predictions, Truth(("2",), np.array([[0.25]])))[:2]
    (array([[0.25]]), array([[0.2]]))
    """
    of_truth, of_predictions = matched(truth.ids, predictions.ids, "truth and predictions", all_left=True)
    return truth.y[of_truth], predictions.mu[of_predictions], predictions.sigma[of_predictions]


def breakdown(y: Float, mu: Float, sigma: Float, options: ScoreOptions | None = None) -> dict[str, Float]:
    """{name: (bin,)}: channel number, the channel's score, then what `metrics.per_bin` gives.

    >>> y = np.full((2, 3), 0.01)
    >>> list(breakdown(y, y, 0 * y + 1e-5))[:4]
    ['channel', 'score', 'gll', 'bias']
    """
    return {"channel": np.arange(1, y.shape[1] + 1), "score": score(y, mu, sigma, options).per_bin, **per_bin(y, mu, sigma)}
