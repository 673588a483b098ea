"""A bar in a notebook while a run goes on."""

from __future__ import annotations

import html
import sys
import time
from typing import Any

from v50calib.runs.manifest import Entry
from v50calib.runtime.bookkeeping import Progress

#: seconds between two changes of the bar
STEP_S = 0.25


def notebook_progress() -> Progress | None:
    """A callback of `calibrate` that draws a bar below the cell; None where this is no notebook.

    >>> notebook_progress() is None
    True
    """
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    # a terminal's IPython has no place for a bar that changes
    if shell is None or type(shell).__name__ != "ZMQInteractiveShell":
        return None
    return Bar()


class Bar:
    """One display that is changed in place; visits that were complete before are not part of it."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._started = self._shown = time.monotonic()
        self._passed = self._failed = 0

    def __call__(self, entry: Entry, done: int, total: int) -> None:
        self._passed += entry.state == "skipped"
        self._failed += entry.state == "failed"
        now = time.monotonic()
        if done < total and self._handle is not None and now - self._shown < STEP_S:
            return
        self._shown = now
        self._show(self._content(entry, done - self._passed, total - self._passed, now - self._started))

    def _content(self, entry: Entry, done: int, total: int, seconds: float) -> dict[str, str]:
        """What the display shows, as text and as HTML."""
        if total == 0:
            text = f"{self._passed} visits, all complete already"
            return {"text/plain": text, "text/html": html.escape(text)}
        left = f", about {(total - done) * seconds / done:.0f} s left" if 0 < done < total else ""
        failed = f", {self._failed} failed" if self._failed else ""
        label = f", {entry.label}" if done < total else ""
        text = f"{done} of {total} visits{failed}{left}{label}"
        bar = f'<progress value="{done}" max="{total}" style="width: 20em; vertical-align: middle"></progress>'
        return {"text/plain": text, "text/html": f"{bar} {html.escape(text)}"}

    def _show(self, content: dict[str, str]) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(content, raw=True)
