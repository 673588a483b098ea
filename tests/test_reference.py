from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import xarray as xr

from v50calib.errors import DataError
from v50calib.reference import MAP_NAMES, hash_array, make_reference, reference_from_dataset


@pytest.fixture
def visit() -> xr.Dataset:
    rng = np.random.default_rng(0)
    yx = ("y", "x")
    return xr.Dataset(
        {
            "dark": (yx, rng.random((4, 5))),
            "dead": (yx, rng.random((4, 5)) < 0.2),
            "flat": (yx, rng.random((4, 5)).astype(np.float32)),
            "read": (yx, rng.random((4, 5))),
            "linear_corr": (("order", *yx), rng.random((6, 4, 5))),
        },
        attrs={"adc_offset": -1000, "adc_gain": 0.4369},
    )


def test_values_types_and_hashes(visit: xr.Dataset) -> None:
    reference = reference_from_dataset(visit)
    assert reference.shape == (4, 5)
    assert reference.adc_offset == -1000.0
    assert reference.dead.dtype == np.bool_
    assert all(reference.maps()[n].dtype == np.float64 for n in MAP_NAMES if n != "dead")
    expected = hashlib.sha256(b"<f8(4, 5)" + visit.dark.to_numpy().tobytes()).hexdigest()
    assert reference.hashes["dark"] == expected
    with pytest.raises(FrozenInstanceError):
        reference.adc_gain = 1.0  # type: ignore[misc]


def test_a_hash_sees_value_shape_and_type_but_not_layout() -> None:
    base = np.arange(6.0).reshape(2, 3)
    assert hash_array(base) == hash_array(np.asfortranarray(base)) == hash_array(base.astype(">f8"))
    others = [base + 1, base.reshape(3, 2), base.astype(np.float32)]
    assert len({hash_array(a) for a in [base, *others]}) == 4


def test_an_edited_map_changes_its_hash_only(visit: xr.Dataset) -> None:
    before = reference_from_dataset(visit).hashes
    visit.dark[0, 0] += 1e-9
    after = reference_from_dataset(visit).hashes
    assert [n for n in MAP_NAMES if before[n] != after[n]] == ["dark"]


def test_what_is_missing_is_named(visit: xr.Dataset) -> None:
    with pytest.raises(DataError, match=r"maps \['flat'\] are missing"):
        reference_from_dataset(visit.drop_vars("flat"))
    del visit.attrs["adc_gain"]
    with pytest.raises(DataError, match=r"no attributes \['adc_gain'\]"):
        reference_from_dataset(visit)
    with pytest.raises(DataError, match="are missing"):
        make_reference({}, 0.0, 1.0)
