"""`open_visit`: a visit as a lazy, chunked xarray Dataset."""

from __future__ import annotations

import json
import os
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from numpy.typing import NDArray

from v50calib import accessor as _accessor  # noqa: F401  a raw visit draws its frames: ds.v50.plot.raw_frames()
from v50calib.channels import join_visits
from v50calib.io.catalog import open_root
from v50calib.io.keys import Split, normalise_planet_id
from v50calib.io.root import Root, find_visit
from v50calib.io.source import FrameSource, VisitSource
from v50calib.io.storage.objects import ObjectPath
from v50calib.reference import ABSENT_ATTR, MAP_NAMES
from v50calib.schema import RAW_VISIT, check_raw_visit, pair_chunks
from v50calib.untrusted.boundary import foreign


def open_visit(
    root: str | os.PathLike[str] | ObjectPath,
    planet_id: object,
    visit: int = 0,
    instrument: str = "AIRS-CH0",
    chunks: int | None = None,
    *,
    split: Split | None = None,
) -> xr.Dataset:
    """Open one visit lazily from a challenge folder, a raw Zarr store or a detector.yaml; all give the same Dataset.

    chunks: frames per time chunk, even (default 450 AIRS-CH0, 5400 FGS1, about 10 MB of another detector); split: needed
    only for a planet that is in both. The name of an instrument with channels opens all of them, dimension `channel` before y, x.
    Returns the variables of `schema.RAW_VISIT`, `wavelength` (µm; along x for AIRS-CH0, a scalar for FGS1), telemetry on
    time, and the attributes planet_id, visit, instrument, split, adc_offset, adc_gain, star_*, layout,
    reference_hashes (JSON).
    Raises DataError for an unknown visit, an odd chunk, and missing, damaged or misshapen files.

    >>> import tempfile
    >>> from v50calib.simulate import simulate_dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     root = simulate_dataset(folder + "/data", planets=1, frames_fraction=0.002, seed=1)
    ...     dict(open_visit(root, planet_id=66029709, instrument="FGS1")["raw_frames"].sizes)
    {'time': 264, 'y': 32, 'x': 32}
    """
    with foreign(f"{root}, planet {planet_id}, visit {visit} of {instrument}", "cannot be opened"):
        return _opened(open_root(root), planet_id, visit, instrument, chunks, split)


def _opened(where: Root, planet_id: object, visit: int, instrument: str, chunks: int | None, split: Split | None) -> xr.Dataset:
    visits = where.visits(normalise_planet_id(planet_id))
    channels = [k for k in visits if k.visit == visit and k.instrument.startswith(f"{instrument}.") and split in (None, k.split)]
    if channels:
        joined = join_visits(instrument, [visit_dataset(where.open(key), chunks) for key in channels])
        check_raw_visit(joined)
        return joined
    return visit_dataset(where.open(find_visit(where, planet_id, visit, instrument, split)), chunks)


def visit_dataset(source: VisitSource, chunks: int | None = None) -> xr.Dataset:
    """The lazy Dataset of an opened source; see `open_visit`."""
    size = source.instrument.chunk_frames if chunks is None else chunks
    maps = source.reference.maps()
    per_pixel = isinstance(source.wavelength, np.ndarray)
    wavelength_attrs = {"units": "um", "long_name": "wavelength"}
    variables: dict[str, Any] = {"raw_frames": _variable("raw_frames", frames_array(source.frames, size))}
    variables |= {name: _variable(name, maps[name]) for name in MAP_NAMES}
    coords = {
        "time": _variable("time", source.time_h),
        "exposure": _variable("exposure", source.exposure_s),
        "wavelength": (("x",) if per_pixel else (), np.asarray(source.wavelength, np.float64), wavelength_attrs),
    }
    coords |= {name: xr.Variable(("time",), values) for name, values in source.telemetry.items()}
    hashes = json.dumps(source.reference.hashes, sort_keys=True)
    absent = {ABSENT_ATTR: " ".join(source.reference.absent)} if source.reference.absent else {}
    ds = xr.Dataset(variables, coords, attrs=source.attrs | absent | {"reference_hashes": hashes})
    check_raw_visit(ds)
    return ds


def frames_array(frames: FrameSource, chunk: int) -> da.Array:
    """Frames as a Dask array (time, y, x) in chunks of `chunk` frames.

    One decode task per row group or Zarr chunk, from which the time chunks are cut: a file that is one row group is
    decoded once however many chunks there are. Raises DataError where `chunk` would split a pair.
    """
    lengths = pair_chunks(frames.n_frames, chunk)
    decode = dask.delayed(_decode, pure=True, traverse=False)
    handle = dask.delayed(frames, name=f"frames-{tokenize(frames)}", traverse=False)
    parts = [da.from_delayed(decode(handle, i), shape=(rows, *frames.shape), dtype=np.uint16) for i, rows in enumerate(frames.units)]
    return da.concatenate(parts, axis=0).rechunk({0: lengths})


def _decode(frames: FrameSource, index: int) -> NDArray[np.uint16]:
    return frames.read_unit(index)


def _variable(name: str, values: Any) -> xr.Variable:
    spec = RAW_VISIT[name]
    attrs = {"long_name": spec.doc} | ({"units": spec.units} if spec.units else {})
    return xr.Variable(spec.dims, values, attrs)
