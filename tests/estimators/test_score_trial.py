"""The trial's own parts: its noise is what it says, its answers are scored, its table has every column."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.score_trial import METHODS, columns, estimated, flat, judge, observe, raw, table

from v50calib.estimators import GaussianProcess

from .conftest import drawn


def test_noise_is_what_the_column_says() -> None:
    visit = columns()[0]
    assert (visit.white[0], visit.white[1], visit.white[-1]) == pytest.approx((87e-6, 130e-6, 280e-6))
    assert (np.diff(visit.white[1:]) > 0).all()
    truths = np.full((2000, 283), 0.01)
    errors = np.array([m.depth for m in observe(truths, visit, np.random.default_rng(1))]) - truths
    np.testing.assert_allclose(errors.std(axis=0), np.hypot(visit.white, visit.common), rtol=0.08)
    assert errors.mean(axis=1).std() == pytest.approx(visit.common, rel=0.1)


def test_every_answer_is_judged(process: GaussianProcess) -> None:
    truths, folds, rng = drawn(10, 3), np.arange(10) % 2, np.random.default_rng(1)
    found = {}
    for column in columns()[:2]:
        measured = observe(truths, column, rng)
        gp = estimated([process], measured, truths, np.zeros(10, dtype=np.int64))
        results = {"raw": raw(measured), "flat": flat(measured, truths, folds), "gp": gp, "population": gp}
        found[column.name] = {name: judge(truths, result) for name, result in results.items()}
        assert found[column.name]["gp"][0] > found[column.name]["raw"][0]
    text = table("10 planets", found)
    assert all(f"| {name}" in text for name in (*METHODS, *found))
