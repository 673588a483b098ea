"""The ranking: each rule on its own number, weights, what is unknown."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from v50calib.qc.distrust import (
    CAP,
    MISSING_WEIGHT,
    NO_PRODUCT,
    NO_TRANSIT,
    PLANET_RULES,
    RULES,
    judge,
    judge_planet,
    no_fit,
    no_product,
)
from v50calib.qc.metrics import chance
from v50calib.runs.planet_verdicts import planet_qc_rows, planet_verdicts
from v50calib.runs.spectra import write_planet
from v50calib.runtime.planets import distrusted


def record(**more: Any) -> dict[str, Any]:
    """A good visit's QC record."""
    return {
        "dark_negative": 0.0, "dark_off": 0.0, "negative_light": 0.0, "flat_gradient": 0.01, "background_shape": 0.0,
        "lost_pairs": 0.0, "fit_chi2": 1.0, "fit_red_noise": 1.0, "depth_chi2": 1.0, "transit_inside": 1.0,
        "noise_over_limit": 1.0, "channels": 282, "channels_lost": 0, "jitter_px": {"x": 0.1, "y": 0.1}, "samples_flagged": {}, "notes": [],
        "stages": {
            "photometry": {"drift_x_px": 0.1, "drift_y_px": -0.1, "snr_median": 100.0},
            "trace": {"red_noise": 1.0},
            "phase": {"transit_snr": 50.0, "white_depth_ppm": 1e4, "white_depth_sigma_ppm": 50.0},
        },
    } | more  # fmt: skip


def stage(name: str, **numbers: float) -> dict[str, Any]:
    stages = record()["stages"]
    stages[name] |= numbers
    return record(stages=stages)


def test_a_good_visit_has_no_reason() -> None:
    verdict = judge(record(), transit_found=True)
    assert (verdict.score, verdict.reasons, verdict.unknown) == (0.0, (), ())
    assert verdict.numbers["drift_px"] == pytest.approx(math.sqrt(0.02))


@pytest.mark.parametrize(
    ("qc", "key", "weight"),
    [
        (record(fit_chi2=3.0), "fit_chi2", 2.0),
        (record(fit_red_noise=3.0), "fit_red_noise", 2.0),
        (record(depth_chi2=2.6), "depth_chi2", 2.0),
        (record(transit_inside=0.45), "transit_inside", 2.0),
        (record(lost_pairs=0.02), "lost_pairs", 2.0),
        (record(noise_over_limit=2.6), "noise_over_limit", 2.0),
        (stage("trace", red_noise=5.0), "red_noise", 2.5),
        (record(channels_lost=141), "channels_lost", CAP),
        (stage("photometry", drift_x_px=0.6, drift_y_px=0.8), "drift_px", 2.0),
        (record(jitter_px={"x": 0.1, "y": 0.6}), "jitter_px", 2.0),
        (record(samples_flagged={"DO_NOT_USE": 0.1}), "bad_samples", 2.0),
        (record(samples_flagged={"SATURATED": 0.002}), "saturated", 2.0),
        (stage("phase", transit_snr=3.5), "transit_snr", 2.0),
        (stage("phase", transit_snr=0.0), "transit_snr", CAP),
    ],
)
def test_each_rule_weighs_its_number_over_its_limit(qc: dict[str, Any], key: str, weight: float) -> None:
    verdict = judge(qc, transit_found=True)
    (reason,) = verdict.reasons
    assert reason.text.startswith(f"{key} ")
    assert reason.weight == pytest.approx(weight)


def test_no_transit_counts_once() -> None:
    (reason,) = judge(stage("phase", transit_snr=2.0), transit_found=False).reasons
    assert (reason.text, reason.weight) == ("no transit found", NO_TRANSIT)


def test_guard_notes_count_and_others_do_not() -> None:
    notes = ["trace quality: a is 3, more than b=2", "cds quality: 3 sample pairs are fewer than 10; not judged", "dark: filled"]
    verdict = judge(record(notes=notes, noise_over_limit=2.6), transit_found=True)
    assert [r.weight for r in verdict.reasons] == [2.0, 1.0]
    assert verdict.score == 3.0


def test_what_is_not_recorded_is_unknown_and_no_reason() -> None:
    assert judge({}, transit_found=None).unknown == tuple(rule.key for rule in RULES)
    some = judge(record(stages={}, noise_over_limit=math.inf, channels=None, channels_lost=3), transit_found=None)
    assert some.unknown == ("noise_over_limit", "red_noise", "channels_lost", "drift_px", "transit_snr")
    assert some.score == 0.0


