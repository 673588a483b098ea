"""Commands on run directories: `status`, `verify`, `summary`, `qc`, `report` and `export`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from v50calib.cli.arguments import AS_JSON, FILE, LOCATION, OVERWRITE, DataCommand, one_of
from v50calib.errors import ConfigError
from v50calib.io.storage.location import Location

if TYPE_CHECKING:
    import xarray as xr

    from v50calib.export.align import What
    from v50calib.runs.verify import Verification


@click.command(cls=DataCommand)
@click.argument("run_dir", type=LOCATION)
@AS_JSON
def status(run_dir: Location, as_json: bool) -> None:
    """State of the run in RUN_DIR: counts, rate, time left, failures with reasons, slowest visits, worst quality.

    Works at any time, also during the run and from another machine.
    """
    from v50calib.runs.status import status as ask

    _show(ask(run_dir), as_json, _print_status)


@click.command(cls=DataCommand)
@click.argument("run_dir", type=LOCATION)
@click.option("--quarantine", is_flag=True, help="Rename broken products to hidden names: the next calibrate makes them again.")
@AS_JSON
def verify(run_dir: Location, quarantine: bool, as_json: bool) -> None:
    """Check all products, fits and estimates of RUN_DIR, or a raw store's visits, against their commit records: shapes, checksums.

    Leftovers of killed processes are removed while no run holds the directory. Exit code 1 if a product is broken, missing or of
    another config.
    """
    from v50calib.io.raw_store.check import is_raw_store
    from v50calib.runs.verify import verify as check

    if is_raw_store(run_dir):
        _verify_store(run_dir, quarantine, as_json)
        return
    found = check(run_dir, quarantine=quarantine)
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=1))
    else:
        _print_verification(found, run_dir)
    if not found.ok:
        sys.exit(1)


@click.command(cls=DataCommand)
@click.argument("run_dir", type=LOCATION)
@click.option("--truth", type=LOCATION, default=None, help="True depths to compare with: train.csv, or a dataset's folder.")
@AS_JSON
def summary(run_dir: Location, truth: Location | None, as_json: bool) -> None:
    """Table of a run: depth, noise over the photon limit and seconds of each visit."""
    from v50calib.cli.shown import say_refused
    from v50calib.runs.summary import rows
    from v50calib.runs.truth import read_depths

    say_refused(read_depths(truth).notes)
    _say_damaged(run_dir)
    _show(rows(run_dir, truth), as_json, _print_summary)


@click.command(cls=DataCommand)
@click.argument("run_dir", type=LOCATION)
@click.option("--stage", "stages", multiple=True, help="Only the rows of this stage; may be given several times.")
@click.option("--csv", "csv_path", type=LOCATION, default=None, help="Write the table to this file, as CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines instead of tables.")
@OVERWRITE
def qc(run_dir: Location, stages: tuple[str, ...], csv_path: Location | None, as_json: bool, overwrite: bool) -> None:
    """Quality numbers of a run, one row per visit, instrument and stage, from its manifest; also during the run.

    The stage `planet` has a row for each planet's fit, with the reasons to distrust it.

    Without --csv or --json: for each stage the median of every number, and the visits with its lowest and highest value.
    """
    from v50calib.errors import StoreError
    from v50calib.runs.directory import refuse_other_directory
    from v50calib.runs.qc_table import check_place, qc_rows, write_table

    refuse_other_directory(run_dir)
    if csv_path is not None:
        check_place(run_dir, csv_path, stages, overwrite=overwrite)
    rows = list(qc_rows(run_dir, stages or None))
    _say_damaged(run_dir)
    if not rows:
        raise StoreError(f"'{run_dir}' has no quality numbers{_of(stages)}: no visit is finished, or diagnostics were off")
    if csv_path is not None:
        try:
            count = write_table(run_dir, csv_path, stages or None)
        except OSError as exc:
            raise StoreError(f"cannot write '{csv_path}' ({exc.strerror or exc}): give another path") from exc
        click.echo(f"{count} rows → {csv_path}")
    elif as_json:
        for row in rows:
            click.echo(json.dumps(row))
    else:
        _print_qc(rows)


@click.command(cls=DataCommand)
@click.argument("run_dir", type=LOCATION)
@click.option("--out", type=LOCATION, default=None, help="File of the page.  [default: RUN_DIR/report.html]")
@click.option("--limit", type=click.IntRange(min=0), default=8, show_default=True, metavar="N", help="Draw figures of the N worst visits.")
@click.option("--truth", type=LOCATION, default=None, help="True depths to compare with: train.csv, or a dataset's folder.")
@OVERWRITE
def report(run_dir: Location, out: Location | None, limit: int, truth: Location | None, overwrite: bool) -> None:
    """One HTML page of the run in RUN_DIR: summary, all visits ranked by reasons to distrust them, figures.

    The page needs no network and no other file. It can be made during the run.
    """
    from v50calib.cli.progress import counter
    from v50calib.cli.shown import say_refused
    from v50calib.report import write_report
    from v50calib.runs.truth import read_depths

    say_refused(read_depths(truth).notes)
    with counter("report") as step:
        made = write_report(run_dir, out, limit=limit, truth=truth, overwrite=overwrite, progress=step)
    click.echo(f"{made.visits} visits, figures of {made.drawn}, {made.bytes / 1e6:.1f} MB → {made.path}")
    _say_damaged(run_dir)


@click.command(cls=DataCommand)
@click.argument("run_dir", type=LOCATION)
@click.argument("out")
@one_of("--what", words=("lightcurves", "normalized", "cubes", "spectra", "planets"), help="Content of the grid.")
@one_of("--format", "fmt", words=("zarr", "netcdf", "npz", "hdf5", "csv", "npy"), help="Format of OUT; npy: arrays for training.")
@click.option(
    "--bin-s", type=float, default=None, help="Width of a time bin, s.  [default: the run's output.bin_s, or its sampling if slower]"
)
@click.option("--overwrite", is_flag=True, help="Replace OUT if an export made it; anything else stays.")
@click.option("--labels", type=FILE, default=None, help="npy: true spectra, train.csv or a folder that holds it.")
@one_of("--visits", words=("combined", "stacked"), help="npy: a row a planet, or a row a visit.")
@one_of("--clock", words=("mid_transit", "start"), help="npy: hours from each visit's mid-transit, or since its first stamp.")
@click.option("--n-bins", type=click.IntRange(min=1), default=None, help="npy: bins of time.  [default: those of the light curves]")
def export(
    run_dir: Location, out: str, what: What, fmt: Any, bin_s: float | None, overwrite: bool, labels: Path | None, visits: Any, clock: Any,
    n_bins: int | None,
) -> None:  # fmt: skip
    """Write all visits of RUN_DIR to OUT on one grid: visit, time bin, wavelength (FGS1 first, then AIRS-CH0 ascending).

    planets: a row for each planet, one fit of all its visits and instruments; fits that are missing or older than their visits are made
    first. Missing values are NaN, and false in `mask`. OUT is written as a whole or not at all.
    """
    from v50calib.cli.progress import counter
    from v50calib.export.write import check_out, plan_export
    from v50calib.export.write import export as write

    if fmt == "npy":
        if what != "lightcurves" or bin_s is not None:
            raise ConfigError("--format npy holds light curves in --n-bins bins: leave --what and --bin-s out, or give another --format")
        _write_arrays(run_dir, out, labels, visits, clock, n_bins, overwrite)
        return
    if labels is not None or n_bins is not None or visits != "combined" or clock != "mid_transit":
        raise ConfigError("--labels, --visits, --clock and --n-bins are of --format npy: add it, or leave them out")
    check_out(out, overwrite=overwrite)
    plan = plan_export(run_dir, what, fmt, bin_s=bin_s, fits=_fits(run_dir) if what == "planets" else None)
    rows = "planets have a fit" if what == "planets" else "visits have products"
    size = " x ".join(f"{n} {name}" for name, n in plan.grid.sizes.items() if name != "instrument")
    held = f", {2 * plan.grid.nbytes / 1e9:.2f} GB of disk while it is written" if fmt == "npz" else ""
    click.echo(f"{what}: {size}; {plan.grid.nbytes / 1e9:.2f} GB uncompressed{held}; {plan.present} of {len(plan.rows)} {rows}")
    with counter("export") as step:
        write(run_dir, out, what, fmt, overwrite=overwrite, progress=step, plan=plan)
    click.echo(f"wrote {out}")


def _write_arrays(
    run_dir: Location, out: str, labels: Path | None, visits: Any, clock: Any, n_bins: int | None, overwrite: bool
) -> None:  # fmt: skip
    """The arrays of `to_arrays` in a folder."""
    from v50calib.cli.progress import counter
    from v50calib.cli.shown import say_refused
    from v50calib.export.arrays import to_arrays

    with counter("export") as step:
        made = to_arrays(run_dir, labels, visits=visits, clock=clock, n_bins=n_bins, out=out, overwrite=overwrite, progress=step)
    say_refused(made.notes)
    click.echo(f"wrote {out}: {made}")


def _fits(run_dir: Location) -> Mapping[str, xr.Dataset]:
    """The planets' fits of a run, made where they are missing or older than their visits."""
    from v50calib.runtime.planets import planet_fits

    return planet_fits(run_dir)


