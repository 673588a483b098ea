"""The registered methods: of notebooks and modules as they register, of installed plug-ins when a name is looked up.

A plug-in is an installed package with an entry point of the group `v50calib.methods` that names the module which registers:

    [project.entry-points."v50calib.methods"]
    ring = "mypackage.ring"
"""

from __future__ import annotations

import difflib
import inspect
import json
import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from v50calib.errors import ConfigError
from v50calib.methods.kinds import CLOSED, KINDS
from v50calib.methods.source import digest

GROUP = "v50calib.methods"
Light = Literal["band", "spectrum"]
Function = TypeVar("Function", bound=Callable[..., Any])

_METHODS: dict[tuple[str, str], Method] = {}
_BROKEN: dict[str, str] = {}
_LOCK = threading.RLock()
#: not the lock above: a thread that imports a plug-in itself registers while another one waits for that import
_LOADING = threading.RLock()


class Options(BaseModel):
    """Parameters of a registered method: subclass it with typed fields; unknown names and wrong types are errors, as in any section."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class OptionsError(ValueError):
    """Parameters that a method does not take: `cause`, of the model `model`."""

    def __init__(self, model: type[BaseModel], cause: ValidationError) -> None:
        super().__init__(str(cause))
        self.model, self.cause = model, cause


@dataclass(frozen=True)
class Method:
    """A registered method: what it is called by, and what it is.

    on       what it works on: the light of a band, of a spectrum
    origin   the distribution and its version, or the module that is of none
    sha256   of its source (`source.digest`)
    installed  workers find it themselves, by its entry point
    """

    kind: str
    name: str
    function: Callable[..., Any]
    options: type[Options] | None
    on: tuple[Light, ...]
    origin: str
    sha256: str
    installed: bool

    def __call__(self, *arguments: Any, given: Mapping[str, Any]) -> Any:
        """What the function gives; given: its parameters as they are in the config."""
        return self.function(*arguments) if self.options is None else self.function(*arguments, _as(self.options, given))

    def array(self, value: Any, shape: tuple[int, ...], dtype: type = np.float64) -> NDArray[Any]:
        """What the function gave as an array of the shape and type that the kind asks for. Raises ConfigError."""
        found = np.asarray(value)
        if found.shape != shape or found.dtype.kind not in ("b" if dtype is bool else "bfiu"):
            raise ConfigError(f"{self} gave an array {found.shape} of {found.dtype}, and must give {shape} of {np.dtype(dtype)}")
        if dtype is not bool and not np.isfinite(found).all():
            raise ConfigError(f"{self} gave {int((~np.isfinite(found)).sum())} values that are not finite: it must give numbers alone")
        return np.ascontiguousarray(found, dtype=dtype)

    @property
    def about(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def identity(self) -> dict[str, str]:
        """What of it decides numbers."""
        return {"kind": self.kind, "name": self.name, "origin": self.origin, "sha256": self.sha256}

    def __str__(self) -> str:
        return f"the registered method calib.{KINDS[self.kind].key}={self.name} ({self.origin})"


def register(
    kind: str, name: str, *, options: type[Options] | None = None, on: Collection[Light] = ("band", "spectrum")
) -> Callable[[Function], Function]:  # fmt: skip
    """Register a function as a method of a stage, chosen as any other: `calib.photometry.background.method=NAME`.

    kind     `photometry.background`, `photometry.photometry`, `dark.cosmic_rays` or `trace.along_time` (`KINDS` has what each is called
             with and must give)
    name     small letters, digits and _
    options  the class of its parameters, which a config gives at `….options`; None: it has none
    on       what light it works on; on the other it is refused before a frame is read (photometry's methods)

    A name that is registered again from the same module (a cell that is run again) is replaced. Raises ConfigError.

    >>> @register("photometry.background", "everywhere")
    ... def everywhere(scene):
    ...     '''Mean of all good pixels.'''
    ...     return scene.good / scene.good.sum()
    >>> find("photometry.background", "everywhere").about
    'Mean of all good pixels.'
    """
    _check_kind(kind)
    _check_name(kind, name)
    if options is not None and not (isinstance(options, type) and issubclass(options, Options)):
        raise ConfigError(f"the options of '{name}' are {options!r}: give a subclass of v50calib.methods.Options")
    if not on or not set(on) <= {"band", "spectrum"}:
        raise ConfigError(f"on={on!r} of '{name}': give ['band'], ['spectrum'] or both")

    def add(function: Function) -> Function:
        _check_arguments(kind, name, function, options)
        module = _module_of(function)
        origin = _distribution_of(module)
        things = (function,) if options is None else (function, options)
        method = Method(kind, name, function, options, tuple(on), origin or f"module {module}", digest(*things), bool(origin))
        install([method])
        return function

    return add


def install(methods: Collection[Method]) -> None:
    """Make methods known in this process, for instance those that came with a task. Raises ConfigError for a name of another module."""
    with _LOCK:
        for method in methods:
            known = _METHODS.get((method.kind, method.name))
            if known is not None and _module_of(known.function) != _module_of(method.function):
                raise ConfigError(
                    f"calib.{KINDS[method.kind].key}={method.name} is registered by {known.origin} already: give the method of "
                    f"{_module_of(method.function)} another name"
                )
            _METHODS[method.kind, method.name] = method


def find(kind: str, name: str) -> Method | None:
    """A registered method; installed plug-ins are imported where it is not known yet. None: there is no such method."""
    if (kind, name) not in _METHODS and name not in KINDS[kind].builtin:
        with _LOADING:
            _load_plugins()
    return _METHODS.get((kind, name))


def known_as(wanted: Mapping[str, str]) -> dict[str, str] | None:
    """Identity of the method that is registered under the kind and name of another's; None: there is none. Imports nothing."""
    with _LOCK:
        method = _METHODS.get((wanted["kind"], wanted["name"]))
    return method.identity if method is not None else None


def method_of(kind: str, name: str) -> Method:
    """The method that a config names. Raises ConfigError where this process has none of that name."""
    found = find(kind, name)
    if found is None:
        told = "".join(f"; {text}" for text in broken())
        raise ConfigError(
            f"calib.{KINDS[kind].key}={name} is not registered in this process: import the module that registers it, or install it as a "
            f"plug-in wherever workers run{told}"
        )
    return found


def names(kind: str) -> list[str]:
    """Names of a kind's registered methods, those of installed plug-ins included."""
    with _LOADING:
        _load_plugins()
    with _LOCK:
        return sorted(name for of, name in _METHODS if of == kind)


def broken() -> list[str]:
    """The plug-ins that could not be imported, and why."""
    return [f"the plug-in {plugin} cannot be imported ({why})" for plugin, why in _BROKEN.items()]


def checked_options(kind: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a method with what is left out. Raises OptionsError, or ValueError where the method takes none."""
    method = find(kind, name)
    if method is None or method.options is None:
        if given:
            whose = f"the registered method {name} has none" if method is not None else f"{name} is built in and has its own section"
            raise ValueError(f"these are parameters of a registered method, and {whose}: leave {', '.join(given)} out")
        return {}
    try:
        return _as(method.options, given).model_dump(mode="json")
    except ValidationError as exc:
        raise OptionsError(method.options, exc) from exc


def _module_of(function: Callable[..., Any]) -> str:
    """The module of a function; a script that a starting worker process runs once more is still the script."""
    module = str(function.__module__)
    return "__main__" if module == "__mp_main__" else module


def _as(options: type[Options], given: Mapping[str, Any]) -> Options:
    """Parameters from what a config holds, which is what JSON can hold: on their way to a worker they are JSON."""
    return options.model_validate_json(json.dumps(given, default=str))


@cache
def _plugins() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))


@cache
def _load_plugins() -> None:
    """Import the modules that the entry points name, once a process."""
    for plugin in _plugins():
        try:
            plugin.load()
        except Exception as exc:  # noqa: BLE001 - a package of someone else's may raise anything
            where = f" of {plugin.dist.name} {plugin.dist.version}" if plugin.dist is not None else ""
            _BROKEN[f"{plugin.name}{where}"] = f"{type(exc).__name__}: {exc}"


def _distribution_of(module: str) -> str:
    """Name and version of the distribution whose entry point registers the methods of a module; empty: none."""
    for plugin in _plugins():
        if plugin.module.partition(".")[0] == module.partition(".")[0] and plugin.dist is not None:
            return f"{plugin.dist.name} {plugin.dist.version}"
    return ""


def _check_kind(kind: str) -> None:
    if kind in KINDS:
        return
    whole = kind.removeprefix("calib.")
    for closed, why in CLOSED.items():
        if whole == closed or whole.startswith(f"{closed}.") or closed.startswith(f"{whole}."):
            raise ConfigError(f"methods of calib.{closed} cannot be registered: {why}. Open are: {', '.join(KINDS)}")
    near = difflib.get_close_matches(whole, KINDS, n=1)
    raise ConfigError(f"there is no kind of method '{kind}': {f'did you mean {near[0]!r}? ' if near else ''}open are: {', '.join(KINDS)}")


def _check_name(kind: str, name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(f"'{name}' is no name of a method: small letters, digits and _, a letter first, as it is typed in an override")
    if name in KINDS[kind].builtin:
        raise ConfigError(f"calib.{KINDS[kind].key}={name} is built in: give your method another name")


def _check_arguments(kind: str, name: str, function: Callable[..., Any], options: type[Options] | None) -> None:
    if not inspect.isfunction(inspect.unwrap(getattr(function, "py_func", function))):
        # nothing else has a source that a hash can be of
        raise ConfigError(f"'{name}' is {function!r}: register a function, for example one that calls it")
    arguments = (*KINDS[kind].arguments, *(("options",) if options is not None else ()))
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as exc:
        raise ConfigError(f"'{name}' is called with ({', '.join(arguments)}), which {function!r} does not take: {exc}") from exc
