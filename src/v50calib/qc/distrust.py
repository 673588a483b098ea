"""Reasons to distrust a calibrated visit or the fit of a planet, from its QC record alone, and the number that they are ranked by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: score of a visit without a product: it is ranked before all others
NO_PRODUCT = 1000.0
#: a reason weighs value / limit, at most this: one extreme number does not hide the other reasons
CAP = 10.0
NO_TRANSIT = 5.0
#: keys of reasons that are notes: a soft guard's, and an error that is in no error bar
GUARD, UNTOLD = "guard", "untold"
#: key and weight of the reason that a planet has no depths of an instrument that other planets of the run have
MISSING, MISSING_WEIGHT = "missing_instrument", 2.0
#: in a note of a soft guard, and in one that only says that there was too little to judge
_GUARD, _NOT_JUDGED = " quality: ", "not judged"
#: in a note that says that an error is in no error bar
_UNTOLD = "in no depth's error"


@dataclass(frozen=True)
class Rule:
    """key: name in the page's table; limit: a larger value is a reason (`below`: a smaller one)."""

    key: str
    limit: float
    unit: str
    says: str
    below: bool = False


RULES: tuple[Rule, ...] = (
    Rule(
        "noise_over_limit",
        1.3,
        "",
        "scatter of the white light curve out of transit over the noise model's, less what chance adds in a short visit",
    ),
    Rule("red_noise", 2.0, "", "the same after averaging over the longest blocks that are known: noise that is correlated in time"),
    Rule("channels_lost", 0.01, "", "share of channels without usable light"),
    Rule("drift_px", 0.5, " px", "displacement of the star between the first and the last tenth of the visit"),
    Rule("jitter_px", 0.3, " px", "scatter of the star's position, the larger of x and y"),
    Rule("bad_samples", 0.05, "", "share of light-curve samples not fit for science"),
    Rule("saturated", 0.001, "", "share of light-curve samples with a saturated pixel"),
    Rule("lost_pairs", 0.01, "", "share of pairs whose frames were lost or damaged: found, flagged and left out of every fit"),
    Rule("dark_negative", 0.005, "", "share of the science pixels whose dark current is negative beyond noise: they are left out"),
    Rule("dark_off", 0.2, "", "by how much the frames' hot pixels contradict the dark map, relative to it and less three errors"),
    Rule("negative_light", 0.01, "", "share of the pixels whose mean light is below zero beyond noise: too much was subtracted"),
    Rule("flat_gradient", 0.3, "", "change of the flat over the science pixels on large scales, relative to its median"),
    Rule("background_shape", 0.005, "", "share of the star's light that the background's surface misses, less three errors"),
    Rule(
        "fit_chi2", 1.5, "", "reduced chi² of the white transit fit, less what chance adds in a short visit: light curve and model differ"
    ),
    Rule("fit_red_noise", 1.5, "", "factor by which noise that does not average down has widened the errors of the depths"),
    Rule("depth_chi2", 1.3, "", "reduced chi² of the channels' transit fits, the median"),
    Rule("transit_inside", 0.9, "", "share of the transit, first to fourth contact, that the visit saw", below=True),
    Rule("transit_snr", 7.0, "", "signal-to-noise of the transit", below=True),
)

#: rules whose number is in the record by the rule's name
OWN = (
    *("lost_pairs", "dark_negative", "dark_off", "negative_light", "flat_gradient", "background_shape"),
    *("fit_chi2", "fit_red_noise", "depth_chi2", "transit_inside"),
)


PLANET_RULES: tuple[Rule, ...] = (
    Rule("channel_chi2", 1.3, "", "reduced chi² of an instrument's channels, the median less three times its chance, the largest"),
    Rule("red_noise", 1.5, "", "factor by which noise that does not average down has widened the errors of the orbit and what it shares"),
    Rule("contacts_seen", 0.9, "", "share of ingress or of egress, the lesser, that some visit saw with light beside it", below=True),
    Rule("t0_apart", 4.0, "", "difference of the mid-times that instruments of a visit found alone, in errors, the largest"),
    Rule("instruments_apart", 3.0, "", "difference of two instruments' white depths beyond 20 % of the depth, in errors, the largest"),
    Rule("visits_apart", 4.0, "", "difference of a visit's own white depth from the planet's fit, or from another visit's, in errors"),
    Rule("unconverged", 0.5, "", "1 where the fit ended before it converged"),
)


