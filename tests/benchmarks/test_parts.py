"""The benchmarks measure what they say: the recipe is the host's procedure, a longer visit is the same one repeated."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from simulated import planet_of

from v50calib import calibrate, open_calibrated, open_visit
from v50calib.io import ingest
from v50calib.simulate import simulate_dataset

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def on_path() -> Iterator[None]:
    """`benchmarks` is no part of the package: it is found from the project's folder, as `python -m benchmarks.…` finds it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PROJECT))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_dataset(tmp_path_factory.mktemp("bench") / "data", planets=1, frames_fraction=0.012, seed=5)


@pytest.fixture(scope="module")
def store(data: Path) -> Path:
    ingest(data, data.parent / "raw.zarr")
    return data.parent / "raw.zarr"


def test_the_recipe_gives_what_the_official_profile_gives(data: Path, tmp_path: Path) -> None:
    """Bins of equal length of both, off masked pixels (the notebook loses its mask): a pair of a thinned visit outlasts 144 s."""
    from benchmarks import recipe

    visits = {i: open_visit(data, planet_of(data), 0, i) for i in recipe.DETECTOR}
    cadence = {i: float(np.median(np.diff(v.time[::2]))) * 3600 for i, v in visits.items()}
    bin_s = max(144.0, max(cadence.values()))
    per_bin = {i: round(bin_s / c) for i, c in cadence.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "PAIRS_PER_BIN", per_bin)
        recipe.calibrate_planet(data, planet_of(data), tmp_path)
    options = ["runtime.scheduler=sync", f"output.bin_s={bin_s}", "output.dtype=float64"]
    assert not calibrate(data, tmp_path / "run", profile="calib/official", overrides=options).failed
    for instrument, columns in recipe.SCIENCE.items():
        found = np.load(tmp_path / f"{instrument}.npy")
        ds = open_calibrated(tmp_path / "run")[f"{planet_of(data)}/0/{instrument}"]
        expected = ds["cds_binned"].to_numpy()[:, :, columns].transpose(0, 2, 1)
        assert found.shape == expected.shape
        good = np.isfinite(expected)
        assert good.mean() > 0.98
        np.testing.assert_allclose(found[good], expected[good], rtol=1e-9, atol=1e-6)


def test_a_longer_visit_repeats_every_pair(data: Path, tmp_path: Path) -> None:
    from benchmarks.memory import longer

    (tmp_path / "out").mkdir()
    root = longer(data, tmp_path / "out", 3)
    for instrument in ("AIRS-CH0", "FGS1"):
        short, long = (open_visit(r, planet_of(data), 0, instrument) for r in (data, root))
        assert long.sizes["time"] == 3 * short.sizes["time"]
        np.testing.assert_array_equal(long.raw_frames[4:6], short.raw_frames[0:2])
        np.testing.assert_array_equal(long.raw_frames[6:8], short.raw_frames[2:4])
        np.testing.assert_array_equal(long.exposure[:4], short.exposure[:4])
        assert float(long.time[-1]) == pytest.approx(float(short.time[-1]), rel=0.05)
    path = root / "train" / planet_of(data) / "FGS1_signal_0.parquet"
    assert pq.ParquetFile(path).metadata.num_row_groups == 1


def test_pages_are_replaced_between_marks_or_not_at_all(tmp_path: Path) -> None:
    from benchmarks.report import write_between

    page = tmp_path / "a.md"
    page.write_text("x\n<!-- speed begins -->\nold\n<!-- speed ends -->\ny\n")
    write_between(page, "speed", "new")
    write_between(page, "speed", "newer")
    assert page.read_text() == "x\n<!-- speed begins -->\nnewer\n<!-- speed ends -->\ny\n"
    for text in ("no marks", "<!-- speed ends --> <!-- speed begins -->", "<!-- speed begins -->" * 2 + "<!-- speed ends -->"):
        page.write_text(text)
        with pytest.raises(ValueError, match="nothing was written"):
            write_between(page, "speed", "new")
        assert page.read_text() == text


