"""Choices that exclude each other are refused by name, and the overrides that the message gives resolve them."""

from __future__ import annotations

import re

import pytest

from v50calib.config import load
from v50calib.config.consistency import frame_units, refuse_inconsistent
from v50calib.errors import ConfigError

FRAMES_ALONE = "calib.photometry.enabled=false calib.trace.enabled=false calib.phase.enabled=false"
#: overrides -> what the message says first, and remedies that it gives, each enough by itself
CASES = {
    "calib.adc.enabled=false": ("calib.adc.enabled=false leaves the frames in ADU", ["calib.adc.enabled=true"]),
    "calib.cds.enabled=false": ("calib.cds.enabled=false leaves single reads", ["calib.cds.enabled=true"]),
    "calib.trace.enabled=false": (
        "calib.phase needs the normalized light curves of calib.trace",
        ["calib.trace.enabled=true", "calib.phase.enabled=false"],
    ),
    "calib.photometry.enabled=false": (
        "calib.trace needs the light curves of calib.photometry",
        ["calib.photometry.enabled=true", "calib.trace.enabled=false calib.phase.enabled=false"],
    ),
    "calib.adc.linearization.method=poly calib.adc.linearization.poly_coeffs=[0.0,1.0]": (
        "calib.adc.linearization.method=poly and calib.nonlinearity.method=auto both correct the detector's response",
        [
            "calib.nonlinearity.enabled=false",
            "calib.adc.linearization.method=none calib.adc.linearization.poly_coeffs=null",
        ],
    ),
    "calib.adc.units_out=ADU": (
        "calib.adc.units_out=ADU, but calib.nonlinearity, calib.dark, calib.photometry take electrons",
        ["calib.adc.units_out=e", f"calib.nonlinearity.enabled=false calib.dark.dark_model.method=none {FRAMES_ALONE}"],
    ),
    (
        "calib.adc.units_out=ADU calib.nonlinearity.enabled=false calib.dark.cosmic_rays.enabled=true calib.dark.dark_model.method=none "
        f"calib.dark.pedestal.enabled=true calib.dark.pedestal.fixed_value=2.0 {FRAMES_ALONE}"
    ): (
        "calib.adc.units_out=ADU, but calib.dark takes electrons",
        ["calib.dark.cosmic_rays.enabled=false calib.dark.pedestal.enabled=false calib.dark.pedestal.fixed_value=null"],
    ),
    "calib.cds.normalization.method=mad": (
        "calib.cds.normalization.method=mad leaves no electrons, and photometry's noise model needs them",
        [FRAMES_ALONE, "calib.cds.normalization.method=none"],
    ),
}


@pytest.mark.parametrize("overrides", CASES)
def test_the_message_names_the_conflict_and_its_remedies_can_be_pasted(overrides: str) -> None:
    begins, remedies = CASES[overrides]
    with pytest.raises(ConfigError) as caught:
        refuse_inconsistent(load("calib/nominal", overrides.split()))
    message = str(caught.value)
    assert message.startswith(begins)
    for remedy in remedies:
        assert remedy in message.partition(begins)[2]
        refuse_inconsistent(load("calib/nominal", [*overrides.split(), *remedy.split()]))


@pytest.mark.parametrize("overrides", CASES)
def test_every_key_of_a_message_is_a_whole_one(overrides: str) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_inconsistent(load("calib/nominal", overrides.split()))
    assert [word for word in re.findall(r"\S+=\S+", str(caught.value)) if not word.lstrip("(").startswith("calib.")] == []


@pytest.mark.parametrize("name", ["fast", "nominal", "strict", "official"])
def test_the_shipped_profiles_are_consistent(name: str) -> None:
    refuse_inconsistent(load(f"calib/{name}"))


@pytest.mark.parametrize(
    ("overrides", "units"),
    [
        ([], "e-"),
        (["calib.adc.units_out=ADU"], "ADU"),
        (["calib.cds.normalization.method=mad"], "sigma"),
        (["calib.cds.normalization.method=global_median"], "1"),
    ],
)
def test_units_of_the_frames(overrides: list[str], units: str) -> None:
    calib = load("calib/nominal", overrides).calib
    assert frame_units(calib.adc, calib.cds) == units
