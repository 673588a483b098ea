"""Planets of a root that has a folder a planet, `{split}/{planet}/…`: listed quickly, on disk or in an object store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from v50calib.io.keys import PLANET_ID, SPLITS, Split
from v50calib.io.storage.objects import ObjectPath

#: folders that a note names
NAMED = 5


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


def passed_over(root: Path | ObjectPath) -> list[str]:
    """Folders directly in train/ and test/ of a local root whose names are no planet ids: split/name, sorted.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("7", "7 (copy)"):
    ...         (Path(folder) / "train" / name).mkdir(parents=True)
    ...     passed_over(Path(folder))
    ['train/7 (copy)']
    """
    if isinstance(root, ObjectPath):
        return []
    folders = ((split, folder.name) for split in SPLITS for folder in subfolders(root / split))
    return sorted(f"{split}/{name}" for split, name in folders if not PLANET_ID.fullmatch(name))


def passed_over_note(root: Path | ObjectPath) -> list[str]:
    """One sentence on the folders that are passed over, or nothing."""
    names = passed_over(root)
    if not names:
        return []
    shown = ", ".join(f"'{name}'" for name in names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return [f"passed over, because the name is no planet id: {shown}; rename or remove them"]


def planet_objects(root: ObjectPath, planet: str | None = None) -> Iterator[tuple[Split, str, tuple[str, ...]]]:
    """(split, planet, parts of the name below its folder) of every object, or of one planet's, from one listing a split."""
    for split in SPLITS:
        top = root / split
        for path in (top if planet is None else top / planet).objects():
            name, *below = path.relative_to(top).parts
            if PLANET_ID.fullmatch(name) and below:
                yield split, name, tuple(below)
