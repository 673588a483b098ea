"""Command line: `v50calib` (and `spectramind`, the same program)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from v50calib.cli_plan import doctor
from v50calib.cli_plan import plan as plan_command
from v50calib.cli_runs import export, qc, report, status, verify
from v50calib.cli_types import PLACE
from v50calib.cli_uncertainty import score, spectra, uncertainty
from v50calib.errors import V50CalibError
from v50calib.io.place import Place, place


class Program(click.Group):
    """A group whose errors are one paragraph."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except V50CalibError as exc:
            click.echo(f"error: {exc}", err=True)
            ctx.exit(exc.exit_code)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="v50calib")
def main() -> None:
    """Calibrate raw FGS1 and AIRS-CH0 frames of Ariel-like datasets.

    \b
    Start here:
      v50calib simulate data --planets 3 --frames-fraction 0.05
      v50calib calibrate --config-name calib/nominal --data data --out runs/nominal
      v50calib summary runs/nominal --truth data
      v50calib report runs/nominal --truth data
    """


@main.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--planets", default=3, show_default=True, help="Number of planets.")
@click.option("--visits", default="1", show_default=True, help="Visits per planet: a number, or a list cycled over planets, e.g. 2,1,1.")
@click.option(
    "--frames-fraction",
    default=1.0,
    show_default=True,
    help="Share of the full 135000 FGS1 and 11250 AIRS frames; the visit keeps its 7.5 h.",
)
@click.option("--seed", default=0, show_default=True, help="Same seed, same dataset.")
@click.option("--jitter", type=float, nargs=2, default=(0.10, 0.12), show_default=True, help="White pointing jitter x y, px rms.")
@click.option("--drift", type=float, default=0.05, show_default=True, help="Slow pointing drift, px.")
@click.option(
    "--layout",
    type=click.Choice(["2025", "2024"]),
    default="2025",
    show_default=True,
    help="Challenge edition whose file layout is written.",
)
@click.option("--workers", default=1, show_default=True, help="Processes.")
def simulate(
    out: Path,
    planets: int,
    visits: str,
    frames_fraction: float,
    seed: int,
    jitter: tuple[float, float],
    drift: float,
    layout: str,
    workers: int,
) -> None:
    """Write a dataset in the challenge's layout, with known truth, to the folder OUT."""
    from v50calib.simulate import simulate_dataset

    try:
        per_planet = [int(v) for v in visits.split(",")]
    except ValueError as exc:
        raise click.BadParameter(f"'{visits}' is no number or list of numbers, e.g. 1 or 2,1,1", param_hint="--visits") from exc
    from v50calib.cli_progress import counter

    with counter("simulate") as step:
        path = simulate_dataset(
            out, planets=planets, visits=per_planet, frames_fraction=frames_fraction, seed=seed, jitter_px=jitter, drift_px=drift,
            layout="2024" if layout == "2024" else "2025", workers=workers, progress=step,
        )  # fmt: skip
    click.echo(f"wrote {planets} planets to {path}")


@main.command()
@click.argument("dataset", type=PLACE)
@click.argument("store", type=PLACE)
@click.option("--workers", default=1, show_default=True, help="Processes; each streams one visit.")
def ingest(dataset: Place, store: Place, workers: int) -> None:
    """Write the raw frames of DATASET (parquet) to the Zarr store STORE, for repeated and parallel reading."""
    from v50calib.cli_progress import counter
    from v50calib.io.store import ingest as run

    with counter("ingest") as step:
        result = run(dataset, store, workers=workers, progress=step)
    click.echo(f"{len(result.written)} ingested, {len(result.skipped)} already there, {len(result.failed)} failed → {store}")
    for key, message in result.failed.items():
        click.echo(f"failed {key}: {message}", err=True)
    if result.failed:
        sys.exit(1)


