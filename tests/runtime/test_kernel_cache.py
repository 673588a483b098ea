"""No folder to keep compiled kernels in, also none that the package chooses by itself: one sentence with the remedy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from v50calib.config.runtime import RuntimeConfig
from v50calib.errors import no_cache
from v50calib.runtime.queues import queue_arguments

#: of numba's ways to find a folder only the variable is left: the others ask who may write where, and root may everywhere
ONLY_THE_VARIABLE = """
import sys
from numba.core import caching
for kind in (caching.FunctionCache._impl_class, caching.CacheImpl, caching.CompileResultCacheImpl):
    kind._locator_classes = [c for c in kind._locator_classes if "UserProvided" in c.__name__]
"""
#: as where `safety.compiled` finds no folder that numba takes
NONE_CHOSEN = """
import os, v50calib
from numba.core import config
os.environ.pop("NUMBA_CACHE_DIR", None)
config.CACHE_DIR = ""
"""


def run(code: str, *arguments: str, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "HOME")}
    environment |= {"NUMBA_CACHE_DIR": str(cache)} if cache is not None else {}
    return subprocess.run(
        [sys.executable, "-c", ONLY_THE_VARIABLE + ("" if cache else NONE_CHOSEN) + code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run("from v50calib.cli.main import main\nmain(prog_name='v50calib')", *arguments)


@pytest.mark.parametrize(
    "arguments", [("simulate", "data", "--planets", "1"), ("score", "a.csv", "b.csv"), ("calibrate", "--data", "data", "--out", "run")]
)
def test_commands_say_it_in_one_sentence(arguments: tuple[str, ...]) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: compiled kernels cannot be kept: neither the package's folder ")
    assert "HOME=(not set) can be written; export NUMBA_CACHE_DIR=FOLDER" in done.stderr


def test_a_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/nowhere")
    said = str(no_cache(RuntimeError("cannot cache function 'f': no locator available for file 'a.py'")))
    assert "neither NUMBA_CACHE_DIR=/nowhere, the package's folder" in said


def test_doctor_survives_and_says_it(tmp_path: Path) -> None:
    done = command("doctor", "--json")
    assert done.returncode == 1
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert found["numba cache"]["state"] == "problem"
    assert found["numba cache"]["found"].startswith("compiled kernels cannot be kept")
    assert found["numba cache"]["remedy"].startswith("export NUMBA_CACHE_DIR=")
    # what comes after it, and what needs the kernels to be looked at
    assert found["profiles"]["state"] == "ok"
    assert "dataset" in found


def test_from_python() -> None:
    done = run("import v50calib\ntry: v50calib.calibrate\nexcept Exception as exc: print(type(exc).__name__, exc)")
    assert done.stdout.startswith("ConfigError compiled kernels cannot be kept")


def test_the_remedy_works(tmp_path: Path) -> None:
    assert run("import v50calib\nv50calib.calibrate", cache=tmp_path / "made").returncode == 0


def test_jobs_of_a_queue_inherit_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = RuntimeConfig.model_validate({"scheduler": "slurm", "num_workers": 1})
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "a folder"))
    assert f"export NUMBA_CACHE_DIR='{tmp_path}/a folder'" in queue_arguments(config)["job_script_prologue"]
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    assert not any("NUMBA" in line for line in queue_arguments(config)["job_script_prologue"])


def test_other_errors_are_not_that() -> None:
    assert no_cache(RuntimeError("dictionary changed size")) is None


def test_a_user_without_a_home(tmp_path: Path) -> None:
    """As a container's `--user 1234`: no HOME, no entry among the users."""
    code = "import pwd\npwd.getpwuid = lambda _: {}[0]\nimport os, v50calib\nprint(os.environ['NUMBA_CACHE_DIR'])"
    environment = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "HOME", "XDG_CACHE_HOME")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "v50calib-numba-" in done.stdout
    assert not list(tmp_path.iterdir())
