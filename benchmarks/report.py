"""Shared by the benchmarks that print tables: the machine, the workers' environment, the marks in a page."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def worker_environment(threads: int = 1) -> dict[str, str]:
    """This process's environment with what v50calib's worker processes start with; every case, floors too, runs in it."""
    from v50calib.runtime.environment import WORKER_ENVIRONMENT

    return os.environ | WORKER_ENVIRONMENT | {"BENCH_THREADS": str(threads)}


def machine() -> str:
    """Processor, cores, Python: what the figures belong to."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next((line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def status_mb(field: str, pid: int | str = "self") -> float:
    """A memory figure of a process's /proc status, MB: VmHWM is its peak resident memory (ru_maxrss survives exec: the parent's)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(v for v in lines if v.startswith(f"{field}:")).split()[1]) / 1024


def write_between(page: Path, mark: str, text: str) -> None:
    """Replace what stands between `<!-- MARK begins -->` and `<!-- MARK ends -->` in a page. Raises ValueError without the marks."""
    begin, end = f"<!-- {mark} begins -->", f"<!-- {mark} ends -->"
    content = page.read_text(encoding="utf-8")
    if content.count(begin) != 1 or content.count(end) != 1 or content.index(begin) > content.index(end):
        raise ValueError(f"{page} has no '{begin}' … '{end}' (each once, in this order): nothing was written")
    before, rest = content.split(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")
