"""Every command that writes to a path of the user's: what it did not make stays, with a message that names it, unless the user says so."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from v50calib import calibrate
from v50calib.cli.main import main
from v50calib.uncertainty.tables import N_BINS, Features, Predictions, Truth, write_features, write_predictions, write_truth


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False)


@pytest.fixture(scope="module")
def made(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and predictions, truth and features of forty planets."""
    folder = tmp_path_factory.mktemp("made")
    assert not calibrate(dataset, folder / "run", "calib/nominal", ["runtime.scheduler=sync"]).failed
    ids, rng = tuple(map(str, range(40))), np.random.default_rng(3)
    mu = np.full((40, N_BINS), 0.01)
    sigma = np.full((40, N_BINS), 1e-4)
    write_predictions(folder / "pred.csv", Predictions(ids, mu, sigma))
    write_truth(folder / "truth.csv", Truth(ids, mu + sigma * rng.normal(size=mu.shape)))
    write_features(folder / "features.npz", Features(ids, np.ones((40, N_BINS, 1)), ("one",)))
    assert (
        invoke("uncertainty", "fit", "--pred", folder / "pred.csv", "--truth", folder / "truth.csv", "--out", folder / "m.npz").exit_code
        == 0
    )
    return folder


Words = Callable[[Path, Path], list[object]]
PAIR = lambda d: ["--pred", d / "pred.csv", "--truth", d / "truth.csv"]  # noqa: E731
#: commands with one file: (words, is an own file replaced without a word)
FILES: dict[str, tuple[Words, bool]] = {
    "qc --csv": (lambda d, out: ["qc", d / "run", "--csv", out], True),
    "report --out": (lambda d, out: ["report", d / "run", "--limit", 0, "--out", out], True),
    "score --per-wavelength": (lambda d, out: ["score", d / "pred.csv", d / "truth.csv", "--per-wavelength", out], True),
    "fit --out": (lambda d, out: ["uncertainty", "fit", *PAIR(d), "--out", out], True),
    "evaluate --report": (lambda d, out: ["uncertainty", "evaluate", *PAIR(d), "--report", out], True),
    "apply --out": (lambda d, out: ["uncertainty", "apply", "--model", d / "m.npz", "--pred", d / "pred.csv", "--out", out], False),
    "spectra --out": (lambda d, out: ["spectra", d / "run", "--missing", "naive", "--out", out], False),
    "spectra --features": (
        lambda d, out: ["spectra", d / "run", "--missing", "naive", "--out", out.with_name("mu.csv"), "--features", out],
        False,
    ),
    "export": (lambda d, out: ["export", d / "run", out, "--what", "spectra", "--format", "csv"], False),
}
SUFFIX = {"fit --out": ".npz", "spectra --features": ".npz"}


