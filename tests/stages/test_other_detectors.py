"""A detector described by a `detector.yaml`: the challenge's own data that way, and one that is nothing like it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from simulated import planet_of

from v50calib import Pipeline, calibrate, open_calibrated, open_visit
from v50calib.dq import DQ
from v50calib.engine.prepare import prepare_stages
from v50calib.engine.visit import visit_input
from v50calib.errors import ConfigError, DataError
from v50calib.io import ingest, open_source, scan
from v50calib.runtime.job import visit_of

SYNC = ["runtime.scheduler=sync"]
ADC_FACTS = ("adc_offset", "adc_gain")


def repack(dataset: Path, root: Path) -> None:
    """Visit 0 of a planet, both instruments, as frames and maps in four kinds of file and other orders of axes."""
    planet = planet_of(dataset)
    instruments: dict[str, Any] = {}
    visits: list[dict[str, Any]] = []
    for name, kind in (("AIRS-CH0", "zarr"), ("FGS1", "npy")):
        ds = open_visit(dataset, planet, 0, name)
        short = {"AIRS-CH0": "CH0", "FGS1": "GUIDE"}[name]
        maps = {n: ds[n].to_numpy() for n in ("dark", "flat", "dead", "read", "linear_corr")}
        frames = ds["raw_frames"].compute()
        if kind == "zarr":
            frames.drop_vars(list(frames.coords)).to_dataset(name="counts").chunk(time=26).to_zarr(
                root / f"{short}.zarr", consolidated=False
            )
            path = f"{short}.zarr:counts"
        else:
            np.save(root / f"{short}.npy", np.asfortranarray(frames.transpose("x", "time", "y").to_numpy()))
            path = f"{short}.npy"
        np.savez(root / f"{short}_maps.npz", **maps)
        np.save(root / f"{short}_time.npy", ds["time"].to_numpy())
        np.save(root / f"{short}_exposure.npy", ds["exposure"].to_numpy())
        spectral = name == "AIRS-CH0"
        if spectral:
            np.save(root / "wavelength.npy", ds["wavelength"].to_numpy())
        instruments[short] = {
            "shape": list(frames.shape[1:]),
            **({} if spectral else {"dims": ["x", "time", "y"]}),
            "wavelength_um": "wavelength.npy" if spectral else 0.7,
            **({"science_columns": [39, 321]} if spectral else {}),
            "adc": {"gain_adu_per_e": ds.attrs["adc_gain"], "offset_e": ds.attrs["adc_offset"]},
            "maps": {
                key: f"{short}_maps.npz:{n}" for key, n in zip(("dark", "flat", "dead", "read_noise", "linear_corr"), maps, strict=True)
            },
        }
        star = {k.removeprefix("star_"): v for k, v in ds.attrs.items() if k.startswith("star_")}
        visits.append(
            {
                "planet_id": planet,
                "instrument": short,
                "frames": path,
                "time_h": f"{short}_time.npy",
                "exposure_s": f"{short}_exposure.npy",
                "star": star,
            }
        )
    (root / "detector.yaml").write_text(yaml.safe_dump({"instruments": instruments, "visits": visits}))


@pytest.fixture(scope="module")
def repacked(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repacked")
    repack(dataset, root)
    return root


def products(root: Path, out: Path, *overrides: str) -> dict[str, xr.Dataset]:
    # the same chunks: partial sums of time bins are added in the same order
    summary = calibrate(root, out, overrides=[*SYNC, "output.cubes=both", "runtime.chunk_pairs=50", *overrides])
    assert [e.error for e in summary.failed] == []
    tree = open_calibrated(out)
    return {path: node.to_dataset().load() for path, node in tree.subtree_with_keys if node.has_data}


def test_the_challenge_as_a_described_detector_gives_the_same_bits(dataset: Path, repacked: Path, tmp_path: Path) -> None:
    planet = planet_of(dataset)
    summary = calibrate(dataset, tmp_path / "a", planets=[planet], overrides=[*SYNC, "output.cubes=both", "runtime.chunk_pairs=50"])
    assert not summary.failed
    expected = open_calibrated(tmp_path / "a")
    ingest(repacked, tmp_path / "store.zarr")
    for root in (repacked, tmp_path / "store.zarr"):
        found = products(root, tmp_path / f"out-{root.name}")
        assert len(found) == 2
        for short, name in (("CH0", "AIRS-CH0"), ("GUIDE", "FGS1")):
            a, b = expected[f"{planet}/0/{name}"].to_dataset().load(), found[f"{planet}/0/{short}"]
            assert set(a.variables) == set(b.variables)
            for variable in a.variables:
                np.testing.assert_array_equal(a[variable], b[variable], err_msg=f"{name} {variable}")
                assert a[variable].dtype == b[variable].dtype


def test_the_store_of_a_described_detector_opens_as_the_same_visit(repacked: Path, tmp_path: Path) -> None:
    report = ingest(repacked, tmp_path / "s.zarr")
    assert report.ok
    planet = report.written[0].planet_id
    for name in ("CH0", "GUIDE"):
        xr.testing.assert_identical(open_visit(repacked, planet, 0, name).load(), open_visit(tmp_path / "s.zarr", planet, 0, name).load())


# --- a detector of one's own: 16 x 48, 12 bit, ramps of 2.5 s every minute, wavelength rising along x, dark in ADU/s ---

NY, NX, PAIRS, GAIN, BIAS, READS, CADENCE = 16, 48, 240, 8.0, 150.0, (0.5, 2.5), 60.0
DEPTH = 0.02
SMALL = [
    "calib.photometry.background.columns.edge_rows=3",
    "calib.photometry.optimal.window.half_height_px=5",
    "calib.photometry.background.columns.smooth_columns=5",
]


def light(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Spectrum [e-/s per column] and transit factor of each pair."""
    spectrum = 3000.0 * (1.0 + 0.4 * np.cos(np.linspace(0.0, 3.0, NX))) * (1.0 + 0.02 * rng.standard_normal(NX))
    phase = np.abs(np.arange(PAIRS) / PAIRS - 0.5)
    dip = np.clip((0.2 - phase) / 0.04, 0.0, 1.0)
    return spectrum, 1.0 - DEPTH * dip


