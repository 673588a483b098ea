"""Where an export writes: what is there is lost only where an export made it, and then only when the new one is there."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from tests.helpers.exports import invoke, read

from v50calib.errors import StoreError
from v50calib.export.write import FORMATS, export
from v50calib.io.storage.commit import clean_leftovers


def thesis(out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("years")


def dataset(out: Path) -> None:
    (out / "train" / "7").mkdir(parents=True)
    (out / "train.csv").write_text("planet_id,wl_1\n")


def other_run(out: Path) -> None:
    out.mkdir()
    (out / "config.yaml").write_text(f"config_hash: {'ab' * 32}\n")
    (out / "manifest.jsonl").write_text("{}\n")


def raw_store(out: Path) -> None:
    zarr.create_group(out, attributes={"format": "v50calib-raw", "version": 1})


def own_zarr(out: Path) -> None:
    zarr.create_group(out, attributes={"what": "spectra"}).create_array("mine", data=np.arange(3))


def own_npz(out: Path) -> None:
    with out.open("wb") as stream:
        np.savez(stream, meta=np.array(json.dumps({"about": {}})), x=np.arange(3))


def own_hdf5(out: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(out, "w") as file:
        file["x"] = np.arange(3)


def own_table(out: Path) -> None:
    out.write_text("planet_id,wavelength,notes\n7,1.2,weeks of work\n")


def train_table(out: Path) -> None:
    out.write_text("planet_id," + ",".join(f"wl_{i}" for i in range(1, 284)) + "\n")


def notes(out: Path) -> None:
    out.write_text("my notes")


THINGS: dict[Callable[[Path], None], str] = {
    thesis: "thesis.tex",
    dataset: "a dataset's folder",
    other_run: "a run directory",
    raw_store: "a raw Zarr store",
    own_zarr: "a folder with mine, zarr.json",
    own_npz: "a file of",
    own_hdf5: "a file of",
    own_table: "a file of",
    train_table: "a file of",
    notes: "a file of 8 bytes",
}


def content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return {p.relative_to(path.parent).as_posix(): p.read_bytes() for p in files}


@pytest.mark.parametrize("fmt", ["zarr", "csv"])
@pytest.mark.parametrize("thing", THINGS, ids=lambda f: f.__name__)
def test_what_no_export_made_is_not_replaced(whole_run: Path, tmp_path: Path, thing: Callable[[Path], None], fmt: str) -> None:
    out = tmp_path / "out"
    thing(out)
    before = content(out)
    for words in ([], ["--overwrite"]):
        result = invoke(whole_run, out, "--what", "spectra", "--format", fmt, *words)
        assert result.exit_code == 4
        assert THINGS[thing] in result.stderr
        assert "give another name" in result.stderr
    assert "replaces only what an export made" in result.stderr
    assert content(out) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_the_run_and_what_holds_it_stay(whole_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(whole_run, tmp_path / "runs" / "run"))
    before = content(copy)
    for out in (copy, copy.parent, copy / "calibrated.zarr", copy / "manifest.jsonl", copy / "qc.csv"):
        assert invoke(copy, out, "--what", "spectra", "--overwrite").exit_code == 4, out
    assert content(copy) == before


@pytest.mark.parametrize("what", ["lightcurves", "normalized", "spectra", "planets"])
def test_every_export_replaces_every_other(whole_run: Path, tmp_path: Path, what: str) -> None:
    """Each format after each: an export is known as one whatever its format."""
    out = tmp_path / "out"
    order = [fmt for pair in itertools.permutations(FORMATS, 2) for fmt in pair] if what == "spectra" else FORMATS
    for fmt in order:
        result = invoke(whole_run, out, "--what", what, "--format", fmt, "--overwrite")
        assert result.exit_code == 0, (fmt, result.stderr)
        assert invoke(whole_run, out, "--what", what, "--format", fmt).exit_code == 4
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_cubes_are_known_as_well(whole_run: Path, tmp_path: Path) -> None:
    for fmt in ("npz", "zarr", "netcdf"):
        assert invoke(whole_run, tmp_path / "out", "--what", "cubes", "--format", fmt, "--overwrite").exit_code == 0


@pytest.mark.parametrize("added", ["notes.txt", "mine/zarr.json", "transit_depth/notes.txt", "transit_depth/c/thesis.tex"])
def test_a_store_with_something_of_the_users_in_it_stays(whole_run: Path, tmp_path: Path, added: str) -> None:
    out = tmp_path / "out.zarr"
    export(whole_run, out, "spectra")
    file = out / added
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}")
    with pytest.raises(StoreError, match=rf"'{added}' was put by someone else"):
        export(whole_run, out, "spectra", overwrite=True)
    assert file.read_text() == "{}"


def test_empty_places_are_free(whole_run: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for out in ("folder", "file"):
        export(whole_run, tmp_path / out, "spectra", overwrite=True)
        assert read(tmp_path / out, "zarr")["present"].all()


def test_what_a_link_points_at_is_replaced(whole_run: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "grid.zarr")
    for _ in range(2):
        export(whole_run, tmp_path / "link", "spectra", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert read(tmp_path / "disk" / "grid.zarr", "zarr")["present"].all()
    (tmp_path / "years").symlink_to(tmp_path / "thesis")
    thesis(tmp_path / "thesis")
    with pytest.raises(StoreError, match=r"thesis\.tex"):
        export(whole_run, tmp_path / "years", "spectra", overwrite=True)


def test_devices_stay(whole_run: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="a device or a pipe"):
        export(whole_run, tmp_path / "pipe", "spectra", overwrite=True)


def test_what_was_put_there_meanwhile_stays(whole_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def busy(label: str, done: int, total: int) -> None:
        if done == total:
            thesis(out)

    with pytest.raises(StoreError, match="exists"):
        export(whole_run, out, "spectra", progress=busy)
    assert (out / "thesis.tex").read_text() == "years"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


#: an export whose process dies before or after its n-th rename
KILLED = """
import os, pathlib, signal, sys
from v50calib.export.write import export
run, out, fmt, when, number = sys.argv[1:]
left = [int(number)]
def dying(name):
    plain = getattr(pathlib.Path, name)
    def call(self, target):
        left[0] -= 1
        if left[0] == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        made = plain(self, target)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return made
    return call
