"""Small files that unpack to gigabytes, and texts that stand for more than they are: refused in a sentence, in bounded time and memory."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from v50calib.config import load
from v50calib.config.compose import compose
from v50calib.errors import ConfigError
from v50calib.untrusted.json_text import load_json

#: bytes of address space beyond what the imports take, and s of processor time
ROOM, SECONDS = 400 * 2**20, 4

READ = """
import resource, sys, time
import numpy, pandas, pyarrow.parquet, xarray, zarr
from v50calib.array_files import load_map
from v50calib.errors import V50CalibError
from v50calib.io.challenge.tables import _read_axis_table
from v50calib.io.storage.zarr_groups import read_array
from v50calib.uncertainty.tables import read_predictions
from pathlib import Path
pyarrow.set_cpu_count(1)
readers = {
    "table": read_predictions,
    "axis": lambda p: _read_axis_table(Path(p)),
    "map": lambda p: load_map(p, key="calib.flat.master.path", shape=(32, 356)),
    "product": lambda p: read_array(Path(p)),
}
room, seconds = int(sys.argv[1]), float(sys.argv[2])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
for which, path in zip(sys.argv[3::2], sys.argv[4::2]):
    start = time.process_time()
    try:
        readers[which](path)
        print("READ", path)
    except (V50CalibError, ValueError) as error:
        late = time.process_time() - start > seconds
        print("LATE" if late else "REFUSED", path, str(error).replace("\\n", " // "))
    except BaseException as error:
        print("FAILED", path, type(error), error)
