"""The challenge's folder as a root: `{split}/{planet}/{instrument}_signal_{visit}.parquet` (2024: no number, visit 0)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

from v50calib.errors import DataError
from v50calib.io.challenge.parquet import ParquetFrames, open_parquet_frames
from v50calib.io.challenge.tables import AXIS_FILE, missing_tables, read_axes, read_reference, read_star, visit_files
from v50calib.io.folders import locked_planets, planet_folders, planet_objects
from v50calib.io.identity import identity_of_files
from v50calib.io.keys import Split, VisitKey
from v50calib.io.plausible import checked
from v50calib.io.source import VisitSource
from v50calib.io.storage.location import Location, version_of
from v50calib.io.storage.objects import ObjectPath
from v50calib.reference import MAP_NAMES, hash_text
from v50calib.schema import INSTRUMENT, INSTRUMENTS, NOTES_ATTR, NOTES_BETWEEN, Instrument, instrument_of
from v50calib.untrusted.boundary import foreign

#: a signal file or a folder of calibration maps: instrument and number of the visit
_VISIT_FILE = re.compile(rf"({'|'.join(INSTRUMENTS)})_(?:signal|calibration)(?:_(\d+))?(?:\.parquet)?")


@dataclass(frozen=True)
class ChallengeRoot:
    """Parquet files and folders of maps, one row group a signal file. See `root.Root`."""

    location: Location
    kind: ClassVar[str] = "challenge folder"
    whole_files: ClassVar[bool] = True

    def visits(self, planet: str | None = None) -> list[VisitKey]:
        matches = ((split, name, _VISIT_FILE.fullmatch(file)) for split, name, file in self._files(planet))
        found = {VisitKey(name, int(match[2] or 0), match[1], split) for split, name, match in matches if match}
        if not isinstance(self.location, ObjectPath):
            # a planet must not be missing without a word: its visits are unknown, and fail when they are opened
            found |= {VisitKey(name, 0, one, split) for split, name in locked_planets(self.location, planet) for one in INSTRUMENTS}
        return sorted(found)

    def _files(self, planet: str | None) -> Iterator[tuple[Split, str, str]]:
        """(split, planet, name) of everything directly in the planets' folders."""
        if isinstance(self.location, ObjectPath):
            yield from ((split, name, below[0]) for split, name, below in planet_objects(self.location, planet))
            return
        for split, folder in planet_folders(self.location, planet):
            with os.scandir(folder) as entries:
                yield from ((split, folder.name, entry.name) for entry in entries)

    def open(self, key: VisitKey, threads: int | None = None) -> VisitSource:
        with foreign(f"{self.location}, visit {key}", "cannot be opened"):
            return self._open(key, threads)

    def _open(self, key: VisitKey, threads: int | None) -> VisitSource:
        files = visit_files(self.location, key)
        if not files.signal.is_file():
            self._refuse_padded(key)
        frames = open_parquet_frames(files.signal, INSTRUMENT[key.instrument].shape, threads=threads)
        reference = read_reference(self.location, key, files)
        axes = read_axes(self.location, key.instrument, frames.n_frames)
        attrs: dict[str, Any] = {
            "planet_id": key.planet_id,
            "visit": key.visit,
            "instrument": key.instrument,
            "split": key.split,
            "adc_offset": reference.adc_offset,
            "adc_gain": reference.adc_gain,
        }
        star = read_star(self.location, key)
        attrs |= {f"star_{name}": value for name, value in star.items()}
        attrs["layout"] = files.layout
        if lacking := missing_tables(self.location, key, star):
            attrs[NOTES_ATTR] = NOTES_BETWEEN.join(lacking)
        return checked(VisitSource(key, frames, reference, axes.time_h, axes.exposure_s, axes.wavelength, attrs))

    def _refuse_padded(self, key: VisitKey) -> None:
        """Raises DataError where a visit's file is there under a number with leading zeros, by which it is listed but not found."""
        for _, _, name in self._files(key.planet_id):
            match = _VISIT_FILE.fullmatch(name)
            number = match[2] if match and match[1] == key.instrument else None
            if number and number.startswith("0") and number != "0" and int(number) == key.visit:
                right = name.replace(f"_{number}", f"_{key.visit}")
                path = self.location / key.split / key.planet_id / name
                raise DataError(
                    f"{path}: a visit's number has no leading zeros ({number}): rename the file and the folder of its maps, e.g. {right}"
                )

    def instrument(self, key: VisitKey) -> Instrument:
        return instrument_of({"instrument": key.instrument})

    def identity(self, key: VisitKey, source: VisitSource | None = None) -> dict[str, str]:
        with foreign(f"{self.location}, visit {key}", "cannot be opened"):
            # taken first: what changes meanwhile must not pass for what was read
            stamp = self.stamp(key)
            source = source if source is not None else self.open(key)
            assert isinstance(source.frames, ParquetFrames)
            return identity_of_files(source, version_of(source.frames.path), stamp)

    def stamp(self, key: VisitKey) -> str:
        """Sizes and times of change of all files that the visit is made of."""
        files = visit_files(self.location, key)
        tables = [AXIS_FILE, "adc_info.csv", f"{key.split}_adc_info.csv", f"{key.split}_star_info.csv"]
        maps = [files.calibration / f"{name}.parquet" for name in MAP_NAMES]
        paths = [files.signal, *maps, *(self.location / name for name in tables)]
        if isinstance(self.location, ObjectPath):
            # a dozen requests, in one round trip
            with ThreadPoolExecutor(len(paths)) as pool:
                versions = list(pool.map(_version, paths))
        else:
            versions = [_version(path) for path in paths]
        return hash_text(repr([(p.name, *v) for p, v in zip(paths, versions, strict=True) if v is not None]))


def _version(path: Location) -> tuple[object, ...] | None:
    """What changes when the file does; None where it is not there."""
    try:
        if isinstance(path, ObjectPath):
            return (path.version(),)
        status = path.stat()
        return status.st_size, status.st_mtime_ns
    except FileNotFoundError:
        return None
