"""What is made of the products: planets' fits, estimates, submissions. They are killed, altered and lost."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from v50calib.cli.main import main
from v50calib.io.storage.commit import is_committed, tree_hash
from v50calib.runs.verify import verify
from v50calib.simulate import simulate_dataset

from .conftest import Site
from .test_campaign import lose_chunk, lose_record, spoil_chunk, spoil_record

pytestmark = pytest.mark.faults


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two planets with both instruments."""
    return simulate_dataset(tmp_path_factory.mktemp("spectra") / "data", planets=2, frames_fraction=0.02, seed=13)


def words(data: Path, run: Path) -> tuple[str, ...]:
    given = ("runtime.scheduler=sync", "runtime.retry_wait_s=0.1")
    return ("solve", "--no-plan", "--config-name", "calib/nominal", str(data), str(run), *given)


def stores(run: Path) -> dict[str, str]:
    """Hash of every product, fit and estimate."""
    found = [*(run / "calibrated.zarr").glob("*/*/*"), *(run / "spectra.zarr").glob("*"), *(run / "estimates.zarr").glob("*")]
    found = [p for p in found if p.is_dir() and not p.name.startswith(".")]
    assert all(is_committed(p) for p in found), found
    return {p.relative_to(run).as_posix(): tree_hash(p) for p in found}


@pytest.fixture(scope="session")
def solved(both: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `solve` that nothing befell."""
    from click.testing import CliRunner

    run = tmp_path_factory.mktemp("solved") / "run"
    result = CliRunner().invoke(main, list(words(both, run)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return run


@pytest.fixture
def done(site: Site, both: Path, solved: Path) -> Site:
    """A site with a copy of it."""
    site.data = both
    shutil.copytree(solved, site.run)
    return site


def solve(site: Site, solved: Path) -> None:
    """The same command again: everything is there, bit for bit, and nothing beside it."""
    code, text = site.end(site.start(*words(site.data, site.run)))
    assert code == 0, text
    assert stores(site.run) == stores(solved)
    assert (site.run / "submission.csv").read_bytes() == (solved / "submission.csv").read_bytes()
    found = verify(site.run)
    assert found.ok
    assert found.fits == 3
    assert not [p for p in site.run.rglob(".*") if p.name.endswith((".tmp", ".old"))]


@pytest.mark.parametrize("spoil", [spoil_chunk, lose_chunk, spoil_record, lose_record])
@pytest.mark.parametrize("store", ["spectra.zarr", "estimates.zarr"])
def test_a_fit_or_an_estimate_is_damaged(done: Site, solved: Path, store: str, spoil: Callable[[Path], None]) -> None:
    """`verify` names it; set aside, it is made again by the same command. Without a record it does not exist, and is made again at once."""
    spoil(min(p for p in (done.run / store).iterdir() if p.is_dir()))
    code, text = done.end(done.start("verify", str(done.run)))
    if spoil is not lose_record:
        assert code == 1, text
        assert f"broken {store}/" in text
        assert len(verify(done.run, quarantine=True).aside) == 1
    solve(done, solved)


def test_solve_is_killed_at_random_moments(site: Site, both: Path, solved: Path) -> None:
    site.data, moments = both, random.Random(17)
    killed = 0
    for _ in range(4):
        process = site.start(*words(both, site.run))
        time.sleep(moments.uniform(4.0, 14.0))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed
    solve(site, solved)


@pytest.mark.parametrize("place", ["fit", "estimate", "submission", "page"])
def test_solve_is_killed_after_the_calibration(done: Site, solved: Path, place: str) -> None:
    """Before a planet's fit is moved in, between the old estimates and the new, as the submission is written, before its page."""
    shutil.rmtree(done.run / "spectra.zarr")
    point = {
        "fit": ("v50calib.runs.spectra", "commit"),
        "estimate": ("pathlib", "Path.rename"),
        "submission": ("v50calib.uncertainty.tables", "write_predictions"),
        "page": ("v50calib.report.build", "write_report"),
    }[place]
    fault = done.fault(*point, "kill", when="estimates.zarr" if place == "estimate" else "", skip=1 if place == "estimate" else 0)
    code, text = done.end(done.start(*words(done.data, done.run), faults=[fault]))
    assert code == -signal.SIGKILL, text
    if place == "estimate":
        assert not list((done.run / "estimates.zarr").glob("[!.]*"))
        verify(done.run)
        assert is_committed(done.run / "estimates.zarr" / "gp")
    solve(done, solved)


def predictions(folder: Path) -> tuple[Path, Path]:
    """Predictions of 12 planets and their truth."""
    rng = np.random.default_rng(1)
    ids = np.arange(12)
    mu, sigma = 0.01 + 1e-4 * rng.standard_normal((12, 283)), np.full((12, 283), 1e-4)
    names = [f"{kind}_{i}" for kind in ("wl", "sigma") for i in range(1, 284)]
    pd.DataFrame(np.hstack([mu, sigma]), columns=names).assign(planet_id=ids)[["planet_id", *names]].to_csv(folder / "p.csv", index=False)
    truth = pd.DataFrame(np.full((12, 283), 0.01), columns=names[:283]).assign(planet_id=ids)[["planet_id", *names[:283]]]
    truth.to_csv(folder / "t.csv", index=False)
    return folder / "p.csv", folder / "t.csv"


def test_uncertainty_is_killed(site: Site, tmp_path: Path) -> None:
    """fit and apply: the model and the predictions that were there stand until whole new ones are."""
    given, truth = predictions(tmp_path)
    model, out = tmp_path / "model.npz", tmp_path / "out.csv"
    fit = ("uncertainty", "fit", "--pred", str(given), "--truth", str(truth), "--out", str(model), "--overwrite")
    apply = ("uncertainty", "apply", "--model", str(model), "--pred", str(given), "--out", str(out), "--overwrite")
    made = {}
    for number, (command, path) in enumerate([(fit, model), (apply, out)]):
        code, text = site.end(site.start(*command))
        assert code == 0, text
        made[path] = path.read_bytes()
        fault = {**site.fault("pathlib", "Path.replace", "kill", when=path.name), "marker": str(tmp_path / f"kill{number}")}
        code, text = site.end(site.start(*command, faults=[fault]))
        assert code == -signal.SIGKILL, text
        assert path.read_bytes() == made[path]
        assert site.end(site.start(*command))[0] == 0
        assert path.read_bytes() == made[path]


def test_disk_full_as_a_submission_is_written(done: Site, solved: Path) -> None:
    """The one that was there stands."""
    old = (done.run / "submission.csv").read_bytes()
    fault = done.fault("pathlib", "Path.replace", "errno:ENOSPC", when="submission")
    code, text = done.end(done.start(*words(done.data, done.run), faults=[fault]))
    assert code == 4 or code == 3, text
    assert "No space left" in text
    assert "Traceback" not in text
    assert (done.run / "submission.csv").read_bytes() == old
    solve(done, solved)
