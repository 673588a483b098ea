"""Defaults live in the models: the YAML repeats some for the reader, and must not say anything else."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from v50calib.config import load, validate
from v50calib.config.compose import compose as compose_function
from v50calib.config.models import RunConfig
from v50calib.errors import ConfigError

compose_module = importlib.import_module("v50calib.config.compose")
PROFILES = ("fast", "nominal", "strict", "official")
SHIPPED: Path = compose_module.profiles_dir() / "calib"


def leaves(tree: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from leaves(value, f"{above}.{name}" if above else str(name))
    else:
        yield above, tree


@pytest.mark.parametrize("stage", compose_module.STAGE_FILES)
def test_stage_file_equals_the_model_defaults(stage: str) -> None:
    said = dict(leaves(yaml.safe_load((SHIPPED / f"{stage}.yaml").read_text(encoding="utf-8"))))
    defaults = dict(leaves(getattr(RunConfig().calib, stage).model_dump()))
    assert said
    assert {key: defaults.get(key, "no such key") for key in said} == said


def test_nominal_is_the_defaults() -> None:
    assert load("calib/nominal") == RunConfig()


@pytest.mark.parametrize("name", PROFILES)
def test_profile_validates(name: str) -> None:
    assert load(f"calib/{name}").calib.instrument_name == "all"


@pytest.mark.parametrize("name", ["fast", "strict", "official"])
def test_profile_holds_only_differences(name: str) -> None:
    body = yaml.safe_load((SHIPPED / f"{name}.yaml").read_text(encoding="utf-8"))
    body.pop("defaults")
    base = dict(leaves(RunConfig().model_dump()))
    # a choice that spells out what `auto` would take is a statement, not a repetition
    repeated = [key for key, value in leaves(body) if base[key] == value]
    assert repeated == []


def test_what_the_profiles_turn_on() -> None:
    fast, strict, official = (load(f"calib/{name}") for name in ("fast", "strict", "official"))
    assert fast.calib.photometry.photometry.method == "aperture"
    assert fast.calib.cds.cds.mode == "frame_diff"
    assert strict.output.cubes == "full"
    assert official.calib.nonlinearity.enabled
    assert official.calib.dark.bad_pixel_handling.hot_pixels == "mask"
    assert not load("calib/official", ["calib.nonlinearity.enabled=false"]).calib.nonlinearity.enabled


@pytest.mark.parametrize("name", PROFILES)
def test_a_validated_config_survives_a_round_trip_through_yaml(name: str) -> None:
    config = load(f"calib/{name}")
    assert validate(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))) == config


def test_profiles_are_found_inside_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "site-packages" / "v50calib"
    (installed / "config").mkdir(parents=True)
    (installed / "profiles").symlink_to(SHIPPED.parent)
    monkeypatch.setattr(compose_module, "__file__", str(installed / "config" / "compose.py"))
    assert compose_module.profiles_dir() == installed / "profiles"
    assert validate(compose_function("calib/strict")) == load("calib/strict")


def test_an_installation_without_profiles_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose_module, "__file__", str(tmp_path / "a" / "b" / "config" / "compose.py"))
    with pytest.raises(ConfigError, match="profiles shipped with v50calib are missing"):
        compose_module.profiles_dir()
