"""The import direction: lower layers never import higher ones, kernels know of arrays only."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from v50calib import errors

SOURCE = Path(errors.__file__).parent

BASE = {"errors", "dq"}
DATA = BASE | {"schema", "reference"}
#: what each part may import of the package, beside itself; the lower the line, the higher the layer
ALLOWED: dict[str, set[str]] = {
    # at the bottom: words and facts
    "errors": set(),
    "dq": set(),
    "markup": set(),
    "processes": {"errors"},
    "safety": {"errors"},
    # methods of a user's own, by name
    "methods": {"errors"},
    "kernels": BASE,
    "schema": BASE,
    "reference": BASE | {"schema"},
    "channels": BASE | {"schema"},
    # files of strangers
    "untrusted": BASE,
    # small tables as people keep them: ids, numbers, rows
    "tables": BASE,
    "array_files": BASE | {"untrusted"},
    # the science: a folder a stage, configured by itself
    "stages": DATA | {"methods", "kernels", "array_files", "markup", "tables"},
    # one planet's depths in, its spectrum out
    "estimators": BASE | {"kernels", "schema", "untrusted", "safety"},
    # its options are config sections: of stages it takes their base class alone
    "uncertainty": BASE | {"kernels", "schema", "stages", "estimators", "untrusted", "tables", "safety"},
    "config": BASE | {"methods", "schema", "stages", "uncertainty", "array_files", "untrusted"},
    "engine": DATA | {"methods", "kernels", "stages", "config", "array_files"},
    "pipeline": DATA | {"engine", "stages", "config", "channels", "accessor", "markup", "qc"},
    # bytes: roots of raw frames, and where products go
    "io": DATA | {"accessor", "channels", "array_files", "kernels", "untrusted", "processes", "tables", "safety"},
    "runs": BASE | {"markup", "safety", "schema", "kernels", "io", "config", "qc", "accessor", "untrusted", "uncertainty"},
    # calibrated visits in memory
    "qc": BASE | {"kernels", "schema", "untrusted"},
    "plot": BASE | {"kernels", "schema", "qc"},
    # figures of a Dataset as its methods: imports plot when one is asked for
    "accessor": {"plot"},
    # a run while it goes on; what is made of one afterwards
    "runtime": DATA
    | {
        "methods",
        "safety",
        "engine",
        "stages",
        "config",
        "io",
        "runs",
        "qc",
        "plot",
        "uncertainty",
        "kernels",
        "markup",
        "untrusted",
        "tables",
    },
    "export": BASE | {"schema", "kernels", "io", "runs", "runtime", "engine", "uncertainty", "untrusted", "safety"},
    "report": BASE | {"config", "markup", "io", "qc", "plot", "runs"},
    # a judge that shares kernels alone with what it judges
    "simulate": DATA | {"kernels", "processes", "tables", "untrusted"},
    # doors: the command line and the public names
    "cli": BASE | {"config", "io", "processes", "runs", "runtime", "export", "report", "simulate", "uncertainty"},
    "__init__": {"errors", "export", "io", "methods", "pipeline", "runs", "runtime", "safety"},
    "__main__": {"cli"},
}
#: sub-folders of `stages` that every stage may import: none of them is a stage
SHARED_BY_STAGES = {"base", "config", "tile", "lookup", "series"}
MOST_FILES_AT_THE_TOP = 12
MOST_LINES = 400

FOREIGN_TO_KERNELS = {
    *("xarray", "dask", "distributed", "zarr", "pyarrow"),
    *("pydantic", "hydra", "omegaconf", "logging", "click", "rich"),
}

MODULES = sorted(SOURCE.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(tree: ast.Module, path: Path) -> Iterator[tuple[str, int]]:
    """Absolute names of everything a module imports, at any depth, with the line."""
    package = ("v50calib", *path.relative_to(SOURCE).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *((node.module,) if node.module else ())))
            # `from v50calib import tiles` imports the module tiles
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def own_imports(source: str, path: Path) -> Iterator[tuple[str, int]]:
    for name, line in imported(ast.parse(source), path):
        parts = name.split(".")
        if parts[0] == "v50calib" and len(parts) > 1:
            target = parts[1]
            is_module = (SOURCE / target).is_dir() or (SOURCE / f"{target}.py").is_file()
            yield (target if is_module else "__init__"), line


def violations(source: str, path: Path) -> list[str]:
    part = part_of(path)
    found = []
    for target, line in own_imports(source, path):
        if target != part and target not in ALLOWED[part]:
            found.append(f"{path.name}:{line}: {part} must not import {target}")
    if part == "kernels":
        for name, line in imported(ast.parse(source), path):
            if name.split(".")[0] in FOREIGN_TO_KERNELS:
                found.append(f"{path.name}:{line}: a kernel must not import {name}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_lower_layers_never_import_higher_ones(path: Path) -> None:
    assert part_of(path) in ALLOWED, f"{path.name} is a new part of the package: say in ALLOWED what it may import"
    assert violations(path.read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize(
    ("source", "path", "said"),
    [
        ("import xarray as xr\n", "kernels/a.py", "a kernel must not import xarray"),
        ("def f():\n    from v50calib.config import compose\n", "stages/a.py", "stages must not import config"),
        ("from ..stages import base\n", "io/a.py", "io must not import stages"),
        ("from v50calib import errors, config\n", "schema.py", "schema must not import config"),
        ("from .. import simulate\n", "runtime/a.py", "runtime must not import simulate"),
    ],
)
def test_the_check_sees_a_wrong_import(source: str, path: str, said: str) -> None:
    assert any(said in violation for violation in violations(source, SOURCE / path))


def test_the_check_passes_right_imports() -> None:
    good = "import numpy as np\nfrom v50calib.errors import ConfigError\nfrom ..kernels import fused\n"
    assert violations(good, SOURCE / "stages" / "a.py") == []


# the house


def module_of(path: Path) -> str:
    parts = ("v50calib", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def edges_of(sources: dict[str, tuple[str, Path]]) -> dict[str, set[str]]:
    """What each module imports of the package, at any depth: inside functions and under TYPE_CHECKING, too."""
    edges: dict[str, set[str]] = {}
    for module, (source, path) in sources.items():
        found = set()
        for name, _ in imported(ast.parse(source), path):
            # `from v50calib.a import b`: the module a.b where there is one, else a
            known = [n for n in (name, name.rpartition(".")[0]) if n in sources]
            found.update(known[:1])
        edges[module] = found - {module}
    return edges


def loops(edges: dict[str, set[str]]) -> list[list[str]]:
    """Sets of modules that reach each other, largest first."""
    reach = {module: set(targets) for module, targets in edges.items()}
    for via in edges:
        for module in edges:
            if via in reach[module]:
                reach[module] |= reach[via]
    within = {frozenset({m, *(o for o in reach[m] if m in reach[o])}) for m in edges if m in reach[m]}
    return sorted((sorted(loop) for loop in within), key=len, reverse=True)


def package() -> dict[str, tuple[str, Path]]:
    return {module_of(path): (path.read_text(encoding="utf-8"), path) for path in MODULES}


def test_no_two_modules_import_each_other() -> None:
    assert loops(edges_of(package())) == []


def test_loops_are_seen_at_any_depth() -> None:
    sources = {
        "v50calib.a": ("def f():\n    from v50calib.b import g\n", SOURCE / "a.py"),
        "v50calib.b": ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from v50calib import c\n", SOURCE / "b.py"),
        "v50calib.c": ("import v50calib.a\n", SOURCE / "c.py"),
        "v50calib.d": ("from v50calib.a import f\n", SOURCE / "d.py"),
        "v50calib": ("", SOURCE / "__init__.py"),
    }
    assert edges_of(sources)["v50calib.d"] == {"v50calib.a"}
    assert loops(edges_of(sources)) == [["v50calib.a", "v50calib.b", "v50calib.c"]]


def test_no_stage_imports_another() -> None:
    wrong = []
    for path in sorted((SOURCE / "stages").glob("*/*.py")):
        own = path.parent.name
        for name, line in imported(ast.parse(path.read_text(encoding="utf-8")), path):
            parts = name.split(".")
            if parts[:2] == ["v50calib", "stages"] and len(parts) > 2 and parts[2] not in SHARED_BY_STAGES | {own}:
                wrong.append(f"{own}/{path.name}:{line} imports {name}")
    assert wrong == []


def test_no_command_module_imports_another() -> None:
    """main.py alone adds the commands to the program."""
    shared = {"arguments", "complete", "output", "progress", "shown"}
    wrong = []
    for path in sorted((SOURCE / "cli").glob("*.py")):
        for name, line in imported(ast.parse(path.read_text(encoding="utf-8")), path):
            parts = name.split(".")
            if path.stem not in ("main", "__init__") and parts[:2] == ["v50calib", "cli"] and parts[2] not in shared:
                wrong.append(f"cli/{path.name}:{line} imports {name}")
    assert wrong == []


def test_the_top_of_the_package_is_short() -> None:
    files = sorted(path.name for path in SOURCE.glob("*.py"))
    assert len(files) <= MOST_FILES_AT_THE_TOP, files


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_a_module_is_read_in_one_sitting(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{lines} lines: look for the seam"


def test_what_takes_long_to_import_waits_until_it_is_asked_for() -> None:
    """Driver and workers of every run import these; half a second each for what most runs do without."""
    late = "scipy.signal", "scipy.stats", "matplotlib", "torch", "sklearn"
    code = f"import sys, v50calib.runtime.batch, v50calib.cli.calibrate; print([name for name in {late!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
