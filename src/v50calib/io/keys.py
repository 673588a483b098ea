"""Names of visits: planet, visit, instrument, split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from v50calib.errors import DataError


@dataclass(frozen=True, order=True)
class VisitKey:
    """Names one visit of one planet by one instrument; sorts by planet, visit, instrument, split."""

    planet_id: str
    visit: int
    instrument: str
    split: Split = "train"

    def __str__(self) -> str:
        return f"{self.split}/{self.planet_id}/{self.visit}/{self.instrument}"


Split = Literal["train", "test"]


SPLITS: tuple[Split, ...] = ("train", "test")


def normalise_planet_id(value: object) -> str:
    """Planet id as text: `1103775.0`, `1103775` and `"1103775.0"` are all "1103775".

    Raises DataError for what cannot be a folder name (an id becomes part of paths).
    """
    if isinstance(value, float):
        if not value.is_integer():  # NaN and infinity are not either
            raise DataError(f"planet id {value!r} is not valid: expected a whole number or a name")
        value = int(value)
    text = str(value).strip()
    if match := _FLOAT_ID.fullmatch(text):
        text = match[1]
    if not _ID.fullmatch(text):
        raise DataError(f"planet id {value!r} is not valid: ids are made of letters, digits, '_' and '-' only")
    return text


#: the file that makes a folder a dataset of one's own detectors (`io.custom`)
DETECTOR_FILE = "detector.yaml"


_ID = re.compile(r"[0-9A-Za-z_-]+")


#: an instrument becomes a part of paths, like a planet's id: `NAME` or `NAME.CHANNEL`
_INSTRUMENT = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]*(?:\.[0-9A-Za-z_-]+)?")


_FLOAT_ID = re.compile(r"(\d+)\.0*")
