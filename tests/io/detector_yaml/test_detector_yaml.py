"""Frames and maps by path: every kind of file reads the same, and every fault is named before a frame is read."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
import zarr

from v50calib import calibrate, open_visit
from v50calib.array_files import ArrayFile
from v50calib.errors import DataError
from v50calib.io import ingest, open_source, scan
from v50calib.io.catalog import find
from v50calib.io.detector_yaml.frames import ArrayFrames, open_frames
from v50calib.io.detector_yaml.load import array_file
from v50calib.io.keys import VisitKey
from v50calib.schema import default_chunk_frames, describe, instrument_of

N, NY, NX = 22, 5, 7
CODES = np.random.default_rng(4).integers(0, 65536, (N, NY, NX), dtype=np.uint16)


def save_npy(root: Path, values: np.ndarray) -> str:
    np.save(root / "f.npy", values)
    return "f.npy"


def save_fortran(root: Path, values: np.ndarray) -> str:
    np.save(root / "f.npy", np.asfortranarray(values))
    return "f.npy"


def save_big_endian(root: Path, values: np.ndarray) -> str:
    np.save(root / "f.npy", values.astype(values.dtype.newbyteorder(">")))
    return "f.npy"


def save_zarr(root: Path, values: np.ndarray) -> str:
    array = zarr.create_array(root / "f.zarr", shape=values.shape, dtype=values.dtype, chunks=(4, *values.shape[1:]))
    array[...] = values
    return "f.zarr"


def save_zarr_2(root: Path, values: np.ndarray) -> str:
    group = zarr.create_group(root / "old", zarr_format=2)
    group.create_array("counts", shape=values.shape, dtype=values.dtype, chunks=(6, *values.shape[1:]))[...] = values
    group.create_array("other", shape=(3,), dtype="f8")
    return "old::counts"


def save_netcdf(root: Path, values: np.ndarray) -> str:
    dims = ("time", "channel", "y", "x") if values.ndim == 4 else ("frame", "row", "col")
    xr.Dataset({"counts": (dims, values), "gain": ((), 2.0)}).to_netcdf(root / "f.nc", engine="h5netcdf")
    return "f.nc::counts"


KINDS = [save_npy, save_fortran, save_big_endian, save_zarr, save_zarr_2, save_netcdf]


@pytest.mark.parametrize("save", KINDS)
@pytest.mark.parametrize("dims", [("time", "y", "x"), ("x", "time", "y"), ("y", "x", "time")])
def test_every_kind_and_order_of_axes_reads_the_same(tmp_path: Path, save: Callable[..., str], dims: tuple[str, ...]) -> None:
    axes = ["time", "y", "x"]
    path = save(tmp_path, CODES.transpose([axes.index(d) for d in dims]))
    frames = open_frames(array_file(tmp_path, path), (NY, NX), dims)
    assert frames.n_frames == N == sum(frames.units)
    again = pickle.loads(payload := pickle.dumps(frames))
    assert len(payload) < 1000
    for start, stop in ((0, N), (3, 4), (8, 15)):
        part = again.read(start, stop)
        np.testing.assert_array_equal(part, CODES[start:stop])
        assert (part.dtype, part.flags.c_contiguous) == (np.dtype(np.uint16), True)
    with pytest.raises(DataError, match=r"frames 4:30 asked of a visit with 22"):
        frames.read(4, 30)


@pytest.mark.parametrize("save", KINDS)
def test_one_channel_of_several(tmp_path: Path, save: Callable[..., str]) -> None:
    four = np.stack([CODES, CODES[::-1], CODES // 2], axis=1)
    frames = open_frames(array_file(tmp_path, save(tmp_path, four)), (NY, NX), ("time", "channel", "y", "x"), (1, 3))
    np.testing.assert_array_equal(frames.read(2, 9), CODES[::-1][2:9])


def test_uint8_codes_are_taken_as_they_are(tmp_path: Path) -> None:
    small = (CODES >> 8).astype(np.uint8)
    np.testing.assert_array_equal(open_frames(array_file(tmp_path, save_npy(tmp_path, small)), (NY, NX), None).read(0, N), small)


def test_names_of_the_file_give_the_order_of_axes(tmp_path: Path) -> None:
    xr.Dataset({"counts": (("x", "y", "time"), CODES.transpose(2, 1, 0))}).to_zarr(tmp_path / "n.zarr", consolidated=False)
    np.testing.assert_array_equal(open_frames(array_file(tmp_path, "n.zarr::counts"), (NY, NX), None).read(0, N), CODES)
    with pytest.raises(DataError, match=r"names its axes \['x', 'y', 'time'\], detector.yaml says `dims: \['time', 'y', 'x'\]`: remove"):
        open_frames(array_file(tmp_path, "n.zarr::counts"), (NY, NX), ("time", "y", "x"))


@pytest.mark.parametrize("size", [2, 6, 10, 100])
def test_blocks_decode_every_unit_once(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = open_frames(array_file(tmp_path, save_zarr(tmp_path, CODES)), (NY, NX), None)
    frames = ArrayFrames(frames.array, frames.shape, N, (4, 4, 4, 4, 4, 2), frames.dims)
    reads: list[tuple[int, int]] = []
    plain = ArrayFrames.read
    monkeypatch.setattr(ArrayFrames, "read", lambda self, a, b: (reads.append((a, b)), plain(self, a, b))[1])
    blocks = dict(frames.blocks(size))
    assert list(blocks) == list(range(0, N, size))
    np.testing.assert_array_equal(np.concatenate(list(blocks.values())), CODES)
    assert reads == [(0, 4), (4, 8), (8, 12), (12, 16), (16, 20), (20, 22)]


def test_units_are_whole_stored_chunks_of_about_10_mb(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "z.zarr", shape=(20000, 32, 32), dtype="u2", chunks=(700, 32, 32))
    array[...] = 1
    assert open_frames(array_file(tmp_path, "z.zarr"), (32, 32), None).units == (4200,) * 4 + (3200,)
    assert default_chunk_frames((32, 32)) == 4882
    assert default_chunk_frames((4096, 4096)) == 2


def test_one_colon_names_an_array_as_two_do(tmp_path: Path) -> None:
    np.savez(tmp_path / "maps.npz", dark=np.zeros(3), flat=np.ones(3))
    assert array_file(tmp_path, "maps.npz:flat") == array_file(tmp_path, "maps.npz::flat")
    np.save(tmp_path / "a:b.npy", np.arange(3))
    np.testing.assert_array_equal(array_file(tmp_path, "a:b.npy").values(), np.arange(3))


def test_a_column_of_a_csv_may_give_the_times(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("time_s\n0.5\n1.5\n", encoding="utf-8")
    np.testing.assert_array_equal(array_file(tmp_path, "t.csv").values(), [0.5, 1.5])


# --- the description ---


def write_root(root: Path) -> dict[str, Any]:
    """A valid root to damage."""
    np.save(root / "a.npy", CODES)
    np.save(root / "b.npy", CODES[:8])
    np.savez(root / "maps.npz", dark=np.full((NY, NX), 0.1), flat=np.ones((NY, NX)), linear=np.stack([CODES[0] * 0.0, CODES[0] * 0.0 + 1]))
    packed = xr.Dataset({"rms": (("y", "x"), np.full((NY, NX), 4.5)), "hot": (("y", "x"), np.eye(NY, NX))})
    packed.to_netcdf(root / "maps.nc", engine="h5netcdf", encoding={"rms": {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}})
    np.save(root / "wl.npy", np.linspace(2.0, 1.0, NX))
    np.save(root / "t.npy", np.arange(N) * 1.5)
    return {
        "instruments": {
            "CAM-1": {
                "shape": [NY, NX],
                "wavelength_um": "wl.npy",
                "exposure_s": [0.5, 1.5],
                "cadence_s": 3.0,
                "adc": {"gain_adu_per_e": 0.5, "offset_e": -10},
                "maps": {
                    "dark": "maps.npz::dark",
                    "flat": "maps.npz::flat",
                    "dead": "none",
                    "read_noise": "maps.nc::rms",
                    "linear_corr": "maps.npz::linear",
                },
            }
        },
        "visits": [
            {"planet_id": 12.0, "frames": "a.npy", "time_s": "t.npy", "telemetry": {"bias_level": "t.npy"}, "star": {"Rs": "1e0", "P": 3}},
            {"planet_id": "12", "visit": 1, "frames": "b.npy", "maps": {"dark": "2e-1", "dead": "maps.nc::hot"}, "split": "test"},
        ],
    }


def dump(root: Path, description: Any) -> Path:
    (root / "detector.yaml").write_text(yaml.safe_dump(description))
    return root


def test_a_described_visit_opens_with_its_facts(tmp_path: Path) -> None:
    root = dump(tmp_path, write_root(tmp_path))
    assert scan(root) == [VisitKey("12", 0, "CAM-1"), VisitKey("12", 1, "CAM-1", "test")]
    assert find(root, "12.0", 1, "CAM-1").split == "test"
    ds = open_visit(root, 12, 0, "CAM-1")
    np.testing.assert_array_equal(ds["raw_frames"], CODES)
    np.testing.assert_allclose(ds["time"], np.arange(N) * 1.5 / 3600)
    np.testing.assert_array_equal(ds["exposure"], np.tile([0.5, 1.5], N // 2))
    np.testing.assert_array_equal(ds["bias_level"], np.arange(N) * 1.5)
    np.testing.assert_array_equal(ds["read"], 4.5)
    assert ds["linear_corr"].sizes["order"] == 6
    assert (ds.attrs["star_Rs"], ds.attrs["star_P"], ds.attrs["adc_gain"], ds.attrs["adc_offset"]) == (1.0, 3.0, 0.5, -10.0)
    assert str(root) not in str(ds.attrs)
    instrument = instrument_of(ds.attrs)
    assert (instrument.shape, instrument.science, instrument.spectral, instrument.read_times) == ((NY, NX), slice(0, NX), True, (0.5, 1.5))
    assert instrument_of({"detector": describe(instrument)}) == instrument
    np.testing.assert_array_equal(instrument.science_columns(np.linspace(2.0, 1.0, NX)), np.arange(NX)[::-1])
    other = open_source(root, VisitKey("12", 1, "CAM-1", "test"))
    np.testing.assert_array_equal(other.reference.dark, 0.2)
    np.testing.assert_array_equal(other.reference.dead, np.eye(NY, NX, dtype=bool))
    # ramps start every 3 s, the reads follow 0.5 and 1.5 s after
    np.testing.assert_allclose(other.time_h[:4] * 3600, [0.5, 1.5, 3.5, 4.5])


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set one key of the description; None removes it."""

    def change(description: dict[str, Any]) -> None:
        node: Any = description
        *above, last = path.split("/")
        for name in above:
            node = node[int(name) if name.isdigit() else name]
        if value is None:
            del node[last]
        else:
            node[last] = value

    return change


