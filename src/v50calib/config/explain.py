"""Validation of a config, and its faults in the user's terms: YAML path, value seen, what is allowed, what to type."""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from v50calib.config.instruments import SECTIONS, InstrumentKeysError, leaves
from v50calib.config.models import CalibConfig, RunConfig
from v50calib.config.nearest import LIKELY, SHOWN, SURE, nearest_keys, typed_names
from v50calib.config.provenance import methods_of
from v50calib.errors import ConfigError
from v50calib.methods.choice import Registered
from v50calib.methods.kinds import KINDS
from v50calib.methods.registry import OptionsError, broken, names

Path = tuple[str | int, ...]

#: keys that users expect, and why there are none
_NO_KEYS = {"runtime.seed": "a run draws no random number, so there is nothing to seed: leave it out"}
#: pydantic's range constraints as one writes them
_BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
#: pydantic's type errors, in words
_TYPES = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list [a,b]",
    "tuple_type": "a list [a,b]",
    "dict_type": "a section of keys",
    "model_type": "a section of keys",
    "model_attributes_type": "a section of keys",
    "none_required": "null",
    "string_pattern_mismatch": "text of the key's form",
}
#: pydantic's errors of length, in words
_LENGTHS = {"too_short": "at least", "too_long": "at most", "string_too_short": "at least", "string_too_long": "at most"}


def validate(tree: Mapping[str, Any]) -> RunConfig:
    """A RunConfig from plain nested dicts, as `compose` or a run's config.yaml gives them. Raises ConfigError.

    >>> validate({"calib": {"phase": {"binning": {"nbins": 60}}}}).calib.phase.binning.nbins
    60
    """
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as exc:
        raise explain(exc, RunConfig) from exc


def explain(error: ValidationError, model: type[BaseModel], prefix: Sequence[str] = ()) -> ConfigError:
    """The ConfigError for a failed validation of `model`; raise it `from error`.

    prefix  YAML path at which `model` sits, e.g. ("calib", "photometry") for one stage's config.

    One sentence for each fault, in the order of the YAML.
    """
    faults = list(dict.fromkeys(_faults(error, model, tuple(prefix))))
    head = f"{len(faults)} faults in the config: " if len(faults) > 1 else ""
    return ConfigError(head + "; ".join(faults))


def told_methods(config: RunConfig) -> list[str]:
    """The registered methods of a config, a line each: where they are from, and what of them is in the hash."""
    return [
        f"calib.{KINDS[m.kind].key}: {m.name} is registered by {m.origin}, sha256 {m.sha256[:12]}" + (f": {m.about}" if m.about else "")
        for m in methods_of(config)
    ]


def _faults(error: ValidationError, model: type[BaseModel], prefix: tuple[str, ...]) -> Iterator[str]:
    """A sentence for each fault."""
    for item in _merged(error):
        cause = (item.get("ctx") or {}).get("error")
        if isinstance(cause, OptionsError):
            yield from _faults(cause.cause, cause.model, (*prefix, *map(str, item["loc"])))
        elif isinstance(cause, InstrumentKeysError):
            yield from _faults_of_instrument(cause)
        else:
            yield _sentence(item, model, prefix)


def _faults_of_instrument(error: InstrumentKeysError) -> Iterator[str]:
    """Faults of the keys of one instrument, at their place in the config."""
    cause = error.cause
    if not isinstance(cause, ValidationError):
        yield str(cause)
    elif cause.title == CalibConfig.__name__:
        yield from _faults(cause, CalibConfig, tuple(error.section.split(".")))
    else:
        yield from (f"{error.section} (over calib, for {error.instrument}): {fault}" for fault in _faults(cause, RunConfig, ()))


def section_keys(model: type[BaseModel], path: Path) -> list[str]:
    """Names allowed in the section at `path` below `model`; empty where the path is not a section."""
    return sorted({name for section in _models_at(model, path) for name in section.model_fields})


def key_names() -> list[str]:
    """Every key of a config that takes a value, as it is typed.

    >>> "calib.phase.binning.nbins" in key_names(), "calib.phase.binning" in key_names(), "fgs1.phase.binning.nbins" in key_names()
    (True, False, True)
    """
    keys = [
        _dotted(path) for path in _all_keys(RunConfig) if path[0] not in (*SECTIONS, "instruments") and not section_keys(RunConfig, path)
    ]
    below_calib = [key.partition(".")[2] for key in keys if key.startswith("calib.")]
    return [*keys, *(f"{section}.{key}" for section in SECTIONS for key in below_calib)]