@dataclass(frozen=True)
class Reason:
    """Why to distrust a visit or planet, in words, and what it adds to the score. key: the rule's, or a note's kind."""

    text: str
    weight: float
    key: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True)
class Verdict:
    """Reasons, heaviest first; `unknown`: rules whose number the record does not have."""

    reasons: tuple[Reason, ...]
    numbers: dict[str, float]
    unknown: tuple[str, ...]

    @property
    def score(self) -> float:
        return sum(reason.weight for reason in self.reasons)


def numbers_of(qc: Mapping[str, Any]) -> dict[str, float]:
    """The numbers that the rules use, from a QC record; NaN where the record lacks one.

    >>> numbers = numbers_of({"noise_over_limit": 1.1, "stages": {"photometry": {"drift_x_px": 0.3, "drift_y_px": 0.4}}})
    >>> numbers["noise_over_limit"], numbers["drift_px"], numbers["red_noise"]
    (1.1, 0.5, nan)
    """
    stages = qc.get("stages", {})
    photometry, trace, phase = (stages.get(name, {}) for name in ("photometry", "trace", "phase"))
    flagged, jitter = qc.get("samples_flagged"), qc.get("jitter_px", {})
    lost = number(qc.get("channels_lost"))
    drift = [number(photometry.get(f"drift_{axis}_px")) for axis in "xy"]
    return {
        "noise_over_limit": number(qc.get("noise_over_limit")),
        "red_noise": number(trace.get("red_noise")),
        "channels_lost": lost if lost == 0 else lost / number(qc.get("channels")),
        "drift_px": math.hypot(*drift),
        "jitter_px": max(number(jitter.get("x")), number(jitter.get("y"))),
        "bad_samples": math.nan if flagged is None else number(flagged.get("DO_NOT_USE", 0.0)),
        "saturated": math.nan if flagged is None else number(flagged.get("SATURATED", 0.0)),
        "transit_snr": number(phase.get("transit_snr")),
        **{key: number(qc.get(key)) for key in OWN},
        "depth_ppm": number(phase.get("white_depth_ppm")),
        "sigma_ppm": number(phase.get("white_depth_sigma_ppm")),
        "snr_median": number(photometry.get("snr_median")),
        "scatter_ppm": number(qc.get("scatter_ppm")),
    }


def judge(qc: Mapping[str, Any], *, transit_found: bool | None) -> Verdict:
    """The reasons that a visit's QC record gives.

    transit_found: None where no transit was looked for (phase off) or it is not known.

    >>> verdict = judge({"noise_over_limit": 2.6}, transit_found=True)
    >>> verdict.reasons  # 2.6 is twice the limit
    (Reason(text='noise_over_limit 2.6 > 1.3', weight=2.0),)
    """
    numbers = numbers_of(qc)
    reasons = [Reason("no transit found", NO_TRANSIT)] if transit_found is False else []
    reasons += _broken([rule for rule in RULES if not (rule.below and transit_found is False)], numbers, qc.get("chance", {}))
    notes = list(map(str, qc.get("notes", [])))
    reasons += [Reason(note, 1.0, GUARD) for note in notes if _GUARD in note and _NOT_JUDGED not in note and _UNTOLD not in note]
    reasons += [Reason(note, 1.0, UNTOLD) for note in untold(notes)]
    return _verdict(reasons, numbers, RULES)


