"""Commands on predictions: `score`, `uncertainty fit|apply|evaluate`, and `spectra`, which makes predictions from a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from v50calib.cli.arguments import AS_JSON, FILE, LOCATION, OVERWRITE, DataCommand, one_of
from v50calib.cli.shown import say_refused, spectra_progress
from v50calib.io.storage.location import Location, replace_text
from v50calib.io.storage.ours import is_page, refuse_existing, refuse_input, refuse_to_overwrite, starts_with

_PRED = click.option(
    "--pred", type=FILE, required=True, help="Predictions: planet_id, wl_1..wl_283, sigma_1..sigma_283 (.csv, .parquet, .npz)."
)
_FEATURES = click.option("--features", type=FILE, default=None, help="Features per channel (.npz of 'v50calib spectra --features').")
_CONFIG = "calib/nominal"
#: what the layout of predictions is called where a file is in the way: models of all kinds write it
_LAYOUT = "the layout of predictions, which every model has"
#: headings of `score --per-wavelength`
_PER_CHANNEL = "channel,score,"


def _options(words: tuple[str, ...], **set_here: str) -> Any:
    """calib.top_level_calib of the default profile with overrides; `temperature.per_bin=true` is short for a key of it."""
    from v50calib.config import load

    prefix = "calib.top_level_calib."
    full = [w if w.lstrip("+~").startswith(("calib.", "corel.")) else prefix + w for w in words]
    return load(_CONFIG, [*(f"{prefix}{k}={v}" for k, v in set_here.items()), *full]).calib.top_level_calib


class ScoreCommand(click.Command):
    """`score`, whose two files are told apart where one is not given."""

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*args, **more)
        except click.MissingParameter as exc:
            raise click.UsageError(
                "score takes two files, predictions and the truth that they are compared with: "
                "v50calib score runs/solved/submission.csv train.csv",
                exc.ctx,
            ) from exc


@click.command(cls=ScoreCommand)
@click.argument("pred", type=FILE)
@click.argument("truth", type=FILE)
@one_of("--edition", words=("2025", "2024"), help="Edition of the metric.")
@click.option("--per-wavelength", type=FILE, default=None, help="Write a CSV with the numbers of each channel.")
@OVERWRITE
@AS_JSON
@click.argument("overrides", nargs=-1)
def score(
    pred: Path, truth: Path, edition: str, per_wavelength: Path | None, overwrite: bool, as_json: bool, overrides: tuple[str, ...]
) -> None:  # fmt: skip
    """The challenge's score of PRED on TRUTH, with bias, coverage, ECE and CRPS.

    OVERRIDES change the metric's constants, e.g. score.naive_mean=0.0147 score.naive_sigma=0.0107 (mean and standard deviation of
    your training set) or score.fgs1_weight=57.846.
    """
    from v50calib.uncertainty.evaluate import compare
    from v50calib.uncertainty.score import aligned, breakdown
    from v50calib.uncertainty.tables import read_predictions, read_truth

    if per_wavelength is not None:
        refuse_to_overwrite(per_wavelength, starts_with(_PER_CHANNEL), "a table of channels", overwrite=overwrite)
        refuse_input(per_wavelength, (pred, truth))
    options = _options((f"score.edition='{edition}'", *overrides)).score
    predictions, known = read_predictions(pred), read_truth(truth)
    say_refused((*predictions.notes, *known.notes))
    found = compare(predictions, None, known, options)
    if per_wavelength is not None:
        _write_csv(per_wavelength, breakdown(*aligned(predictions, known), options))
    _print(found, as_json)


@click.group()
def uncertainty() -> None:
    """Recalibrate mu and sigma of a model on planets that it was not trained on: fit, apply, evaluate."""


@uncertainty.command()
@_PRED
@click.option("--truth", type=FILE, required=True, help="Truth of planets that the model was not trained on: planet_id, wl_1..wl_283.")
@_FEATURES
@click.option("--out", type=FILE, required=True, help="Model file to write (.npz).")
@one_of("--method", words=("temperature", "affine", "corel"), help="See docs/uncertainty.md.")
@OVERWRITE
@click.argument("overrides", nargs=-1)
def fit(pred: Path, truth: Path, features: Path | None, out: Path, method: str, overwrite: bool, overrides: tuple[str, ...]) -> None:
    """Fit a model on the planets that predictions and truth share.

    OVERRIDES are keys of calib.top_level_calib, e.g. temperature.per_bin=true, corel.fit.epochs=50, corel.conformal.method=joint.
    """
    from v50calib.uncertainty.files import is_model, save_model
    from v50calib.uncertainty.fit import fit as run
    from v50calib.uncertainty.tables import read_features, read_predictions, read_truth

    refuse_to_overwrite(out, is_model, "a model", overwrite=overwrite)
    refuse_input(out, (pred, truth, features))
    options = _options(overrides, method=method)
    predictions, known = read_predictions(pred), read_truth(truth)
    given = read_features(features) if features is not None else None
    say_refused((*predictions.notes, *known.notes, *(given.notes if given is not None else ())))
    model = run(predictions, known, options, given)
    save_model(out, model)
    for name, row in model.report.items():
        click.echo(f"{name:32s} mean log-likelihood {row['gll']:.4f}   90 % coverage {row['coverage_90']:.3f}")
    for note in model.notes:
        click.echo(note)
    click.echo(f"{model.used} fitted on {model.planets} planets, T {model.scale.T.min():.3f} to {model.scale.T.max():.3f} → {out}")


@uncertainty.command("apply")
@click.option("--model", type=FILE, required=True, help="Model file of 'v50calib uncertainty fit'.")
@_PRED
@_FEATURES
@click.option("--out", type=FILE, required=True, help="Recalibrated predictions to write, in the same layout.")
@click.option("--intervals", type=FILE, default=None, help="Also write them with low_1.. and high_1.., the conformal intervals.")
@OVERWRITE
def apply_command(model: Path, pred: Path, features: Path | None, out: Path, intervals: Path | None, overwrite: bool) -> None:
    """Recalibrate predictions of new planets with a fitted model. Exit code 1 where a row of them could not be read and is left out."""
    from v50calib.errors import DataError
    from v50calib.uncertainty.files import load_model
    from v50calib.uncertainty.model import apply
    from v50calib.uncertainty.tables import read_features, read_predictions, write_predictions
    from v50calib.uncertainty.workflow import write_bands

    _check_places(out, intervals, overwrite=overwrite)
    refuse_input(out, (model, pred, features))
    refuse_input(intervals, (model, pred, features, out))
    calibrator = load_model(model)
    if intervals is not None and calibrator.bands is None:
        raise DataError(
            f"'{model}' was fitted with corel.conformal.enabled=false and has no intervals: fit it again, or leave out --intervals"
        )
    predictions, given = read_predictions(pred), read_features(features) if features is not None else None
    refused = (*predictions.notes, *(given.notes if given is not None else ()))
    say_refused(refused)
    result = apply(calibrator, predictions, given)
    write_predictions(out, result.predictions)
    if intervals is not None and result.bands is not None:
        write_bands(intervals, result.predictions, result.bands)
    if result.clipped:
        click.echo(f"{result.clipped} values of mu were below 0 after the shift and were set to 0")
    click.echo(f"{len(result.predictions.ids)} planets recalibrated ({calibrator.used}) → {out}")
    if refused:
        sys.exit(1)


@uncertainty.command()
@_PRED
@click.option("--truth", type=FILE, required=True, help="Truth of planets that were not in the fit.")
@click.option("--model", type=FILE, default=None, help="Model to apply; without it the predictions are evaluated as they are.")
@_FEATURES
@click.option("--report", type=FILE, default=None, help="Write an HTML page with figures.")
@OVERWRITE
@AS_JSON
@click.argument("overrides", nargs=-1)
def evaluate(
    pred: Path, truth: Path, model: Path | None, features: Path | None, report: Path | None, overwrite: bool, as_json: bool,
    overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Score, coverage and calibration of predictions, before and after a model. OVERRIDES: e.g. score.edition='"2024"'."""
    from v50calib.uncertainty.evaluate import compare
    from v50calib.uncertainty.files import load_model
    from v50calib.uncertainty.model import apply
    from v50calib.uncertainty.report import write_page
    from v50calib.uncertainty.tables import read_features, read_predictions, read_truth
    from v50calib.uncertainty.workflow import report_page

    if report is not None:
        refuse_to_overwrite(report, is_page, "a page", overwrite=overwrite)
        refuse_input(report, (pred, truth, model, features))
    options, predictions, known = _options(overrides).score, read_predictions(pred), read_truth(truth)
    calibrator = load_model(model) if model is not None else None
    given = read_features(features) if features is not None else None
    say_refused((*predictions.notes, *known.notes, *(given.notes if given is not None else ())))
    after = apply(calibrator, predictions, given) if calibrator is not None else None
    found = compare(predictions, after, known, options)
    if report is not None:
        notes = calibrator.notes if calibrator is not None else ()
        write_page(report, report_page("Predictions against the truth", predictions, after, known, found, calibrator, notes))
    _print(found, as_json)


