"""What the tests of object stores share."""

from __future__ import annotations

from pathlib import Path

from v50calib.io.storage.objects import ObjectPath

#: looked for in everything that a run leaves
SECRET = "s3cr3t-k3y-0f-the-t3st"


def upload(folder: Path, to: ObjectPath) -> ObjectPath:
    """Every file of a folder, by the same names."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            (to / path.relative_to(folder).as_posix()).upload(path)
    return to
