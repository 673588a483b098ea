"""What this process may use of its machine, and which machine that is."""

from __future__ import annotations

import math
import os
import resource
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path


def cores() -> int:
    """Processors that this process may use, at least 1: those of its affinity, and not more than its control groups allow time on.

    >>> cores() >= 1
    True
    """
    known = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(known, *(math.ceil(quota) for quota in cpu_quotas()))) if cpu_quotas() else known


def memory_limit() -> int:
    """Memory that this process and those that it starts may use together, bytes: the machine's, its control groups', its ulimit.

    >>> memory_limit() > 0
    True
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *memory_limits()]
    hard = resource.getrlimit(resource.RLIMIT_RSS)[1]
    return min([*limits, hard] if hard > 0 else limits)


@cache
def memory_limits(root: Path = Path("/")) -> tuple[int, ...]:
    """The memory limits of this process's control groups, from its own up to the top, bytes; empty where there are none.

    Any of them may be the narrowest: Slurm sets that of the job, a container that of its root. root: where /proc and /sys are.
    """
    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    words = [word for folder in _groups("memory", root) for name in names for word in _words(folder / name)]
    return tuple(int(word) for word in words if word.isdigit() and int(word) > 0)


@cache
def cpu_quotas(root: Path = Path("/")) -> tuple[float, ...]:
    """Processors' worth of time that this process's control groups allow, from its own up to the top; empty where they limit nothing."""
    found = []
    for folder in _groups("cpu", root):
        words = _words(folder / "cpu.max") or _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        if len(words) == 2 and all(word.isdigit() and int(word) > 0 for word in words):
            found.append(int(words[0]) / int(words[1]))
    return tuple(found)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of the control groups, of both versions, that this process is in, its own first, then that one's parents."""
    mine = [line.split(":", 2) for line in _lines(root / "proc/self/cgroup")]
    for line in _lines(root / "proc/self/mountinfo"):
        # mount id, parent, device, root within the hierarchy, mount point, options … - type, source, options of the hierarchy
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        if kind[0] == "cgroup" and controller not in kind[2].split(","):
            continue
        for _, controllers, path in (item for item in mine if len(item) == 3):
            if controller in controllers.split(",") if kind[0] == "cgroup" else not controllers:
                mount = root / fields[4].lstrip("/")
                within = Path(path)
                # in a container the mount may begin at its own group; a path from outside of it says nothing here
                within = within.relative_to(fields[3]) if within.is_relative_to(fields[3]) else Path()
                inside = [part for part in within.parts if part not in ("/", "..")]
                yield from (mount.joinpath(*inside[:depth]) for depth in range(len(inside), -1, -1))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


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
