"""Commands on tables that a spreadsheet touched: what cannot be read is told on stderr, the rest goes on, and the exit code is 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from v50calib.cli.main import main
from v50calib.runtime.solution import submission_ids
from v50calib.uncertainty.tables import N_BINS, Predictions, Truth, read_predictions, write_predictions, write_truth


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False)


def test_a_list_of_planets(dataset: Path, tmp_path: Path) -> None:
    planet = min(path.name for path in (dataset / "train").iterdir())
    (tmp_path / "list.csv").write_bytes(f"\ufeffplanet_id;x\r\n1,3e+09;1\r\n{planet},0;1\r\n;\r\n".encode())
    chosen = ("--planets-from", tmp_path / "list.csv", "--limit", 1)
    done = invoke("calibrate", "--data", dataset, "--out", tmp_path / "run", *chosen, "--config-name=calib/fast", "runtime.scheduler=sync")
    assert done.exit_code == 1
    assert "1 calibrated" in done.stdout
    assert "list.csv' line 2 is left out: planet id '1,3e+09' is not valid: it was rounded to 2 of its 10 digits" in done.stderr


def test_ids_as_floats_are_scored_and_not_written_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    ids, mu, sigma = tuple(str(1311275808 + i) for i in range(40)), rng.uniform(0.01, 0.02, (40, N_BINS)), np.full((40, N_BINS), 1e-4)
    write_truth(tmp_path / "train.csv", Truth(ids, mu + sigma * rng.normal(size=mu.shape)))
    write_predictions(tmp_path / "pred.csv", Predictions(ids, mu, sigma))
    pred, model, out = tmp_path / "float.csv", tmp_path / "model.npz", tmp_path / "new.csv"
    lines = [line.replace(",", ".0,", 1) if line[0].isdigit() else line for line in (tmp_path / "pred.csv").read_text().splitlines()]
    pred.write_text("\n".join(lines))
    assert "40 planets" in invoke("score", pred, tmp_path / "train.csv").stdout
    assert invoke("uncertainty", "fit", "--pred", pred, "--truth", tmp_path / "train.csv", "--out", model).exit_code == 0
    assert invoke("uncertainty", "apply", "--model", model, "--pred", pred, "--out", out).exit_code == 0
    assert read_predictions(out).ids == ids
    assert out.read_text().splitlines()[1].startswith("1311275808,")
    lines[3] = lines[3].replace("1311275810.0", "1.31E+09")
    pred.write_text("\n".join(lines))
    done = invoke("uncertainty", "apply", "--model", model, "--pred", pred, "--out", tmp_path / "rest.csv")
    assert done.exit_code == 1
    assert "float.csv' line 4 is left out: planet id '1.31E+09'" in done.stderr
    assert len(read_predictions(tmp_path / "rest.csv").ids) == 39
    assert "in predictions: 1311275810" in invoke("score", pred, tmp_path / "train.csv").stderr


@pytest.mark.parametrize(
    ("text", "order", "words"),
    [
        ("\ufeffplanet_id,wl_1\r\n8.0,1\r\n7,1\r\n,\r\n", ("8", "7"), "in its order"),
        ("planet_id,wl_1\n8,1\n1.3e+09,1\n", ("7", "8"), "line 3 is left out.*the run's 2 planets are written"),
        ("planet_id,wl_1\n", ("7", "8"), "names no planet; the run's 2 planets are written"),
    ],
)
def test_a_sample_submission(tmp_path: Path, text: str, order: tuple[str, ...], words: str) -> None:
    (tmp_path / "sample_submission.csv").write_bytes(text.encode())
    ids, note = submission_ids(tmp_path, ("7", "8"))
    assert ids == order
    assert words.rpartition(".*")[2] in note