CAM = "instruments/CAM-1"
FAULTS = {
    r"telemetry cannot be called \['time'\]": put("visits/0/telemetry", {"time": "t.npy"}),
    r"unknown key instruments.CAM-1.shapes: did you mean shape\?": put(f"{CAM}/shapes", [1, 2]),
    r"instruments.CAM-1.shape is missing": put(f"{CAM}/shape", None),
    r"shape \[0, 7\]: rows and columns": put(f"{CAM}/shape", [0, NX]),
    r"visits\[0\]: maps \['dead'\] of CAM-1 are not given: a path, or the word none": put(f"{CAM}/maps/dead", None),
    r"instruments.CAM-1.maps.read_noise is none, but every variance": put(f"{CAM}/maps/read_noise", "none"),
    r"exposure_s of CAM-1 is not given": put(f"{CAM}/exposure_s", None),
    r"visits\[1\]: give one of time_h, time_s .* or cadence_s of CAM-1": put(f"{CAM}/cadence_s", None),
    r"instruments.CAM-1.wavelength_um is not given": put(f"{CAM}/wavelength_um", None),
    r"instruments.CAM-1.adc is not given": put(f"{CAM}/adc", None),
    r"CAM-1.adc: give one of conversion_gain_e_per_adu .* and gain_adu_per_e": put(f"{CAM}/adc/conversion_gain_e_per_adu", 2),
    r"offset_e \[e-\] and bias_adu \[ADU\] say the same": put(f"{CAM}/adc/bias_adu", 5),
    r"adc.bit_depth is 20: input should be less than or equal to 16": put(f"{CAM}/adc/bit_depth", 20),
    r"visits\[1\].instrument is 'CAM1', nearest of the instruments is \['CAM-1'\]": put("visits/1/instrument", "CAM1"),
    r"visits\[1\]: planet 12 visit 0 of CAM-1 is listed twice": put("visits/1/visit", 0),
    r"visits\[0\].planet id '../x' is not valid": put("visits/0/planet_id", "../x"),
    r"visits\[0\].frames is missing": put("visits/0/frames", None),
    r"visits\[0\].star.mass": put("visits/0/star", {"mass": 1.0}),
    r"channels \['a', 'a'\]: a name comes twice": put(f"{CAM}/channels", [{"name": "a"}, {"name": "a"}]),
    r"an instrument cannot be called \['all'\]": put("instruments/all", {"shape": [1, 1]}),
    r"'gone.npy' in detector.yaml is no file .*require_existing_paths: false": put("visits/0/frames", "gone.npy"),
    r"'detector.yaml' in detector.yaml is none of .npy, .npz, .zarr, .nc, .h5, .fits, .csv": put(f"{CAM}/maps/dark", "detector.yaml"),
    r"a.npy is one array: leave out '::x'": put("visits/0/frames", "a.npy::x"),
    r"frames of \{'time': 22, 'y': 5, 'x': 7\}, but detector.yaml says shape \[7, 5\] \(y, x\)": put(f"{CAM}/shape", [NX, NY]),
    r"map dark of CAM-1 .* has the shape \(2, 5, 7\), expected \(5, 7\) \(y, x\)": put(f"{CAM}/maps/dark", "maps.npz::linear"),
    r"map linear_corr of CAM-1 .* expected 2 to 6 coefficients in front of \(5, 7\)": put(f"{CAM}/maps/linear_corr", "maps.npz::dark"),
    r"maps.npz holds 3 arrays \(dark, flat, linear\): name one as maps.npz::NAME": put(f"{CAM}/maps/dark", "maps.npz"),
    r"maps.npz has no array 'darks', only dark, flat, linear": put(f"{CAM}/maps/dark", "maps.npz::darks"),
    r"frames cannot be read piece by piece from .npz": put("visits/0/frames", "maps.npz::dark"),
    r"row.npy has the shape \(7,\); detector.yaml says the axes": put("visits/1/frames", "row.npy"),
    r"odd.npy has 21 frames, expected an even number above 0": put("visits/0/frames", "odd.npy"),
    r"float.npy has 0.5, no whole number: frames are raw codes": put("visits/0/frames", "float.npy"),
    r"signed.npy has codes from -5 to .*, and the chain counts codes of 16 bits": put("visits/0/frames", "signed.npy"),
    r"packed.nc holds packed numbers \(scale_factor, add_offset\)": put("visits/0/frames", "packed.nc"),
    r"text.npy\) has values of type <U1, expected numbers": put(f"{CAM}/maps/flat", "text.npy"),
    r"garbage.npy cannot be read as npy": put("visits/0/frames", "garbage.npy"),
    r"garbage.nc cannot be read as netcdf": put("visits/0/frames", "garbage.nc"),
    r"garbage.zarr cannot be read as zarr": put("visits/0/frames", "garbage.zarr"),
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """A valid root with faulty files beside it."""
    description = write_root(tmp_path)
    np.save(tmp_path / "odd.npy", CODES[:21])
    np.save(tmp_path / "row.npy", np.zeros(NX, np.uint16))
    np.save(tmp_path / "float.npy", np.full(CODES.shape, 0.5))
    np.save(tmp_path / "signed.npy", (CODES >> 1).astype(np.int16) * 0 - 5)
    np.save(tmp_path / "text.npy", np.full((NY, NX), "a"))
    packed = xr.Dataset({"counts": (("time", "y", "x"), CODES * 0.5)})
    packed.to_netcdf(
        tmp_path / "packed.nc", engine="h5netcdf", encoding={"counts": {"dtype": "u2", "scale_factor": 0.5, "_FillValue": 65535}}
    )
    (tmp_path / "garbage.npy").write_bytes(b"nothing of the kind")
    (tmp_path / "garbage.nc").write_bytes(b"nothing of the kind")
    (tmp_path / "garbage.zarr").mkdir()
    (tmp_path / "garbage.zarr" / "zarr.json").write_text("{")
    return description


@pytest.mark.parametrize("message", FAULTS)
def test_every_fault_is_named_before_a_frame_is_read(
    tmp_path: Path, files: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    FAULTS[message](files)
    monkeypatch.setattr(ArrayFrames, "read", lambda *_: pytest.fail("a frame was read"))
    with pytest.raises(DataError, match=message):
        calibrate(dump(tmp_path, files), tmp_path / "out", overrides=["runtime.scheduler=sync"])
    assert not (tmp_path / "out").exists()


AT_OPENING = {
    r"wavelength_um has the shape \(22,\), expected one value for each of 7 columns": put(f"{CAM}/wavelength_um", "t.npy"),
    r"wavelength_um neither rises nor falls": put(f"{CAM}/wavelength_um", [1, 2, 3, 4, 5, 5, 6]),
    r"science_columns \[3, 9\] are not 0 <= first < end <= 7": put(f"{CAM}/science_columns", [3, 9]),
    r"time_h \(wl.npy\) has the shape \(7,\), expected \(22,\): one value a frame": put("visits/0/time_h", "wl.npy"),
    r"telemetry.level \(wl.npy\) has the shape \(7,\)": put("visits/0/telemetry", {"level": "wl.npy"}),
    r"exposure_s \(wl.npy\) has the shape \(7,\)": put("visits/0/exposure_s", "wl.npy"),
    r"the time stamps do not rise from frame to frame": put("visits/0/time_h", "flat_time.npy"),
    r"map flat of CAM-1 \(nan.npy\) has no finite value: write `flat: none`": put(f"{CAM}/maps/flat", "nan.npy"),
}


@pytest.mark.parametrize("message", AT_OPENING)
def test_values_are_checked_when_a_visit_is_opened(tmp_path: Path, message: str) -> None:
    description = write_root(tmp_path)
    np.save(tmp_path / "flat_time.npy", np.zeros(N))
    np.save(tmp_path / "nan.npy", np.full((NY, NX), np.nan))
    AT_OPENING[message](description)
    if "time_h" in description["visits"][0]:
        del description["visits"][0]["time_s"]
    with pytest.raises(DataError, match=message):
        open_source(dump(tmp_path, description), VisitKey("12", 0, "CAM-1"))


def test_checks_put_off_let_a_visit_fail_alone(tmp_path: Path) -> None:
    description = write_root(tmp_path)
    description["visits"][0]["frames"] = "gone.npy"
    with pytest.raises(DataError, match=r"'gone.npy' in detector.yaml is no file"):
        ingest(dump(tmp_path, description), tmp_path / "s.zarr")
    description["validation"] = {"require_existing_paths": False}
    report = ingest(dump(tmp_path, description), tmp_path / "s.zarr")
    assert report.written == [VisitKey("12", 1, "CAM-1", "test")]
    assert "no file " in report.failed[VisitKey("12", 0, "CAM-1")]
    description["visits"][0]["frames"] = "odd.npy"
    np.save(tmp_path / "odd.npy", CODES[:21])
    description["validation"]["check_shape_compatibility"] = False
    report = ingest(dump(tmp_path, description), tmp_path / "s.zarr")
    assert "has 21 frames" in report.failed[VisitKey("12", 0, "CAM-1")]


def test_what_is_not_there_names_what_is(tmp_path: Path) -> None:
    root = dump(tmp_path, write_root(tmp_path))
    with pytest.raises(DataError, match=r"unknown instrument 'CAM': there are \['CAM-1'\]; nearest is 'CAM-1'"):
        open_visit(root, 12, 0, "CAM")
    with pytest.raises(DataError, match=r"planet 12 has no visit 0 of AIRS-CH0 .* it has visit 0 CAM-1, visit 1 CAM-1"):
        open_visit(root, 12)
    with pytest.raises(DataError, match=r"unknown planet 13: the root holds 1 planets; nearest are 12"):
        find(root, 13, 0, "FGS1")
    with pytest.raises(DataError, match=r"lists no visit train/12/5/CAM-1"):
        open_source(root, VisitKey("12", 5, "CAM-1"))
    (root / "detector.yaml").write_text("instruments: [")
    with pytest.raises(DataError, match=r"detector.yaml is not YAML: while parsing"):
        scan(root)
    with pytest.raises(DataError, match=r"instrument 'CAM-1' is not known; what exists: AIRS-CH0, FGS1; a detector of your own needs"):
        instrument_of({"instrument": "CAM-1"})


def test_netcdf_without_a_reader_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f.nc").write_bytes(b"\x89HDF\r\n\x1a\nand no more")
    monkeypatch.setattr("v50calib.array_files.find_spec", lambda _: None)
    monkeypatch.setattr("xarray.backends.plugins.list_engines", dict)
    with pytest.raises(DataError, match=r"NetCDF-4 needs a reader; install v50calib\[netcdf\]"):
        ArrayFile(tmp_path / "f.nc", None, "netcdf").header()


def test_a_channel_list_needs_the_axis(tmp_path: Path) -> None:
    description = write_root(tmp_path)
    description["instruments"]["CAM-1"]["channels"] = [{"name": "a"}, {"name": "b"}]
    with pytest.raises(DataError, match=r"its instrument needs \['time', 'channel', 'y', 'x'\]: correct `dims`"):
        scan(dump(tmp_path, description))
    np.save(tmp_path / "a.npy", np.stack([CODES] * 3, axis=1))
    np.save(tmp_path / "b.npy", np.stack([CODES] * 2, axis=1))
    with pytest.raises(DataError, match=r"says shape \[5, 7\] \(y, x\) and 2 channels"):
        scan(dump(tmp_path, description))


STAMPS_S = np.arange(N) * 1.5


def visit_with_times(root: Path, key: str, text: str) -> np.ndarray:
    description = write_root(root)
    del description["visits"][0]["time_s"]
    description["visits"][0][key] = text
    return open_source(dump(root, description), VisitKey("12", 0, "CAM-1")).time_h


@pytest.mark.parametrize("key", ["time_s", "time_h"])
@pytest.mark.parametrize("resolution", ["ns", "ms"])
def test_datetimes_say_what_they_are(tmp_path: Path, key: str, resolution: str) -> None:
    stamps = np.datetime64("2029-03-01T04:05:06", resolution) + (STAMPS_S * 1000).astype("m8[ms]").astype(f"m8[{resolution}]")
    np.save(tmp_path / "when.npy", stamps)
    found = visit_with_times(tmp_path, key, "when.npy")
    np.testing.assert_allclose(3600 * (found - found[0]), STAMPS_S, atol=1e-6)
    # since 1970: seconds of the day stay what they were
    np.testing.assert_allclose(found[0] % 24, 4 + 5 / 60 + 6 / 3600, atol=1e-9)


@pytest.mark.parametrize(
    ("units", "per_second"), [("days", 1 / 86400), ("hours since 2020-01-01", 1 / 3600), ("seconds", 1.0), ("ms", 1e3)]
)
@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_units_that_a_file_names_are_taken(tmp_path: Path, units: str, per_second: float, kind: str) -> None:
    ds = xr.Dataset({"when": (("time",), STAMPS_S * per_second, {"units": units}), "other": (("time",), STAMPS_S)})
    if kind == "nc":
        ds.to_netcdf(tmp_path / "t.nc", engine="h5netcdf")
    else:
        ds.to_zarr(tmp_path / "t.zarr", zarr_format=3, consolidated=False)
    np.testing.assert_allclose(visit_with_times(tmp_path, "time_h", f"t.{kind}::when"), STAMPS_S / 3600, rtol=1e-12)


def test_units_that_are_none_of_time(tmp_path: Path) -> None:
    xr.Dataset({"when": (("time",), STAMPS_S, {"units": "K"})}).to_netcdf(tmp_path / "t.nc", engine="h5netcdf")
    with pytest.raises(DataError, match=r"CAM-1: time_h \(t\.nc\) has the units 'K': give times in s, minutes, hours or days"):
        visit_with_times(tmp_path, "time_h", "t.nc")


@pytest.mark.parametrize(
    ("factor", "words"), [(1.0, "in seconds, milliseconds"), (1e9, "in seconds, milliseconds"), (1 / 86400, "in days")]
)
def test_stamps_in_other_units_than_their_key_says(tmp_path: Path, factor: float, words: str) -> None:
    np.save(tmp_path / "wrong.npy", STAMPS_S * factor)
    with pytest.raises(DataError, match=rf"CAM-1: ramps are .* s apart and last 1\.5 s: the time stamps are not in hours \({words}"):
        visit_with_times(tmp_path, "time_h", "wrong.npy")


@pytest.mark.parametrize(("reads", "words"), [([1.5, 0.5], "pair 0 is read 1.5 and 0.5 s after its reset"), ([-0.5, 1.5], "-0.5 s after")])
def test_exposures_that_no_ramp_has(tmp_path: Path, reads: list[float], words: str) -> None:
    description = write_root(tmp_path)
    description["instruments"]["CAM-1"]["exposure_s"] = reads
    with pytest.raises(DataError, match=words):
        open_source(dump(tmp_path, description), VisitKey("12", 0, "CAM-1"))


@pytest.mark.parametrize(("version", "sharded"), [(2, False), (3, False), (3, True)])
def test_a_missing_chunk_is_no_zero(tmp_path: Path, version: int, sharded: bool) -> None:
    """A copy that was cut short: Zarr would read its fill value, and a depth would follow."""
    extra: dict[str, Any] = {"shards": (8, NY, NX)} if sharded else {}
    array = zarr.create_array(tmp_path / "f.zarr", shape=CODES.shape, dtype="u2", chunks=(4, NY, NX), zarr_format=version, **extra)
    array[...] = CODES
    description = write_root(tmp_path)
    description["visits"][0]["frames"] = "f.zarr"
    source = open_source(dump(tmp_path, description), VisitKey("12", 0, "CAM-1"))
    np.testing.assert_array_equal(source.frames.read(0, N), CODES)
    gone = "1.0.0" if version == 2 else "c/1/0/0"
    (tmp_path / "f.zarr" / gone).unlink()
    with pytest.raises(DataError, match=rf"f\.zarr has no chunk '{gone}', and would read as its fill value there"):
        open_source(tmp_path, VisitKey("12", 0, "CAM-1"))
