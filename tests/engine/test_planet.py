"""One fit a planet: the orbit that one instrument knows serves the other, and the run stores it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import batman
import numpy as np
import pytest
import xarray as xr

from v50calib import calibrate, open_calibrated
from v50calib.cli.main import main
from v50calib.config import load
from v50calib.engine.depths import FitInput
from v50calib.engine.planet import Observation, fit_planet
from v50calib.io.storage.commit import is_committed, read_record
from v50calib.qc.distrust import UNTOLD, Reason, Verdict, judge_planet
from v50calib.qc.planet_fit import Spectrum
from v50calib.qc.widening import Widening
from v50calib.runs.spectra import STORE, open_spectra
from v50calib.runtime import planets, solution
from v50calib.runtime.planet_record import planet_qc
from v50calib.runtime.planets import fit_planets
from v50calib.simulate import read_truth, simulate_dataset
from v50calib.stages.series.curves import Ephemeris

SYNC = ["runtime.scheduler=sync"]
PERIOD, A, B = 96.0, 12.0, 0.35
STAR = {"P": 4.0, "sma": 12.0, "i": float(np.degrees(np.arccos(B / A))), "Ts": 5500.0}
TIME = np.linspace(0.0, 7.5, 200)


def light(t0: float, depth: float, u: tuple[float, float]) -> np.ndarray:
    """batman's own light curve, not through the package."""
    params = batman.TransitParams()
    params.t0, params.per, params.rp, params.a, params.inc = t0, PERIOD, float(np.sqrt(depth)), A, STAR["i"]
    params.ecc, params.w, params.u, params.limb_dark = 0.0, 90.0, list(u), "quadratic"
    return np.asarray(batman.TransitModel(params, TIME).light_curve(params))


def observed(
    visit: int, instrument: str, t0: float, depth: float, noise: float, seed: int, *, channels: int = 1, stamp: float = 0.0
) -> Observation:
    """Light curves of `channels` channels at true u = (0.4, 0.2) for FGS1 and (0.1, 0.1) for AIRS-CH0, priors near."""
    u = (0.4, 0.2) if instrument == "FGS1" else (0.1, 0.1)
    rng = np.random.default_rng(seed)
    flux = light(t0, depth, u)[:, None] + noise * rng.normal(size=(TIME.size, channels))
    wavelength = np.array([0.7]) if instrument == "FGS1" else np.linspace(2.0, 3.9, channels)
    darkening = np.stack([np.full(channels, u[0]), np.full(channels, u[1]), np.full(channels, 0.1)])
    design = np.stack([np.ones(TIME.size), np.linspace(-1, 1, TIME.size)], axis=1)
    given = FitInput(TIME, flux, np.full(flux.shape, noise), design, wavelength, darkening, float(TIME[1] - TIME[0]), additive=False)
    ephemeris = Ephemeris(
        t0 + 0.003, 3.0, PERIOD, "fit", snr=1.0 / noise, depth=depth * 1.01, depth_sigma=noise, a=A, b=B, u1=u[0], u2=u[1]
    )
    return Observation(visit, instrument, given, ephemeris, STAR, stamp)


def test_the_shared_orbit_narrows_the_other_instrument() -> None:
    """FGS1 with AIRS' precise curves has a smaller error than alone, and its depths scatter by it about the truth."""
    pulls, ratio = [], []
    for seed in range(25):
        fgs1 = observed(0, "FGS1", 3.7, 0.01, 2e-4, seed)
        airs = observed(0, "AIRS-CH0", 3.7, 0.01, 4e-4, 100 + seed, channels=40)
        alone, together = fit_planet([fgs1]), fit_planet([fgs1, airs])
        assert alone is not None
        assert together is not None
        assert together.instruments == ("FGS1", "AIRS-CH0")
        ratio.append(float(alone.depths[0].sigma[0] / together.depths[0].sigma[0]))
        pulls.append(float((together.depths[0].depth[0] - 0.01) / together.depths[0].sigma[0]))
    assert np.median(ratio) > 1.25
    assert 0.65 < np.sqrt(np.mean(np.square(pulls))) < 1.35


