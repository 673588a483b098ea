"""Clusters by configuration: what queues are asked for, TLS, settings, refusals. Nothing is started but one worker."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import dask
import pytest
from distributed.comm import CommClosedError
from tls_files import make_tls, tls_overrides

from v50calib import calibrate
from v50calib.config import load
from v50calib.config.runtime import RuntimeConfig
from v50calib.errors import ClusterError, ConfigError
from v50calib.runtime import execute, queues
from v50calib.runtime.certificates import security
from v50calib.runtime.cluster import dask_settings, open_client
from v50calib.runtime.execute import Watch
from v50calib.runtime.queues import kubernetes_arguments, queue_arguments


def runtime(*overrides: str) -> RuntimeConfig:
    return load("calib/nominal", overrides).runtime


@pytest.mark.parametrize(
    ("name", "module", "lines"),
    [
        ("slurm", "slurm", ["#SBATCH -p big", "#SBATCH -A team", "#SBATCH --cpus-per-task=2", "#SBATCH --mem=8G", "#SBATCH -t 02:00:00"]),
        ("pbs", "pbs", ["#PBS -q big", "#PBS -A team", "#PBS -l select=1:ncpus=2:mem=8192MB", "#PBS -l walltime=02:00:00"]),
        ("lsf", "lsf", ["#BSUB -q big", '#BSUB -P "team"', "#BSUB -n 2", "#BSUB -W 02:00"]),
        ("sge", "sge", ["#$ -q big", "#$ -P team", "#$ -l h_rt=02:00:00"]),
    ],
)
def test_job_scripts(name: str, module: str, lines: list[str]) -> None:
    """dask-jobqueue's own script of the job, from our arguments."""
    jobqueue = pytest.importorskip(f"dask_jobqueue.{module}")
    given = runtime(
        f"compute={name}", "runtime.queue.name=big", "runtime.queue.account=team", "runtime.queue.cores=2", "runtime.queue.processes=2",
        "runtime.queue.memory=8GiB", "runtime.queue.prologue=['module load python']",
    )  # fmt: skip
    arguments = queue_arguments(given)
    for key in ("scheduler_options", "security", "protocol", "shared_temp_directory"):
        arguments.pop(key, None)
    script = getattr(jobqueue, f"{name.upper()}Job")(scheduler="tcp://host:1", name="w", **arguments).job_script()
    for line in [*lines, "export OMP_NUM_THREADS=1", "module load python", "--nworkers 2", "--nthreads 1", "--death-timeout 300"]:
        assert line in script, script


def test_queue_needs_a_number_of_workers() -> None:
    pytest.importorskip("dask_jobqueue")
    with pytest.raises(ConfigError, match=r"runtime\.num_workers=N"):
        queues.queue_cluster(runtime("runtime.scheduler=slurm"), None)


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(queues, "import_module", missing)
    with pytest.raises(ConfigError, match=r"needs the package dask-kubernetes.*v50calib\[kubernetes\]"):
        queues.kubernetes_cluster(runtime("compute=kubernetes"))
    with pytest.raises(ConfigError, match=r"needs the package dask-jobqueue.*v50calib\[cluster\]"):
        queues.queue_cluster(runtime("compute=pbs"), None)


