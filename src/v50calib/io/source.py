"""What the batch runtime reads with: a visit's frames as plain arrays, no Dask inside."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from v50calib.io.catalog import VisitKey, root_kind
from v50calib.io.layout import read_axes, read_reference, read_star, visit_files
from v50calib.io.parquet import open_parquet_frames
from v50calib.io.place import ObjectPath, Place, place
from v50calib.reference import Reference, hash_array, hash_text
from v50calib.schema import DETECTOR_ATTR, INSTRUMENT, Instrument, instrument_of


class FrameSource(Protocol):
    """Frames of one visit and instrument, uint16 (n, ny, nx) in C order.

    Pickles small (a path): the file is opened where it is used. Arrays handed out may be views of a
    cache: do not write into them.
    """

    @property
    def n_frames(self) -> int:
        """Number of reads, even."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Detector rows and columns (ny, nx)."""
        ...

    @property
    def units(self) -> tuple[int, ...]:
        """Frames of each part that decodes alone, in order: a parquet row group or a Zarr chunk."""
        ...

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Frames `start:stop`. Raises DataError where they cannot be decoded."""
        ...

    def read_unit(self, index: int) -> NDArray[np.uint16]:
        """All frames of unit `index`."""
        ...

    def release(self) -> None:
        """Drop what is kept of decoded frames."""
        ...

    def blocks(self, size: int) -> Iterator[tuple[int, NDArray[np.uint16]]]:
        """(start, frames) in order, `size` frames each; decodes everything once, in bounded memory.

        A block is good until the next one is asked for: its buffer may be used again.
        """
        ...


@dataclass(frozen=True)
class VisitSource:
    """One visit: frames to read, calibration products, axes and attributes.

    time_h, exposure_s [n_frames]  time stamp (h) and time since reset (s) of each read
    wavelength                     µm, [nx] of a spectrum (falling for AIRS-CH0), one number of a band
    attrs                          as `open_visit` gives them; JSON values, no paths
    telemetry                      [n_frames] arrays by name; empty for the challenge's visits
    """

    key: VisitKey
    frames: FrameSource
    reference: Reference
    time_h: NDArray[np.float64]
    exposure_s: NDArray[np.float64]
    wavelength: NDArray[np.float64] | float
    attrs: dict[str, Any] = field(default_factory=dict)
    telemetry: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def instrument(self) -> Instrument:
        """The detector's facts."""
        return instrument_of(self.attrs)


def open_source(root: str | os.PathLike[str] | ObjectPath, key: VisitKey, *, threads: int | None = None) -> VisitSource:
    """Open one visit of any root (see `root_kind`); all cheap checks are made here, no frame is decoded.

    threads: decode threads for parquet (default: the processors this process may use, at most 4).
    Raises DataError for missing, damaged or misshapen files (see `layout` and `parquet`).
    """
    path, kind = place(root), root_kind(root)
    if kind == "store":
        from v50calib.io.raw_zarr import open_store_source

        return open_store_source(path, key)
    if kind == "custom" and not isinstance(path, ObjectPath):
        from v50calib.io.custom_source import open_custom_source

        return open_custom_source(path, key)
    return _open_dataset_source(path, key, threads)


def instrument_at(root: str | os.PathLike[str] | ObjectPath, key: VisitKey) -> Instrument:
    """The facts of a visit's instrument, without opening the visit. Raises DataError."""
    path, kind = place(root), root_kind(root)
    if kind == "store":
        from v50calib.io.raw_zarr import store_attrs

        return instrument_of(store_attrs(path, key))
    if kind == "custom" and not isinstance(path, ObjectPath):
        from v50calib.io.custom_source import custom_instrument

        return custom_instrument(path, key)
    return instrument_of({"instrument": key.instrument})


def with_visit_hash(reference: Reference, attrs: dict[str, Any], *arrays: NDArray[np.float64]) -> Reference:
    """The reference with one hash more, `visit`: facts and axes of a detector whose file a user may edit between runs.

    Unchanged for the challenge's instruments.
    """
    if DETECTOR_ATTR not in attrs:
        return reference
    text = "".join(f"{name}={attrs[name]!r};" for name in sorted(attrs)) + "".join(map(hash_array, arrays))
    return dataclasses.replace(reference, hashes=reference.hashes | {"visit": hash_text(text)})


def _open_dataset_source(root: Place, key: VisitKey, threads: int | None) -> VisitSource:
    files = visit_files(root, key)
    frames = open_parquet_frames(files.signal, INSTRUMENT[key.instrument].shape, threads=threads)
    reference = read_reference(root, key, files)
    axes = read_axes(root, key.instrument, frames.n_frames)
    attrs: dict[str, Any] = {
        "planet_id": key.planet_id,
        "visit": key.visit,
        "instrument": key.instrument,
        "split": key.split,
        "adc_offset": reference.adc_offset,
        "adc_gain": reference.adc_gain,
    }
    attrs |= {f"star_{name}": value for name, value in read_star(root, key).items()}
    attrs["layout"] = files.layout
    return VisitSource(key, frames, reference, axes.time_h, axes.exposure_s, axes.wavelength, attrs)