def told_by_instrument(config: RunConfig) -> list[str]:
    """What instruments with keys of their own get in place of `calib`'s values, a line for each key; the shared part first.

    >>> for line in told_by_instrument(validate({"fgs1": {"flat": {"enabled": False}}})):
    ...     print(line)
    FGS1 gets calib, but
      calib.flat.enabled: false (calib: true)
    """
    lines: list[str] = []
    base = dict(leaves(config.calib.model_dump(mode="json")))
    for name in config.by_instrument:
        own = [(key, value) for key, value in leaves(config.of(name).calib.model_dump(mode="json")) if base.get(key) != value]
        lines.append(f"{name} gets calib, but" if own else f"{name} gets calib as it is: its own keys have the same values")
        lines += [f"  calib.{key}: {_plain(value)} (calib: {_plain(base.get(key))})" for key, value in own]
    return lines


def choices_of(key: str) -> list[str]:
    """The named values that a key takes, as they are typed; none for a key that takes any number or text.

    >>> choices_of("output.cubes"), choices_of("calib.flat.enabled")
    (['none', 'binned', 'full', 'both'], ['true', 'false'])
    """
    annotation = _annotation(RunConfig, tuple(key.split(".")))
    flags = ["true", "false"] if annotation is bool else []
    return [_shown(value) if isinstance(value, bool) else str(value) for value in _literals(annotation)] or flags


def _merged(error: ValidationError) -> Iterator[dict[str, Any]]:
    """pydantic's items, one for each key: a key of several types (int | None, …) gives one for each of them."""
    seen: dict[Path, dict[str, Any]] = {}
    for raw in error.errors(include_url=False):
        item: dict[str, Any] = {**raw}
        loc = _yaml_path(item["loc"], unknown=item["type"] == "extra_forbidden")
        known = seen.get(loc)
        if known is None:
            seen[loc] = {**item, "loc": loc, "alternatives": [item]}
        else:
            known["alternatives"].append(item)
    yield from seen.values()


def _yaml_path(loc: Path, *, unknown: bool) -> Path:
    """pydantic's `loc` without the members of unions that it names; the last name of an unknown key is a user's, whatever it is."""
    end = len(loc) - 1 if unknown else len(loc)
    return tuple(part for part in loc[:end] if not _is_branch(part)) + loc[end:]


def _is_branch(part: str | int) -> bool:
    """Whether pydantic put this into `loc` to name a member of a union, not a YAML key: a type, or what is no name, as `list[int]`."""
    return isinstance(part, str) and (part in {"int", "float", "str", "bool", "none"} or not part.isidentifier())


def _sentence(item: Mapping[str, Any], model: type[BaseModel], prefix: tuple[str, ...]) -> str:
    loc: Path = item["loc"]
    full: Path = (*prefix, *loc)
    kind = item["type"]
    if kind == "extra_forbidden":
        return _unknown_key(full, loc, model, item["input"])
    if kind == "missing":
        return f"{_dotted(full)} is missing; give it a value"
    choices = [alternative for alternative in item["alternatives"] if alternative["type"] == "literal_error"]
    if choices:
        return _unknown_choice(full, item["input"], _literals(_annotation(model, loc)), _also(item))
    if kind == "value_error":
        where = _dotted(full) if full else "the config"
        return f"{where}: {item['ctx']['error']}"
    return f"{_dotted(full)} must be {_wanted(item)}{_example(model, loc, item)}, but it is {_shown(item['input'])}"


def _unknown_key(full: Path, loc: Path, model: type[BaseModel], value: object) -> str:
    allowed = section_keys(model, loc[:-1])
    section = _dotted(full[:-1]) or "the top level"
    if reason := _NO_KEYS.get(_dotted(full)):
        return f"there is no key {_dotted(full)}: {reason}"
    prefix = full[: len(full) - len(loc)]
    typed = typed_names(full, value)
    hint = _meant(full, typed, allowed, [(*map(str, prefix), *path) for path in _all_keys(model)])
    return f"unknown key {_dotted(full)}: {hint}the names allowed in {section} are: {', '.join(allowed) or 'none'}"


