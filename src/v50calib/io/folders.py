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
    """Folders in `path` whose names do not begin with a dot; none where `path` is no folder, or one that cannot be listed."""
    if readable_folder(path):
        with os.scandir(path) as entries:
            yield from (Path(entry.path) for entry in entries if _is_folder(entry) and not entry.name.startswith("."))


def readable_folder(path: Path) -> bool:
    """Whether a folder can be listed: it is one, of this user, and no link leads in a circle."""
    return os.access(path, os.R_OK | os.X_OK) and path.is_dir()


def planet_folders(root: Path, planet: str | None = None) -> Iterator[tuple[Split, Path]]:
    """(split, folder) of every planet, or of one planet without a look at the others; those that cannot be listed are left out."""
    for split in SPLITS:
        if planet is None:
            folders = (folder for folder in subfolders(root / split) if PLANET_ID.fullmatch(folder.name))
        else:
            folders = (folder for folder in [root / split / planet])
        yield from ((split, folder) for folder in folders if readable_folder(folder))


def locked_planets(root: Path, planet: str | None = None) -> Iterator[tuple[Split, str]]:
    """(split, planet) of what has a planet's name and is there, but cannot be listed: a folder of another user, a link in a circle."""
    for split in SPLITS:
        if not readable_folder(root / split):
            continue
        with os.scandir(root / split) as entries:
            for entry in entries:
                folder = entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and not os.path.isfile(entry.path))  # noqa: PTH113
                if folder and planet in (None, entry.name) and PLANET_ID.fullmatch(entry.name) and not readable_folder(Path(entry.path)):
                    yield split, entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


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
