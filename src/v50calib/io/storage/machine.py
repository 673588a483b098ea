"""What this process may use of its machine, and which machine that is."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path


def cores() -> int:
    """Processors that this process may use, at least 1.

    >>> cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def machine_id() -> str:
    """Text that the processes of one running kernel share, whatever their containers call the host; the host's name where it has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


@cache
def pid_space() -> str:
    """Which processes a process number is one of: a number of another PID namespace says nothing here.

    >>> pid_space() == pid_space()
    True
    """
    try:
        return "".join(c for c in str(Path("/proc/self/ns/pid").readlink()) if c.isdigit())
    except OSError:
        return ""