def _meant(full: Path, typed: tuple[str, ...], allowed: Sequence[str], keys: Sequence[tuple[str, ...]]) -> str:
    """'did you mean …? ': almost the same name in the section, else a key of that last name elsewhere, else what is like it."""
    for cutoff in (SURE, LIKELY):
        near = difflib.get_close_matches(str(full[-1]), allowed, n=1, cutoff=cutoff)
        if near:
            return f"did you mean {_dotted((*full[:-1], near[0]))}? "
        found = [_dotted(key) for key in nearest_keys(typed, keys)] if cutoff == SURE else []
        if len(found) == 1:
            return f"there is {found[0]}; did you mean that? "
        if 1 < len(found) <= SHOWN:
            return f"did you mean one of {', '.join(found)}? "
    return ""


def _unknown_choice(full: Path, value: object, available: list[Any], also: str) -> str:
    names = [str(choice) for choice in available]
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'? " if near else ""
    also += "".join(f"; {text}" for text in broken())
    return f"{_dotted(full)} is {_shown(value)}: {hint}it must be one of: {', '.join(names)}{also}"


def _also(item: Mapping[str, Any]) -> str:
    """Types accepted beside the named choices."""
    others = [_wanted_one(alternative) for alternative in item["alternatives"] if alternative["type"] != "literal_error"]
    return f" (or {' or '.join(dict.fromkeys(others))})" if others else ""


def _wanted(item: Mapping[str, Any]) -> str:
    return " or ".join(dict.fromkeys(_wanted_one(alternative) for alternative in item["alternatives"]))


def _wanted_one(item: Mapping[str, Any]) -> str:
    context = item.get("ctx") or {}
    bounds = [f"{sign} {context[name]}" for name, sign in _BOUNDS.items() if name in context]
    if bounds:
        return " and ".join(bounds)
    if item["type"] in _TYPES:
        return _TYPES[item["type"]]
    if item["type"] in _LENGTHS:
        limit, thing = context.get("min_length", context.get("max_length")), "values" if item["type"].startswith("too") else "characters"
        return f"of {_LENGTHS[item['type']]} {limit} {thing}"
    # a check that has no words here must not speak in those of its library
    return "a value that this key takes (v50calib calibrate --cfg job shows the one it has)"


def _example(model: type[BaseModel], loc: Path, item: Mapping[str, Any]) -> str:
    """A value as it should be written, for text of a given form: the field's example, or its default."""
    if not any(alternative["type"] == "string_pattern_mismatch" for alternative in item["alternatives"]):
        return ""
    names = [part for part in loc if isinstance(part, str)]
    for owner in _models_at(model, tuple(names[:-1])):
        field = owner.model_fields.get(names[-1])
        if field is not None:
            return f", for example {', '.join(map(str, field.examples or [field.default]))}"
    return ""


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a section with the keys {', '.join(map(str, value)) or '(none)'}"
    if isinstance(value, str):
        return f"'{value}' (text)"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _all_keys(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        path = (*above, name)
        yield path
        for section in _sections(field.annotation):
            yield from _all_keys(section, path)


def _models_at(model: type[BaseModel], path: Path) -> list[type[BaseModel]]:
    models = [model]
    if model is RunConfig and path[:1] == ("instruments",) and len(path) > 1:
        path = ("calib", *path[2:])
    elif model is RunConfig and path and path[0] in SECTIONS:
        path = ("calib", *path[1:])
    for part in path:
        if isinstance(part, int):
            continue
        models = [section for owner in models if part in owner.model_fields for section in _sections(owner.model_fields[part].annotation)]
    return models


def _annotation(model: type[BaseModel], path: Path) -> Any:
    """Annotation of the key at `path`; an item of a list has its list's."""
    names = [part for part in path if isinstance(part, str)]
    for owner in _models_at(model, tuple(names[:-1])):
        if names and names[-1] in owner.model_fields:
            return owner.model_fields[names[-1]].annotation
    return None


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The config models inside an annotation: `Section`, `Section | None`, `dict[str, Section]`, …"""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and not isinstance(annotation, types.GenericAlias):
        return [annotation]
    return [section for argument in typing.get_args(annotation) for section in _sections(argument)]


def _literals(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is Literal:
        return list(typing.get_args(annotation))
    if isinstance(annotation, Registered):
        return list(names(annotation.kind))
    return [value for argument in typing.get_args(annotation) for value in _literals(argument)]
