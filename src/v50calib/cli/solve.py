"""The command `solve`: from raw frames to a submission."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from v50calib.cli.arguments import FILE, LOCATION, one_of, refuse_words
from v50calib.cli.complete import OVERRIDES, complete_planet, profile_option
from v50calib.cli.output import WorkCommand
from v50calib.cli.shown import print_failures, print_forecast, say_refused, spectra_progress
from v50calib.errors import ConfigError
from v50calib.io.storage.location import Location
from v50calib.io.storage.ours import is_page, refuse_to_overwrite, starts_with

if TYPE_CHECKING:
    from v50calib.config.models import RunConfig
    from v50calib.runtime.solution import Estimator, Solution
    from v50calib.runtime.worklist import Decision
    from v50calib.uncertainty.tables import Truth


@click.command(cls=WorkCommand)
@click.argument("data", type=LOCATION)
@click.argument("out", type=LOCATION)
@click.option(
    "--truth", type=FILE, default=None, help="True spectra: train.csv. The population is fitted to them, sigmas are recalibrated."
)
@one_of("--estimator", words=("auto", "depths", "gp", "population"), help="As for spectra; auto: population with --truth, gp without.")
@one_of("--recalibrate", words=("temperature", "affine", "none"), help="Of sigmas on planets with truth, cross-fitted.")
@profile_option
@click.option("--config-dir", type=FILE, default=None, help="Folder with your own profiles, searched first.")
@click.option(
    "--planet", "planets", multiple=True, shell_complete=complete_planet, help="Calibrate only this planet; may be given several times."
)
@click.option("--planets-from", type=FILE, default=None, help="Calibrate only the planets in this file, one id per line.")
@click.option("--hours", type=click.FloatRange(min=0), default=None, help="Do not start where the plan exceeds this time, e.g. 9.")
@click.option("--no-plan", is_flag=True, help="Skip the plan, which calibrates two visits to project hours and bytes.")
@OVERRIDES
def solve(
    data: Location, out: Location, truth: Path | None, estimator: Any, recalibrate: str, config_name: str, config_dir: Path | None,
    planets: tuple[str, ...], planets_from: Path | None, hours: float | None, no_plan: bool, overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Raw frames in DATA to OUT/submission.csv: plan, calibrate, one fit a planet, spectra, recalibrated sigmas, report.

    OUT is a run directory as of calibrate; the same command resumes one that was stopped. The submission has all planets of OUT, also
    those of an earlier call with other --planet. OVERRIDES are those of calibrate. Planets
    without a usable visit get the prior, and the end says which. Exit code 1 where a visit failed (the submission is written all the
    same) or the plan exceeds --hours (nothing is written).
    """
    from v50calib.config import load
    from v50calib.config.compose import profile_name
    from v50calib.runtime.batch import plan
    from v50calib.runtime.queues import refuse_absent_queue
    from v50calib.runtime.select import read_planets
    from v50calib.runtime.solution import solve_spectra, submission_ids
    from v50calib.uncertainty.estimate import check_population
    from v50calib.uncertainty.tables import write_predictions

    refuse_words(overrides)
    config = load(profile_name(config_name, config_dir), overrides, config_dir)
    refuse_absent_queue(config.runtime)
    known = _checked(truth, out, config)
    _check_places(out)
    chosen = _estimator(estimator, known)
    refused = list(known.notes) if known is not None else []
    wanted = (*planets, *(read_planets(planets_from, refused.append) if planets_from is not None else ()))
    say_refused(refused)
    decisions = plan(data, out, config)
    _refuse_strangers(out, decisions)
    _check_instruments(out, decisions, wanted, chosen)
    # its first column is read here: a table that is damaged must not be found after hours
    submission_ids(data, ())
    if chosen == "population":
        check_population(known, wanted or {decision.job.key.planet_id for decision in decisions})
    if not no_plan and not _fits(data, out, config, hours, wanted):
        sys.exit(1)
    failed = _calibrate(data, out, config, wanted)
    options = config.calib.top_level_calib
    if recalibrate != "none":
        options = options.model_copy(update={"method": recalibrate})
    found = solve_spectra(
        out, chosen, options, known, naive_depths=True, recalibrate=recalibrate != "none",
        log=spectra_progress(chosen), reading=spectra_progress("one fit a planet, then their depths", "read"),
    )  # fmt: skip
    ids, note = submission_ids(data, found.predictions.ids)
    rows = [found.predictions.ids.index(i) for i in ids]
    submission = Path(str(out)) / "submission.csv"
    write_predictions(submission, found.predictions.take(rows))
    for line in (*found.notes, *([note] if note else [])):
        click.echo(line)
    _report(out, found, known)
    for step, numbers in found.scores.items():
        click.echo(f"score of {step:13s} {numbers['score']:.4f}   rms of residual / sigma {numbers['rms_z']:.2f}")
    click.echo(f"{len(ids)} planets ({chosen}) → {submission}")
    if failed or refused:
        sys.exit(1)


