"""One visit's bad map fails that visit alone and is named; a reason that every visit has stops the run at a stated number."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from v50calib import calibrate
from v50calib.cli.main import main
from v50calib.config import load
from v50calib.errors import ClusterError, ConfigError, DataError, V50CalibError
from v50calib.io import ingest
from v50calib.io.keys import VisitKey
from v50calib.runs import manifest, quarantine, state
from v50calib.runtime import execute, memory
from v50calib.runtime.bookkeeping import RunSummary
from v50calib.runtime.failures import Alike, Failure
from v50calib.runtime.job import Job, packed
from v50calib.simulate import simulate_dataset


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two planets of the 2024 layout, whose ADC table has a row a planet."""
    root = tmp_path_factory.mktemp("adc") / "data"
    return simulate_dataset(root, planets=2, frames_fraction=0.004, seed=5, layout="2024")


def planets(data: Path) -> list[str]:
    return sorted(p.name for p in (data / "train").iterdir())


def run(data: Path, out: Path, instrument: str = "FGS1", profile: str = "fast", *overrides: str) -> RunSummary:
    given = ["runtime.scheduler=sync", f"calib.photometry.instrument.name={instrument}", "runtime.retry_wait_s=0", *overrides]
    return calibrate(data, out, f"calib/{profile}", given)


def spoil(data: Path, instrument: str, name: str) -> None:
    (path,) = (data / "train" / planets(data)[0]).glob(f"{instrument}_calibration*0/{name}.parquet")
    table = pd.read_parquet(path)
    table[:] = True if name == "dead" else 0.0
    table.to_parquet(path)


@pytest.mark.parametrize(
    ("instrument", "name", "profile", "words"),
    [
        ("FGS1", "dead", "fast", "dead.parquet says that all 1024 pixels are dead"),
        ("FGS1", "flat", "fast", "map `flat` is not above 0 in 1024 of 1024 pixels"),
        ("AIRS-CH0", "dead", "nominal", "dead.parquet says that all 11392 pixels are dead"),
        ("AIRS-CH0", "flat", "nominal", "map `flat` is not above 0 in 9024 of 9024 pixels"),
        ("AIRS-CH0", "dead", "official", "dead.parquet says that all 11392 pixels are dead"),
    ],
)
def test_a_spoiled_map_fails_its_visit_alone_and_is_named(
    dataset: Path, tmp_path: Path, instrument: str, name: str, profile: str, words: str
) -> None:
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    spoil(data, instrument, name)
    for _ in range(2):
        summary = run(data, tmp_path / "r", instrument, profile)
        assert summary.count("done") + summary.count("skipped") == 2
        (failed,) = summary.failed
        assert failed.label == f"{planets(data)[0]}/0/{instrument}"
        assert words in failed.error
        assert "every other visit" not in failed.error
    assert list(quarantine.load(tmp_path / "r")) == [failed.label]


@pytest.mark.parametrize("value", [0.0, -0.4, float("nan")])
@pytest.mark.parametrize("kind", ["files", "store"])
def test_a_planets_gain_fails_its_visits_alone(tables: Path, tmp_path: Path, value: float, kind: str) -> None:
    data = Path(shutil.copytree(tables, tmp_path / "data"))
    path = data / "train_adc_info.csv"
    table = pd.read_csv(path)
    bad = table["planet_id"].astype(str) == planets(data)[0]
    table.loc[bad, [c for c in table if "gain" in c and "FGS1" in c]] = value
    table.to_csv(path, index=False)
    if kind == "store":
        failed = ingest(data, tmp_path / "raw.zarr").failed
        # what cannot be a number is refused where the files are read
        data = tmp_path / "raw.zarr" if not failed else data
    summary = run(data, tmp_path / "r")
    assert (summary.count("done"), len(summary.failed)) == (1, 1)
    assert "gain" in summary.failed[0].error
    assert list(quarantine.load(tmp_path / "r")) == [summary.failed[0].label]