ESTIMATOR = one_of(
    "--estimator",
    words=("depths", "gp", "population"),
    help="depths: as fitted, no prior. gp: a Gaussian process along wavelength. population: the law of the spectra in --truth.",
)


@click.command(cls=DataCommand)
@click.argument("run_dir", type=LOCATION)
@click.option("--out", type=FILE, required=True, help="Predictions to write: planet_id, wl_1..wl_283, sigma_1..sigma_283.")
@ESTIMATOR
@click.option("--truth", type=FILE, default=None, help="True spectra for population: train.csv. A planet in it gets a fit of the others.")
@click.option("--features", type=FILE, default=None, help="Also write the out-of-transit scatter of each channel (.npz), for corel.")
@one_of("--missing", words=("error", "naive"), help="depths of planets without a transit: refuse, or write the naive mean and sigma.")
@OVERWRITE
def spectra(
    run_dir: Location, out: Path, estimator: Any, truth: Path | None, features: Path | None, missing: str, overwrite: bool
) -> None:  # fmt: skip
    """mu and sigma per planet of the run in RUN_DIR: one transit fit of all visits and instruments of each planet.

    gp and population put a prior on the spectrum; their mean and covariance are kept in RUN_DIR/estimates.zarr as well, and the
    depths stay as they are.
    """
    from v50calib.runtime.solution import solve_spectra
    from v50calib.uncertainty.tables import read_truth, write_features, write_predictions

    _check_places(out, features, overwrite=overwrite)
    refuse_input(out, (truth, features))
    refuse_input(features, (truth,))
    known = read_truth(truth) if truth is not None else None
    say_refused(known.notes if known is not None else ())
    found = solve_spectra(
        run_dir, estimator, _options(()), known, naive_depths=missing == "naive", recalibrate=False,
        log=spectra_progress(estimator), reading=spectra_progress("one fit a planet, then their depths", "read"),
    )  # fmt: skip
    write_predictions(out, found.predictions)
    if features is not None:
        write_features(features, found.spectra.features)
    for note in found.notes:
        click.echo(note)
    click.echo(f"spectra of {len(found.predictions.ids)} planets ({estimator}) → {out}")


