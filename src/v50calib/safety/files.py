"""Files of a run directory that others may be able to write: nothing is opened or written through a link that somebody planted."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from v50calib.errors import StoreError


def open_own(path: Path, flags: int) -> int:
    """A descriptor of a regular file with one name. Raises OSError for a link (ELOOP) and for what is no such file (EINVAL)."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"no file of its own (a pipe or device, or {found.st_nlink} names): remove it", str(path))
    return descriptor


def write_beside(path: Path, content: bytes) -> Path:
    """Write a new file beside `path`, under a name that nobody can foresee, and return it; nothing is left of a failure. Raises OSError."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with _new_file(part) as stream:
            stream.write(content)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return part


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the place of `path`, or of a link or pipe there, once it is whole; where that fails nothing is left of it.

    It is written beside it under a name that nobody can foresee. The folder is made. Raises OSError.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "a.csv")) as stream:
    ...         _ = stream.write(b"whole")
    ...     Path(folder, "a.csv").read_bytes()
    b'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with _new_file(part) as stream:
            yield stream
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _new_file(path: Path) -> IO[bytes]:
    """A file that was not there before."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), "w+b")


def refuse_links(root: Path, path: Path) -> None:
    """Raises StoreError where a part of `path` below `root` is a symbolic link: what is written there would go elsewhere.

    `root` itself and what is above it may be links: they are the user's own. A link of another user in the place of `root` is refused.
    """
    below = [root.joinpath(*path.relative_to(root).parts[:depth]) for depth in range(1, len(path.relative_to(root).parts) + 1)]
    for part in below:
        if part.is_symlink():
            raise StoreError(
                f"'{part}' is a symbolic link to '{part.readlink()}': what belongs into '{root}' would be written there; remove the link"
            )
    refuse_foreign_link(root)


def refuse_foreign_link(path: Path) -> None:
    """Raises StoreError where `path` is a symbolic link of another user than this one or root."""
    if path.is_symlink() and path.lstat().st_uid not in (0, os.geteuid()):
        raise StoreError(f"'{path}' is a symbolic link of user {path.lstat().st_uid}: remove it, or make a link of your own")
