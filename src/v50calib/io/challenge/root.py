"""The challenge's folder as a root: its visits and how one is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from v50calib.io.challenge.parquet import open_parquet_frames
from v50calib.io.challenge.tables import read_axes, read_reference, read_star, visit_files
from v50calib.io.folders import _Folder
from v50calib.io.keys import Split, VisitKey
from v50calib.io.source import VisitSource
from v50calib.io.storage.location import Location
from v50calib.schema import INSTRUMENT, INSTRUMENTS


def _dataset_planet(planet: os.DirEntry[str] | _Folder, split: Split) -> Iterator[VisitKey]:
    with os.scandir(planet.path) as entries:
        for entry in entries:
            if match := _NAME.fullmatch(entry.name):
                yield VisitKey(planet.name, int(match[2] or 0), match[1], split)


_NAME = re.compile(rf"({'|'.join(INSTRUMENTS)})_(?:signal|calibration)(?:_(\d+))?(?:\.parquet)?")


def _open_dataset_source(root: Location, key: VisitKey, threads: int | None) -> VisitSource:
    files = visit_files(root, key)
    frames = open_parquet_frames(files.signal, INSTRUMENT[key.instrument].shape, threads=threads)
    reference = read_reference(root, key, files)
    axes = read_axes(root, key.instrument, frames.n_frames)
    attrs: dict[str, Any] = {
        "planet_id": key.planet_id,
        "visit": key.visit,
        "instrument": key.instrument,
        "split": key.split,
        "adc_offset": reference.adc_offset,
        "adc_gain": reference.adc_gain,
    }
    attrs |= {f"star_{name}": value for name, value in read_star(root, key).items()}
    attrs["layout"] = files.layout
    return VisitSource(key, frames, reference, axes.time_h, axes.exposure_s, axes.wavelength, attrs)
