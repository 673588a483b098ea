"""What the tests of exports share: the command, and readers of each format that are not ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from v50calib.cli.main import main


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, ["export", *[str(a) for a in args]], catch_exceptions=False)


def read(path: Path, fmt: str) -> dict[str, NDArray[Any]]:
    """Every array of an export."""
    if fmt == "npz":
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    if fmt == "hdf5":
        with h5py.File(path) as file:
            return {name: item.asstr()[...] if item.dtype.kind == "O" else item[...] for name, item in file.items()}
    ds = xr.open_zarr(path, consolidated=False) if fmt == "zarr" else xr.open_dataset(path, engine="h5netcdf")
    with ds:
        return {str(name): var.values for name, var in ds.load().variables.items()}
