"""What several commands print: the plan of a run, the count of spectra."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from v50calib.io.storage.location import Location

if TYPE_CHECKING:
    from v50calib.runs.manifest import Entry
    from v50calib.runtime.forecast import Forecast

#: planets between two messages
PLANETS = 100
#: longest time without a message, s, where there is something to count
SILENCE_S = 5.0
#: failed visits that the end of a run names
FAILURES = 20
#: what a visit's time is made of, for whoever has visits of several lengths, or tries with short ones
COST = (
    "a visit's cost is a fixed part (maps, light curves, transit fits: about 1 s of one core for both instruments, whatever its length) "
    "and a part that grows with its frames"
)
#: rows that are left out of a table and named
SHOWN = 20


def print_failures(failed: Sequence[Entry], out: Location) -> None:
    """A line on stderr for each of the first FAILURES failed visits, and how many there are more."""
    for entry in failed[:FAILURES]:
        click.echo(f"failed {entry.label}: {entry.error or entry.error_type}", err=True)
    if len(failed) > FAILURES:
        click.echo(f"and {len(failed) - FAILURES} more failed: 'v50calib status {out} --json' has all", err=True)


def spectra_progress(estimator: str, what: str = "spectra") -> Callable[[int, int], None]:
    """Tells on stderr how many spectra are done: every hundredth planet, after SILENCE_S without a word, and at the end of many."""
    said = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= SILENCE_S or (total >= PLANETS and (done % PLANETS == 0 or done == total)):
            said = now
            click.echo(f"{what} {done}/{total} ({estimator})", err=True)

    return tell


def say_refused(notes: Sequence[str]) -> None:
    """Tells on stderr which rows of a table are left out, and why; the first twenty of them."""
    for note in notes[:SHOWN]:
        click.echo(note, err=True)
    if len(notes) > SHOWN:
        click.echo(f"and {len(notes) - SHOWN} rows more", err=True)


def print_forecast(found: Forecast) -> None:
    """The plan of a run: seconds and bytes of a visit, hours, output and memory of all, and whether they fit."""
    for part in found.parts:
        click.echo(
            f"{part.instrument}: {part.left} left; a visit takes {part.seconds:.2f} s (slowest {part.slowest:.2f}), "
            f"writes {in_mb(part.bytes)} in {part.files} files ({part.sampled} measured)"
        )
    limits = found.limits
    click.echo(f"{COST}; the sample's lengths are taken for all")
    click.echo(f"start-up {found.startup_s:.1f} s; {found.at_once} at once; the sample took {found.sample_s:.1f} s")
    click.echo(f"hours    {found.hours:.2f}{_of(None if limits.hours is None else f'{limits.hours:g}')}")
    click.echo(f"output   {in_mb(found.out_bytes)}{_of(in_mb(limits.out_bytes))} in {found.files} files")
    click.echo(f"memory   {in_mb(found.peak_bytes)} a process, {in_mb(found.total_memory)} together{_of(in_mb(limits.memory))}")
    for note in found.notes:
        click.echo(f"note: {note}")
    click.echo(f"does NOT fit: {', '.join(found.broken)}{_remedy(found.broken)}" if found.broken else "fits")


def _remedy(broken: list[str]) -> str:
    """What makes a run fit, for each limit that it would exceed."""
    words = {
        "hours": "more workers (runtime.num_workers) or --config-name calib/fast",
        "output": "output.cubes=none, calib.photometry.output.save.{flux,variance,background}=false, or --config-name calib/fast",
        "memory": "fewer workers (runtime.num_workers), or v50calib ingest first",
    }
    return "; try " + "; ".join(words[name] for name in broken)


def in_mb(size: int | None) -> str:
    """A size in MB or GB; nothing of None."""
    if size is None:
        return ""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _of(limit: str | None) -> str:
    return f" of {limit}" if limit else ""
