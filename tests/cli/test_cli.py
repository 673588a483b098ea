"""The command line as a user meets it: help, the commands of the plan, and bad input, each with one clear paragraph."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from v50calib.cli.main import main
from v50calib.config.compose import compose_yaml


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False)


def planet_folder(root: Path) -> Path:
    return min((root / "train").iterdir())


@pytest.fixture
def data(dataset: Path, tmp_path: Path) -> Path:
    """A copy that may be spoiled: the first planet's visit 0 only."""
    root = tmp_path / "data"
    shutil.copytree(dataset, root)
    first, *others = sorted((root / "train").iterdir())
    for other in others:
        shutil.rmtree(other)
    for name in first.glob("*_1*"):
        shutil.rmtree(name) if name.is_dir() else name.unlink()
    return root


def remove_signal(root: Path) -> None:
    (planet_folder(root) / "FGS1_signal_0.parquet").unlink()


def remove_map(root: Path) -> None:
    (planet_folder(root) / "FGS1_calibration_0" / "dark.parquet").unlink()


def truncate(root: Path) -> None:
    path = planet_folder(root) / "FGS1_signal_0.parquet"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drop_column(root: Path) -> None:
    path = planet_folder(root) / "FGS1_signal_0.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns([table.column_names[-1]]), path)


def drop_frame(root: Path) -> None:
    path = planet_folder(root) / "FGS1_signal_0.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, table.num_rows - 1), path)


def wrong_map_shape(root: Path) -> None:
    path = planet_folder(root) / "FGS1_calibration_0" / "flat.parquet"
    pq.write_table(pq.read_table(path).slice(0, 31), path)


def nan_map(root: Path) -> None:
    path = planet_folder(root) / "FGS1_calibration_0" / "flat.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.table({n: np.full(32, np.nan) for n in table.column_names}), path)


def adc_without_column(root: Path) -> None:
    path = root / "adc_info.csv"
    pd.read_csv(path).drop(columns=["FGS1_adc_gain"]).to_csv(path, index=False)


SPOILS: list[tuple[Callable[[Path], None], list[str]]] = [
    (remove_signal, ["FGS1_signal_0.parquet", "missing"]),
    (remove_map, ["dark.parquet", "missing"]),
    (truncate, ["FGS1_signal_0.parquet", "download"]),
    (drop_column, ["1023 columns", "1024"]),
    (drop_frame, ["frames", "even"]),
    (wrong_map_shape, ["flat", "31", "32"]),
    (nan_map, ["flat", "NaN"]),
    (adc_without_column, ["FGS1_adc_gain", "column"]),
]


