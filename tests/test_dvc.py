"""dvc.yaml under the real `dvc`: what a change makes run again, and what not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DVC = Path(sys.executable).with_name("dvc")
STAGES = ("simulate", "ingest", "calibrate", "report")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DVC.is_file(), reason="dvc is not installed beside this Python: pip install 'v50calib[dvc]'"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the pipeline with one short visit and the fast profile, run once."""
    root = tmp_path_factory.mktemp("dvc")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, root)
    for name in ("profiles", "maps"):
        shutil.copytree(ROOT / name, root / name)
    params = root / "params.yaml"
    text = params.read_text(encoding="utf-8")
    text = text.replace("planets: 2", "planets: 1").replace("calib/nominal", "calib/fast").replace('""', '"runtime.scheduler=sync"')
    params.write_text(text, encoding="utf-8")
    dvc(root, "init", "--no-scm")
    assert ran(root) == STAGES
    return root


def dvc(root: Path, *words: str) -> str:
    path = f"{DVC.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(DVC), *words],
        cwd=root,
        env=os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "true"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ran(root: Path) -> tuple[str, ...]:
    """The stages that `dvc repro` runs now, in order."""
    said = dvc(root, "repro")
    return tuple(name for name in STAGES if f"Running stage '{name}'" in said)


def test_nothing_runs_where_nothing_changed(project: Path) -> None:
    before = (project / "dvc" / "run" / "manifest.jsonl").read_bytes()
    assert ran(project) == ()
    assert (project / "dvc" / "run" / "manifest.jsonl").read_bytes() == before


def test_a_parameter_of_one_stage_calibrates_again_and_ingests_nothing(project: Path) -> None:
    path = project / "profiles" / "calib" / "phase.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.count("nbins: ") == 1
    line = next(line for line in text.splitlines() if "nbins: " in line)
    path.write_text(text.replace(line, line.partition("nbins: ")[0] + "nbins: 77"), encoding="utf-8")
    assert ran(project) == ("calibrate", "report")
    assert "nbins: 77" in (project / "dvc" / "run" / "config.yaml").read_text(encoding="utf-8")
    assert ran(project) == ()


def test_a_changed_map_calibrates_again(project: Path) -> None:
    (project / "maps" / "README.md").write_text("another\n", encoding="utf-8")
    assert "calibrate" in (first := ran(project))
    assert not {"simulate", "ingest"} & set(first)


def test_other_data_go_through_the_whole_chain(project: Path) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("seed: 1", "seed: 2"), encoding="utf-8")
    assert ran(project) == STAGES
