"""Scheduler, two workers and the client on four hosts (network namespaces), over TLS with certificates of a CA."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dask_hosts import PROGRAM, DaskHosts
from hosts import Hosts, four_hosts, why_not
from tls_files import make_tls, tls_overrides

from v50calib import calibrate
from v50calib.io.storage.commit import tree_hash
from v50calib.runs.verify import verify

pytestmark = pytest.mark.slow
FGS = ["calib.photometry.instrument.name=FGS1"]
#: asked on the client's host: addresses of the workers, and how many tasks each has done
ASK = """
import json, sys
from distributed import Client, Security
ca, cert, key = sys.argv[2:]
security = Security(tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key, require_encryption=True)
with Client(sys.argv[1], security=security) as client:
    print(json.dumps(client.run(lambda dask_worker: dask_worker.state.executed_count)))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskHosts]:
    folder = tmp_path_factory.mktemp("hosts")
    with four_hosts() as hosts:
        yield DaskHosts(hosts, make_tls(folder / "tls"), folder).up("one", "two")


def hashes(run: Path) -> dict[str, str]:
    return {p.parent.relative_to(run).as_posix(): tree_hash(p.parent) for p in sorted(run.rglob("_COMMIT.json"))}


def on_client(cluster: DaskHosts, *words: str) -> tuple[int, str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path[1:])}
    process = cluster.hosts.start("client", words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text, _ = process.communicate(timeout=240)
    return process.returncode, text


def calibrated(cluster: DaskHosts, data: Path, run: Path, *overrides: str, address: str = "") -> tuple[int, str]:
    words = [
        "calibrate",
        "--config-name",
        "calib/fast",
        "--data",
        str(data),
        "--out",
        str(run),
        "--scheduler",
        address or cluster.scheduler,
    ]
    return on_client(cluster, *PROGRAM, *words, *FGS, *overrides)


def test_same_bytes_as_a_local_run(cluster: DaskHosts, dataset: Path, tmp_path: Path) -> None:
    """Both workers take part, and frames do not cross the network: what the client moves is a small part of them."""
    assert calibrate(dataset, tmp_path / "local", "calib/fast", [*FGS, "runtime.scheduler=sync"]).count("done") == 3
    before = cluster.hosts.bytes_moved("client")
    code, text = calibrated(cluster, dataset, tmp_path / "run", *cluster.overrides)
    moved = cluster.hosts.bytes_moved("client") - before
    assert code == 0, text
    assert verify(tmp_path / "run").ok
    assert hashes(tmp_path / "run") == hashes(tmp_path / "local") != {}
    _, told = on_client(cluster, sys.executable, "-c", ASK, cluster.scheduler, *map(str, cluster.tls.values()))
    done = json.loads(told.splitlines()[-1])
    assert {address.rpartition(":")[0] for address in done} == {f"tls://{cluster.hosts.address(name)}" for name in ("one", "two")}
    assert min(done.values()) >= 1
    frames = sum(p.stat().st_size for p in dataset.rglob("FGS1_signal_*.parquet"))
    print(f"client moved {moved} bytes; frames {frames} bytes")
    assert 1000 < moved < frames / 10


@pytest.mark.parametrize("kind", ["stranger", "plain"])
def test_who_is_refused(cluster: DaskHosts, dataset: Path, tmp_path: Path, kind: str) -> None:
    """A certificate of another CA, and a connection without encryption: reported in one line, and nothing is written."""
    if kind == "stranger":
        code, text = calibrated(cluster, dataset, tmp_path / "run", *tls_overrides(make_tls(tmp_path / "tls")), "runtime.comm_timeout_s=2")
    else:
        address = cluster.scheduler.replace("tls://", "tcp://")
        code, text = calibrated(cluster, dataset, tmp_path / "run", "runtime.comm_timeout_s=2", address=address)
    assert code == 5, text
    assert "no Dask scheduler answers" in text
    assert not (tmp_path / "run" / "calibrated.zarr").exists()


def fail_on_the_way(hosts: Hosts, started: list[subprocess.Popen[str]]) -> None:
    """A process on one host, proof that another host reaches it, then a failure."""
    with hosts:
        started.append(hosts.start("one", ["sleep", "600"]))
        ping = [sys.executable, "-c", f"import socket; socket.create_connection(('{hosts.address('one')}', 9), 5)"]
        answer = subprocess.run(hosts.on("client", ping), capture_output=True, text=True, check=False)
        assert "ConnectionRefusedError" in answer.stderr
        raise RuntimeError("in between")


def test_nothing_is_left_after_a_failure() -> None:
    hosts, started = four_hosts(), []
    with pytest.raises(RuntimeError, match="in between"):
        fail_on_the_way(hosts, started)
    assert [process.poll() for process in started] == [-signal.SIGKILL]
    assert hosts.namespace("") not in listed()


def test_what_was_made_goes_when_the_rest_cannot_be() -> None:
    if reason := why_not():
        pytest.skip(reason)
    with Hosts("a", "a") as twice:
        assert "File exists" in twice.refused
        assert twice.namespace("") not in listed()


def listed() -> str:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
