"""Keys of one instrument: composed, checked by the same models, in the hash, and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from v50calib import Pipeline
from v50calib.config import load
from v50calib.config.compose import list_profiles
from v50calib.config.explain import choices_of, key_names, told_by_instrument
from v50calib.config.provenance import config_hash, decisive, own_hashes
from v50calib.errors import ConfigError
from v50calib.runs.directory import product_hash

PSF = "fgs1.photometry.photometry.method=psf"


def test_an_instrument_gets_its_own_keys_and_the_others_those_of_calib() -> None:
    config = load("calib/nominal", [PSF, "calib.phase.binning.nbins=60", "fgs1.phase.binning.nbins=90"])
    fgs1, airs = config.of("FGS1"), config.of("AIRS-CH0")
    assert (fgs1.calib.photometry.photometry.method, airs.calib.photometry.photometry.method) == ("psf", "auto")
    assert (fgs1.calib.phase.binning.nbins, airs.calib.phase.binning.nbins) == (90, 60)
    # everything else is calib's
    same = load("calib/nominal", ["calib.photometry.photometry.method=psf", "calib.phase.binning.nbins=90"])
    assert (fgs1.calib, airs.calib) == (same.calib, config.calib)
    assert fgs1.runtime == config.runtime
    assert fgs1.output == config.output


def test_a_list_is_replaced_and_a_channel_is_over_its_detector() -> None:
    tree = {
        "CAM": {"phase": {"binning": {"nbins": 70}}, "flat": {"enabled": False}},
        "CAM.J": {"phase": {"binning": {"nbins": 80}}},
    }
    config = load("calib/nominal", ["airs.trace.along_time.decorrelate.vectors=[x]"])
    config = type(config).model_validate({"calib": config.calib, "airs": config.airs, "instruments": tree})
    assert config.of("AIRS-CH0").calib.trace.along_time.decorrelate.vectors == ["x"]
    assert [config.of(name).calib.phase.binning.nbins for name in ("CAM.H", "CAM.J", "CAMERA")] == [
        70,
        80,
        config.calib.phase.binning.nbins,
    ]
    assert not config.of("CAM.J").calib.flat.enabled


def test_a_profile_of_ones_own_holds_them_and_may_take_them_back(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [calib/nominal, _self_]\nfgs1: {photometry: {photometry: {method: psf}}}\n"
    )
    (tmp_path / "over.yaml").write_text("fgs1: {photometry: {aperture: {radius_px: 5.0}}}\n")
    assert {"mine", "over"} <= set(list_profiles(tmp_path))
    mine = load("mine", config_dir=tmp_path)
    assert mine.of("FGS1").calib.photometry.photometry.method == "psf"
    assert load("mine", ["~fgs1.photometry.photometry.method"], tmp_path).of("FGS1").calib.photometry.photometry.method != "psf"
    assert config_hash(mine) == config_hash(load("calib/nominal", [PSF]))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("fgs1.photometry.method=psf", "there is fgs1.photometry.photometry.method; did you mean that?"),
        ("fgs1.photometri.photometry.method=psf", "did you mean fgs1.photometry?"),
        ("fgs.photometry.photometry.method=psf", "unknown key fgs: did you mean fgs1?"),
        ("fgs1.photometry.photometry.method=pfs", "fgs1.photometry.photometry.method is 'pfs' (text): did you mean 'psf'?"),
        ("airs.photometry.aperture.radius_px=-1", "airs.photometry.aperture.radius_px must be > 0.0, but it is -1"),
        ("instruments.CAM.photometry.method=psf", "there is instruments.CAM.photometry.photometry.method"),
        ("instruments.FGS1.photometry.photometry.method=psf", "write fgs1.… in place of instruments.FGS1.…"),
        ("fgs1.adc.offset_correction.method=global", "fgs1.adc.offset_correction: "),
        ("fgs1=3", "fgs1 must be a section of keys, but it is 3"),
        ("fgs1.photometry.instrument.name=FGS1", "cannot differ by instrument (it chooses the run's instruments): give calib."),
        ("airs.phase.depths.planet=false", "it joins a planet's instruments in one fit"),
        ("airs.top_level_calib.method=none", "it is of predictions for both instruments"),
        ("calib.photometry.method=psf", "there is calib.photometry.photometry.method; did you mean that?"),
    ],
)
def test_a_wrong_key_or_value_is_told_at_its_place(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("calib/nominal", [override])
    assert said in str(caught.value)


def test_what_the_rest_of_the_config_forbids_names_the_instrument() -> None:
    with pytest.raises(ConfigError, match=r"^airs \(over calib, for AIRS-CH0\): .*output.cubes=none makes none"):
        load("calib/nominal", ["output.cubes=none", "airs.trace.along_time.decorrelate.vectors=[width]"])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["fgs1.photometry.photometry.method=optimal"], "^FGS1: fgs1.photometry.photometry.method=optimal extracts a spectrum"),
        (["airs.photometry.photometry.method=psf"], "^AIRS-CH0: airs.photometry.photometry.method=psf fits a point source"),
        (["fgs1.trace.enabled=false"], "^FGS1: calib.phase needs .* and fgs1.trace.enabled=false: set fgs1.trace.enabled=true"),
    ],
)
def test_what_an_instrument_cannot_have_is_refused_before_there_are_data(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Pipeline.from_profile("calib/nominal", overrides=overrides)


def test_names_as_the_instruments_are_called_and_short_keys() -> None:
    config = load("calib/nominal", ["FGS1.cds.mode=frame_diff", "AIRS-CH0.phase.binning.nbins=77"])
    assert config.of("FGS1").calib.cds.cds.mode == "frame_diff"
    assert config.of("AIRS-CH0").calib.phase.binning.nbins == 77


def test_the_hash_has_what_instruments_get_not_how_it_is_written() -> None:
    plain, own = load("calib/nominal"), load("calib/nominal", [PSF])
    assert config_hash(own) != config_hash(plain) == config_hash(own.of("AIRS-CH0"))
    assert own_hashes(own) == {"FGS1": config_hash(load("calib/nominal", ["calib.photometry.photometry.method=psf"]))}
    assert config_hash(load("calib/nominal", ["fgs1.photometry.photometry.method=auto"])) == config_hash(plain)
    assert json.loads(decisive(own.of("FGS1")))["calib"]["photometry"]["photometry"]["method"] == "psf"
    mark = {"config_hash": "run", "product_hashes": {"": "rest", "CAM": "c", "CAM.J": "j"}}
    assert [product_hash(mark, name) for name in ("FGS1", "CAM.H", "CAM.J")] == ["rest", "c", "j"]


def test_a_job_carries_them() -> None:
    from v50calib.io.keys import VisitKey
    from v50calib.runtime.job import Job, packed

    config = load("calib/nominal", [PSF, "airs.photometry.aperture.radius_px=8"])
    fgs1, airs = (Job("a", "b", VisitKey("1", 0, name, "train"), packed(config)).config for name in ("FGS1", "AIRS-CH0"))
    assert fgs1.model_dump() == config.of("FGS1").model_dump()
    assert airs.model_dump() == config.of("AIRS-CH0").model_dump()


def test_completion_and_the_printed_config_know_them() -> None:
    assert "fgs1.photometry.photometry.method" in key_names()
    assert "airs.photometry.psf.mode" in key_names()
    assert choices_of("fgs1.photometry.photometry.method") == choices_of("calib.photometry.photometry.method")
    assert choices_of("instruments.CAM.flat.enabled") == ["true", "false"]
    assert told_by_instrument(load("calib/nominal")) == []
    assert told_by_instrument(load("calib/nominal", [PSF, "airs.phase.binning.nbins=1000"]))[:2] == [
        "FGS1 gets calib, but", "  calib.photometry.photometry.method: psf (calib: auto)",
    ]  # fmt: skip
