"""Planet ids: the one reader of them, from tables, folders and the command line."""

from __future__ import annotations

import re
from decimal import Decimal

from v50calib.errors import DataError

#: what a planet's id is made of: it becomes a part of paths
PLANET_ID = re.compile(r"[0-9A-Za-z_-]+")
_WHOLE = re.compile(r"(\d+)[.,]0*")
#: as a spreadsheet writes large numbers; `9e8` without point and sign may be a name
_POWER = re.compile(r"(\d+)(?:[.,](\d*)[eE]\+?|[eE]\+)(\d{1,2})")
#: a float holds every whole number below this, and not all above
_EXACT = 2**53


def normalise_planet_id(value: object) -> str:
    """Planet id as text. Raises DataError for what cannot be a folder name (an id becomes part of paths), or was rounded.

    >>> normalise_planet_id(1103775.0), normalise_planet_id(" 1103775,0 "), normalise_planet_id("lamp-1")
    ('1103775', '1103775', 'lamp-1')
    >>> normalise_planet_id("1.311275808E+09")
    '1311275808'
    >>> normalise_planet_id("1.3e+09")
    Traceback (most recent call last):
    v50calib.errors.DataError: planet id '1.3e+09' is not valid: it was rounded to 2 of its 10 digits, as spreadsheets do; write all ...
    """
    if isinstance(value, float):
        if not value.is_integer():  # NaN and infinity are not either
            raise DataError(f"planet id {value!r} is not valid: expected a whole number or a name")
        if abs(value) > _EXACT:
            raise DataError(f"planet id {value!r} is not valid: a floating-point number has not all its digits; write it as text")
        value = int(value)
    text = str(value).strip().strip("'\"").strip()
    if match := _WHOLE.fullmatch(text):
        text = match[1]
    elif match := _POWER.fullmatch(text):
        text = _written_out(match, value)
    if not text:
        raise DataError("there is no planet id: write one")
    if not PLANET_ID.fullmatch(text):
        raise DataError(f"planet id {value!r} is not valid: ids are made of letters, digits, '_' and '-' only")
    return text


def _written_out(match: re.Match[str], value: object) -> str:
    """The digits of an id that was written with a power of ten. Raises DataError where some are not there."""
    whole, behind, power = match[1], match[2] or "", int(match[3])
    digits = len(whole) + power
    if len(behind.rstrip("0")) > power:
        raise DataError(f"planet id {value!r} is not valid: expected a whole number or a name")
    if len(behind) < power:
        raise DataError(
            f"planet id {value!r} is not valid: it was rounded to {len(whole) + len(behind)} of its {digits} digits, as spreadsheets do; "
            "write all of them (format the column as text)"
        )
    return (whole + behind)[:digits]


def may_mean(text: str, planet_id: str) -> bool:
    """Whether an id that cannot be read may be this planet's: it is empty, or the planet's number rounded.

    >>> may_mean("1.3e+09", "1311275808"), may_mean("1.3e+09", "2925924672"), may_mean("", "7"), may_mean("../x", "7")
    (True, False, True, False)
    """
    text = text.strip().strip("'\"").strip()
    match = _POWER.fullmatch(text)
    if match is None or not planet_id.isdecimal():
        return not text
    behind = match[2] or ""
    unit = Decimal(10) ** (int(match[3]) - len(behind))
    return abs(Decimal(planet_id) - Decimal(f"{match[1]}.{behind or 0}") * Decimal(10) ** int(match[3])) <= unit