def _show(found: Any, as_json: bool, as_text: Callable[[Any], None]) -> None:
    """Print what a command found, as JSON or by a function that prints text."""
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        as_text(found)


def _say_damaged(run_dir: Location) -> None:
    """Say on stderr which of the run's own books are not what a run writes."""
    from v50calib.runs.books import damaged

    for text in damaged(run_dir):
        click.echo(f"damaged: {text}", err=True)


def _print_status(found: dict[str, Any]) -> None:
    """Print what `runs.status.status` returned."""
    console = Console(width=120, highlight=False)
    console.print(f"{found['run_dir']}: {found['phase']}{_whose(found['holder'])}")
    if found["silent_s"] is not None:
        gone = "nobody holds its lock" if found["phase"] == "killed" else "no sign of life from its host: the process was probably killed"
        console.print(f"silent for {_span(found['silent_s'])}, {gone}; the same calibrate command resumes it")
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    rows = [("visits x instruments", found["total"]), *((name, found[name]) for name in ("done", "failed", "interrupted", "left"))]
    rows += [("attempts retried", found["retried"]), ("in quarantine", len(found["quarantined"])), ("running now", len(found["running"]))]
    rows += [("per hour", None if found["per_hour"] is None else f"{found['per_hour']:.0f}"), ("time left", _span(found["eta_s"]))]
    for name, value in rows:
        table.add_row(name, "-" if value is None else str(value))
    console.print(table)
    for text in found["notices"]:
        console.print(f"notice: {text}", markup=False)
    for text in found["damaged"]:
        console.print(f"damaged: {text}", markup=False)
    if found["reasons"]:
        console.print("failures: " + ", ".join(f"{count} {name}" for name, count in found["reasons"].items()))
    for item in found["failures"][:20]:
        console.print(f"  {item['visit']} ({item['attempts']} attempts): {item['error'] or item['error_type']}", markup=False)
    if len(found["failures"]) > 20:
        console.print(f"  and {len(found['failures']) - 20} more: --json has all")
    if found["slowest"]:
        console.print("slowest: " + ", ".join(f"{i['visit']} {i['seconds']:.1f} s" for i in found["slowest"]))
    if found["worst_qc"]:
        console.print("worst noise / limit: " + ", ".join(f"{i['visit']} {i['noise_over_limit']:.3f}" for i in found["worst_qc"]))