def test_kubernetes_arguments(tmp_path: Path) -> None:
    arguments = kubernetes_arguments(runtime("compute=kubernetes", "runtime.kubernetes.memory=2Gi"))
    assert arguments["resources"]["limits"] == {"cpu": "1", "memory": "2Gi"}
    assert arguments["n_workers"] == 4
    spec = tmp_path / "cluster.yaml"
    spec.write_text("kind: DaskCluster\n")
    assert kubernetes_arguments(runtime("compute=kubernetes", f"runtime.kubernetes.spec={spec}"))["custom_cluster_spec"] == {
        "kind": "DaskCluster"
    }
    with pytest.raises(ConfigError, match="give the YAML of a DaskCluster"):
        kubernetes_arguments(runtime("compute=kubernetes", "runtime.kubernetes.spec=/nowhere.yaml"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["runtime.scheduler=tcp://127.0.0.1"], "tcp://HOST:PORT"),
        (["runtime.scheduler='tcp://user:pw@host:1'"], "tcp://HOST:PORT"),
        (["runtime.tls.ca=a.pem"], "cert, key not given"),
        (["runtime.scheduler=tcp://h:1", "runtime.tls={ca: a, cert: b, key: c}"], "is not encrypted"),
        (["runtime.queue.cores=3", "runtime.queue.processes=2"], "cannot be shared"),
        (["runtime.queue.walltime=long"], "walltime"),
        (["runtime.adaptive={minimum: 4, maximum: 2}"], "below adaptive.minimum=4"),
        (["runtime.memory_limit=much"], "is no size"),
    ],
)
def test_what_cannot_be_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        runtime(*overrides)


def test_settings_reach_dask() -> None:
    given = runtime("runtime.allowed_failures=7", "runtime.worker_timeout_s=12", "runtime.comm_timeout_s=3")
    with dask.config.set(dask_settings(given)):
        assert dask.config.get("distributed.scheduler.allowed-failures") == 7
        assert dask.config.get("distributed.scheduler.no-workers-timeout") == "12.0 s"
        # below 11 s Dask's own keep-alive probes would be too late
        assert dask.config.get("distributed.comm.timeouts.tcp") == "11 s"


def test_no_scheduler_answers() -> None:
    given = runtime("runtime.scheduler=tcp://127.0.0.1:9", "runtime.comm_timeout_s=1")
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"), open_client(given):
        pass


def test_the_network_is_cut_while_a_result_is_fetched() -> None:
    """The client may not know yet that its scheduler is gone: reported as that, not as a traceback of Dask."""

    def cut() -> None:
        raise CommClosedError("in TLS: Stream is closed")

    client = SimpleNamespace(nthreads=lambda: {"tls://w:1": 1}, status="running", scheduler_info=lambda **_: {"workers": {}})
    watch = Watch(client, runtime("runtime.scheduler=tcp://h:1"))  # type: ignore[arg-type]
    with pytest.raises(ClusterError, match=r"scheduler \(tcp://h:1\) does not answer any more"):
        watch.result(SimpleNamespace(status="finished", result=cut))  # type: ignore[arg-type]


