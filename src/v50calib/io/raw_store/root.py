"""A raw Zarr store as a root: `{split}/{planet}/{visit}/{instrument}`, a group each; only groups that were committed count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from v50calib.io.folders import locked_planets, planet_folders, planet_objects, subfolders
from v50calib.io.keys import INSTRUMENT_NAME, Split, VisitKey
from v50calib.io.plausible import checked
from v50calib.io.raw_store.group import AGAIN, group_path, open_group, read_attrs
from v50calib.io.source import VisitSource
from v50calib.io.storage.commit import COMMIT_NAME, is_committed, read_record
from v50calib.io.storage.location import Location
from v50calib.io.storage.objects import ObjectPath
from v50calib.schema import INSTRUMENTS, Instrument, instrument_of
from v50calib.untrusted.boundary import foreign


@dataclass(frozen=True)
class RawStoreRoot:
    """What `ingest` writes: frames in chunks that decode alone. See `root.Root`."""

    location: Location
    kind: ClassVar[str] = "raw Zarr store"
    whole_files: ClassVar[bool] = False

    def visits(self, planet: str | None = None) -> list[VisitKey]:
        groups = self._groups(planet)
        found = {VisitKey(n, int(v), i, s) for s, n, v, i in groups if v.isdecimal() and INSTRUMENT_NAME.fullmatch(i)}
        if not isinstance(self.location, ObjectPath):
            # as in the challenge's folder
            found |= {VisitKey(name, 0, one, split) for split, name in locked_planets(self.location, planet) for one in INSTRUMENTS}
        return sorted(found)

    def unfinished(self) -> list[Location]:
        """Groups that have no commit record, sorted: no reader takes them for a visit."""
        if isinstance(self.location, ObjectPath):
            every = {(s, n, *below[:2]) for s, n, below in planet_objects(self.location) if len(below) > 2 and not below[1].startswith(".")}
            return sorted((self.location / "/".join(parts) for parts in every - set(self._groups(None))), key=str)
        folders = planet_folders(self.location)
        groups = (group for _, folder in folders for visit in subfolders(folder) for group in subfolders(visit))
        return sorted(group for group in groups if not is_committed(group))

    def _groups(self, planet: str | None) -> Iterator[tuple[Split, str, str, str]]:
        """(split, planet, visit, instrument) of every committed group, as its folders are named."""
        if isinstance(self.location, ObjectPath):
            for split, name, below in planet_objects(self.location, planet):
                if len(below) == 3 and below[2] == COMMIT_NAME:
                    yield split, name, below[0], below[1]
            return
        for split, folder in planet_folders(self.location, planet):
            for visit in subfolders(folder):
                for group in subfolders(visit):
                    if is_committed(group):
                        yield split, folder.name, visit.name, group.name

    def open(self, key: VisitKey, threads: int | None = None) -> VisitSource:
        return checked(open_group(self.location, key))

    def instrument(self, key: VisitKey) -> Instrument:
        with foreign(group_path(self.location, key), "is damaged", "remove it and ingest the visit again"):
            return instrument_of(read_attrs(self.location, key))

    def identity(self, key: VisitKey, source: VisitSource | None = None) -> dict[str, str]:
        return {"tree": str(read_record(group_path(self.location, key), AGAIN).get("tree_sha256"))}

    def stamp(self, key: VisitKey) -> str:
        """None: the identity is one small file."""
        return ""
