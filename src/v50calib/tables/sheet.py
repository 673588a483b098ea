"""A table as CSV text, read as spreadsheets and editors leave it.

A byte-order mark, CRLF, blanks around cells, quotes, `;` or tabs between cells, decimal commas and rows of empty cells are read. What a row
cannot mean is said of that row, with file and line.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from v50calib.errors import DataError
from v50calib.tables.ids import may_mean, normalise_planet_id

T = TypeVar("T")

ID = "planet_id"
#: byte-order marks; UTF-16 is what spreadsheets call Unicode text, and begins with an ASCII letter
_MARKS = ((re.compile(b"\xef\xbb\xbf"), "utf-8-sig"), (re.compile(b"\xff\xfe.\0|\xfe\xff\0", re.DOTALL), "utf-16"))
#: `1,311` may be 1311 or 1.311; with another number of digits behind it, the comma is a decimal comma
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d*(?:[eE][+-]?\d+)?")

#: bytes that a gzipped table may unpack to: these (one number everywhere packs 300 times), or so many times its size
_UNPACKED, _RATIO = 32_000_000, 30
#: characters of a line at most; a row of predictions has some 12,000
_LINE = 4_000_000


@dataclass(frozen=True)
class Sheet:
    """The lines of a table: its file's name for messages, what is between cells, the header, and the text of the rest."""

    path: str
    delimiter: str
    header: tuple[str, ...]
    lines: tuple[str, ...]
    #: of the first row, in the file
    first: int

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line, cells) of each row that is not blank, as many cells as the header has, or as the row has. Raises DataError."""
        reader = csv.reader(self.lines, delimiter=self.delimiter, skipinitialspace=True)
        try:
            for cells in reader:
                kept = [cell.strip() for cell in cells]
                if any(kept):
                    while len(kept) > len(self.header) and not kept[-1]:
                        kept.pop()
                    yield self.first + reader.line_num - 1, kept
        except csv.Error as error:
            raise DataError(f"'{self.path}' line {self.first + reader.line_num - 1} is no CSV ({error}): save the table as CSV") from error

    def number(self, text: str) -> float:
        """A cell's number; NaN where it is empty. Raises ValueError, with what was expected."""
        if not text:
            return math.nan
        plain = text
        if _DECIMAL_COMMA.fullmatch(text):
            if self.delimiter == "," and _THOUSANDS.fullmatch(text):
                raise ValueError(f"{text!r}: a comma for thousands or for decimals? Write the number with a point")
            plain = text.replace(",", ".")
        try:
            if "_" in plain:
                raise ValueError
            return float(plain)
        except ValueError:
            raise ValueError(f"{text!r}, expected numbers") from None


@dataclass(frozen=True)
class Refused:
    """A row that is left out: its line (or number), the id as it stands there, whose it is ("" where that cannot be read), and why."""

    line: int
    text: str
    planet: str
    why: str


