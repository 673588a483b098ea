"""Time stamps and exposures as users' files give them: units, and whether they can be those of a detector's reads.

Units: CF conventions 1.11, section 4.4 (`days since 2020-01-01`); NumPy's datetime64 and timedelta64 carry their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.errors import DataError
from v50calib.kernels.arrays import Float

#: seconds of each unit of time that a file may name
SECONDS: dict[str, float] = {
    **dict.fromkeys(("nanosecond", "nanoseconds", "nsec", "ns"), 1e-9),
    **dict.fromkeys(("microsecond", "microseconds", "usec", "us"), 1e-6),
    **dict.fromkeys(("millisecond", "milliseconds", "msec", "ms"), 1e-3),
    **dict.fromkeys(("second", "seconds", "sec", "secs", "s"), 1.0),
    **dict.fromkeys(("minute", "minutes", "min", "mins"), 60.0),
    **dict.fromkeys(("hour", "hours", "hr", "hrs", "h"), 3600.0),
    **dict.fromkeys(("day", "days", "d"), 86400.0),
}
#: ramps cannot follow each other faster than they last (with room for stamps of low resolution), and who waits this many times longer
#: has stamps in other units: hours read as seconds make 3600
SHORTEST, LONGEST = 0.5, 3000.0
#: s that no ramp lasts
NO_RAMP_S = 86400.0


def times_in(wanted: str, values: NDArray[Any], units: str | None, assumed: str, what: str) -> Float:
    """Times in a unit from what a file holds: datetime64 (since 1970) and timedelta64 as they say, numbers in `units`, else in `assumed`.

    Raises DataError for units that are not of time.

    >>> times_in("s", np.array(["2026-01-01T00:00:01", "2026-01-01T00:00:03"], "M8[ns]"), None, "s", "time_s") % 60
    array([1., 3.])
    >>> times_in("h", np.array([0.0, 0.5]), "days since 2020-01-01", "h", "time_h")
    array([ 0., 12.])
    >>> times_in("s", np.array([0.0]), "K", "s", "time_s")
    Traceback (most recent call last):
    v50calib.errors.DataError: time_s has the units 'K': give times in s, minutes, hours or days, or leave the units out
    """
    if values.dtype.kind in "mM":
        if np.isnat(values).any():
            raise DataError(f"{what} has {int(np.isnat(values).sum())} values that are no time (NaT): give every frame its own")
        # whole seconds and the rest apart: nanoseconds since 1970 have more digits than a float
        whole = values.astype(f"{values.dtype.kind}8[s]")
        rest = (values - whole).astype("m8[ns]").astype(np.float64)
        return np.asarray((whole.astype(np.int64).astype(np.float64) + rest * 1e-9) / SECONDS[wanted])
    numbers = np.asarray(values, np.float64)
    unit = units.split()[0].strip().lower() if units is not None and units.strip() else assumed
    if unit not in SECONDS:
        raise DataError(f"{what} has the units '{units}': give times in s, minutes, hours or days, or leave the units out")
    # a unit that is kept leaves every bit of the numbers
    ratio = SECONDS[unit] / SECONDS[wanted]
    return numbers if ratio == 1 else numbers / (SECONDS[wanted] / SECONDS[unit]) if ratio < 1 else numbers * ratio


def check_clock(where: str, time_h: Float, exposure_s: Float) -> None:
    """Refuse stamps (frame,) [h] and exposures (frame,) [s] that no detector's reads have (DataError).

    >>> check_clock("cam", np.array([0.0, 0.001, 0.002, 0.003]), np.array([0.1, 3.0, 0.1, 3.0]))
    >>> check_clock("cam", 3600 * np.array([0.0, 0.001, 0.002, 0.003]), np.array([0.1, 3.0, 0.1, 3.0]))
    Traceback (most recent call last):
    v50calib.errors.DataError: cam: ramps are 2.59e+04 s apart and last 3 s: the time stamps are not in hours (in seconds, ...
    """
    if not np.isfinite(exposure_s).all() or (exposure_s < 0).any():
        bad = float(exposure_s[~np.isfinite(exposure_s) | (exposure_s < 0)][0])
        raise DataError(f"{where}: a read {bad:g} s after its reset: exposures are 0 or longer; correct the integration times")
    first, second = exposure_s[::2], exposure_s[1::2]
    if not (second > first).all():
        i = int(np.flatnonzero(second <= first)[0])
        raise DataError(
            f"{where}: pair {i} is read {first[i]:g} and {second[i]:g} s after its reset: the second read comes after the first; correct "
            "the integration times"
        )
    if second.size and float(second.max()) > NO_RAMP_S:
        raise DataError(f"{where}: a read {second.max():.3g} s after its reset: exposures are in s, at most a day; correct the times")
    if len(time_h) < 4:
        return
    apart, lasts = 3600.0 * float(np.median(np.diff(time_h[::2]))), float(np.median(second))
    if apart < SHORTEST * lasts or apart > LONGEST * lasts:
        other = "in days or minutes" if apart < lasts else "in seconds, milliseconds or nanoseconds"
        raise DataError(
            f"{where}: ramps are {apart:.3g} s apart and last {lasts:.3g} s: the time stamps are not in hours ({other}?), or the exposures "
            "not in seconds; convert them"
        )