def test_times_of_instruments_may_start_apart() -> None:
    """The same transit on clocks that start 0.5 h apart is one mid-time."""
    fgs1 = observed(0, "FGS1", 3.7, 0.01, 2e-4, 1, stamp=10.0)
    airs = observed(0, "AIRS-CH0", 3.2, 0.01, 3e-4, 2, channels=20, stamp=10.5)
    fit = fit_planet([fgs1, airs])
    assert fit is not None
    assert abs(fit.joint.t0[0] - 3.7) < 4 * fit.joint.t0_sigma[0] < 0.02
    assert fit.joint.chi2 < 1.2


def test_visits_add_up_and_one_without_transit_is_left_out() -> None:
    visits = [observed(v, "FGS1", 3.5 + 0.2 * v, 0.01, 2e-4, v) for v in range(4)]
    none = replace(visits[3], ephemeris=replace(visits[3].ephemeris, source="none"))
    one, three = fit_planet(visits[:1]), fit_planet([*visits[:3], none])
    assert one is not None
    assert three is not None
    assert three.visits == (0, 1, 2)
    assert any("visit 3: no instrument found a transit" in note for note in three.notes)
    assert 1.4 < one.depths[0].sigma_photon[0] / three.depths[0].sigma_photon[0] < 2.1
    assert fit_planet([none]) is None


def test_an_instrument_whose_transit_was_not_found_alone_gets_a_depth() -> None:
    """300 ppm: seen by AIRS, lost in FGS1's noise; the joint fit says how much FGS1 allows."""
    fgs1 = observed(0, "FGS1", 3.7, 3e-4, 1.5e-3, 5)
    fgs1 = replace(fgs1, ephemeris=Ephemeris(3.75, 3.0, PERIOD, "none"))
    airs = observed(0, "AIRS-CH0", 3.7, 3e-4, 1e-4, 6, channels=20)
    fit = fit_planet([fgs1, airs])
    assert fit is not None
    depth, sigma = fit.depths[0].depth[0], fit.depths[0].sigma[0]
    assert abs(depth - 3e-4) < 3 * sigma
    assert 5e-5 < sigma < 1e-3
    assert any("FGS1: no transit found alone" in note for note in fit.notes)


def record(observations: list[Observation], own: dict[tuple[int, str], Spectrum] | None = None) -> dict[str, float]:
    fit = fit_planet(observations)
    assert fit is not None
    said = Reason("along_time: savgol: its error is in no depth's error", 1.0, UNTOLD)
    return planet_qc(fit, observations, own or {}, {"0/FGS1": Verdict((said,), {}, ())})


def test_record_of_a_good_fit_and_of_a_cut_one() -> None:
    """Ingress and egress inside the window: seen; mid-transit at 6.6 h of 7.5, T14 3 h: the egress is not, in one visit or in two."""
    pair = [observed(0, "FGS1", 3.7, 0.01, 2e-4, 1), observed(0, "AIRS-CH0", 3.7, 0.01, 4e-4, 2, channels=20)]
    good = record(pair)
    assert good["contacts_seen"] == pytest.approx(1.0)
    assert [r.text for r in judge_planet(good).reasons] == ["visit 0/FGS1: along_time: savgol: its error is in no depth's error"]
    assert good["chi2"].keys() == good["white_depth_ppm"].keys() == {"FGS1", "AIRS-CH0"}
    cut = [observed(v, "FGS1", 6.6, 0.01, 2e-4, v) for v in (0, 1)]
    assert record(cut)["contacts_seen"] == 0.0
    # ingress in one visit, egress in the other: together they saw both
    assert record([cut[0], observed(1, "FGS1", 0.8, 0.01, 2e-4, 3)])["contacts_seen"] == pytest.approx(1.0)


