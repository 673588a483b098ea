"""Where the command line begins: `v50calib`, `spectramind`, and `python -m v50calib` without a console script on the path."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import Any


def run() -> None:
    """Import the commands and run the one that was asked for. Ctrl-C while they are imported: one line, exit code 130."""
    # Python's own handler raises in the middle of some import, whose traceback says nothing, or which turns it into another error
    plain = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if plain:
        signal.signal(signal.SIGINT, _quit)
    # what is imported stays: a collector that looks for garbage among it every few thousand objects takes a tenth of the time
    gc.disable()
    from v50calib.cli.main import main

    gc.enable()
    if plain:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main(prog_name="v50calib" if sys.argv[0].endswith("__main__.py") else None)


def _quit(number: int, _frame: Any) -> None:
    """End at once: nothing has begun that would have to be put in order."""
    os.write(2, b"interrupted: nothing had begun yet\n")
    os._exit(128 + number)


if __name__ == "__main__":
    run()
