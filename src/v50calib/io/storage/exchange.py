"""Two directories exchange their names in one step, where system and file system can (Linux, `renameat2`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def exchanged(one: Path, other: Path) -> bool:
    """Whether two existing paths of one file system have exchanged their names; False where they have not, for whatever reason.

    At every moment each name is that of one or the other. NFS, some network file systems and systems other than Linux know no such call.
    """
    call = _renameat2()
    return call is not None and call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


@lru_cache(maxsize=1)
def _renameat2() -> Callable[..., Any] | None:
    """The C library's function; None where it has none."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    call.restype = ctypes.c_int
    return call
