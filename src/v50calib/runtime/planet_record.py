"""What is on record of a planet's fit beside its depths: the numbers that tell whether it is to be trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from v50calib.engine.planet import Observation, PlanetFit
from v50calib.io.storage.location import Location
from v50calib.kernels.transit import radius_ratio
from v50calib.qc.distrust import UNTOLD, Verdict
from v50calib.qc.planet_fit import (
    Spectrum,
    beyond_chance,
    contacts_seen,
    instruments_apart,
    mid_times_apart,
    white,
    white_difference,
)
from v50calib.qc.widening import by_key
from v50calib.runs.product import product_arrays

#: a visit's own depths, beside those of its planet
OWN = ("transit_depth", "transit_depth_sigma", "transit_depth_shared")


def own_spectrum(path: Location) -> Spectrum | None:
    """The depths of a visit's own fit; None where its product has none."""
    found = product_arrays(path, OWN)
    if set(OWN) <= set(found):
        depth, sigma, shared = (np.asarray(found[name], np.float64) for name in OWN)
        return Spectrum(depth, sigma, shared)
    return None


def planet_qc(
    fit: PlanetFit, observations: Sequence[Observation], own: Mapping[tuple[int, str], Spectrum], said: Mapping[str, Verdict]
) -> dict[str, Any]:
    """The record of a planet's fit, JSON-ready, for `qc.distrust.judge_planet` and `qc.widening.of_planet`.

    own: depths of visits' own fits by (visit, instrument); said: the visits' own verdicts, by visit/instrument.
    """
    chosen = [o for o in observations if o.visit in fit.visits]
    spectra = {name: _spectrum(fit, i, chosen) for i, name in enumerate(fit.instruments)}
    chance = {name: beyond_chance(s) for name, s in spectra.items()}
    times = {f"{o.visit}/{o.instrument}": _mid_time(o) for o in chosen if o.found and not o.ephemeris.given}
    red = {name: d.red for name, d in zip(fit.instruments, fit.depths, strict=True)}
    apart = {name: _visits_apart(fit, {name: spectra[name]}, own) for name in fit.instruments}
    numbers = {
        "channel_chi2": _largest(list(chance.values())),
        "red_noise": max(red.values()),
        "contacts_seen": _contacts(fit, chosen),
        "t0_apart": mid_times_apart(times),
        "instruments_apart": instruments_apart(spectra),
        "visits_apart": _largest(list(apart.values())),
        "unconverged": float(not fit.joint.converged),
    }
    by_instrument = {"channel_chi2": chance, "red_noise": red, "visits_apart": apart}
    # a number that is not known is left out: JSON has no NaN
    return {name: value for name, value in numbers.items() if math.isfinite(value)} | {
        "chi2": {name: float(np.nanmedian(d.chi2)) for name, d in zip(fit.instruments, fit.depths, strict=True)},
        "white_depth_ppm": {name: [1e6 * v for v in white(s)] for name, s in spectra.items()},
        "mid_transit_h": {name: list(time[1:]) for name, time in times.items()},
        "of": {rule: {name: v for name, v in each.items() if math.isfinite(v)} for rule, each in by_instrument.items()},
        "visits": {name: {key: r.text for key, r in by_key(one).items()} for name, one in said.items()},
        "untold": [f"visit {name}: {r.text}" for name, one in said.items() for r in one.reasons if r.key == UNTOLD],
    }


def _spectrum(fit: PlanetFit, i: int, chosen: Sequence[Observation]) -> Spectrum:
    depths = fit.depths[i]
    free = sum(
        float(np.median(np.isfinite(o.given.sigma).sum(axis=0))) - o.given.design.shape[1]
        for o in chosen if o.instrument == fit.instruments[i]
    )  # fmt: skip
    return Spectrum(depths.depth, depths.sigma, depths.shared, depths.chi2, free)


def _mid_time(o: Observation) -> tuple[int, float, float]:
    """Visit, mid-time on the clock that its instruments share [h], and its error."""
    return o.visit, o.ephemeris.t0_h + o.first_stamp_h, o.ephemeris.t0_sigma_h


def _contacts(fit: PlanetFit, chosen: Sequence[Observation]) -> float:
    """`contacts_seen` of the surest instrument of each visit."""
    every = [np.concatenate([getattr(d, name) for d in fit.depths]) for name in ("depth", "sigma", "shared")]
    depth, _ = white(Spectrum(every[0], every[1], every[2]))
    if not math.isfinite(depth):
        return math.nan
    shape = replace(fit.joint.shape, k=radius_ratio(depth))
    t0, times, widths = [], [], []
    for o in chosen:
        start = min(other.first_stamp_h for other in chosen if other.visit == o.visit)
        seen = np.isfinite(o.given.sigma).any(axis=1)
        t0.append(float(fit.joint.t0[fit.visits.index(o.visit)]))
        times.append(o.given.time[seen] + o.first_stamp_h - start)
        # pairs of a thinned visit are apart: the light between two of them counts as seen
        widths.append(max(o.given.width, float(np.median(np.diff(o.given.time))) if o.given.time.size > 1 else 0.0))
    return contacts_seen(shape, t0, times, widths)


def _visits_apart(fit: PlanetFit, spectra: Mapping[str, Spectrum], own: Mapping[tuple[int, str], Spectrum]) -> float:
    """The largest disagreement of a visit's own depths with the planet's, and of two visits of an instrument."""
    known = {key: s for key, s in own.items() if key[0] in fit.visits and key[1] in spectra and s.depth.size == spectra[key[1]].depth.size}
    apart = [white_difference(s, spectra[name]) for (_, name), s in known.items()]
    apart += [
        white_difference(s, other, independent=True)
        for (visit, name), s in known.items() for (earlier, same), other in known.items() if same == name and earlier < visit
    ]  # fmt: skip
    return _largest(apart)


def _largest(values: Sequence[float]) -> float:
    return max((v for v in values if math.isfinite(v)), default=math.nan)


def as_attribute(record: Mapping[str, Any]) -> str:
    """The record as text, an attribute of the planet's product.

    >>> as_attribute({"red_noise": 1.0})
    '{"red_noise": 1.0}'
    """
    return json.dumps(dict(record), sort_keys=True)
