"""Calibrated products: one committed Zarr group per planet, visit and instrument.

<root>/<planet_id>/<visit>/<instrument>/    Zarr v3 group, `_COMMIT.json` written last
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from v50calib.errors import StoreError
from v50calib.io.keys import VisitKey
from v50calib.io.storage.commit import COMMIT_NAME, commit, is_committed, read_record, staging
from v50calib.io.storage.hierarchy import complete_groups, plain_root
from v50calib.io.storage.location import Location
from v50calib.io.storage.object_commit import whole
from v50calib.io.storage.objects import ObjectPath
from v50calib.io.storage.stored_group import StoredGroup
from v50calib.io.storage.zarr_groups import Layout, write_group
from v50calib.runs.lock import check_token
from v50calib.schema import in_order


def product_path(root: Location, key: VisitKey) -> Location:
    """Final location of a product.

    >>> from pathlib import Path
    >>> product_path(Path("run/calibrated.zarr"), VisitKey("1103775", 0, "FGS1")).as_posix()
    'run/calibrated.zarr/1103775/0/FGS1'
    """
    return root / key.label


def product_record(root: Location, key: VisitKey) -> dict[str, Any] | None:
    """Commit record of a product; None if it is missing or incomplete."""
    path = product_path(root, key)
    return read_record(path) if is_committed(path) else None


def committed_products(root: Location) -> Iterator[tuple[str, Location]]:
    """(planet/visit/instrument, path) of every committed product, sorted. Raises StoreError where the run has no products."""
    if not root.is_dir():
        raise StoreError(f"'{root.parent}' holds no calibrated.zarr: give the --out of a 'v50calib calibrate'")
    if isinstance(root, ObjectPath):
        # one listing instead of three requests per product
        yield from (
            (p.parent.relative_to(root).as_posix(), p.parent)
            for p in root.rglob(COMMIT_NAME)
            if len(p.relative_to(root).parts) == 4 and not is_hidden(p.parent)
        )
        return
    for path in sorted(root.glob("*/*/*")):
        if not is_hidden(path) and is_committed(path):
            yield path.relative_to(root).as_posix(), path


def is_hidden(path: Location) -> bool:
    """Whether a product's folder, its visit's or its planet's is hidden: backups and what was set aside are nobody's products.

    >>> from pathlib import Path
    >>> is_hidden(Path(".cache/calibrated.zarr/11/0/FGS1")), is_hidden(Path("run/calibrated.zarr/.11/0/FGS1"))
    (False, True)
    """
    return any(part.startswith(".") for part in path.parts[-3:])


def open_product(path: Location) -> xr.Dataset:
    """A committed product, opened lazily: one Dask chunk per stored chunk.

    Raises StoreError where it is damaged, or another's, moved here.
    """

    def opened(here: Location) -> xr.Dataset:
        group = StoredGroup(here, final=path)
        _refuse_moved(path, group.attrs)
        return in_order(group.open())

    return whole(path, opened)


def product_attrs(path: Location) -> dict[str, Any]:
    """Attributes of a committed product. Raises StoreError where they cannot be read, or are another product's, moved here."""
    attrs = _attrs(path)
    _refuse_moved(path, attrs)
    return attrs


def _attrs(path: Location) -> dict[str, Any]:
    return whole(path, lambda here: StoredGroup(here, final=path).attrs)


def array_metadata(path: Location) -> dict[str, dict[str, Any]]:
    """Zarr's metadata of a committed product's arrays by name. Raises StoreError where they cannot be read."""
    return whole(path, lambda here: StoredGroup(here, final=path).arrays)


def name_inside(path: Location, attrs: Mapping[str, Any]) -> str:
    """What a committed group says that it is, where that is not its place; empty where it is, or where it says nothing.

    A product is of a planet, visit and instrument, a fit of a planet, estimates are of an estimator: the last folders of its place.

    >>> from pathlib import Path
    >>> attrs = {"planet_id": "22", "visit": 0, "instrument": "FGS1"}
    >>> name_inside(Path("run/calibrated.zarr/11/0/FGS1"), attrs), name_inside(Path("run/calibrated.zarr/22/0/FGS1"), attrs)
    ('22/0/FGS1', '')
    """
    own = ("planet_id", "visit", "instrument") if "planet_id" in attrs else ("estimator",)
    named = [str(attrs[name]) for name in own if name in attrs]
    return "/".join(named) if named and path.parts[-len(named) :] != tuple(named) else ""


def moved(path: Location) -> str:
    """Why a committed product is not the one of its place, in words; empty where it is. Raises StoreError where it cannot be read."""
    return _moved(path, _attrs(path))


def _moved(path: Location, attrs: Mapping[str, Any]) -> str:
    inside = name_inside(path, attrs)
    return f"{path} holds {inside}: its folder was copied, renamed or exchanged with another" if inside else ""


def _refuse_moved(path: Location, attrs: Mapping[str, Any]) -> None:
    """Raises StoreError where a product, a planet's fit or estimates stand in the place of another."""
    why = _moved(path, attrs)
    if why:
        raise StoreError(
            f"{why}; 'v50calib verify RUN_DIR --quarantine' sets all such folders aside, then run 'v50calib calibrate' with the same "
            "--data and --out again"
        )


def product_arrays(path: Location, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Arrays of a committed product, in memory; names that it does not have are left out. Raises StoreError where one is damaged."""
    return whole(path, lambda here: StoredGroup(here, final=path).read(names))


def write_product(
    root: Location, key: VisitKey, ds: xr.Dataset, *, config_hash: str, reference_hashes: Mapping[str, str], inputs: Mapping[str, str],
    lock: str = "", layout: Layout = "zarr",
) -> Location:  # fmt: skip
    """Write a product to a staging folder and move it to its final location as a whole; an older one is replaced.

    inputs: identity of the raw visit (`io.identity`), kept in the commit record only; lock: token of the run that this is a part of;
    layout: how its arrays are stored, see `io.storage.stored_group`.
    Raises StoreError where the disk is full or not writable, LockLostError where the run has lost its directory: no partial product is
    left, and an older one stays.
    """
    final = product_path(root, key)
    record = {"config_hash": config_hash, "reference_hashes": dict(reference_hashes), "inputs": dict(inputs)}
    try:
        with staging(final, root) as tmp:
            written = write_group(tmp, ds, layout)
            check_token(root.parent, lock)
            plain_root(root)
            commit(tmp, final, record, written, replace=True)
        complete_groups(root, [key.label])
    except OSError as exc:
        raise StoreError(
            f"cannot write the product of {key} under '{root}': {exc.strerror or exc}; free space or give another --out"
        ) from exc
    return final
