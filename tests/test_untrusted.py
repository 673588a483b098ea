"""Small files that claim to be huge, or are cut or flipped: refused by what they declare, in little memory and time."""

from __future__ import annotations

import errno
import io
import json
import shutil
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from v50calib.array_files import load_array, load_map, load_table
from v50calib.config import load
from v50calib.errors import ConfigError, DataError, StoreError, V50CalibError
from v50calib.estimators.population import Population
from v50calib.io import open_source, scan
from v50calib.io.detector_yaml.load import load_description
from v50calib.io.keys import VisitKey
from v50calib.runs.directory import read_mark
from v50calib.runtime.queues import kubernetes_arguments
from v50calib.uncertainty.files import load_model
from v50calib.uncertainty.tables import read_features, read_predictions, read_truth
from v50calib.untrusted.boundary import foreign
from v50calib.untrusted.yaml_text import load_yaml

MB = 2**20


@contextmanager
def little_memory(most: int = 32 * MB) -> Iterator[None]:
    """NumPy tells tracemalloc what it allocates, touched or not."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def npy_bytes(shape: tuple[int, ...], values: bytes = b"", descr: str = "<f8") -> bytes:
    """A .npy with a header of our choice."""
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    head += b" " * (63 - (10 + len(head)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + values


def bomb(path: Path, shapes: dict[str, tuple[int, ...]], zeros: bool = True) -> Path:
    """A small archive whose arrays unpack to 1.2 GB of zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, shape in shapes.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(npy_bytes(shape))
                size = 8 * int(np.prod(shape)) if zeros else 0
                for start in range(0, size, 16 * MB):
                    member.write(bytes(min(16 * MB, size - start)))
    return path


