"""Commands that look before a run: `plan` and `doctor`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from v50calib.cli.arguments import AS_JSON, FILE, LOCAL, LOCATION, DataCommand, refuse_words
from v50calib.cli.complete import OVERRIDES, profile_option
from v50calib.cli.shown import print_forecast
from v50calib.errors import ConfigError
from v50calib.io.storage.location import Location


@click.command(cls=DataCommand)
@click.argument("data", type=LOCATION)
@profile_option
@click.option("--config-dir", type=FILE, default=None, help="Folder with your own profiles, searched first.")
@click.option("--out", type=LOCATION, default=None, help="Run directory; visits that are complete there are not counted.")
@click.option("--visits", default=2, show_default=True, type=click.IntRange(min=1), help="Visits to measure; at least one per worker.")
@click.option("--hours", type=click.FloatRange(min=0), default=None, help="Time limit of the run, e.g. 9.")
@click.option("--out-limit", default=None, metavar="SIZE", help="Limit of the output, e.g. 20GB.")
@click.option("--memory-limit", default=None, metavar="SIZE", help="Limit of all workers together.  [default: this machine's memory]")
@click.option("--scratch", type=LOCAL, default=None, help="Folder for the temporary products.  [default: $TMPDIR]")
@AS_JSON
@OVERRIDES
def plan(
    data: Location, config_name: str, config_dir: Path | None, out: Location | None, visits: int, hours: float | None,
    out_limit: str | None, memory_limit: str | None, scratch: Path | None, as_json: bool, overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Project a run's hours, bytes and memory before it starts. OVERRIDES are those of calibrate.

    A few whole visits of DATA are calibrated with the run's own workers into a temporary folder, which is removed, and the
    numbers are extrapolated to all remaining visits. Exit code 1 if the run would exceed a limit.
    """
    from v50calib.cli.progress import run_progress
    from v50calib.config import load
    from v50calib.config.compose import profile_name
    from v50calib.runtime.forecast import Limits, forecast

    refuse_words(overrides)
    config = load(profile_name(config_name, config_dir), overrides, config_dir)
    limits = Limits(hours, _bytes(out_limit, "--out-limit"), _memory(memory_limit, config.runtime.scheduler))
    if scratch is not None and not scratch.is_dir():
        raise ConfigError(f"--scratch {scratch} is not a folder: create it, or leave the option out")
    with run_progress("measure") as progress:
        found = forecast(data, config, out=out, visits=visits, scratch=scratch, limits=limits, progress=progress)
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=1))
    else:
        print_forecast(found)
    if found.broken:
        sys.exit(1)


def _bytes(text: str | None, option: str) -> int | None:
    from dask.utils import parse_bytes

    try:
        return None if text is None else parse_bytes(text)
    except ValueError as exc:
        raise ConfigError(f"{option} {text} is not a size: write e.g. 20GB or 800MiB") from exc


def _memory(text: str | None, scheduler: str) -> int | None:
    """The limit as given; else this machine's memory for workers on it, and no limit for workers elsewhere."""
    from v50calib.config.runtime import HERE
    from v50calib.io.storage.machine import memory_limit

    return _bytes(text, "--memory-limit") if text is not None else memory_limit() if scheduler in HERE else None


@click.command()
@click.option("--data", type=LOCATION, default=None, help="Dataset folder or raw Zarr store.  [default: $DATA_DIR or data]")
@click.option("--out", type=LOCATION, default=None, help="Run directory that products will go to.  [default: here]")
@AS_JSON
def doctor(data: Location | None, out: Location | None, as_json: bool) -> None:
    """What this machine has for a run, what is missing, and the command that fixes it.

    Checks versions, optional packages, cores, memory, disk, the cache of compiled kernels and the dataset. Exit code 1 if a run
    would fail; what a run can do without is a note.
    """
    from v50calib.runtime.environment import kernel_cache

    cache = kernel_cache()
    from v50calib.runtime.doctor import examine

    report = examine(data, out, cache)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=1))
    else:
        marks = {"ok": "ok  ", "note": "note", "problem": "FAIL"}
        width = max(len(check.name) for check in report.checks)
        for check in report.checks:
            click.echo(f"{marks[check.state]}  {check.name:<{width}}  {check.found}")
            if check.remedy:
                click.echo(f"{'':<{width + 8}}→ {check.remedy}")
        click.echo("ready" if report.ok else "not ready: see FAIL above")
    if not report.ok:
        sys.exit(1)
