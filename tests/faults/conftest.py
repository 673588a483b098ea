"""Runs as processes of their own, with faults put in; a reference run to compare with, byte by byte."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from v50calib import calibrate
from v50calib.io.storage.commit import is_committed, tree_hash
from v50calib.runs.status import status
from v50calib.runs.verify import verify
from v50calib.simulate import simulate_dataset

INJECT = Path(__file__).parent / "inject"
PROGRAM = [sys.executable, "-c", "from v50calib.cli.main import main; main()"]
OVERRIDES = ["calib.photometry.instrument.name=FGS1", "runtime.retry_wait_s=0.1"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four planets, 1/50 of the frames."""
    return simulate_dataset(tmp_path_factory.mktemp("faults") / "data", planets=4, frames_fraction=0.02, seed=11)


def hashes(run: Path) -> dict[str, str]:
    """Hash of every product's tree; nothing else may lie beside them."""
    root = run / "calibrated.zarr"
    found = sorted(p for p in root.glob("*/*/*") if p.is_dir() and not p.name.startswith("."))
    assert all(is_committed(p) for p in found), [p.name for p in found]
    return {p.relative_to(root).as_posix(): tree_hash(p) for p in found}


@pytest.fixture(scope="session")
def undisturbed(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The products of a run that nothing befell."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert calibrate(tiny, out, "calib/fast", [*OVERRIDES, "runtime.scheduler=sync"]).count("done") == 4
    return hashes(out)


@dataclass
class Site:
    """Where one fault happens: dataset, run directory, and the command line in processes of their own."""

    data: Path
    run: Path
    wanted: dict[str, str]
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def fault(self, module: str, attr: str, action: str, **more: Any) -> dict[str, Any]:
        return {"module": module, "attr": attr, "action": action, "marker": str(self.run.parent / "marker"), **more}

    def marker(self, number: int = 0) -> Path:
        return self.run.parent / f"marker.{number}"

    def start(self, *words: str, faults: list[dict[str, Any]] | None = None, scheduler: str = "sync", **more: Any) -> subprocess.Popen[str]:
        command = words or ("calibrate", "--config-name", "calib/fast", "--data", str(self.data), "--out", str(self.run))
        extra = ("--scheduler", scheduler, *OVERRIDES) if command[0] == "calibrate" else ()
        return self.launch([*PROGRAM, *command, *extra], faults, **more)

    def launch(
        self, command: list[str], faults: list[dict[str, Any]] | None = None, env: dict[str, str] | None = None, **more: Any
    ) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(INJECT), *sys.path[1:]]), "MPLBACKEND": "Agg"} | (env or {})
        if faults:
            environment["V50_FAULTS"] = json.dumps(faults)
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **more
        )
        self.processes.append(process)
        return process

    def shell(self, tail: str, *options: str) -> int:
        """Exit code of a calibrate command line with redirections behind it, by bash."""
        words = ("calibrate", "--config-name", "calib/fast", "--data", str(self.data), "--out", str(self.run), "--scheduler", "sync")
        line = f"{shlex.join([*PROGRAM, *words, *OVERRIDES, *options])} {tail}"
        return self.end(self.launch(["bash", "-c", line]))[0]

    def calibrate(self, *options: str, faults: list[dict[str, Any]] | None = None, scheduler: str = "sync", **more: Any) -> tuple[int, str]:
        """(exit code, what it said)."""
        base = ("calibrate", "--config-name", "calib/fast", "--data", str(self.data), "--out", str(self.run))
        return self.end(self.start(*base, *options, faults=faults, scheduler=scheduler, **more))

    def end(self, process: subprocess.Popen[str], timeout: float = 600) -> tuple[int, str]:
        out, err = process.communicate(timeout=timeout)
        return process.returncode, out + err

    def wait_for(self, path: Path, process: subprocess.Popen[str], timeout: float = 400) -> None:
        until = time.monotonic() + timeout
        while not path.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until, f"{path} did not come"
            time.sleep(0.05)

    def resume(self, *options: str) -> str:
        """Run again without faults: everything must be there, bit for bit, and nothing beside it."""
        code, text = self.calibrate(*options)
        assert code == 0, text
        self.check()
        return text

    def check(self) -> None:
        assert verify(self.run).ok
        assert hashes(self.run) == self.wanted
        hidden = [p for p in (self.run / "calibrated.zarr").rglob(".*") if p.name.endswith((".tmp", ".old"))]
        assert hidden == []
        assert self.status()["failures"] == []

    def status(self) -> dict[str, Any]:
        return status(self.run)


@pytest.fixture
def site(tiny: Path, undisturbed: dict[str, str], tmp_path: Path) -> Iterator[Site]:
    place = Site(tiny, tmp_path / "run", undisturbed)
    yield place
    for process in place.processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def own_data(site: Site, tmp_path: Path) -> Site:
    """A dataset that may be spoiled."""
    import shutil

    shutil.copytree(site.data, tmp_path / "data")
    site.data = tmp_path / "data"
    return site


def fill(place: Path) -> None:
    """Leave no space on a small file system: a file `filler` takes it."""
    with (place / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(b"\0" * 4096)


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Makes a small file system of its own where this process may mount one; else the test skips, saying so."""
    places: list[Path] = []

    def make(size: str, options: str = "") -> Path:
        place = tmp_path / f"fs{len(places)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", str(place)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"a file system of its own cannot be mounted here: {done.stderr.strip()}")
        places.append(place)
        return place

    yield make
    for place in places:
        subprocess.run(["umount", "-l", str(place)], check=False)