def write_bench(root: Path, *, noise: bool, seed: int = 3) -> dict[str, np.ndarray]:
    """Forward model, written apart from the package: star → flat → + dark → nonlinear response → ADU codes of 12 bits."""
    rng = np.random.default_rng(seed)
    spectrum, factor = light(rng)
    rows = np.exp(-0.5 * ((np.arange(NY) - 7.6) / 1.3) ** 2)
    rows /= rows.sum()
    flat = rng.normal(1.0, 0.02, (NY, NX))
    dark_adu = rng.uniform(0.01, 0.05, (NY, NX))
    dead = np.zeros((NY, NX), np.int16)
    dead[1, 5] = dead[14, 30] = 1
    curve = -rng.uniform(0.5e-6, 1.5e-6, (NY, NX))  # e_lin = e + curve e²
    rate = rows[:, None] * spectrum * flat
    codes = np.empty((2 * PAIRS, NY, NX))
    collected = np.empty((2 * PAIRS, NY, NX))
    for i in range(PAIRS):
        first = (rate * factor[i] + dark_adu * GAIN) * READS[0]
        rest = (rate * factor[i] + dark_adu * GAIN) * (READS[1] - READS[0])
        if noise:
            first, rest = rng.poisson(first), rng.poisson(rest)
        collected[2 * i], collected[2 * i + 1] = first, first + rest
    # inverse of the correction: e + curve e² = e_lin
    measured = (np.sqrt(1.0 + 4.0 * curve * collected) - 1.0) / (2.0 * curve)
    if noise:
        measured = measured + rng.normal(0.0, 6.0, measured.shape)
    ideal = measured / GAIN + BIAS
    codes = np.rint(measured / GAIN + BIAS + (rng.uniform(-0.5, 0.5, measured.shape) if not noise else 0.0))
    assert codes.min() >= 0
    assert codes.max() < 4095
    linear = np.stack([np.zeros_like(curve), np.ones_like(curve), curve])
    # frames with the spectrum along the second axis, as the bench writes them
    np.save(root / "frames.npy", codes.astype(np.uint16).transpose(0, 2, 1))
    np.save(root / "flat.npy", flat)
    np.savez(root / "maps.npz", dark=dark_adu, bad=dead, linear=linear)
    np.save(root / "temperature.npy", np.linspace(40.0, 41.0, 2 * PAIRS))
    description = {
        "instruments": {
            "BENCH": {
                "shape": [NY, NX],
                "dims": ["time", "x", "y"],
                "wavelength_um": np.linspace(1.0, 2.0, NX).tolist(),
                "science_columns": [4, 44],
                "exposure_s": list(READS),
                "cadence_s": CADENCE,
                "adc": {"conversion_gain_e_per_adu": GAIN, "bias_adu": BIAS, "bit_depth": 12},
                "maps": {
                    "dark": "maps.npz:dark",
                    "dark_units": "adu_per_s",
                    "flat": "flat.npy",
                    "dead": "maps.npz:bad",
                    "read_noise": 6.0,
                    "linear_corr": "maps.npz:linear",
                },
            }
        },
        "visits": [{"planet_id": "lamp", "frames": "frames.npy", "telemetry": {"detector_temperature": "temperature.npy"}}],
    }
    (root / "detector.yaml").write_text(yaml.safe_dump(description))
    # a value with the fraction f, dithered by ± half a code and rounded, scatters by f (1 - f) codes² about itself
    part = ideal - np.floor(ideal)
    sigma = GAIN * np.sqrt((part * (1.0 - part)).sum(axis=0)) / PAIRS / flat
    return {"spectrum": spectrum, "factor": factor, "rate": rate / flat, "dead": dead.astype(bool), "sigma": sigma}