@dataclass(frozen=True)
class Planets(Generic[T]):
    """What the rows of a table hold, by planet, and the rows that are refused."""

    path: str
    rows: dict[str, T]
    refused: tuple[Refused, ...]

    def row(self, planet_id: str) -> T | None:
        """A planet's row; None where the table has none. Raises DataError where it is refused, or one that is may be this planet's."""
        if planet_id in self.rows:
            return self.rows[planet_id]
        for one in self.refused:
            if one.planet == planet_id or (not one.planet and may_mean(one.text, planet_id)):
                whose = "" if one.planet else f", which may be that of planet {planet_id}"
                raise DataError(f"'{self.path}' line {one.line}{whose}: {one.why}")
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each refused row."""
        return tuple(f"'{self.path}' line {one.line} is left out: {one.why}" for one in self.refused)


def parse(path: str, content: bytes, what: str, *, headed: bool = True) -> Sheet:
    """The sheet of a CSV's bytes, gzipped or not. Raises DataError: empty, no text, a column twice.

    what: "a table of ..." in messages; headed: a list without a header is read as well, its first line is then the sheet's header.
    """
    try:
        raw = _unpacked(path, content) if path.endswith(".gz") else content
        encoding = next((name for mark, name in _MARKS if mark.match(raw)), "utf-8")
        text = raw.decode(encoding)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"'{path}' cannot be read as a table of {what}: it is no UTF-8 text ({error}); save it as CSV UTF-8") from error
    if "\0" in text:
        raise DataError(f"'{path}' cannot be read as a table of {what}: it is no text (it has zero bytes); save it as CSV UTF-8")
    lines = text.splitlines()
    start, given = 0, ""
    while start < len(lines) and not lines[start].strip(' \t,;"'):
        start += 1
    if start < len(lines) and re.fullmatch(r"\"?sep=.\"?", lines[start].strip()):
        given = lines[start].strip().strip('"')[-1]
        start += 1
    if start >= len(lines):
        size = "0 bytes" if not content else f"{len(content)} bytes and no header"
        raise DataError(f"'{path}' cannot be read as a table of {what}: it is empty ({size}); get it again")
    longest = max(map(len, lines))
    if longest > _LINE:
        raise DataError(f"'{path}' cannot be read as a table of {what}: it has a line of {longest} characters; save it as CSV UTF-8")
    head = lines[start]
    delimiter = given or next((mark for mark in (",", ";", "\t") if mark in head), ",")
    try:
        header = [name.strip() for name in next(csv.reader([head], delimiter=delimiter, skipinitialspace=True))]
    except csv.Error as error:
        raise DataError(f"'{path}' line {start + 1} is no CSV ({error}): save the table as CSV") from error
    while len(header) > 1 and not header[-1]:
        header.pop()
    again = [name for i, name in enumerate(header) if name and name in header[:i]]
    if headed and again:
        raise DataError(f"'{path}' has the column '{again[0]}' twice: leave one")
    return Sheet(path, delimiter, tuple(header), tuple(lines[start + 1 :]), start + 2)


def _unpacked(path: str, content: bytes) -> bytes:
    """What a gzip file holds. Raises DataError where it is more than any table of its size."""
    most = max(_UNPACKED, _RATIO * len(content))
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
        raw = stream.read(most + 1)
    if len(raw) > most:
        raise DataError(
            f"'{path}' cannot be read as a table: its {len(content)} bytes unpack to more than {most / 1e6:.0f} MB, which no table of its "
            "size does; unpack it yourself where you know what it is"
        )
    return raw


def by_planet(sheet: Sheet, take: Callable[[list[str]], T]) -> Planets[T]:
    """What `take` makes of the cells of each planet; rows that cannot be read are refused one by one.

    take may raise ValueError, with what is wrong with a cell. Raises DataError where the table has no column planet_id.
    """
    if ID not in sheet.header:
        raise DataError(f"'{sheet.path}' has no column '{ID}', found {list(sheet.header)}: name the column of ids, or get the file again")
    place = sheet.header.index(ID)
    found: dict[str, T] = {}
    refused: list[Refused] = []
    named: list[tuple[int, str]] = []
    for line, cells in sheet.rows():
        text = cells[place] if place < len(cells) else ""
        planet, why = readable(text)
        named += [(line, planet)] * bool(planet)
        if len(cells) != len(sheet.header):
            why = f"{len(cells)} cells for {len(sheet.header)} columns; complete the row, and quote a cell with a comma in it"
        elif planet:
            try:
                found[planet] = take(cells)
            except ValueError as error:
                why = f"planet {planet}: {error}"
        refused += [Refused(line, text, planet, why)] * bool(why)
    doubled = twice(named)
    refused = [one for one in refused if one.planet not in doubled]
    refused += [Refused(line, planet, planet, doubled[planet]) for line, planet in named if planet in doubled]
    kept = {planet: row for planet, row in found.items() if planet not in doubled}
    return Planets(sheet.path, kept, tuple(sorted(refused, key=lambda one: one.line)))


def readable(value: object) -> tuple[str, str]:
    """(id, "") of a cell, or ("", why it cannot be read)."""
    try:
        return normalise_planet_id(value), ""
    except DataError as error:
        return "", str(error)


def twice(rows: Sequence[tuple[int, str]], word: str = "lines") -> dict[str, str]:
    """{planet: why} of those with more than one row. rows: (line, planet).

    >>> twice([(2, "7"), (3, "8"), (5, "7")])
    {'7': 'planet 7 is named more than once (lines 2, 5): keep one row a planet'}
    """
    lines: dict[str, list[int]] = {}
    for line, planet in rows:
        lines.setdefault(planet, []).append(line)
    return {
        planet: f"planet {planet} is named more than once ({word} {', '.join(map(str, at))}): keep one row a planet"
        for planet, at in lines.items()
        if len(at) > 1
    }
