"""The notebooks of docs/notebooks: shipped with outputs that name no machine, and they run, on a shorter visit."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
#: as the notebooks simulate, and as the test does
FULL, SHORT = "frames_fraction=0.04", "frames_fraction=0.02"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "scripts" / "run_notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def texts(notebook: object) -> str:
    """Everything that the outputs of a notebook say."""
    said = []
    for cell in notebook.cells:  # type: ignore[attr-defined]
        for output in cell.get("outputs", []):
            said.append(output.get("text", ""))
            said += [str(v) for k, v in output.get("data", {}).items() if k.startswith("text/")]
    return "\n".join(said)


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["one-visit", "whole-run"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_shipped_as_executed(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert len(outputs) >= len(code) - 1
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert any("image/png" in o.get("data", {}) for o in outputs)
    assert path.stat().st_size < 400_000
    assert sum(cell.source.count(FULL) for cell in code) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_name_no_machine(path: Path) -> None:
    said = texts(nbformat.read(path, as_version=4))
    assert not re.findall(r"/(?:tmp|home|root|usr|work|opt|var)/\S*", said)
    addresses = set(re.findall(r"\b\d{1,3}(?:\.\d{1,3}){3}\b", said))
    assert addresses <= {"127.0.0.1"}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_runs(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace(FULL, SHORT)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    said = texts(script().execute(notebook, tmp_path))
    if path.stem == "one-visit":
        assert "http://127.0.0.1:" in said
        depth, sigma, truth = map(float, re.search(r"white depth (\d+) ± (\d+) ppm, truth (\d+) ppm", said).groups())  # type: ignore[union-attr]
        assert abs(depth - truth) < 4 * sigma
    else:
        assert "0 calibrated, 6 skipped" in said
        assert "6 products whole, 0 broken" in said
        assert (tmp_path / "run" / "report.html").read_bytes().endswith(b"</html>")
