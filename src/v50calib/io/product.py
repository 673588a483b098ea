"""Calibrated products on disk: one committed Zarr group per planet, visit and instrument.

<root>/<planet_id>/<visit>/<instrument>/    Zarr v3 group, `_COMMIT.json` written last
"""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.api.asynchronous import create_array, create_group
from zarr.codecs import BloscCodec

from v50calib.errors import StoreError
from v50calib.io.catalog import VisitKey
from v50calib.io.commit import commit, is_committed, marked_group, read_record, staging

#: bit-shuffled lz4 writes at a few hundred MB/s a core
CODEC = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")
#: a chunk of a product holds about this many bytes; most variables are one chunk
CHUNK_BYTES = 16 * 2**20


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


def write_product(root: Path, key: VisitKey, ds: xr.Dataset, *, config_hash: str, reference_hashes: Mapping[str, str]) -> Path:
    """Write a product to a staging place and move it into its final place as a whole; an older one is replaced.

    Raises StoreError where the disk is full or not writable; nothing half-written stays.
    """
    final = product_path(root, key)
    record = {"config_hash": config_hash, "reference_hashes": dict(reference_hashes)}
    with staging(final) as tmp:
        try:
            _write(tmp, ds)
        except OSError as exc:
            raise StoreError(
                f"cannot write the product of {key} under '{root}': {exc.strerror or exc}; free space or give another --out"
            ) from exc
        aside = final.parent / f".{final.name}.{uuid.uuid4().hex[:8]}.old"
        if final.exists():
            final.rename(aside)
        commit(tmp, final, record)
        shutil.rmtree(aside, ignore_errors=True)
    return final


def _write(path: Path, ds: xr.Dataset) -> None:
    """Write a Dataset of NumPy arrays as a Zarr v3 group that xarray opens as it was.

    All arrays are created and written concurrently in one event loop: xarray's own writer waits for each of
    some hundred small steps, which for a product's few MB costs more than the bytes.
    """
    variables, attrs = xr.conventions.encode_dataset_coordinates(ds)

    async def write_all() -> None:
        store = await zarr.storage.LocalStore.open(path)
        await create_group(store=store, attributes=attrs, zarr_format=3)
        await asyncio.gather(*(_write_array(store, str(name), var) for name, var in variables.items()))

    # a loop of its own in a thread of its own: the caller may be inside a running loop (Jupyter, a Dask worker)
    with zarr.config.set({"array.write_empty_chunks": True}), ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, write_all()).result()


async def _write_array(store: zarr.storage.LocalStore, name: str, var: xr.Variable) -> None:
    values = np.ascontiguousarray(var.values).reshape(var.shape)
    await create_array(
        store=store, name=name, data=values, chunks=_chunks(values), compressors=CODEC, attributes=dict(var.attrs),
        dimension_names=tuple(str(d) for d in var.dims), zarr_format=3, fill_value=np.zeros((), values.dtype)[()],
    )  # fmt: skip


def _chunks(values: np.ndarray) -> tuple[int, ...]:
    """Whole array where it is small, else runs along the first axis of about CHUNK_BYTES."""
    if values.ndim == 0:
        return ()
    rows = max(1, CHUNK_BYTES // max(1, values.dtype.itemsize * int(np.prod(values.shape[1:]))))
    return tuple(max(1, n) for n in (min(rows, values.shape[0]), *values.shape[1:]))
