"""Spectra after a prior, kept apart from the depths: estimates.zarr/<method>.

A store holds all planets of a run and is written as a whole or not at all. Depths stay where they are (spectra.zarr): who fits an
atmosphere to them inherits no prior.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from v50calib.errors import StoreError
from v50calib.io.storage.commit import commit, is_committed, staging
from v50calib.io.storage.hierarchy import consolidate, plain_root
from v50calib.io.storage.location import Location
from v50calib.io.storage.zarr_groups import write_group
from v50calib.runs.product import open_product
from v50calib.runs.spectra import committed_in

#: the store of a run directory's estimates, a group for each method
STORE = "estimates.zarr"


def write_estimates(run_dir: Location, method: str, ds: xr.Dataset, record: Mapping[str, Any]) -> Location:
    """Write the estimates of a method; older ones of it are replaced. Raises StoreError where the disk is full or not writable."""
    final = run_dir / STORE / method
    try:
        with staging(final, run_dir / STORE) as tmp:
            written = write_group(tmp, ds)
            plain_root(run_dir / STORE)
            commit(tmp, final, dict(record), written, replace=True)
        consolidate(run_dir / STORE, [path.name for path in committed_in(run_dir / STORE)])
    except OSError as exc:
        raise StoreError(f"cannot write the estimates under '{final}': {exc.strerror or exc}; free space or make it writable") from exc
    return final


def open_estimates(run_dir: Location, method: str) -> xr.Dataset:
    """The estimates of a method, lazily opened. Raises StoreError where the run has none."""
    path = run_dir / STORE / method
    if not is_committed(path):
        raise StoreError(f"'{run_dir}' has no estimates of the method {method}: run 'v50calib spectra {run_dir} --estimator {method}'")
    return open_product(path)