@pytest.mark.parametrize("command", FILES)
def test_a_file_of_the_users_stays(made: Path, tmp_path: Path, command: str) -> None:
    words, _ = FILES[command]
    out = tmp_path / f"thesis{SUFFIX.get(command, '.csv')}"
    for text in ("years of work\n", "planet_id,visit\n", "<!doctype html><html><head><meta charset='utf-8'><title>mine</title>"):
        out.write_text(text)
        result = invoke(*words(made, out))
        assert result.exit_code == 4, result.output
        assert f"'{out}' exists" in result.stderr
        assert f"a file of {len(text)} bytes" in result.stderr
        assert "give another name, or --overwrite" in result.stderr
        assert out.read_text() == text
        assert [p.name for p in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("command", FILES)
def test_own_files_and_those_that_the_user_gives_up(made: Path, tmp_path: Path, command: str) -> None:
    words, again = FILES[command]
    out = tmp_path / f"out{SUFFIX.get(command, '.csv')}"
    assert invoke(*words(made, out)).exit_code == 0
    first = out.read_bytes()
    (tmp_path / "mu.csv").unlink(missing_ok=True)
    assert invoke(*words(made, out)).exit_code == (0 if again else 4)
    (tmp_path / "mu.csv").unlink(missing_ok=True)
    assert invoke(*words(made, out), "--overwrite").exit_code == 0
    assert len(out.read_bytes()) == pytest.approx(len(first), rel=0.05)
    if command != "export":
        out.write_text("given up")
        (tmp_path / "mu.csv").unlink(missing_ok=True)
        assert invoke(*words(made, out), "--overwrite").exit_code == 0
        assert not out.read_bytes().startswith(b"given up")


@pytest.mark.parametrize("command", FILES)
def test_folders_and_devices_stay(made: Path, tmp_path: Path, command: str) -> None:
    words, _ = FILES[command]
    out = tmp_path / f"out{SUFFIX.get(command, '.csv')}"
    out.mkdir()
    (out / "thesis.tex").write_text("years")
    result = invoke(*words(made, out), "--overwrite")
    assert result.exit_code == 4
    assert "thesis.tex" in result.stderr
    assert (out / "thesis.tex").read_text() == "years"
    shutil.rmtree(out)
    out.symlink_to("/dev/null")
    assert "a device or a pipe" in invoke(*words(made, out), "--overwrite").stderr
    assert out.is_symlink()


def test_recalibrated_predictions_do_not_replace_the_ones_that_were_given(made: Path, tmp_path: Path) -> None:
    pred = Path(shutil.copy(made / "pred.csv", tmp_path / "pred.csv"))
    before = pred.read_bytes()
    result = invoke("uncertainty", "apply", "--model", made / "m.npz", "--pred", pred, "--out", pred)
    assert result.exit_code == 4
    assert "who made it cannot be told" in result.stderr
    assert pred.read_bytes() == before


def test_the_files_of_a_run_are_made_again_and_those_of_another_stay(made: Path, tmp_path: Path) -> None:
    one, other = (Path(shutil.copytree(made / "run", tmp_path / name)) for name in ("one", "other"))
    for _ in range(2):
        assert invoke("report", one, "--limit", 0).exit_code == 0
        assert invoke("qc", one, "--csv", one / "qc.csv").exit_code == 0
    before = {path: path.read_bytes() for path in other.iterdir() if path.is_file()}
    for words in (("qc", one, "--csv", other / "qc.csv"), ("qc", one, "--csv", other / "manifest.jsonl"),
                  ("report", one, "--limit", 0, "--out", other / "config.yaml")):  # fmt: skip
        result = invoke(*words)
        assert result.exit_code == 4
        assert "in another run directory" in result.stderr
    assert {path: path.read_bytes() for path in before} == before
    (one / "report.html").write_text("<html>my notes on this run</html>")
    assert invoke("report", one, "--limit", 0).exit_code == 4


def test_a_part_of_the_stages_does_not_replace_the_table_of_all(made: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(made / "run", tmp_path / "run"))
    before = (run / "qc.csv").read_bytes()
    result = invoke("qc", run, "--stage", "trace", "--csv", run / "qc.csv")
    assert result.exit_code == 4
    assert "only trace would be left in it" in result.stderr
    assert (run / "qc.csv").read_bytes() == before


def fill(folder: Path) -> dict[str, str]:
    folder.mkdir()
    (folder / "thesis.tex").write_text("years")
    (folder / "config.yaml").write_text("title: my thesis\n")
    return {p.name: p.read_text() for p in folder.iterdir()}


@pytest.mark.parametrize("flags", [(), ("--overwrite",), ("--update",)])
def test_a_folder_with_a_config_of_something_else_is_no_run(dataset: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Many programs have a config.yaml."""
    held = fill(tmp_path / "mine")
    result = invoke("calibrate", "--data", dataset, "--out", tmp_path / "mine", *flags, "runtime.scheduler=sync")
    assert result.exit_code == 4
    assert "config.yaml" in result.stderr
    assert "no run directory" in result.stderr
    assert {p.name: p.read_text() for p in (tmp_path / "mine").iterdir()} == held


def test_simulate_and_ingest_take_new_places_only(dataset: Path, tmp_path: Path) -> None:
    held = fill(tmp_path / "mine")
    (tmp_path / "file").write_text("years")
    for out in (tmp_path / "mine", tmp_path / "file"):
        for words in (["simulate", out, "--planets", 1, "--frames-fraction", 0.0005], ["ingest", dataset, out]):
            result = invoke(*words)
            assert result.exit_code == 4
            assert str(out) in result.stderr
    assert {p.name: p.read_text() for p in (tmp_path / "mine").iterdir()} == held
    assert (tmp_path / "file").read_text() == "years"


@pytest.mark.parametrize(
    ("key", "name", "code", "said"),
    [
        ("out_path", "pred.csv", 2, "one of the files that are read"),
        ("out_path", "truth.csv", 2, "one of the files that are read"),
        ("model_path", "truth.csv", 2, "one of the files that are read"),
        ("out_path", "mine.csv", 4, "not a file of predictions of this program"),
        ("model_path", "mine.npz", 4, "not a model of this program"),
        ("model_path", "features.npz", 4, "not a model of this program"),
    ],
)
def test_a_recalibration_in_a_run_keeps_files_of_the_users(
    dataset: Path, made: Path, tmp_path: Path, key: str, name: str, code: int, said: str
) -> None:
    for file in ("pred.csv", "truth.csv", "features.npz"):
        shutil.copy(made / file, tmp_path / file)
    for file in ("mine.csv", "mine.npz"):
        (tmp_path / file).write_text("years")
    before = (tmp_path / name).read_bytes()
    section = "calib.top_level_calib"
    given = [f"{section}.io.pred_path={tmp_path}/pred.csv", f"{section}.io.truth_path={tmp_path}/truth.csv"]
    given += [f"{section}.method=temperature", f"{section}.io.{key}={tmp_path / name}", "runtime.scheduler=sync"]
    result = invoke("calibrate", "--data", dataset, "--out", tmp_path / "run", *given)
    assert result.exit_code == code
    assert said in result.stderr
    assert (tmp_path / name).read_bytes() == before
    assert not (tmp_path / "run" / "manifest.jsonl").exists()


@pytest.mark.parametrize("name", ["submission.csv", "report.html", "spectra.html"])
def test_solve_keeps_what_is_not_its_own(dataset: Path, made: Path, tmp_path: Path, name: str) -> None:
    run = Path(shutil.copytree(made / "run", tmp_path / "run"))
    (run / name).write_text("planet_id,wl_1\nmine")
    result = invoke("solve", dataset, run, "--no-plan", "runtime.scheduler=sync")
    assert result.exit_code == 4
    assert name in result.stderr
    assert "move this one, or give another OUT" in result.stderr
    assert (run / name).read_text() == "planet_id,wl_1\nmine"


@pytest.mark.parametrize("command", [name for name in FILES if name != "export"])
def test_a_planted_link_is_replaced_and_not_followed(made: Path, tmp_path: Path, command: str) -> None:
    """Also where its target is not there yet, and under the names that temporary files had."""
    words, _ = FILES[command]
    suffix = SUFFIX.get(command, ".csv")
    (tmp_path / "victims").mkdir()
    precious = tmp_path / "victims" / "precious"
    precious.write_text("precious")
    out = tmp_path / f"out{suffix}"
    for name in (f".out{suffix}.part", f".out{suffix}.part.npz", f".out{suffix}.tmp"):
        (tmp_path / name).symlink_to(precious)
    out.symlink_to(tmp_path / "victims" / "new")
    assert invoke(*words(made, out)).exit_code == 0
    assert out.is_file()
    assert not out.is_symlink()
    assert [p.name for p in (tmp_path / "victims").iterdir()] == ["precious"]
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
@pytest.mark.parametrize("command", FILES)
def test_a_planted_pipe_is_not_waited_for(made: Path, tmp_path: Path, command: str, more: list[str]) -> None:
    words, again = FILES[command]
    out = tmp_path / f"out{SUFFIX.get(command, '.csv')}"
    os.mkfifo(out)
    result = invoke(*words(made, out), *([] if again else more))
    assert result.exit_code == 4, result.output
    assert "a device or a pipe" in result.stderr
    assert stat.S_ISFIFO(out.stat().st_mode)


def test_an_export_does_not_go_where_another_users_link_leads(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "grid.csv"
    out.symlink_to(tmp_path / "elsewhere.csv")
    words = [*FILES["export"][0](made, out)]
    if os.geteuid() == 0:
        os.chown(out, 12345, -1, follow_symlinks=False)
        result = invoke(*words)
        assert result.exit_code == 4
        assert "is a symbolic link of user 12345" in result.stderr
        assert not (tmp_path / "elsewhere.csv").exists()
        os.chown(out, 0, -1, follow_symlinks=False)
    assert invoke(*words).exit_code == 0
    assert (tmp_path / "elsewhere.csv").is_file()


READ: dict[str, tuple[Words, str]] = {
    "score --per-wavelength": (lambda d, f: ["score", f, d / "truth.csv", "--per-wavelength", f], "pred.csv"),
    "fit --out": (lambda d, f: ["uncertainty", "fit", "--pred", d / "pred.csv", "--truth", f, "--out", f], "truth.csv"),
    "evaluate --report": (lambda d, f: ["uncertainty", "evaluate", "--pred", f, "--truth", d / "truth.csv", "--report", f], "pred.csv"),
    "apply --out": (lambda d, f: ["uncertainty", "apply", "--model", d / "m.npz", "--pred", f, "--out", f], "pred.csv"),
    "spectra --out": (lambda d, f: ["spectra", d / "run", "--missing", "naive", "--truth", f, "--out", f], "truth.csv"),
}


@pytest.mark.parametrize("command", READ)
def test_what_a_command_reads_is_never_its_output(made: Path, tmp_path: Path, command: str) -> None:
    words, name = READ[command]
    given = Path(shutil.copy(made / name, tmp_path / name))
    before = given.read_bytes()
    result = invoke(*words(made, given), "--overwrite")
    assert result.exit_code == 4
    assert "is named twice in this command" in result.stderr
    assert given.read_bytes() == before


@pytest.mark.parametrize("place", ["manifest.jsonl", "config.yaml", "calibrated.zarr/mine.csv", "spectra.zarr/new/mine.csv"])
@pytest.mark.parametrize("command", ["qc --csv", "report --out", "spectra --out", "export"])
def test_what_a_run_keeps_of_itself_is_no_place_for_a_table(made: Path, tmp_path: Path, command: str, place: str) -> None:
    run = Path(shutil.copytree(made / "run", tmp_path / "run"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    result = invoke(*FILES[command][0](made, run / place), "--overwrite")
    assert result.exit_code == 4
    assert "is what a run keeps of itself" in result.stderr
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
