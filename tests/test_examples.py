"""Examples in docstrings run, and what must have one has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xarray as xr

import v50calib

SOURCE = Path(v50calib.__file__).parent
API = Path(__file__).resolve().parents[1] / "docs" / "reference" / "api.md"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
#: names that examples use without importing them, as their modules mostly do
NAMES = {"np": np, "xr": xr}
#: modules that need an optional package
OPTIONAL = {"v50calib.uncertainty.corel_fit": "torch", "v50calib.uncertainty.corel_net": "torch"}


def module_name(path: Path) -> str:
    parts = ("v50calib", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


#: every module of the package whose source holds an example
WITH_EXAMPLES = [module_name(path) for path in sorted(SOURCE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


def load(name: str) -> ModuleType:
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name])
    return importlib.import_module(name)


def plain(value: Any) -> Any:
    """The function under a Numba dispatcher, which doctest takes for no function; anything else as it is."""
    return getattr(value, "py_func", value)


def examples(module: ModuleType) -> list[doctest.DocTest]:
    """The docstrings of a module that hold examples; these call the compiled functions, by their names in the module."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = finder.find(module, module.__name__)
    for name, value in vars(module).items():
        if plain(value) is not value and plain(value).__module__ == module.__name__:
            found += finder.find(plain(value), f"{module.__name__}.{name}", module=module, globs=dict(vars(module)))
    return [test for test in {test.name: test for test in found}.values() if test.examples]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of_a_module_run(name: str) -> None:
    module = load(name)
    tests = examples(module)
    assert tests, f"{name} has lines with >>> that are in no docstring"
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report: list[str] = []
    for test in tests:
        test.globs = NAMES | test.globs
        runner.run(test, out=report.append)
    assert not report, "".join(report)


# what must have an example

#: a formula, as the docstrings of kernels set it
FORMULA = "``"


def public_functions(module: ModuleType) -> dict[str, Any]:
    """Functions of a module itself, compiled ones included, whose names do not start with `_`."""
    found = {name: plain(value) for name, value in vars(module).items() if not name.startswith("_")}
    return {name: value for name, value in found.items() if inspect.isfunction(value) and value.__module__ == module.__name__}


KERNELS = [module_name(path) for path in sorted((SOURCE / "kernels").glob("*.py"))]


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_with_a_formula_shows_it_at_work(name: str) -> None:
    functions = public_functions(load(name))
    assert [n for n, f in functions.items() if FORMULA in (f.__doc__ or "") and ">>> " not in f.__doc__] == []


def test_every_public_name_has_an_example() -> None:
    names = {*v50calib.__all__, *re.findall(r"^## (\w+)$", API.read_text(encoding="utf-8"), re.MULTILINE)}
    assert {name for name in names if ">>> " not in (getattr(v50calib, name).__doc__ or "")} == set()


def test_the_check_finds_examples_of_compiled_functions_and_wrong_ones() -> None:
    """What the tests above rest on, on a module made here."""
    module = ModuleType("made_here")
    source = 'import numba\n@numba.njit\ndef twice(x):\n    """``2 x``.\n\n    >>> twice(3)\n    7\n    """\n    return 2 * x\n'
    exec(source, vars(module))
    (test,) = examples(module)
    assert test.name == "made_here.twice"
    assert public_functions(module) == {"twice": plain(module.twice)}
    report: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
    assert "Expected:\n    7\nGot:\n    6" in "".join(report)