"""


def gzipped(path: Path, text: bytes, times: int) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for _ in range(times):
            stream.write(text)
    return path


def rows_of_one_number(path: Path, names: list[str], rows: int) -> Path:
    """A dictionary of one value, and a run of its index."""
    one = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array([1.0]))
    pq.write_table(pa.table(dict.fromkeys(names, one)).cast(pa.schema([(name, pa.float64()) for name in names])), path)
    return path


def zarr_bomb(folder: Path, codec: str) -> Path:
    """An array whose only chunk was replaced by half a gigabyte, packed, or by a header that says so."""
    from numcodecs import Blosc, Zstd

    compressors = {"blosc": zarr.codecs.BloscCodec(), "zstd": zarr.codecs.ZstdCodec(), "gzip": zarr.codecs.GzipCodec()}
    array = zarr.create_array(folder, shape=(32, 356), chunks=(32, 356), dtype="float64", compressors=compressors[codec])
    array[:] = 1.0
    chunk = folder / "c" / "0" / "0"
    if codec == "blosc":
        head = bytearray(Blosc().encode(np.ones((32, 356)).tobytes()))
        head[4:8] = struct.pack("<I", 2**31 - 2**20)
        chunk.write_bytes(head)
    elif codec == "zstd":
        chunk.write_bytes(Zstd().encode(bytes(2**29)))
    else:
        gzipped(chunk, bytes(2**20), 512)
    return folder


def product_bomb(folder: Path) -> Path:
    import xarray as xr

    from v50calib.io.storage.zarr_groups import write_group

    folder.mkdir()
    write_group(folder, xr.Dataset({"a": ("x", np.ones(1000))}))
    chunk = folder / "a" / "c.0"
    head = bytearray(chunk.read_bytes())
    head[4:8] = struct.pack("<I", 2**31 - 2**20)
    chunk.write_bytes(head)
    return folder / "a"


def hdf5_bomb(path: Path) -> Path:
    """A chunk that unpacks to half a gigabyte where 91 kB are expected."""
    import zlib

    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        data = file.create_dataset("flat", (32, 356), "f8", chunks=(32, 356), compression="gzip", compression_opts=1)
        packer = zlib.compressobj(1)
        packed = b"".join(packer.compress(bytes(2**20)) for _ in range(512)) + packer.flush()
        data.id.write_direct_chunk((0, 0), packed)
    return path


@pytest.mark.slow
def test_files_that_unpack_to_gigabytes(tmp_path: Path) -> None:
    """One process with little room reads them all; a file that it may read comes last."""
    head = b"planet_id," + b",".join(b"wl_%d" % (i + 1) for i in range(283)) + b"," + b",".join(b"sigma_%d" % (i + 1) for i in range(283))
    wanted = head.decode().split(",")
    bombs = [
        ("table", gzipped(tmp_path / "zeros.csv.gz", bytes(2**20), 512)),
        ("table", gzipped(tmp_path / "rows.csv.gz", head + b"\n" + b"1," * 566 + b"1\n", 200_000)),
        ("table", gzipped(tmp_path / "commas.csv.gz", b"," * 2**20, 14)),
        ("table", gzipped(tmp_path / "cell.csv.gz", b"1" * 200_000, 1)),
        ("table", rows_of_one_number(tmp_path / "rows.parquet", wanted[:20], 1_000_000)),
        ("axis", rows_of_one_number(tmp_path / "axis.parquet", ["AIRS-CH0-axis0-h"], 10_000_000)),
        *(("map", zarr_bomb(tmp_path / f"{codec}.zarr", codec)) for codec in ("blosc", "zstd", "gzip")),
        ("map", hdf5_bomb(tmp_path / "flat.nc")),
        ("product", product_bomb(tmp_path / "product")),
    ]
    good = zarr.create_array(tmp_path / "good.zarr", shape=(32, 356), chunks=(16, 356), dtype="float64")
    good[:] = 1.0
    words = [str(word) for pair in [*bombs, ("map", tmp_path / "good.zarr")] for word in pair]
    run = subprocess.run(
        [sys.executable, "-c", READ, str(ROOM), str(SECONDS), *words],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    lines = run.stdout.splitlines()
    assert len(lines) == len(bombs) + 1, run.stderr
    assert [line for line in lines if not line.startswith("REFUSED")] == [f"READ {tmp_path / 'good.zarr'}"]


def deep(n: int) -> str:
    return "[" * n + "]" * n


@pytest.mark.parametrize("text", [deep(100_000), '{"a":' * 100_000 + "1" + "}" * 100_000, "9" * 100_000])
def test_json_that_python_does_not_follow(text: str) -> None:
    with pytest.raises(ValueError, match=r"nested too deep|digits"):
        load_json(text)


def profile(folder: Path, values: dict[str, object]) -> Path:
    (folder / "calib").mkdir()
    (folder / "calib" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - nominal\n  - _self_\nmine: " + json.dumps(values) + "\n"
    )
    return folder


DOUBLES = {"a0": "x" * 50} | {f"a{i + 1}": f"${{mine.a{i}}}${{mine.a{i}}}" for i in range(26)}
BOMBS: dict[str, tuple[dict[str, object], str]] = {
    "texts that double": (DOUBLES, "stand for"),
    "by relative keys": ({"a0": "x" * 50} | {f"a{i + 1}": f"${{.a{i}}}${{.a{i}}}" for i in range(26)}, "stand for"),
    "by select": ({"a0": "x" * 50} | {f"a{i + 1}": f"${{oc.select:mine.a{i}}}${{oc.select:mine.a{i}}}" for i in range(26)}, "stand for"),
    "by keys of keys": (
        {"k": "mine", "a0": "x" * 50} | {f"a{i + 1}": f"${{${{mine.k}}.a{i}}}${{${{mine.k}}.a{i}}}" for i in range(26)},
        "stand for",
    ),
    "lists of lists": ({"a0": list(range(10))} | {f"a{i + 1}": [f"${{mine.a{i}}}"] * 10 for i in range(9)}, "stand for"),
    "a long way": ({"a0": 1} | {f"a{i + 1}": f"${{mine.a{i}}}" for i in range(200)}, "lead over more than"),
    "itself": ({"a": "${mine.b}", "b": "${mine.a}"}, "leads back to itself"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_interpolations_that_stand_for_too_much(tmp_path: Path, name: str) -> None:
    values, why = BOMBS[name]
    with pytest.raises(ConfigError, match=why):
        compose("calib/mine", config_dir=profile(tmp_path, values))


def test_interpolations_of_overrides() -> None:
    texts = [f"+mine.{key}='{value}'" for key, value in DOUBLES.items()]
    with pytest.raises(ConfigError, match="stand for"):
        compose("calib/fast", texts)
    for text in ("mine.a=" + deep(5000), "mine.a=" + "x" * 30_000, "mine.a=" + "${" * 5000 + "}" * 5000):
        with pytest.raises(ConfigError, match="an override has at most"):
            compose("calib/fast", [text])


def test_interpolations_that_are_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADIUS", "6")
    values = {"radius": "${oc.env:RADIUS}", "sets": {"wide": 9, "narrow": 5}, "use": "wide", "far": "${.sets.${.use}}"}
    folder = profile(tmp_path, values)
    with (folder / "calib" / "mine.yaml").open("a") as stream:
        stream.write("calib: {photometry: {aperture: {radius_px: '${mine.far}'}}}\n")
    assert compose("calib/mine", config_dir=folder)["mine"]["far"] == 9
    assert compose("calib/mine", ["output.bin_s=${oc.env:RADIUS}"], folder)["output"]["bin_s"] == "6"
    assert load("calib/fast", ["output.bin_s='${oc.decode:${oc.env:RADIUS}}'"]).output.bin_s == 6