@pytest.mark.parametrize(("spoil", "words"), SPOILS, ids=[s.__name__ for s, _ in SPOILS])
def test_bad_data_is_one_paragraph(data: Path, tmp_path: Path, spoil: Callable[[Path], None], words: list[str]) -> None:
    spoil(data)
    result = invoke("calibrate", "--data", data, "--out", tmp_path / "r", "runtime.scheduler=sync", "calib.photometry.instrument.name=FGS1")
    assert result.exit_code != 0
    text = result.stderr
    for word in words:
        assert word in text, text
    assert "Traceback" not in text
    assert not list((tmp_path / "r").glob("calibrated.zarr/**/zarr.json"))
    assert not list((tmp_path / "r").rglob("*.tmp"))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("calib.photometry.aperture.radius_pxx=8", ["calib.photometry.aperture.radius_pxx", "radius_px"]),
        ("calib.phase.binning.nbins=many", ["calib.phase.binning.nbins", "many"]),
        ("calib.photometry.photometry.method=apertur", ["apertur", "did you mean 'aperture'", "optimal"]),
        ("calib.top_level_calib.method=temperature", ["calib.top_level_calib.io.pred_path", "PRED_PATH", "truth_path", "v50calib spectra"]),
        ("runtime.scheduler=slum", ["'slum' is none of", "slurm", "tcp://HOST:PORT"]),
        ("compute=slum", ["no compute profile 'slum'", "did you mean 'slurm'"]),
        ("runtime.scheduler=tls://127.0.0.1:1", ["runtime.tls.ca"]),
        ("runtime.memory_limit=100MB", ["too little memory", "AIRS-CH0", "95.37 MiB", "runtime.memory_limit"]),
    ],
)
def test_bad_config_names_path_and_remedy(dataset: Path, tmp_path: Path, override: str, words: list[str]) -> None:
    result = invoke("calibrate", "--data", dataset, "--out", tmp_path / "r", override)
    assert result.exit_code == 2
    for word in words:
        assert word in result.stderr, result.stderr
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("words", [(), ("--resolve",)], ids=["as composed", "resolved"])
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("calib.photometry.aperture.radius_pxx=8", "unknown key calib.photometry.aperture.radius_pxx: did you mean"),
        ("calib.phase.binning.nbins=many", "calib.phase.binning.nbins must be a whole number, but it is 'many' (text)"),
        ("runtime.seed=1", "there is no key runtime.seed"),
        ("calib.trace.enabled=false", "calib.phase needs the normalized light curves of calib.trace"),
        ("runtime.memory_limit=${oc.env:V50CALIB_NOT_SET}", "Environment variable 'V50CALIB_NOT_SET' not found"),
    ],
)
def test_a_config_that_a_run_refuses_is_not_printed(words: tuple[str, ...], override: str, said: str) -> None:
    result = invoke("calibrate", "--cfg", "job", *words, override)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_a_good_config_is_printed() -> None:
    result = invoke("calibrate", "--cfg", "job", "--resolve", "calib.phase.binning.nbins=60")
    assert result.exit_code == 0
    assert result.stdout == compose_yaml("calib/nominal", ["calib.phase.binning.nbins=60"])


def test_unknown_planet_names_the_nearest(dataset: Path, tmp_path: Path) -> None:
    known = planet_folder(dataset).name
    result = invoke("calibrate", "--data", dataset, "--out", tmp_path / "r", "--planet", known[:-1])
    assert result.exit_code == 3
    assert f"nearest are {known}" in result.stderr


def test_unwritable_output(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = invoke("calibrate", "--data", dataset, "--out", tmp_path / "file" / "r")
    assert result.exit_code == 4
    assert "cannot make the output directory" in result.stderr


def test_output_of_another_config(data: Path, tmp_path: Path) -> None:
    common = ["calibrate", "--data", data, "--out", tmp_path / "r", "runtime.scheduler=sync", "calib.photometry.instrument.name=FGS1"]
    assert invoke(*common).exit_code == 0
    before = sorted(p.stat().st_mtime_ns for p in (tmp_path / "r").rglob("*"))
    result = invoke(*common, "calib.flat.enabled=false")
    assert result.exit_code == 4
    assert "calib.flat.enabled (true → false)" in result.stderr
    assert "--overwrite" in result.stderr
    assert before == sorted(p.stat().st_mtime_ns for p in (tmp_path / "r").rglob("*"))


def test_missing_root(tmp_path: Path) -> None:
    result = invoke("calibrate", "--data", tmp_path / "nowhere", "--out", tmp_path / "r")
    assert result.exit_code == 3
    assert "nowhere" in result.stderr
    assert not (tmp_path / "r").exists()


def test_summary_beside_the_truth(data: Path, tmp_path: Path) -> None:
    assert invoke("calibrate", "--data", data, "--out", tmp_path / "r", "runtime.scheduler=sync").exit_code == 0
    rows = json.loads(invoke("summary", tmp_path / "r", "--truth", data, "--json").stdout)
    assert [r["instrument"] for r in rows] == ["AIRS-CH0", "FGS1"]
    for row in rows:
        assert abs(row["pull"]) < 4
        assert 0.8 < row["noise_over_limit"] < 1.25
    table = invoke("summary", tmp_path / "r", "--truth", data).stdout
    assert "truth" in table
    assert "noise / limit" in table


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_has_help(command: str) -> None:
    text = invoke(command, "--help").stdout
    assert "Usage:" in text
    assert len(text.splitlines()) > 4
