"""The command `calibrate`."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

from v50calib.cli.arguments import FILE, LOCATION, folder_among
from v50calib.cli.complete import OVERRIDES, complete_part, complete_planet, complete_scheduler, profile_option
from v50calib.cli.output import WorkCommand
from v50calib.cli.shown import in_mb, print_failures, say_refused
from v50calib.io.storage.location import Location, locate


@click.command(cls=WorkCommand)
@profile_option
@click.option("--data", type=LOCATION, default=None, help="Dataset folder or raw Zarr store.  [default: $DATA_DIR or data]")
@click.option("--out", type=LOCATION, default=None, help="Run directory.  [default: $RUN_DIR or runs/<profile>]")
@click.option("--config-dir", type=FILE, default=None, help="Folder with your own profiles, searched first.")
@click.option("--cfg", type=click.Choice(["job"]), default=None, help="Print the composed config and run nothing.")
@click.option("--resolve", is_flag=True, help="With --cfg: resolve interpolations.")
@click.option(
    "--scheduler",
    default=None,
    shell_complete=complete_scheduler,
    help="Where to run: auto, local, threads, sync, slurm, pbs, lsf, sge, kubernetes (profiles/compute), tcp://… or tls://…",
)
@click.option("--planet", "planets", multiple=True, shell_complete=complete_planet, help="Only this planet; may be given several times.")
@click.option("--planets-from", type=FILE, default=None, help="Only the planets in this file, one id per line.")
@click.option(
    "--only",
    multiple=True,
    shell_complete=complete_part,
    metavar="[SPLIT/]PLANET[/VISIT[/INSTRUMENT]]",
    help="Only this part of the dataset, or train or test; may be given several times.",
)
@click.option("--limit", type=click.IntRange(min=1), default=None, help="Calibrate at most N visits x instruments, then end.", metavar="N")
@click.option("--retry-failed", is_flag=True, help="Only visits whose last attempt failed, including quarantined ones.")
@click.option("--overwrite", is_flag=True, help="Redo visits even if the run directory has them or belongs to another config.")
@click.option("--update", is_flag=True, help="Accept a run directory of another config and redo what the change affects.")
@click.option("--dry-run", is_flag=True, help="Print what would be done and why; write nothing.")
@OVERRIDES
def calibrate(
    config_name: str, data: Location | None, out: Location | None, config_dir: Path | None, cfg: str | None, resolve: bool,
    scheduler: str | None, planets: tuple[str, ...], planets_from: Path | None, overrides: tuple[str, ...], dry_run: bool, **choice: Any,
) -> None:  # fmt: skip
    """Calibrate every visit of a dataset. OVERRIDES are key=value, e.g. calib.phase.binning.nbins=120; a folder among them is --data.

    Visits that are complete under the same config and input are skipped, so the same command resumes a run that was stopped.
    Exit code 1 if any visit failed (the reason of each failure is printed and kept in manifest.jsonl), 5 if the scheduler or the
    workers were lost, 130 or 143 after SIGINT or SIGTERM.
    """
    from v50calib.cli.progress import run_progress
    from v50calib.config import load
    from v50calib.config.compose import compose_yaml, profile_name
    from v50calib.config.consistency import refuse_inconsistent
    from v50calib.config.explain import told_by_instrument, told_methods

    config_name = profile_name(config_name, config_dir)
    data, overrides = folder_among(overrides, data)
    overrides = (*_scheduler_override(scheduler), *overrides)
    config = load(config_name, overrides, config_dir)
    if cfg is not None:
        # what a run would refuse is refused here, not printed
        refuse_inconsistent(config)
        click.echo(compose_yaml(config_name, overrides, config_dir=config_dir, resolve=resolve), nl=False)
        for line in (*told_by_instrument(config), *told_methods(config)):
            click.echo(f"# {line}")
        return
    from v50calib.runtime.batch import calibrate as run
    from v50calib.runtime.batch import plan
    from v50calib.runtime.select import read_planets

    data = data if data is not None else locate(os.environ.get("DATA_DIR", "data"))
    out = out if out is not None else locate(os.environ.get("RUN_DIR", f"runs/{config_name.rsplit('/', 1)[-1]}"))
    refused: list[str] = []
    choice["planets"] = (*planets, *(read_planets(planets_from, refused.append) if planets_from is not None else ()))
    say_refused(refused)
    if dry_run:
        decisions = plan(data, out, config, **choice)
        _print_plan(decisions)
        _print_size(decisions, config.output.cubes)
        return
    with run_progress() as progress:
        summary = run(data, out, config=config, progress=progress, **choice)
    click.echo(f"{summary.count('done')} calibrated, {summary.count('skipped')} already complete, {len(summary.failed)} failed → {out}")
    for note in summary.notes:
        click.echo(note)
    if summary.failed:
        print_failures(summary.failed, out)
    if summary.failed or refused:
        sys.exit(1)


def _scheduler_override(scheduler: str | None) -> tuple[str, ...]:
    """The override for --scheduler: an address is the scheduler itself, a name is a compute profile."""
    if scheduler is None:
        return ()
    return (f"runtime.scheduler='{scheduler}'",) if "://" in scheduler else (f"compute={scheduler}",)


def _print_plan(decisions: list[Any]) -> None:
    """Counts by reason, then a line for each visit that is not skipped."""
    words = {"do": "to calibrate", "skip": "to skip", "hold": "held in quarantine", "broken": "cannot be opened"}
    counts = Counter(f"{words[decision.action]} ({decision.reason.partition(':')[0]})" for decision in decisions)
    for what, count in counts.items():
        click.echo(f"{count} {what}")
    for decision in decisions:
        if decision.action != "skip":
            click.echo(f"  {decision.label}: {decision.reason}")


def _print_size(decisions: list[Any], cubes: str) -> None:
    """Bytes of the products that are to be made, and the key that makes them fewer."""
    from v50calib.runtime.size import output_bytes

    size = output_bytes(decisions)
    if size:
        fewer = f" with output.cubes={cubes} (less with none)" if cubes != "none" else ""
        click.echo(f"about {in_mb(size)} of products will be written{fewer}; 'v50calib plan' measures it")