def test_pages_that_carry_tables_have_their_marks() -> None:
    performance = (PROJECT / "docs" / "explanation" / "performance.md").read_text()
    readme = (PROJECT / "README.md").read_text()
    for mark, page in (("headline", performance), ("memory", performance), ("overhead", performance), ("headline", readme)):
        assert page.count(f"<!-- {mark} begins -->") == page.count(f"<!-- {mark} ends -->") == 1


def test_every_case_runs_in_the_environment_of_the_workers() -> None:
    from benchmarks.report import worker_environment

    from v50calib.runtime.environment import WORKER_ENVIRONMENT

    found = worker_environment(2)
    assert WORKER_ENVIRONMENT.items() <= found.items()
    assert found["BENCH_THREADS"] == "2"


def test_a_missing_peer_is_said_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import headline, peer

    rows = [
        {"name": name, "wall": wall, "cpu": wall, "peak_mb": 1.0, "n": n}
        for name, wall, n in (("decode zarr", 2.0, 5), ("read parquet (pyarrow)", 4.0, 5), ("x", 3.0, 5), ("NumPy recipe", 60.0, 1))
    ]
    monkeypatch.setattr(peer, "problem", lambda: "not installed")
    text = headline.table(rows, 1)
    assert "| x | 3.00 | 3.00 | 1 | 1.50 | 0.75 | 20 |" in text
    assert "median of 5 (NumPy recipe: 1)" in text
    assert text.endswith("| peer: ariel-data-preprocessing | not installed | | | | | |")
    monkeypatch.setattr(peer, "problem", lambda: None)
    assert "peer" not in headline.table(rows, 1)
    monkeypatch.undo()
    monkeypatch.setattr(peer, "find_spec", lambda name: None)
    assert peer.problem() == "not installed"
    monkeypatch.setattr(peer, "find_spec", lambda name: name)
    monkeypatch.setattr(peer, "version", lambda name: {"pandas": "3.1.0"}[name])
    assert peer.problem() == "needs pandas < 3, found 3.1.0"
    monkeypatch.setattr(peer, "version", lambda name: {"pandas": "2.3.3"}[name])
    assert peer.problem() is None


def test_overhead_of_visits_and_of_a_queue(store: Path, tmp_path: Path) -> None:
    """With threads in place of processes, which start at once."""
    from benchmarks import overhead
    from v50calib.runtime import execute

    kept = execute.run_job
    rows = overhead.visit_overhead(store, tmp_path / "run", 1, scheduler="threads")
    assert [r[1] for r in rows[::2]] == ["3", "4"]  # a tiny visit is one chunk: prepare, chunk, finish; and the planet's fit
    for row in rows[1::2]:
        assert 0 <= float(row[1].split("= ")[1].removesuffix(" %")) <= 100
    rows = overhead.queue_overhead(tmp_path / "queue", 10, scheduler="threads")
    assert len(rows) == 4
    assert "at 1," in rows[1][1]
    assert rows[1][1].endswith("at 10")
    assert all(float(r[1].split()[0]) > 0 for r in rows)
    assert execute.run_job is kept


def test_the_first_visit_is_timed_against_the_second(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import overhead

    overhead.main(["--first", str(store), str(tmp_path / "run")])
    assert len([float(line) for line in capsys.readouterr().out.split()]) == 2


def _module(name: str, *options: str) -> str:
    done = subprocess.run([sys.executable, "-m", name, *options], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_overhead_and_memory_run_as_modules(store: Path, tmp_path: Path) -> None:
    page = tmp_path / "p.md"
    page.write_text("<!-- overhead begins --><!-- overhead ends --><!-- memory begins --><!-- memory ends -->")
    out = _module("benchmarks.overhead", "--store", str(store), "--queue", "10", "--repeats", "1", "--write", str(page))
    assert "two worker processes against one" in out
    options = ["--work", str(tmp_path / "w"), "--factors", "1", "2", "--frames-fraction", "0.01", "--write", str(page)]
    assert _module("benchmarks.memory", *options).count("| calibrate parquet |") == 2
    assert "first visit of a process" in page.read_text()
    assert "| ingest | 2 x |" in page.read_text()
