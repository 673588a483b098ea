"""Composition: the documented commands, precedence, errors, threads, and an application of Hydra around us."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose as outer_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from v50calib.config import load
from v50calib.config.compose import STAGE_FILES, compose, compose_yaml, list_profiles, profiles_dir
from v50calib.errors import ConfigError

#: as documented; what follows --config-name NAME are overrides and printing switches
COMMANDS = """
spectramind calibrate --config-name calib/nominal
spectramind calibrate --config-name calib/fast
spectramind calibrate --config-name calib/strict
spectramind calibrate --config-name calib/nominal --cfg job --resolve
spectramind calibrate --config-name calib/nominal calib.photometry.photometry.method=aperture calib.photometry.aperture.radius_px=8
spectramind calibrate --config-name calib/nominal calib.trace.along_wavelength.method=spline calib.trace.along_wavelength.spline.knots=12
spectramind calibrate --config-name calib/nominal calib.cds.pairing.order_by=timestamp calib.cds.pairing.policy=nearest calib.cds.pairing.window_s=3.0
spectramind calibrate --config-name calib/nominal calib.photometry.instrument.name=FGS1 calib.photometry.instrument.per_channel=false calib.trace.instrument.name=FGS1
spectramind calibrate --config-name calib/fast calib.photometry.photometry.method=aperture calib.photometry.aperture.radius_px=6 calib.trace.along_time.enabled=false calib.phase.binning.nbins=120
spectramind calibrate --config-name calib/nominal calib.top_level_calib.method=temperature calib.top_level_calib.temperature.per_bin=true
spectramind calibrate --config-name calib/nominal calib.top_level_calib.method=corel corel.model.backend=gatconv corel.fit.epochs=50
""".strip().splitlines()  # noqa: E501 (commands are documented as one line each)


def command(line: str) -> tuple[str, list[str]]:
    words = shlex.split(line)
    name = words[words.index("--config-name") + 1]
    return name, [word for word in words if "=" in word]


def at(tree: dict[str, Any], path: str) -> Any:
    node: Any = tree
    for name in path.split("."):
        node = node[name]
    return node


@pytest.mark.parametrize("line", COMMANDS)
def test_documented_command_composes_and_prints(line: str) -> None:
    name, overrides = command(line)
    tree = compose(name, overrides)
    for override in overrides:
        key, _, text = override.partition("=")
        key = key if key.startswith("calib.") else f"calib.top_level_calib.{key}"
        assert at(tree, key) == yaml.safe_load(text), override
    assert yaml.safe_load(compose_yaml(name, overrides)) == tree


@pytest.mark.parametrize("line", COMMANDS)
def test_documented_command_validates(line: str) -> None:
    load(*command(line))


def test_cds_mode_is_accepted_at_its_short_path() -> None:
    long = compose("calib/nominal", ["calib.cds.cds.mode=frame_diff"])
    assert compose("calib/nominal", ["calib.cds.mode=frame_diff"]) == long
    assert long["calib"]["cds"]["cds"]["mode"] == "frame_diff"


def test_a_key_of_the_model_that_is_not_in_the_yaml_needs_no_plus() -> None:
    assert "runtime" not in compose("calib/nominal")
    assert load("calib/nominal", ["runtime.num_workers=2"]).runtime.num_workers == 2
    assert load("calib/nominal", ["+runtime.num_workers=2"]).runtime.num_workers == 2


def test_nan_may_be_typed_as_a_choice() -> None:
    assert compose("calib/nominal", ["calib.phase.outliers.replace_with=nan"])["calib"]["phase"]["outliers"] == {
        "sigma": 6.0,
        "replace_with": "nan",
    }


def test_overrides_beat_the_profile_and_the_last_one_wins() -> None:
    overrides = ["calib.photometry.photometry.method=optimal", "calib.photometry.photometry.method=auto"]
    assert compose("calib/fast")["calib"]["photometry"]["photometry"]["method"] == "aperture"
    assert compose("calib/fast", overrides)["calib"]["photometry"]["photometry"]["method"] == "auto"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("calib/nominl", "did you mean 'calib/nominal'"),
        ("strict", "did you mean 'calib/strict'"),
        ("calib/xyzzy", "the profiles are: calib/fast, calib/nominal, calib/official, calib/strict"),
        ("calib/adc", "one stage's file, not a profile"),
    ],
)
def test_unknown_profile_names_the_nearest_and_all(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(name)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("calib.photometry.aperture.radius_px", "'calib.photometry.aperture.radius_px' cannot be read as an override"),
        ("calib.adc.x={a:1", "cannot be read as an override"),
        ("calib.photometry.aperture.radius_px=6,8", "gives several values"),
        ("~calib.nothing", "'calib.nothing' does not exist"),
        ("calib/flat=other", "cannot be composed"),
        ("~calib.phase.depths", "nothing would be switched off; write calib.phase.depths.enabled=false"),
        ("~calib.photometry.aperture.radius_px", "what a profile does not give has its default"),
        ("hydra.run.dir=x", "a key of Hydra's own runs"),
        ("+hydra.job.name=x", "a key of Hydra's own runs"),
        ("calib.adc.detector=${oc.env:V50CALIB_NOT_SET}", "Environment variable 'V50CALIB_NOT_SET' not found"),
        ("calib.adc.detector=${calib.nothing}", "'calib.nothing' not found"),
        ("calib.adc.detector=???", "at 'calib.adc.detector'"),
    ],
)
def test_bad_override_is_a_config_error_that_names_it(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose("calib/nominal", [override])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_compute_profiles_stand_for_runtime_keys_and_later_words_win(tmp_path: Path) -> None:
    runtime = compose("calib/nominal", ["runtime.num_workers=3", "compute=slurm", "runtime.queue.memory=9GB"])["runtime"]
    assert (runtime["scheduler"], runtime["num_workers"], runtime["queue"]["memory"]) == ("slurm", 16, "9GB")
    for path in (profiles_dir() / "compute").glob("*.yaml"):
        assert load("calib/fast", [f"compute={path.stem}"]).runtime.scheduler == path.stem
    (tmp_path / "compute").mkdir()
    (tmp_path / "compute" / "mine.yaml").write_text("scheduler: pbs\nqueue: {directives: ['-l a=b, c', \"it's\"]}\n")
    mine = load("calib/nominal", ["compute=mine"], config_dir=tmp_path).runtime
    assert (mine.scheduler, mine.queue.directives) == ("pbs", ["-l a=b, c", "it's"])
    with pytest.raises(ConfigError, match=r"no compute profile 'slrm': did you mean 'slurm'\? there are auto, kubernetes, local, lsf"):
        compose("calib/nominal", ["compute=slrm"])


def test_environment_interpolation(monkeypatch: pytest.MonkeyPatch) -> None:
    override = ["runtime.scheduler='${oc.env:V50CALIB_TEST_SCHEDULER,local}'"]
    assert compose("calib/nominal", override)["runtime"]["scheduler"] == "local"
    monkeypatch.setenv("V50CALIB_TEST_SCHEDULER", "threads")
    assert compose("calib/nominal", override)["runtime"]["scheduler"] == "threads"
    assert "${oc.env:V50CALIB_TEST_SCHEDULER,local}" in compose_yaml("calib/nominal", override, resolve=False)


def test_users_folder_is_searched_first_and_builds_on_the_shipped_profiles(tmp_path: Path) -> None:
    (tmp_path / "my profiles" / "calib").mkdir(parents=True)
    mine = tmp_path / "my profiles"
    (mine / "calib" / "wide.yaml").write_text(
        "# @package _global_\ndefaults: [nominal, _self_]\ncalib: {photometry: {aperture: {radius_px: 9.0}}}\n"
    )
    assert load("calib/wide", config_dir=mine).calib.photometry.aperture.radius_px == 9.0
    assert "calib/wide" in list_profiles(mine)
    (mine / "calib" / "flat.yaml").write_text("flat_model: {method: none}\n")
    assert load("calib/wide", config_dir=mine).calib.flat.flat_model.method == "none"
    # a shipped profile stays what it is
    assert load("calib/nominal", config_dir=mine) == load("calib/nominal")
    (mine / "calib" / "nominal.yaml").write_text("# @package _global_\ndefaults: [cds@calib.cds]\n")
    assert set(compose("calib/nominal", config_dir=mine)["calib"]) == {"cds"}
    with pytest.raises(ConfigError, match="is not a folder"):
        compose("calib/nominal", config_dir=tmp_path / "nowhere")


def test_a_resolved_config_is_a_profile_again(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(compose_yaml("calib/strict"))
    assert compose("config", config_dir=tmp_path) == compose("calib/strict")


def test_many_threads_compose_at_once() -> None:
    def radius(value: int) -> int:
        tree = compose("calib/nominal", [f"calib.photometry.aperture.radius_px={value}"])
        return int(tree["calib"]["photometry"]["aperture"]["radius_px"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(radius, range(1, 17))) == list(range(1, 17))


def test_a_hydra_application_around_us_keeps_its_state(tmp_path: Path) -> None:
    (tmp_path / "outer.yaml").write_text("colour: blue\n")
    with initialize_config_dir(config_dir=str(tmp_path), version_base="1.3"):
        compose("calib/fast")
        with pytest.raises(ConfigError):
            compose("calib/fast", ["~calib.nothing"])
        assert outer_compose("outer").colour == "blue"
    assert not GlobalHydra.instance().is_initialized()


def test_every_stage_has_its_file_and_profiles_are_listed() -> None:
    files = {path.stem for path in (profiles_dir() / "calib").glob("*.yaml")}
    assert files == {*STAGE_FILES, "fast", "nominal", "strict", "official"}
    assert list_profiles() == ["calib/fast", "calib/nominal", "calib/official", "calib/strict"]


@pytest.mark.parametrize("name", ["my profiles", "it's mine", 'a "b" c', "a,b=[c] {d} #1", "ends in \\", "back\\'slash", "é ☃"])
def test_a_folder_of_profiles_with_any_name(tmp_path: Path, name: str) -> None:
    """Its name goes through Hydra's grammar, where quotes, commas and brackets mean something."""
    folder = tmp_path / name
    (folder / "calib").mkdir(parents=True)
    mine = (profiles_dir() / "calib" / "fast.yaml").read_text(encoding="utf-8")
    (folder / "calib" / "mine.yaml").write_text(mine, encoding="utf-8")
    assert compose("calib/mine", (), folder) == compose("calib/fast")
    assert compose("calib/fast", (), folder) == compose("calib/fast")