def _whose(holder: dict[str, Any]) -> str:
    """Words that name the process of a running run."""
    return f" (process {holder.get('pid')} on {holder.get('host')})" if holder else ""


def _span(seconds: float | None) -> str | None:
    """A time, s, as hours and minutes or minutes and seconds."""
    if seconds is None:
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _verify_store(store: Location, quarantine: bool, as_json: bool) -> None:
    from v50calib.io.raw_store.check import verify_store

    if quarantine:
        raise ConfigError(
            f"--quarantine is for run directories, and {store} is a raw store: remove its broken visits and ingest them again"
        )
    found = verify_store(store)
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=1))
    else:
        click.echo(f"{found.whole} visits x instruments as they were ingested, {len(found.broken)} broken")
        for reason in found.broken.values():
            click.echo(reason)
        if found.unchecked:
            click.echo(
                f"{len(found.unchecked)} of an older version: reading them does not notice a flipped bit, verify does; "
                "ingest into a new store to have every read checked"
            )
    if not found.ok:
        sys.exit(1)


def _print_verification(found: Verification, run_dir: Location) -> None:
    """Print the counts, a line for each fault, and the remedy."""
    click.echo(f"{found.whole} products whole, {len(found.broken)} broken, {len(found.partial)} partial, {len(found.missing)} missing")
    if found.fits:
        click.echo(f"{found.fits} planets' fits and estimates whole")
    if found.cleaned:
        click.echo(f"{found.cleaned} leftovers of dead processes cleaned")
    if found.left:
        click.echo(f"leftovers of dead processes were not looked for: {found.left}", err=True)
    for text in found.books:
        click.echo(f"damaged: {text}", err=True)
    _print_roots(found, run_dir)
    for label, reasons in found.broken.items():
        click.echo(f"broken {label}: {'; '.join(reasons)}", err=True)
    for word, labels in (("partial", found.partial), ("missing", found.missing)):
        for label in labels:
            click.echo(f"{word} {label}", err=True)
    if found.stale:
        shown = ", ".join(found.stale[:3]) + (", …" if len(found.stale) > 3 else "")
        click.echo(
            f"{len(found.stale)} products are of another config than {run_dir}'s ({shown}): a 'v50calib calibrate --update' was not "
            "finished, or another run wrote them; run it again",
            err=True,
        )
    if found.broken or found.partial or found.missing:
        first = "" if found.aside or not (found.broken or found.partial) else f"'v50calib verify {run_dir} --quarantine', then "
        click.echo(f"remedy: {first}run 'v50calib calibrate' with the same --data, --out {run_dir} and config", err=True)
    if any(label.startswith("estimates.zarr/") for label in found.broken):
        click.echo(f"estimates are made again by 'v50calib spectra {run_dir} --estimator METHOD', or by 'v50calib solve'", err=True)


