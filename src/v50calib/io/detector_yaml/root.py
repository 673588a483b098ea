"""A folder with a `detector.yaml` as a root: the file lists the visits, and says where the arrays of each are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dask.base import tokenize

from v50calib.io.detector_yaml.load import load_description
from v50calib.io.detector_yaml.source import check_root, instrument_of_visit, open_listed_visit
from v50calib.io.identity import identity_of_files
from v50calib.io.keys import VisitKey
from v50calib.io.plausible import checked
from v50calib.io.source import VisitSource
from v50calib.schema import Instrument
from v50calib.untrusted.boundary import foreign


@dataclass(frozen=True)
class DetectorYamlRoot:
    """Frames and maps of any other detector in NPY, Zarr or NetCDF files, read in parts. See `root.Root`."""

    location: Path
    kind: ClassVar[str] = "detector.yaml"
    whole_files: ClassVar[bool] = False

    def visits(self, planet: str | None = None) -> list[VisitKey]:
        """As the file lists them; a list of all is checked first, as its `validation` asks for."""
        if planet is None:
            with foreign(self.location / "detector.yaml", "cannot be checked"):
                return check_root(self.location)
        return sorted(key for key, _ in load_description(self.location).entries() if key.planet_id == planet)

    def open(self, key: VisitKey, threads: int | None = None) -> VisitSource:
        with foreign(f"{self.location}, visit {key}", "cannot be opened"):
            return checked(open_listed_visit(self.location, key))

    def instrument(self, key: VisitKey) -> Instrument:
        with foreign(f"{self.location}, visit {key}", "cannot be opened"):
            return instrument_of_visit(self.location, key)

    def identity(self, key: VisitKey, source: VisitSource | None = None) -> dict[str, str]:
        source = source if source is not None else self.open(key)
        with foreign(f"{self.location}, visit {key}", "cannot be opened"):
            # frames name themselves by path, size and time of change; the hash leaves no path
            return identity_of_files(source, tokenize(source.frames))

    def stamp(self, key: VisitKey) -> str:
        """None: opening a visit is cheap, and any file may have a part in it."""
        return ""