def test_a_silent_worker_is_said_once_with_its_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by a last sign of life that stays the same; no clock of another host is compared with ours."""
    monkeypatch.setattr(execute, "SILENT_S", 0.2)
    monkeypatch.setattr(execute, "ASK_S", 0.0)
    seen = {"tcp://w:1": 100.0, "tcp://w:2": 100.0}
    client = SimpleNamespace(
        nthreads=lambda: dict.fromkeys(seen, 1),
        status="running",
        scheduler_info=lambda **_: {"workers": {name: {"last_seen": at} for name, at in seen.items()}},
        processing=lambda: {"tcp://w:1": ("a",), "tcp://w:2": ("b",)},
    )
    watch = Watch(client, runtime("runtime.scheduler=tcp://h:1"))  # type: ignore[arg-type]
    said: list[str] = []
    until = time.monotonic() + 1
    while time.monotonic() < until:
        seen["tcp://w:2"] += 1
        watch.look()
        said += watch.silent({"a": "11/0/FGS1", "b": "12/0/FGS1"})
        time.sleep(0.02)
    assert len(said) == 1
    assert re.match(r"worker tcp://w:1 has given no sign of life for 0\.2 s .* holds 11/0/FGS1: wake or end it", said[0])


@pytest.mark.slow
def test_a_stopped_worker_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "SILENT_S", 4.0)
    with open_client(runtime("runtime.scheduler=local", "runtime.num_workers=2")) as client:
        watch = Watch(client, runtime("runtime.scheduler=local"))
        pids = client.run(os.getpid)
        address = min(pids)
        future = client.submit(time.sleep, 600, workers=[address], pure=False)
        said: list[str] = []
        os.kill(pids[address], signal.SIGSTOP)
        try:
            until = time.monotonic() + 30
            while not said and time.monotonic() < until:
                watch.look()
                said = watch.silent({future.key: "11/0/FGS1"})
                time.sleep(0.1)
        finally:
            os.kill(pids[address], signal.SIGCONT)
    assert len(said) == 1
    assert f"worker {address} " in said[0]
    assert "11/0/FGS1" in said[0]


@pytest.mark.slow
def test_a_signal_to_the_group_while_workers_start_is_an_interrupted_run(dataset: Path, tmp_path: Path) -> None:
    """The workers die of it as well: the run ends as one that was stopped, not as one whose workers cannot be started."""
    words = ["calibrate", "--config-name", "calib/fast", "--data", str(dataset), "--out", str(tmp_path / "r"), "--scheduler", "local"]
    command = [sys.executable, "-c", "from v50calib.cli.main import main; main()", *words, "runtime.num_workers=2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        until = time.monotonic() + 60
        while not (tmp_path / "r" / "run.json").exists() and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 143, said
    assert "stopped by SIGTERM; run the same command again" in said


def test_tls_files_must_be_there(tmp_path: Path) -> None:
    given = runtime(*(f"runtime.tls.{n}={tmp_path}/{n}.pem" for n in ("ca", "cert", "key")))
    with pytest.raises(ConfigError, match=r"runtime\.tls\.ca is not a file") as caught:
        security(given)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "protocol"), [("of the run", "tls"), ("given", "tls"), ("none", "tcp")])
def test_local_workers_listen_on_loopback_only(tmp_path: Path, kind: str, protocol: str) -> None:
    given = {"given": tls_overrides(make_tls(tmp_path)), "none": ["runtime.tls.temporary=false"]}.get(kind, [])
    with open_client(runtime("runtime.scheduler=local", "runtime.num_workers=1", *given)) as client:
        info = client.scheduler_info()
        addresses = [info["address"], *info["workers"], client.dashboard_link]
        assert client.submit(abs, -3).result() == 3
    assert [a.rpartition(":")[0] for a in addresses[:2]] == [f"{protocol}://127.0.0.1"] * 2
    assert "127.0.0.1" in addresses[2]


STRANGER = """
import asyncio, ssl, sys
from distributed.comm import connect
from distributed.core import rpc
from distributed.protocol.pickle import dumps
import os
async def main():
    address = sys.argv[1]
    for scheme in sys.argv[2:]:
        where = f"{scheme}://{address.split('://')[1]}"
        more = {}
        if scheme == "tls":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            more = {"ssl_context": context}
        try:
            comm = await connect(where, timeout=3, **more)
            call = {"op": "run", "function": dumps(os.getpid), "args": dumps(()), "kwargs": dumps({})}
            await comm.write({**call, "reply": True})
            print(scheme, "answered", await asyncio.wait_for(comm.read(), 3))
        except Exception as exc:
            print(scheme, "refused", type(exc).__name__)
asyncio.run(main())
"""


def strange(*words: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", STRANGER, *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("temporary", [True, False])
def test_a_stranger_runs_no_code_in_workers(temporary: bool) -> None:
    """Another process of the machine that knows a worker's address. Without the certificates it does: the test can tell."""
    words = ["runtime.scheduler=local", "runtime.num_workers=1", f"runtime.tls.temporary={str(temporary).lower()}"]
    with open_client(runtime(*words)) as client:
        ((worker, pid),) = client.run(os.getpid).items()
        if not temporary:
            assert f"'result': {pid}" in strange(worker, "tcp")[0]
            return
        for address in (worker, client.scheduler_info()["address"]):
            assert [line.split()[:2] for line in strange(address, "tcp", "tls")] == [["tcp", "refused"], ["tls", "refused"]]
        assert client.submit(abs, -3).result() == 3


