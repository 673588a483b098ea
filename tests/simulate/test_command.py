"""`v50calib simulate`: its effects are SimConfig.realistic's, each has a switch, --plain turns all off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from v50calib.cli.main import main
from v50calib.simulate import REALISTIC, SimConfig, read_truth, simulate_dataset

SHORTEST = ("--planets", "1", "--frames-fraction", "0.0004")


def config_of(out: Path, *options: str) -> dict[str, Any]:
    result = CliRunner().invoke(main, ["simulate", str(out), *SHORTEST, *options])
    assert result.exit_code == 0, result.output
    config: dict[str, Any] = read_truth(out)["config"]
    return config


def test_effects_are_on_by_default_at_the_stated_levels(tmp_path: Path) -> None:
    config = config_of(tmp_path / "d")
    assert {name: config[name] for name in REALISTIC} == dict(REALISTIC)
    assert config["low_light"] == SimConfig.low_light


@pytest.mark.parametrize("name", list(REALISTIC))
def test_every_effect_has_a_switch(tmp_path: Path, name: str) -> None:
    word = name.removesuffix("_px").replace("_", "-")
    config = config_of(tmp_path / "d", f"--no-{word}")
    changed = {field for field in REALISTIC if config[field] != REALISTIC[field]}
    assert changed == {name}
    assert not config[name]


def test_plain_is_the_plain_dataset_byte_by_byte_and_keeps_what_is_asked_for(tmp_path: Path) -> None:
    config_of(tmp_path / "plain", "--plain")
    simulate_dataset(tmp_path / "python", planets=1, frames_fraction=0.0004)
    assert (tmp_path / "plain" / "truth.json").read_bytes() == (tmp_path / "python" / "truth.json").read_bytes()
    for path in (tmp_path / "plain").rglob("*_signal_0.parquet"):
        assert path.read_bytes() == (tmp_path / "python" / path.relative_to(tmp_path / "plain")).read_bytes()
    config = config_of(tmp_path / "one", "--plain", "--gain-drift", "2e-3", "--limb-table")
    assert {field for field in REALISTIC if config[field]} == {"gain_drift", "limb_table"}
    assert config["gain_drift"] == 2e-3


def test_other_choices_reach_the_simulator(tmp_path: Path) -> None:
    own = config_of(tmp_path / "a") and tmp_path / "a" / "train.csv"
    options = ("--spectra", str(own), "--brightness", "4", "--full-well", "9e4", "--low-light", "0.02")
    config = config_of(tmp_path / "b", *options)
    assert (config["spectra"], config["brightness"], config["full_well_e"], config["low_light"]) == (str(own), 4.0, 9e4, 0.02)
    assert read_truth(tmp_path / "b")["planets"][0]["depth"] == read_truth(tmp_path / "a")["planets"][0]["depth"]


def test_a_size_and_its_switch_together_are_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["simulate", str(tmp_path / "d"), "--gain-drift", "1e-3", "--no-gain-drift"])
    assert result.exit_code == 2
    assert "contradict" in result.output
