"""Model files: what is saved is loaded, without pickle; anything else is refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.uncertainty.test_simple import AFFINE, PER_BIN, tables
from tests.uncertainty.worlds import make

from v50calib.errors import DataError
from v50calib.uncertainty.files import load_model, save_model
from v50calib.uncertainty.fit import fit
from v50calib.uncertainty.model import apply
from v50calib.uncertainty.options import TopLevelCalib


@pytest.mark.parametrize(("options", "with_features"), [(PER_BIN, False), (AFFINE, False), (AFFINE, True)])
def test_a_saved_model_gives_the_same_numbers(tmp_path: Path, options: TopLevelCalib, with_features: bool) -> None:
    predictions, truth, features = tables(make("features", 60, 0))
    given = features if with_features else None
    model = fit(predictions, truth, options, given)
    save_model(tmp_path / "m.npz", model)
    first, second = (apply(m, predictions, given) for m in (model, load_model(tmp_path / "m.npz")))
    np.testing.assert_array_equal(first.predictions.sigma, second.predictions.sigma)
    np.testing.assert_array_equal(first.predictions.mu, second.predictions.mu)
    assert first.bands is not None
    assert second.bands is not None
    np.testing.assert_array_equal(first.bands.high, second.bands.high)
    with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
        assert not any(file[name].dtype.hasobject for name in file.files)


def changed(path: Path, **meta: Any) -> None:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    content = json.loads(str(arrays.pop("meta")))
    np.savez(path, meta=np.array(json.dumps(content | meta)), **arrays)


def test_other_files_are_refused(tmp_path: Path) -> None:
    predictions, truth, _ = tables(make("gaussian", 20, 0))
    path = tmp_path / "m.npz"
    save_model(path, fit(predictions, truth, PER_BIN))
    changed(path, version=99)
    with pytest.raises(DataError, match="version 99, this program reads 1"):
        load_model(path)
    changed(path, version=1, scale=[{"weight": 1.0, "smooth_bins": 1, "options": None}])
    with pytest.raises(DataError, match="damaged"):
        load_model(path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(DataError, match="no model of v50calib"):
        load_model(path)
    path.write_bytes(b"PK")
    with pytest.raises(DataError, match="cannot be read"):
        load_model(path)
    np.save(tmp_path / "n.npy", np.zeros(3))
    with pytest.raises(DataError, match="cannot be read"):
        load_model(tmp_path / "n.npy")
    with pytest.raises(DataError, match="does not exist"):
        load_model(tmp_path / "none.npz")
    with pytest.raises(DataError, match=r"must end in \.npz"):
        save_model(tmp_path / "m.pkl", fit(predictions, truth, PER_BIN))
