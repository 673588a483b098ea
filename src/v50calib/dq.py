"""Data-quality bits, defined once, at JWST's positions and with JWST's names.

Source: JWST User Documentation, 'Data Quality Flags' (stdatamodels `dqflags.pixel`).
`pixel_dq` (uint32) holds what is true of a detector pixel throughout a visit; `frame_dq` (uint8)
holds what is true of one sample: bits 0-6 as they are and FLUX_ESTIMATED moved from 28 to 7.
Bits are OR-ed, never cleared.
"""

from __future__ import annotations

from enum import IntFlag

import numpy as np
from numpy.typing import NDArray


class DQ(IntFlag):
    """Bits of `pixel_dq` and of the flags of light curves."""

    GOOD = 0
    DO_NOT_USE = 1 << 0
    SATURATED = 1 << 1
    JUMP_DET = 1 << 2
    DROPOUT = 1 << 3
    OUTLIER = 1 << 4
    AD_FLOOR = 1 << 6
    NON_SCIENCE = 1 << 9
    DEAD = 1 << 10
    HOT = 1 << 11
    LOW_QE = 1 << 13
    NONLINEAR = 1 << 16
    NO_FLAT_FIELD = 1 << 18
    NO_GAIN_VALUE = 1 << 19
    NO_LIN_CORR = 1 << 20
    NO_SAT_CHECK = 1 << 21
    UNRELIABLE_DARK = 1 << 23
    UNRELIABLE_FLAT = 1 << 25
    FLUX_ESTIMATED = 1 << 28


#: one line a bit, for documentation and reports
DESCRIPTIONS: dict[DQ, str] = {
    DQ.DO_NOT_USE: "value is not fit for science",
    DQ.SATURATED: "at or above the saturation level in one of the reads",
    DQ.JUMP_DET: "cosmic-ray hit detected in time",
    DQ.DROPOUT: "data lost",
    DQ.OUTLIER: "rejected as an outlier in time",
    DQ.AD_FLOOR: "at the A/D converter's lowest code",
    DQ.NON_SCIENCE: "outside the science region of the detector",
    DQ.DEAD: "dead in the reference map",
    DQ.HOT: "dark current is an outlier of the dark map",
    DQ.LOW_QE: "low quantum efficiency",
    DQ.NONLINEAR: "correction is outside its valid range",
    DQ.NO_FLAT_FIELD: "flat is zero, negative or not finite; 1 was used",
    DQ.NO_GAIN_VALUE: "gain is missing",
    DQ.NO_LIN_CORR: "linearity coefficients are missing; identity was used",
    DQ.NO_SAT_CHECK: "saturation could not be checked",
    DQ.UNRELIABLE_DARK: "dark is not finite, or negative beyond its noise; 0 was used",
    DQ.UNRELIABLE_FLAT: "flat is unreliable",
    DQ.FLUX_ESTIMATED: "value was filled in from its neighbours or the profile",
}

#: where FLUX_ESTIMATED lives in the 8-bit per-sample mask
FRAME_FLUX_ESTIMATED = np.uint8(1 << 7)
_FRAME_LOW_BITS = np.uint8(0x7F)


def frame_to_pixel_dq(frame_dq: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Widen 8-bit sample flags to the 32-bit positions.

    >>> frame_to_pixel_dq(np.array([1, 128], np.uint8)).tolist(), int(DQ.FLUX_ESTIMATED)
    ([1, 268435456], 268435456)
    """
    low = (frame_dq & _FRAME_LOW_BITS).astype(np.uint32)
    estimated = (frame_dq & FRAME_FLUX_ESTIMATED).astype(bool)
    return low | np.where(estimated, np.uint32(DQ.FLUX_ESTIMATED), np.uint32(0))


def all_channels(mask: NDArray[np.uint32], bits: int) -> NDArray[np.bool_]:
    """Samples (time,) of a (time, channel) mask of which every channel carries one of `bits`.

    >>> all_channels(np.array([[1, 0], [1, 3]], np.uint32), DQ.DO_NOT_USE)
    array([False,  True])
    """
    if not mask.size or not np.bitwise_or.reduce(mask, axis=None) & np.uint32(bits):
        return np.zeros(len(mask), np.bool_)
    return np.asarray((mask & np.uint32(bits)).astype(bool).all(axis=1))


def decode(value: int) -> list[str]:
    """Names of the bits set in `value`, lowest bit first; unknown bits are named by position.

    >>> decode(3), decode(1 << 31)
    (['DO_NOT_USE', 'SATURATED'], ['BIT_31'])
    """
    names = [flag.name for flag in DQ if flag and value & flag and flag.name]
    unknown = value & ~int(sum(DQ))
    names += [f"BIT_{i}" for i in range(unknown.bit_length()) if unknown >> i & 1]
    return names


def counts(mask: NDArray[np.integer]) -> dict[str, int]:
    """Number of elements carrying each flag (only flags that occur).

    >>> counts(np.array([0, 1, 3], np.uint32))
    {'DO_NOT_USE': 2, 'SATURATED': 1}
    """
    present = int(np.bitwise_or.reduce(mask, axis=None)) if mask.size else 0
    flags = [flag for flag in DQ if flag & present]
    return {flag.name: int(np.count_nonzero(mask & mask.dtype.type(flag))) for flag in flags if flag.name}


def cf_attrs() -> dict[str, object]:
    """CF `flag_masks` / `flag_meanings` attributes for a 32-bit mask variable.

    >>> cf_attrs()["flag_masks"][:3], cf_attrs()["flag_meanings"].split()[:3]
    ([1, 2, 4], ['DO_NOT_USE', 'SATURATED', 'JUMP_DET'])
    """
    flags = [f for f in DQ if f]
    return {
        "flag_masks": [int(f) for f in flags],
        "flag_meanings": " ".join(f.name for f in flags if f.name),
        "long_name": "data quality",
    }