def test_another_detector_is_recovered_frame_by_frame(tmp_path: Path) -> None:
    """Noise-free codes, dithered by one: the mean CDS frame is the light between the reads to the dither's own error."""
    truth = write_bench(tmp_path, noise=False)
    ds = open_visit(tmp_path, "lamp", 0, "BENCH")
    assert ds["raw_frames"].dims == ("time", "y", "x")
    assert ds["detector_temperature"].dims == ("time",)
    # gain 8, codes to 12 bits: until cds the photometry's settings do not matter
    cds = Pipeline().until("cds")(ds)
    frames = cds["cds_corrected"].to_numpy()
    expected = truth["rate"] * (READS[1] - READS[0]) * truth["factor"][:, None, None]
    good = ~truth["dead"]
    pull = ((frames - expected).mean(axis=0) / truth["sigma"])[good]
    assert abs(pull.mean()) < 4.0 / np.sqrt(good.sum())
    assert 0.9 < pull.std() < 1.1
    assert (cds["pixel_dq"].to_numpy()[truth["dead"]] & int(DQ.DEAD)).all()
    assert not (cds["cds_corrected_frame_dq"].to_numpy() & int(DQ.SATURATED)).any()
    # as in a product: the middle of the exposure between the reads, since the first stamp, which is that of the first read
    np.testing.assert_allclose(cds["time"], (np.arange(PAIRS) * CADENCE + sum(READS) / 2 - READS[0]) / 3600.0, rtol=1e-12)


def test_another_detector_gives_spectrum_and_depth(tmp_path: Path) -> None:
    """With photon and read noise: flux per column and the white depth within their own errors, wavelength rising."""
    truth = write_bench(tmp_path, noise=True)
    path = next(iter(found := products(tmp_path, tmp_path / "out", *SMALL)))
    product = found[path]
    assert path.endswith("lamp/0/BENCH")
    np.testing.assert_allclose(product["wavelength"], np.linspace(1.0, 2.0, NX)[4:44], rtol=1e-12)
    between = READS[1] - READS[0]
    expected = truth["spectrum"][4:44] * between * truth["factor"][:, None]
    pull = (product["photometry"].to_numpy() - expected) / np.sqrt(product["photometry_var"].to_numpy())
    assert 0.93 < pull.std() < 1.07  # rounding to codes of 8 e- adds 5 % to read noise, 1 % here
    # a column's mean has an error of 0.07-0.1 %, three of them at most in 40 columns
    assert np.abs((product["photometry"].to_numpy() / expected).mean(axis=0) - 1.0).max() < 3e-3
    # a dip of straight sides, so its floor is compared and not a fitted planet: 1.2e-4 of scatter over its 77 pairs
    white = np.average(product["trace_norm"], axis=1, weights=1.0 / product["trace_norm_var"].mean("pair"))
    floor = np.isclose(truth["factor"], 1.0 - DEPTH)
    assert floor.sum() == 77
    assert abs(1.0 - white[floor].mean() - DEPTH) < 5e-4
    assert abs(float(product["mid_transit_time"]) - 2.0) < 0.02
    assert product.attrs["instrument"] == "BENCH"
    assert json.loads(product.attrs["detector"])["bit_depth"] == 12


