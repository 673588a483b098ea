"""What is redone and what is skipped: config, inputs, selections, quarantine, retries."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from v50calib import calibrate
from v50calib.cli.main import main
from v50calib.config import load
from v50calib.errors import ConfigError, DataError, StoreError
from v50calib.io.challenge.root import ChallengeRoot
from v50calib.io.ingestion import ingest
from v50calib.runs import manifest, quarantine, state
from v50calib.runtime import execute
from v50calib.runtime.batch import plan
from v50calib.runtime.bookkeeping import RunSummary
from v50calib.runtime.size import output_bytes

FGS = ["runtime.scheduler=sync", "calib.photometry.instrument.name=FGS1", "runtime.retry_wait_s=0", "output.cubes=none"]


@pytest.fixture
def data(dataset: Path, tmp_path: Path) -> Path:
    """A copy whose tables and signals may be changed; three visits of FGS1."""
    return Path(shutil.copytree(dataset, tmp_path / "data"))


def run(data: Path, out: Path, *overrides: str, **more: Any) -> RunSummary:
    return calibrate(data, out, "calib/official", [*FGS, *overrides], **more)


def counts(summary: RunSummary) -> tuple[int, int, int]:
    return summary.count("done"), summary.count("skipped"), len(summary.failed)


def planets(data: Path) -> list[str]:
    return sorted(p.name for p in (data / "train").iterdir())


def touch_signal(data: Path) -> None:
    path = data / "train" / planets(data)[1] / "FGS1_signal_0.parquet"
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))


def change_star(data: Path) -> None:
    path = data / "train_star_info.csv"
    table = pd.read_csv(path)
    table.loc[table["planet_id"].astype(str) == planets(data)[1], "P"] += 0.5
    table.to_csv(path, index=False)


def change_other_instrument(data: Path) -> None:
    path = data / "train" / planets(data)[1] / "AIRS-CH0_signal_0.parquet"
    os.utime(path, ns=(0, 0))


def change_gain(data: Path) -> None:
    path = data / "adc_info.csv"
    table = pd.read_csv(path)
    table["FGS1_adc_gain"] *= 1.01
    table.to_csv(path, index=False)


def test_what_has_not_changed_is_not_opened(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert counts(run(dataset, tmp_path / "r")) == (3, 0, 0)

    def opened(*_: object) -> None:
        raise AssertionError("a visit was opened")

    monkeypatch.setattr(ChallengeRoot, "open", opened)
    monkeypatch.setattr("v50calib.runtime.batch.check_memory", lambda *_: [])
    assert counts(run(dataset, tmp_path / "r")) == (0, 3, 0)


@pytest.mark.parametrize(("change", "redone"), [(touch_signal, 1), (change_star, 1), (change_other_instrument, 0), (change_gain, 3)])
def test_exactly_the_visits_whose_input_changed_are_redone(data: Path, tmp_path: Path, change: Callable[[Path], None], redone: int) -> None:
    assert counts(run(data, tmp_path / "r")) == (3, 0, 0)
    change(data)
    assert counts(run(data, tmp_path / "r")) == (redone, 3 - redone, 0)
    assert counts(run(data, tmp_path / "r")) == (0, 3, 0)


def test_update_redoes_what_a_new_config_changes_and_can_itself_be_resumed(dataset: Path, tmp_path: Path) -> None:
    run(dataset, tmp_path / "r")
    with pytest.raises(StoreError, match=r"another config.*--update"):
        run(dataset, tmp_path / "r", "calib.phase.binning.nbins=33")
    assert counts(run(dataset, tmp_path / "r", "calib.phase.binning.nbins=33", update=True, limit=1)) == (1, 0, 0)
    # the directory is of the new config now; what is left of the old one is redone without another word
    assert counts(run(dataset, tmp_path / "r", "calib.phase.binning.nbins=33")) == (2, 1, 0)


def test_selections(dataset: Path, tmp_path: Path) -> None:
    first, second = planets(dataset)
    (tmp_path / "list.txt").write_text(f"planet_id\n{first}.0, # two visits\n")
    words = ["calibrate", "--config-name", "calib/official", "--data", str(dataset), "--out", str(tmp_path / "r"), *FGS]

    def said(*options: str) -> str:
        result = CliRunner().invoke(main, [*words, *options], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert said("--dry-run").splitlines()[:2] == ["3 to calibrate (no product)", f"  {first}/0/FGS1: no product"]
    assert not (tmp_path / "r").exists()
    assert said("--only", f"{first}/1").startswith("1 calibrated, 0 already")
    assert said("--planets-from", str(tmp_path / "list.txt")).startswith("1 calibrated, 1 already")
    assert said("--limit", "5").startswith("1 calibrated, 2 already")
    assert said("--dry-run").splitlines() == ["3 to skip (complete)"]
    redo = said("--dry-run", "--overwrite", "--only", f"{second}/0/FGS1").splitlines()
    assert redo[:2] == ["1 to calibrate (overwrite)", f"  {second}/0/FGS1: overwrite"]
    assert re.fullmatch(r"about [\d.]+ MB of products will be written; 'v50calib plan' measures it", redo[2])
    assert len(redo) == 3


@pytest.mark.parametrize(
    ("profile", "more"),
    [
        ("nominal", []),
        ("nominal", ["output.cubes=none"]),
        ("official", []),
        ("fast", ["output.layout=packed"]),
        ("strict", ["output.cubes=full"]),
    ],
)
def test_a_dry_run_says_the_bytes(dataset: Path, tmp_path: Path, profile: str, more: list[str]) -> None:
    """Within a fifth of all that is written of products, metadata included: of short visits these are most of it."""
    config = load(f"calib/{profile}", [*more, "runtime.scheduler=sync"])
    only = [f"{planets(dataset)[0]}/0/{name}" for name in ("AIRS-CH0", "FGS1")]
    expected = output_bytes(plan(dataset, tmp_path / "r", config, only=only))
    calibrate(dataset, tmp_path / "r", config=config, only=only)
    assert expected == pytest.approx(sum(p.stat().st_size for p in (tmp_path / "r/calibrated.zarr").rglob("*") if p.is_file()), rel=0.2)


@pytest.mark.parametrize(
    ("visit", "error", "words"),
    [
        ("1/2/3/4", ConfigError, "write PLANET, PLANET/VISIT"),
        ("../0", DataError, "not valid"),
        ("{first}/x", ConfigError, "names no visit"),
        ("{first}/7", DataError, "nothing to calibrate at '.*/7': the planet has .*/0/FGS1"),
        ("{first}/0/AIRS-CH0", DataError, "nothing to calibrate"),
    ],
)
def test_visits_that_are_not_there(dataset: Path, tmp_path: Path, visit: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        run(dataset, tmp_path / "r", only=[visit.format(first=planets(dataset)[0])])
    assert not (tmp_path / "r").exists()


def test_a_bad_visit_is_held_until_its_input_changes_or_it_is_asked_for(data: Path, tmp_path: Path) -> None:
    path = data / "train" / planets(data)[1] / "FGS1_signal_0.parquet"
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[len(broken) // 4 : len(broken) // 4 + 4000] = bytes(4000)
    path.write_bytes(broken)
    out = tmp_path / "r"
    assert counts(run(data, out)) == (2, 0, 1)
    (label,) = quarantine.load(out)
    assert label == f"{planets(data)[1]}/0/FGS1"
    lines = len(manifest.read_all(out))
    again = run(data, out)
    assert counts(again) == (0, 2, 1)
    assert "in quarantine after 1 attempt" in again.failed[0].error
    assert len(manifest.read_all(out)) == lines
    asked = run(data, out, retry_failed=True)
    assert counts(asked) == (0, 0, 1)
    assert "in quarantine" not in asked.failed[0].error
    path.write_bytes(whole)
    assert counts(run(data, out)) == (1, 2, 0)
    assert quarantine.load(out) == {}
    assert not (out / quarantine.NAME).exists()


def test_a_damaged_visit_of_a_store_is_tried_again_once_it_is_ingested_again(data: Path, tmp_path: Path) -> None:
    """Its content, and so its identity, is what it was before it was damaged."""
    store, out = tmp_path / "raw.zarr", tmp_path / "r"
    assert ingest(data, store).ok
    group = store / "train" / planets(data)[1] / "0" / "FGS1"
    frames = next(p for p in (group / "raw_frames" / "c").rglob("*") if p.is_file())
    content = bytearray(frames.read_bytes())
    content[len(content) // 2] ^= 1
    frames.write_bytes(content)
    assert counts(run(store, out)) == (2, 0, 1)
    again = run(store, out)
    assert counts(again) == (0, 2, 1)
    assert "until its files change or --retry-failed is given" in again.failed[0].error
    shutil.rmtree(group)
    assert ingest(data, store).ok
    assert counts(run(store, out)) == (1, 2, 0)
    assert quarantine.load(out) == {}


class Flaky:
    """run_job that fails `times` times with an error."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.left, self.calls = error, times, 0
        self.real = execute.run_job

    def __call__(self, job: Any) -> Any:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error
        return self.real(job)


