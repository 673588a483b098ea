"""From files to files: fit on the planets with truth, save the model, recalibrate all planets, write them and a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v50calib.uncertainty.evaluate import compare
from v50calib.uncertainty.files import save_model
from v50calib.uncertainty.fit import fit
from v50calib.uncertainty.model import Calibrator, Recalibrated, apply
from v50calib.uncertainty.options import TopLevelCalib
from v50calib.uncertainty.report import page, write_page
from v50calib.uncertainty.score import aligned
from v50calib.uncertainty.tables import Bands, Features, Predictions, Truth, matched, write_predictions


@dataclass(frozen=True)
class Outcome:
    """A finished recalibration: the model, its result, and the numbers before and after on the planets with truth."""

    calibrator: Calibrator
    result: Recalibrated
    record: dict[str, Any]


def recalibrate(
    predictions: Predictions,
    truth: Truth,
    options: TopLevelCalib,
    features: Features | None = None,
    *,
    out: Path,
    model: Path | None = None,
    report: Path | None = None,
) -> Outcome:
    """Fit on the planets of `truth`, recalibrate all planets of `predictions` into `out`; intervals go beside it.

    Raises DataError and ConfigError as `fit`; nothing is written before the fit is done.

    >>> import tempfile
    >>> ids, mu, sigma = tuple(map(str, range(40))), np.full((40, 2), 0.01), np.full((40, 2), 1e-5)
    >>> truth = Truth(ids, mu + 2.0 * sigma * np.where(np.arange(40) % 2, 1.0, -1.0)[:, None])  # residuals of ±2 sigma
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out = Path(folder, "new.csv")
    ...     done = recalibrate(Predictions(ids, mu, sigma), truth, TopLevelCalib(method="temperature"), out=out)
    >>> round(done.record["before"]["rms_z"], 6), round(done.record["after"]["rms_z"], 6)
    (2.0, 1.0)
    """
    calibrator = fit(predictions, truth, options, features)
    result = apply(calibrator, predictions, features)
    if model is not None:
        save_model(model, calibrator)
    write_predictions(out, result.predictions)
    if result.bands is not None:
        write_bands(beside(out, "intervals"), result.predictions, result.bands)
    known = with_truth(predictions, truth)
    record = compare(predictions, result, known, options.score)
    if report is not None:
        notes = (*calibrator.notes, "these planets are those of the fit: planets that were not in it say how good it is")
        write_page(report, report_page("Recalibrated predictions", predictions, result, known, record, calibrator, notes))
    return Outcome(calibrator, result, record)


def with_truth(predictions: Predictions, truth: Truth) -> Truth:
    """The truth of planets that have a prediction. Raises DataError where none has.

    >>> predictions = Predictions(("1", "2"), np.ones((2, 1)), np.ones((2, 1)))
    >>> with_truth(predictions, Truth(("9", "2"), np.ones((2, 1)))).ids
    ('2',)
    """
    rows, _ = matched(truth.ids, predictions.ids, "truth and predictions")
    return Truth(tuple(truth.ids[i] for i in rows), truth.y[rows])


def report_page(
    title: str, before: Predictions, after: Recalibrated | None, truth: Truth, record: dict[str, Any], calibrator: Calibrator | None,
    notes: tuple[str, ...] = (),
) -> str:  # fmt: skip
    """HTML of a comparison: `after` and `calibrator` where a model was applied."""
    y, mu, sigma = aligned(before, truth)
    cases = {"before": (mu, sigma)}
    if after is not None:
        cases["after"] = aligned(after.predictions, truth)[1:]
    return page(title, record, y, cases, fit=calibrator.report if calibrator is not None else None, notes=notes)


def beside(path: Path, word: str) -> Path:
    """predictions.csv, "intervals" -> predictions_intervals.csv.

    >>> beside(Path("out/predictions.csv"), "intervals").name
    'predictions_intervals.csv'
    """
    return path.with_name(f"{path.stem}_{word}{path.suffix}")


def write_bands(path: Path, predictions: Predictions, bands: Bands) -> None:
    """Predictions with low_1.. and high_1.. beside them. Raises DataError."""
    write_predictions(path, predictions, {"low": bands.low, "high": bands.high})
