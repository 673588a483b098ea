"""Noise budget, QC rows of each stage, soft guards of the series stages, pictures and kept frames, on small visits."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner
from simulated import planet_of

from v50calib import Pipeline, calibrate, open_calibrated, open_visit
from v50calib.cli.main import main
from v50calib.config import load
from v50calib.dq import DQ
from v50calib.errors import ConfigError, DataError
from v50calib.io.storage.commit import marked_group
from v50calib.runs import manifest
from v50calib.schema import INSTRUMENTS

SYNC = "runtime.scheduler=sync"


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("noise") / "run"
    pictures = [f"calib.{s}.diagnostics.save_debug_images=true" for s in ("adc", "cds", "photometry", "trace", "phase")]
    kept = [f"calib.{s}.cache.write_intermediate=true" for s in ("flat", "cds")]
    off = ["calib.adc.diagnostics.export_stats_csv=false", "calib.nonlinearity.diagnostics.enabled=false"]
    planet = planet_of(dataset)
    flat = "calib.photometry.noise_model.flat_error=0.01"
    indices = "calib.cds.diagnostics.sample_indices=[0,3,100000]"
    summary = calibrate(dataset, out, overrides=[SYNC, *pictures, *kept, *off, flat, indices], only=[f"{planet}/0"])
    assert not summary.failed
    return out


def product(run: Path, instrument: str) -> xr.Dataset:
    return next(x for x in open_calibrated(run).leaves if x.path.endswith(instrument)).to_dataset().compute()


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_components_add_up_to_the_variance(run: Path, instrument: str) -> None:
    ds = product(run, instrument)
    names = ds["noise_budget"].attrs["components"]
    parts = dict(zip(names, ds["noise_budget"].to_numpy().astype(float), strict=True))
    outside = ds["out_of_transit"].to_numpy()
    var = ds["photometry_var"].to_numpy()[outside].mean(axis=0, dtype=float)
    total = sum(parts[n] for n in ("photon", "dark", "sky", "read", "background"))
    good = np.isfinite(var)
    # the photons of the variance are those of each pair's flux, the budget's those of the fitted level: their means agree
    np.testing.assert_allclose(total[good], var[good], rtol=2e-3)
    rnoise = ds["photometry_var_rnoise"].to_numpy()
    np.testing.assert_allclose((parts["read"] + parts["background"])[good], rnoise[good], rtol=1e-5)
    assert (parts["flat"][good] > 0).all()
    measured = ds["noise_measured"].to_numpy()[good]
    # the scatter of m pairs is known to sqrt(2/m), the mean over channels better
    assert abs(np.log(measured.mean() / total[good].mean())) < 4 * np.sqrt(2 / outside.sum())


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_flat_error_is_the_motion_over_an_uneven_detector(run: Path, dataset: Path, instrument: str) -> None:
    """Oracle: the weighted sum of the mean image times a flat with random errors, the star moved by a small step each way."""
    ds = product(run, instrument)
    weight, image = (np.nan_to_num(ds[n].to_numpy().astype(float)) for n in ("extraction_weights", "cds_mean"))
    error, rng, axis = 0.01, np.random.default_rng(0), (0 if instrument == "AIRS-CH0" else None)
    motion = [1.4826 * np.median(np.abs(p - np.median(p))) for p in (ds[n].to_numpy().astype(float)[ds["out_of_transit"]]
                                                                    for n in ("y_position", "x_position"))]  # fmt: skip
    draws = []
    for _ in range(400):
        flat = 1 + error * rng.normal(size=image.shape)
        shift = sum(m * rng.normal() * np.gradient(image, axis=a) for a, m in enumerate(motion))
        draws.append((weight * shift * (flat - 1)).sum(axis=axis))
    found = ds["noise_budget"].to_numpy()[list(ds["noise_budget"].attrs["components"]).index("flat")]
    # summed over channels; masked pixels count as filled in the product and as empty here, 400 draws know a variance to 7 %
    expected = np.sum(np.var(draws, axis=0)[39:321]) if instrument == "AIRS-CH0" else np.var(draws)
    assert abs(np.log(np.nansum(found) / expected)) < 0.35


def test_rms_curve_starts_at_the_scatter(run: Path) -> None:
    for instrument in INSTRUMENTS:
        ds = product(run, instrument)
        qc = json.loads(ds.attrs["qc"])
        assert ds["averaging"].to_numpy()[0] == pytest.approx(3600 * float(np.median(np.diff(ds["time"]))))
        assert 1e6 * float(ds["rms_measured"][0]) == pytest.approx(qc["scatter_ppm"], rel=0.02)
        assert 1e6 * float(ds["rms_expected"][0]) == pytest.approx(qc["limit_ppm"], rel=0.02)


def test_flags_are_counted_at_the_stage_that_sets_them(run: Path, dataset: Path) -> None:
    ds = product(run, "AIRS-CH0")
    stages = json.loads(ds.attrs["qc"])["stages"]
    mask = ds["pixel_dq"].to_numpy().astype(np.uint32)
    dead = open_visit(dataset, planet_of(dataset), 0, "AIRS-CH0")["dead"].to_numpy()
    assert stages["dark"]["flagged_DEAD"] == pytest.approx(dead.mean())
    for flag in (DQ.DEAD, DQ.HOT, DQ.NO_FLAT_FIELD):
        shares = [row.get(f"flagged_{flag.name}", 0.0) for row in stages.values()]
        assert sum(shares) == pytest.approx((mask & np.uint32(flag)).astype(bool).mean()), flag.name


def test_table_has_a_row_for_each_visit_instrument_and_stage(run: Path) -> None:
    rows = list(csv.DictReader((run / "qc.csv").read_text(encoding="utf-8").splitlines()))
    # adc left out of the table, nonlinearity of the record altogether
    stages = ["dark", "flat", "cds", "photometry", "trace", "phase"]
    found = [(r["instrument"], r["stage"]) for r in rows]
    assert sorted(found) == sorted([*((i, s) for i in INSTRUMENTS for s in stages), ("", "planet")])
    recorded = {e.instrument: e.qc["stages"] for e in manifest.read(run)}
    assert "adc" in recorded["FGS1"]
    assert "nonlinearity" not in recorded["FGS1"]
    planet = next(r for r in rows if r["stage"] == "planet")
    assert (planet["notes"], planet["reasons"]) == ("0", "") or "contacts_seen" in planet["reasons"]
    assert float(planet["red_noise"]) >= 1
    for row in (r for r in rows if r["stage"] != "planet"):
        numbers = recorded[row["instrument"]][row["stage"]]
        assert {k: float(v) for k, v in row.items() if v and k in numbers} == {k: pytest.approx(float(v)) for k, v in numbers.items()}


def test_command_qc(run: Path, tmp_path: Path) -> None:
    lines = CliRunner().invoke(main, ["qc", str(run), "--json", "--stage", "trace"]).stdout.splitlines()
    assert [json.loads(line)["stage"] for line in lines] == ["trace", "trace"]
    result = CliRunner().invoke(main, ["qc", str(run), "--csv", str(tmp_path / "all.csv")])
    assert result.stdout.startswith("15 rows")
    assert "noise_over_limit" in CliRunner().invoke(main, ["qc", str(run)]).stdout
    empty = CliRunner().invoke(main, ["qc", str(tmp_path)])
    assert empty.exit_code != 0
    assert "no run directory" in empty.stderr


def test_pictures_only_of_what_was_asked(run: Path) -> None:
    for instrument in INSTRUMENTS:
        folder = next((run / "debug").glob(f"*/*/{instrument}"))
        assert sorted(p.name for p in folder.iterdir()) == ["adc.png", "cds.png", "phase.png", "photometry.png", "trace.png"]
        for path in folder.iterdir():
            assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_kept_frames_are_those_of_the_chained_stages(run: Path, dataset: Path, instrument: str) -> None:
    visit = next((run / "intermediate.zarr").glob(f"*/*/{instrument}"))
    assert sorted(p.name for p in visit.iterdir()) == ["cds", "flat"]
    chained = Pipeline(load("calib/nominal")).until("cds")(open_visit(dataset, planet_of(dataset), 0, instrument))
    for stage, names in (("flat", ["flat_corrected", "flat_corrected_frame_dq"]), ("cds", ["cds_corrected", "cds_corrected_var_poisson"])):
        with marked_group():
            group = zarr.open_group(visit / stage, mode="r")
        for name in names:
            expected = chained[name].compute().to_numpy()
            np.testing.assert_allclose(group[name][:], expected.astype(group[name].dtype), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("photometry.quality_checks.max_drift_px=0.0001", "photometry quality: drift_px is"),
        ("trace.quality_checks.max_noise_over_limit=0.1", "trace quality: noise_over_limit is"),
        ("trace.quality_checks.min_out_of_transit_fraction=1.0", "less than min_out_of_transit_fraction=1"),
        ("phase.quality_checks.min_transit_snr=1e9", "phase quality: transit_snr is"),
        ("phase.quality_checks.min_samples=100000", "fewer than min_samples=100000; not judged"),
    ],
)
def test_guards_warn_and_stop(dataset: Path, tmp_path: Path, override: str, said: str) -> None:
    stage = override.partition(".")[0]
    on = [SYNC, "calib.photometry.instrument.name=FGS1", f"calib.{override}", f"calib.{stage}.quality_checks.enabled=true"]
    calibrate(dataset, tmp_path / "warn", overrides=on, only=[f"{planet_of(dataset)}/0"])
    (entry,) = manifest.read(tmp_path / "warn")
    assert any(said in note for note in entry.qc["notes"])
    assert entry.qc["stages"][stage]["notes"] == 1
    stopped = calibrate(
        dataset, tmp_path / "stop", overrides=[*on, f"calib.{stage}.quality_checks.action_on_fail=error"], only=[f"{planet_of(dataset)}/0"]
    )
    if "not judged" in said:
        assert not stopped.failed
    else:
        assert f"FGS1: calib.{stage}.quality_checks: " in stopped.failed[0].error


def test_noise_over_limit_is_one_number(dataset: Path, tmp_path: Path) -> None:
    """The guard that judges it while the visit runs, the QC record and the table of stages; a bound just above passes, just below warns."""
    on = [SYNC, "calib.photometry.instrument.name=AIRS-CH0", "calib.trace.quality_checks.enabled=true", "output.dtype=float64"]
    calibrate(dataset, tmp_path / "first", overrides=on, only=[f"{planet_of(dataset)}/0"])
    (entry,) = manifest.read(tmp_path / "first")
    ratio = entry.qc["noise_over_limit"]
    assert entry.qc["stages"]["trace"]["noise_over_limit"] == ratio
    for name, bound, broken in (("above", 1.00001 * ratio, False), ("below", 0.99999 * ratio, True)):
        calibrate(
            dataset, tmp_path / name, overrides=[*on, f"calib.trace.quality_checks.max_noise_over_limit={bound}"],
            only=[f"{planet_of(dataset)}/0"],
        )  # fmt: skip
        (entry,) = manifest.read(tmp_path / name)
        assert any("noise_over_limit is" in note for note in entry.qc["notes"]) == broken


def test_a_guard_changes_no_number(dataset: Path, tmp_path: Path) -> None:
    visit = open_visit(dataset, planet_of(dataset), 0, "FGS1")
    plain = Pipeline(load("calib/nominal"))(visit).compute()
    on = [f"calib.{s}.quality_checks.enabled=true" for s in ("photometry", "trace", "phase")]
    guarded = Pipeline(load("calib/nominal", on))(visit).compute()
    xr.testing.assert_equal(plain, guarded)


def test_a_channel_without_flux_is_no_input_where_that_is_asked(dataset: Path) -> None:
    visit = open_visit(dataset, planet_of(dataset), 0, "AIRS-CH0")
    dead = visit["dead"].to_numpy().copy()
    dead[:, 100] = True
    visit = visit.assign(dead=(("y", "x"), dead))
    pipeline = Pipeline(load("calib/nominal", ["calib.trace.validation.require_finite_inputs=true"]))
    with pytest.raises(DataError, match=r"AIRS-CH0: \d+ of \d+ values of the light curves are not finite"):
        pipeline(visit)["trace_norm"].compute()


def test_diagnostics_off_for_the_whole_run(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    calibrate(
        dataset,
        out,
        profile="calib/fast",
        overrides=[SYNC, "calib.cds.diagnostics.save_debug_images=true"],
        only=[f"{planet_of(dataset)}/0"],
    )
    assert not {"qc.csv", "debug", "intermediate.zarr"} & {p.name for p in out.iterdir()}
    ds = product(out, "FGS1")
    assert not {"noise_budget", "rms_measured", "averaging", "cds_mean", "dark_applied"} & set(ds.variables)
    assert json.loads(ds.attrs["qc"])["stages"] == {}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("calib.trace.cache.write_intermediate=true", "whole output is in the product already"),
        ("calib.cds.diagnostics.sample_indices=[-1]", "pairs are counted from 0"),
        ("calib.trace.io.output_key=other", "trace_norm"),
        ("calib.trace.instrument.per_channel=false", "channels are summed by photometry"),
    ],
)
def test_senseless_diagnostics_are_refused(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load("calib/nominal", [override])


def test_pictures_that_cannot_be_written_fail_the_visit(dataset: Path, tmp_path: Path) -> None:
    out, on = tmp_path / "run", [SYNC, "calib.photometry.instrument.name=FGS1"]
    only = [f"{planet_of(dataset)}/0"]
    calibrate(dataset, out, overrides=on, only=only)
    (out / "debug").write_text("in the way")
    drawn = [*on, "calib.cds.diagnostics.save_debug_images=true"]
    summary = calibrate(dataset, out, overrides=drawn, only=only, update=True)
    assert "cannot write pictures into" in summary.failed[0].error


def test_pictures_show_what_is_not_stored(dataset: Path, tmp_path: Path) -> None:
    on = [SYNC, "calib.photometry.instrument.name=FGS1", "calib.photometry.diagnostics.save_debug_images=true"]
    left_out = "calib.photometry.output.save.centroids=false"
    summary = calibrate(dataset, tmp_path / "run", overrides=[*on, left_out], only=[f"{planet_of(dataset)}/0"])
    assert not summary.failed
    assert "x_position" not in product(tmp_path / "run", "FGS1")
    assert list((tmp_path / "run" / "debug").rglob("photometry.png"))
