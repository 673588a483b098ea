"""What tells a committed folder from one that takes its place."""

from __future__ import annotations

from pathlib import Path

Moment = tuple[int, int]


def moment_of(path: Path) -> Moment | None:
    """The folder's inode, and when its zarr.json was written [ns]; None where it has none.

    >>> import tempfile
    >>> moment_of(Path(tempfile.mkdtemp())) is None
    True
    """
    try:
        return path.stat().st_ino, (path / "zarr.json").stat().st_mtime_ns
    except OSError:
        return None
