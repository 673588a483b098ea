"""A committed group of arrays (a product, a planet's fit, estimates), whichever of the two layouts its files have.

PATH/zarr.json            attributes; the arrays' metadata too, where they are folders beside it
PATH/<array>/…            an array (layout `zarr`), or
PATH/arrays.zip           all of them (layout `packed`)
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from v50calib.errors import StoreError
from v50calib.io.storage.archive import AGAIN, ARCHIVE, ARRAYS_IN, Archive, ArchiveStore
from v50calib.io.storage.commit import marked_group
from v50calib.io.storage.location import Location
from v50calib.io.storage.moments import moment_of
from v50calib.io.storage.object_commit import standing_source
from v50calib.io.storage.zarr_groups import Layout, decode_array
from v50calib.untrusted.json_text import load_json

#: arrays that are named where they are lost, at most
SHOWN = 6


class StoredGroup:
    """Its methods raise StoreError where a file is lost or damaged; the words name `what` the group is."""

    def __init__(self, path: Location, what: str = "product", final: Location | None = None) -> None:
        """final: the group's place, where its files are at `path` because they are being copied there (`object_commit.standing`)."""
        self.path, self.what, self.final = path, what, path if final is None else final
        self._moment = moment_of(path) if isinstance(path, Path) else None

    @cached_property
    def node(self) -> dict[str, Any]:
        """The content of its zarr.json."""
        try:
            node = dict(load_json((self.path / "zarr.json").read_text(encoding="utf-8")))
            dict(node["attributes"])
            return node
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise StoreError(f"{self.what} {self.final} is damaged ({exc!r}): {AGAIN}") from exc

    @property
    def attrs(self) -> dict[str, Any]:
        """Its attributes."""
        return {name: value for name, value in self.node["attributes"].items() if name != ARRAYS_IN}

    @cached_property
    def archive(self) -> Archive | None:
        """Where its arrays are; None: in folders."""
        listed = self._listed
        if listed is None or listed:
            return None
        # absolute: Dask's workers, and who changes the folder, read it later
        here, final = (path.absolute() if isinstance(path, Path) else path for path in (self.path, self.final))
        return Archive(here / ARCHIVE, final / ARCHIVE, self._moment)

    @property
    def layout(self) -> Layout:
        """How its arrays are stored."""
        return "zarr" if self.archive is None else "packed"

    @property
    def _listed(self) -> dict[str, Any] | None:
        """Metadata of the arrays as the group's own file has them; None in groups that were written before it had any."""
        try:
            listed = self.node["consolidated_metadata"]["metadata"]
        except (KeyError, TypeError):
            return None
        return listed if isinstance(listed, dict) else None

    @cached_property
    def arrays(self) -> dict[str, dict[str, Any]]:
        """Metadata of its arrays by name, as Zarr has them."""
        if self.archive is not None:
            try:
                node = load_json(self._read("zarr.json"))
                return _checked(node["consolidated_metadata"]["metadata"])
            except (OSError, ValueError, KeyError, TypeError, StoreError) as exc:
                raise self._damaged(ARCHIVE, exc) from exc
        if self._listed is not None:
            try:
                listed = _checked(self._listed)
                # one listing more is nothing on a disk, and a request for each array in a bucket: there the array's own reading tells
                there = {entry.name for entry in self.path.iterdir()} if isinstance(self.path, Path) else set(listed)
            except (OSError, ValueError) as exc:
                raise self._damaged("zarr.json", exc) from exc
            lost = [n for n in listed if n not in there or (isinstance(self.path, Path) and not (self.path / n / "zarr.json").is_file())]
            if lost:
                names = ", ".join(lost[:SHOWN]) + (f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else "")
                raise StoreError(f"{self.what} {self.final} has lost {names}, which it was committed with: {AGAIN}")
            return listed
        try:
            metas = [meta for meta in self.path.rglob("zarr.json") if meta.parent != self.path]
            return {meta.parent.name: load_json(meta.read_text(encoding="utf-8")) for meta in metas}
        except (OSError, ValueError) as exc:
            raise self._damaged("zarr.json", exc) from exc

    def _read(self, name: str) -> bytes:
        return (self.path / name).read_bytes() if self.archive is None else self.archive.read(name)

    def _file(self, array: str, name: str) -> bytes:
        return self._read(f"{array}/{name}")

    def _damaged(self, name: str, exc: Exception) -> StoreError:
        return StoreError(f"{name} of {self.what} {self.final} is damaged ({exc!r}): {AGAIN}")

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Arrays in memory; names that it does not have are left out."""
        out: dict[str, np.ndarray] = {}
        # what is listed and lost, its own reading tells: looking for all of them costs as much as reading a few
        known = self.arrays if self.archive is not None or self._listed is None else self._listed
        for name in names:
            if name not in known:
                continue
            try:
                plain = decode_array(partial(self._file, name))
                out[name] = plain if plain is not None else np.asarray(zarr.open_array(self.source, path=name, mode="r")[...])
            except (OSError, ValueError, KeyError, RuntimeError, StoreError) as exc:
                raise self._damaged(name, exc) from exc
        return out

    @property
    def source(self) -> Any:
        """What zarr and xarray open it with."""
        return standing_source(self.path, self.final, self._moment) if self.archive is None else ArchiveStore(self.archive)

    def open(self) -> xr.Dataset:
        """All of it, lazily: one Dask chunk per stored chunk."""
        # read first: what is lost or cut is told before zarr finds no array
        self.arrays  # noqa: B018
        try:
            with marked_group():
                return xr.open_zarr(self.source, consolidated=self._listed is not None, chunks={})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise self._damaged("zarr.json" if self.archive is None else ARCHIVE, exc) from exc


def _checked(listed: Any) -> dict[str, dict[str, Any]]:
    """Metadata of a group's arrays by name. Raises ValueError for what is none: names lead to files, and roots repeat all of it.

    >>> _checked({"../time": {"node_type": "array", "shape": [2]}})
    Traceback (most recent call last):
    ValueError: '../time' is listed and is no array
    """
    if not isinstance(listed, dict):
        raise ValueError("it lists no arrays")
    for name, meta in listed.items():
        plain = name not in ("", ".", "..") and "/" not in name and "\\" not in name and "\0" not in name
        whole = isinstance(meta, dict) and meta.get("node_type") == "array" and isinstance(meta.get("shape"), list)
        if not (plain and whole):
            raise ValueError(f"{name[:80]!r} is listed and is no array")
    return listed
