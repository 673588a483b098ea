"""Structured spectra, and a user's own: what the file says is what the frames carry; refusals."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from v50calib.errors import ConfigError, DataError
from v50calib.simulate import InstrumentVisit, SimConfig, make_scene, read_truth, simulate_dataset, simulate_visit
from v50calib.simulate.axes import channel_wavelength
from v50calib.simulate.planet import draw_planet
from v50calib.simulate.spectra import read_spectra

Inverse = Callable[[InstrumentVisit], np.ndarray]
SHORTEST = 0.0004
HEADER = ["planet_id", *(f"wl_{n}" for n in range(1, 284))]


def write(path: Path, rows: list[list[object]], header: list[str] = HEADER) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Two planets: a staircase about 2 %, and a flat spectrum."""
    steps = 0.02 + 0.001 * (np.arange(283) // 20 % 2)
    return write(tmp_path / "own.csv", [["900000001.0", *steps], [77, *[0.01] * 283]])


def test_structured_spectra_have_bands_of_a_few_hundred_ppm() -> None:
    planets = [draw_planet(SimConfig(structured_spectrum=True), n).depth[1:] for n in range(100)]
    smooth = [draw_planet(SimConfig(), n).depth[1:] for n in range(100)]
    rms = np.array([d.std() for d in planets]) * 1e6
    assert 150 < np.median(rms) < 450
    assert rms.max() < 485
    np.testing.assert_allclose([d.mean() for d in planets], [d.mean() for d in smooth], rtol=0.02)
    # structure from channel to channel: several times that of a smooth spectrum of the same rms
    rough = [np.median([np.abs(np.diff(d)).std() / d.std() for d in those]) for those in (planets, smooth)]
    assert rough[0] > 3 * rough[1]
    # a water band stands out of the continuum beside it on average
    wavelength, mean = channel_wavelength()[1:], np.mean([(d - d.mean()) / d.std() for d in planets], axis=0)
    assert mean[np.abs(wavelength - 2.68) < 0.05].mean() > mean[np.abs(wavelength - 2.15) < 0.05].mean() + 1


def test_the_file_s_depths_come_back_in_tables_and_light(own: Path, invert: Inverse, still: dict[str, object], tmp_path: Path) -> None:
    root = simulate_dataset(tmp_path / "d", planets=2, frames_fraction=SHORTEST, spectra=str(own))
    with (root / "train.csv").open(encoding="utf-8") as stream:
        table = list(csv.reader(stream))[1:]
    assert [int(row[0]) for row in table] == [900000001, 77]
    expected = np.array([depth for _, depth in read_spectra(own)])
    np.testing.assert_array_equal([[float(v) for v in row[1:]] for row in table], expected)
    assert [p["depth"] for p in read_truth(root)["planets"]] == expected.tolist()
    assert (root / "train" / "900000001").is_dir()

    config = SimConfig(
        spectra=str(own), limb_darkening=False, t0_h=3.75, background_e_s=(0.0, 0.0), dead_fraction=0.0, dither=True,
        **{**still, "transit": True, "frames_fraction": 0.01},  # type: ignore[arg-type]
    )  # fmt: skip
    data = simulate_visit(make_scene(config), ["AIRS-CH0"]).instruments["AIRS-CH0"]
    columns = (invert(data) / data.maps.flat)[:, 8:24].sum(axis=1)
    middle, outside = np.abs(data.axis.pair_h - 3.75) < 0.4, np.abs(data.axis.pair_h - 3.75) > 2.9
    depth = (1 - columns[middle].mean(axis=0) / columns[outside].mean(axis=0))[39:321][::-1]
    # dithered rounding of 16 rows: up to 6 e- of 5-170 ke-, averaged over 6 and more pairs
    np.testing.assert_allclose(depth, expected[0, 1:], atol=1.5e-3)
    assert abs(np.mean(depth - expected[0, 1:])) < 5e-5
    assert np.corrcoef(depth, expected[0, 1:])[0, 1] > 0.8


def test_fewer_planets_than_asked_for(own: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds 2: ask for at most 2"):
        simulate_dataset(tmp_path / "d", planets=3, frames_fraction=SHORTEST, spectra=str(own))
    assert not (tmp_path / "d").exists()
    with pytest.raises(ConfigError, match="planet number 6 was asked for"):
        make_scene(SimConfig(spectra=str(own)), index=5)


GOOD: list[object] = [1, *[0.01] * 283]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([GOOD], HEADER[:-1], "lacks wl_283"),
        ([GOOD], ["id", *HEADER[1:]], "lacks planet_id and has id"),
        ([GOOD], [HEADER[0], *HEADER[:0:-1]], "another order"),
        ([], HEADER, "no planet"),
        ([GOOD[:-1]], HEADER, "line 2 has 283 values"),
        ([GOOD, [2, *[0.01] * 282, "nan"]], HEADER, "line 3: wl_283 is nan"),
        ([[2, 0.3, *[0.01] * 282]], HEADER, "wl_1 is 0.3"),
        ([[2, 0.01, -1e-4, *[0.01] * 281]], HEADER, "wl_2 is -0.0001"),
        ([[2, *[14689.0] * 283]], HEADER, "0 <= depth < 0.25"),
        ([[2, "deep", *[0.01] * 282]], HEADER, "must be numbers"),
        ([["1.5", *[0.01] * 283]], HEADER, "planet_id is 1.5"),
        ([GOOD, GOOD], HEADER, "planet 1 twice"),
    ],
)
def test_damaged_files_are_refused_with_their_line(tmp_path: Path, rows: list[list[object]], header: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_spectra(write(tmp_path / "own.csv", rows, header))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_spectra(tmp_path)
    (tmp_path / "empty.csv").touch()
    with pytest.raises(DataError, match="is empty"):
        read_spectra(tmp_path / "empty.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="cannot be read"):
        read_spectra(tmp_path / "binary.csv")
