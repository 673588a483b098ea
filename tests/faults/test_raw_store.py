"""A raw store is damaged, or replaced by another one, beside or during a run that reads it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from v50calib import calibrate
from v50calib.io.ingestion import ingest

from .conftest import OVERRIDES, Site, hashes
from .test_campaign import READ

pytestmark = pytest.mark.faults


@pytest.fixture(scope="session")
def pristine(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw store of FGS1, as it was ingested."""
    from v50calib.io.catalog import open_root

    store = tmp_path_factory.mktemp("pristine") / "raw.zarr"
    assert ingest(tiny, store, keys=[key for key in open_root(tiny).visits() if key.instrument == "FGS1"]).ok
    return store


@pytest.fixture(scope="session")
def of_store(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The products of an undisturbed run that reads the store."""
    out = tmp_path_factory.mktemp("of_store") / "run"
    assert calibrate(pristine, out, "calib/fast", [*OVERRIDES, "runtime.scheduler=sync"]).count("done") == 4
    return hashes(out)


@pytest.fixture
def raw(site: Site, pristine: Path, of_store: dict[str, str], tmp_path: Path) -> Site:
    """A run that reads a store of its own, which may be spoiled."""
    shutil.copytree(pristine, tmp_path / "raw.zarr")
    site.data, site.wanted = tmp_path / "raw.zarr", of_store
    return site


def visit_of(store: Path) -> Path:
    """The folder of the last planet's visit."""
    return max(p for p in (store / "train").iterdir() if p.is_dir()) / "0" / "FGS1"


def frames_of(store: Path) -> Path:
    """The largest file of its frames."""
    return max((p for p in (visit_of(store) / "raw_frames").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))


def flip_frames(store: Path) -> None:
    flip(frames_of(store))


def flip_map(store: Path) -> None:
    flip(next(p for p in sorted((visit_of(store) / "flat").glob("c*")) if p.is_file()))


def flip_time(store: Path) -> None:
    flip(next(p for p in sorted((visit_of(store) / "time").glob("c*")) if p.is_file()))


def delete_frames(store: Path) -> None:
    frames_of(store).unlink()


def cut_frames(store: Path) -> None:
    path = frames_of(store)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


@pytest.mark.parametrize("spoil", [flip_frames, flip_map, flip_time, delete_frames, cut_frames])
def test_raw_store_is_damaged(raw: Site, tiny: Path, spoil: Callable[[Path], None]) -> None:
    """That visit fails, and `verify STORE` names it; removed and ingested again, the run is resumed."""
    spoil(raw.data)
    code, text = raw.calibrate()
    assert code == 1, text
    assert "3 calibrated, 0 already complete, 1 failed" in text
    assert "ingest the visit again" in text
    assert raw.status()["failures"][0]["error_type"] == "DataError"
    code, text = raw.end(raw.start("verify", str(raw.data)))
    assert code == 1, text
    assert "1 broken" in text
    shutil.rmtree(visit_of(raw.data))
    assert ingest(tiny, raw.data).ok
    assert "1 calibrated" in raw.resume("--retry-failed")


def test_raw_store_is_replaced_during_the_run(raw: Site, tiny: Path, tmp_path: Path) -> None:
    """By one of the same visits with other frames: with the first store back, what was made of the other one is made again."""
    other = tmp_path / "other"
    shutil.copytree(tiny, other / "data")
    first, *_, last = sorted(p for p in (other / "data" / "train").iterdir() if p.is_dir())
    (last / "FGS1_signal_0.parquet").write_bytes((first / "FGS1_signal_0.parquet").read_bytes())
    assert ingest(other / "data", other / "raw.zarr").ok
    swap = f"mv {raw.data} {tmp_path}/kept && mv {other}/raw.zarr {raw.data}"
    code, text = raw.calibrate(faults=[raw.fault(*READ, f"shell:{swap}", skip=1)])
    assert code in (0, 1), text
    assert "Traceback" not in text
    shutil.rmtree(raw.data)
    (tmp_path / "kept").rename(raw.data)
    # what failed as its store was moved is tried again as well
    code, text = raw.calibrate()
    if code:
        code, text = raw.calibrate("--retry-failed")
    assert code == 0, text
    raw.resume()


def test_raw_store_is_updated_during_the_run(raw: Site, tiny: Path) -> None:
    """`ingest --update` of the same files while the run reads: nothing changes, and neither hinders the other."""
    command = raw.data.parent / "go"
    process = raw.start(faults=[raw.fault(*READ, f"hold:{command}", skip=1)])
    raw.wait_for(raw.marker(1), process)
    code, text = raw.end(raw.start("ingest", str(tiny), str(raw.data), "--update"))
    assert code == 0, text
    command.touch()
    code, text = raw.end(process)
    assert code == 0, text
    # the store has AIRS-CH0 by now as well, and the config asks for FGS1
    raw.check()
    raw.resume()