def last(label, done, total):
    if when == "writing":
        os.kill(os.getpid(), signal.SIGKILL)
for name in ("rename", "replace"):
    setattr(pathlib.Path, name, dying(name))
export(run, out, "spectra", fmt, overwrite=True, progress=last)
"""


@pytest.mark.parametrize(
    ("change", "step"),
    [
        *((("zarr", "zarr"), step) for step in (("writing", 1), ("after", 1), ("after", 2), ("after", 3))),
        (("zarr", "csv"), ("after", 1)),
        (("csv", "zarr"), ("before", 2)),
    ],
)
def test_killed_at_any_step_and_then_failing(whole_run: Path, tmp_path: Path, change: tuple[str, str], step: tuple[str, int]) -> None:
    """An export that is killed while it replaces another, then one that fails: a whole grid is there, the old one or the new one."""
    old, new = change
    out = tmp_path / "out"
    export(whole_run, out, "spectra", old)  # type: ignore[arg-type]
    before = content(out)
    made = tmp_path / "made"
    export(whole_run, made, "spectra", new)  # type: ignore[arg-type]
    after = {name.replace("made", "out", 1): data for name, data in content(made).items()}
    done = subprocess.run([sys.executable, "-c", KILLED, whole_run, out, new, step[0], str(step[1])], check=False)
    assert done.returncode == -signal.SIGKILL
    copy = Path(shutil.copytree(whole_run, tmp_path / "bad"))
    depths = max((copy / "calibrated.zarr").glob("*/0/AIRS-CH0")) / "transit_depth" / "c.0"
    depths.write_bytes(depths.read_bytes()[:50])
    with pytest.raises(StoreError, match="is damaged"):
        export(copy, out, "spectra", overwrite=True)
    assert content(out) in (before, after)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "made", "out"]


def test_what_is_half_deleted_does_not_come_back(whole_run: Path, tmp_path: Path) -> None:
    """Killed while it deletes the old grid, and the user removes the new one: the next export is not told that there is one."""
    out = tmp_path / "out"
    export(whole_run, out, "spectra")
    code = (
        "import os, pathlib, shutil, sys\n"
        "from v50calib.export.write import export\n"
        "plain = shutil.rmtree\n"
        "def dying(path, **words):\n"
        "    for chunk in [p for p in pathlib.Path(path).rglob('*') if p.is_file() and p.suffix != '.json'][:1]:\n"
        "        chunk.unlink()\n"
        "        os._exit(9)\n"
        "    plain(path, **words)\n"
        "shutil.rmtree = dying\n"
        "export(sys.argv[1], sys.argv[2], 'spectra', overwrite=True)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, whole_run, out], check=False).returncode == 9
    assert read(out, "zarr")["present"].all()
    shutil.rmtree(out)
    clean_leftovers(out)
    assert list(tmp_path.iterdir()) == []
