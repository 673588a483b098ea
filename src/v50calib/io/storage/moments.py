"""What tells a committed folder from one that takes its place."""

from __future__ import annotations

from pathlib import Path

Moment = tuple[int, int]


def moment_of(path: Path) -> Moment | None:
    """When the folder's zarr.json was written [ns], and its bytes; None where it has none. Inodes would say more, and change by themselves
    on some file systems of networks.

    >>> import tempfile
    >>> moment_of(Path(tempfile.mkdtemp())) is None
    True
    """
    try:
        found = (path / "zarr.json").stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
