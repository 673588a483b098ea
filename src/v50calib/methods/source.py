"""What a function does, as a hash: of its source and of what it names in its own module."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np


def digest(*things: Any) -> str:
    """sha256 of functions and classes: their source, and that of the functions, classes and constants of their own package that they name.

    Code without a source (typed into a plain interpreter) counts by its byte code.

    >>> def double(x): return 2 * x
    >>> def triple(x): return 3 * x
    >>> digest(double) == digest(double), digest(double) == digest(triple), len(digest(double))
    (True, False, 64)
    """
    seen: set[int] = set()
    found = hashlib.sha256()
    for thing in things:
        for part in _parts(thing, _home(thing), seen):
            found.update(part.encode() + b"\0")
    return found.hexdigest()


def _home(thing: Any) -> str:
    return str(getattr(thing, "__module__", "")).partition(".")[0]


def _parts(thing: Any, home: str, seen: set[int]) -> Iterator[str]:
    """Text that stands for a value, and for what it names."""
    # a compiled or wrapped function is what it was made of
    thing = inspect.unwrap(getattr(thing, "py_func", thing)) if callable(thing) and not isinstance(thing, type) else thing
    if isinstance(thing, FunctionType | type):
        if id(thing) in seen or _home(thing) != home:
            yield f"{thing.__module__}.{thing.__qualname__}"
            return
        seen.add(id(thing))
        yield _text(thing)
        for function in [thing] if isinstance(thing, FunctionType) else [v for v in vars(thing).values() if isinstance(v, FunctionType)]:
            yield from _named(function, home, seen)
    elif isinstance(thing, ModuleType):
        yield f"module {thing.__name__}"
    elif isinstance(thing, np.ndarray):
        yield f"{thing.dtype} {thing.shape} {hashlib.sha256(np.ascontiguousarray(thing).tobytes()).hexdigest()}"
    elif isinstance(thing, list | tuple):
        for item in thing:
            yield from _parts(item, home, seen)
    elif isinstance(thing, bool | int | float | complex | str | bytes | None):
        yield repr(thing)
    elif isinstance(thing, dict):
        for name, value in thing.items():
            yield repr(name)
            yield from _parts(value, home, seen)
    else:
        yield f"{type(thing).__module__}.{type(thing).__qualname__}"


def _named(function: FunctionType, home: str, seen: set[int]) -> Iterator[str]:
    """What a function names: values of its module and of the functions that it stands in."""
    inside = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
    for name in sorted(_names(function.__code__)):
        if name in inside:
            yield f"{name}:"
            yield from _parts(inside[name].cell_contents, home, seen)
        elif name in function.__globals__:
            yield f"{name}:"
            yield from _parts(function.__globals__[name], home, seen)
    yield from _parts(list(function.__defaults__ or ()), home, seen)


def _names(code: CodeType) -> set[str]:
    found = {*code.co_names, *code.co_freevars}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return found


def _text(thing: FunctionType | type) -> str:
    """The source; without one, of a function its code, of a class its annotations and values."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        if isinstance(thing, FunctionType):
            return _code(thing.__code__)
        plain = {name: value for name, value in vars(thing).items() if isinstance(value, bool | int | float | str)}
        fields = {name: repr(field) for name, field in getattr(thing, "model_fields", {}).items()}
        return f"{thing.__qualname__} {sorted(getattr(thing, '__annotations__', {}).items(), key=str)} {plain} {fields}"


def _code(code: CodeType) -> str:
    constants = [_code(value) if isinstance(value, CodeType) else repr(value) for value in code.co_consts]
    return f"{code.co_code.hex()} {constants} {code.co_names}"
