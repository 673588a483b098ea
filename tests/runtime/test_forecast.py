"""`plan`: what a sample says of a whole run, against the run itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from v50calib import calibrate
from v50calib.cli.main import main
from v50calib.config import load
from v50calib.errors import DataError
from v50calib.io.catalog import scan
from v50calib.io.keys import VisitKey
from v50calib.runtime.forecast import Forecast, Limits, Part, forecast, sample, slots

HERE = ["runtime.scheduler=sync", "output.diagnostics=false"]


def tree_bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def made(**changes: object) -> Forecast:
    parts = [Part("AIRS-CH0", 100, 2, 3.0, 3.5, 10_000_000, 80), Part("FGS1", 100, 2, 1.0, 1.2, 2_000_000, 80)]
    return Forecast(**{"at_once": 4, "processes": 2, "startup_s": 20.0, "peak_bytes": 10**9, "parts": parts, "sample_s": 9.0} | changes)  # type: ignore[arg-type]


def test_extrapolation_is_the_documented_sum() -> None:
    found = made()
    assert found.hours == pytest.approx((20 + (300 + 100) / 4) / 3600, rel=1e-12)
    assert found.out_bytes == 1_200_000_000
    assert found.files == 16_000
    assert found.total_memory == 2 * 10**9


@pytest.mark.parametrize(
    ("limits", "broken"),
    [
        (Limits(), []),
        (Limits(hours=1, out_bytes=2 * 10**9, memory=3 * 10**9), []),
        (Limits(hours=0.03), ["hours"]),
        (Limits(out_bytes=10**9, memory=10**9), ["output", "memory"]),
    ],
)
def test_limits(limits: Limits, broken: list[str]) -> None:
    assert made(limits=limits).broken == broken
    assert made(limits=limits).as_dict()["fits"] is (not broken)


def test_bytes_are_those_of_the_run(dataset: Path, tmp_path: Path) -> None:
    """Products of visits alike differ by compression only: 10 %."""
    config = load("calib/fast", HERE)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = forecast(dataset, config, scratch=scratch)
    assert list(scratch.iterdir()) == []
    assert {p.instrument: p.left for p in found.parts} == {"AIRS-CH0": 3, "FGS1": 3}
    calibrate(dataset, tmp_path / "run", config=config)
    assert found.out_bytes == pytest.approx(tree_bytes(tmp_path / "run" / "calibrated.zarr"), rel=0.1)
    assert found.peak_bytes > 100 * 2**20
    assert 0 < found.hours < 0.1
    # complete visits are not counted
    again = forecast(dataset, config, out=tmp_path / "run")
    assert again.parts == []
    assert again.hours == 0
    assert "every visit is complete" in again.notes[0]


def test_sample_is_spread_and_covers_every_instrument() -> None:
    keys = [VisitKey(f"{planet:03d}", 0, name) for planet in range(100) for name in ("AIRS-CH0", "FGS1")]
    assert [k.planet_id for k in sample(keys, 2)] == ["025", "025", "075", "075"]
    assert sample(keys, 1000) == keys
    lonely = VisitKey("003", 0, "OTHER")
    assert lonely in sample(sorted([*keys, lonely]), 1)


def test_a_queue_is_measured_here_and_said(dataset: Path) -> None:
    config = load("calib/fast", ["compute=slurm", "runtime.num_workers=64", "calib.photometry.instrument.name=FGS1"])
    assert slots(config.runtime) == 64
    found = forecast(dataset, config, visits=1)
    assert found.at_once == 64
    assert any("64 of 'slurm'" in note for note in found.notes)


def test_an_instrument_that_fails_wholly_is_an_error(dataset: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for path in dataset.iterdir():
        if path.name != "train":
            (root / path.name).symlink_to(path)
    folder = min((dataset / "train").iterdir())
    (root / "train" / folder.name).mkdir(parents=True)
    for path in folder.glob("FGS1*_0*"):
        if "signal" not in path.name:
            (root / "train" / folder.name / path.name).symlink_to(path)
    assert len(scan(root)) == 1
    with pytest.raises(DataError, match=r"no visit of FGS1 in the sample could be calibrated.*missing file.*repair that"):
        forecast(root, load("calib/fast", HERE))


def test_command_prints_the_limits_and_fails_where_one_breaks(dataset: Path, tmp_path: Path) -> None:
    line = ["plan", str(dataset), "--profile", "calib/fast", "--visits", "1", "--hours", "9", "--out-limit", "1kB", *HERE]
    result = CliRunner().invoke(main, line, catch_exceptions=False)
    assert result.exit_code == 1
    assert "does NOT fit: output; try output.cubes=none" in result.stdout
    assert "of 9\n" in result.stdout
    result = CliRunner().invoke(main, [*line, "--out-limit", "20GB", "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert said["fits"] is True
    assert said["limits"]["out_bytes"] == 20 * 10**9
    result = CliRunner().invoke(main, [*line, "--out-limit", "plenty"], catch_exceptions=False)
    assert result.exit_code == 2
    assert "--out-limit plenty is not a size: write e.g. 20GB" in result.stderr