def test_a_mid_time_that_no_light_tells_is_kept_wide_and_said() -> None:
    """Of a transit one bin in its ingress is left: FGS1 alone has a depth that any later transit would change by much, and says so.
    AIRS-CH0 with all of its transit tells the mid-time, and there is nothing to say."""
    whole = observed(0, "FGS1", 3.7, 0.01, 2e-4, 1)
    given = whole.given
    # 70 s of light, and the next after the transit
    first = int(np.flatnonzero(light(3.7, 0.01, (0.4, 0.2)) < 0.999)[0])
    kept = np.r_[: first - 2, first, 160:200]
    few = replace(given, time=given.time[kept], flux=given.flux[kept], sigma=given.sigma[kept], design=given.design[kept])
    # from the true mid-time: of a later one the bin has no transit, and its depth no light
    cut = replace(whole, given=few, ephemeris=replace(whole.ephemeris, t0_h=3.7))
    fit = fit_planet([cut])
    assert fit is not None
    untimed = "visit 0: its light says nothing of the mid-time, which stays where it was found, ± half a transit's length"
    assert untimed in fit.notes
    # T14 of this orbit: 2.6 h
    assert fit.joint.t0_sigma[0] == pytest.approx(1.3, rel=0.1)
    assert 0.01 < fit.depths[0].sigma[0] < 1.0
    assert abs(fit.depths[0].depth[0] - 0.01) < fit.depths[0].sigma[0]
    assert any(r.key == "contacts_seen" for r in judge_planet(planet_qc(fit, [cut], {}, {})).reasons)
    timed = fit_planet([cut, observed(0, "AIRS-CH0", 3.7, 0.01, 4e-4, 2, channels=20)])
    assert timed is not None
    assert abs(timed.joint.t0[0] - 3.7) < 4 * timed.joint.t0_sigma[0]
    assert untimed not in timed.notes


def test_record_of_instruments_and_visits_that_disagree() -> None:
    airs = observed(0, "AIRS-CH0", 3.7, 0.01, 4e-4, 2, channels=20)
    deep = [observed(0, "FGS1", 3.7, 0.014, 2e-4, 1), airs]
    assert record(deep)["instruments_apart"] > 3
    assert record([observed(0, "FGS1", 3.7, 0.011, 2e-4, 1), airs])["instruments_apart"] == 0.0
    late = replace(deep[0], ephemeris=replace(deep[0].ephemeris, t0_h=3.9, t0_sigma_h=0.03))
    on_time = replace(airs, ephemeris=replace(airs.ephemeris, t0_sigma_h=0.02))
    assert record([late, on_time])["t0_apart"] == pytest.approx(0.197 / np.hypot(0.03, 0.02), rel=0.05)
    visits = [observed(v, "FGS1", 3.6, 0.01, 2e-4, v) for v in (0, 1)]
    own = {(v, "FGS1"): Spectrum(np.array([d]), np.array([1e-4]), np.zeros((1, 1))) for v, d in ((0, 0.0095), (1, 0.0105))}
    assert record(visits, own)["visits_apart"] == pytest.approx(10 / np.sqrt(2), rel=1e-6)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_dataset(tmp_path_factory.mktemp("planet") / "data", planets=2, visits=(2, 1), frames_fraction=0.03, seed=4)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("planet-run") / "run"
    assert not calibrate(data, out, overrides=SYNC).failed
    return out


def test_a_run_ends_with_its_planets(run: Path, data: Path) -> None:
    fits = open_spectra(run)
    truth = {str(p["planet_id"]): np.asarray(p["depth"]) for p in read_truth(data)["planets"]}
    assert set(fits) == set(truth)
    for planet, ds in fits.items():
        assert ds.sizes["wavelength"] == 283
        assert list(ds.attrs["instruments"]) == ["FGS1", "AIRS-CH0"]
        pull = (ds["transit_depth"].to_numpy() - truth[planet]) / ds["transit_depth_sigma"].to_numpy()
        assert abs(pull[0]) < 4
        assert 0.8 < pull[1:].std() < 1.25
        factor = ds["transit_depth_shared"].to_numpy()
        assert (np.square(factor).sum(axis=1) <= np.square(ds["transit_depth_sigma"].to_numpy()) * (1 + 1e-9)).all()
    assert {ds.sizes["visit"] for ds in fits.values()} == {1, 2}


def test_resumed_runs_fit_what_is_missing_or_changed(run: Path, data: Path) -> None:
    before = {p.name: (p / "_COMMIT.json").stat().st_mtime_ns for p in (run / STORE).iterdir() if p.is_dir()}
    assert calibrate(data, run, overrides=SYNC).count("skipped") == 6
    assert before == {p.name: (p / "_COMMIT.json").stat().st_mtime_ns for p in (run / STORE).iterdir() if p.is_dir()}
    victim = run / STORE / min(before)
    (victim / "_COMMIT.json").unlink()
    calibrate(data, run, overrides=SYNC)
    assert is_committed(victim)
    assert {f.state for f in fit_planets(run, load("calib/nominal", SYNC).runtime)} == {"skipped"}


