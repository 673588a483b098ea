"""A Dask scheduler and workers, each on a host of its own, over TLS."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hosts import DASK_PORT, Hosts, wait_for_text
from tls_files import tls_options, tls_overrides

#: what a worker says when it has found its scheduler
FOUND = "Registered to:"
#: silence for 11 s, the least that Dask can do, is a cut
TIMEOUTS = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11 s"}
PROGRAM = [sys.executable, "-c", "from v50calib.cli.main import main; main()"]


@dataclass
class DaskHosts:
    """`tls` by part, as tls_files.make_tls gives it; logs go to `folder`."""

    hosts: Hosts
    tls: dict[str, Path]
    folder: Path

    @property
    def scheduler(self) -> str:
        return f"tls://{self.hosts.address('scheduler')}:{DASK_PORT}"

    @property
    def overrides(self) -> list[str]:
        return tls_overrides(self.tls)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def dask(self, name: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dask", words[0], *tls_options(self.tls), "--host", self.hosts.address(name), "--no-dashboard"]
        with self.log(name).open("a") as log:
            given = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path[1:])} | TIMEOUTS | environment
            return self.hosts.start(name, [*command, *words[1:]], env=given, stdout=log, stderr=log)

    def up(self, *workers: str) -> DaskHosts:
        """Scheduler and workers run and have found each other."""
        self.dask("scheduler", "scheduler", "--port", str(DASK_PORT))
        wait_for_text(self.log("scheduler"), "Scheduler at:")
        return self.join(*workers)

    def join(self, *workers: str, faults: str = "", inject: Path | None = None) -> DaskHosts:
        """Workers, with faults put in from `inject` (tests/faults), as this scheduler's."""
        seen = {name: self.log(name).read_text().count(FOUND) if self.log(name).is_file() else 0 for name in workers}
        for name in workers:
            more = {"V50_FAULTS": faults, "PYTHONPATH": os.pathsep.join([str(inject), *sys.path[1:]])} if inject else {}
            self.dask(name, "worker", self.scheduler, "--nthreads", "1", "--death-timeout", "60", **more)
        for name in workers:
            wait_for_text(self.log(name), FOUND, seen[name] + 1)
        return self
