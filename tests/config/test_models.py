"""The config models say everything once: meanings of keys, names of variables, order of stages."""

from __future__ import annotations

import importlib
import pickle
import typing
from collections.abc import Iterator

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from v50calib.config import load
from v50calib.config.models import CalibConfig, RunConfig
from v50calib.stages import STAGE_ORDER
from v50calib.stages.config import Io, Section, in_order, needs_its_key


def sections(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in sections(argument)]


def models(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """(path, model) of a section and of every section below it."""
    yield path, model
    for name, field in model.model_fields.items():
        for below in sections(field.annotation):
            yield from models(below, f"{path}.{name}".lstrip("."))


def keys() -> Iterator[tuple[str, FieldInfo]]:
    """(path, field) of every key that is no section."""
    for path, model in models(RunConfig):
        yield from ((f"{path}.{name}", field) for name, field in model.model_fields.items() if not sections(field.annotation))


def test_every_key_says_what_it_means() -> None:
    found = list(keys())
    assert len(found) > 450
    assert [path for path, field in found if not (field.description or "").strip()] == []


def test_meanings_are_one_line_without_a_full_stop() -> None:
    odd = [path for path, field in keys() if (text := field.description or "") != text.strip() or "\n" in text or text.endswith(".")]
    assert odd == []


def test_every_section_says_what_it_is_for() -> None:
    assert sorted({model.__name__ for _, model in models(RunConfig) if not (model.__doc__ or issubclass(model, Io))}) == []


def test_stages_come_in_the_order_in_which_they_run() -> None:
    stages = CalibConfig().stages()
    assert tuple(name for name, _ in stages) == STAGE_ORDER
    assert all(getattr(CalibConfig(), name) == stage for name, stage in stages)


@pytest.mark.parametrize("name", STAGE_ORDER)
def test_the_variables_of_a_stage_are_those_of_its_config(name: str) -> None:
    stage = getattr(importlib.import_module(f"v50calib.stages.{name}"), name.capitalize())
    io = getattr(CalibConfig(), name).io
    assert (io.input_key, io.output_key) == (stage.input_key, stage.output_key)


def test_a_config_may_repeat_the_names_of_variables() -> None:
    assert load("calib/nominal", ["calib.trace.io={input_key:photometry}"]) == load("calib/nominal")


def test_a_config_survives_pickling() -> None:
    config = load("calib/strict")
    assert pickle.loads(pickle.dumps(config)) == config


class Choice(Section):
    method: str = "auto"


class Part(Section):
    low: float | None = None
    high: float | None = None
    path: str | None = None


class Whole(Section):
    choice: Choice = Choice()
    part: Part = Part()


@pytest.mark.parametrize(
    ("method", "path", "fits"), [("auto", None, True), ("file", "a", True), ("file", None, False), ("auto", "a", False)]
)
def test_a_method_and_its_key_come_together(method: str, path: str | None, fits: bool) -> None:
    whole = Whole(choice=Choice(method=method), part=Part(path=path))
    if fits:
        needs_its_key(whole, "choice.method", {"part.path": ("file", "both")})
        return
    with pytest.raises(ValueError, match=rf"'part\.path' goes with choice\.method=file or both, and choice\.method is {method}: give both"):
        needs_its_key(whole, "choice.method", {"part.path": ("file", "both")})


def test_limits_are_in_order() -> None:
    for low, high in ((None, None), (1.0, None), (None, 1.0), (1.0, 2.0)):
        in_order(Part(low=low, high=high), "low", "high")
    with pytest.raises(ValueError, match=r"low=2\.0 must be smaller than high=2\.0"):
        in_order(Part(low=2.0, high=2.0), "low", "high")