def test_a_fit_of_other_products_is_not_left_to_be_read(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A visit was redone and no transit is left: the older fit is withdrawn."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    planet = min(open_spectra(copy))
    record = next((copy / "calibrated.zarr" / planet).glob("*/*/_COMMIT.json"))
    record.write_text(json.dumps(json.loads(record.read_text()) | {"redone": True}))
    monkeypatch.setattr(planets, "fit_planet", lambda _: None)
    states = {f.planet_id: f.state for f in fit_planets(copy, load("calib/nominal", SYNC).runtime)}
    assert states.pop(planet) == "no transit"
    assert set(states.values()) == {"skipped"}
    assert planet not in open_spectra(copy)


def test_a_bad_visit_leaves_the_fit_and_the_record_says_why(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    planet = next(name for name, ds in open_spectra(copy).items() if ds.sizes["visit"] == 2)
    before = open_spectra(copy)[planet].load()
    (copy / STORE / planet / "_COMMIT.json").unlink()
    why = Reason("red_noise 9 > 2", 4.5, "red_noise")

    def verdict(attrs: dict[str, Any], *, found: bool) -> Verdict:
        bad = (attrs["visit"], attrs["instrument"]) == (1, "FGS1")
        return Verdict((why,) if bad else (), {}, ())

    monkeypatch.setattr(planets, "verdict_of", verdict)
    assert {f.state for f in fit_planets(copy, load("calib/nominal", SYNC).runtime)} == {"done", "skipped"}
    after = open_spectra(copy)[planet].load()
    assert read_record(copy / STORE / planet)["left_out"] == {"1/FGS1": ["red_noise 9 > 2"]}
    assert any("visit 1, FGS1: left out of the fit (red_noise 9 > 2)" in note for note in after.attrs["notes"])
    assert list(after["visit"].to_numpy()) == [0, 1]  # AIRS of the visit stays
    ratio = after["transit_depth_sigma"].to_numpy() / before["transit_depth_sigma"].to_numpy()
    assert ratio[0] > 1.2
    assert np.median(ratio[1:]) == pytest.approx(1.0, abs=0.05)


def test_spectra_are_widened_and_say_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = solution.measured_spectra(run, None)
    monkeypatch.setattr(solution, "planet_widenings", lambda *_: {"FGS1": Widening(2.0, 1.0, ("why",))})
    wider, _ = solution.measured_spectra(run, None)
    assert wider.predictions.sigma[:, 0] == pytest.approx(2.0 * plain.predictions.sigma[:, 0])
    assert wider.predictions.sigma[:, 1:] == pytest.approx(plain.predictions.sigma[:, 1:])
    assert wider.measured[0].white(slice(0, 1))[1] == pytest.approx(2.0 * plain.measured[0].white(slice(0, 1))[1])
    assert (wider.predictions.mu == plain.predictions.mu).all()
    assert sum(note.endswith("FGS1: sigma x 2, of one channel against another x 1 (why)") for note in wider.notes) == 2


def test_spectra_take_the_planets_fit(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pandas as pd

    main(["spectra", str(run), "--out", str(tmp_path / "mu.csv")], standalone_mode=False)
    table = pd.read_csv(tmp_path / "mu.csv").set_index("planet_id")
    for planet, ds in open_spectra(run).items():
        depth = np.clip(ds["transit_depth"].to_numpy(), 0.0, None)
        np.testing.assert_allclose(table.loc[int(planet), [f"wl_{i}" for i in range(1, 284)]].to_numpy(), depth, rtol=1e-9)
        np.testing.assert_allclose(table.loc[int(planet), "sigma_1"], float(ds["transit_depth_sigma"][0]), rtol=1e-9)


def test_a_cluster_fits_the_same(run: Path, data: Path, tmp_path: Path) -> None:
    calibrate(data, tmp_path / "run", overrides=["runtime.scheduler=threads"])
    for planet, ds in open_spectra(tmp_path / "run").items():
        xr.testing.assert_allclose(ds.load(), open_spectra(run)[planet].load(), rtol=1e-9)


def test_without_the_planets_fit_there_is_no_store(data: Path, tmp_path: Path) -> None:
    calibrate(data, tmp_path / "run", overrides=[*SYNC, "calib.phase.depths.planet=false"], limit=2)
    assert not (tmp_path / "run" / STORE).exists()
    leaf = next(leaf for leaf in open_calibrated(tmp_path / "run").leaves if leaf.has_data)
    assert "fit_flux" not in leaf.to_dataset()
