"""Something happens to the run directory, or to what a run was started with, while it is on its way."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from v50calib.runs.verify import verify

from .conftest import Site, hashes
from .test_campaign import COMPUTE, READ, WRITE, victim

pytestmark = pytest.mark.faults


def at_second_visit(site: Site, line: str) -> dict[str, object]:
    """A shell command that runs when the second product is about to be committed."""
    return site.fault(*WRITE, f"shell:{line}", skip=1)


def test_lock_file_is_deleted(site: Site) -> None:
    """Another run could start by now: this one writes nothing more, and says so."""
    code, text = site.calibrate(faults=[at_second_visit(site, f"rm {site.run}/.lock")])
    assert code == 4, text
    assert "was taken over by another run" in text
    site.resume()


def test_run_directory_is_renamed(site: Site) -> None:
    """The run ends with the reason; the directory, back at its place, is resumed; nothing is made anew at the old name."""
    away = site.run.with_name("away")
    code, text = site.calibrate(faults=[at_second_visit(site, f"mv {site.run} {away}")])
    assert code == 4, text
    assert "Traceback" not in text
    if site.run.exists():
        assert not [p for p in site.run.rglob("*") if p.is_file()], list(site.run.rglob("*"))
        shutil.rmtree(site.run)
    away.rename(site.run)
    site.resume()


def test_run_directory_is_removed(site: Site) -> None:
    code, text = site.calibrate(faults=[at_second_visit(site, f"rm -r {site.run}")])
    assert code == 4, text
    assert "Traceback" not in text
    shutil.rmtree(site.run, ignore_errors=True)
    site.resume()


def test_a_product_folder_is_removed_during_the_commit(site: Site) -> None:
    """With the staging folder in it: that visit fails alone, and is done when it is tried again."""
    root = site.run / "calibrated.zarr"
    code, text = site.calibrate(faults=[at_second_visit(site, f"rm -r $(dirname {root}/*/0/.*.tmp)")])
    assert code == 1, text
    assert "3 calibrated, 0 already complete, 1 failed" in text
    assert "1 calibrated" in site.resume("--retry-failed")


def test_a_committed_product_is_removed_during_the_run(site: Site) -> None:
    """The run says that it has done it; `verify` misses it, and the next run makes it again."""
    code, text = site.calibrate(faults=[at_second_visit(site, f"rm -r {site.run}/calibrated.zarr/*/0/FGS1")])
    assert code == 0, text
    assert len(verify(site.run).missing) == 1
    assert "1 calibrated, 3 already complete" in site.resume()


def test_status_record_is_read_only(site: Site, tmp_path: Path) -> None:
    """run.json, which is replaced at every visit, cannot be. The visits are calibrated, or the run says why not."""
    assert site.calibrate("--limit", "1")[0] == 0
    record = site.run / "run.json"
    if os.system(f"mount --bind {record} {record} && mount -o remount,bind,ro {record}"):
        pytest.skip("nothing can be mounted here")
    try:
        code, text = site.calibrate()
        assert code in (0, 4), text
        assert "Traceback" not in text
    finally:
        os.system(f"umount {record}")
    site.resume()


def test_names_of_other_people(site: Site) -> None:
    """Hidden files of file managers, NFS and other programs in the store: they stay, and nothing trips over them."""
    assert site.calibrate("--limit", "1")[0] == 0
    (first,) = (site.run / "calibrated.zarr").glob("*/0")
    foreign = [first / ".nfs0000000000012345", first / ".DS_Store", first / ".FGS1.tmp", first.parent / "._0", first / ".FGS1.old"]
    for path in foreign:
        path.write_text("somebody's")
    (first / ".FGS1.another-host-123-0badcafe.tmp").mkdir()
    code, text = site.calibrate()
    assert code == 0, text
    assert "3 calibrated, 1 already complete" in text
    assert "leftovers" not in site.end(site.start("verify", str(site.run)))[1]
    assert all(path.read_text() == "somebody's" for path in foreign)
    assert (first / ".FGS1.another-host-123-0badcafe.tmp").is_dir()
    assert hashes(site.run) == site.wanted
    for path in foreign:
        path.unlink()
    (first / ".FGS1.another-host-123-0badcafe.tmp").rmdir()
    site.resume()


def test_no_inodes_left(site: Site, tmpfs: Callable[..., Path]) -> None:
    """A quota of files, with space left."""
    place = tmpfs("100m", ",nr_inodes=160")
    site.run = place / "run"
    code, text = site.calibrate()
    assert code == 4, text
    assert "No space left" in text
    os.system(f"mount -o remount,nr_inodes=10000 {place}")
    site.resume()


def without_root_rights() -> None:
    """Permissions count for root as well once it may not override them (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH)."""
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


@pytest.mark.parametrize("which", ["file", "folder", "output"])
def test_permission_is_lost_on_one_planet(own_data: Site, which: str) -> None:
    """A file that may not be read: its visit fails alone. A folder, of which nobody knows what is in it: the others are done, or the run is
    refused. The reason is told; with the permission back, the rest is done."""
    site, path = own_data, victim(own_data)
    assert site.calibrate("--limit", "1")[0] == 0
    closed = {"file": path, "folder": path.parent, "output": site.run / "calibrated.zarr" / path.parent.name}[which]
    if which == "output":
        closed.mkdir()
    before = closed.stat().st_mode
    closed.chmod(0)
    try:
        code, text = site.calibrate(preexec_fn=without_root_rights)
    finally:
        closed.chmod(before)
    assert code in {"file": (1,), "folder": (1, 4), "output": (1, 4)}[which], text
    assert "ermission" in text
    assert str(closed) in text
    assert "Traceback" not in text
    if which == "file":
        assert len(hashes(site.run)) == 3
    elif which == "folder":
        assert len(hashes(site.run)) == (3 if code == 1 else 1)
    # what failed for it is not tried again by itself
    code, text = site.calibrate()
    if code:
        assert "in quarantine" in text
        site.resume("--retry-failed")
    site.check()


def test_profile_is_replaced_during_the_run(site: Site, tmp_path: Path) -> None:
    """What a run was started with is what it does, to its end; the other profile is refused in its directory."""
    folder = tmp_path / "profiles" / "calib"
    folder.mkdir(parents=True)
    profile = folder / "mine.yaml"
    source = Path(__file__).parents[2] / "profiles" / "calib" / "fast.yaml"
    profile.write_text(source.read_text())
    other = tmp_path / "other.yaml"
    other.write_text(source.read_text())
    words = ("calibrate", "--config-dir", str(tmp_path / "profiles"), "--config-name", "calib/mine", "--data", str(site.data))
    words += ("--out", str(site.run))
    fault = at_second_visit(site, f"printf 'no: profile\\n' > {profile}; sed -i 's/config_hash/config_hish/' {site.run}/config.yaml")
    code, text = site.end(site.start(*words, faults=[fault]))
    assert code == 0, text
    assert site.end(site.start(*words))[0] == 2
    profile.write_text(other.read_text())
    code, text = site.end(site.start(*words))
    if code:
        # its mark was spoiled as well
        assert code == 4, text
        code, text = site.end(site.start(*words, "--update"))
    assert code == 0, text
    assert "4 already complete" in text
    site.check()


def test_one_planets_bad_map(own_data: Site) -> None:
    """That visit fails alone, on every rerun; with the map mended it is done."""
    site = own_data
    (path,) = victim(site).parent.glob("FGS1_calibration*0/dead.parquet")
    good = path.read_bytes()
    table = pd.read_parquet(path)
    table[:] = True
    table.to_parquet(path)
    for _ in range(2):
        code, text = site.calibrate()
        assert code == 1, text
        assert "dead.parquet says that all 1024 pixels are dead" in text
        assert len(hashes(site.run)) == 3
    path.write_bytes(good)
    assert "1 calibrated" in site.resume("--retry-failed")


def test_killed_while_it_retries_what_failed(own_data: Site) -> None:
    site, path = own_data, victim(own_data)
    kept = path.read_bytes()
    path.write_bytes(kept[: len(kept) // 2])
    assert site.calibrate()[0] == 1
    path.write_bytes(kept)
    for number, place in enumerate([READ, COMPUTE, WRITE]):
        fault = {**site.fault(*place, "kill"), "marker": str(site.run.parent / f"kill{number}")}
        code, _ = site.calibrate("--retry-failed", faults=[fault])
        assert code == -signal.SIGKILL
        assert len(hashes(site.run)) == 3
    assert "1 calibrated" in site.resume("--retry-failed")


def test_killed_at_random_moments_of_an_update(site: Site) -> None:
    """Every product is of the one config or the other, whole; the way back gives the first ones again."""
    import random

    moments = random.Random(5)
    assert site.calibrate()[0] == 0
    for _ in range(3):
        base = ("calibrate", "--config-name", "calib/fast", "--data", str(site.data), "--out", str(site.run), "--update")
        process = site.start(*base, "calib.phase.binning.nbins=33")
        time.sleep(moments.uniform(2.0, 6.0))
        process.kill()
        process.communicate()
    found = verify(site.run)
    assert not found.broken
    assert not found.partial
    assert not found.missing
    site.resume("--update")


def test_paused_holder_without_flock(site: Site) -> None:
    """flock answers ENOSYS (default Lustre): the first run is stopped (SIGSTOP), a second takes over after its 20 s, the first wakes."""
    no_flock = {**site.fault("fcntl", "flock", "errno:ENOSYS", times=0), "marker": str(site.run.parent / "flock")}
    go = site.run.parent / "go"
    first = site.start(faults=[no_flock, site.fault(*READ, f"hold:{go}")])
    site.wait_for(site.marker(), first)
    first.send_signal(signal.SIGSTOP)
    go.touch()
    second = {**site.fault(*READ, f"hold:{go}2"), "marker": str(site.run.parent / "second")}
    base = ("calibrate", "--config-name", "calib/fast", "--data", str(site.data), "--out", str(site.run), "--update")
    other = site.start(*base, "calib.phase.binning.nbins=33", faults=[no_flock, second])
    site.wait_for(site.run.parent / "second.0", other)
    first.send_signal(signal.SIGCONT)
    code, text = site.end(first)
    assert code == 4, text
    assert "was taken over by another run" in text
    Path(f"{go}2").touch()
    code, text = site.end(other)
    assert code == 0, text
    assert verify(site.run).ok
    assert not set(hashes(site.run).values()) & set(site.wanted.values())
    site.resume("--update")
