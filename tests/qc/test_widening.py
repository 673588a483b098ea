"""Factors by reason and instrument: who is widened, by whose reason, and by how much."""

from __future__ import annotations

import pytest

from v50calib.qc.distrust import CAP, PLANET_RULES, RULES, Reason
from v50calib.qc.widening import PLANET, VISIT, Factor, Widening, harmful, larger, of_planet, of_visit, ruinous, widening


def test_every_factor_is_of_a_rule_and_none_narrows() -> None:
    notes = {"untold", "guard"}
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


def test_harmful_and_ruinous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VISIT, "drift_px", Factor(3.0, 1.0, 10))
    monkeypatch.setitem(VISIT, "jitter_px", Factor(1.1, 1.0, 10))
    reasons = [Reason("drift", 2.0, "drift_px"), Reason("jitter", CAP, "jitter_px"), Reason("chi2", CAP, "fit_chi2"), Reason("a", CAP)]
    assert "drift" in harmful(reasons)
    assert "jitter" not in harmful(reasons)
    assert ruinous(reasons) == ["chi2"]


def test_reasons_are_named_once() -> None:
    assert larger([Widening(2.0, 1.0, ("a",)), Widening(1.0, 3.0, ("a", "b"))]) == Widening(2.0, 3.0, ("a", "b"))
    assert of_visit([]) == Widening()
