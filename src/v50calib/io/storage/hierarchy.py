"""A store of many committed groups as one Zarr hierarchy, which others open from its root.

The folders above the groups get metadata of their own. The root has that of everything below it besides (consolidated: xarray asks for it,
and warns where there is none), from the end of a run to the beginning of the next change: what is written first makes the root plain,
so that no reader sees an older state, whenever a run is killed. Every number is then found by listing folders, as before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from typing import Any

from v50calib.errors import StoreError
from v50calib.io.storage.location import Location, replace_bytes
from v50calib.io.storage.object_commit import whole
from v50calib.io.storage.objects import ObjectPath
from v50calib.io.storage.stored_group import StoredGroup
from v50calib.io.storage.zarr_groups import group_metadata
from v50calib.untrusted.json_text import load_json

#: arrays and groups that a root has the metadata of, at most: a reader parses all of them before it opens one (0.1 ms each)
MOST_NODES = 20_000
_PLAIN = {"attributes": {}, "zarr_format": 3, "node_type": "group"}


def plain_root(root: Location) -> None:
    """Take the metadata of what is below from the root, before that changes; a root that has none stays. Raises OSError."""
    document = root / "zarr.json"
    try:
        # plain ones are short: of a large one nothing needs to be parsed
        if len(document.read_bytes()) <= len(_text(_PLAIN)):
            return
    except FileNotFoundError:
        return
    replace_bytes(document, _text(_PLAIN))


def complete_groups(root: Location, below: Iterable[str]) -> None:
    """Give the folders above groups their own metadata, where they lack it.

    below: paths of the groups, relative to `root`. Two processes may write the same file: it is replaced in one step by its equal.
    Raises OSError.
    """
    for folder in _above(below):
        document = root / folder / "zarr.json" if folder else root / "zarr.json"
        if isinstance(document, ObjectPath):
            document.create(_text(_PLAIN))
        elif not document.is_file():
            replace_bytes(document, _text(_PLAIN))


def consolidate(root: Location, below: Iterable[str]) -> bool:
    """Write the metadata of all groups into the root; whether they are few enough (MOST_NODES). Nobody else may write meanwhile.

    A group that cannot be read leaves the root plain: who opens it is told then. Raises OSError.
    """
    paths = sorted(below)
    complete_groups(root, paths)
    new = _document(root, paths)
    if new is None:
        return False
    document, text = root / "zarr.json", _text(new)
    if document.read_bytes() != text:
        replace_bytes(document, text)
    return True


def root_is_true(root: Location, below: Iterable[str]) -> bool:
    """Whether what the root says of the groups below it is so: it says nothing, or what `consolidate` would write of these.

    A group that was deleted or changed by hand stands in the root as it was: readers that go by it find fill values, and no error.
    """
    try:
        said = load_json((root / "zarr.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        # of a version that wrote none
        return True
    except (OSError, ValueError, RecursionError):
        return False
    # dictionaries of JSON: a document of another indent or order says the same
    return bool(said == _PLAIN) or bool(said == _document(root, sorted(below)))


def _document(root: Location, paths: list[str]) -> dict[str, Any] | None:
    """A root's metadata with that of all groups; None where one cannot be read, or there are more than MOST_NODES."""
    found: dict[str, Any] = {folder: _PLAIN for folder in _above(paths) if folder}
    for path in paths:
        try:
            found |= whole(root / path, partial(_metadata, path))
        except StoreError:
            return None
        if len(found) > MOST_NODES:
            return None
    return group_metadata({}, found)


def _metadata(path: str, here: Location) -> dict[str, Any]:
    """Metadata of a group and its arrays by their paths."""
    group = StoredGroup(here)
    # one whose arrays are in an archive says that it has none: zarr would look for some
    arrays = {f"{path}/{name}": meta for name, meta in group.arrays.items()} if group.archive is None else {}
    return {path: {k: v for k, v in group.node.items() if k != "consolidated_metadata"} if arrays else group.node, **arrays}


def _above(paths: Iterable[str]) -> list[str]:
    """Every folder above, the root ("") first.

    >>> _above(["7/0/FGS1", "7/1/FGS1"])
    ['', '7', '7/0', '7/1']
    """
    return sorted({""} | {"/".join(parts[:n]) for parts in (path.split("/") for path in paths) for n in range(1, len(parts))})


def _text(node: dict[str, Any]) -> bytes:
    return json.dumps(node).encode()
