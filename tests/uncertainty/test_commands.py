"""The commands: score, uncertainty fit|apply|evaluate, spectra, and calibrate with calib.top_level_calib."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from tests.uncertainty.test_simple import tables
from tests.uncertainty.worlds import make

from v50calib import calibrate
from v50calib.cli.main import main
from v50calib.config import load
from v50calib.config.provenance import config_hash
from v50calib.errors import ConfigError, DataError
from v50calib.uncertainty.tables import Truth, read_features, read_predictions, read_truth, write_features, write_predictions, write_truth


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 planets: predictions of all, truth of the first 110 (old.csv) and of the last 40 (new.csv), features."""
    folder = tmp_path_factory.mktemp("uncertainty")
    predictions, truth, features = tables(make("features", 150, 9))
    write_predictions(folder / "pred.csv", predictions)
    write_truth(folder / "old.csv", Truth(truth.ids[:110], truth.y[:110]))
    write_truth(folder / "new.parquet", Truth(truth.ids[110:], truth.y[110:]))
    assert features is not None
    write_features(folder / "features.npz", features)
    return folder


@pytest.fixture(scope="module")
def run_dir(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "r"
    assert calibrate(dataset, out, overrides=["runtime.scheduler=sync", "output.cubes=none"]).failed == []
    return out


def test_score_command(files: Path, tmp_path: Path) -> None:
    result = invoke("score", files / "pred.csv", files / "new.parquet", "--per-wavelength", tmp_path / "w.csv", "--json")
    found = json.loads(result.stdout)
    assert found["planets"] == 40
    assert 0 < found["before"]["score"] < 1
    assert len(pd.read_csv(tmp_path / "w.csv")) == 283
    old = json.loads(invoke("score", files / "pred.csv", files / "new.parquet", "--edition", "2024", "--json").stdout)
    assert old["before"]["score"] != found["before"]["score"]
    other = json.loads(invoke("score", files / "pred.csv", files / "new.parquet", "--json", "score.naive_sigma=0.02").stdout)
    assert other["before"]["score"] != found["before"]["score"]
    assert "mean log-likelihood" in invoke("score", files / "pred.csv", files / "new.parquet").stdout


@pytest.mark.parametrize("method", ["temperature", "affine"])
def test_fit_apply_evaluate(files: Path, tmp_path: Path, method: str) -> None:
    model, out = tmp_path / "m.npz", tmp_path / "out.csv"
    with_features = ("--features", files / "features.npz") if method == "affine" else ()
    common = ("--pred", files / "pred.csv", *with_features)
    fitted = invoke(
        "uncertainty", "fit", *common, "--truth", files / "old.csv", "--out", model, "--method", method, "temperature.per_bin=true"
    )
    assert fitted.exit_code == 0, fitted.output
    assert f"{method} fitted on 110 planets" in fitted.stdout
    assert "40 planets of the predictions have no truth" in fitted.stdout
    applied = invoke("uncertainty", "apply", "--model", model, *common, "--out", out, "--intervals", tmp_path / "bands.npz")
    assert applied.exit_code == 0, applied.output
    assert pd.read_csv(out).shape == (150, 567)
    with np.load(tmp_path / "bands.npz") as bands:
        assert (bands["low"] < bands["high"]).all()
    page = tmp_path / "report.html"
    judged = invoke("uncertainty", "evaluate", *common, "--truth", files / "new.parquet", "--model", model, "--report", page, "--json")
    found = json.loads(judged.stdout)
    assert found["after"]["score"] > found["before"]["score"] + 0.05
    assert found["bands"]["elements"] == pytest.approx(0.9, abs=0.05)
    text = page.read_text(encoding="utf-8")
    assert "data:image/png;base64," in text
    assert "http" not in text
    assert f"{found['after']['score']:.5g}" in text


def test_corel_command(files: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    model = tmp_path / "m.npz"
    result = invoke(
        "uncertainty", "fit", "--pred", files / "pred.csv", "--truth", files / "old.csv", "--features", files / "features.npz",
        "--out", model, "--method", "corel", "corel.fit.epochs=2", "corel.model.hidden=8",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for row in ("none", "global T", "per-bin T", "affine, features over 9 bins", "corel, no edges", "corel, gatconv"):
        assert row in result.stdout
    missing = invoke("uncertainty", "apply", "--model", model, "--pred", files / "pred.csv", "--out", tmp_path / "o.csv")
    assert missing.exit_code == 3
    assert "add --features" in missing.stderr
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("score", "nowhere.csv", "new"), 3, "does not exist"),
        (
            ("uncertainty", "fit", "--pred", "pred", "--truth", "old", "--out", "m.npz", "temperature.per_bins=true"),
            2,
            "temperature.per_bin",
        ),
        (("uncertainty", "fit", "--pred", "pred", "--truth", "old", "--out", "m.pkl"), 3, "must end in .npz"),
        (("uncertainty", "apply", "--model", "old", "--pred", "pred", "--out", "o.csv"), 3, "cannot be read"),
        (("spectra", "nowhere", "--out", "o.csv"), 4, "calibrated.zarr"),
    ],
)
def test_wrong_use_is_one_paragraph(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"pred": files / "pred.csv", "old": files / "old.csv", "new": files / "new.parquet"}
    result = invoke(*(names.get(a, a) for a in args))
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_spectra_of_a_run_and_their_score(run_dir: Path, dataset: Path, tmp_path: Path) -> None:
    out, features = tmp_path / "pred.csv", tmp_path / "f.npz"
    result = invoke("spectra", run_dir, "--out", out, "--features", features, "--missing", "naive")
    assert result.exit_code == 0, result.output
    predictions, truth = read_predictions(out), read_truth(dataset / "train.csv")
    assert set(predictions.ids) == set(truth.ids)
    assert read_features(features).values.shape == (2, 283, 2)
    rows = [truth.ids.index(i) for i in predictions.ids]
    pulls = (predictions.mu - truth.y[rows]) / predictions.sigma
    # 566 pulls, channels of a planet share orbit and limb darkening
    assert 0.7 < np.sqrt(np.mean(pulls**2)) < 1.4
    assert json.loads(invoke("score", out, dataset / "train.csv", "--json").stdout)["before"]["score"] > 0.1


