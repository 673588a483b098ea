"""Groups written directly are read back by zarr and xarray as they were."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from v50calib.io.storage import zarr_groups as arrays

RNG = np.random.default_rng(9)


def dataset() -> xr.Dataset:
    return xr.Dataset(
        {
            "flux": (("pair", "wavelength"), RNG.standard_normal((50, 7)).astype("f4"), {"units": "e-"}),
            "dq": (("pair", "wavelength"), RNG.integers(0, 2**31, (50, 7)).astype("u4"), {"flag_masks": [1, 2]}),
            "count": (("pair",), RNG.integers(-5, 5, 50).astype("i4")),
            "mask": (("pair",), RNG.random(50) < 0.5),
            "depth": ((), np.float64(0.0144)),
            "lost": ((), np.float64("nan")),
        },
        coords={"time": ("pair", np.linspace(0, 7, 50), {"units": "h"}), "wavelength": np.linspace(2, 4, 7)},
        attrs={"planet_id": "12", "depth": 0.1, "snr": float("inf")},
    )


def test_xarray_opens_what_was_written(tmp_path: Path) -> None:
    ds = dataset()
    arrays.write_group(tmp_path, ds)
    xr.testing.assert_identical(xr.open_zarr(tmp_path, consolidated=False).compute(), ds)


@pytest.mark.parametrize("rows", [1, 7, 64, 100])
def test_chunks_and_a_ragged_tail_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    values = RNG.standard_normal((100, 3, 4))
    monkeypatch.setattr(arrays, "CHUNK_BYTES", rows * 3 * 4 * 8)
    arrays.write_array(tmp_path / "cube", values, ("bin", "y", "x"), {})
    array = zarr.open_array(tmp_path / "cube", mode="r")
    assert array.chunks == (rows, 3, 4)
    assert array.nchunks_initialized == array.nchunks
    np.testing.assert_array_equal(array[...], values)


def test_other_dtypes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only bool, integers and floats"):
        arrays.write_array(tmp_path / "a", np.array(["a"]), ("x",), {})


def test_a_lost_chunk_reads_as_nan(tmp_path: Path) -> None:
    """Of floats: a depth of 0 would be a number that a user might trust."""
    arrays.write_group(tmp_path, dataset())
    for name in ("flux/c.0.0", "depth/c"):
        (tmp_path / name).unlink()
    found = xr.open_zarr(tmp_path, consolidated=False).compute()
    assert np.isnan(found["flux"]).all()
    assert np.isnan(found["depth"])
    assert np.isfinite(found["time"]).all()


def test_no_lock_is_left_for_the_resource_tracker(tmp_path: Path) -> None:
    """A worker is spawned and killed at the end of a run: what it has registered is said to be leaked."""
    script = f"""
import multiprocessing, pathlib
from multiprocessing import resource_tracker
multiprocessing.set_start_method("spawn")
resource_tracker.register = lambda name, kind: print("registered", kind)
import numpy as np
from v50calib.io.storage.zarr_groups import read_array, write_array
write_array(pathlib.Path({str(tmp_path / "a")!r}), np.arange(1000.0), ("time",), {{}})
print(read_array(pathlib.Path({str(tmp_path / "a")!r})).sum())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "499500.0\n"