HUGE, LARGE = (70_000_000,), (40_000_000,)


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One archive for the tests of every reader."""
    path = bomb(
        tmp_path_factory.mktemp("bomb") / "bomb.npz", {"planet_id": (1,), "mu": HUGE, "sigma": (1, 283), "y": LARGE, "features": LARGE}
    )
    assert path.stat().st_size < 10 * MB
    return path


READERS: dict[str, Callable[[str], object]] = {
    "map": lambda p: load_map(f"{p}::mu", key="calib.flat.master.path", shape=(32, 356)),
    "map that broadcasts": lambda p: load_map(f"{p}::mu", key="calib.flat.master.path", shape=(32, 356), exact=False),
    "table": lambda p: load_table(f"{p}::mu", key="calib.adc.linearization.lut_path"),
    "array": lambda p: load_array(f"{p}::mu", key="calib.photometry.psf.kernel_path"),
    "predictions": read_predictions,
    "truth": read_truth,
    "features": read_features,
    "model": load_model,
    "population": Population.load,
}


@pytest.mark.parametrize("reader", READERS)
def test_a_small_archive_of_huge_arrays(huge: Path, reader: str) -> None:
    with little_memory(), pytest.raises(DataError, match=r"[74]0000000,|MB at most"):
        READERS[reader](str(huge))


@pytest.mark.parametrize("reader", READERS)
def test_an_archive_that_claims_more_than_it_has(tmp_path: Path, reader: str) -> None:
    shapes = {"planet_id": (1,), "mu": (1, 283), "sigma": (1, 283), "y": (1, 283), "features": (1, 283, 10**9)}
    path = bomb(tmp_path / "a.npz", shapes, zeros=False)
    with little_memory(), pytest.raises(DataError, match="cut or damaged"):
        READERS[reader](str(path))


@pytest.mark.parametrize("shape", [(-1, 4), (0, 4), (10**12,), (2**62, 2**62), (True, 4), (4, -(2**63)), (1.5, 2)])
@pytest.mark.parametrize("packed", [False, True])
def test_headers_of_absurd_sizes(tmp_path: Path, shape: tuple[int, ...], packed: bool) -> None:
    path = tmp_path / ("a.npz" if packed else "a.npy")
    content = npy_bytes(shape, bytes(32))
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", content)
    else:
        path.write_bytes(content)
    with little_memory(), pytest.raises(DataError, match=r"a\.np.*cannot be read as np.*write the file again"):
        load_array(str(path), key="calib.flat.master.path")


def good_npz() -> bytes:
    stream = io.BytesIO()
    rng = np.random.default_rng(1)
    np.savez_compressed(stream, planet_id=np.array(["7", "8"]), mu=rng.random((2, 283)), sigma=1 + rng.random((2, 283)))
    return stream.getvalue()


def test_archives_cut_anywhere(tmp_path: Path) -> None:
    whole, path = good_npz(), tmp_path / "p.npz"
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"p\.npz' cannot be read as an npz"):
            read_predictions(path)
        with pytest.raises(DataError, match=r"p\.npz.* cannot be read as npz"):
            load_array(f"{path}::mu", key="calib.flat.master.path")


def test_archives_with_one_byte_flipped(tmp_path: Path) -> None:
    """Refused in words, or nothing that is read has changed."""
    whole, path = good_npz(), tmp_path / "p.npz"
    path.write_bytes(whole)
    right = read_predictions(path)
    refused = 0
    for at in range(0, len(whole), 13):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            found = read_predictions(path)
        except DataError:
            refused += 1
            continue
        assert found.ids == right.ids
        np.testing.assert_array_equal(found.mu, right.mu)
        np.testing.assert_array_equal(found.sigma, right.sigma)
    assert refused > 0.9 * len(range(0, len(whole), 13))


def test_a_zarr_array_of_huge_chunks(tmp_path: Path) -> None:
    import zarr

    zarr.create_array(tmp_path / "a.zarr", shape=(4, 4), chunks=(50_000, 50_000), dtype="f8")
    with little_memory(), pytest.raises(DataError, match="chunks"):
        load_array(str(tmp_path / "a.zarr"), key="calib.flat.master.path")


LEVELS = 9


def alias_bomb(last: str = "visits") -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, LEVELS)]
    return "\n".join([*lines, f"{last}: *a{LEVELS - 1}", ""])


TEXTS = {
    "aliases of aliases": (alias_bomb(), r"its aliases .* stand for 2\.\d*e\+09 values, and at most 100000 are read"),
    "merges of merges": (
        "a0: &a0 {k: [x, x, x, x, x, x, x, x, x, x]}\n"
        + "\n".join(f"a{i}: &a{i} {{{', '.join(f'k{j}: *a{i - 1}' for j in range(10))}}}" for i in range(1, LEVELS))
        + f"\nvisits:\n  <<: *a{LEVELS - 1}\n",
        "its aliases",
    ),
    "an alias of itself": ("visits: &a [1, *a]\n", "stands for what it is itself a part of"),
    "ten thousand levels": ("visits: " + "[" * 10_000 + "]" * 10_000 + "\n", "nested|nesting|depth"),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_yaml_that_grows(tmp_path: Path, kind: str) -> None:
    """Refused at once, wherever YAML of a user is read."""
    text, said = TEXTS[kind]
    with little_memory(64 * MB):
        (tmp_path / "detector.yaml").write_text(text)
        with pytest.raises(DataError, match=said):
            load_description(tmp_path)
        (tmp_path / "config.yaml").write_text(f"config_hash: abc\n{text}")
        with pytest.raises(StoreError, match=said):
            read_mark(tmp_path)
        (tmp_path / "pods.yaml").write_text(text)
        given = load("calib/nominal", ("compute=kubernetes", f"runtime.kubernetes.spec={tmp_path}/pods.yaml")).runtime
        with pytest.raises(ConfigError, match=said):
            kubernetes_arguments(given)


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("where", ["calib/mine.yaml", "calib/flat.yaml", "compute/mine.yaml"])
def test_profiles_that_grow(tmp_path: Path, kind: str, where: str) -> None:
    for name in ("calib", "compute"):
        (tmp_path / name).mkdir()
    text, _ = TEXTS[kind]
    (tmp_path / "calib" / "mine.yaml").write_text("defaults:\n  - nominal\n  - _self_\n")
    with (tmp_path / where).open("a") as stream:
        stream.write(text)
    with little_memory(64 * MB), pytest.raises(ConfigError):
        load("calib/mine", ("compute=mine",) if where.startswith("compute") else (), tmp_path)


def test_honest_aliases_are_read(tmp_path: Path) -> None:
    visits = "".join(f"  - {{planet_id: {i}, frames: f.npy, maps: *maps}}\n" for i in range(3000))
    (tmp_path / "detector.yaml").write_text(f"shared: &maps {{dark: none}}\nvisits:\n{visits}")
    with pytest.raises(DataError, match="unknown key shared"):
        load_description(tmp_path)
    with pytest.raises(yaml.YAMLError, match="cannot be read"):
        load_yaml("day: 2025-99-99\n")


def test_errors_are_ours(tmp_path: Path) -> None:
    (tmp_path / "detector.yaml").write_text("instruments: " + "9" * 5000)
    with pytest.raises(V50CalibError):
        load_description(tmp_path)


# the one place


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("shape"), "an entry is missing (KeyError: 'shape')"),
        (RecursionError("maximum recursion depth exceeded"), "it is nested too deep (RecursionError: maximum recursion depth exceeded)"),
        (MemoryError(), "it asks for more memory than there is (MemoryError)"),
        (OSError(40, "Too many levels of symbolic links"), "Too many levels of symbolic links"),
        (np.linalg.LinAlgError("SVD did not converge"), "SVD did not converge"),
        (ValueError("x" * 5000), "x" * 200 + " …"),
        (ValueError(), "ValueError"),
    ],
)
def test_whatever_is_raised_is_told_in_words(error: Exception, said: str) -> None:
    with pytest.raises(DataError) as told, foreign("m.nc", remedy="write it again"):
        raise error
    assert str(told.value) == f"m.nc cannot be read: {said}; write it again"
    # what it was is there for whoever has to look for a fault of ours
    assert told.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [StoreError("ours"), ConnectionError(), TimeoutError(), KeyboardInterrupt(), RuntimeError("no locator available")]
)
def test_what_is_no_fault_of_the_bytes_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as told, foreign("m.nc"):
        raise error
    assert told.value is error


SIZES = [-1, 0, 2**31, 2**62, 2**63, 1e300, True, None, "x", [], {}]


@pytest.mark.parametrize("array", ["dark", "raw_frames", "time"])
def test_raw_stores_whose_headers_say_absurd_sizes(store: Path, tmp_path: Path, array: str) -> None:
    """Refused before anything is allocated; so is each other entry that is another one, or missing."""
    copy = Path(shutil.copytree(store, tmp_path / "raw.zarr"))
    key = next(key for key in scan(copy) if key.instrument == "FGS1")
    path = copy / str(key) / array / "zarr.json"
    whole = path.read_text()
    refused = 0
    for size in SIZES:
        for place in (("shape", 0), ("chunk_grid", "configuration", "chunk_shape", 0), ("codecs", 0, "configuration", "chunk_shape", 0)):
            content = json.loads(whole)
            node = content
            for part in place[:-1]:
                node = node[part] if not isinstance(node, dict) or part in node else {}
            if not node:
                continue
            node[place[-1]] = size
            path.write_text(json.dumps(content))
            refused += _refused(copy, key)
    for name in json.loads(whole):
        for other in ({}, [], 7, "x", None, "missing"):
            content = json.loads(whole) | {name: other}
            if other == "missing":
                del content[name]
            path.write_text(json.dumps(content))
            _refused(copy, key)
    assert refused >= 20


def _refused(store: Path, key: VisitKey) -> bool:
    """Whether a visit cannot be read, by the package's error."""
    with little_memory(64 * MB):
        try:
            open_source(store, key).frames.read(0, 2)
        except V50CalibError as error:
            return str(key) in str(error)
    return False