@main.command()
@click.option(
    "--config-name",
    default="calib/nominal",
    show_default=True,
    help="Profile: calib/fast, calib/nominal, calib/strict, calib/official or one of --config-dir.",
)
@click.option("--data", type=PLACE, default=None, help="Dataset folder or raw Zarr store.  [default: $DATA_DIR or data]")
@click.option("--out", type=PLACE, default=None, help="Run directory.  [default: $RUN_DIR or runs/<profile>]")
@click.option("--config-dir", type=click.Path(path_type=Path), default=None, help="Folder with your own profiles, searched first.")
@click.option("--cfg", type=click.Choice(["job"]), default=None, help="Print the composed config and run nothing.")
@click.option("--resolve", is_flag=True, help="With --cfg: resolve interpolations.")
@click.option(
    "--scheduler",
    default=None,
    help="Where to run: local, threads, sync, slurm, pbs, lsf, sge, kubernetes (profiles/compute), tcp://… or tls://…",
)
@click.option("--planet", "planets", multiple=True, help="Only this planet; may be given several times.")
@click.option("--planets-from", type=click.Path(path_type=Path), default=None, help="Only the planets of this file, one id a line.")
@click.option(
    "--only", multiple=True, metavar="PLANET[/VISIT[/INSTRUMENT]]", help="Only this part of the dataset; may be given several times."
)
@click.option("--limit", type=click.IntRange(min=1), default=None, help="Calibrate at most so many visits x instruments, then end.")
@click.option("--retry-failed", is_flag=True, help="Only visits whose last attempt failed, quarantined ones too.")
@click.option("--overwrite", is_flag=True, help="Redo visits even where the run directory has them, or belongs to another config.")
@click.option("--update", is_flag=True, help="Accept a run directory of another config, and redo what the change affects.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and why; write nothing.")
@click.argument("overrides", nargs=-1)
def calibrate(
    config_name: str, data: Place | None, out: Place | None, config_dir: Path | None, cfg: str | None, resolve: bool,
    scheduler: str | None, planets: tuple[str, ...], planets_from: Path | None, overrides: tuple[str, ...], dry_run: bool, **choice: Any,
) -> None:  # fmt: skip
    """Calibrate every visit of a dataset. OVERRIDES are key=value, e.g. calib.phase.binning.nbins=120.

    Visits that are complete under the same config and input are skipped, so a run that was stopped goes on where it was.
    Exit code 1 if any visit failed (each failure's reason is printed and kept in manifest.jsonl), 5 if the scheduler or the
    workers were lost, 130 or 143 after SIGINT or SIGTERM.
    """
    from v50calib.cli_progress import run_progress
    from v50calib.config import load
    from v50calib.config.compose import compose_yaml

    overrides = (*_scheduler_override(scheduler), *overrides)
    if cfg is not None:
        click.echo(compose_yaml(config_name, overrides, config_dir=config_dir, resolve=resolve), nl=False)
        return
    from v50calib.runtime.batch import calibrate as run
    from v50calib.runtime.batch import plan
    from v50calib.runtime.select import read_planets

    config = load(config_name, overrides, config_dir)
    data = data if data is not None else place(os.environ.get("DATA_DIR", "data"))
    out = out if out is not None else place(os.environ.get("RUN_DIR", f"runs/{config_name.rsplit('/', 1)[-1]}"))
    choice["planets"] = (*planets, *(read_planets(planets_from) if planets_from is not None else ()))
    if dry_run:
        _print_plan(plan(data, out, config, **choice))
        return
    with run_progress() as progress:
        summary = run(data, out, config=config, progress=progress, **choice)
    click.echo(f"{summary.count('done')} calibrated, {summary.count('skipped')} already complete, {len(summary.failed)} failed → {out}")
    for note in summary.notes:
        click.echo(note)
    if summary.failed:
        for entry in summary.failed:
            click.echo(f"failed {entry.label}: {entry.error or entry.error_type}", err=True)
        sys.exit(1)


def _scheduler_override(scheduler: str | None) -> tuple[str, ...]:
    """A compute profile for a name, the address itself for an address."""
    if scheduler is None:
        return ()
    return (f"runtime.scheduler='{scheduler}'",) if "://" in scheduler else (f"compute={scheduler}",)


def _print_plan(decisions: list[Any]) -> None:
    """Counts by reason, then a line for each visit that is not skipped."""
    counts: dict[str, int] = {}
    words = {"do": "to calibrate", "skip": "to skip", "hold": "held in quarantine", "broken": "not to be opened"}
    for decision in decisions:
        what = f"{words[decision.action]} ({decision.reason.partition(':')[0]})"
        counts[what] = counts.get(what, 0) + 1
    for what, count in counts.items():
        click.echo(f"{count} {what}")
    for decision in decisions:
        if decision.action != "skip":
            click.echo(f"  {decision.label}: {decision.reason}")


@main.command()
@click.argument("run_dir", type=PLACE)
@click.option("--truth", type=click.Path(path_type=Path), default=None, help="Simulated dataset (with truth.json) to compare with.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def summary(run_dir: Place, truth: Path | None, as_json: bool) -> None:
    """Table of a run: depth, noise over the photon limit and seconds of each visit."""
    from v50calib.qc.summary import print_table
    from v50calib.runtime.summary import rows

    table = rows(run_dir, truth)
    if as_json:
        import json

        click.echo(json.dumps(table, indent=1))
    else:
        print_table(table)


main.add_command(doctor)
main.add_command(plan_command)
main.add_command(status)
main.add_command(verify)
main.add_command(qc)
main.add_command(score)
main.add_command(spectra)
main.add_command(uncertainty)
main.add_command(export)
main.add_command(report)