def test_a_map_that_is_not_used_refuses_nothing(dataset: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    spoil(data, "FGS1", "flat")
    assert run(data, tmp_path / "r", "FGS1", "fast", "calib.flat.enabled=false").count("done") == 3


def test_a_mostly_spoiled_map_is_named_beside_the_error_it_led_to(dataset: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    (path,) = (data / "train" / planets(data)[0]).glob("FGS1_calibration_0/dead.parquet")
    table = pd.read_parquet(path)
    table[:] = True
    table.iloc[0, 0] = False
    table.to_parquet(path)
    (failed,) = run(data, tmp_path / "r").failed
    assert "map `dead` marks 1023 of 1024 pixels as dead: look at that map first" in failed.error


class Failing:
    """run_job that always fails, with a text of the visit's own."""

    def __init__(self, error: type[Exception], spare: str = "") -> None:
        self.error, self.spare, self.calls = error, spare, 0
        self.real = execute.run_job

    def __call__(self, job: Job) -> Any:
        self.calls += 1
        if self.spare and self.spare in job.key.label:
            return self.real(job)
        raise self.error(f"{job.key}: no row in table.csv, {self.calls} looked for")


@pytest.mark.parametrize("error", [ConfigError, DataError, ValueError])
def test_a_reason_of_every_visit_stops_the_run(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    monkeypatch.setattr(execute, "run_job", failing := Failing(error))
    said = r"^2 visits in a row failed for one reason.*runtime\.failures_alike=2\).*no row in table\.csv"
    with pytest.raises(V50CalibError, match=said):
        run(dataset, tmp_path / "r", "FGS1", "fast", "runtime.failures_alike=2")
    assert failing.calls == 2
    assert [e.state for e in manifest.read(tmp_path / "r")] == ["failed", "failed"]
    assert state.read(tmp_path / "r")["phase"] == "stopped"
    # it was no fault of theirs: once the cause is mended, the same command does them
    assert quarantine.load(tmp_path / "r") == {}
    monkeypatch.setattr(execute, "run_job", failing.real)
    assert run(dataset, tmp_path / "r", "FGS1", "fast", "runtime.failures_alike=2").count("done") == 3


def test_other_visits_that_are_done_keep_the_run_going(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "run_job", Failing(DataError, spare="/1/"))
    assert len(run(dataset, tmp_path / "r", "FGS1", "fast", "runtime.failures_alike=2").failed) == 2
    monkeypatch.setattr(execute, "run_job", Failing(DataError))
    assert len(run(dataset, tmp_path / "s", "FGS1", "fast", "runtime.failures_alike=null").failed) == 3


def test_reasons_are_one_whatever_their_visits_and_numbers() -> None:
    alike = Alike(2)
    keys = [VisitKey(str(i), 0, "FGS1") for i in range(1000, 1004)]
    assert alike.add(keys[0], Failure("give_up", "planet 1000: chi2 is 3.1e+02", "DataError", "")) == []
    assert alike.add(keys[1], Failure("give_up", "planet 1001: flat is cut", "DataError", "")) == []
    assert alike.add(keys[2], Failure("give_up", "planet 1002: chi2 is nan", "DataError", "")) == ["1000/0/FGS1", "1002/0/FGS1"]
    alike.done()
    assert alike.add(keys[3], Failure("give_up", "planet 1003: chi2 is 7", "DataError", "")) == []


def test_the_check_of_memory_opens_a_few_visits_only(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 visits none of which can be opened: known after 20 of each instrument."""
    config = load("calib/fast")
    jobs = [Job(str(dataset), "unused", VisitKey(str(i), 0, name), packed(config)) for i in range(5000) for name in ("FGS1", "AIRS-CH0")]
    opened: list[VisitKey] = []

    def cannot(job: Job, _root: object) -> None:
        opened.append(job.key)
        raise DataError("cut")

    monkeypatch.setattr(memory, "projected", cannot)
    assert memory.check_memory(config, jobs) == []
    assert len(opened) == 40
    assert opened[0].planet_id == "0"
    assert int(opened[-1].planet_id) > 4000


def test_the_end_of_a_run_names_twenty_failures_and_counts_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [manifest.Entry(str(i), 0, "FGS1", "failed", error="flat is cut") for i in range(4044)]
    monkeypatch.setattr("v50calib.runtime.batch.calibrate", lambda *_, **__: RunSummary(tmp_path, entries))
    result = CliRunner().invoke(main, ["calibrate", "--data", str(tmp_path), "--out", str(tmp_path / "r")])
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 21
    assert lines[-1].startswith("and 4024 more failed: 'v50calib status")


def test_workers_that_die_of_every_visit_are_the_clusters_fault() -> None:
    from v50calib.runtime.bookkeeping import _everyones

    assert isinstance(_everyones(Failure("retry", "4 workers died", "KilledWorker", ""), 20), ClusterError)


@pytest.mark.parametrize("scale", [100.0, 1e-3])
def test_a_flat_in_other_units_is_refused(scale: float, dataset: Path, tmp_path: Path) -> None:
    """Electrons 100 times as few have another noise than the model's, and depths that are off by sigmas; normalized they are right."""
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    (path,) = (data / "train" / planets(data)[0]).glob("FGS1_calibration_0/flat.parquet")
    (pd.read_parquet(path) * scale).to_parquet(path)
    (failed,) = run(data, tmp_path / "r").failed
    assert "the flat's usual value is" in failed.error
    assert "renormalize_to_mean_one=true" in failed.error
    assert not run(data, tmp_path / "n", "FGS1", "fast", "calib.flat.flat_model.renormalize_to_mean_one=true").failed
