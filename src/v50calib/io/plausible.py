"""Axes of an opened visit that no detector has: refused before a frame is read, whatever kind of root they are from."""

from __future__ import annotations

import numpy as np

from v50calib.errors import DataError
from v50calib.io.clock import check_clock
from v50calib.io.source import VisitSource
from v50calib.kernels.arrays import Float

#: µm; nanometres and ångströms lie above, metres, centimetres and millimetres below
WAVELENGTHS_UM = (0.01, 300.0)


def checked(source: VisitSource) -> VisitSource:
    """The source itself. Raises DataError for stamps, exposures or wavelengths that no detector has."""
    where = f"{source.key}"
    if not np.isfinite(source.time_h).all() or (np.diff(source.time_h) <= 0).any():
        raise DataError(f"{where}: the time stamps do not rise from read to read: sort the frames in time, or correct the stamps")
    check_clock(where, np.asarray(source.time_h, np.float64), np.asarray(source.exposure_s, np.float64))
    check_wavelengths(where, np.atleast_1d(np.asarray(source.wavelength, np.float64)))
    return source


def check_wavelengths(where: str, wavelength_um: Float) -> None:
    """Refuse wavelengths (nx,) that are not µm in one direction (DataError).

    >>> check_wavelengths("cam", np.array([3.9, 2.9, 1.9]))
    >>> check_wavelengths("cam", np.array([3900.0, 2900.0, 1900.0]))
    Traceback (most recent call last):
    v50calib.errors.DataError: cam: wavelengths of 1900 to 3900 are no µm (nm?): give µm, 0.01 to 300
    """
    finite = wavelength_um[np.isfinite(wavelength_um)]
    if finite.size < wavelength_um.size:
        raise DataError(f"{where}: {wavelength_um.size - finite.size} of {wavelength_um.size} wavelengths are not finite: give each in µm")
    low, high = float(finite.min()), float(finite.max())
    if not (WAVELENGTHS_UM[0] <= low and high <= WAVELENGTHS_UM[1]):
        unit = "" if low <= 0 else " (nm?)" if high > WAVELENGTHS_UM[1] else " (m?)"
        span = f"{low:.6g} to {high:.6g}" if high > low else f"{low:.6g}"
        raise DataError(f"{where}: wavelengths of {span} are no µm{unit}: give µm, {WAVELENGTHS_UM[0]:g} to {WAVELENGTHS_UM[1]:g}")
    step = np.diff(wavelength_um)
    if not ((step > 0).all() or (step < 0).all()):
        i = int(np.flatnonzero(step * np.sign(wavelength_um[-1] - wavelength_um[0]) <= 0)[0])
        raise DataError(
            f"{where}: wavelengths neither rise nor fall all along x: columns {i} and {i + 1} have {wavelength_um[i]:g} and "
            f"{wavelength_um[i + 1]:g} µm; give µm of each column, in order"
        )