def _check_places(*paths: Path | None, overwrite: bool) -> None:
    """Refuse predictions or features in a file that exists. Raises StoreError."""
    for path in paths:
        if path is not None:
            refuse_existing(path, _LAYOUT, overwrite=overwrite)


def _print(found: dict[str, Any], as_json: bool) -> None:
    """The record of `evaluate.compare` as JSON or as a table."""
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    from v50calib.uncertainty.evaluate import WORDS

    shown = [name for name in ("before", "after") if name in found]
    click.echo(f"{found['planets']} planets, score of {found['edition']}")
    click.echo(f"{'':32s}" + "".join(f"{name if len(shown) > 1 else '':>14s}" for name in shown))
    for key, words in WORDS.items():
        click.echo(f"{words:32s}" + "".join(f"{found[name][key]:14.6g}" for name in shown))
    if "bands" in found:
        b = found["bands"]
        covered = f"{b['elements']:.1%} of values covered, {b['planets']:.1%} of planets in every channel"
        click.echo(f"intervals ({b['kind']}, {b['nominal']:.0%}): {covered}")


def _write_csv(path: Path, columns: dict[str, Any]) -> None:
    import pandas as pd

    from v50calib.errors import DataError

    try:
        replace_text(path, pd.DataFrame(columns).to_csv(index=False))
    except OSError as exc:
        raise DataError(f"cannot write '{path}': {exc.strerror or exc}; give another path") from exc