def test_where_a_run_makes_its_own_certificate() -> None:
    for scheduler in ("local", "slurm", "pbs", "lsf", "sge"):
        made = security(runtime(f"runtime.scheduler={scheduler}"))
        assert made is not None
        assert made.require_encryption
        assert "PRIVATE KEY" in made.tls_worker_key
        assert "PRIVATE" not in repr(made)
    for scheduler in ("threads", "sync", "kubernetes", "tcp://h:1"):
        assert security(runtime(f"runtime.scheduler={scheduler}")) is None
    assert security(runtime("runtime.tls.temporary=false")) is None
    assert security(runtime()).tls_worker_key != security(runtime()).tls_worker_key  # type: ignore[union-attr]


def test_without_cryptography_the_remedies_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match=r"pip install cryptography, use runtime\.scheduler=threads"):
        security(runtime())


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_what_it_lacks(dataset: Path, tmp_path: Path) -> None:
    """Workers import the script: there calibrate says so in a line, and the script's own call ends with the same remedy."""
    script = tmp_path / "script.py"
    given = f"{str(dataset)!r}, {str(tmp_path / 'run')!r}, 'calib/fast', ['runtime.scheduler=local']"
    script.write_text(f"from v50calib import calibrate\ncalibrate({given})\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("v50calib.calibrate: worker processes import the script that starts them")
    assert 'below `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "run").glob("calibrated.zarr/*"))


@pytest.mark.slow
def test_a_run_in_processes_says_a_failure_once_and_nothing_else(dataset: Path, tmp_path: Path) -> None:
    """Neither what Dask logs of a failed task, nor what is left of processes that were ended."""
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    spoiled = min(data.glob("train/*/FGS1_signal_0.parquet"))
    spoiled.write_bytes(b"no parquet")
    command = [sys.executable, "-m", "v50calib", "calibrate", "--data", str(data), "--out", str(tmp_path / "run")]
    done = subprocess.run([*command, "--config-name", "calib/fast"], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    said = (done.stdout + done.stderr).splitlines()
    assert sum(spoiled.parent.name in line and "failed" in line for line in said) == 2
    unexpected = ("Compute Failed", "Traceback", "leaked", "CommClosedError", "Warning")
    assert not [line for line in said if any(word in line for word in unexpected)]


# dask-jobqueue leaves its files of certificates to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("script", "said"),
    [("echo 'sbatch: error: Batch job submission failed: Invalid account' >&2; exit 1", "Invalid account"), ("echo welcome", "welcome")],
    ids=["refuses", "says no number"],
)
def test_a_queue_that_refuses_every_job_is_one_sentence_and_soon(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], script: str, said: str
) -> None:
    pytest.importorskip("dask_jobqueue")
    fake = tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    wanted = ["runtime.scheduler=slurm", "runtime.num_workers=3", "runtime.worker_timeout_s=300", "calib.photometry.instrument.name=FGS1"]
    began = time.monotonic()
    with pytest.raises(ClusterError, match=rf"sbatch refused 3 of 3 jobs: .*{said}.*No job, no worker: correct runtime\.queue"):
        calibrate(dataset, tmp_path / "run", "calib/fast", wanted)
    assert time.monotonic() - began < 100.0
    gc.collect()
    shown = "".join(capfd.readouterr())
    assert "Traceback" not in shown
    assert "exit code" not in shown


def test_some_jobs_are_refused_and_the_run_goes_on() -> None:
    cluster = SimpleNamespace(refused_jobs=["no more than 2 jobs"], worker_spec={"a": 1, "b": 2, "c": 3})
    assert queues.refusal(cluster, runtime("compute=pbs", "runtime.num_workers=3")) == "qsub refused 1 of 3 jobs: no more than 2 jobs"
    assert not queues.all_refused(cluster)
    assert queues.refusal(None, runtime()) == ""
    assert not queues.all_refused(None)