def _print_roots(found: Verification, run_dir: Location) -> None:
    """Print which stores say at their root what is not so."""
    for name in found.roots:
        click.echo(
            f"{name}/zarr.json does not say what is there (groups were deleted, copied or changed by hand, or it is damaged): opened from "
            f"there, zarr and xarray may give fill values for numbers. 'v50calib verify {run_dir} --quarantine' writes it anew",
            err=True,
        )
    for name in found.mended:
        click.echo(f"{name}/zarr.json did not say what is there: it was written anew", err=True)


def _print_summary(rows: list[dict[str, Any]]) -> None:
    """Print the rows of `qc.summary.row` as a table."""
    from v50calib.runs.summary import said_depth

    with_truth = any("truth_ppm" in r for r in rows)
    table = Table(title="transit depth (white light), ppm")
    for name in ("planet", "visit", "instrument"):
        table.add_column(name)
    for name in ("depth ± sigma", *(("truth", "pull") if with_truth else ()), "noise / limit", "s"):
        table.add_column(name, justify="right")
    for r in rows:
        found = math.isfinite(r["depth_ppm"])
        cells = [str(r["planet_id"]), str(r["visit"]), r["instrument"]]
        cells.append(said_depth(r["depth_ppm"], r["sigma_ppm"]))
        if with_truth:
            cells += [f"{r['truth_ppm']:.0f}" if "truth_ppm" in r else "", f"{r['pull']:+.2f}" if found and "pull" in r else ""]
        table.add_row(*cells, f"{r['noise_over_limit']:.3f}", f"{r['seconds']:.1f}")
    Console(width=110).print(table)


def _print_qc(rows: list[dict[str, Any]]) -> None:
    """Print a table of each stage and instrument: a row per number."""
    console = Console(width=120, highlight=False)
    for stage in dict.fromkeys(row["stage"] for row in rows):
        for instrument in dict.fromkeys(row["instrument"] for row in rows if row["stage"] == stage):
            mine = [r for r in rows if (r["stage"], r["instrument"]) == (stage, instrument)]
            title = f"{stage}, {instrument}: {len(mine)} visits" if instrument else f"{stage}: {len(mine)} fits"
            table = Table("number", "lowest", "median", "highest", title=title)
            for cells in filter(None, (_qc_cells(name, mine) for name in _number_names(mine))):
                table.add_row(*cells)
            if table.row_count:
                console.print(table)


def _number_names(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(n for r in rows for n, v in r.items() if isinstance(v, (int, float)) and n != "visit"))


def _qc_cells(name: str, rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """Name, lowest, median and highest of a number; empty where it says nothing: nowhere finite, or no visit with a note."""
    known = [
        (float(r[name]), f"{r['planet_id']}/{r['visit']}" if r["instrument"] else r["planet_id"])
        for r in rows
        if math.isfinite(r.get(name, math.nan))
    ]
    if not known or (name == "notes" and max(known)[0] == 0):
        return ()
    low, high = min(known), max(known)
    return name, f"{low[0]:.4g} ({low[1]})", f"{median(v for v, _ in known):.4g}", f"{high[0]:.4g} ({high[1]})"


def _of(stages: tuple[str, ...]) -> str:
    """Words that name the stages, if any are given."""
    return f" of {', '.join(stages)}" if stages else ""
