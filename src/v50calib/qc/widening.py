"""By how much a reason to distrust a planet widens the errors of its depths: a stated rule, fitted on simulated failures.

The errors of an instrument's depths have two parts that fail apart: that of the level, which all channels share, and that of the shape, one
channel against another. A filter in time that bends the light curve under a transit moves all channels alike. Each reason has a
factor for both; an instrument gets the largest of its reasons. Reasons of a visit count for the instruments of that visit that are in the
planet's fit, those of the planet's fit for the instrument whose number is beyond the limit, or for all where that cannot be told.

The factors: rms of error / sigma over simulated visits with the reason, a robust one, not below 1 (`benchmarks/widening.py`; table in
docs/how-to/quality.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from v50calib.qc.distrust import CAP, UNTOLD, Reason, Verdict, judge_planet

#: a visit with a reason of a factor above this is left out of its planet's fit where another visit of the instrument has none …
HARMFUL = 1.25
#: … or where one of these is beyond its limit by this factor: errors were widened for it, but another visit's need no such thing
GROSS_RULES, GROSS = frozenset({"fit_chi2", "depth_chi2", "red_noise", "noise_over_limit"}), 3.0
#: a light curve that is no transit with noise: its depth says nothing. Bright visits that clip reach 69 and 38 with honest errors, lost
#: blocks and a star that gives 10 % less light for a while begin at 476 and 115 (`benchmarks/widening.py`)
RUINOUS = {"fit_chi2": 150.0, "depth_chi2": 65.0}
#: reason of a visit that is ruined and in the fit because the planet has no other
RUINED = "ruined"
#: rules of a planet whose number is how many errors two measurements are apart: errors as many times as large make them agree
APART = frozenset({"instruments_apart", "visits_apart"})


@dataclass(frozen=True)
class Widening:
    """Factors of sigma: of an instrument's level and of its shape, and the reasons that widen it.

    >>> Widening(2.3, 1.0, ("contacts_seen 0.3 < 0.9",)).text
    'sigma x 2.3, of one channel against another x 1 (contacts_seen 0.3 < 0.9)'
    """

    level: float = 1.0
    shape: float = 1.0
    why: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        shape = "" if self.shape == self.level else f", of one channel against another x {self.shape:.2g}"
        return f"sigma x {self.level:.2g}{shape} ({'; '.join(self.why)})"


@dataclass(frozen=True)
class Factor:
    """Factors of one reason. cases: of the simulated visits that they were fitted to; 0: of a kin."""

    level: float
    shape: float
    cases: int


#: by rule of a visit (`distrust.RULES`); what is not here widens nothing
VISIT: dict[str, Factor] = {
    "untold": Factor(3.3, 1.0, 32),
    RUINED: Factor(1.7, 1.0, 31),
}
#: by rule of a planet's fit (`distrust.PLANET_RULES`)
PLANET: dict[str, Factor] = {}


def widening(reasons: Iterable[Reason], table: Mapping[str, Factor]) -> Widening:
    """The largest factors of some reasons; the reasons that have one, those with the larger first.

    >>> table = {"cut": Factor(2.0, 1.0, 20), "noise": Factor(1.2, 1.5, 30)}
    >>> widening([Reason("cut 0.3 < 0.9", 3.0, "cut"), Reason("noise 2 > 1", 2.0, "noise"), Reason("else", 1.0)], table)
    Widening(level=2.0, shape=1.5, why=('cut 0.3 < 0.9', 'noise 2 > 1'))
    """
    found = [(table[r.key], r.text) for r in reasons if r.key in table]
    found = sorted(((f, text) for f, text in found if max(f.level, f.shape) > 1.0), key=lambda pair: -pair[0].level)
    shape = max((f.shape for f, _ in found), default=1.0)
    return Widening(max((f.level for f, _ in found), default=1.0), shape, tuple(text for _, text in found))


def of_visit(verdict: Verdict) -> Widening:
    """What a visit's own reasons do to the depths of its instrument.

    >>> of_visit(Verdict((Reason("a note", 1.0),), {}, ()))
    Widening(level=1.0, shape=1.0, why=())
    """
    return widening(by_key(verdict).values(), VISIT)


def by_key(verdict: Verdict) -> dict[str, Reason]:
    """A visit's reasons by their rule; RUINED where one is ruinous.

    >>> list(by_key(Verdict((Reason("fit_chi2 795 > 1.5", CAP, "fit_chi2"), Reason("a note", 1.0)), {"fit_chi2": 795.0}, ())))
    ['fit_chi2', 'ruined']
    """
    found = {r.key: r for r in verdict.reasons if r.key}
    ruin = ruinous(verdict)
    return found | ({RUINED: Reason(f"no transit with noise: {'; '.join(ruin)}", CAP, RUINED)} if ruin else {})


def harmful(verdict: Verdict) -> list[str]:
    """The reasons for which a visit leaves its planet's fit where another visit of the instrument serves.

    >>> harmful(Verdict((Reason("fit_chi2 6 > 1.5", 4.0, "fit_chi2"), Reason("fit_chi2 2 > 1.5", 1.3, "fit_chi2")), {"fit_chi2": 6.0}, ()))
    ['fit_chi2 6 > 1.5']
    """
    factors = {key: max(one.level, one.shape) for key, one in VISIT.items()}
    return [r.text for r in verdict.reasons if factors.get(r.key, 1.0) > HARMFUL or (r.key in GROSS_RULES and r.weight >= GROSS)]


def ruinous(verdict: Verdict) -> list[str]:
    """The reasons for which a visit leaves its planet's fit where another instrument alone would serve: they share the orbit.

    >>> ruinous(Verdict((), {"fit_chi2": 795.0, "depth_chi2": 2.7}, ()))
    ['fit_chi2 795 > 150']
    """
    return [f"{key} {verdict.numbers[key]:.3g} > {limit:g}" for key, limit in RUINOUS.items() if verdict.numbers.get(key, 0.0) > limit]


def of_planet(record: Mapping[str, Any], instrument: str) -> Widening:
    """What the record of a planet's fit does to the depths of an instrument: the larger of its own reasons and its visits'.

    record["of"]: rule -> instrument -> number, for those that are known by instrument; record["visits"]: visit/instrument -> rule ->
    reason, of the visits in the fit.

    >>> of_planet({"contacts_seen": 1.0}, "FGS1")
    Widening(level=1.0, shape=1.0, why=())
    """
    own = {key: numbers[instrument] for key, numbers in record.get("of", {}).items() if instrument in numbers}
    told = [note for note in record.get("untold", []) if f"/{instrument}:" in str(note)]
    verdict = judge_planet({**record, **own, "untold": told})
    fit = widening(verdict.reasons, PLANET | {key: Factor(verdict.numbers[key], 1.0, 0) for key in APART})
    return larger([fit, *(widening(seen, VISIT) for seen in visit_reasons(record, instrument))])


def visit_reasons(record: Mapping[str, Any], instrument: str) -> list[list[Reason]]:
    """The reasons of each visit of an instrument that a planet's fit is made of.

    >>> visit_reasons({"visits": {"0/FGS1": {"red_noise": "red_noise 3 > 2"}, "0/AIRS-CH0": {}}}, "FGS1")
    [[Reason(text='red_noise 3 > 2', weight=1.0)]]
    """
    out = []
    for label, reasons in record.get("visits", {}).items():
        visit, _, name = label.partition("/")
        if name == instrument:
            out.append([Reason(f"visit {visit}: {text}" if key == UNTOLD else text, 1.0, key) for key, text in reasons.items()])
    return out


def larger(widenings: Sequence[Widening]) -> Widening:
    """The larger factors, and all the reasons.

    >>> larger([Widening(2.0, 1.0, ("a",)), Widening(1.5, 1.4, ("b",))])
    Widening(level=2.0, shape=1.4, why=('a', 'b'))
    """
    why = tuple(dict.fromkeys(text for one in widenings for text in one.why))
    return Widening(max(w.level for w in widenings), max(w.shape for w in widenings), why)
