"""scripts/kaggle.py: finds the data, prints the plan, keeps to the limits, resumes."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from v50calib import open_calibrated
from v50calib.uncertainty.tables import read_predictions, read_truth

ROOT = Path(__file__).resolve().parents[1]
QUICK = ["--config-name", "calib/fast", "runtime.scheduler=sync", "calib.photometry.instrument.name=FGS1"]


@pytest.fixture(scope="module")
def kaggle() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kaggle_script", ROOT / "scripts" / "kaggle.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def mounted(dataset: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "input" / "competitions"
    folder.mkdir(parents=True)
    (folder / "ariel-data-challenge-2025").symlink_to(dataset)
    return tmp_path / "input"


@pytest.mark.slow
def test_plan_run_and_next_session(kaggle: ModuleType, mounted: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "working" / "run"
    assert kaggle.main(["--mounted", str(mounted), "--out", str(out), *QUICK]) == 0
    said = capfd.readouterr().out
    assert "FGS1: 3 left; a visit takes" in said
    assert said.index("fits\n") < said.index("3 calibrated, 0 already complete")
    assert "3 of 3 visits x instruments done, 0 failed" in said
    assert "no submission: the reason is above" in said
    leaf = next(iter(open_calibrated(out).leaves)).to_dataset()
    assert "trace_norm" in leaf
    assert not {"cds_binned", "photometry", "background"} & set(leaf.data_vars)

    # a later session has the earlier one's output, and nothing to do
    later = tmp_path / "later" / "run"
    assert kaggle.main(["--mounted", str(mounted), "--out", str(later), "--earlier", str(out), *QUICK]) == 0
    said = capfd.readouterr().out
    assert "every visit is complete: nothing is left to do" in said
    assert "0 calibrated, 3 already complete, 0 failed" in said


@pytest.mark.slow
def test_the_session_ends_in_a_submission(
    kaggle: ModuleType, mounted: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Lean products, truth found beside the data: a row for each planet, and a score; then arrays and a model of one's own."""
    out = tmp_path / "run"
    assert kaggle.main(["--mounted", str(mounted), "--out", str(out), "runtime.scheduler=sync"]) == 0
    predictions, truth = read_predictions(out / "submission.csv"), read_truth(dataset / "train.csv")
    assert set(predictions.ids) == set(truth.ids)
    rows = [truth.ids.index(i) for i in predictions.ids]
    assert (abs(predictions.mu - truth.y[rows]) < 6 * predictions.sigma).mean() > 0.95
    the_page_goes_on(out, dataset, tmp_path, monkeypatch, capfd)


def the_page_goes_on(run: Path, data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The page's block, but for its two locations: lean products to arrays, a ridge regression, a score, predictions."""
    page = (ROOT / "docs" / "how-to" / "kaggle.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```py\n(.*?)```", page, re.DOTALL)
    for there, here in (("/kaggle/working/run", run), ("/kaggle/input/ariel-data-challenge-2025", data)):
        assert there in block
        block = block.replace(there, str(here))
    monkeypatch.chdir(folder)
    capfd.readouterr()
    exec(compile(block, "kaggle.md", "exec"), {"__name__": "page"})
    said = capfd.readouterr().out
    assert re.match(r"Arrays\(2 planets x \d+ bins of \d+ s x 283 channels, labels of 2\)\nscore, leave-one-out ", said)
    assert set(read_predictions(folder / "ridge.csv").ids) == set(read_truth(data / "train.csv").ids)


def test_the_page_s_regression_never_predicts_a_planet_that_it_has_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels that are noise: what the page writes of each planet is a ridge of the eleven others, and one without a label gets
    the fit of all twelve."""
    (block,) = re.findall(r"```py\n(.*?)```", (ROOT / "docs" / "how-to" / "kaggle.md").read_text(encoding="utf-8"), re.DOTALL)
    rng = np.random.default_rng(0)
    labels = np.vstack([0.01 + 1e-3 * rng.normal(size=(12, 283)), np.full((1, 283), np.nan)])
    time = np.linspace(-3.0, 3.0, 61)
    dips = rng.uniform(0.005, 0.02, (13, 283))
    mean = 1.0 - np.where(np.abs(time) < 1.0, 1.0, 0.0)[None, :, None] * dips[:, None, :]

    class Arrays:
        ids = np.arange(1, 14)

        def __init__(self) -> None:
            self.time, self.labels = time, labels

        def mean(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return mean[:, chosen].mean(axis=1), np.ones((13, 283))

    monkeypatch.setattr("v50calib.to_arrays", lambda run, labels: Arrays())
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "kaggle.md", "exec"), {"__name__": "page"})

    bands = np.column_stack([dips[:, 0], *(part.mean(axis=1) for part in np.array_split(dips[:, 1:], 12, axis=1))])
    x = np.column_stack([np.ones(13), bands / bands.std()])
    written = read_predictions(tmp_path / "ridge.csv")
    for i in range(13):
        others = [j for j in range(12) if j != i]
        # ridge as ordinary least squares with a row of 0.1 for each coefficient
        rows, target = np.vstack([x[others], 0.1 * np.eye(14)]), np.vstack([labels[others], np.zeros((14, 283))])
        expected = x[i] @ np.linalg.lstsq(rows, target, rcond=None)[0]
        np.testing.assert_allclose(written.mu[written.ids.index(str(i + 1))], np.clip(expected, 0.0, None), rtol=1e-6)


def test_a_broken_limit_stops_before_the_run(kaggle: ModuleType, mounted: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert kaggle.main(["--mounted", str(mounted), "--out", str(tmp_path / "run"), "--out-limit", "1kB", *QUICK]) == 1
    assert "does NOT fit: output" in capfd.readouterr().out
    assert not (tmp_path / "run").exists()


def test_out_of_time_sends_a_term_and_says_so(kaggle: ModuleType, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that would take a minute, and a deadline that has passed."""
    stopped = tmp_path / "stopped"
    script = "import pathlib, signal, sys, time\ndef stop(*_):\n pathlib.Path(sys.argv[1]).write_text('TERM')\n sys.exit(143)\n"
    script += "signal.signal(signal.SIGTERM, stop)\ntime.sleep(60)\n"
    monkeypatch.setattr(kaggle, "program", lambda *_: [sys.executable, "-c", script, str(stopped)])
    args = kaggle.arguments(["--data", str(dataset), "--out", str(tmp_path / "run")])
    assert kaggle.calibrate(args, [], deadline=0.0) == kaggle.OUT_OF_TIME
    assert stopped.read_text() == "TERM"


@pytest.mark.parametrize("names", [[], ["one", "two"]])
def test_data_that_is_not_to_be_told_is_asked_for(kaggle: ModuleType, tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name / "train").mkdir(parents=True)
    with pytest.raises(SystemExit, match="name the one with --data"):
        kaggle.find_data(tmp_path)
