"""The network between scheduler, workers and client is cut midway: hosts are namespaces, connections are TLS.

The visit that is cut is held in its computation until then (inject), so the cut always finds a worker at work.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dask_hosts import DaskHosts
from hosts import four_hosts, wait_for_text
from tls_files import make_tls

from .conftest import INJECT, OVERRIDES, PROGRAM, Site

pytestmark = pytest.mark.faults
COMPUTE = ("v50calib.engine.engine", "Engine.run_chunk")


class Network:
    """A run over four hosts: client, scheduler, workers `one` and `two`."""

    def __init__(self, site: Site, dask: DaskHosts) -> None:
        self.site, self.hosts, self.dask = site, dask.hosts, dask

    def client(self, *overrides: str) -> subprocess.Popen[str]:
        words = ["calibrate", "--config-name", "calib/fast", "--data", str(self.site.data), "--out", str(self.site.run)]
        words += ["--scheduler", self.dask.scheduler, *self.dask.overrides, *OVERRIDES, "runtime.comm_timeout_s=11", *overrides]
        return self.site.launch(self.hosts.on("client", [*PROGRAM, *words]))

    def cut_midway(self, *names: str, overrides: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """A client whose run is on its way, with these hosts cut off since the held visit began."""
        process = self.client(*overrides)
        self.site.wait_for(self.site.marker(), process)
        for name in names:
            self.hosts.cut(name)
        return process


@pytest.fixture
def network(site: Site, tmp_path: Path) -> Iterator[Callable[[float], Network]]:
    """Makes hosts and a cluster on them whose worker `one` sleeps so long in its first visit."""
    with four_hosts() as hosts:
        dask = DaskHosts(hosts, make_tls(tmp_path / "tls"), tmp_path)

        def make(seconds: float) -> Network:
            dask.up("two").join("one", faults=json.dumps([site.fault(*COMPUTE, f"sleep:{seconds}")]), inject=INJECT)
            return Network(site, dask)

        yield make


@pytest.mark.slow
def test_worker_is_cut_off(network: Callable[[float], Network]) -> None:
    """Its visit goes to the other. It works on meanwhile, and what it writes late changes nothing."""
    net = network(30)
    process = net.cut_midway("one")
    code, text = net.site.end(process)
    assert code == 0, text
    assert "4 calibrated" in text
    net.site.check()
    time.sleep(20)
    net.hosts.restore("one")
    net.site.resume()
    assert "4 already complete" in net.site.resume()


def test_short_cut_is_not_noticed(network: Callable[[float], Network]) -> None:
    """4 s without a network, less than the 11 s that are waited for an answer: nothing is done twice."""
    net = network(8)
    process = net.cut_midway("one")
    time.sleep(4)
    net.hosts.restore("one")
    code, text = net.site.end(process)
    assert code == 0, text
    assert net.site.status()["retried"] == 0
    assert "Removing worker" not in net.dask.log("scheduler").read_text()
    net.site.resume()


def test_all_workers_are_cut_off(network: Callable[[float], Network]) -> None:
    """Reported after runtime.worker_timeout_s. When the network is back and workers are started again, the run is resumed over it."""
    net = network(60)
    process = net.cut_midway("one", "two", overrides=("runtime.worker_timeout_s=5",))
    code, text = net.site.end(process)
    assert code == 5, text
    assert "no worker for 5 s" in text
    for name in ("one", "two"):
        net.hosts.restore(name)
    net.dask.join("two")
    code, text = net.site.end(net.client())
    assert code == 0, text
    net.site.check()
    net.site.resume()


def test_client_is_cut_off(network: Callable[[float], Network]) -> None:
    """What it asked for is forgotten by the scheduler; the same command resumes when the network is back."""
    net = network(60)
    process = net.cut_midway("client")
    code, text = net.site.end(process)
    assert code == 5, text
    assert "does not answer any more" in text
    assert net.site.status()["interrupted"] > 0
    wait_for_text(net.dask.log("scheduler"), "Remove client")
    net.hosts.restore("client")
    code, text = net.site.end(net.client())
    assert code == 0, text
    net.site.check()
    net.site.resume()