def test_what_may_pass_is_tried_again_and_recorded(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "run_job", flaky := Flaky(OSError(5, "Input/output error"), 2))
    assert counts(run(dataset, tmp_path / "r", limit=1)) == (1, 0, 0)
    assert flaky.calls == 3
    assert [(e.state, e.attempts, e.error_type) for e in manifest.read_all(tmp_path / "r")] == [
        ("retry", 1, "OSError"),
        ("retry", 2, "OSError"),
        ("done", 3, ""),
    ]


def test_retries_have_a_limit_and_do_not_hold_the_visit(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "run_job", flaky := Flaky(OSError(5, "Input/output error"), 99))
    assert counts(run(dataset, tmp_path / "r", "runtime.retries=1", limit=1)) == (0, 0, 1)
    assert flaky.calls == 2
    assert quarantine.load(tmp_path / "r") == {}


def test_what_cannot_pass_is_tried_once(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "run_job", flaky := Flaky(DataError("no such map: mend it"), 99))
    assert counts(run(dataset, tmp_path / "r", limit=1)) == (0, 0, 1)
    assert flaky.calls == 1


def test_a_full_disk_stops_the_run(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "run_job", flaky := Flaky(OSError(28, "No space left on device"), 99))
    with pytest.raises(StoreError, match=r"No space left.*every other visit would fail alike"):
        run(dataset, tmp_path / "r")
    assert flaky.calls == 1
    assert quarantine.load(tmp_path / "r") == {}
    assert state.read(tmp_path / "r")["phase"] == "stopped"


def test_secrets_stay_out_of_run_directory(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET_TOKEN", "hunter2hunter2")
    text = "cannot open s3://someone:pass@host/x?token=abcdef with hunter2hunter2"
    monkeypatch.setattr(execute, "run_job", Flaky(DataError(text), 99))
    summary = run(dataset, tmp_path / "r", "runtime.queue.prologue=['export KEY=topsecret']", limit=1)
    kept = "".join(p.read_text() for p in (tmp_path / "r").iterdir() if p.is_file())
    for secret in ("hunter2hunter2", "someone", "abcdef", "topsecret"):
        assert secret not in kept
    assert "cannot open s3://***@host/x?token=***" in summary.failed[0].error
    assert json.loads((tmp_path / "r" / "manifest.jsonl").read_text())["state"] == "failed"
