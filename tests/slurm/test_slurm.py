"""Through a real Slurm: one machine, Debian's packages. Skipped, with the reason, where it cannot be had.

V50CALIB_APT=1 allows to install the packages with apt-get (root).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from v50calib import calibrate
from v50calib.io.storage.commit import tree_hash
from v50calib.runs.verify import verify

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "slurm"
PACKAGES = ["slurmctld", "slurmd", "slurm-client", "munge"]
FGS = ["calib.photometry.instrument.name=FGS1"]

pytestmark = pytest.mark.slow


def have_slurm() -> str:
    """Nothing, or why there is no Slurm to start."""
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if shutil.which(name) is None]
    if os.geteuid() != 0:
        return "Slurm's daemons are started as root only"
    if missing and os.environ.get("V50CALIB_APT") == "1" and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False, capture_output=True)
        words = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
        done = subprocess.run(words, env=environment, check=False, capture_output=True, text=True)
        return "" if done.returncode == 0 else f"apt-get cannot install Slurm: {done.stderr.strip()[-200:]}"
    return f"{', '.join(missing)} not installed (V50CALIB_APT=1 installs Debian's packages)" if missing else ""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which Slurm's commands find a cluster of two nodes with one core each."""
    pytest.importorskip("dask_jobqueue")
    if reason := have_slurm():
        pytest.skip(reason)
    # sockets have short names only, and munge wants a path that nobody else can write
    base = Path("/run") / f"v50calib-slurm-{os.getpid()}"
    up = subprocess.run([SCRIPTS / "one-machine.sh", "up", str(base), "2"], check=False, capture_output=True, text=True)
    try:
        if up.returncode:
            pytest.fail(f"Slurm did not start: {up.stdout}{up.stderr}")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        yield os.environ | {"SLURM_CONF": str(base / "slurm.conf"), "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path[1:])}
    finally:
        subprocess.run([SCRIPTS / "one-machine.sh", "down", str(base)], check=False, capture_output=True)
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def wanted(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("sync") / "run"
    calibrate(dataset, out, "calib/fast", [*FGS, "runtime.scheduler=sync"])
    return hashes(out)


def hashes(run: Path) -> dict[str, str]:
    return {p.parent.relative_to(run).as_posix(): tree_hash(p.parent) for p in sorted(run.rglob("_COMMIT.json"))}


def test_workers_are_jobs(slurm: dict[str, str], dataset: Path, tmp_path: Path, wanted: dict[str, str]) -> None:
    """One worker's job is cancelled on the way: its visit goes to the other."""
    run = tmp_path / "run"
    overrides = [
        "runtime.num_workers=2",
        "runtime.queue.memory=1GB",
        "runtime.queue.interface=lo",
        f"runtime.queue.log_directory={tmp_path}",
    ]
    words = [
        "calibrate",
        "--config-name",
        "calib/fast",
        "--data",
        str(dataset),
        "--out",
        str(run),
        "--scheduler",
        "slurm",
        *overrides,
        *FGS,
    ]
    code = "from v50calib.cli.main import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *words], env=slurm, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until = time.monotonic() + 120
        jobs: list[str] = []
        while not jobs and time.monotonic() < until:
            listed = subprocess.run(["squeue", "-h", "-t", "R", "-o", "%A"], env=slurm, capture_output=True, text=True, check=True)
            jobs = listed.stdout.split()
            time.sleep(0.2)
        assert jobs
        subprocess.run(["scancel", jobs[-1]], env=slurm, check=True)
        text, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, text
    assert verify(run).ok
    assert hashes(run) == wanted


def test_the_batch_script(slurm: dict[str, str], dataset: Path, tmp_path: Path, wanted: dict[str, str]) -> None:
    run = tmp_path / "run"
    environment = slurm | {
        "DATA_DIR": str(dataset),
        "RUN_DIR": str(run),
        "CONFIG_NAME": "calib/fast",
        "VENV": str(Path(sys.executable).parents[1]),
    }
    words = ["sbatch", "--wait", "--export=ALL", "--cpus-per-task=1", "--mem=2G", SCRIPTS / "calibrate.sbatch", *FGS]
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    log = "".join(p.read_text() for p in tmp_path.glob("v50calib-*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + log
    assert "3 calibrated" in log
    assert hashes(run) == wanted
