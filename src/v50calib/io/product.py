"""Calibrated products on disk: one committed Zarr group per planet, visit and instrument.

<root>/<planet_id>/<visit>/<instrument>/    Zarr v3 group, `_COMMIT.json` written last
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from v50calib.errors import StoreError
from v50calib.io.arrays import write_group
from v50calib.io.catalog import VisitKey
from v50calib.io.commit import commit, is_committed, marked_group, read_record, staging


def product_path(root: Path, key: VisitKey) -> Path:
    """Final place of a product."""
    return root / key.planet_id / str(key.visit) / key.instrument


def product_record(root: Path, key: VisitKey) -> dict[str, Any] | None:
    """Commit record of a product, None where it is not there as a whole."""
    path = product_path(root, key)
    return read_record(path) if is_committed(path) else None


def committed_products(root: Path) -> Iterator[tuple[str, Path]]:
    """(planet/visit/instrument, path) of every committed product, in order."""
    if not root.is_dir():
        raise StoreError(f"'{root.parent}' holds no calibrated.zarr: give the --out of a 'v50calib calibrate'")
    for path in sorted(root.glob("*/*/*")):
        if not path.name.startswith(".") and is_committed(path):
            yield path.relative_to(root).as_posix(), path


def open_product(path: Path) -> xr.Dataset:
    """A committed product, lazily, one Dask chunk per stored chunk."""
    with marked_group():
        return xr.open_zarr(path, consolidated=False, chunks={})


def write_product(
    root: Path, key: VisitKey, ds: xr.Dataset, *, config_hash: str, reference_hashes: Mapping[str, str], inputs: Mapping[str, str]
) -> Path:
    """Write a product to a staging place and move it into its final place as a whole; an older one is replaced.

    inputs: identity of the raw visit (`io.identity`), kept in the commit record only.
    Raises StoreError where the disk is full or not writable; nothing half-written stays, and an older product remains.
    """
    final = product_path(root, key)
    record = {"config_hash": config_hash, "reference_hashes": dict(reference_hashes), "inputs": dict(inputs)}
    try:
        with staging(final) as tmp:
            written = write_group(tmp, ds)
            commit(tmp, final, record, written, replace=True)
    except OSError as exc:
        raise StoreError(
            f"cannot write the product of {key} under '{root}': {exc.strerror or exc}; free space or give another --out"
        ) from exc
    return final
