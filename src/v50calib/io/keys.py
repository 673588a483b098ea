"""Names of visits: planet, visit, instrument, split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from v50calib.tables.ids import PLANET_ID, normalise_planet_id

__all__ = ["INSTRUMENT_NAME", "PLANET_ID", "SPLITS", "Split", "VisitKey", "normalise_planet_id"]

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")

#: an instrument becomes a part of paths as well: `NAME` or `NAME.CHANNEL`
INSTRUMENT_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]*(?:\.[0-9A-Za-z_-]+)?")


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