def _estimator(asked: str, known: Truth | None) -> Estimator:
    """The estimator asked for; auto: the population where the truth holds enough spectra for one."""
    from v50calib.uncertainty.estimate import ENOUGH

    if asked != "auto":
        return cast("Estimator", asked)
    if known is not None and len(known.ids) < ENOUGH:
        click.echo(f"--estimator gp: the truth holds {len(known.ids)} spectra, a population takes {ENOUGH}")
    return "population" if known is not None and len(known.ids) >= ENOUGH else "gp"


def _checked(truth: Path | None, out: Location, config: RunConfig) -> Truth | None:
    """The truth, read before any frame. Raises ConfigError for what solve cannot do."""
    from v50calib.uncertainty.tables import read_truth

    if not isinstance(out, Path):
        raise ConfigError(f"solve writes local files beside its run, and '{out}' is in an object store: give a local OUT")
    if not config.fits_planets:
        raise ConfigError(
            "solve takes one fit a planet, and this config makes none: leave calib.phase.depths.enabled and "
            "calib.phase.depths.planet at true"
        )
    return read_truth(truth) if truth is not None else None


def _check_places(out: Location) -> None:
    """Refuse files in the run directory that have the names of this command's and are something else. Raises StoreError."""
    from v50calib.report.build import NAME
    from v50calib.uncertainty.tables import N_BINS

    remedy = "solve writes its own files in OUT: move this one, or give another OUT"
    headings = ",".join(("planet_id", *(f"wl_{i}" for i in range(1, N_BINS + 1)), "sigma_1"))
    refuse_to_overwrite(out / "submission.csv", starts_with(headings), "a submission", within=out, remedy=remedy)
    for name in (NAME, "spectra.html"):
        refuse_to_overwrite(out / name, is_page, "a page", within=out, remedy=remedy)


def _refuse_strangers(out: Location, decisions: Sequence[Decision]) -> None:
    """Raises ConfigError where OUT holds products of visits that the dataset does not have: their depths would be mixed."""
    from v50calib.runs.calibrated import PRODUCTS
    from v50calib.runs.product import committed_products

    if not (out / PRODUCTS).is_dir():
        return
    known = {decision.label for decision in decisions}
    strangers = [label for label, _ in committed_products(out / PRODUCTS) if label not in known]
    if strangers:
        shown = ", ".join(strangers[:3])
        raise ConfigError(
            f"'{out}' holds {len(strangers)} products of visits that DATA does not have ({shown}): a planet's fit would mix two datasets; "
            "give another OUT, or the DATA that it was made of"
        )


def _check_instruments(out: Location, decisions: Sequence[Decision], wanted: Sequence[str], estimator: Estimator) -> None:
    """Raises ConfigError where the visits of this call, and what OUT holds already, are not of the instruments of a spectrum."""
    from v50calib.runs.calibrated import PRODUCTS
    from v50calib.runs.product import committed_products
    from v50calib.uncertainty.estimate import check_instruments

    chosen = {decision.job.key.instrument for decision in decisions if not wanted or decision.job.key.planet_id in wanted}
    if (out / PRODUCTS).is_dir():
        chosen |= {label.rsplit("/", 1)[1] for label, _ in committed_products(out / PRODUCTS)}
    check_instruments(chosen, estimator, "what this command would calibrate")


def _fits(data: Location, out: Location, config: RunConfig, hours: float | None, planets: Sequence[str]) -> bool:
    """Print the plan of what is left; whether it keeps the limit."""
    from v50calib.cli.progress import run_progress
    from v50calib.runtime.batch import plan
    from v50calib.runtime.forecast import Limits, forecast

    if not any(decision.action == "do" for decision in plan(data, out, config, planets=planets)):
        return True
    with run_progress("measure") as progress:
        found = forecast(data, config, out=out, planets=planets, limits=Limits(hours), progress=progress)
    print_forecast(found)
    return not found.broken


def _calibrate(data: Location, out: Location, config: RunConfig, planets: Sequence[str]) -> int:
    """Calibrate what is left; how many visits failed."""
    from v50calib.cli.progress import run_progress
    from v50calib.runtime.batch import calibrate

    with run_progress() as progress:
        summary = calibrate(data, out, config=config, planets=planets, progress=progress)
    click.echo(f"{summary.count('done')} calibrated, {summary.count('skipped')} already complete, {len(summary.failed)} failed → {out}")
    for note in summary.notes:
        click.echo(note)
    print_failures(summary.failed, out)
    return len(summary.failed)


def _report(out: Location, found: Solution, known: Truth | None) -> None:
    """The run's report, and where there is truth the page of the spectra."""
    from v50calib.cli.progress import counter
    from v50calib.report.build import write_report

    with counter("report") as step:
        page = write_report(out, progress=step)
    click.echo(f"report of the visits → {page.path}")
    if found.estimates is None:
        return
    from v50calib.uncertainty.report import write_page
    from v50calib.uncertainty.spectra_page import spectra_page

    estimates, truth = found.estimates, dict(zip(known.ids, known.y, strict=True)) if known is not None else {}
    text = spectra_page(
        estimates.ids, estimates.wavelength, found.spectra.measured, estimates.mean, estimates.cov, truth, found.scores, found.notes,
        found.estimator,
    )  # fmt: skip
    write_page(Path(str(out)) / "spectra.html", text)
    click.echo(f"report of the spectra → {out}/spectra.html")
