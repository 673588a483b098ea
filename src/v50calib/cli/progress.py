"""Progress: a bar on a terminal (rich), plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from v50calib.runs.manifest import Entry


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console,
    )  # fmt: skip


@contextmanager
def run_progress(title: str = "calibrate") -> Iterator[Callable[[Entry, int, int], None]]:
    """Callback (entry, done, total) for `calibrate`: one step per visit x instrument that is calibrated, and the rate of these alone."""
    with counter(title) as report:
        passed = 0

        def step(entry: Entry, done: int, total: int) -> None:
            nonlocal passed
            if entry.state == "skipped":
                # hundreds of visits that were complete already are one number, told at the end
                passed += 1
                return
            seconds = f" {entry.seconds:.1f} s" if entry.seconds else ""
            report(f"{entry.label} {entry.state}{seconds}", done - passed, total - passed)

        yield step


@contextmanager
def counter(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Callback (label, done, total): a bar with rate and time left on a terminal, one line per item elsewhere."""
    console = Console(stderr=True)
    started = time.monotonic()
    if not console.is_terminal:

        def plain(label: str, done: int, total: int) -> None:
            rate = done / max(time.monotonic() - started, 1e-9)
            left = f"{3600 * rate:.0f} an hour, about {(total - done) / rate:.0f} s left"
            print(f"{title} {done}/{total} {label} ({left})", file=sys.stderr, flush=True)

        yield plain
        return
    with _bar(console) as progress:
        task = progress.add_task(title, total=None, rate="")

        def rich_step(label: str, done: int, total: int) -> None:
            rate = f"{3600 * done / max(time.monotonic() - started, 1e-9):.0f} an hour"
            progress.update(task, completed=done, total=total, description=f"{title} {label}", rate=rate)

        yield rich_step
