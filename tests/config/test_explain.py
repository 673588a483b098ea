"""What the refusal of a wrong config says: the YAML path, the value seen, what is allowed, the nearest name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, Field, ValidationError
from tests.config.vocabulary import REFUSED, VOCABULARY

from v50calib.config import load, validate
from v50calib.config.explain import explain
from v50calib.config.models import RunConfig
from v50calib.errors import ConfigError
from v50calib.stages.config import Section


def message(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load("calib/nominal", overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("calib.photometry.aperture.radius_pix=8", "did you mean calib.photometry.aperture.radius_px?"),
        ("calib.photometry.radius_px=8", "there is calib.photometry.aperture.radius_px; did you mean that?"),
        ("calib.photometri.photometry.method=auto", "unknown key calib.photometri: did you mean calib.photometry?"),
        ("foo=1", "unknown key foo: the names allowed in the top level are: airs, calib, fgs1, instruments, output, runtime"),
        ("calib.photometry.aperture.radius_px=-1", "calib.photometry.aperture.radius_px must be > 0.0, but it is -1"),
        ("calib.photometry.aperture.radius_px=1e-9", "calib.photometry.aperture: aperture.radius_px=1e-09 px covers no pixel"),
        ("calib.photometry.aperture.ellipse.b_px=0.5", "ellipse.b_px=0.5 px covers no pixel, whose light it should sum: give 0.71 px"),
        ("calib.photometry.aperture.box.height_px=0.9", "box.height_px=0.9 px covers no pixel, whose light it should sum: give 1 px"),
        ("calib.photometry.aperture.radius_px=abc", "must be a number, but it is 'abc' (text)"),
        ("calib.photometry.aperture.radius_px=nan", "must be a number, but it is 'nan' (text)"),
        ("calib.phase.binning.nbins=1.5", "calib.phase.binning.nbins must be a whole number, but it is 1.5"),
        ("calib.dark.enabled=1", "calib.dark.enabled must be true or false, but it is 1"),
        ("calib.photometry=3", "calib.photometry must be a section of keys, but it is 3"),
        ("calib.trace.along_time.decorrelate.vectors=x", "must be a list [a,b], but it is 'x' (text)"),
        ("calib.trace.along_time.decorrelate.vectors=[x,z]", "vectors[1] is 'z' (text): it must be one of: x, y, width, sky"),
        ("calib.photometry.photometry.method=apertur", "did you mean 'aperture'? it must be one of: auto, aperture"),
        ("calib.adc.offset_correction.offset_sign=2", "offset_sign is 2: it must be one of: 1, -1"),
        ("calib.adc.offset_correction.method=global", "calib.adc.offset_correction: "),
    ],
)
def test_a_wrong_key_or_value(override: str, said: str) -> None:
    assert said in message(override)


def test_there_is_no_seed_and_the_message_says_why() -> None:
    assert (
        message("runtime.seed=1") == "there is no key runtime.seed: a run draws no random number, so there is nothing to seed: leave it out"
    )


def test_keys_that_only_frame_stages_have_are_unknown_elsewhere() -> None:
    text = message("calib.photometry.assert_finite_output=true")
    assert text.startswith("unknown key calib.photometry.assert_finite_output: ")
    assert "the names allowed in calib.photometry are: aperture, background, " in text


def test_all_faults_are_reported_at_once() -> None:
    text = message("calib.photometry.aperture.radius_px=-1", "runtime.seed=1")
    assert text.startswith("2 faults in the config: ")
    assert "radius_px must be > 0.0" in text
    assert "there is no key runtime.seed" in text


def test_a_stage_config_on_its_own_is_reported_with_its_path() -> None:
    model = type(RunConfig().calib.photometry)
    with pytest.raises(ValidationError) as caught:
        model.model_validate({"aperture": {"radius_pix": 3.0}})
    text = str(explain(caught.value, model, ("calib", "photometry")))
    assert "did you mean calib.photometry.aperture.radius_px?" in text


class Part(Section):
    size: int | None = Field(default=None, ge=1, le=9)
    kind: Literal["a", "b"] | float = "a"


class Whole(Section):
    need: float
    part: Part | None = None
    parts: list[Part] = []


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({}, "need is missing"),
        ({"need": 1.0, "part": {"size": 10}}, "part.size must be <= 9, but it is 10"),
        ({"need": 1.0, "part": {"kind": "c"}}, "part.kind is 'c' (text): it must be one of: a, b (or a number)"),
        ({"need": 1.0, "parts": [{"size": 0}]}, "parts[0].size must be >= 1, but it is 0"),
        ({"need": 1.0, "parts": [{"siz": 0}]}, "unknown key parts[0].siz: did you mean parts[0].size?"),
        ({"need": {"a": 1}}, "need must be a number, but it is a section with the keys a"),
        ({"need": None}, "need must be a number, but it is null"),
    ],
)
def test_optional_sections_lists_and_unions(tree: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(tree)
    assert said in str(explain(caught.value, Whole))


def words(tree: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    for name, value in tree.items():
        path = (*above, name)
        if isinstance(value, dict):
            yield from words(value, path)
        else:
            yield path, value


def model_choices(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    for name, field in model.model_fields.items():
        path, annotation = (*above, name), field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from model_choices(annotation, path)
        elif get_origin(annotation) is Literal:
            yield path, [value for value in get_args(annotation) if isinstance(value, str)]
        elif get_args(annotation) and get_origin(get_args(annotation)[0]) is Literal:  # list[Literal] or Literal | text
            yield path, list(get_args(get_args(annotation)[0]))


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return value  # type: ignore[no-any-return]


def test_every_choice_of_the_vocabulary_is_accepted() -> None:
    built = dict(model_choices(RunConfig))
    missing = [(path, choice) for path, choices in words(VOCABULARY) for choice in choices if choice not in built.get(path, [])]
    assert missing == []


def test_every_key_of_the_vocabulary_is_known() -> None:
    unknown = set()
    for path, _ in words(VOCABULARY):
        # no key takes this value, so every one of them has something to say
        with pytest.raises(ConfigError) as caught:
            validate(nested(path, object()))
        if re.match(r"unknown key|there is no key", str(caught.value)):
            unknown.add(path)
    assert unknown == REFUSED
