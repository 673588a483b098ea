"""Ids and tables as spreadsheets leave them: read, or one row refused with its line."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable

import pytest

from v50calib.errors import DataError
from v50calib.tables.ids import may_mean, normalise_planet_id
from v50calib.tables.sheet import Planets, by_planet, parse, readable, twice

TABLE = "planet_id,Rs,P\n1311275808,1.15,7.1\n2925924672,0.88,5.9\n"
READ = {"1311275808": (1.15, 7.1), "2925924672": (0.88, 5.9)}


def read(content: bytes) -> Planets[tuple[float, ...]]:
    sheet = parse("star.csv", content, "stars")
    assert sheet.header == ("planet_id", "Rs", "P")
    return by_planet(sheet, lambda cells: tuple(sheet.number(cell) for cell in cells[1:]))


@pytest.mark.parametrize(
    ("value", "planet"),
    [
        (1311275808, "1311275808"),
        (1311275808.0, "1311275808"),
        ("1311275808.0", "1311275808"),
        ("1311275808,0", "1311275808"),
        ("1.311275808e+09", "1311275808"),
        ("1,311275808E+09", "1311275808"),
        ("940000000e+00", "940000000"),
        (' "1311275808" ', "1311275808"),
        ("'1311275808", "1311275808"),
        ("\u00a07\u00a0", "7"),
        ("007", "007"),
        ("9e8", "9e8"),  # a name: spreadsheets write a point or a sign
        ("lamp-1", "lamp-1"),
    ],
)
def test_ids_as_they_are_written(value: object, planet: str) -> None:
    assert normalise_planet_id(value) == planet


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("1.1e+09", "rounded to 2 of its 10 digits"),
        ("9.4e8", "rounded to 2 of its 9 digits"),
        ("1E+09", "rounded to 1 of its 10 digits"),
        ("1.25e+01", "expected a whole number or a name"),
        ("", "there is no planet id"),
        ("../x", "made of letters"),
        ("1,311,275,808", "made of letters"),
        (math.nan, "expected a whole number or a name"),
        (1.5, "expected a whole number or a name"),
        (1e17, "has not all its digits"),
    ],
)
def test_ids_that_are_none(value: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        normalise_planet_id(value)
    assert readable(value)[0] == ""
    assert words in readable(value)[1]


def test_whose_a_rounded_id_may_be() -> None:
    assert may_mean("1.3e+09", "1311275808")
    assert not may_mean("1.3e+09", "2925924672")
    assert not may_mean("9.4e8", "1311275808")
    assert may_mean(" ", "anything")
    assert not may_mean("1.3e+09", "lamp-1")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text + ",,\n,,\n",
        lambda text: "\n,,\n" + text,
        lambda text: text.replace("\n", ",,,\n"),
        lambda text: text.replace(",", " , "),
        lambda text: "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines()),
        lambda text: text.replace("\n2", '\n"2').replace(",0.88", '","0,88"'),
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", ";").replace(".", ","),
        lambda text: "sep=;\n" + text.replace(",", ";"),
        lambda text: text.replace(",", "\t").replace(".", ","),
        lambda text: text.replace("08,", "08.0,").replace("72,", "72.0,"),
        lambda text: text.removesuffix("\n"),
    ],
)
def test_what_a_spreadsheet_does_to_a_table_is_read(spoil: Callable[[str], str]) -> None:
    found = read(spoil(TABLE).encode())
    assert found.rows == READ
    assert found.refused == ()


def test_other_encodings() -> None:
    assert read(TABLE.encode("utf-16")).rows == READ
    sheet = parse("star.csv.gz", gzip.compress(TABLE.encode()), "stars")
    assert [line for line, _ in sheet.rows()] == [2, 3]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (",1,1", "there is no planet id"),
        ("../x,1,1", "planet id '../x' is not valid"),
        ("9.4e8,1,1", "rounded"),
        ("7,1", "2 cells for 3 columns"),
        ("7,1,2,3", "4 cells for 3 columns"),
        ("7,1,many", "planet 7: 'many', expected numbers"),
        ("7,1,1_0", "'1_0', expected numbers"),
        ('7,1,"1,311"', "a comma for thousands or for decimals"),
    ],
)
def test_a_row_that_cannot_be_read_is_refused_alone(row: str, words: str) -> None:
    found = read(f"{TABLE}{row}\n".encode())
    assert found.rows == READ
    assert len(found.refused) == 1
    assert found.notes[0].startswith("'star.csv' line 4 is left out: ")
    assert words in found.notes[0]
    # only an empty id could be that of a planet without a row
    assert found.row("1311275808") == READ["1311275808"]
    if row.startswith(","):
        with pytest.raises(DataError, match=r"line 4, which may be that of planet 8: there is no planet id"):
            found.row("8")
    else:
        assert found.row("8") is None


def test_a_rounded_id_is_the_failure_of_the_planets_it_may_be() -> None:
    found = read(TABLE.replace("1311275808", "1.3e+09").encode())
    assert found.row("2925924672") == READ["2925924672"]
    with pytest.raises(DataError, match=r"'star.csv' line 2, which may be that of planet 1311275808.*rounded to 2 of its 10 digits"):
        found.row("1311275808")


def test_a_planet_with_two_rows() -> None:
    found = read(f"{TABLE}1311275808.0,9,9\n".encode())
    assert list(found.rows) == ["2925924672"]
    with pytest.raises(DataError, match=r"line 2: planet 1311275808 is named more than once \(lines 2, 4\)"):
        found.row("1311275808")
    # a cut row is a second row
    assert list(read(f"{TABLE}1311275808,9\n".encode()).rows) == ["2925924672"]
    assert twice([(1, "7"), (2, "8")]) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"\n\n", "2 bytes and no header"),
        (b"\xff\xfe\x00\x81", "no UTF-8 text"),
        (b"PK\x03\x04\x00\x00", "zero bytes"),
        (b"planet_id,P,P\n7,1,2\n", "the column 'P' twice"),
    ],
)
def test_tables_that_are_none(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        parse("star.csv", content, "stars")


def test_a_table_without_ids() -> None:
    with pytest.raises(DataError, match=r"no column 'planet_id', found \['a', 'b'\]"):
        by_planet(parse("t.csv", b"a,b\n1,2\n", "stars"), len)
