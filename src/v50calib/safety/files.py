"""Files of a run directory that others may be able to write: nothing is opened or written through a link that somebody planted."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from v50calib.errors import StoreError

#: a file of this age may have a writer that has not locked it yet
JUST_BEGUN_S = 1.0


def open_own(path: Path, flags: int) -> int:
    """A descriptor of a regular file with one name. Raises OSError for a link (ELOOP) and for what is no such file (EINVAL)."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"no file of its own (a pipe or device, or {found.st_nlink} names): remove it", str(path))
    return descriptor


@contextmanager
def replacing(path: Path, *, make_folder: bool = True) -> Iterator[IO[bytes]]:
    """A new file that takes the place of `path`, or of a link or pipe there, once it is whole; where that fails nothing is left of it.

    It is written beside it under a name that nobody can foresee, and locked meanwhile: what a killed writer of the same file has left
    there is removed, what another one is writing is not. The folder is made. Raises OSError.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "a.csv")) as stream:
    ...         _ = stream.write(b"whole")
    ...     Path(folder, "a.csv").read_bytes()
    b'whole'
    """
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_behind(path)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with _new_file(part) as stream:
            _lock(stream.fileno())
            yield stream
            stream.flush()
            # locked until it has its name: nobody else takes it for one that was left behind
            part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _remove_left_behind(path: Path) -> None:
    """Remove files that `replacing` has begun for `path` and whose writers do not live any more: their locks are free."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{32}}\.tmp")
    with os.scandir(path.parent) as entries:
        found = [entry.path for entry in entries if pattern.fullmatch(entry.name)]
    for part in found:
        try:
            descriptor = open_own(Path(part), os.O_RDONLY)
        except OSError:
            # another user's, a link, or gone by now
            continue
        try:
            # a file just begun is not locked yet
            if time.time() - os.fstat(descriptor).st_mtime > JUST_BEGUN_S and _lock(descriptor):
                Path(part).unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock a file against every other open one; whether that worked (not where the file system has no locks)."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


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
