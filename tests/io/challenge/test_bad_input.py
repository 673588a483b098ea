"""Every damaged input is refused when the visit is opened (or read), naming the file, the value and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from v50calib.errors import DataError
from v50calib.io.catalog import scan
from v50calib.io.challenge.parquet import open_parquet_frames
from v50calib.io.keys import VisitKey
from v50calib.io.visit import open_visit

SIGNAL = "train/5/FGS1_signal_0.parquet"
MAPS = "train/5/FGS1_calibration_0"
Columns = Callable[..., None]


def message(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_visit(root, 5, 0, "FGS1")
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_missing_signal(broken: Path) -> None:
    (broken / SIGNAL).unlink()
    assert "missing file" in (text := message(broken))
    assert "FGS1_signal_0.parquet" in text
    assert "re-download" in text


@pytest.mark.parametrize("name", ["dark", "dead", "flat", "read", "linear_corr"])
def test_missing_calibration_file(broken: Path, name: str) -> None:
    (broken / MAPS / f"{name}.parquet").unlink()
    assert "missing file" in (text := message(broken))
    assert f"{name}.parquet" in text


@pytest.mark.parametrize("keep", [0, 3, 1000, -1])
def test_truncated_signal(broken: Path, keep: int) -> None:
    data = (broken / SIGNAL).read_bytes()
    (broken / SIGNAL).write_bytes(data[:keep])
    text = message(broken)
    assert "truncated or damaged: re-download" in text
    assert f"{len(data[:keep])} bytes" in text


def test_pages_cut_out_under_an_intact_footer(broken: Path) -> None:
    data = (broken / SIGNAL).read_bytes()
    (broken / SIGNAL).write_bytes(data[:2000] + data[12000:])
    assert "data pages are missing" in message(broken)


def test_pages_overwritten_fail_on_read_by_name(broken: Path) -> None:
    data = bytearray((broken / SIGNAL).read_bytes())
    data[100:20000] = b"\xff" * 19900
    (broken / SIGNAL).write_bytes(data)
    ds = open_visit(broken, 5, 0, "FGS1")
    with pytest.raises(DataError, match=r"cannot read .*FGS1_signal_0\.parquet .*truncated or damaged"):
        ds.raw_frames.compute(scheduler="sync")


def test_truncated_map(broken: Path) -> None:
    path = broken / MAPS / "dark.parquet"
    path.write_bytes(path.read_bytes()[:500])
    assert "dark.parquet (500 bytes)" in message(broken)


def test_wrong_column_count(broken: Path, columns: Columns) -> None:
    columns(broken / SIGNAL, np.zeros((4, 1000), np.uint16))
    assert "has 1000 columns, expected 1024" in message(broken)


def test_wrong_column_type(broken: Path, columns: Columns) -> None:
    columns(broken / SIGNAL, np.zeros((4, 1024), np.float32))
    assert "type ['float'], expected uint16" in message(broken)


@pytest.mark.parametrize("n", [0, 7])
def test_odd_or_no_frames(broken: Path, columns: Columns, n: int) -> None:
    columns(broken / SIGNAL, np.zeros((8, 1024), np.uint16)) if n == 0 else None
    if n == 0:
        table = pq.read_table(broken / SIGNAL).slice(0, 0)
        pq.write_table(table, broken / SIGNAL)
    else:
        columns(broken / SIGNAL, np.zeros((n, 1024), np.uint16))
    assert f"has {n} frames, expected an even number" in message(broken)


def reordered(path: Path, order: Callable[[list[str]], list[str]], index: bool = False) -> np.ndarray:
    """The file with its columns in another order, and an index as pandas writes one; its values in the order of before."""
    table = pq.read_table(path)
    values = np.stack([column.to_numpy() for column in table.columns], axis=1)
    frame = table.select(order(table.column_names)).to_pandas()
    if index:
        frame.index = pd.Index(np.arange(len(frame)) * 2 + 5)
    frame.to_parquet(path)
    return values


@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("order", [sorted, lambda names: names[::-1], list])
def test_columns_are_pixels_by_their_number(broken: Path, order: Callable[[list[str]], list[str]], index: bool) -> None:
    """Sorted by name (column_0, column_1, column_10), backwards, with a pandas index: the same frames and maps."""
    expected = reordered(broken / SIGNAL, order, index)
    maps = {name: reordered(broken / MAPS / f"{name}.parquet", order, index) for name in ("dark", "dead", "linear_corr")}
    ds = open_visit(broken, 5, 0, "FGS1")
    np.testing.assert_array_equal(ds.raw_frames.compute(scheduler="sync").to_numpy().reshape(len(expected), -1), expected)
    for name, values in maps.items():
        np.testing.assert_array_equal(ds[name].to_numpy().reshape(values.shape), values)


def test_spilled_columns_are_pixels_by_their_number(broken: Path) -> None:
    expected = reordered(broken / SIGNAL, sorted)
    frames = open_parquet_frames(broken / SIGNAL, (32, 32))
    frames.in_memory = 0
    np.testing.assert_array_equal(frames.read(0, len(expected)).reshape(len(expected), -1), expected)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("column_7", "pixel_7", "has a column 'pixel_7'; the first is 'column_0'"),
        ("column_7", "seventh", "has a column 'seventh'"),
        ("column_7", "column_07000", "has a column 'column_8', and no other of its 1024 columns says which pixel comes before it"),
        ("column_7", "column_08", "has a column 'column_8'"),
    ],
)
def test_columns_without_a_number_are_refused_by_name(broken: Path, old: str, new: str, words: str) -> None:
    table = pq.read_table(broken / SIGNAL)
    pq.write_table(table.rename_columns([new if name == old else name for name in table.column_names]), broken / SIGNAL)
    assert words in (text := message(broken))
    assert "FGS1_signal_0.parquet" in text


def test_nulls_in_the_signal(broken: Path) -> None:
    table = pq.read_table(broken / SIGNAL)
    hole = pa.array([None] + [1] * (table.num_rows - 1), pa.uint16())
    pq.write_table(table.set_column(5, "column_5", hole), broken / SIGNAL)
    ds = open_visit(broken, 5, 0, "FGS1")
    with pytest.raises(DataError, match=r"cannot read .*FGS1_signal_0"):
        ds.raw_frames.compute(scheduler="sync")


def test_wrong_map_shape(broken: Path, columns: Columns) -> None:
    columns(broken / MAPS / "flat.parquet", np.ones((32, 30)))
    assert "has shape (32, 30), expected (32, 32)" in message(broken)
    columns(broken / MAPS / "flat.parquet", np.ones((32, 32)))
    columns(broken / MAPS / "linear_corr.parquet", np.ones((160, 32)))
    assert "linear_corr.parquet has shape (160, 32), expected (192, 32)" in message(broken)


@pytest.mark.parametrize(("name", "rows"), [("dark", 32), ("dead", 32), ("read", 32), ("linear_corr", 192)])
def test_map_without_a_number(broken: Path, columns: Columns, name: str, rows: int) -> None:
    columns(broken / MAPS / f"{name}.parquet", np.full((rows, 32), np.nan))
    assert f"{name}.parquet has no finite value" in message(broken)


def test_some_nan_in_a_map_is_data_not_an_error(broken: Path, columns: Columns) -> None:
    dark = np.ones((32, 32))
    dark[3, 4] = np.nan
    columns(broken / MAPS / "dark.parquet", dark)
    np.testing.assert_array_equal(open_visit(broken, 5, 0, "FGS1").dark, dark)


def test_map_of_words(broken: Path) -> None:
    pq.write_table(pa.table({f"c{i}": ["x"] * 32 for i in range(32)}), broken / MAPS / "flat.parquet")
    assert "expected floating point" in message(broken)


def test_all_pixels_dead(broken: Path) -> None:
    for dead in (np.ones((32, 32), bool), np.ones((32, 32))):
        pq.write_table(pa.table({f"c{i}": dead[:, i] for i in range(32)}), broken / MAPS / "dead.parquet")
        assert "dead.parquet says that all 1024 pixels are dead: it is damaged, or true means good in it" in message(broken)


def test_a_visit_whose_number_has_leading_zeros(broken: Path) -> None:
    """It is listed, so that it is told of; and how it has to be named."""
    folder = broken / "train" / "5"
    (broken / SIGNAL).rename(folder / "FGS1_signal_01.parquet")
    (broken / MAPS).rename(folder / "FGS1_calibration_01")
    assert VisitKey("5", 1, "FGS1") in scan(broken)
    with pytest.raises(DataError, match=r"01(\.parquet)?: a visit's number has no leading zeros \(01\): rename .* e\.g\. FGS1_\w+_1"):
        open_visit(broken, 5, 1, "FGS1")
    (folder / "FGS1_signal_01.parquet").rename(folder / "FGS1_signal_1.parquet")
    (folder / "FGS1_calibration_01").rename(folder / "FGS1_calibration_1")
    assert open_visit(broken, 5, 1, "FGS1").sizes["time"] == 20


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("FGS1_adc_gain\n0.4\n", "no column 'FGS1_adc_offset', found ['FGS1_adc_gain']"),
        ("FGS1_adc_offset,FGS1_adc_gain\n", "has no rows"),
        ("FGS1_adc_offset,FGS1_adc_gain\n-1000,0\n", "FGS1_adc_gain is 0"),
        ("FGS1_adc_offset,FGS1_adc_gain\n-1000,much\n", "'FGS1_adc_gain' is 'much', expected a finite number"),
        ("planet_id,FGS1_adc_offset,FGS1_adc_gain\n6,-1000,0.4\n", "no row for planet 5"),
        ("", "adc_info.csv' cannot be read as a table of the dataset: it is empty (0 bytes)"),
        ("FGS1_adc_offset,FGS1_adc_gain\n-1000,0.4\n-900,0.5\n", "has 2 rows (lines 2, 3) and no column 'planet_id'"),
        ("FGS1_adc_offset,FGS1_adc_gain\n-1000\n", "line 2 has 1 cells for 2 columns"),
        ("planet_id,FGS1_adc_offset,FGS1_adc_gain\n5,-1,1\n5,-2,2\n", "line 2: planet 5 is named more than once (lines 2, 3)"),
    ],
)
def test_adc_info(broken: Path, text: str, words: str) -> None:
    (broken / "adc_info.csv").write_text(text)
    assert words in message(broken)


ADC_ROW = "planet_id,FGS1_adc_offset,FGS1_adc_gain\n5,-1000.5,0.4\n"


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + ADC_ROW.replace("\n", "\r\n") + ",,\r\n",
        ADC_ROW.replace(",", " , "),
        ADC_ROW.replace(",", ";").replace(".", ","),
        ADC_ROW.replace("\n5,", '\n"5.0",'),
        *(f"{ADC_ROW}{planet},1,1\n" for planet in ("", "../x", "9.4e8")),
        f"{ADC_ROW}6,1,1\n6,2,2\n",
        "\ufeffFGS1_adc_offset;FGS1_adc_gain\r\n-1000,5;0,4\r\n;\r\n",
    ],
)
def test_tables_that_a_spreadsheet_touched_are_read(broken: Path, text: str) -> None:
    (broken / "adc_info.csv").write_bytes(text.encode())
    ds = open_visit(broken, 5, 0, "FGS1")
    assert (ds.attrs["adc_offset"], ds.attrs["adc_gain"]) == (-1000.5, 0.4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "train_star_info.csv' cannot be read as a table of the dataset: it is empty (0 bytes)"),
        ("planet_id,Rs\n5,1\n5.0,2\n", "line 2: planet 5 is named more than once (lines 2, 3): keep one row a planet"),
        ("planet_id,Rs\n,1\n", "line 2, which may be that of planet 5: there is no planet id"),
        ("planet_id,Rs\n5,large\n", "'Rs' of planet 5 is 'large', expected a finite number"),
        ("planet;Rs\n5;1\n", "no column 'planet_id', found ['planet', 'Rs']"),
    ],
)
def test_star_tables_that_cannot_be_read(broken: Path, text: str, words: str) -> None:
    (broken / "train_star_info.csv").write_text(text)
    assert words in message(broken)


@pytest.mark.parametrize("other", [",1", "../x,1", "9.4e8,1", "6,x", "6,1\n6,2", "6"])
def test_a_star_of_another_planet_that_cannot_be_read(broken: Path, other: str) -> None:
    (broken / "train_star_info.csv").write_text(f"planet_id, Rs\n{other}\n5.0,1.25\n")
    assert open_visit(broken, 5, 0, "FGS1").attrs["star_Rs"] == 1.25


def test_root_tables(broken: Path) -> None:
    axes = pq.read_table(broken / "axis_info.parquet")
    pq.write_table(axes.drop_columns(["FGS1-axis0-h"]), broken / "axis_info.parquet")
    assert "no column 'FGS1-axis0-h'" in message(broken)
    pq.write_table(axes.slice(0, 12), broken / "axis_info.parquet")
    assert "has 12 finite entries, 20 are needed" in message(broken)
    (broken / "axis_info.parquet").unlink()
    assert "axis_info.parquet" in message(broken)
    (broken / "adc_info.csv").unlink()
    assert "adc_info.csv" in message(broken)
