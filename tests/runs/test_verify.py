from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner

from v50calib import calibrate
from v50calib.cli.main import main
from v50calib.errors import StoreError
from v50calib.io.storage.commit import COMMIT_NAME, _host, is_committed, tree_hash
from v50calib.runs import verify as verification
from v50calib.runs.estimates import write_estimates
from v50calib.runs.lock import run_lock
from v50calib.runs.spectra import is_current, write_planet
from v50calib.runs.verify import check_product, verify

OVERRIDES = ["runtime.scheduler=sync", "calib.photometry.instrument.name=FGS1"]


@pytest.fixture(scope="module")
def made(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("verify") / "run"
    assert calibrate(dataset, out, "calib/fast", OVERRIDES).count("done") == 3
    return out


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def products(run: Path) -> list[Path]:
    return sorted(p for p in (run / "calibrated.zarr").glob("*/*/*") if p.is_dir() and not p.name.startswith("."))


def test_a_whole_run(run: Path) -> None:
    result = CliRunner().invoke(main, ["verify", str(run)], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (0, "3 products whole, 0 broken, 0 partial, 0 missing\n")


@pytest.mark.parametrize("by_hand", ["delete", "copy", "change", "cut", "other"])
def test_a_root_that_says_what_is_not_there(run: Path, by_hand: str) -> None:
    """Products are changed by hand; zarr, opened at the root, still goes by what the root says."""
    root, product = run / "calibrated.zarr", products(run)[0]
    label, document = product.relative_to(root).as_posix(), root / "zarr.json"
    assert product.name in zarr.open_group(root, mode="r")[str(product.parent.relative_to(root))]
    shutil.copytree(product, aside := run.parent / "aside")
    if by_hand == "delete":
        shutil.rmtree(product)
        assert np.isnan(np.asarray(zarr.open_group(root, mode="r")[f"{label}/time"])).all()  # and no error
    elif by_hand == "copy":
        shutil.copytree(product, product.with_name("FGS1 (copy)"))
    elif by_hand == "change":
        zarr.open_group(product, mode="r+").attrs["planet_id"] = "other"
    elif by_hand == "cut":
        document.write_bytes(document.read_bytes()[:-100])
    else:
        document.write_text("[]")
    result = CliRunner().invoke(main, ["verify", str(run)], catch_exceptions=False)
    assert result.exit_code == 1
    assert "calibrated.zarr/zarr.json does not say what is there (groups were deleted, copied or changed by hand" in result.stderr
    found = verify(run, quarantine=True)
    assert (found.roots, found.mended) == ([], ["calibrated.zarr"])
    shutil.rmtree(product, ignore_errors=True)
    shutil.copytree(aside, product)
    assert verify(run).roots == (["calibrated.zarr"] if by_hand in ("delete", "change") else [])


def test_a_plain_root_says_nothing_that_is_not_so(run: Path) -> None:
    """As while a run writes, and after one that was killed; or of an older version, which wrote none."""
    document = run / "calibrated.zarr" / "zarr.json"
    document.write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}, indent=2))
    shutil.rmtree(products(run)[0])
    assert verify(run).roots == []
    document.unlink()
    assert verify(run).roots == []


def test_every_single_byte_counts(run: Path) -> None:
    """A flipped byte in any file of a product is found."""
    product = products(run)[0]
    for path in [p for p in sorted(product.rglob("*")) if p.is_file() and p.name != COMMIT_NAME][::7]:
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert check_product(product)[1], path
        path.write_bytes(content)
    assert check_product(product)[1] == []


def test_broken_missing_partial_are_reported_set_aside_and_redone(run: Path, dataset: Path) -> None:
    first, second, third = products(run)
    whole = {p: tree_hash(p) for p in products(run)}
    (first / "photometry" / "c.0.0").write_bytes(b"")
    (second / COMMIT_NAME).unlink()
    shutil.rmtree(third)
    result = CliRunner().invoke(main, ["verify", str(run)], catch_exceptions=False)
    assert result.exit_code == 1
    assert "0 products whole, 1 broken, 1 partial, 1 missing" in result.stdout
    assert "--quarantine', then run 'v50calib calibrate'" in result.stderr
    found = json.loads(CliRunner().invoke(main, ["verify", str(run), "--quarantine", "--json"]).stdout)
    assert (len(found["aside"]), found["ok"]) == (2, False)
    assert calibrate(dataset, run, "calib/fast", OVERRIDES).count("done") == 3
    assert verify(run).ok
    assert {p: tree_hash(p) for p in products(run)} == whole


def test_a_product_in_another_ones_folder(run: Path) -> None:
    first, second, _ = products(run)
    shutil.rmtree(first)
    shutil.copytree(second, first)
    label = first.relative_to(run / "calibrated.zarr").as_posix()
    assert verify(run).broken == {label: [f"its attributes name {second.relative_to(run / 'calibrated.zarr').as_posix()}"]}


