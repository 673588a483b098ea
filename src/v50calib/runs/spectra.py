"""The fit of each planet: kept in spectra.zarr/<planet_id>.

A planet's group is written as a whole or not at all; its commit record names the products that it was made of, so that a resumed run
knows which planets are finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import xarray as xr

from v50calib.errors import StoreError
from v50calib.io.storage.commit import COMMIT_NAME, commit, is_committed, read_record, staging
from v50calib.io.storage.hierarchy import complete_groups, plain_root
from v50calib.io.storage.location import Location, locate
from v50calib.io.storage.objects import ObjectPath
from v50calib.io.storage.zarr_groups import Layout, write_group
from v50calib.runs.lock import check_token
from v50calib.runs.product import open_product

#: the store of planets' fits in a run directory
STORE = "spectra.zarr"


def planet_record(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What identifies a planet's fit: a hash of the commit records of the products that it is made of."""
    content = json.dumps({label: dict(record) for label, record in sorted(records.items())}, sort_keys=True, default=str)
    return {"products": hashlib.sha256(content.encode()).hexdigest()}


def is_current(root: Location, planet_id: str, record: Mapping[str, Any]) -> bool:
    """Whether the planet's fit is there, made of the same products."""
    path = root / planet_id
    return is_committed(path) and read_record(path).get("products") == record["products"]


def write_planet(
    root: Location, planet_id: str, ds: xr.Dataset, record: Mapping[str, Any], lock: str = "", layout: Layout = "zarr"
) -> Location:
    """Write a planet's fit as a whole; an older one is replaced. Raises StoreError where the disk is full or not writable.

    lock: token of the run that this is a part of; LockLostError where that has lost its directory.
    """
    final = root / planet_id
    try:
        with staging(final, root) as tmp:
            written = write_group(tmp, ds, layout)
            check_token(root.parent, lock)
            plain_root(root)
            commit(tmp, final, dict(record), written, replace=True)
        complete_groups(root, [planet_id])
    except OSError as exc:
        raise StoreError(
            f"cannot write the fit of planet {planet_id} under '{root}': {exc.strerror or exc}; free space or give another --out"
        ) from exc
    return final


def withdraw_planet(root: Location, planet_id: str, lock: str = "") -> None:
    """Take a planet's fit from its readers: a group without a commit record does not exist. Raises StoreError where that cannot be."""
    try:
        if is_committed(root / planet_id):
            check_token(root.parent, lock)
            plain_root(root)
            (root / planet_id / COMMIT_NAME).unlink()
    except OSError as exc:
        raise StoreError(f"cannot replace the fit of planet {planet_id} under '{root}': {exc.strerror or exc}") from exc


def open_spectra(run_dir: str | Location) -> dict[str, xr.Dataset]:
    """The fits of a run's planets by planet_id, lazily opened; empty where the run has none. Raises StoreError where there is no such
    directory."""
    run_dir = locate(run_dir)
    if not run_dir.is_dir():
        raise StoreError(f"'{run_dir}' is no run directory: give the --out of a 'v50calib calibrate' or the OUT of a 'v50calib solve'")
    return {planet: open_product(path) for planet, path in fitted_planets(run_dir)}


def fitted_planets(run_dir: Location) -> list[tuple[str, Location]]:
    """(planet_id, location) of every fit of a run, sorted."""
    return [(path.name, path) for path in committed_in(run_dir / STORE)]


def committed_in(store: Location) -> list[Location]:
    """The groups directly in a store that have a commit record, sorted; none where there is no such store."""
    if not store.is_dir():
        return []
    paths: list[Location]
    if isinstance(store, ObjectPath):
        paths = [p.parent for p in store.rglob(COMMIT_NAME)]
    else:
        paths = [p for p in store.glob("*") if is_committed(p)]
    return sorted((path for path in paths if not path.name.startswith(".")), key=str)