def test_a_visit_without_a_product_stands_before_all() -> None:
    worst = judge(record(noise_over_limit=1e9, channels_lost=282, jitter_px={"x": 99, "y": 99}), transit_found=False)
    assert no_product("failed", "x").score == NO_PRODUCT > worst.score


GOOD_FIT = {"channel_chi2": 1.0, "red_noise": 1.1, "contacts_seen": 1.0, "t0_apart": 1.0, "instruments_apart": 0.0, "visits_apart": 1.0,
            "unconverged": 0.0}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "weight"),
    [
        ("channel_chi2", 2.6, 2.0),
        ("red_noise", 3.0, 2.0),
        ("contacts_seen", 0.45, 2.0),
        ("t0_apart", 8.0, 2.0),
        ("instruments_apart", 6.0, 2.0),
        ("visits_apart", 60.0, CAP),
        ("unconverged", 1.0, 2.0),
    ],
)
def test_each_rule_of_planets_weighs_its_number_over_its_limit(key: str, value: float, weight: float) -> None:
    assert judge_planet(GOOD_FIT).reasons == ()
    assert set(GOOD_FIT) == {rule.key for rule in PLANET_RULES}
    (reason,) = judge_planet(GOOD_FIT | {key: value}).reasons
    assert reason.text.startswith(f"{key} ")
    assert reason.weight == pytest.approx(weight)


def test_a_planet_of_an_error_that_no_bar_holds_and_one_without_a_fit() -> None:
    verdict = judge_planet(GOOD_FIT | {"untold": ["visit 0/FGS1: along_time: savgol: …"]})
    assert (verdict.score, verdict.unknown) == (1.0, ())
    assert judge_planet({}).unknown == tuple(rule.key for rule in PLANET_RULES)
    assert no_fit(transit_found=False).score == NO_TRANSIT < no_fit(transit_found=True).score == NO_PRODUCT


def test_short_visits_are_not_distrusted_for_what_chance_does() -> None:
    """Scatter of 112 normal samples, one and a fifth of what the model says: by chance alone it is beyond 1.5 in a share of visits
    that the raised limit leaves out, and three times the model is not."""
    rng = np.random.default_rng(5)
    chi2 = 1.2 * np.square(rng.standard_normal((20_000, 112))).mean(axis=1)
    records = [{"fit_chi2": float(value), "chance": chance(112)} for value in chi2]
    told = np.array([bool(judge(record, transit_found=True).reasons) for record in records])
    assert (chi2 > 1.5).mean() > 0.03
    assert told.mean() < 0.002
    (reason,) = judge({"fit_chi2": 3.0, "chance": chance(112)}, transit_found=True).reasons
    assert reason.text == "fit_chi2 3 > 1.78"
    (reason,) = judge({"fit_chi2": 1.6, "chance": chance(5000)}, transit_found=True).reasons
    assert reason.text == "fit_chi2 1.6 > 1.5"


def test_an_instrument_that_other_planets_have_is_a_reason(tmp_path: Path) -> None:
    """In the report's table, in qc's rows and in what `spectra` says."""
    fits = {}
    for planet, names in {"7": ["FGS1", "AIRS-CH0"], "8": ["AIRS-CH0"], "9": ["AIRS-CH0", "FGS1"]}.items():
        attrs = {"planet_id": planet, "instruments": names, "qc": json.dumps(GOOD_FIT)}
        fits[planet] = xr.Dataset({"x": ("n", np.ones(1))}, attrs=attrs)
        write_planet(tmp_path / "spectra.zarr", planet, fits[planet], {"products": "a"})
    text = "missing_instrument FGS1: other planets of the run have it"
    found = planet_verdicts(tmp_path, dict.fromkeys("789", True))
    assert {planet: [r.text for r in verdict.reasons] for planet, (_, verdict) in found.items()} == {"7": [], "8": [text], "9": []}
    assert {row["planet_id"]: (row["reasons"], row["score"]) for row in planet_qc_rows(tmp_path)} == {
        "7": ("", 0.0), "8": (text, MISSING_WEIGHT), "9": ("", 0.0)
    }  # fmt: skip
    assert distrusted(fits) == [f"planet 8: distrust its depths: {text}"]
    assert distrusted({"8": fits["8"]}) == []