def test_leftovers_of_the_dead_go_and_their_old_products_come_back(run: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    first, second, _ = products(run)
    whole = tree_hash(first)
    first.rename(first.with_name(f".{first.name}.{_host()}-{ended.pid}-0123abcd.old"))
    shutil.copytree(second, second.with_name(f".{second.name}.{_host()}-{ended.pid}-0123abcd.old"))
    first.with_name(f".{first.name}.{_host()}-{ended.pid}-89abcdef.tmp").mkdir()
    living = second.with_name(f".{second.name}.{_host()}-{os.getppid()}-89abcdef.tmp")
    living.mkdir()
    found = verify(run)
    assert (found.ok, found.cleaned) == (True, 3)
    assert is_committed(first)
    assert tree_hash(first) == whole
    assert living.is_dir()


def test_not_while_a_run_holds_the_directory(run: Path) -> None:
    with run_lock(run):
        assert verify(run).ok
        with pytest.raises(StoreError, match="is in use by process"):
            verify(run, quarantine=True)


def leftover(product: Path, owner: str) -> Path:
    path = product.with_name(f".{product.name}.{owner}-0123abcd.tmp")
    path.mkdir()
    return path


def test_leftovers_stay_while_a_run_holds_the_directory(run: Path) -> None:
    """Also where they look like those of a dead process: in another PID namespace their numbers mean nothing."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path = leftover(products(run)[0], f"{_host()}-{ended.pid}")
    with run_lock(run):
        result = CliRunner().invoke(main, ["verify", str(run)], catch_exceptions=False)
        assert result.exit_code == 0
        assert "leftovers of dead processes were not looked for" in result.stderr
        assert path.is_dir()
    assert verify(run).cleaned == 1
    assert not path.exists()


def test_process_numbers_of_another_namespace_are_not_looked_up(run: Path) -> None:
    other = leftover(products(run)[0], f"{_host()}0-99999999")
    before = leftover(products(run)[1], "vm-99999999")
    assert verify(run).cleaned == 0
    assert other.is_dir()
    assert before.is_dir()


@pytest.mark.parametrize("store", ["spectra.zarr", "estimates.zarr"])
@pytest.mark.parametrize("spoil", ["flip", "lose", "record"])
def test_fits_and_estimates_are_checked_and_set_aside(run: Path, store: str, spoil: str) -> None:
    """What is made of products is written by the same protocol: a flipped bit in it is found as well, and it is made again."""
    record = {"products": "0"}
    fits = xr.Dataset({"transit_depth": ("wavelength", np.linspace(0.01, 0.02, 50))})
    write_planet(run / "spectra.zarr", "7", fits, record)
    write_estimates(run, "gp", fits, record)
    found = verify(run)
    assert (found.ok, found.whole, found.fits) == (True, 3, 2)
    label = {"spectra.zarr": "spectra.zarr/7", "estimates.zarr": "estimates.zarr/gp"}[store]
    chunk = run / label / "transit_depth" / "c.0"
    if spoil == "flip":
        chunk.write_bytes(chunk.read_bytes()[:-1] + bytes([chunk.read_bytes()[-1] ^ 1]))
    elif spoil == "lose":
        chunk.unlink()
    else:
        (run / label / COMMIT_NAME).write_text("{")
    result = CliRunner().invoke(main, ["verify", str(run)], catch_exceptions=False)
    assert result.exit_code == 1
    assert f"broken {label}: " in result.stderr
    assert "1 planets' fits and estimates whole" in result.stdout
    assert ("estimates are made again by" in result.stderr) is (store == "estimates.zarr")
    found = verify(run, quarantine=True)
    assert list(found.aside) == [label]
    assert verify(run).ok
    assert is_current(run / "spectra.zarr", "7", record) is (store != "spectra.zarr")


LIVE = """
import sys, time
from pathlib import Path
from v50calib import calibrate
from v50calib.runs import product
real = product.commit
def slow(tmp, *args, **more):
    Path(sys.argv[3]).touch()
    time.sleep(4)
    return real(tmp, *args, **more)
product.commit = slow
out = calibrate(sys.argv[1], sys.argv[2], "calib/fast", sys.argv[4:], limit=1)
sys.exit(len(out.failed))
"""


def test_a_live_run_of_another_pid_namespace_is_not_broken(dataset: Path, tmp_path: Path) -> None:
    """Its processes have numbers that do not exist here; verify may not take their staging folders for those of dead ones."""
    enter = ["unshare", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a PID namespace cannot be made here")
    out, marker = tmp_path / "run", tmp_path / "marker"
    command = [*enter, sys.executable, "-c", LIVE, str(dataset), str(out), str(marker), *OVERRIDES]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until = time.monotonic() + 120
        while not marker.exists() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.05)
        assert list((out / "calibrated.zarr").glob("*/*/.*.tmp"))
        found = verify(out)
        assert (found.cleaned, found.ok) == (0, True)
        assert "is in use" in found.left
        said = process.communicate(timeout=120)[0]
        assert process.returncode == 0, said
    finally:
        process.kill()
        process.wait()
    assert verify(out).whole == 1


def test_products_of_another_config_fail_the_verification(run: Path, dataset: Path) -> None:
    calibrate(dataset, run, "calib/fast", [*OVERRIDES, "calib.phase.binning.nbins=33"], update=True, limit=1)
    result = CliRunner().invoke(main, ["verify", str(run)], catch_exceptions=False)
    assert result.exit_code == 1
    assert "2 products are of another config" in result.stderr
    calibrate(dataset, run, "calib/fast", [*OVERRIDES, "calib.phase.binning.nbins=33"])
    assert verify(run).ok


def test_what_was_redone_meanwhile_is_not_set_aside(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = products(run)[0]
    content = (first / COMMIT_NAME).read_bytes()
    (first / COMMIT_NAME).write_bytes(b"{")
    real = verification.check_product

    def check(path: Path) -> object:
        result = real(path)
        (first / COMMIT_NAME).write_bytes(content)
        return result

    monkeypatch.setattr(verification, "check_product", check)
    found = verify(run, quarantine=True)
    assert found.broken
    assert found.aside == {}
    assert is_committed(first)
