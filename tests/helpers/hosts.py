"""Several hosts on one machine: network namespaces on a bridge, each with an address and processes of its own.

The bridge is in a namespace as well, so the machine's own network is not touched. Leaving ends the processes and removes all.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

DASK_PORT = 8786
NETWORK = "10.77.0"


def why_not() -> str:
    """Nothing, or why no namespaces can be made here. V50CALIB_APT=1 allows to install Debian's iproute2."""
    if os.geteuid() != 0:
        return "network namespaces are made as root only"
    if shutil.which("ip") is None and os.environ.get("V50CALIB_APT") == "1" and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False, capture_output=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "iproute2"], env=environment, check=False, capture_output=True)
    if shutil.which("ip") is None:
        return "no program 'ip' (V50CALIB_APT=1 installs Debian's iproute2)"
    with Hosts("probe") as probe:
        return probe.refused


def _ip(*words: str) -> str:
    """What `ip` printed. Raises OSError with what it said."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Hosts:
    """Hosts by name. `refused` says why they could not be made; then there are none."""

    def __init__(self, *names: str) -> None:
        self._prefix = f"v50calib-{os.getpid()}-{time.monotonic_ns() % 10**9}"
        self.names, self.refused = names, ""
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Hosts:
        try:
            self._make()
        except OSError as error:
            self.refused = f"network namespaces cannot be made here: {error}"
            self._remove()
        return self

    def _make(self) -> None:
        switch = self.namespace("switch")
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for number, name in enumerate(self.names):
            host, port = self.namespace(name), f"port{number}"
            _ip("netns", "add", host)
            _ip("link", "add", "eth0", "netns", host, "type", "veth", "peer", "name", port, "netns", switch)
            _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            _ip("-n", host, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            self.restore(name)
            _ip("-n", host, "link", "set", "lo", "up")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._remove()

    def _remove(self) -> None:
        here = _ip("netns", "list").split()
        for name in {*self.names, "switch"}:
            space = self.namespace(name)
            if space not in here:
                continue
            for pid in _ip("netns", "pids", space).split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    continue
            _ip("netns", "del", space)
        for process in self._processes:
            process.communicate()

    def namespace(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def address(self, name: str) -> str:
        return f"{NETWORK}.{self.names.index(name) + 1}"

    def on(self, name: str, command: Sequence[str]) -> list[str]:
        """The command that runs `command` on a host; its process keeps its number (ip replaces itself)."""
        return ["ip", "netns", "exec", self.namespace(name), *command]

    def start(self, name: str, command: Sequence[str], **more: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(self.on(name, command), text=True, **more)
        self._processes.append(process)
        return process

    def cut(self, name: str) -> None:
        """No packet goes in or out any more; nobody is informed."""
        _ip("-n", self.namespace(name), "link", "set", "eth0", "down")

    def restore(self, name: str) -> None:
        _ip("-n", self.namespace(name), "link", "set", "eth0", "up")

    def bytes_moved(self, name: str) -> int:
        """Received and sent since the host was made."""
        told = json.loads(_ip("-s", "-j", "-n", self.namespace(name), "link", "show", "eth0"))[0]["stats64"]
        return int(told["rx"]["bytes"] + told["tx"]["bytes"])


def four_hosts() -> Hosts:
    """scheduler, one, two (workers) and client; skips, with the reason, where they cannot be made."""
    if reason := why_not():
        pytest.skip(reason)
    return Hosts("scheduler", "one", "two", "client")


def wait_for_text(path: Path, words: str, count: int = 1, timeout: float = 240) -> None:
    """Until a process's log says `words` so often."""
    until = time.monotonic() + timeout
    while not path.is_file() or path.read_text().count(words) < count:
        assert time.monotonic() < until, f"'{words}' did not come: {path.read_text() if path.is_file() else 'no log'}"
        time.sleep(0.1)
