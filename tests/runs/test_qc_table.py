"""qc.csv: a visit whose product is there has its rows, whatever was tried afterwards."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner

from v50calib.cli.main import main
from v50calib.runs import manifest
from v50calib.runs.manifest import Entry
from v50calib.runs.qc_table import write_table


def make_run(folder: Path) -> list[Entry]:
    """Four visits that are done, with numbers of one stage and committed products."""
    (folder / "config.yaml").write_text(f"config_hash: {'ab' * 32}\n")
    entries = [Entry("7", visit, name, "done", qc={"stages": {"trace": {"rms": 1.0}}}) for visit in (0, 1) for name in ("AIRS-CH0", "FGS1")]
    for entry in entries:
        manifest.append(folder, entry)
        product = folder / "calibrated.zarr" / entry.label
        product.mkdir(parents=True)
        (product / "_COMMIT.json").write_text("{}")
    return entries


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_an_update_that_did_not_end_takes_no_rows(tmp_path: Path) -> None:
    entries = make_run(tmp_path)
    assert write_table(tmp_path, tmp_path / "qc.csv") == 4
    for entry, state in zip(entries, ("interrupted", "failed", "retry", "skipped"), strict=True):
        manifest.append(tmp_path, replace(entry, state=state, qc={}))  # type: ignore[arg-type]
    before = (tmp_path / "qc.csv").read_bytes()
    result = CliRunner().invoke(main, ["qc", str(tmp_path), "--csv", str(tmp_path / "qc.csv")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "qc.csv").read_bytes() == before


def test_a_visit_whose_product_is_gone_has_none(tmp_path: Path) -> None:
    entries = make_run(tmp_path)
    manifest.append(tmp_path, replace(entries[0], state="failed", qc={}))
    (tmp_path / "calibrated.zarr" / entries[0].label / "_COMMIT.json").unlink()
    assert write_table(tmp_path, tmp_path / "qc.csv") == 3
    assert {row["rms"] for row in rows(tmp_path / "qc.csv")} == {"1.0"}
