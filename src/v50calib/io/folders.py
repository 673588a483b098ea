"""Folders of a root, listed quickly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class _Folder:
    """Name and path of a directory, as os.DirEntry has them."""

    location: Path

    @property
    def name(self) -> str:
        return self.location.name

    @property
    def path(self) -> str:
        return str(self.location)


def _folders(path: Path) -> Iterator[os.DirEntry[str]]:
    if path.is_dir():
        with os.scandir(path) as entries:
            yield from (entry for entry in entries if entry.is_dir() and not entry.name.startswith("."))
