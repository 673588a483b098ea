"""The visit's own maps (dead pixels, flat, gain): where one leaves nothing to calibrate, that visit fails, and its error names the map."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from v50calib.config.models import CalibConfig
from v50calib.errors import ConfigError, DataError
from v50calib.io.source import VisitSource

#: share of the pixels that a map takes away from which on it is named beside another error
MUCH = 0.5


@contextmanager
def own_maps(source: VisitSource, calib: CalibConfig) -> Iterator[None]:
    """Around the work on a visit. Raises DataError where one of its maps leaves no pixel, before a frame is read.

    An error that a mostly unusable map has led to names that map beside its own words, as a DataError: it is this visit's fault.
    """
    _refuse_gain(source, calib)
    lost = {name: bad for name, bad in _lost_pixels(source, calib).items() if bad.any()}
    if lost and np.logical_or.reduce(list(lost.values())).all():
        raise DataError(
            f"{source.key.label}: the visit's own {_told(lost)}, so that none is left to calibrate: replace the map, or leave the visit out"
        )
    try:
        yield
    except (ConfigError, DataError, ValueError, ArithmeticError) as exc:
        much = {name: bad for name, bad in lost.items() if bad.mean() >= MUCH}
        if not much:
            raise
        raise DataError(f"{source.key.label}: {exc or type(exc).__name__}. The visit's own {_told(much)}: look at that map first") from exc


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
