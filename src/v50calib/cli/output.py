"""Output that may lose its reader: a line that cannot be written is dropped, and the work goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click

from v50calib.cli.arguments import DataCommand


class Forgiving:
    """A text stream whose failed writes are dropped: a closed pipe, a full disk, a terminal that is gone.

    From the first failure on the descriptor leads nowhere, so that what is still buffered cannot fail at the end of the program.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._give_up()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def forgiving(name: str) -> Iterator[None]:
    """Within this context sys.stderr or sys.stdout drops what it cannot write."""
    before = getattr(sys, name)
    if before is None or isinstance(before, Forgiving):
        yield
        return
    stream = Forgiving(before)
    setattr(sys, name, stream)
    try:
        yield
    finally:
        stream.flush()
        setattr(sys, name, before)


class WorkCommand(DataCommand):
    """A command whose product is files: its lines on stdout are dropped where nobody reads them any more."""

    def invoke(self, ctx: click.Context) -> Any:
        with forgiving("stdout"):
            return super().invoke(ctx)
