"""What users type: folders, profiles and keys where they stand in their minds; and what the shell completes."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

import v50calib
from v50calib.cli import shown
from v50calib.cli.main import main
from v50calib.cli.shown import print_forecast
from v50calib.config import load
from v50calib.config.explain import key_names, validate
from v50calib.errors import ConfigError, DataError
from v50calib.runs.truth import read_depths
from v50calib.runtime.forecast import Forecast, Part

#: words of the parser's tokens, of pydantic's types and of Python
FOREIGN = (
    "extraneous", "mismatched", "viable", "token", "EOF", "constrained-", "Input should", "String should", "List should", "Value error",
    "Error merging", "force-add", "pydantic", "raised while", "function-", "after validation", "type=",
)  # fmt: skip


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False)


def refused(*args: object) -> str:
    result = invoke(*args)
    assert result.exit_code == 2, result.output
    assert len(result.stderr) < 800
    return result.stderr


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("calib.photometry.method=psf", "calib.photometry.photometry.method"),
        ("photometry.method=psf", "calib.photometry.photometry.method"),
        ("radius_px=3", "calib.photometry.aperture.radius_px"),
        ("nbins=100", "calib.phase.binning.nbins"),
        ("phase.nbins=100", "calib.phase.binning.nbins"),
        ("calib.binning.nbins=4", "calib.phase.binning.nbins"),
        ("num_workers=2", "runtime.num_workers"),
        ("runtime.walltime='1:00:00'", "runtime.queue.walltime"),
        ("calib.photometry.radius=3", "calib.photometry.aperture.radius_px"),
        ("calib.cosmic_rays.enabled=true", "calib.dark.cosmic_rays.enabled"),
    ],
)
def test_a_key_is_found_by_its_last_name(typed: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("calib/nominal", [typed])
    assert str(caught.value).startswith("unknown key ")
    assert f"there is {meant}; did you mean that? " in str(caught.value)


def test_several_keys_of_that_name_are_all_named() -> None:
    with pytest.raises(ConfigError, match=r"did you mean one of calib\.nonlinearity\.method, calib\.top_level_calib\.method\?"):
        load("calib/nominal", ["calib.method=psf"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("calib.dark.x=[1,2]]", "a ']' closes nothing"),
        ("calib.dark.x=}", "a '}' closes nothing"),
        ("calib.dark.x=[1,2", "a '[' is not closed"),
        ("calib.dark.x='abc", "a quote ' is not closed"),
        ("calib.dark.x=a=b", "a '=' outside quotes"),
        ("calib..x=1", "'calib..x' is no key"),
        ("é=1", "'é' is no key"),
        ("=3", "no key before its '='"),
        ("calib.x=int(a)", "read as a function of Hydra"),
        ("calib.photometry.aperture=[1]", "where the profile has another"),
        ("calib.photometry.instrument.name='a b'", "one of: all, FGS1, AIRS, AIRS-CH0 (or text of the key's form)"),
        ("runtime.queue.walltime=abc", "text of the key's form, for example 02:00:00, 1-12:00:00, but it is 'abc'"),
        ("calib.adc.linearization.poly_coeffs=[1]", "must be of at least 2 values, but it is [1]"),
        ("calib.nonlinearity.valid_range=[1,2,3]", "must be of at most 2 values"),
        ("calib.adc.detector=${oc.env:NOPE}", "Environment variable 'NOPE' not found"),
    ],
)
def test_what_is_wrong_is_said_in_a_users_words(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("calib/nominal", [text])
    assert said in str(caught.value)
    assert [word for word in FOREIGN if word in str(caught.value)] == []


@pytest.mark.parametrize("value", ["a b", -1.5, [], [None], ["a b"] * 20, {"a": 1}, None, True, float("nan")])
def test_no_key_speaks_in_the_words_of_a_library(value: Any) -> None:
    """Every key with the same value at once: all faults are in one message."""
    tree: dict[str, Any] = {}
    for key in key_names():
        *above, name = key.split(".")
        section = tree
        for part in above:
            section = section.setdefault(part, {})
        section[name] = value
    with pytest.raises(ConfigError) as caught:
        validate(tree)
    text = str(caught.value)
    assert int(text.split()[0]) > 20
    assert [word for word in (*FOREIGN, "a value that this key takes") if word in text] == []


def test_a_folder_among_the_words_is_the_dataset(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    result = invoke("calibrate", dataset, "--out", out, "--dry-run", "calib.flat.enabled=false")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == invoke("calibrate", "--data", dataset, "--out", out, "--dry-run", "calib.flat.enabled=false").stdout
    assert "several datasets" in refused("calibrate", dataset, tmp_path)
    assert f"--data {tmp_path} and {dataset} are several" in refused("calibrate", dataset, "--data", tmp_path)
    assert f"no folder '{tmp_path}/nowhere'" in refused("calibrate", tmp_path / "nowhere")
    (tmp_path / "notes").write_text("")
    assert "is no folder of data" in refused("calibrate", tmp_path / "notes")
    assert "is a profile: write --config-name calib/fast" in refused("calibrate", "fast")
    assert "is a profile: write --config-name calib/fast" in refused("plan", dataset, "calib/fast")
    assert "no folder 'runs/x'" in refused("solve", dataset, tmp_path / "s", "runs/x")


def test_a_fraction_is_written_as_a_number(tmp_path: Path) -> None:
    assert "'1/50' is no decimal number: write 0.02" in refused("simulate", tmp_path / "d", "--frames-fraction", "1/50")
    assert "write e.g. 0.02" in refused("simulate", tmp_path / "d", "--frames-fraction", "1/x")
    assert "write e.g. 0.02" in refused("simulate", tmp_path / "d", "--frames-fraction", "1/0")
    assert "'a' is not a valid float" in refused("simulate", tmp_path / "d", "--frames-fraction", "a")


@pytest.mark.parametrize("given", [(), ("predictions.csv",)])
def test_score_without_its_files_shows_an_example(given: tuple[str, ...]) -> None:
    said = refused("score", *given)
    assert "score takes two files, predictions and the truth" in said
    assert "v50calib score runs/solved/submission.csv train.csv" in said


def test_a_truth_that_is_not_there_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("score", "nowhere.csv", "train.csv")
    assert f"'nowhere.csv' does not exist (looked in {tmp_path})" in result.stderr
    with pytest.raises(DataError, match=re.escape(f"has no truth.json and no train.csv (looked in {tmp_path})")):
        read_depths(Path())


def test_a_plan_tells_what_a_visit_s_cost_is_made_of(capsys: pytest.CaptureFixture[str]) -> None:
    print_forecast(Forecast(2, 2, 1.0, 10**9, [Part("FGS1", 9, 2, 1.0, 1.2, 2_000_000, 80)], 3.0))
    said = capsys.readouterr().out
    assert "a visit's cost is a fixed part (maps, light curves, transit fits" in said
    assert "and a part that grows with its frames; the sample's lengths are taken for all\n" in said


def test_spectra_are_counted_after_a_silence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A clock of three seconds a planet: a word every six, and of seven planets none for their number."""
    now = itertools.count(step=3)
    monkeypatch.setattr(shown.time, "monotonic", lambda: next(now))
    tell = shown.spectra_progress("gp")
    for done in range(1, 8):
        tell(done, 7)
    assert capsys.readouterr().err.splitlines() == ["spectra 2/7 (gp)", "spectra 4/7 (gp)", "spectra 6/7 (gp)"]


