"""A run that works says what it did and nothing else: rate, order of quality numbers, no words of closed connections."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from distributed.comm import CommClosedError

from v50calib.cli.main import main
from v50calib.cli.progress import run_progress
from v50calib.config.models import CalibConfig
from v50calib.runs import manifest, qc_table
from v50calib.runs.manifest import Entry
from v50calib.runtime.cluster import _quiet_end


def test_the_rate_is_of_the_visits_that_are_calibrated(capsys: pytest.CaptureFixture[str]) -> None:
    with run_progress() as step:
        for i in range(1000):
            step(Entry("1", i, "FGS1", "skipped"), i + 1, 1002)
        assert capsys.readouterr().err == ""
        step(Entry("2", 0, "FGS1", "done", 3.0), 1001, 1002)
    said = capsys.readouterr().err
    assert said.startswith("calibrate 1/2 2/0/FGS1 done 3.0 s (")


def stored(run: Path) -> None:
    numbers = {name: {"notes": 0, "low": 1.0} for name in ("trace", "adc", "photometry", "cds")}
    numbers["flat"] = {"notes": 0}
    numbers["dark"] = {"notes": 2, "saturated": float("nan")}
    run.mkdir()
    manifest.append(run, Entry("1", 0, "FGS1", "done", 1.0, qc={"stages": numbers}))


def test_quality_numbers_are_in_the_order_of_the_chain_without_empty_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path / "r")
    chain = [name for name in CalibConfig.model_fields if name in ("trace", "adc", "photometry", "cds", "flat", "dark")]
    assert [row["stage"] for row in qc_table.qc_rows(tmp_path / "r")] == chain
    monkeypatch.setattr("v50calib.runs.directory.refuse_other_directory", lambda _: None)
    said = CliRunner().invoke(main, ["qc", str(tmp_path / "r")], catch_exceptions=False).stdout
    assert re.findall(r"(\w+), FGS1: 1 visits", said) == [name for name in chain if name != "flat"]
    assert "saturated" not in said
    assert len(re.findall(r"│ notes", said)) == 1


def test_connections_that_end_after_the_work_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("distributed.core")

    def cut() -> None:
        try:
            raise CommClosedError("in <TCP>: Stream is closed")
        except CommClosedError:
            logger.exception("Lost connection")

    with _quiet_end() as ending:
        cut()
        assert len(caplog.records) == 1, "before the end it may be the cause of a failure"
        ending()
        cut()
        logger.warning("disk is full")
    cut()
    assert [record.getMessage() for record in caplog.records] == ["Lost connection", "disk is full", "Lost connection"]