def test_codes_at_the_converters_full_scale_are_saturated(tmp_path: Path) -> None:
    write_bench(tmp_path, noise=False)
    frames = np.load(tmp_path / "frames.npy")
    frames[7, 10, 8] = 4095
    np.save(tmp_path / "frames.npy", frames)
    flags = Pipeline().until("adc")(open_visit(tmp_path, "lamp", 0, "BENCH"))["adc_corrected_frame_dq"].to_numpy()
    assert np.argwhere(flags & int(DQ.SATURATED)).tolist() == [[7, 8, 10]]


def test_photometry_that_does_not_fit_is_refused_before_a_frame_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from v50calib.io.detector_yaml.frames import ArrayFrames

    write_bench(tmp_path, noise=False)
    monkeypatch.setattr(ArrayFrames, "read", lambda *_: pytest.fail("a frame was read"))
    with pytest.raises(ConfigError, match=r"overlap on the 16 rows of BENCH: lower calib.photometry.background.columns.edge_rows"):
        calibrate(tmp_path, tmp_path / "out", overrides=SYNC)
    with pytest.raises(ConfigError, match=r"instrument.name=FGS1, but .* has BENCH only: use one of these, or all"):
        calibrate(tmp_path, tmp_path / "out", overrides=[*SYNC, "calib.photometry.instrument.name=FGS1"])
    Pipeline.from_profile("calib/nominal", [*SMALL, "calib.photometry.instrument.name=BENCH"])(open_visit(tmp_path, "lamp", 0, "BENCH"))


@pytest.mark.parametrize("kind", ["npy", "nc"])
def test_a_visit_fans_out_over_time_on_a_cluster(tmp_path: Path, kind: str) -> None:
    """One visit on two worker threads is cut into time chunks; the numbers are those of one pass."""
    write_bench(tmp_path, noise=True)
    if kind == "nc":
        codes = np.load(tmp_path / "frames.npy")
        xr.Dataset({"counts": (("time", "x", "y"), codes)}).to_netcdf(tmp_path / "frames.nc", engine="h5netcdf")
        text = (tmp_path / "detector.yaml").read_text()
        (tmp_path / "detector.yaml").write_text(text.replace("frames: frames.npy", "frames: frames.nc"))
    run = [*SMALL, "runtime.chunk_pairs=40"]
    (one,) = products(tmp_path, tmp_path / "a", *run).values()
    summary = calibrate(
        tmp_path, tmp_path / "b", overrides=[*run, "output.cubes=both", "runtime.scheduler=threads", "runtime.num_workers=2"]
    )
    assert summary.count("done") == 1
    other = open_calibrated(tmp_path / "b")["lamp/0/BENCH"].to_dataset().load()
    xr.testing.assert_equal(one, other)


def test_telemetry_reaches_the_stages(tmp_path: Path) -> None:
    write_bench(tmp_path, noise=False)
    ds = open_visit(tmp_path, "lamp", 0, "BENCH")
    source = open_source(tmp_path, scan(tmp_path)[0])
    for visit in (visit_input(ds), visit_of(source)):
        state, _ = prepare_stages(visit, [])
        np.testing.assert_array_equal(state.telemetry["detector_temperature"], np.linspace(40.0, 41.0, 2 * PAIRS))
        assert list(state.telemetry) == ["detector_temperature"]


