"""Factors by reason and instrument: who is widened, by whose reason, and by how much."""

from __future__ import annotations

import pytest

from v50calib.qc.distrust import PLANET_RULES, RULES, Reason, Verdict
from v50calib.qc.widening import PLANET, VISIT, Factor, Widening, harmful, larger, of_planet, of_visit, ruinous, widening


def test_every_factor_is_of_a_rule_and_none_narrows() -> None:
    notes = {"untold", "guard", "ruined"}
    assert set(VISIT) <= {rule.key for rule in RULES} | notes
    assert set(PLANET) <= {rule.key for rule in PLANET_RULES} | notes
    for factor in (*VISIT.values(), *PLANET.values()):
        assert factor.level >= 1
        assert factor.shape >= 1


def test_the_largest_reason_counts_and_those_without_a_factor_do_not() -> None:
    table = {"a": Factor(1.5, 1.2, 10), "b": Factor(3.0, 1.0, 10), "c": Factor(1.0, 1.0, 10)}
    found = widening([Reason("a 2 > 1", 1, "a"), Reason("b 2 > 1", 1, "b"), Reason("c 2 > 1", 1, "c"), Reason("x", 1)], table)
    assert found == Widening(3.0, 1.2, ("b 2 > 1", "a 2 > 1"))
    assert widening([], table) == Widening()


def test_only_the_instrument_concerned_is_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLANET, "channel_chi2", Factor(2.0, 1.5, 10))
    monkeypatch.setitem(VISIT, "red_noise", Factor(4.0, 1.0, 10))
    record = {
        "channel_chi2": 3.0,
        "of": {"channel_chi2": {"AIRS-CH0": 3.0, "FGS1": 1.0}},
        "visits": {"0/AIRS-CH0": {}, "0/FGS1": {"red_noise": "red_noise 3 > 2"}, "1/FGS1": {}},
    }
    assert of_planet(record, "AIRS-CH0") == Widening(2.0, 1.5, ("channel_chi2 3 > 1.3",))
    assert of_planet(record, "FGS1") == Widening(4.0, 1.0, ("red_noise 3 > 2",))


def test_what_concerns_the_orbit_widens_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLANET, "contacts_seen", Factor(2.0, 1.0, 10))
    for name in ("FGS1", "AIRS-CH0"):
        assert of_planet({"contacts_seen": 0.2}, name) == Widening(2.0, 1.0, ("contacts_seen 0.2 < 0.9",))


def test_records_of_older_fits_widen_nothing() -> None:
    assert of_planet({}, "FGS1") == Widening()


def verdict(*keys: str, weight: float = 2.0, **numbers: float) -> Verdict:
    return Verdict(tuple(Reason(f"{key} n", weight, key) for key in keys), numbers, ())


def test_harmful_is_what_has_a_factor_or_is_gross(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VISIT, "drift_px", Factor(3.0, 1.0, 10))
    monkeypatch.setitem(VISIT, "jitter_px", Factor(1.1, 1.0, 10))
    assert harmful(verdict("drift_px", "jitter_px", "fit_chi2")) == ["drift_px n"]
    assert harmful(verdict("fit_chi2", "jitter_px", weight=3.1)) == ["fit_chi2 n"]


def test_ruinous_is_beyond_what_a_bright_visit_has() -> None:
    assert ruinous(verdict("fit_chi2", fit_chi2=69.0, depth_chi2=38.0)) == []
    assert ruinous(verdict("fit_chi2", fit_chi2=20.0, depth_chi2=115.0)) == ["depth_chi2 115 > 65"]
    assert ruinous(verdict(fit_chi2=float("nan"))) == []


def test_a_ruined_visit_that_stays_is_widened() -> None:
    assert of_visit(verdict("fit_chi2", fit_chi2=500.0)).level >= VISIT["ruined"].level > 1


def test_measurements_that_disagree_are_widened_until_they_agree() -> None:
    """Birge's ratio of two: 3.6 errors apart."""
    assert of_planet({"instruments_apart": 3.6}, "FGS1") == Widening(3.6, 1.0, ("instruments_apart 3.6 > 3",))
    record = {"visits_apart": 5.0, "of": {"visits_apart": {"FGS1": 5.0, "AIRS-CH0": 0.3}}}
    assert of_planet(record, "FGS1").level == 5.0
    assert of_planet(record, "AIRS-CH0").level == 1.0


def test_reasons_are_named_once() -> None:
    assert larger([Widening(2.0, 1.0, ("a",)), Widening(1.0, 3.0, ("a", "b"))]) == Widening(2.0, 3.0, ("a", "b"))
    assert of_visit(verdict()) == Widening()
