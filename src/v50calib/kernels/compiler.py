"""numba, with a cache whose damaged files are as good as none: what they held is compiled again and written over them.

A cache on a full disk, or copied in part, has files that are cut. numba raises what pickle does of them, from every call of the kernel;
they are written over once they are not read. `v50calib doctor` names them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numba as nb
from numba.core import caching

__all__ = ["nb"]


def _forgiving(load: Callable[..., Any], otherwise: Callable[[], Any]) -> Callable[..., Any]:
    """A method of numba's cache that gives `otherwise()` where a file cannot be read."""

    @wraps(load)
    def loaded(self: Any, *args: Any) -> Any:
        try:
            return load(self, *args)
        except OSError:
            raise
        except Exception:  # noqa: BLE001 - pickle raises anything on foreign bytes
            return otherwise()

    return loaded


# of its classes, so that kernels that are compiled by other packages of this process are served as well
for owner, name, otherwise in (
    (caching.IndexDataCacheFile, "_load_index", dict),
    (caching.IndexDataCacheFile, "load", lambda: None),
    (caching.Cache, "_load_overload", lambda: None),
):
    setattr(owner, name, _forgiving(getattr(owner, name), otherwise))
