"""Predictions with truth, before and after a recalibration: score, calibration numbers and coverage as one record."""

from __future__ import annotations

from typing import Any

from v50calib.uncertainty.metrics import coverage, summary
from v50calib.uncertainty.model import Recalibrated
from v50calib.uncertainty.options import ScoreOptions
from v50calib.uncertainty.score import aligned, score
from v50calib.uncertainty.tables import Bands, Predictions, Truth, matched

#: the score and the numbers of `metrics.summary` in words, in the order of the table
WORDS = {
    "score": "score",
    "gll": "mean log-likelihood",
    "rms_z": "rms of residual / sigma",
    "bias": "mean of residual / sigma",
    "coverage_90": "coverage of mu ± 1.645 sigma",
    "worst_bin_coverage_90": "the same, worst channel",
    "ece": "calibration error (ECE)",
    "crps": "CRPS",
    "mean_sigma": "mean sigma",
    "rms_residual": "rms residual",
}


def record(predictions: Predictions, truth: Truth, options: ScoreOptions) -> dict[str, float]:
    """Score and `metrics.summary` over the planets of the truth. Raises DataError where one has no prediction.

    >>> y = np.array([[0.01, 0.02], [0.03, 0.04]])
    >>> numbers = record(Predictions(("1", "2"), y + 1e-5, 0 * y + 1e-5), Truth(("1", "2"), y), ScoreOptions())
    >>> round(numbers["rms_z"], 6), round(numbers["bias"], 6), numbers["coverage_90"]  # every residual is -1 sigma
    (1.0, -1.0, 1.0)
    """
    y, mu, sigma = aligned(predictions, truth)
    return {"score": score(y, mu, sigma, options).value, **summary(y, mu, sigma)}


def band_record(bands: Bands, predictions: Predictions, truth: Truth) -> dict[str, Any]:
    """Observed coverage of intervals: of all elements, and of whole planets.

    >>> y = np.array([[0.5, 0.5], [0.5, 2.0]])
    >>> bands, predictions = Bands(0 * y, 0 * y + 1.0, 0.1, "per bin"), Predictions(("1", "2"), y, y)
    >>> band_record(bands, predictions, Truth(("1", "2"), y))
    {'kind': 'per bin', 'nominal': 0.9, 'elements': 0.75, 'planets': 0.5}
    """
    rows, of_truth = matched(predictions.ids, truth.ids, "predictions and truth")
    elements, planets = coverage(truth.y[of_truth], bands.low[rows], bands.high[rows])
    return {"kind": bands.kind, "nominal": 1.0 - bands.alpha, "elements": elements, "planets": planets}


def compare(before: Predictions, after: Recalibrated | None, truth: Truth, options: ScoreOptions) -> dict[str, Any]:
    """{"before": record, "after": record, "bands": coverage of the intervals}; the last two where a model was applied.

    >>> y = np.array([[0.01, 0.02], [0.03, 0.04]])
    >>> compare(Predictions(("1", "2"), y, 0 * y + 1e-5), None, Truth(("1", "2"), y), ScoreOptions())["before"]["rms_residual"]
    0.0
    """
    out: dict[str, Any] = {"planets": len(truth.ids), "edition": options.edition, "before": record(before, truth, options)}
    if after is not None:
        out["after"] = record(after.predictions, truth, options)
        if after.bands is not None:
            out["bands"] = band_record(after.bands, after.predictions, truth)
    return out