@pytest.mark.parametrize("word", ["~calib.phase.depths", "~nobody/data", "~fgs1.flat"])
def test_a_word_with_a_tilde_is_no_home(dataset: Path, tmp_path: Path, word: str) -> None:
    """Hydra's `~key` among the words of `calibrate`: nobody's home folder is looked for."""
    result = CliRunner().invoke(main, ["calibrate", "--data", str(dataset), "--out", str(tmp_path / "run"), word])
    assert result.exit_code == 2
    assert result.output.startswith("error: ")
    assert word in result.output
    assert not (tmp_path / "run").exists()


def test_a_profile_by_its_short_name() -> None:
    typed = invoke("calibrate", "--profile", "fast", "--cfg", "job")
    assert typed.exit_code == 0
    assert typed.stdout == invoke("calibrate", "--config-name", "calib/fast", "--cfg", "job").stdout


@pytest.mark.parametrize("queue", ["slurm", "pbs", "lsf", "sge"])
def test_a_queue_that_is_not_there_is_one_sentence(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queue: str) -> None:
    command = {"slurm": "sbatch", "pbs": "qsub", "lsf": "bsub", "sge": "qsub"}[queue]
    monkeypatch.setenv("PATH", str(tmp_path))
    text = refused("calibrate", "--data", dataset, "--out", tmp_path / "r", "--scheduler", queue)
    assert f"hands jobs over with {command}, which is not on the PATH" in text
    assert len(text.splitlines()) == 1
    assert not (tmp_path / "r").exists()
    assert f"hands jobs over with {command}" in refused("solve", dataset, tmp_path / "s", "--no-plan", f"compute={queue}")
    assert "none of sbatch, qsub, bsub on the PATH" in invoke("doctor", "--data", dataset).stdout
    (tmp_path / command).write_text("#!/bin/sh\n")
    (tmp_path / command).chmod(0o700)
    assert f"{queue} ({command})" in invoke("doctor", "--data", dataset).stdout


