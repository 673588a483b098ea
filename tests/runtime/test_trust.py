"""What distrust does to a planet: bad visits leave its fit, errors are widened; the depths stay."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from v50calib.qc.distrust import CAP, Reason, Verdict
from v50calib.qc.widening import VISIT, Factor, Widening
from v50calib.runtime.trust import widened_fit, widened_visit, without_bad

BAD = Verdict((Reason("drift_px 2 > 0.5", 4.0, "drift_px"),), {"drift_px": 2.0}, ())
RUIN = Verdict((Reason("fit_chi2 999 > 1.5", CAP, "fit_chi2"),), {"fit_chi2": 999.0}, ())


@pytest.fixture(autouse=True)
def _drift_is_harmful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VISIT, "drift_px", Factor(3.0, 1.0, 10))


def seen(visit: int, instrument: str, *, found: bool = True) -> Any:
    return SimpleNamespace(visit=visit, instrument=instrument, found=found)


def names(kept: list[Any]) -> list[str]:
    return [f"{o.visit}/{o.instrument}" for o in kept]


def test_a_bad_visit_is_left_out_where_another_of_its_instrument_is_good() -> None:
    every = [seen(v, name) for v in (0, 1) for name in ("FGS1", "AIRS-CH0")]
    kept, left = without_bad(every, {(1, "FGS1"): BAD})
    assert names(kept) == ["0/FGS1", "0/AIRS-CH0", "1/AIRS-CH0"]
    assert left == {"1/FGS1": ["drift_px 2 > 0.5"]}


def test_a_bad_visit_stays_where_no_other_serves() -> None:
    for other in ([], [seen(1, "FGS1", found=False)]):
        kept, left = without_bad([seen(0, "FGS1"), seen(0, "AIRS-CH0"), *other], {(0, "FGS1"): BAD})
        assert len(kept) == 2 + len(other)
        assert left == {}
    both = [seen(0, "FGS1"), seen(1, "FGS1")]
    assert without_bad(both, {(0, "FGS1"): BAD, (1, "FGS1"): BAD}) == (both, {})


def test_a_ruined_instrument_leaves_the_other_alone() -> None:
    pair = [seen(0, "FGS1"), seen(0, "AIRS-CH0")]
    kept, left = without_bad(pair, {(0, "FGS1"): RUIN})
    assert names(kept) == ["0/AIRS-CH0"]
    assert left == {"0/FGS1": ["fit_chi2 999 > 150"]}
    assert without_bad(pair, {(0, "FGS1"): RUIN, (0, "AIRS-CH0"): RUIN}) == (pair, {})


def fit(rng: np.random.Generator) -> xr.Dataset:
    """FGS1 and five channels of AIRS with two shared columns."""
    shared = 1e-4 * rng.normal(size=(6, 2))
    sigma = np.sqrt(np.full(6, 1e-8) + np.square(shared).sum(axis=1))
    ds = xr.Dataset(
        {
            "transit_depth": ("wavelength", np.full(6, 0.01)),
            "transit_depth_sigma": ("wavelength", sigma, {"units": "1"}),
            "transit_depth_shared": (("wavelength", "shared"), shared),
        }
    )
    return ds.assign_coords(instrument=("wavelength", [0, 1, 1, 1, 1, 1])).assign_attrs(instruments=["FGS1", "AIRS-CH0"])


def dense(ds: xr.Dataset) -> np.ndarray:
    factor, sigma = ds["transit_depth_shared"].to_numpy(), ds["transit_depth_sigma"].to_numpy()
    return np.diag(np.square(sigma) - np.square(factor).sum(axis=1)) + factor @ factor.T


def test_the_level_and_the_shape_are_widened_by_their_own_factors() -> None:
    """Against dense matrices: the mean with weights 1/sigma², and differences of neighbours."""
    before = fit(np.random.default_rng(3))
    after = widened_fit(before, {"AIRS-CH0": Widening(3.0, 1.5, ("why",))})
    weight = np.r_[0.0, 1.0 / np.square(before["transit_depth_sigma"].to_numpy()[1:])]
    weight /= weight.sum()
    one, two = dense(before), dense(after)
    assert np.sqrt(weight @ two @ weight) == pytest.approx(3.0 * np.sqrt(weight @ one @ weight))
    step = np.array([0.0, 1.0, -1.0, 0.0, 0.0, 0.0])
    assert np.sqrt(step @ two @ step) == pytest.approx(1.5 * np.sqrt(step @ one @ step))
    assert two[0, 0] == pytest.approx(one[0, 0])
    assert (after["transit_depth"].to_numpy() == before["transit_depth"].to_numpy()).all()
    assert np.linalg.eigvalsh(two).min() > 0


def test_both_instruments_widened() -> None:
    before = fit(np.random.default_rng(4))
    after = widened_fit(before, {"FGS1": Widening(2.0, 1.0, ("a",)), "AIRS-CH0": Widening(2.0, 2.0, ("b",))})
    ratio = after["transit_depth_sigma"].to_numpy() / before["transit_depth_sigma"].to_numpy()
    assert ratio == pytest.approx(2.0)


def test_channels_without_a_depth_stay_without() -> None:
    before = fit(np.random.default_rng(5))
    for name in ("transit_depth", "transit_depth_sigma", "transit_depth_shared"):
        before[name][2] = np.nan
    after = widened_fit(before, {"AIRS-CH0": Widening(3.0, 1.0, ("why",))})
    assert np.isnan(after["transit_depth_sigma"].to_numpy()).tolist() == [False, False, True, False, False, False]


def test_a_visit_is_widened_by_its_own_record() -> None:
    ds = fit(np.random.default_rng(6)).assign_attrs(visit=2, instrument="FGS1").isel(wavelength=[0])
    qc = {"stages": {"photometry": {"drift_x_px": 3.0, "drift_y_px": 4.0}}}
    wider, note = widened_visit(ds.assign_attrs(qc=json.dumps(qc)))
    assert wider["transit_depth_sigma"].item() == pytest.approx(3 * ds["transit_depth_sigma"].item())
    assert note == "visit 2, FGS1: sigma x 3, of one channel against another x 1 (drift_px 5 px > 0.5 px)"
    same, note = widened_visit(ds)
    assert same is ds
    assert note == ""