@pytest.mark.parametrize("signal", ["text", "folder", "empty"])
def test_a_signal_that_is_something_else(dataset: Path, tmp_path: Path, signal: str) -> None:
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    key = next(key for key in scan(data) if key.instrument == "FGS1")
    path = data / "train" / key.planet_id / "FGS1_signal_0.parquet"
    path.unlink()
    if signal == "folder":
        path.mkdir()
    else:
        path.write_text("hello\n" * 100 if signal == "text" else "")
    with pytest.raises(DataError, match=r"FGS1_signal_0\.parquet"):
        open_source(data, key)


@pytest.mark.parametrize("index", [range(5, 37), [f"row {i}" for i in range(32)]])
def test_a_map_that_was_saved_with_an_index(dataset: Path, tmp_path: Path, index: object) -> None:
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    key = next(key for key in scan(data) if key.instrument == "FGS1")
    right = open_source(data, key).reference.dark
    path = data / "train" / key.planet_id / "FGS1_calibration_0" / "dark.parquet"
    frame = pd.read_parquet(path)
    frame.set_axis(list(index), axis=0).rename_axis("row").to_parquet(path)  # type: ignore[call-overload]
    np.testing.assert_array_equal(open_source(data, key).reference.dark, right)


def test_a_closed_path_is_named_and_not_called_damaged() -> None:
    closed = PermissionError(errno.EACCES, "Permission denied", "/data/train/7")
    said = r"visit 7 cannot be read: /data/train/7: it may not be read .*; give the user .* the right to read it"
    with pytest.raises(DataError, match=said), foreign("visit 7"):
        raise closed
    said = r"x\.npy cannot be read: there is no such file .*; put it back"
    with pytest.raises(DataError, match=said), foreign("x.npy"):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "x.npy")