def test_an_older_python_is_told() -> None:
    init = Path(v50calib.__file__)
    ast.parse(init.read_text(), feature_version=(3, 10))
    code = f"import sys; sys.version_info = (3, 10, 13, 'final', 0); sys.path.insert(0, {str(init.parents[1])!r}); import v50calib"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "ImportError: v50calib needs Python >= 3.11, this is 3.10"


def completed(*words: str) -> list[str]:
    """What a shell is given for the last of `words`."""
    *args, incomplete = words
    shell = ShellComplete(main, {}, "v50calib", "_V50CALIB_COMPLETE")
    return [item.value for item in shell.get_completions(args, incomplete)]


def test_the_shell_completes_profiles_keys_methods_and_schedulers() -> None:
    assert completed("calibrate", "--profile", "calib/s") == ["calib/strict"]
    assert completed("plan", "data", "--config-name", "no") == ["nominal"]
    assert "calib.phase.binning.nbins=" in completed("calibrate", "calib.phase.bin")
    method = "calib.photometry.photometry.method"
    assert completed("calibrate", f"{method}=ap") == [f"{method}=aperture"]
    assert f"{method}=psf" in completed("solve", "data", "out", method)
    assert completed("calibrate", method, "=", "ps") == ["psf"], "bash's three words"
    assert completed("calibrate", "calib.flat.enabled=") == ["calib.flat.enabled=true", "calib.flat.enabled=false"]
    assert completed("calibrate", "--scheduler", "sl") == ["slurm"]


def test_the_shell_completes_planets_and_their_visits(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planets = sorted(path.name for path in (dataset / "train").iterdir() if path.is_dir())
    assert sorted(completed("calibrate", "--data", str(dataset), "--planet", "")) == planets
    assert completed("calibrate", str(dataset), "--planet", "") == completed("calibrate", "--data", "nowhere", "--planet", "") == []
    monkeypatch.setenv("DATA_DIR", str(dataset))
    assert completed("calibrate", "--only", planets[0][:-1])[0] in planets
    assert f"{planets[0]}/0/FGS1" in completed("calibrate", "--only", f"{planets[0]}/0/")