def test_a_run_recalibrates_when_predictions_are_given(
    run_dir: Path, dataset: Path, files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The documented command: products stay as they are, the recalibration is done beside them."""
    common = ("calibrate", "--data", dataset, "--out", run_dir, "runtime.scheduler=sync", "output.cubes=none")
    chosen = ("calib.top_level_calib.method=temperature", "calib.top_level_calib.temperature.per_bin=true")
    refused = invoke(*common, *chosen)
    assert refused.exit_code == 2
    assert "calib.top_level_calib.io.pred_path (or $PRED_PATH)" in refused.stderr
    assert "calib.top_level_calib.io.truth_path (or $TRUTH_PATH)" in refused.stderr
    monkeypatch.setenv("PRED_PATH", str(files / "pred.csv"))
    monkeypatch.setenv("TRUTH_PATH", str(files / "old.csv"))
    result = invoke(*common, *chosen)
    assert result.exit_code == 0, result.output
    assert "0 calibrated, 6 already complete" in result.stdout
    assert "150 planets recalibrated (temperature)" in result.stdout
    for name in ("predictions_calibrated.csv", "predictions_calibrated_intervals.csv", "calibrator.npz", "uncertainty.html"):
        assert (run_dir / name).is_file()
    elsewhere = invoke(*common, *chosen, f"calib.top_level_calib.io.out_path={tmp_path / 'mine.parquet'}")
    assert elsewhere.exit_code == 0, elsewhere.output
    before, after = read_predictions(files / "pred.csv"), read_predictions(tmp_path / "mine.parquet")
    assert (after.sigma > 1.2 * before.sigma).mean() > 0.9
    monkeypatch.setenv("PRED_PATH", str(tmp_path / "nowhere.csv"))
    assert invoke(*common, *chosen).exit_code == 3


@pytest.mark.slow
def test_a_run_with_corel(run_dir: Path, dataset: Path, files: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    io = "calib.top_level_calib.io"
    chosen = ["calib.top_level_calib.method=corel", "corel.model.backend=gatconv", "corel.fit.epochs=1", "corel.ablation=false"]
    paths = [f"{io}.pred_path={files / 'pred.csv'}", f"{io}.truth_path={files / 'old.csv'}"]
    common = ("calibrate", "--data", dataset, "--out", run_dir, "runtime.scheduler=sync", "output.cubes=none")
    result = invoke(*common, *chosen, *paths)
    assert result.exit_code == 0, result.output
    assert "corel works without features: the run lacks 150 of the 150 planets" in result.stdout
    assert "150 planets recalibrated" in result.stdout


def test_recalibration_is_no_part_of_a_product() -> None:
    assert config_hash(load("calib/nominal")) == config_hash(load("calib/nominal", ["calib.top_level_calib.method=temperature"]))
    with pytest.raises(ConfigError, match="contradict each other"):
        load("calib/nominal", ["corel.coverage.target=0.9", "corel.conformal.alpha=0.2"])
    with pytest.raises(ConfigError, match="groups=3 goes with method=split and per_bin=true"):
        load("calib/nominal", ["corel.conformal.groups=3", "corel.conformal.per_bin=false"])
    with pytest.raises(ConfigError, match="pools channels, which a joint band does already"):
        load("calib/nominal", ["corel.conformal.method=joint", "corel.conformal.per_bin=false"])
    with pytest.raises(ConfigError, match="not a multiple of heads"):
        load("calib/nominal", ["corel.model.hidden=9"])
    with pytest.raises(ConfigError, match=r"clamp_T is \[1.0, 0.5\]"):
        load("calib/nominal", ["calib.top_level_calib.temperature.clamp_T=[1.0,0.5]"])


def test_too_few_planets_stop_a_run_before_frames_are_read(dataset: Path, files: Path, tmp_path: Path) -> None:
    predictions, truth = read_predictions(files / "pred.csv"), read_truth(files / "old.csv")
    write_truth(tmp_path / "few.csv", Truth(("absent", *truth.ids[:2]), truth.y[:3]))
    write_predictions(tmp_path / "p.csv", predictions)
    io = "calib.top_level_calib.io"
    overrides = ["runtime.scheduler=sync", "calib.top_level_calib.method=temperature"]
    overrides += [f"{io}.pred_path={tmp_path / 'p.csv'}", f"{io}.truth_path={tmp_path / 'few.csv'}"]
    with pytest.raises(DataError, match="needs at least 5 planets with truth, but there are 2"):
        calibrate(dataset, tmp_path / "r", overrides=overrides)
    assert not (tmp_path / "r").exists()
