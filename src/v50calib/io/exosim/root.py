"""ExoSim 2's output as a root: one file of NDRs, or a folder of them, each with its configuration beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from v50calib.errors import DataError
from v50calib.io.exosim.files import Listed, find_listed, is_hdf5, listed, ndr_files
from v50calib.io.exosim.sidecar import FILE
from v50calib.io.exosim.source import instrument_of_listed, open_listed
from v50calib.io.identity import identity_of_files
from v50calib.io.keys import VisitKey
from v50calib.io.plausible import checked
from v50calib.io.source import VisitSource
from v50calib.io.storage.location import version_of
from v50calib.reference import hash_text
from v50calib.schema import Instrument
from v50calib.untrusted.boundary import foreign


@dataclass(frozen=True)
class ExosimRoot:
    """NDRs of ExoSim 2, read in parts. See `root.Root`."""

    location: Path
    kind: ClassVar[str] = "ExoSim output"
    whole_files: ClassVar[bool] = False

    def visits(self, planet: str | None = None) -> list[VisitKey]:
        """As files and folders are called; see `files.listed`."""
        with foreign(self.location, "cannot be listed"):
            return [one.key for one in listed(self.location) if planet in (None, one.key.planet_id)]

    def open(self, key: VisitKey, threads: int | None = None) -> VisitSource:
        with foreign(f"{self.location}, visit {key}", "cannot be opened", "simulate the visit again, or copy it again"):
            return checked(open_listed(self._listed(key)))

    def _listed(self, key: VisitKey) -> Listed:
        found = find_listed(self.location, key)
        if found is None:
            raise DataError(f"{self.location} holds no visit {key}: it has {[str(one) for one in self.visits()][:8]}")
        return found

    def instrument(self, key: VisitKey) -> Instrument:
        with foreign(f"{self.location}, visit {key}", "cannot be opened"):
            return instrument_of_listed(self._listed(key))

    def identity(self, key: VisitKey, source: VisitSource | None = None) -> dict[str, str]:
        with foreign(f"{self.location}, visit {key}", "cannot be opened"):
            # taken first: what changes meanwhile must not pass for what was read
            stamp = self.stamp(key)
            source = source if source is not None else self.open(key)
            return identity_of_files(source, version_of(self._listed(key).file.path), stamp)

    def stamp(self, key: VisitKey) -> str:
        """Sizes and times of change of the file and of everything beside it that may have a part in it."""
        with foreign(f"{self.location}, visit {key}", "cannot be opened"):
            file = self._listed(key).file.path
            beside = [path for path in file.parent.iterdir() if path.suffix.lower() in (".xml", ".npy")]
            own = (self.location.parent if self.location.is_file() else self.location) / FILE
            paths = [file, *sorted(beside), *([own] if own.is_file() else [])]
            return hash_text(repr([(path.name, version_of(path)) for path in paths]))


def holds_ndrs(location: Path) -> bool:
    """Whether a location is a file of NDRs, or a folder in which there are some."""
    if location.is_file() and not is_hdf5(location):
        return False
    with foreign(location, "cannot be listed"):
        return bool(ndr_files(location))
