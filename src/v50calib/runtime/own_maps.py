"""Around the work on a visit: what its bytes lead to is that visit's DataError, which names what is odd about its maps, gain and star."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from v50calib.config.models import CalibConfig
from v50calib.errors import ConfigError, DataError, V50CalibError
from v50calib.io.source import VisitSource
from v50calib.runs.stop import VisitStoppedError
from v50calib.untrusted.boundary import foreign

#: share of the pixels that a map takes away from which on it is named beside another error
MUCH = 0.5
#: electrons, rates, coefficients and properties of stars are far below this
ABSURD = 1e9
#: properties of stars and planets that are above 0
POSITIVE = ("Rs", "Ms", "Ts", "Mp", "P", "sma")
REMEDY = "look at its frames, maps and star; if they are in order, report it with the visit's traceback in the run's manifest"


@contextmanager
def own_maps(source: VisitSource, calib: CalibConfig) -> Iterator[None]:
    """Around the work on a visit. Raises DataError where one of its maps leaves no pixel, before a frame is read.

    Whatever a stage or a fit raises is a DataError, with the exception as its cause. An error that a mostly unusable map, or absurd values
    have led to names them beside its own words: it is this visit's fault.
    """
    _refuse_gain(source, calib)
    lost = {name: bad for name, bad in _lost_pixels(source, calib).items() if bad.any()}
    if lost and np.logical_or.reduce(list(lost.values())).all():
        raise DataError(
            f"{source.key.label}: the visit's own {_told(lost)}, so that none is left to calibrate: replace the map, or leave the visit out"
        )
    try:
        # a full disk and too little memory are no fault of the visit; a visit that is stopped did not fail
        with foreign(f"{source.key.label}: the visit", "cannot be calibrated", REMEDY, passing=(OSError, MemoryError, VisitStoppedError)):
            yield
    except (ConfigError, DataError) as exc:
        much = {name: bad for name, bad in lost.items() if bad.mean() >= MUCH}
        values = _odd_values(source)
        odd = [*([f"its own {_told(much)}"] if much else []), *values]
        if not odd:
            raise
        first = f"{' and '.join(odd)}: look at that {'' if values else 'map '}first"
        if exc.__cause__ is not None and not isinstance(exc.__cause__, V50CalibError):
            # what a division ended in says less than the values that it was of
            raise DataError(f"{source.key.label}: the visit cannot be calibrated with {first}") from exc
        whose = "" if str(exc).startswith(source.key.label) else f"{source.key.label}: "
        raise DataError(f"{whose}{exc}. Of this visit, {first}") from exc


def _odd_values(source: VisitSource) -> list[str]:
    """What of a visit's maps, gain and star lies outside all that detectors and stars have, in words."""
    reference = source.reference
    found = [
        f"the ADC's {name} is {value:g}" for name, value in (("gain", reference.adc_gain), ("offset", reference.adc_offset)) if _odd(value)
    ]
    for name in ("dark", "flat", "read", "linear_corr"):
        values = getattr(reference, name)
        finite = values[np.isfinite(values)]
        if not finite.size:
            found.append(f"map `{name}` has no finite value")
        elif name != "dark" and not finite.any():
            found.append(f"map `{name}` is 0 everywhere")
        elif np.abs(finite).max() > ABSURD:
            found.append(f"map `{name}` goes from {finite.min():g} to {finite.max():g}")
    stars = ((k.removeprefix("star_"), v) for k, v in source.attrs.items() if k.startswith("star_") and isinstance(v, float | int))
    return [*found, *(f"the star's {name} is {value:g}" for name, value in stars if _odd(value) or (name in POSITIVE and value <= 0))]


def _odd(value: float) -> bool:
    return not math.isfinite(value) or abs(value) > ABSURD


def _told(lost: dict[str, NDArray[np.bool_]]) -> str:
    words = {"dead": "map `dead` marks {0} of {1} pixels as dead", "flat": "map `flat` is not above 0 in {0} of {1} pixels"}
    return " and ".join(words[name].format(int(bad.sum()), bad.size) for name, bad in lost.items())


def _lost_pixels(source: VisitSource, calib: CalibConfig) -> dict[str, NDArray[np.bool_]]:
    """Pixels that a map takes away from the science columns, for the maps that this config uses."""
    reference, columns = source.reference, source.instrument.science or slice(None)
    lost: dict[str, NDArray[np.bool_]] = {}
    if calib.dark.enabled:
        lost["dead"] = reference.dead[:, columns]
    if calib.flat.enabled and calib.flat.flat_model.method == "auto":
        flat = reference.flat[:, columns]
        lost["flat"] = ~(np.isfinite(flat) & (flat > calib.flat.flat_model.epsilon))
    return lost


def _refuse_gain(source: VisitSource, calib: CalibConfig) -> None:
    gain, adc = source.reference.adc_gain, calib.adc
    uses = adc.enabled and adc.gain_correction.method == "auto" and adc.detector.conversion_gain_e_per_adu is None
    if uses and not (math.isfinite(gain) and gain > 0):
        raise DataError(
            f"{source.key.label}: the ADC gain that the dataset gives for this visit is {gain:g} ADU/e-, and must be above 0: correct its "
            "row (column adc_gain) in the dataset's ADC table, or attribute adc_gain of its group in a store; or give "
            "calib.adc.gain_correction.method=global and value"
        )
