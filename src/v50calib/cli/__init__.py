"""Command line: `v50calib` (and `spectramind`, the same program)."""

from v50calib.cli.main import main

__all__ = ["main"]
