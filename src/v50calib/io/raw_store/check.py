"""Every byte of a raw store against what was ingested."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from v50calib.errors import DataError, StoreError
from v50calib.io.keys import VisitKey
from v50calib.io.raw_store.group import AGAIN, FORMAT, HASHES_ATTR, check_format, group_path, open_group, read_attrs
from v50calib.io.raw_store.root import RawStoreRoot
from v50calib.io.storage.commit import COMMIT_NAME, check_complete, read_record, tree_hash
from v50calib.io.storage.location import Location
from v50calib.io.storage.object_commit import whole
from v50calib.untrusted.boundary import foreign


@dataclass
class StoreVerification:
    """What was found.

    whole      number of visits that are as they were ingested
    broken     {visit: reason}
    unchecked  visits of an older version: their chunks have no checksums, so that reading does not notice a flipped bit; `verify` does
    """

    store: str
    whole: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    unchecked: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every visit is as it was ingested."""
        return not self.broken

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"ok": self.ok}


def is_raw_store(path: Location) -> bool:
    """Whether a location says that it is a raw store."""
    meta = path / "zarr.json"
    try:
        return meta.is_file() and f'"{FORMAT}"' in meta.read_text()
    except (OSError, ValueError):
        return False


def verify_store(store: Location) -> StoreVerification:
    """Check every visit of a raw store. Raises StoreError where it is none."""
    check_format(store)
    found = StoreVerification(str(store))
    root = RawStoreRoot(store)
    for path in root.unfinished():
        label = path.relative_to(store).as_posix()  # type: ignore[arg-type]
        found.broken[label] = (
            f"{path} has no {COMMIT_NAME}, so that no command reads it: its record was lost or it was not written completely; "
            f"remove it and {AGAIN}"
        )
    for key in root.visits():
        reason = _fault(store, key)
        if reason:
            found.broken[str(key)] = reason
            continue
        found.whole += 1
        if HASHES_ATTR not in read_attrs(store, key):
            found.unchecked.append(str(key))
    return found


def _hashes(path: Location, here: Location) -> tuple[str, object]:
    """Tree hash of a visit as it is, and as it was ingested. Raises StoreError where chunks are missing."""
    check_complete(here)
    return tree_hash(here), read_record(path, AGAIN).get("tree_sha256")


def _fault(store: Location, key: VisitKey) -> str:
    """Why a visit is not as it was ingested; empty where it is."""
    path = group_path(store, key)
    try:
        with foreign(path, remedy=f"remove it and {AGAIN}"):
            open_group(store, key)
            found, known = whole(path, lambda here: _hashes(path, here))
            if found != known:
                return f"{path}: its bytes are not those that were ingested (tree_sha256 differs): remove it and {AGAIN}"
    except (DataError, StoreError) as error:
        return str(error)
    return ""
