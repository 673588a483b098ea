"""What a shell and a terminal do to a command: encodings that lack a character, `~` that no shell put the home for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from v50calib.cli.main import main
from v50calib.errors import DataError
from v50calib.io.storage.location import locate
from v50calib.runs import manifest
from v50calib.uncertainty.tables import N_BINS, Predictions, write_predictions

NARROW = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run with a finished visit and one whose failure is told in characters that few encodings have."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("config_hash: x\n")
    at = time.time()
    manifest.append(folder, manifest.Entry("7", 0, "FGS1", "done", qc={"stages": {"cds": {"rms": 1.0}}, "noise_over_limit": 1.0}, at=at))
    manifest.append(folder, manifest.Entry("8", 0, "FGS1", "failed", error="0.5 ± 0.1 µm → ☃", error_type="DataError", at=at))
    return folder


@pytest.mark.parametrize("environment", NARROW, ids=["ascii", "latin-1", "C"])
def test_characters_that_a_terminal_lacks_are_replaced(run_dir: Path, environment: dict[str, str]) -> None:
    """The work is done when they are printed: it must not fail for them."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONUTF8", "PYTHONIOENCODING"))}
    for arguments in (["status"], ["qc", "--csv", str(run_dir / "qc.csv")]):
        done = subprocess.run(
            [sys.executable, "-m", "v50calib", arguments[0], str(run_dir), *arguments[1:]], env=clean | environment, capture_output=True,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert b"Error" not in done.stderr
        if arguments == ["status"]:
            assert b"8/0/FGS1 (0 attempts): 0.5" in done.stdout
        else:
            assert b"rows" in done.stdout
            assert (run_dir / "qc.csv").is_file()


def invoke(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(args), catch_exceptions=False)
    return result.exit_code, result.output


def test_the_home_is_found_where_no_shell_put_it(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(run_dir)
    assert locate("~/data") == tmp_path / "data"
    assert locate(Path("~/data")) == tmp_path / "data"
    assert locate("~no-such-user/data") == Path("~no-such-user/data")
    assert json.loads(invoke("status", "~/run", "--json")[1])["run_dir"] == str(run_dir)
    write_predictions(tmp_path / "p.csv", Predictions(("7",), np.full((1, N_BINS), 0.01), np.full((1, N_BINS), 1e-5)))
    assert invoke("score", "~/p.csv", "~/p.csv", "--per-wavelength", "~/each.csv")[0] == 0
    assert (tmp_path / "each.csv").is_file()
    code, said = invoke("calibrate", "--data", "~/nowhere", "--out", "~/out")
    assert (code, str(tmp_path / "nowhere") in said) == (DataError.exit_code, True)
    monkeypatch.setenv("DATA_DIR", "~/else")
    assert str(tmp_path / "else") in invoke("calibrate", "--out", "~/out")[1]
    assert not list(run_dir.glob("*~*"))


def test_ctrl_c_has_an_exit_code_of_its_own(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(manifest, "read_lines", stopped)
    result = CliRunner().invoke(main, ["status", str(run_dir)])
    assert result.exit_code == 130
    assert result.stderr.startswith("interrupted")


@pytest.mark.parametrize("module", ["click", "v50calib.cli.solve", "rich"])
def test_ctrl_c_while_the_commands_are_imported_is_one_line(module: str) -> None:
    code = (
        "import os, signal, sys\n"
        # where the tests themselves run in the background, their children ignore Ctrl-C
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *rest):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from v50calib.__main__ import run\n"
        "run()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, "status"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted: nothing had begun yet\n")


def test_ctrl_c_while_options_are_read_has_the_same_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(click.Group, "make_context", stopped)
    result = CliRunner().invoke(main, ["status", "x"])
    assert (result.exit_code, result.stderr.startswith("interrupted")) == (130, True)


def test_the_console_scripts_begin_where_the_interrupt_is_caught() -> None:
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts.values()) == {"v50calib.__main__:run"}
