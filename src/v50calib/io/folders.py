"""Planets of a root that has a folder a planet, `{split}/{planet}/…`: listed quickly, on disk or in an object store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from v50calib.io.keys import PLANET_ID, SPLITS, Split
from v50calib.io.storage.objects import ObjectPath


def subfolders(path: Path) -> Iterator[Path]:
    """Folders in `path` whose names do not begin with a dot; none where `path` is no folder."""
    if path.is_dir():
        with os.scandir(path) as entries:
            yield from (Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def planet_folders(root: Path, planet: str | None = None) -> Iterator[tuple[Split, Path]]:
    """(split, folder) of every planet, or of one planet without a look at the others."""
    for split in SPLITS:
        if planet is None:
            yield from ((split, folder) for folder in subfolders(root / split) if PLANET_ID.fullmatch(folder.name))
        elif (root / split / planet).is_dir():
            yield split, root / split / planet


def planet_objects(root: ObjectPath, planet: str | None = None) -> Iterator[tuple[Split, str, tuple[str, ...]]]:
    """(split, planet, parts of the name below its folder) of every object, or of one planet's, from one listing a split."""
    for split in SPLITS:
        top = root / split
        for path in (top if planet is None else top / planet).objects():
            name, *below = path.relative_to(top).parts
            if PLANET_ID.fullmatch(name) and below:
                yield split, name, tuple(below)
