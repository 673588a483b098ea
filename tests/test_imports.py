"""The import direction: lower layers never import higher ones, kernels know of arrays only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from v50calib import errors

SOURCE = Path(errors.__file__).parent

BASE = {"errors", "dq"}
DATA = BASE | {"schema", "reference"}
CHAIN = {"general", "preparation", "tiles", "series", "ledger", "products", "lazy"}
#: what each part may import of the package, beside itself
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    # a few lines of HTML for notebooks
    "markup": set(),
    # figures of a Dataset as its methods: imports plot when one is asked for
    "accessor": {"plot"},
    "dq": set(),
    "kernels": BASE,
    "schema": BASE,
    "reference": BASE | {"schema"},
    "channels": BASE | {"schema"},
    # a user's own maps from files: numbers and errors, nothing of a visit
    "maps": BASE,
    "stages": DATA | {"kernels", "maps", "markup"},
    "config": BASE | {"schema", "stages", "uncertainty"},
    "provenance": DATA | {"config", "stages", "maps"},
    # what a visit needs once, one time chunk, one visit's series, their Datasets, and the lazy form of it all: the parts of the pipeline
    "general": DATA | {"kernels", "stages"},
    "preparation": DATA | {"kernels", "stages", "general"},
    "tiles": DATA | {"kernels", "stages", "general", "preparation"},
    "series": DATA | {"kernels", "stages", "config", "preparation", "tiles", "general"},
    "ledger": DATA | {"kernels", "stages", "config", "preparation", "tiles", "general", "series"},
    "products": DATA | {"kernels", "stages", "config", "preparation", "tiles", "general", "series", "ledger", "provenance"},
    # lazy names the Pipeline in its annotations only
    "lazy": DATA | {"kernels", "stages", "config", "provenance", "pipeline"} | CHAIN,
    "pipeline": DATA | {"kernels", "stages", "config", "maps", "provenance", "channels", "accessor", "markup"} | CHAIN,
    "io": DATA | {"channels"},
    # calibrated visits in memory, of several visits at once
    "folding": BASE | {"kernels", "schema"},
    "qc": BASE | {"kernels", "schema"},
    "plot": BASE | {"kernels", "schema", "qc"},
    "runtime": DATA | {"markup", "kernels", "stages", "config", "provenance", "pipeline", "io", "qc", "plot", "uncertainty"} | CHAIN,
    # a run on one page: reads what others wrote, nothing imports it but the command
    "report": BASE | {"config", "markup", "io", "qc", "plot", "runtime"},
    # these stand apart
    "simulate": DATA | {"kernels"},
    # its options are config sections; of stages it takes their base class alone
    "uncertainty": BASE | {"kernels", "schema", "stages"},
}
EVERYTHING = set(ALLOWED) | {"__init__", "cli", "cli_plan", "cli_progress", "cli_runs", "cli_types", "cli_uncertainty"}
ALLOWED["__init__"] = EVERYTHING - {"cli", "cli_plan", "cli_progress", "cli_runs", "cli_types", "cli_uncertainty", "simulate"}
ALLOWED["cli_progress"] = {"runtime"}
ALLOWED["cli_runs"] = {"runtime", "errors", "io", "report", "cli_progress", "cli_types"}
ALLOWED["cli_plan"] = {"runtime", "errors", "config", "io", "cli_progress", "cli_types"}
ALLOWED["cli_types"] = {"io"}
ALLOWED["cli_uncertainty"] = {"runtime", "uncertainty", "config", "errors"}
ALLOWED["cli"] = EVERYTHING
#: `python -m v50calib`
ALLOWED["__main__"] = {"cli"}

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
