"""ExoSim's own output as a root, against the conversion to the challenge's layout done by hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exosim_files import GAIN, OFFSET, SHAPES, write_simulation

from v50calib import open_visit
from v50calib.errors import DataError
from v50calib.io import ingest, open_root
from v50calib.io.exosim.linearity import invert
from v50calib.io.exosim.root import ExosimRoot
from v50calib.io.identity import unchanged
from v50calib.io.keys import VisitKey

h5py = pytest.importorskip("h5py")

KEYS = [VisitKey("4000000207", 1, name) for name in ("AIRS-CH0", "FGS1")]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_simulation(tmp_path_factory.mktemp("exosim") / "any")


@pytest.fixture
def own(simulated: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(simulated.parent, tmp_path / "sim")
    return tmp_path / "sim" / "ndr.h5"


def turned(name: str, values: np.ndarray) -> np.ndarray:
    return values[..., ::-1] if name == "AIRS-CH0" else values


def write_parquet(path: Path, table: np.ndarray) -> None:
    pq.write_table(pa.table({f"column_{i}": np.ascontiguousarray(table[:, i]) for i in range(table.shape[1])}), path)


def converted(ndr: Path, root: Path) -> Path:
    """The same visit as the challenge would have given it."""
    axes: dict[str, Any] = {}
    with h5py.File(ndr) as file:
        for name, shape in SHAPES.items():
            group, maps = file[f"channels/{name}"], root / "train" / "4000000207" / f"{name}_calibration_1"
            maps.mkdir(parents=True)
            raw = turned(name, group["NDRs/data"][:])
            write_parquet(maps.parent / f"{name}_signal_1.parquet", raw.reshape(len(raw), -1))
            for kind in ("dark", "read"):
                write_parquet(maps / f"{kind}.parquet", turned(name, np.load(ndr.parent / f"{kind}_{name}.npy")))
            simulation = group["simulation_data"]
            write_parquet(maps / "dead.parquet", turned(name, simulation["dead_pixel_map/dead_pixel_map"][:]))
            write_parquet(maps / "flat.parquet", turned(name, simulation["qe_variation_map/data"][0]))
            linear = invert(simulation["pixel_non_linearity/map"][:], 100000.0)
            write_parquet(maps / "linear_corr.parquet", turned(name, linear).reshape(6 * 32, shape[1]))
            axes[f"{name}-axis0-h"] = group["NDRs/time"][:]
            axes[f"{name}-integration_time"] = group["NDRs/metadata/integration_times/value"][:]
            if name == "AIRS-CH0":
                axes["AIRS-CH0-axis2-um"] = group["NDRs/spectral"][:][::-1]
    pd.DataFrame({name: pd.Series(values) for name, values in axes.items()}).to_parquet(root / "axis_info.parquet")
    adc = {f"{name}_adc_{what}": value for name in SHAPES for what, value in (("offset", OFFSET), ("gain", GAIN))}
    pd.DataFrame([adc]).to_csv(root / "adc_info.csv", index=False)
    star = {"planet_id": 4000000207, "Rs": 0.75, "Ms": 0.76, "Ts": 4700.0, "e": 0.0, "P": 3.4, "sma": 9.0, "i": 88.2}
    pd.DataFrame([star]).to_csv(root / "train_star_info.csv", index=False)
    return root


def test_it_is_what_its_conversion_is(simulated: Path, tmp_path: Path) -> None:
    root, other = open_root(simulated), open_root(converted(simulated, tmp_path))
    assert isinstance(root, ExosimRoot)
    assert root.visits() == other.visits() == KEYS
    for key in KEYS:
        here, there = root.open(key), other.open(key)
        assert here.instrument == root.instrument(key) == there.instrument
        assert here.frames.n_frames == there.frames.n_frames
        np.testing.assert_array_equal(here.frames.read(0, 6), there.frames.read(0, 6))
        assert here.reference.hashes == there.reference.hashes
        for axis in ("time_h", "exposure_s", "wavelength"):
            np.testing.assert_array_equal(getattr(here, axis), getattr(there, axis))
        ours = {name: value for name, value in here.attrs.items() if name not in ("layout", "input_notes")}
        assert ours == {name: value for name, value in there.attrs.items() if name not in ("layout", "input_notes")}
        assert "Mp" in here.attrs["input_notes"]


def test_it_opens_and_ingests_like_any_other(simulated: Path, tmp_path: Path) -> None:
    ds = open_visit(simulated, "4000000207", 1, "FGS1", chunks=4)
    with h5py.File(simulated) as file:
        np.testing.assert_array_equal(ds["raw_frames"].to_numpy(), file["channels/FGS1/NDRs/data"][:])
    assert ingest(simulated.parent, tmp_path / "raw.zarr").ok
    source = open_root(tmp_path / "raw.zarr").open(KEYS[0])
    np.testing.assert_array_equal(source.frames.read(0, 6), open_root(simulated).open(KEYS[0]).frames.read(0, 6))


def test_the_inverse_undoes_the_non_linearity() -> None:
    forward = np.array([0.97, -8e-7, 2e-13, -3e-19, -1e-25])[:, None, None]
    electrons = np.linspace(0.0, 100000.0, 50)
    measured = sum(c * electrons ** (i + 1) for i, c in enumerate(forward[:, 0, 0]))
    back = np.polynomial.polynomial.polyval(measured, invert(forward, 100000.0)[:, 0, 0])
    np.testing.assert_allclose(back, electrons, atol=0.02)
    with pytest.raises(DataError, match="no inverse"):
        # the answer falls beyond half the well: two numbers of electrons give one code
        invert(np.array([1.0, -1e-5])[:, None, None], 100000.0)


def test_visits_are_called_as_their_folders(tmp_path: Path) -> None:
    small = {"FGS1": SHAPES["FGS1"]}
    for name in ("visits/7_0", "visits/7_3", "visits/kepler-9_2"):
        write_simulation(tmp_path / name, pairs=1, shapes=small)
    # others of ExoSim's products are no visits
    with h5py.File(tmp_path / "visits" / "7_0" / "se.h5", "w") as file:
        file.create_group("channels/FGS1/SubExposures")
    expected = [VisitKey("7", 0, "FGS1"), VisitKey("7", 3, "FGS1"), VisitKey("kepler-9", 2, "FGS1")]
    assert open_root(tmp_path).visits() == open_root(tmp_path / "visits").visits() == expected
    assert open_root(tmp_path).visits("7") == expected[:2]
    shutil.copytree(tmp_path / "visits" / "7_0", tmp_path / "again" / "7_0")
    with pytest.raises(DataError, match="both planet 7 visit 0"):
        open_root(tmp_path).visits()


def test_the_user_may_say_what_a_file_is(own: Path) -> None:
    (own.parent / "exosim.yaml").write_text("visits: {ndr.h5: {planet_id: 12, visit: 4, split: test, star: {Mp: 0.8}}}")
    root = open_root(own.parent)
    assert root.visits() == [VisitKey("12", 4, name, "test") for name in ("AIRS-CH0", "FGS1")]
    source = root.open(root.visits()[1])
    assert source.attrs["star_Mp"] == 0.8
    assert "input_notes" not in source.attrs
    (own.parent / "exosim.yaml").write_text("visits: {other.h5: {planet_id: 12}}")
    with pytest.raises(DataError, match=r"names \['other.h5'\]"):
        root.visits()
    (own.parent / "exosim.yaml").write_text("read: first_and_last")
    with pytest.raises(DataError, match="read is 'first_and_last'"):
        root.visits()


def test_longer_ramps_are_refused_or_taken_by_first_and_last(tmp_path: Path) -> None:
    path = write_simulation(tmp_path / "5_0", pairs=4, reads=3)
    with h5py.File(path, "a") as file:
        del file["info"]
    key = VisitKey("5", 0, "FGS1")
    with pytest.raises(DataError, match=r"has 3 reads a ramp.*reads: first_and_last"):
        open_root(path).open(key)
    (path.parent / "exosim.yaml").write_text("reads: first_and_last")
    source = open_root(path).open(key)
    with h5py.File(path) as file:
        raw = file["channels/FGS1/NDRs/data"][:].reshape(4, 3, 32, 32)
    np.testing.assert_array_equal(source.frames.read(0, 8)[0::2], raw[:, 0])
    np.testing.assert_array_equal(source.frames.read(0, 8)[1::2], raw[:, 2])
    np.testing.assert_array_equal(source.frames.read(3, 6), source.frames.read(0, 8)[3:6])
    np.testing.assert_allclose(source.exposure_s, np.tile([0.1, 0.2], 4))


def test_a_change_beside_the_file_is_seen(own: Path) -> None:
    root = open_root(own)
    known = root.identity(KEYS[1])
    assert unchanged(root, KEYS[1], known)
    np.save(own.parent / "dark_FGS1.npy", np.load(own.parent / "dark_FGS1.npy") + 1.0)
    os.utime(own.parent / "dark_FGS1.npy", ns=(1, 1))
    assert not unchanged(root, KEYS[1], known)


def test_what_is_missing_is_told(own: Path) -> None:
    for path in own.parent.glob("*.xml"):
        path.unlink()
    (own.parent / "dark_FGS1.npy").unlink()
    source = open_root(own).open(KEYS[1])
    assert "no ExoSim configuration" in source.attrs["input_notes"]
    assert "dark current" in source.attrs["input_notes"]
    assert source.reference.absent == ("dark",)
    (own.parent / "read_FGS1.npy").unlink()
    with pytest.raises(DataError, match="read noise is neither"):
        open_root(own).open(KEYS[1])


def replaced(path: Path, name: str, values: Any) -> None:
    with h5py.File(path, "a") as file:
        del file[name]
        if values is not None:
            file[name] = values


NDRS = "channels/FGS1/NDRs"


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        (f"{NDRS}/metadata/n_groups_per_ramp", 1, "needs two"),
        (f"{NDRS}/metadata/ADC", None, "electrons, not codes"),
        (f"{NDRS}/metadata/ADC/gain", 0.0, "gain is 0.0"),
        (f"{NDRS}/metadata/integration_times/value", np.ones(12), "averages 2 reads"),
        (f"{NDRS}/time", np.zeros(6), "do not rise"),
        (f"{NDRS}/spectral", np.ones(31), "31 values of spectral for 32 columns"),
        (f"{NDRS}/data", np.ones((6, 32)), "expected codes"),
        ("channels/FGS1/simulation_data/qe_variation_map/data", np.ones((1, 32, 31)), "qe_variation_map"),
        ("channels/FGS1/simulation_data/pixel_non_linearity/map", np.full((5, 32, 32), np.nan), "not finite"),
        (f"{NDRS}/time", None, "entry is missing"),
        (f"{NDRS}/data", h5py.ExternalLink("other.h5", "/data"), "link into another file"),
    ],
)
def test_other_files_are_refused(own: Path, name: str, values: Any, said: str) -> None:
    replaced(own, name, values)
    with pytest.raises(DataError, match=said):
        open_root(own).open(KEYS[1])


def test_codes_of_more_bits_are_refused_when_they_are_read(own: Path) -> None:
    codes = np.full((6, 32, 32), 70000, np.uint32)
    codes[:3] = 1000
    replaced(own, f"{NDRS}/data", codes)
    source = open_root(own).open(KEYS[1])
    np.testing.assert_array_equal(source.frames.read(0, 2), np.full((2, 32, 32), 1000, np.uint16))
    with pytest.raises(DataError, match="codes of 16 bits"):
        source.frames.read(0, 6)


def test_a_stopped_simulation_is_refused(own: Path) -> None:
    with h5py.File(own, "a") as file:
        del file[f"{NDRS}/data"]
        file.create_dataset(f"{NDRS}/data", (6, 32, 32), np.uint16, chunks=(2, 32, 32))[0:2] = 1000
    with pytest.raises(DataError, match="1 of its 3 chunks"):
        open_root(own).open(KEYS[1])


def test_a_damaged_file_is_listed_and_fails(own: Path) -> None:
    own.write_bytes(own.read_bytes()[:5000])
    root = open_root(own.parent)
    assert len(root.visits()) == 2
    with pytest.raises(DataError, match=r"ndr\.h5|visit"):
        root.open(root.visits()[0])


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("sky.xml", "<root>", "no configuration of ExoSim"),
        ("sky.xml", '<!DOCTYPE r [<!ENTITY a "b">]><root>&a;</root>', "entities"),
        ("second.xml", "<root><sky/><payload/></root>", "2 configurations"),
    ],
)
def test_damaged_configurations_are_refused(own: Path, file: str, text: str, said: str) -> None:
    (own.parent / file).write_text(text)
    with pytest.raises(DataError, match=said):
        open_root(own).open(KEYS[1])


def test_other_detectors_of_the_simulator(tmp_path: Path) -> None:
    write_simulation(tmp_path / "9_0", shapes={"Photometer": (8, 10), "Spectrometer": (8, 40), "AIRS-CH0": (16, 40)})
    (tmp_path / "9_0" / "payload.xml").write_text(PAYLOAD_OF_OTHERS)
    root = open_root(tmp_path)
    assert [key.instrument for key in root.visits()] == ["AIRS-CH0-16x40", "Photometer", "Spectrometer"]
    photometer, spectrometer = (root.open(key) for key in root.visits()[1:])
    assert (photometer.instrument.band_um, photometer.instrument.shape) == (pytest.approx(0.7), (8, 10))
    assert spectrometer.instrument.spectral
    assert spectrometer.instrument == root.instrument(root.visits()[2])
    assert photometer.reference.dark[0, 0] == 0.1
    assert photometer.reference.read[0, 0] == 0.0


PAYLOAD_OF_OTHERS = """<root><channel> Photometer <detector><dc_mean unit="ct/s"> 0.1 </dc_mean><read_noise> False </read_noise>
</detector></channel></root>"""
