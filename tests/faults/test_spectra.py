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

from .conftest import Site, fill
from .test_campaign import lose_chunk, lose_record, spoil_chunk, spoil_record

pytestmark = pytest.mark.faults


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two planets with both instruments."""
    return simulate_dataset(tmp_path_factory.mktemp("spectra") / "data", planets=2, frames_fraction=0.01, seed=13)


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
    check(site, solved)


def check(site: Site, solved: Path) -> None:
    """Products, fits, estimates and submission are those of the undisturbed run."""
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
    found = verify(done.run)
    if spoil is not lose_record:
        code, text = done.end(done.start("verify", str(done.run)))
        assert code == 1, text
        assert f"broken {store}/" in text
        assert len(verify(done.run, quarantine=True).aside) == 1
    else:
        assert found.fits == 2
    again = ("spectra", str(done.run), "--estimator", "gp", "--out", str(done.run.parent / "again.csv"))
    code, text = done.end(done.start(*again))
    assert code == 0, text
    check(done, solved)
    assert (done.run.parent / "again.csv").read_bytes() == (solved / "submission.csv").read_bytes()


def test_solve_is_killed_at_random_moments(site: Site, both: Path, solved: Path) -> None:
    site.data, moments = both, random.Random(17)
    killed = 0
    for _ in range(3):
        process = site.start(*words(both, site.run))
        time.sleep(moments.uniform(4.0, 14.0))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed
    solve(site, solved)


def test_solve_is_killed_step_by_step(done: Site, solved: Path) -> None:
    """Before a planet's fit is moved in, before old and new estimates exchange their names, before the old are removed, before the
    submission; then its disk is full."""
    shutil.rmtree(done.run / "spectra.zarr")
    old = (done.run / "submission.csv").read_bytes()
    steps = {
        "fit": done.fault("v50calib.runs.spectra", "commit", "kill"),
        "exchange": done.fault("v50calib.io.storage.commit", "exchanged", "kill", when="estimates.zarr"),
        "removal": done.fault("v50calib.io.storage.commit", "_remove", "kill", when="estimates.zarr"),
        "submission": done.fault("pathlib", "Path.replace", "kill", when="submission"),
        "full": done.fault("pathlib", "Path.replace", "errno:ENOSPC", when="submission"),
    }
    for name, fault in steps.items():
        code, text = done.end(done.start(*words(done.data, done.run), faults=[fault | {"marker": f"{done.run.parent}/{name}"}]))
        assert code in ((3, 4) if name == "full" else (-signal.SIGKILL,)), (name, text)
        assert (done.run / "submission.csv").read_bytes() == old
        if name in ("exchange", "removal"):
            assert [is_committed(p) for p in (done.run / "estimates.zarr").glob("[!.]*") if p.is_dir()] == [True]
            assert verify(done.run).fits == 3
    assert "No space left" in text
    assert "Traceback" not in text
    solve(done, solved)


def test_disk_full_as_the_quality_table_is_written(done: Site, tmpfs: Callable[..., Path]) -> None:
    """The table that is there stands, and the next one is whole."""
    place = tmpfs("200k")
    table = place / "qc.csv"
    command = ("qc", str(done.run), "--csv", str(table))
    assert done.end(done.start(*command))[0] == 0
    old = table.read_bytes()
    fill(place)
    code, text = done.end(done.start(*command))
    assert code == 4, text
    assert "No space left" in text
    assert table.read_bytes() == old
    (place / "filler").unlink()
    assert done.end(done.start(*command))[0] == 0
    assert table.read_bytes() == old
    assert [p.name for p in place.iterdir()] == ["qc.csv"]


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
