"""The processors that this process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """Processors that this process may use, at least 1.

    >>> cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
