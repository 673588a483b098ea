"""Names of visits: planet, visit, instrument, split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from v50calib.errors import DataError

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")

#: what a planet's id is made of: it becomes a part of paths
PLANET_ID = re.compile(r"[0-9A-Za-z_-]+")
#: an instrument becomes a part of paths as well: `NAME` or `NAME.CHANNEL`
INSTRUMENT_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]*(?:\.[0-9A-Za-z_-]+)?")
_FLOAT_ID = re.compile(r"(\d+)\.0*")


@dataclass(frozen=True, order=True)
class VisitKey:
    """Names one visit of one planet by one instrument; sorts by planet, visit, instrument, split.

    >>> key = VisitKey("1103775", 0, "FGS1")
    >>> key.label, str(key)
    ('1103775/0/FGS1', 'train/1103775/0/FGS1')
    """

    planet_id: str
    visit: int
    instrument: str
    split: Split = "train"

    def __str__(self) -> str:
        return f"{self.split}/{self.label}"

    @property
    def label(self) -> str:
        """planet/visit/instrument: the visit in the manifest, in messages and in the path of its product."""
        return f"{self.planet_id}/{self.visit}/{self.instrument}"


def normalise_planet_id(value: object) -> str:
    """Planet id as text. Raises DataError for what cannot be a folder name (an id becomes part of paths).

    >>> normalise_planet_id(1103775.0), normalise_planet_id(" 1103775.0 "), normalise_planet_id("lamp-1")
    ('1103775', '1103775', 'lamp-1')
    """
    if isinstance(value, float):
        if not value.is_integer():  # NaN and infinity are not either
            raise DataError(f"planet id {value!r} is not valid: expected a whole number or a name")
        value = int(value)
    text = str(value).strip()
    if match := _FLOAT_ID.fullmatch(text):
        text = match[1]
    if not PLANET_ID.fullmatch(text):
        raise DataError(f"planet id {value!r} is not valid: ids are made of letters, digits, '_' and '-' only")
    return text
