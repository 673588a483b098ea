"""The benchmarks run: every case of the headline on a tiny visit, every method of the asv suite once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_headline_runs_every_case(tmp_path: Path) -> None:
    pages = [tmp_path / "page.md", tmp_path / "other.md"]
    for page in pages:
        page.write_text("a\n<!-- headline begins -->\nold\n<!-- headline ends -->\nb\n")
    options = ["--work", str(tmp_path), "--repeats", "1", "--frames-fraction", "0.01", "--threads", "2"]
    command = ["-m", "benchmarks.headline", *options, "--write", *map(str, pages)]
    done = subprocess.run([sys.executable, *command], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for case in (
        "decode zarr",
        "frame domain from zarr",
        "decode zarr, own reader",
        "nominal from zarr",
        "strict from parquet",
        "strict from zarr, no cubes",
        "report of the nominal run",
        "read parquet (pyarrow), plain pages",
        "nominal from parquet, plain pages",
        "NumPy recipe",
    ):
        assert f"| {case} |" in done.stdout
    assert "both instruments, 2 threads; median of 1 (NumPy recipe: 1" in done.stdout
    assert "| peer: ariel-data-preprocessing | " in done.stdout
    text = pages[0].read_text()
    assert pages[1].read_text() == text
    assert text.startswith("a\n<!-- headline begins -->\nOne simulated visit")
    assert text.endswith("<!-- headline ends -->\nb\n")
    assert "old" not in text


@pytest.mark.slow
def test_suite_methods_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("V50CALIB_BENCH_FRACTION", "0.01")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.syspath_prepend(str(PROJECT))
    monkeypatch.setattr("tempfile.tempdir", None)
    from benchmarks import bench_suite

    ran = 0
    for suite in (bench_suite.Kernels, bench_suite.Pipelines, bench_suite.Batch):
        for params in [(p,) for p in getattr(suite, "params", ())] or [()]:
            bench = suite()
            bench.setup(*params)
            for name in dir(bench):
                if name.startswith(("time_", "peakmem_")):
                    getattr(bench, name)(*params)
                    ran += 1
            if hasattr(bench, "teardown"):
                bench.teardown()
    assert ran == 2 * 2 + 6 * 2 + 6


@pytest.mark.slow
def test_injected_transits_are_recovered_on_a_small_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 % within 0.1 %, noise-free, on both instruments; 50 ppm within 2 ppm on AIRS-CH0, 6 ppm on FGS1, where rounding to
    ADU scatters a depth by 4 ppm at this tenth of the frames. Pulls of 564 noisy channels: 1 ± 0.03 is one sigma."""
    monkeypatch.syspath_prepend(str(PROJECT))
    from benchmarks import recovery

    results = [recovery.run_case(case, tmp_path, 0.1, 0.1, 11 + i) for i, case in enumerate(recovery.grid("small"))]
    for result in results:
        airs, fgs = (abs(row["error"]) for row in result["clean"])
        assert airs < recovery.bar(result["case"].depth)
        assert fgs < max(recovery.bar(result["case"].depth), 6e-6)
    pulls = np.concatenate([r["noisy"][0]["pulls"] for r in results])
    assert abs(pulls.mean()) < 0.15
    assert pulls.std() == pytest.approx(1.0, abs=0.1)
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- grid begins -->\n<!-- grid ends -->\nb\n")
    recovery.write_between(page, "grid", recovery.grid_table(results, 0.1, 0.1))
    assert "| 10000 | 2.5 | 0.1 | 10.0 |" in page.read_text()


@pytest.mark.slow
def test_an_hour_is_watched_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tiny visits: products are counted and weighed, driver and workers seen; data are taken again, the run is made anew."""
    monkeypatch.syspath_prepend(str(PROJECT))
    from benchmarks import hour

    page = tmp_path / "page.md"
    page.write_text("a\n<!-- hour begins -->\nold\n<!-- hour ends -->\nb\n")
    monkeypatch.setattr(hour, "TEMPLATES_TINY", 1)
    for _ in range(2):
        text = hour.main(["--tiny", "3", "--work", str(tmp_path / "work"), "--workers", "1", "--write", str(page)])
    assert page.read_text() == f"a\n<!-- hour begins -->\n{text}\n<!-- hour ends -->\nb\n"
    assert "nominal, 1 worker processes" in text
    row, memory = (line.split(" | ") for line in text.splitlines() if line.startswith("| 3 tiny |"))
    run = tmp_path / "work" / "run-tiny"
    files = [path for path in run.rglob("*") if path.is_file()]
    assert int(row[5]) == len(files)
    assert float(row[4]) == pytest.approx(sum(path.stat().st_size for path in files) / 1e9, abs=0.0051)
    assert row[7] == "0 |"
    # of workers as long as there are any; a process with the kernels and a visit of its own: some hundred MB, each
    for column in memory[1:3]:
        assert all(100 < float(mb) < 4000 for mb in column.split(" / "))
    assert len({path.name for path in (run / "calibrated.zarr").iterdir() if path.is_dir()}) == 3


def test_the_watched_manifest_is_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PROJECT))
    from benchmarks.hour import Products

    path = tmp_path / "manifest.jsonl"
    products = Products(path)
    assert products.look() == 0
    done = b'{"at": 1.0, "state": "done"}\n'
    path.write_bytes(done + b'{"at": 1.0, "state": "failed"}\n' + done[:12])
    assert products.look() == 1
    path.write_bytes(path.read_bytes() + done[12:])
    assert products.look() == 2
    assert products.look() == 2
