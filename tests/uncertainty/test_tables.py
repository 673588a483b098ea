"""Files of predictions, truth and features: three formats give the same arrays, and each fault is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from v50calib.errors import DataError
from v50calib.uncertainty.tables import (  # fmt: skip
    N_BINS,
    Features,
    Predictions,
    Truth,
    matched,
    read_features,
    read_predictions,
    read_truth,
    write_features,
    write_predictions,
    write_truth,
)


def some(n: int = 4) -> Predictions:
    rng = np.random.default_rng(3)
    return Predictions(tuple(str(34983 + i) for i in range(n)), rng.uniform(0.01, 0.02, (n, N_BINS)), rng.uniform(1e-5, 1e-4, (n, N_BINS)))


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str) -> None:
    given = some()
    write_predictions(tmp_path / f"p{suffix}", given)
    back = read_predictions(tmp_path / f"p{suffix}")
    assert back.ids == given.ids
    np.testing.assert_array_equal(back.mu, given.mu)
    np.testing.assert_array_equal(back.sigma, given.sigma)
    write_truth(tmp_path / f"t{suffix}", Truth(given.ids, given.mu))
    np.testing.assert_array_equal(read_truth(tmp_path / f"t{suffix}").y, given.mu)
    features = Features(given.ids, given.sigma[:, :, None], ("scatter",))
    write_features(tmp_path / "f.npz", features)
    assert read_features(tmp_path / "f.npz").names == ("scatter",)


def test_the_submission_layout(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.csv", some())
    frame = pd.read_csv(tmp_path / "p.csv")
    assert frame.shape == (4, 567)
    assert list(frame.columns[[0, 1, 283, 284, 566]]) == ["planet_id", "wl_1", "wl_283", "sigma_1", "sigma_283"]
    assert frame["planet_id"].dtype.kind == "i"


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    given = some()
    write_predictions(tmp_path / "p.csv", given)
    frame = pd.read_csv(tmp_path / "p.csv")
    frame[frame.columns[::-1]].to_csv(tmp_path / "q.csv", index=False)
    np.testing.assert_array_equal(read_predictions(tmp_path / "q.csv").mu, given.mu)


def nan(f: pd.DataFrame) -> pd.DataFrame:
    f.loc[1, "wl_7"] = np.nan
    return f


def zero_sigma(f: pd.DataFrame) -> pd.DataFrame:
    f.loc[2, "sigma_3"] = 0.0
    return f


def negative_mu(f: pd.DataFrame) -> pd.DataFrame:
    f.loc[2, "wl_3"] = -1e-4
    return f


def ppm(f: pd.DataFrame) -> pd.DataFrame:
    f.loc[2, "wl_3"] = 1.9e9
    return f


def text(f: pd.DataFrame) -> pd.DataFrame:
    f["wl_9"] = "deep"
    return f


SPOILS: list[tuple[Callable[[pd.DataFrame], pd.DataFrame], list[str]]] = [
    (nan, ["wl_7", "34984", "not a finite number"]),
    (zero_sigma, ["sigma_3", "34985", "not above 0"]),
    (negative_mu, ["wl_3", "34985", "negative", "clip"]),
    (ppm, ["wl_3", "34985", "no share of the star's light", "divide ppm by 1e6"]),
    (text, ["wl_9", "expected numbers"]),
    (lambda f: f.drop(columns=["sigma_283"]), ["lacks 1 of the 567 columns", "sigma_283"]),
    (lambda f: f.rename(columns={"planet_id": "id"}), ["planet_id first"]),
    (lambda f: pd.concat([f, f]), ["no planets left of its 8 rows", "line 2", "more than once", "34983"]),
    (lambda f: f.iloc[:0], ["no planets"]),
]


@pytest.mark.parametrize(("spoil", "words"), SPOILS)
def test_bad_predictions_are_refused(tmp_path: Path, spoil: Callable[[pd.DataFrame], pd.DataFrame], words: list[str]) -> None:
    write_predictions(tmp_path / "p.csv", some())
    spoil(pd.read_csv(tmp_path / "p.csv")).to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(DataError) as caught:
        read_predictions(tmp_path / "bad.csv")
    for word in words:
        assert word in str(caught.value)


def test_a_negative_truth_is_refused(tmp_path: Path) -> None:
    y = some().mu
    y[1, 4] = -1e-3
    write_truth(tmp_path / "t.csv", Truth(some().ids, y))
    with pytest.raises(DataError, match=r"wl_5 of planet 34984 is -0\.001; y is negative"):
        read_truth(tmp_path / "t.csv")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_ids_as_floats(tmp_path: Path, suffix: str) -> None:
    """As published star tables have them: the same planets in every format."""
    given = some()
    if suffix == ".npz":
        np.savez(tmp_path / "p.npz", planet_id=np.array([float(i) for i in given.ids]), mu=given.mu, sigma=given.sigma)
    else:
        write_predictions(tmp_path / "p.parquet", given)
        frame = pd.read_parquet(tmp_path / "p.parquet")
        frame["planet_id"] = frame["planet_id"].astype(float)
        frame.to_csv(tmp_path / "p.csv", index=False)
        frame.to_parquet(tmp_path / "p.parquet", index=False)
    back = read_predictions(tmp_path / f"p{suffix}")
    assert back.ids == given.ids
    # and they are not written on
    write_predictions(tmp_path / "q.csv", back)
    assert (tmp_path / "q.csv").read_text().splitlines()[1].startswith("34983,")


def touched(lines: list[str]) -> list[str]:
    """Decimal commas, semicolons, quotes and a row of empty cells."""
    return [*(";".join(f'"{cell}"' for cell in line.replace(".", ",", 10_000).split("|")) for line in lines), ";" * 566]


def test_predictions_that_a_spreadsheet_touched(tmp_path: Path) -> None:
    given = some()
    write_predictions(tmp_path / "p.csv", given)
    lines = [line.replace(",", "|") for line in (tmp_path / "p.csv").read_text().splitlines()]
    (tmp_path / "q.csv").write_text("\r\n".join(touched(lines)), encoding="utf-8-sig")
    back = read_predictions(tmp_path / "q.csv")
    assert (back.ids, back.notes) == (given.ids, ())
    np.testing.assert_array_equal(back.mu, given.mu)
    np.testing.assert_array_equal(back.sigma, given.sigma)


@pytest.mark.parametrize(
    ("planet", "words"),
    [("1.1e+09", "rounded to 2 of its 10 digits"), ("", "there is no planet id"), ("../x", "not valid"), ("34984", "lines 2, 3")],
)
def test_other_planets_go_on(tmp_path: Path, planet: str, words: str) -> None:
    write_predictions(tmp_path / "p.csv", some())
    text = (tmp_path / "p.csv").read_text().replace("\n34983,", f"\n{planet},")
    (tmp_path / "q.csv").write_text(text)
    back = read_predictions(tmp_path / "q.csv")
    assert back.ids == (("34985", "34986") if planet == "34984" else ("34984", "34985", "34986"))
    assert back.mu.shape == back.sigma.shape == (len(back.ids), N_BINS)
    assert f"{tmp_path / 'q.csv'}' line 2 is left out: " in back.notes[0]
    assert words in back.notes[0]


def test_a_word_in_one_row(tmp_path: Path) -> None:
    write_truth(tmp_path / "t.csv", Truth(some().ids, some().mu))
    lines = (tmp_path / "t.csv").read_text().splitlines()
    lines[2] = ",".join([*lines[2].split(",")[:-1], "#N/A"])
    (tmp_path / "t.csv").write_text("\n".join(lines))
    back = read_truth(tmp_path / "t.csv")
    assert back.ids == ("34983", "34985", "34986")
    assert "line 3 is left out: planet 34984: wl_283 is '#N/A', expected numbers" in back.notes[0]


def test_ids_that_a_number_cannot_hold(tmp_path: Path) -> None:
    given = some()
    arrays = {"mu": given.mu, "sigma": given.sigma}
    np.savez(tmp_path / "p.npz", planet_id=np.array([1311275808, 2, 3, 4], np.float32), **arrays)
    with pytest.raises(DataError, match="float32, which has not all digits"):
        read_predictions(tmp_path / "p.npz")
    np.savez(tmp_path / "q.npz", planet_id=np.array([b"7", b"8", b"8", b"9"]), **arrays)
    back = read_predictions(tmp_path / "q.npz")
    assert back.ids == ("7", "9")
    assert "row 2 is left out: planet 8 is named more than once (rows 2, 3)" in back.notes[0]
    np.testing.assert_array_equal(back.mu, given.mu[[0, 3]])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.txt", b"", "the ending says which"),
        ("p.npz", b"PK\x03\x04cut", "cannot be read as an npz"),
        ("p.csv", b"", r"cannot be read as a table of predictions: it is empty \(0 bytes\)"),
        ("p.parquet", b"PAR1", "cannot be read as a table"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_predictions(tmp_path / name)
    with pytest.raises(DataError, match=r"does not exist|ending says which"):
        read_predictions(tmp_path / f"no-{name}")


def test_npz_of_another_shape_or_with_objects(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", planet_id=np.array(["a"]), mu=np.ones((1, 5)), sigma=np.ones((1, 5)))
    with pytest.raises(DataError, match=r"mu has shape \(1, 5\), expected \(1, 283\)"):
        read_predictions(tmp_path / "p.npz")
    np.savez(tmp_path / "q.npz", planet_id=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="npz of plain arrays"):
        read_predictions(tmp_path / "q.npz")
    np.savez(tmp_path / "f.npz", planet_id=np.array(["a"]), features=np.full((1, N_BINS, 1), np.inf))
    with pytest.raises(DataError, match="feature 0 of planet a, channel 1 is inf"):
        read_features(tmp_path / "f.npz")


def test_planets_that_do_not_match() -> None:
    rows, others = matched(("b", "a", "c"), ("a", "b"), "predictions and truth")
    assert (rows.tolist(), others.tolist()) == ([0, 1], [1, 0])
    with pytest.raises(DataError, match="no planet in common"):
        matched(("b",), ("a",), "predictions and truth")
    with pytest.raises(DataError, match="1 planets of predictions are missing in features: c"):
        matched(("b", "a", "c"), ("a", "b"), "predictions and features", all_left=True)
