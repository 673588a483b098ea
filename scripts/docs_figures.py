"""Figures of the pages under docs/, each drawn from one simulated planet or from the tables of the pages.

    python scripts/docs_figures.py                     # all of them, into docs/images
    python scripts/docs_figures.py cds phase           # these
    python scripts/docs_figures.py --work FOLDER       # keep the simulated planet and its run there for the next call

The planet and its run take a minute, a figure a second. The same numbers give the same bytes; other processors may round differently.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl

# the folder of this script, also where it is loaded as a module
sys.path.insert(0, str(Path(__file__).resolve().parent))

from figures import explanation, guides, stages
from figures.material import ROOT, Material
from figures.style import STYLE, save

#: name of each file of docs/images, and what draws it
FIGURES = stages.FIGURES | explanation.FIGURES | guides.FIGURES
#: a page should not wait for its picture
MOST_BYTES = 80_000


def draw(names: list[str], out: Path, material: Material) -> list[Path]:
    """The figures `names` as OUT/<name>.svg."""
    drawn = []
    for name in names:
        with mpl.rc_context(STYLE):
            drawn.append(out / f"{name}.svg")
            save(FIGURES[name](material), drawn[-1])
    return drawn


def main(argv: list[str] | None = None) -> list[Path]:
    """Draw what the command line names, and return the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FIGURES)}; default: all")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--work", type=Path, help="folder of the simulated planet and its run; default: a temporary one")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if name not in FIGURES]:
        parser.error(f"no figure {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    with tempfile.TemporaryDirectory() as folder:
        return draw(args.names or list(FIGURES), args.out, Material(args.work or Path(folder)))


if __name__ == "__main__":
    for path in main():
        print(path, path.stat().st_size)
