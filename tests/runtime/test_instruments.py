"""Keys of one instrument in a run: batch and lazy agree, and a key of one instrument leaves the other's products."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from v50calib import Pipeline, calibrate, open_calibrated, open_visit, to_arrays
from v50calib.config import load
from v50calib.errors import ConfigError
from v50calib.runs.verify import verify
from v50calib.runtime.batch import plan
from v50calib.simulate import simulate_dataset

OWN = ["fgs1.photometry.photometry.method=psf", "airs.photometry.optimal.window.half_height_px=7"]
SYNC = ["runtime.scheduler=sync", "output.cubes=none"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_dataset(tmp_path_factory.mktemp("sim") / "data", planets=1, frames_fraction=0.02, seed=5)


def test_each_instrument_is_calibrated_with_its_own_keys(data: Path, tmp_path: Path) -> None:
    run = calibrate(data, tmp_path / "run", "calib/nominal", [*SYNC, *OWN])
    assert (run.count("done"), len(run.failed)) == (2, 0)
    planet = next((data / "train").iterdir()).name
    pipeline = Pipeline.from_profile("calib/nominal", overrides=[*SYNC, *OWN])
    tree = open_calibrated(tmp_path / "run")
    for name, method in (("FGS1", "psf"), ("AIRS-CH0", "optimal")):
        batch = tree[f"/{planet}/0/{name}"].to_dataset().compute()
        assert json.loads(batch.attrs["stage_status"])["photometry"] == method
        lazy = pipeline(open_visit(data, planet, 0, name)).compute()
        for variable in lazy.data_vars:
            np.testing.assert_array_equal(batch[variable], lazy[variable], err_msg=str(variable))
    configs = {name: json.loads(tree[f"/{planet}/0/{name}"].attrs["config"])["calib"]["photometry"] for name in ("FGS1", "AIRS-CH0")}
    assert [configs[name]["photometry"]["method"] for name in configs] == ["psf", "auto"]
    assert [configs[name]["optimal"]["window"]["half_height_px"] for name in configs] == [8, 7]
    # the same as a run of that instrument alone with the keys in calib
    alone = Pipeline.from_profile("calib/nominal", [*SYNC, "calib.photometry.photometry.method=psf", "calib.trace.instrument.name=FGS1"])
    expected = alone(open_visit(data, planet, 0, "FGS1")).compute()
    np.testing.assert_array_equal(tree[f"/{planet}/0/FGS1"]["photometry"], expected["photometry"])
    assert verify(tmp_path / "run").ok
    assert len(to_arrays(tmp_path / "run", n_bins=20).ids) == 1


def test_a_key_of_airs_alone_redoes_airs_alone(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    calibrate(data, out, "calib/fast", SYNC)
    changed = load("calib/fast", [*SYNC, "airs.phase.binning.nbins=33"])
    with pytest.raises(Exception, match=r"airs.phase.binning.nbins \(not in it → 33\)"):
        calibrate(data, out, config=changed)
    assert {d.job.key.instrument: d.action for d in plan(data, out, changed, update=True)} == {"AIRS-CH0": "do", "FGS1": "skip"}
    again = calibrate(data, out, config=changed, update=True)
    assert (again.count("done"), again.count("skipped")) == (1, 1)
    assert calibrate(data, out, config=changed).count("skipped") == 2
    assert verify(out).ok
    sizes = {leaf.path.split("/")[-1]: leaf.to_dataset().sizes["phase_bin"] for leaf in open_calibrated(out).leaves}
    assert sizes["AIRS-CH0"] == 33 != sizes["FGS1"]


def test_keys_of_an_instrument_that_the_dataset_lacks_are_refused(data: Path, tmp_path: Path) -> None:
    config = load("calib/fast", [*SYNC, "instruments.FGS2.flat.enabled=false"])
    with pytest.raises(ConfigError, match=r"instruments.FGS2 has keys for an instrument that the dataset lacks: .* AIRS-CH0, FGS1"):
        calibrate(data, tmp_path / "run", config=config)


def test_an_instrument_without_light_curves_leaves_the_other_ones_fit(data: Path, tmp_path: Path) -> None:
    off = ["fgs1.photometry.enabled=false", "fgs1.trace.enabled=false", "fgs1.phase.enabled=false"]
    run = calibrate(data, tmp_path / "run", "calib/nominal", [*SYNC, *off])
    assert (run.count("done"), len(run.failed)) == (2, 0)
    kept = {leaf.path.split("/")[-1]: "photometry" in leaf.to_dataset() for leaf in open_calibrated(tmp_path / "run").leaves}
    assert kept == {"AIRS-CH0": True, "FGS1": False}
