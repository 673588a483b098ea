"""Files, columns, dtypes and tables against the real sample's; both layouts; refusals."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from v50calib.errors import ConfigError, DataError, StoreError
from v50calib.simulate import read_truth, simulate_dataset

TINY = 0.004
#: two AIRS pairs
SHORTEST = 0.0004


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sim") / "data"
    return simulate_dataset(out, planets=2, visits=(1, 2), frames_fraction=TINY, seed=5)


def planet_folders(root: Path, split: str = "train") -> list[Path]:
    return sorted(p for p in (root / split).iterdir() if p.is_dir())


def test_one_visit_and_two_visits(dataset: Path) -> None:
    truth = read_truth(dataset)
    for planet, visits in zip(truth["planets"], (1, 2), strict=True):
        folder = dataset / "train" / str(planet["planet_id"])
        names = {p.name for p in folder.iterdir()}
        expected = {f"{i}_signal_{v}.parquet" for i in ("AIRS-CH0", "FGS1") for v in range(visits)}
        expected |= {f"{i}_calibration_{v}" for i in ("AIRS-CH0", "FGS1") for v in range(visits)}
        assert names == expected
        assert len(planet["visits"]) == visits


def signal_pages(folder: Path) -> set[str]:
    """Encodings of the pages of numbers in the signal files."""
    found: set[str] = set()
    for path in folder.rglob("*_signal_*.parquet"):
        group = pq.ParquetFile(path).metadata.row_group(0)
        found |= {group.column(i).encodings for i in (0, group.num_columns - 1)}
    return {one for encodings in found for one in encodings} - {"RLE"}


def test_frames_are_encoded_as_the_challenge_s_are(dataset: Path, tmp_path: Path) -> None:
    """Integers by dictionary, as Polars writes them (the dictionary itself is a plain page); the numbers are the same."""
    assert signal_pages(dataset) == {"PLAIN", "RLE_DICTIONARY"}
    one = simulate_dataset(tmp_path / "one", planets=1, frames_fraction=SHORTEST, seed=5)
    plain = simulate_dataset(tmp_path / "plain", planets=1, frames_fraction=SHORTEST, seed=5, encoding="plain")
    assert signal_pages(plain) == {"PLAIN"}
    for path in sorted(one.rglob("*.parquet")):
        assert pq.read_table(path).equals(pq.read_table(plain / path.relative_to(one)))
    with pytest.raises(ConfigError, match="encoding 'polars' does not exist"):
        simulate_dataset(tmp_path / "none", planets=1, encoding="polars")


def test_parquet_files_look_like_the_real_ones(dataset: Path, sample_root: Path) -> None:
    real = sample_root / "train" / "342072318"
    folder = dataset / "train" / str(read_truth(dataset)["planets"][0]["planet_id"])
    paths = sorted(folder.rglob("*.parquet"))
    assert len(paths) == 12
    for path in paths:
        ours, theirs = pq.ParquetFile(path), pq.ParquetFile(real / path.relative_to(folder))
        assert ours.schema_arrow.names == theirs.schema_arrow.names, path.name
        assert ours.schema_arrow.types == theirs.schema_arrow.types, path.name
        assert ours.metadata.num_row_groups == 1
        assert ours.metadata.row_group(0).column(0).compression == "ZSTD"
        if "signal" not in path.name:
            assert ours.metadata.num_rows == theirs.metadata.num_rows, path.name


def test_tables_look_like_the_real_ones(dataset: Path, sample_root: Path, tmp_path: Path) -> None:
    test = simulate_dataset(tmp_path / "t", planets=1, frames_fraction=SHORTEST, split="test")
    for root, name in (
        (dataset, "adc_info.csv"),
        (dataset, "wavelengths.csv"),
        (dataset, "train_star_info.csv"),
        (test, "test_star_info.csv"),
        (test, "sample_submission.csv"),
    ):
        with (sample_root / name).open() as real, (root / name).open() as ours:
            assert ours.readline().strip().split(",") == real.readline().strip().split(","), name
    assert rows(dataset / "adc_info.csv") == rows(sample_root / "adc_info.csv")
    assert rows(test / "test_star_info.csv")[0]["planet_id"].endswith(".0")
    assert not (test / "train.csv").exists()


def test_axes_equal_the_real_ones_at_full_length(sample_root: Path) -> None:
    from v50calib.simulate.axes import airs_wavelength, channel_wavelength, time_axis

    table = pq.read_table(sample_root / "axis_info.parquet")
    real = [table.column(n).drop_null().to_numpy() for n in range(4)]
    np.testing.assert_allclose(time_axis("AIRS-CH0", 1.0).stamps_h, real[0], atol=1e-9)
    np.testing.assert_allclose(airs_wavelength(), real[1], atol=1e-6)
    np.testing.assert_allclose(time_axis("FGS1", 1.0).stamps_h, real[3], atol=1e-9)
    channels = np.array(list(map(float, rows(sample_root / "wavelengths.csv")[0].values())))
    np.testing.assert_allclose(channel_wavelength(), channels, atol=1e-6)


def test_axis_file_and_channels_of_a_short_visit(dataset: Path) -> None:
    table = pq.read_table(dataset / "axis_info.parquet").to_pandas()
    airs = table["AIRS-CH0-axis0-h"].dropna().to_numpy()
    fgs1 = table["FGS1-axis0-h"].dropna().to_numpy()
    assert (airs.size, fgs1.size, len(table)) == (44, 528, 528)
    np.testing.assert_allclose(np.diff(airs * 3600)[:2], [0.1, 27000 / 22 - 0.1], rtol=1e-9)
    assert airs[-1] > 7.0  # the short visit still lasts 7.5 h
    np.testing.assert_allclose(table["AIRS-CH0-integration_time"].dropna().to_numpy()[:4], [0.1, 4.5, 0.1, 4.5])
    wavelength = table["AIRS-CH0-axis2-um"].dropna().to_numpy()
    channels = np.array(list(map(float, rows(dataset / "wavelengths.csv")[0].values())))
    assert channels[0] == 0.7
    np.testing.assert_array_equal(channels[1:], wavelength[39:321][::-1])
    for folder in planet_folders(dataset):
        assert pq.ParquetFile(folder / "AIRS-CH0_signal_0.parquet").metadata.num_rows == 44
        assert pq.ParquetFile(folder / "FGS1_signal_0.parquet").metadata.num_rows == 528


def test_truth_agrees_with_the_tables(dataset: Path) -> None:
    truth = read_truth(dataset)
    labels, stars = rows(dataset / "train.csv"), rows(dataset / "train_star_info.csv")
    for planet, label, star in zip(truth["planets"], labels, stars, strict=True):
        assert int(label["planet_id"]) == int(star["planet_id"]) == planet["planet_id"]
        assert [float(v) for v in list(label.values())[1:]] == planet["depth"]
        for name in ("Rs", "Ms", "Ts", "Mp", "sma"):
            ratio = float(star[name]) / planet["star"][name]
            assert 0.9 < ratio < 1.1
            assert ratio != 1.0
        assert float(star["i"]) <= 90.0
        for visit in planet["visits"]:
            assert 3.25 <= visit["t0_h"] <= 4.25
            airs = visit["instruments"]["AIRS-CH0"]
            assert min(planet["depth"][1:]) <= airs["white_depth"] <= max(planet["depth"][1:])
            assert visit["instruments"]["FGS1"]["white_depth"] == planet["depth"][0]


def test_layout_2024(tmp_path: Path) -> None:
    root = simulate_dataset(tmp_path / "d", planets=2, frames_fraction=SHORTEST, layout="2024")
    assert {p.name for p in root.iterdir()} == {
        "axis_info.parquet",
        "train",
        "train_adc_info.csv",
        "train_labels.csv",
        "truth.json",
        "wavelengths.csv",
    }
    names = {p.name for p in planet_folders(root)[0].iterdir()}
    assert names == {"AIRS-CH0_signal.parquet", "AIRS-CH0_calibration", "FGS1_signal.parquet", "FGS1_calibration"}
    table = rows(root / "train_adc_info.csv")
    assert list(table[0]) == [
        "planet_id",
        "FGS1_adc_offset",
        "FGS1_adc_gain",
        "AIRS-CH0_adc_offset",
        "AIRS-CH0_adc_gain",
        "star",
    ]
    assert table[0]["AIRS-CH0_adc_gain"] != table[1]["AIRS-CH0_adc_gain"]
    with pytest.raises(ConfigError, match="2024 layout has one visit"):
        simulate_dataset(tmp_path / "e", visits=2, layout="2024")


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    simulate_dataset(tmp_path / "d", planets=1, frames_fraction=SHORTEST, progress=lambda _, *n: seen.append(n))
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames_fraction": 0.0}, "frames_fraction is 0.0"),
        ({"frames_fraction": 1.5}, "use 0 < F <= 1"),
        ({"planets": 0}, "planets is 0"),
        ({"visits": []}, "1 or more"),
        ({"visits": (1, 0)}, "1 or more"),
        ({"workers": 0}, "workers is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"layout": "2023"}, "use '2025' or '2024'"),
        ({"split": "valid"}, "use 'train' or 'test'"),
        ({"depth": 0.5}, "depth is 0.5"),
        ({"dead_fraction": 0.6}, "good pixels"),
        ({"cosmic_rays": -1e-9}, "cosmic_rays is -1e-09"),
        ({"brightness": 6.0}, "use 0-5"),
    ],
)
def test_values_that_cannot_be_simulated_leave_nothing(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate_dataset(tmp_path / "d", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "precious.txt").write_text("x")
    with pytest.raises(StoreError, match="not an empty folder"):
        simulate_dataset(tmp_path / "d", planets=1, frames_fraction=SHORTEST)
    assert [p.name for p in tmp_path.rglob("*")] == ["d", "precious.txt"]


def test_a_failure_leaves_no_half_written_dataset(tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    with pytest.raises(StoreError, match="disk full"):
        simulate_dataset(tmp_path / "d", planets=1, frames_fraction=SHORTEST, progress=fail)
    assert list(tmp_path.iterdir()) == []


def test_truth_of_a_real_or_unknown_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only simulated datasets"):
        read_truth(tmp_path)
    (tmp_path / "truth.json").write_text(json.dumps({"version": 99}))
    with pytest.raises(DataError, match="version 99"):
        read_truth(tmp_path)
