"""Axes, read noise and linearity that no detector has are refused; star values that none has are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from v50calib.engine.visit import star_notes, star_of
from v50calib.errors import DataError
from v50calib.io.challenge.rowgroup import damaged
from v50calib.io.plausible import check_wavelengths
from v50calib.stages.nonlinearity.stage import check_slope

RIGHT = np.linspace(3.9, 1.9, 20)


@pytest.mark.parametrize(
    ("wavelength", "says"),
    [
        (1e3 * RIGHT, r"1900 to 3900 are no µm \(nm\?\)"),
        (1e-6 * RIGHT, r"are no µm \(m\?\)"),
        (-RIGHT, "are no µm: give µm"),
        (np.full(20, 2.0), "columns 0 and 1 have 2 and 2 µm"),
        (np.where(np.arange(20) == 7, np.nan, RIGHT), "1 of 20 wavelengths are not finite"),
        (np.where(np.arange(20) == 7, 3.8, RIGHT), "neither rise nor fall"),
    ],
    ids=["nm", "m", "negative", "constant", "nan", "unsorted"],
)
def test_wavelengths_that_are_none(wavelength: np.ndarray, says: str) -> None:
    with pytest.raises(DataError, match=says):
        check_wavelengths("cam", wavelength)
    check_wavelengths("cam", RIGHT)


def test_reversed_linearity_coefficients() -> None:
    right = np.array([0.1, 1.0, 1e-7, 1e-12, 0.0, 0.0]).reshape(6, 1, 1)
    check_slope(right, np.zeros((1, 1), bool), "cam")
    with pytest.raises(DataError, match=r"1 is that of e\^4: highest order first\?"):
        check_slope(right[::-1], np.zeros((1, 1), bool), "cam")


@pytest.mark.parametrize(("name", "value"), [("P", 0.0), ("P", -3.0), ("sma", 0.5), ("e", 1.0), ("Ts", 1e300), ("i", 200.0)])
def test_star_values_that_none_has_are_left_out_and_told(name: str, value: float) -> None:
    attrs = {f"star_{name}": value}
    assert star_of(attrs) == {}
    assert [f"{name}={value:g} is left out" in note for note in star_notes(attrs)] == [True]


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    text = str(damaged(tmp_path / "f", PermissionError(13, "Permission denied")))
    assert "permission denied" in text
    assert "truncated" not in text