def judge_planet(qc: Mapping[str, Any], missing: Iterable[str] = ()) -> Verdict:
    """The reasons that the record of a planet's fit gives: its numbers, and what its visits' trends leave in no error bar.

    missing: instruments of `missing_instruments`.

    >>> [reason.text for reason in judge_planet({"contacts_seen": 0.3, "red_noise": 1.1, "untold": []}, ["FGS1"]).reasons]
    ['contacts_seen 0.3 < 0.9', 'missing_instrument FGS1: other planets of the run have it']
    """
    numbers = {rule.key: number(qc.get(rule.key)) for rule in PLANET_RULES}
    reasons = _broken(PLANET_RULES, numbers) + [Reason(str(note), 1.0, UNTOLD) for note in qc.get("untold", [])]
    reasons += [Reason(f"{MISSING} {name}: other planets of the run have it", MISSING_WEIGHT, MISSING) for name in missing]
    return _verdict(reasons, numbers, PLANET_RULES)


def missing_instruments(instruments: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """{planet: instruments that its fit has no depths of and that of another planet has}, those with any.

    instruments: of each planet's fit.

    >>> missing_instruments({"7": ["FGS1", "AIRS-CH0"], "8": ["AIRS-CH0"]}), missing_instruments({"8": ["AIRS-CH0"]})
    ({'8': ['FGS1']}, {})
    """
    have = {planet: set(names) for planet, names in instruments.items()}
    every = set().union(*have.values())
    return {planet: sorted(every - names) for planet, names in have.items() if every - names}


def no_fit(*, transit_found: bool) -> Verdict:
    """The verdict on a planet without a fit.

    >>> no_fit(transit_found=False).score, no_fit(transit_found=True).score
    (5.0, 1000.0)
    """
    if transit_found:
        return Verdict(
            (Reason("no fit of the planet: it failed or was not made; 'v50calib spectra' makes it and says why", NO_PRODUCT),), {}, ()
        )
    return Verdict((Reason("no fit of the planet: no transit found in any visit", NO_TRANSIT),), {}, ())


def untold(notes: Iterable[str]) -> list[str]:
    """Those of a visit's notes that tell of an error that no depth's error bar holds.

    >>> untold(["along_time: savgol: the bridge's error is in no depth's error", "dark: filled"])
    ["along_time: savgol: the bridge's error is in no depth's error"]
    """
    return [note for note in notes if _UNTOLD in note]


def _broken(rules: Sequence[Rule], numbers: Mapping[str, float], chance: Mapping[str, float] | None = None) -> list[Reason]:
    """A reason for each rule whose number is beyond its limit, raised by the share that chance may add to the number."""
    reasons = []
    for rule in rules:
        value, limit = numbers[rule.key], rule.limit * (1.0 + (chance or {}).get(rule.key, 0.0))
        if rule.below and value < rule.limit:
            text = f"{rule.key} {value:.3g}{rule.unit} < {rule.limit:g}{rule.unit}"
            reasons.append(Reason(text, min(rule.limit / max(value, 1e-9), CAP), rule.key))
        elif not rule.below and value > limit:
            text = f"{rule.key} {value:.3g}{rule.unit} > {limit:.3g}{rule.unit}"
            reasons.append(Reason(text, min(value / limit, CAP), rule.key))
    return reasons


def _verdict(reasons: Sequence[Reason], numbers: dict[str, float], rules: Sequence[Rule]) -> Verdict:
    unknown = tuple(rule.key for rule in rules if math.isnan(numbers[rule.key]))
    return Verdict(tuple(sorted(reasons, key=lambda r: -r.weight)), numbers, unknown)


def no_product(state: str, error: str) -> Verdict:
    """The verdict on a visit without a product: its state is the reason.

    >>> no_product("failed", "the disk is full").reasons
    (Reason(text='failed: the disk is full', weight=1000.0),)
    """
    return Verdict((Reason(f"{state}: {error}" if error else state, NO_PRODUCT),), {}, ())


def number(value: object) -> float:
    """A finite number as float, anything else as NaN.

    >>> number(3), number(None), number(True), number(float("inf"))
    (3.0, nan, nan, nan)
    """
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known and isinstance(value, (int, float)) else math.nan
