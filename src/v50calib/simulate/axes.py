"""Time and wavelength axes of a visit, in the pattern of the challenge's axis_info table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v50calib.kernels.arrays import Float
from v50calib.schema import INSTRUMENT

VISIT_S = 27000.0
FULL_AIRS_PAIRS = 5625
FGS1_PER_AIRS = 12
#: time stamps of the two reads after the start of their pair, s (both instruments; not the integration times)
STAMPS_S = (0.1, 0.2)
#: quadratic dispersion of AIRS-CH0, µm against column; a rounded fit to the published axis
DISPERSION_UM = (4.07846314, -4.43363407e-3, -6.91347214e-6)


@dataclass(frozen=True)
class TimeAxis:
    """Reads of one instrument in one visit.

    stamps_h   [2 * pairs] time stamp of each read, hours since the start of the visit
    pair_h     [pairs] mid-time of a pair's exposure, hours since the first stamp: there the transit is evaluated
    read_s     time since reset of the first and the second read, s
    """

    stamps_h: Float
    pair_h: Float
    read_s: tuple[float, float]

    @property
    def pairs(self) -> int:
        """Number of read pairs (half the frames)."""
        return self.pair_h.size


def time_axis(instrument: str, frames_fraction: float) -> TimeAxis:
    """Reads of `instrument` when a visit keeps `frames_fraction` of its pairs, spread evenly over 7.5 h.

    FGS1 always has 12 pairs for each AIRS pair; at least two AIRS pairs remain.

    >>> axis = time_axis("AIRS-CH0", frames_fraction=2 / 5625)
    >>> axis.pairs, (axis.stamps_h * 3600.0).round(6)  # two pairs over 27000 s
    (2, array([1.00000e-01, 2.00000e-01, 1.35001e+04, 1.35002e+04]))
    """
    pairs = max(2, round(FULL_AIRS_PAIRS * frames_fraction))
    if instrument == "FGS1":
        pairs *= FGS1_PER_AIRS
    start_s = np.arange(pairs) * (VISIT_S / pairs)
    stamps = (start_s[:, None] + np.array(STAMPS_S)) / 3600.0
    first_s, second_s = INSTRUMENT[instrument].read_times
    since, half = stamps - stamps[0, 0], (second_s - first_s) / 7200.0
    # stamps closer than the reads say when each read's share of the ramp begins
    middle = since[:, 1] + half if STAMPS_S[1] - STAMPS_S[0] < 0.5 * (second_s - first_s) else since.mean(axis=1)
    return TimeAxis(stamps.ravel(), middle, (first_s, second_s))


def airs_wavelength() -> Float:
    """Wavelength of the 356 AIRS-CH0 columns, µm, falling with column.

    >>> airs_wavelength()[[0, -1]].round(2)
    array([4.08, 1.63])
    """
    column = np.arange(INSTRUMENT["AIRS-CH0"].shape[1], dtype=np.float64)
    return np.asarray(np.polynomial.polynomial.polyval(column, DISPERSION_UM))


def channel_wavelength() -> Float:
    """Wavelength of the 283 channels wl_1..wl_283, µm: the FGS1 band, then the science columns reversed (rising).

    >>> channel_wavelength().size, bool((np.diff(channel_wavelength()) > 0).all())
    (283, True)
    """
    band = INSTRUMENT["FGS1"].band_um
    science = airs_wavelength()[INSTRUMENT["AIRS-CH0"].science][::-1]
    return np.concatenate([[band], science])
