"""A user's own maps: every format gives the same array; what is wrong is told with the key, the path and the shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from v50calib.array_files import load_map, load_table, require_paths
from v50calib.errors import ConfigError, DataError

MAP = np.random.default_rng(1).normal(1.0, 0.1, (4, 6))


def written(folder: Path, kind: str) -> str:
    path = folder / f"map.{kind.removesuffix('-group')}"
    if kind == "npy":
        np.save(path, MAP)
    elif kind == "npz":
        np.savez(path, other=MAP + 1, flat=MAP)
        return f"{path}::flat"
    elif kind == "zarr":
        zarr.create_array(path, data=MAP)
    elif kind == "zarr-group":
        zarr.create_group(path).create_array("flat", data=MAP)
    elif kind == "nc":
        xr.Dataset({"flat": (("y", "x"), MAP)}).to_netcdf(path, engine="scipy")
    else:
        np.savetxt(path, MAP, delimiter=",", header="a,b,c,d,e,f", comments="")
    return str(path)


@pytest.mark.parametrize("kind", ["npy", "npz", "zarr", "zarr-group", "nc", "csv"])
def test_every_format_gives_the_same(tmp_path: Path, kind: str) -> None:
    values = load_map(written(tmp_path, kind), key="calib.flat.master.path", shape=(4, 6))
    np.testing.assert_allclose(values, MAP, rtol=1e-15)
    assert values.dtype == np.float64
    assert values.flags.c_contiguous


def test_a_column_of_a_csv_is_one_dimensional(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("gain\n0.4\n0.5\n\n", encoding="utf-8")
    assert load_map(str(tmp_path / "t.csv"), key="k", shape=(2,)).tolist() == [0.4, 0.5]


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("a.npy", None, ConfigError, "calib.x='.*a.npy' does not exist"),
        ("a.txt", b"1", ConfigError, "ending '.txt': what can be read is .npy"),
        ("a.npy", b"not numpy", DataError, "calib.x: .*a.npy cannot be read as npy"),
        ("a.csv", b"a,b\n1,x\n", DataError, "calib.x: .*a.csv cannot be read as csv"),
        ("a.csv", b"", DataError, "the file is empty"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, error: type[Exception], said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=said):
        load_map(str(tmp_path / name), key="calib.x", shape=(4, 6))


def test_shapes_and_content(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", MAP[0])
    path = str(tmp_path / "m.npy")
    with pytest.raises(DataError, match=r"shape \(6,\), this visit needs \(4, 6\)"):
        load_map(path, key="k", shape=(4, 6))
    np.testing.assert_array_equal(load_map(path, key="k", shape=(4, 6), exact=False), np.broadcast_to(MAP[0], (4, 6)))
    with pytest.raises(DataError, match="does not broadcast"):
        load_map(path, key="k", shape=(4, 5), exact=False)
    np.save(tmp_path / "nan.npy", np.where(MAP > 1, np.nan, MAP))
    with pytest.raises(DataError, match="values that are not finite"):
        load_map(str(tmp_path / "nan.npy"), key="k", shape=(4, 6), finite=True)
    np.save(tmp_path / "text.npy", np.full((4, 6), "a"))
    with pytest.raises(DataError, match="made of numbers"):
        load_map(str(tmp_path / "text.npy"), key="k", shape=(4, 6))


def test_an_archive_of_several_arrays_needs_a_name(tmp_path: Path) -> None:
    path = written(tmp_path, "npz").removesuffix("::flat")
    with pytest.raises(DataError, match=r"k: .*map.npz holds 2 arrays .*name one as map.npz::NAME"):
        load_map(path, key="k", shape=(4, 6))
    with pytest.raises(DataError, match="no array 'dark'"):
        load_map(f"{path}::dark", key="k", shape=(4, 6))


@pytest.mark.parametrize("table", [np.zeros((3, 3)), np.array([[0, 1.0]]), np.array([[0, 1], [1, 1.0]]), np.array([[0, 0], [1, np.nan]])])
def test_tables_must_rise(tmp_path: Path, table: np.ndarray) -> None:
    np.save(tmp_path / "lut.npy", table)
    with pytest.raises(DataError, match="look-up table"):
        load_table(str(tmp_path / "lut.npy"), key="k")


def test_missing_paths_are_told_together(tmp_path: Path) -> None:
    np.savez(tmp_path / "there.npz", a=MAP)
    require_paths({"calib.a": f"{tmp_path / 'there.npz'}::a", "calib.b": None})
    with pytest.raises(ConfigError, match=r"calib.c='nowhere.npy', calib.d='lost.csv'"):
        require_paths({"calib.a": str(tmp_path / "there.npz"), "calib.c": "nowhere.npy", "calib.d": "lost.csv"})
