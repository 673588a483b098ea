"""A visit whose reads are swapped in every pair fails with the cause and the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from v50calib import calibrate
from v50calib.engine.prepare import _refuse_negative_light
from v50calib.errors import DataError
from v50calib.qc.distrust import GUARD, judge
from v50calib.simulate import simulate_dataset
from v50calib.stages.photometry.mean_frame import MeanFrame


def test_light_that_is_negative_beyond_its_noise_is_refused() -> None:
    ones = np.ones((8, 8))

    def look(cds: float, dark: float = 0.0) -> None:
        # 14 e- a read: 158 e- of all pixels and two reads together
        _refuse_negative_light(MeanFrame(cds * ones, 2 * 14.0**2 * ones, ones, dark * ones), "FGS1")

    look(1e3)
    look(-20.0)
    # a dark that is too large has a word of its own
    look(-1e3, dark=1.2e3)
    # of one pair's noise, and far beyond that of the mean of 400 pairs: a word, and a reason to distrust
    (note,) = _refuse_negative_light(MeanFrame(-10.0 * ones, 2 * 14.0**2 * ones, ones, 0.0 * ones, pairs=400), "FGS1")
    assert "hold -640 e- together, 81 errors below 0: are the reads of the pairs in the wrong order" in note
    assert [reason.key for reason in judge({"notes": [note]}, transit_found=None).reasons] == [GUARD]
    with pytest.raises(DataError, match=r"FGS1: all pixels .* hold -6\.4e\+04 e-, .* wrong order .* put the frames in order"):
        look(-1e3)


def test_swapped_reads_fail_their_visit_by_name(tmp_path: Path) -> None:
    data = simulate_dataset(tmp_path / "data", planets=1, visits=1, frames_fraction=0.002, seed=3)
    (path,) = data.glob("train/*/FGS1_signal_0.parquet")
    table = pq.read_table(path)
    swapped = np.arange(table.num_rows).reshape(-1, 2)[:, ::-1].ravel()
    pq.write_table(table.take(pa.array(swapped)), path)
    options = ["runtime.scheduler=sync", "output.cubes=none", "calib.photometry.instrument.name=FGS1"]
    found = calibrate(data, tmp_path / "run", overrides=options)
    assert len(found.failed) == 1
    lines = [json.loads(line) for line in (tmp_path / "run" / "manifest.jsonl").read_text().splitlines()]
    (failed,) = [line for line in lines if line["state"] == "failed"]
    assert failed["error_type"] == "DataError"
    assert "second reads are below the first" in failed["error"]
