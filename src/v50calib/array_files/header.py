"""What is known of an array before a number of it is read, and which of a file's arrays is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from v50calib.errors import DataError

#: names of arrays that a message shows
SHOWN = 20


@dataclass(frozen=True)
class Header:
    """What an array is, known without reading its values; `dims` where the file names them, `chunks` and `units` where it has some."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    dims: tuple[str, ...] | None = None
    chunks: tuple[int, ...] | None = None
    packed: bool = False
    units: str | None = None


class Sliceable(Protocol):
    """An array that is read where it is indexed."""

    def __getitem__(self, index: tuple[slice | int, ...], /) -> Any: ...


def named(path: Path, name: str | None, names: Sequence[str]) -> str:
    """The array asked for, or the only one there is. Raises DataError naming what there is.

    >>> named(Path("maps.h5"), None, ["dark"]), named(Path("maps.h5"), "flat", ["dark", "flat"])
    ('dark', 'flat')
    """
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    if name is None and len(names) == 1:
        return names[0]
    if name is None:
        raise DataError(f"{path} holds {len(names)} arrays ({shown}): name one as {path.name}::NAME")
    if name not in names:
        raise DataError(f"{path} has no array '{name}', only {shown}")
    return name
