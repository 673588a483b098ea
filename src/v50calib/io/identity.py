"""Which input a product was made of: what changes when a visit's files do, without reading its frames.

A raw store's group is named by the hash of its tree. Files of other roots are named by size and time of change of the
signal, the hashes of the maps, and a hash of axes and attributes (ADC constants, star), which come from tables that
all visits share: an edit of another planet's row changes nothing here. A `stamp` of the sizes and times of all these
files is kept beside, because opening a parquet visit costs 0.2 s (its footer has 11392 columns): while it stands, so
does the identity.
"""

from __future__ import annotations

import numpy as np

from v50calib.io.keys import VisitKey
from v50calib.io.root import Root
from v50calib.io.source import VisitSource
from v50calib.reference import hash_array, hash_text

#: the part that may differ while the input is the same
STAMP = "stamp"


def unchanged(root: Root, key: VisitKey, known: object) -> bool:
    """Whether the input is still what `known`, an earlier identity, says. Raises as `Root.identity` does."""
    if not isinstance(known, dict) or not known:
        return False
    if known.get(STAMP) and known[STAMP] == root.stamp(key):
        return True
    return same(root.identity(key), known)


def same(one: dict[str, str], other: dict[str, str]) -> bool:
    """Whether two identities are of the same input.

    >>> same({"tree": "a1", "stamp": "yesterday"}, {"tree": "a1"}), same({"tree": "a1"}, {"tree": "b2"})
    (True, False)
    """
    return {k: v for k, v in one.items() if k != STAMP} == {k: v for k, v in other.items() if k != STAMP}


def identity_of_files(source: VisitSource, signal: str, stamp: str = "") -> dict[str, str]:
    """Identity of an opened visit whose files may change; signal: text that changes with the file of its frames."""
    axes = (source.time_h, source.exposure_s, np.asarray(source.wavelength, np.float64))
    visit = hash_text("".join(f"{n}={source.attrs[n]!r};" for n in sorted(source.attrs)) + "".join(map(hash_array, axes)))
    maps = hash_text("".join(f"{n}={h};" for n, h in sorted(source.reference.hashes.items())))
    return {"signal": signal, "visit": visit, "maps": maps} | ({STAMP: stamp} if stamp else {})
