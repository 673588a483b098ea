"""What a planet's fit takes from the products of its visits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from v50calib import calibrate
from v50calib.runtime.observations import observation


def test_products_of_an_older_version_are_fitted(dataset: Path, tmp_path: Path) -> None:
    """Without fit_shift_noise, as they were written: the planet's fit takes them, its channels share no noise of a shift."""
    out = tmp_path / "run"
    calibrate(dataset, out, overrides=["runtime.scheduler=sync", "output.cubes=none"])
    (path,) = list(out.glob("calibrated.zarr/*/0/AIRS-CH0"))[:1]
    whole = observation(path)
    assert whole is not None
    assert whole.given.shift_noise is not None
    assert (whole.given.shift_noise != 0).any()
    shutil.rmtree(path / "fit_shift_noise")
    # nor had a group its arrays' metadata
    group = json.loads((path / "zarr.json").read_text())
    del group["consolidated_metadata"]
    (path / "zarr.json").write_text(json.dumps(group))
    older = observation(path)
    assert older is not None
    assert older.given.shift_noise is None
    np.testing.assert_array_equal(older.given.flux, whole.given.flux)
