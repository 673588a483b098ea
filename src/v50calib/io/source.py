"""An opened visit: frames that are read as plain arrays, calibration products, axes; no Dask inside."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from v50calib.errors import DataError
from v50calib.io.keys import VisitKey
from v50calib.reference import Reference, hash_array, hash_text
from v50calib.schema import DETECTOR_ATTR, Instrument, instrument_of


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
        """Drop decoded frames that are kept between reads."""
        ...

    def blocks(self, size: int) -> Iterator[tuple[int, NDArray[np.uint16]]]:
        """(start, frames) in order, `size` frames each; decodes everything once, in bounded memory.

        A block is valid until the next one is taken: its buffer may be used again.
        """
        ...


def check_range(start: int, stop: int, n_frames: int) -> None:
    """Refuse a range of frames that is not inside the visit (DataError).

    >>> check_range(0, 20, 20)
    """
    if not 0 <= start < stop <= n_frames:
        raise DataError(f"frames {start}:{stop} asked of a visit with {n_frames}: use 0 <= start < stop <= {n_frames}")


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


def with_visit_hash(reference: Reference, attrs: dict[str, Any], *arrays: NDArray[np.float64]) -> Reference:
    """The reference with one hash more, `visit`: facts and axes of a detector whose file a user may edit between runs.

    Unchanged for the challenge's instruments.
    """
    if DETECTOR_ATTR not in attrs:
        return reference
    text = "".join(f"{name}={attrs[name]!r};" for name in sorted(attrs)) + "".join(map(hash_array, arrays))
    return dataclasses.replace(reference, hashes=reference.hashes | {"visit": hash_text(text)})
