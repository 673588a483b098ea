"""Arrays of HDF5 files, by the path of their dataset: `FILE.h5::GROUP/NAME`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from v50calib.array_files.header import Header, Sliceable, named
from v50calib.untrusted.hdf5 import open_hdf5, own_dataset


@contextmanager
def opened_hdf5(path: Path, name: str | None) -> Iterator[tuple[Sliceable, Header]]:
    """An array and its header. Raises DataError: h5py is missing, no such array; ValueError as `own_dataset`.

    Labels of its dimensions are their names; an attribute `units` is its unit.
    """
    with open_hdf5(path) as file:
        wanted = name.strip("/") if name is not None else None
        if wanted is None or wanted not in file:
            wanted = named(path, wanted, _datasets(file))
        dataset = own_dataset(file, wanted)
        labels = tuple(dimension.label for dimension in dataset.dims)
        units = dataset.attrs.get("units")
        units = units.decode() if isinstance(units, bytes) else units
        packed = any(key in dataset.attrs for key in ("scale_factor", "add_offset"))
        chunks = tuple(dataset.chunks) if dataset.chunks else None
        dims = labels if all(labels) and labels else None
        yield dataset, Header(tuple(dataset.shape), dataset.dtype, dims, chunks, packed, units if isinstance(units, str) else None)


def _datasets(file: Any) -> list[str]:
    """Paths of a file's own datasets."""
    import h5py

    found: list[str] = []
    file.visititems(lambda name, node: found.append(name) if isinstance(node, h5py.Dataset) else None)
    return sorted(found)
