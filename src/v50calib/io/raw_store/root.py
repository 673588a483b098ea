"""A raw Zarr store as a root: its visits and how one is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from v50calib.io.folders import _Folder, _folders
from v50calib.io.keys import _INSTRUMENT, Split, VisitKey
from v50calib.io.storage.commit import COMMIT_NAME


def _store_planet(planet: os.DirEntry[str] | _Folder, split: Split) -> Iterator[VisitKey]:
    for visit in _folders(Path(planet.path)):
        if visit.name.isdecimal():
            for instrument in _folders(Path(visit.path)):
                if _INSTRUMENT.fullmatch(instrument.name) and Path(instrument.path, COMMIT_NAME).is_file():
                    yield VisitKey(planet.name, int(visit.name), instrument.name, split)