def test_absent_maps_leave_values_alone_and_set_their_flags(tmp_path: Path) -> None:
    write_bench(tmp_path, noise=False)
    text = yaml.safe_load((tmp_path / "detector.yaml").read_text())
    text["instruments"]["BENCH"]["maps"] |= {"dark": "none", "flat": "none", "linear_corr": None, "dead": "none"}
    (tmp_path / "detector.yaml").write_text(yaml.safe_dump(text))
    ds = open_visit(tmp_path, "lamp", 0, "BENCH")
    out = Pipeline().until("cds")(ds).compute()
    flags = int(DQ.UNRELIABLE_DARK | DQ.NO_FLAT_FIELD | DQ.NO_LIN_CORR)
    assert (out["pixel_dq"].to_numpy() & (flags | int(DQ.DO_NOT_USE)) == flags).all()
    codes = np.load(tmp_path / "frames.npy").transpose(0, 2, 1).astype(np.float64)
    np.testing.assert_allclose(out["cds_corrected"], (codes[1::2] - codes[0::2]) * GAIN, rtol=1e-12, atol=1e-9)
    hashes = json.loads(ds.attrs["reference_hashes"])
    assert [n for n, h in hashes.items() if h == "none"] == ["dark", "flat", "linear_corr"]
    ingest(tmp_path, tmp_path / "s.zarr")
    assert json.loads(open_visit(tmp_path / "s.zarr", "lamp", 0, "BENCH").attrs["reference_hashes"]) == hashes


def test_an_edited_fact_makes_the_product_stale(tmp_path: Path) -> None:
    write_bench(tmp_path, noise=False)
    run = {"overrides": [*SYNC, *SMALL, "calib.trace.enabled=false", "calib.phase.enabled=false"]}
    assert calibrate(tmp_path, tmp_path / "out", **run).count("done") == 1
    assert calibrate(tmp_path, tmp_path / "out", **run).count("skipped") == 1
    text = (tmp_path / "detector.yaml").read_text()
    (tmp_path / "detector.yaml").write_text(text.replace("bias_adu: 150.0", "bias_adu: 151.25"))
    assert calibrate(tmp_path, tmp_path / "out", **run).count("done") == 1


# --- several detectors read together ---


def write_channels(root: Path, *, bands: bool) -> np.ndarray:
    """Three detectors in one array (time, channel, y, x), each with its own gain and maps."""
    rng = np.random.default_rng(8)
    n, ny, nx = 48, 26, 24
    spot = np.exp(-0.5 * (((np.arange(ny) - 12.7) / 1.6)[:, None] ** 2 + ((np.arange(nx) - 11.6) / 1.6)[None] ** 2))
    shape = spot if bands else spot.sum(axis=1, keepdims=True) * np.ones(nx) / 5.0
    frames = np.empty((2 * n, 3, ny, nx))
    for c in range(3):
        frames[0::2, c] = 1000.0 + rng.normal(0, 2.0, (n, ny, nx))
        frames[1::2, c] = frames[0::2, c] + rng.poisson(4000.0 * (c + 1) * shape, (n, ny, nx)) / (c + 1)
    codes = np.rint(frames).astype(np.uint16)
    xr.Dataset({"counts": (("time", "channel", "y", "x"), codes)}).to_netcdf(root / "frames.nc", engine="h5netcdf")
    np.save(root / "flat.npy", rng.normal(1.0, 0.01, (3, ny, nx)))
    np.save(root / "linear.npy", np.stack([np.zeros((3, ny, nx)), np.ones((3, ny, nx)), -rng.uniform(1e-7, 2e-7, (3, ny, nx))]))
    channels = [
        {
            "name": name, "wavelength_um": wl if bands else np.linspace(wl, wl + 0.1, nx).tolist(),
            "adc": {"conversion_gain_e_per_adu": float(c + 1), "bias_adu": 1000.0},
        }
        for c, (name, wl) in enumerate((("blue", 0.5), ("green", 0.6), ("red", 0.8)))
    ]  # fmt: skip
    maps = {"dark": 0.02, "flat": "flat.npy", "dead": "none", "read_noise": 5.0, "linear_corr": "linear.npy"}
    instrument = {"shape": [ny, nx], "channels": channels, "exposure_s": [0.1, 1.1], "cadence_s": 60.0, "maps": maps}
    description = {"instruments": {"TRI": instrument}, "visits": [{"planet_id": 7, "visit": 2, "frames": "frames.nc"}]}
    (root / "detector.yaml").write_text(yaml.safe_dump(description))
    return codes


CHANNEL_RUN = ["calib.photometry.background.annulus.inner_px=9", "calib.photometry.aperture.radius_px=6", "output.cubes=both", *SYNC]


