"""Where compiled kernels are kept: numba stores them as pickles, so whoever can write there runs code in this process.

NUMBA_CACHE_DIR where it is given and nobody else can write to it, else a folder of mode 700 in the user's cache, else one of this
process and its workers alone. Imported with the package, before any kernel: nothing heavy may be imported here.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"


def use_private_cache() -> Path:
    """Choose the folder, make it, and tell numba and the processes that this one starts; returns it."""
    given = os.environ.get(VARIABLE)
    folder = next((folder for folder in _candidates(given) if _made(folder) and not fault(folder)), None)
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="v50calib-numba-"))
        atexit.register(_remove, folder, os.getpid())
    os.environ[VARIABLE] = str(folder)
    config = sys.modules.get("numba.core.config")
    if config is not None:
        config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    return folder


def fault(folder: Path) -> str:
    """Why compiled code must not be loaded from a folder; empty where only this user (or root) can have put it there."""
    try:
        found = folder.lstat()
    except OSError as exc:
        return f"{folder} cannot be looked at ({exc.strerror})"
    if not stat.S_ISDIR(found.st_mode):
        return f"{folder} is no folder of its own (a link or a file)"
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        return f"{folder} belongs to user {found.st_uid}, not to this one ({os.geteuid()})"
    if found.st_mode & 0o022:
        return f"{folder} can be written by others (mode {stat.S_IMODE(found.st_mode):o})"
    for above in folder.resolve().parents:
        mode = above.stat().st_mode
        if mode & 0o002 and not mode & stat.S_ISVTX:
            return f"{above} can be written by everybody (mode {stat.S_IMODE(mode):o}): {folder.name} in it can be replaced"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder} is not writable"


def is_empty(folder: Path) -> bool:
    """Whether a folder holds no compiled kernel, as on a first run or after an update: they are compiled at the first visit.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     is_empty(Path(folder))
    True
    """
    return next(folder.rglob("*.nbc"), None) is None


def damaged_files(folder: Path) -> list[Path]:
    """Compiled kernels below a folder that are cut: numba keeps pickles, which end with a full stop. They are compiled again at need."""
    return sorted(path for pattern in ("*.nbi", "*.nbc") for path in folder.rglob(pattern) if _is_cut(path))


def _is_cut(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - 1))
            return stream.read(1) != b"."
    except OSError:
        return False


def _candidates(given: str | None) -> list[Path]:
    # expanduser of a Path raises where there is no HOME and the user has no entry, as in a container with a number for a user
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    own = [] if cache.startswith("~") else [Path(cache) / "v50calib" / "numba"]
    return [Path(given).absolute(), *own] if given else own


def _made(folder: Path) -> bool:
    """Make the folder where it is not there, for this user alone."""
    try:
        for part in (*reversed(folder.parents), folder):
            # mkdir(parents=True) would give the upper ones the mode of the umask
            if not part.exists():
                part.mkdir(mode=0o700, exist_ok=True)
    except (OSError, RuntimeError):
        return False
    return True


def _remove(folder: Path, owner: int) -> None:
    # a forked process inherits this
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
