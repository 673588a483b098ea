"""Runs the notebooks of docs/notebooks in an empty folder and writes their outputs back.

    python scripts/run_notebooks.py [NAME ...]     # default: all

Outputs are kept without time stamps, execution times and the name of the machine's kernel.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "docs" / "notebooks"
TIMEOUT_S = 600
#: the kernel that every installation of Jupyter has
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def execute(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs. Raises nbclient's CellExecutionError where a cell fails."""
    # without a display, warnings of a first import would be among the outputs
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    client = NotebookClient(
        notebook, timeout=TIMEOUT_S, kernel_name="python3", coalesce_streams=True, resources={"metadata": {"path": str(folder)}}
    )
    done = client.execute()
    for cell in done.cells:
        cell.metadata.pop("execution", None)
    done.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    return done


def main(argv: list[str] | None = None) -> None:
    """Run the notebooks named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="files of docs/notebooks, without .ipynb")
    names = parser.parse_args(argv).names
    for path in [NOTEBOOKS / f"{n}.ipynb" for n in names] or sorted(NOTEBOOKS.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            done = execute(nbformat.read(path, as_version=4), Path(folder))
        nbformat.write(done, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