def test_channels_are_calibrated_with_their_own_maps(tmp_path: Path) -> None:
    codes = write_channels(tmp_path, bands=True)
    ds = open_visit(tmp_path, 7, 2, "TRI", chunks=16)
    assert dict(ds.sizes) == {"time": 96, "channel": 3, "y": 26, "x": 24, "order": 6}
    assert ds["raw_frames"].dims == ("time", "channel", "y", "x")
    assert ds["linear_corr"].dims == ("order", "channel", "y", "x")
    np.testing.assert_array_equal(ds["raw_frames"], codes)
    np.testing.assert_array_equal(ds["wavelength"], [0.5, 0.6, 0.8])
    steps = Pipeline().until("cds")(ds)
    assert steps["cds_corrected"].chunks is not None
    assert steps["cds_corrected"].dims == ("pair", "channel", "y", "x")
    # independent: straight from the codes by the formulas of the pages
    e = (codes - 1000.0) * np.array([1.0, 2.0, 3.0])[:, None, None]
    c2 = np.load(tmp_path / "linear.npy")[2]
    e = e + c2 * e**2 - 0.02 * np.tile([0.1, 1.1], 48)[:, None, None, None]
    e /= np.load(tmp_path / "flat.npy")
    np.testing.assert_allclose(steps["cds_corrected"], e[1::2] - e[0::2], rtol=1e-10, atol=1e-7)


def test_bands_of_channels_are_the_wavelengths_of_one_product(tmp_path: Path) -> None:
    write_channels(tmp_path, bands=True)
    pipeline = Pipeline.from_profile("calib/nominal", CHANNEL_RUN)
    lazy = pipeline(open_visit(tmp_path, 7, 2, "TRI"))
    assert all(v.chunks is not None for n, v in lazy.data_vars.items())
    product = lazy.compute()
    assert product["photometry"].dims == ("pair", "wavelength")
    assert product["cds_corrected"].dims == ("pair", "channel", "y", "x")
    np.testing.assert_array_equal(product["wavelength"], [0.5, 0.6, 0.8])
    summary = calibrate(tmp_path, tmp_path / "out", overrides=CHANNEL_RUN)
    assert summary.count("done") == 3
    tree = open_calibrated(tmp_path / "out")
    for i, name in enumerate(("blue", "green", "red")):
        one = tree[f"7/2/TRI.{name}"].to_dataset()
        np.testing.assert_allclose(product["photometry"][:, i], one["photometry"][:, 0], rtol=1e-6)
        np.testing.assert_allclose(product["x_position"].isel(channel=i), one["x_position"], rtol=1e-6)
    # 4000·(c+1) e- per peak pixel on every channel: a Gaussian of sigma 1.6 px, 6 px hold 99.9 %
    total = 4000.0 * np.arange(1, 4) * 2 * np.pi * 1.6**2
    np.testing.assert_allclose(product["photometry"].mean("pair"), total, rtol=0.02)
    only = calibrate(tmp_path, tmp_path / "one", overrides=[*CHANNEL_RUN, "calib.photometry.instrument.name=TRI.green"])
    assert [e.instrument for e in only.entries] == ["TRI.green"]


def test_spectra_of_channels_stop_at_cds_and_are_calibrated_one_by_one(tmp_path: Path) -> None:
    write_channels(tmp_path, bands=False)
    run = ["calib.photometry.background.columns.edge_rows=4"]
    pipeline = Pipeline.from_profile("calib/nominal", run)
    ds = open_visit(tmp_path, 7, 2, "TRI")
    assert pipeline.until("flat")(ds)["flat_corrected"].dims == ("time", "channel", "y", "x")
    with pytest.raises(DataError, match=r"TRI has 3 spectra, each with its own wavelengths: .*instrument='TRI.blue'"):
        pipeline(ds)
    one = pipeline(open_visit(tmp_path, 7, 2, "TRI.red"))
    assert one.sizes["wavelength"] == 24
    with pytest.raises(DataError, match=r"the visit has 2 channels, but its attribute 'channels' describes 3"):
        pipeline.until("cds")(ds.isel(channel=[0, 1]))


def test_channels_survive_the_raw_store(tmp_path: Path) -> None:
    write_channels(tmp_path, bands=True)
    assert ingest(tmp_path, tmp_path / "s.zarr").ok
    a, b = open_visit(tmp_path, 7, 2, "TRI").load(), open_visit(tmp_path / "s.zarr", 7, 2, "TRI").load()
    xr.testing.assert_identical(a, b)
