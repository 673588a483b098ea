"""One transit fit a planet: all visits and instruments share the orbit, a visit's instruments its mid-time, a band its limb darkening."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from v50calib.engine.depths import FitInput, spread
from v50calib.engine.process import with_depth_var
from v50calib.kernels.arrays import Float
from v50calib.kernels.blocks import Depths, JointFit
from v50calib.kernels.depths import FEWEST, fit_joint
from v50calib.stages.phase.ephemeris import shape_of, transit_prior
from v50calib.stages.series.curves import Ephemeris

#: mid-times of one visit further apart than this many errors, and this many hours, are two starts
APART, LEAST_APART_H = 3.0, 0.1


@dataclass(frozen=True)
class Observation:
    """A visit of one instrument as the fit of its planet needs it: curves, the visit's own ephemeris, the star.

    first_stamp_h: what the visit's times count from; first_stamp of another instrument of the visit may differ.
    """

    visit: int
    instrument: str
    given: FitInput
    ephemeris: Ephemeris
    star: Mapping[str, float]
    first_stamp_h: float = 0.0

    @property
    def found(self) -> bool:
        """Whether a transit was found and fitted."""
        return self.ephemeris.found and math.isfinite(self.ephemeris.depth)


@dataclass(frozen=True)
class PlanetFit:
    """Depths of each instrument (in the order of `instruments`), the orbit, and the mid-time of each visit [h since its first stamp]."""

    instruments: tuple[str, ...]
    depths: tuple[Depths, ...]
    wavelength: tuple[Float, ...]
    joint: JointFit
    visits: tuple[int, ...]
    notes: tuple[str, ...] = ()


def fit_planet(observations: Sequence[Observation]) -> PlanetFit | None:
    """The joint fit of a planet's visits; None where no visit has a transit.

    A visit in which one instrument found a transit counts with both. A visit in which none did is left out and named.
    """
    usable = [o for o in observations if o.given.channels().any() and len(o.given.time) >= o.given.design.shape[1] + FEWEST]
    with_transit = sorted({o.visit for o in usable if o.found})
    chosen = [o for o in usable if o.visit in with_transit]
    if not chosen:
        return None
    notes = [
        f"visit {visit}: no instrument found a transit, the planet's fit leaves it out"
        for visit in sorted({o.visit for o in observations} - set(with_transit))
    ]
    notes += [f"visit {o.visit}, {o.instrument}: no transit found alone, fitted with the visit's other instrument"
              for o in chosen if not o.found]  # fmt: skip
    notes += [f"visit {o.visit}, {o.instrument}: no usable light, or too few bins of time for its baseline: the planet's fit leaves it out"
              for o in observations if not any(o is one for one in usable)]  # fmt: skip
    notes += [f"{name} has no part in this fit" for name in sorted({"FGS1", "AIRS-CH0"} - {o.instrument for o in chosen})
              if any(o.instrument in ("FGS1", "AIRS-CH0") for o in chosen)]  # fmt: skip
    best = max((o for o in chosen if o.found), key=lambda o: o.ephemeris.snr if math.isfinite(o.ephemeris.snr) else 0.0)
    instruments = tuple(sorted({o.instrument for o in chosen}, key=lambda name: (_first_wavelength(chosen, name), name)))
    # a channel of a band is kept where any visit has it
    good = {name: np.logical_or.reduce([o.given.channels() for o in chosen if o.instrument == name]) for name in instruments}
    starts, t0 = _mid_times(chosen, with_transit)
    blocks = [
        o.given.block(good[o.instrument], with_transit.index(o.visit), instruments.index(o.instrument), o.first_stamp_h - starts[o.visit])
        for o in chosen
    ]
    bands = [next(o for o in chosen if o.instrument == name).given.band(good[name]) for name in instruments]
    # of the orbit alone: the bands have the limb darkening's
    prior = transit_prior(dict(best.star), best.ephemeris.a, best.ephemeris.b, (0.0, 0.0, 1.0))
    shape = replace(shape_of(best.ephemeris), t0=t0[0])
    held = all(o.ephemeris.given for o in chosen if o.found)
    joint = fit_joint(blocks, bands, shape, t0, prior, fix_t0=held)
    for other in _other_starts(chosen, best, with_transit, starts, t0):
        again = fit_joint(
            blocks, bands, replace(shape_of(other.ephemeris), t0=t0[0]), _shifted(t0, other, with_transit, starts), prior, fix_t0=held
        )
        joint = again if again.cost < joint.cost else joint
    notes += [f"visit {with_transit[i]}: its light says nothing of the mid-time, which stays where it was found, ± half a transit's length"
              for i in joint.untimed]  # fmt: skip
    if not joint.converged:
        notes.append("the joint fit of the planet did not converge: its depths and errors are those of its last step")
    variances = [_depth_var([o.given for o in chosen if o.instrument == n]) for n in instruments]
    fitted = [with_depth_var(d, variances, i) if any(variances) else d for i, d in enumerate(joint.bands)]
    depths = tuple(d if good[n].all() else spread(d, good[n]) for n, d in zip(instruments, fitted, strict=True))
    wavelength = tuple(next(o for o in chosen if o.instrument == name).given.wavelength for name in instruments)
    return PlanetFit(instruments, depths, wavelength, joint, tuple(with_transit), tuple(notes))


def _depth_var(given: Sequence[FitInput]) -> float:
    """What trends that were divided out leave in a band's depths: that of each visit, by its share of the band's information."""
    information = np.array([float((1.0 / np.square(one.sigma)).sum()) for one in given])
    return float(np.square(information / information.sum()) @ np.array([one.depth_var or 0.0 for one in given]))


def _first_wavelength(chosen: Sequence[Observation], name: str) -> float:
    return min(float(o.given.wavelength[0]) for o in chosen if o.instrument == name)


def _other_starts(
    chosen: Sequence[Observation], best: Observation, visits: Sequence[int], starts: Mapping[int, float], t0: Float
) -> list[Observation]:  # fmt: skip
    """Observations whose own fit puts the transit elsewhere, by more than 3 of its errors: the joint fit starts from them as well."""
    out = []
    for o in chosen:
        if not o.found or o is best or o.ephemeris.given:
            continue
        off = abs(o.ephemeris.t0_h + o.first_stamp_h - starts[o.visit] - t0[visits.index(o.visit)])
        if off > max(APART * o.ephemeris.t0_sigma_h, LEAST_APART_H):
            out.append(o)
    return out


def _shifted(t0: Float, other: Observation, visits: Sequence[int], starts: Mapping[int, float]) -> Float:
    """Mid-times to start from, that of the other observation's visit as it has it."""
    out = t0.copy()
    out[visits.index(other.visit)] = other.ephemeris.t0_h + other.first_stamp_h - starts[other.visit]
    return out


def _mid_times(chosen: Sequence[Observation], visits: Sequence[int]) -> tuple[dict[int, float], Float]:
    """Where each visit's times start (the earliest first stamp of its instruments), and the mid-time to start from: the surer one's."""
    starts = {v: min(o.first_stamp_h for o in chosen if o.visit == v) for v in visits}
    times = []
    for visit in visits:
        own = [o for o in chosen if o.visit == visit and o.found]
        surest = max(own, key=lambda o: o.ephemeris.snr if math.isfinite(o.ephemeris.snr) else 0.0)
        times.append(surest.ephemeris.t0_h + surest.first_stamp_h - starts[visit])
    return starts, np.array(times)
