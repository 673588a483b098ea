"""Progress on a terminal (rich) and plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from v50calib.runtime.journal import Entry


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        console=console,
    )  # fmt: skip


@contextmanager
def run_progress() -> Iterator[Callable[[Entry, int, int], None]]:
    """Callback for `calibrate`: one step per visit x instrument."""
    with counter("calibrate") as report:

        def step(entry: Entry, done: int, total: int) -> None:
            seconds = f" {entry.seconds:.1f} s" if entry.seconds else ""
            report(f"{entry.label} {entry.state}{seconds}", done, total)

        yield step


@contextmanager
def counter(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Callback (label, done, total): a bar with rate and time left on a terminal, a line an item elsewhere."""
    console = Console(stderr=True)
    started = time.monotonic()
    if not console.is_terminal:

        def plain(label: str, done: int, total: int) -> None:
            rate = done / max(time.monotonic() - started, 1e-9)
            print(f"{title} {done}/{total} {label} (about {(total - done) / rate:.0f} s left)", file=sys.stderr, flush=True)

        yield plain
        return
    with _bar(console) as progress:
        task = progress.add_task(title, total=None)

        def rich_step(label: str, done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, description=f"{title} {label}")

        yield rich_step
