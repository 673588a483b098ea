"""asv suite: time_* and peakmem_* of kernels, stages, pipeline, ingest and batch.

    cd benchmarks && asv run --python=same --quick

V50CALIB_BENCH_FRACTION (default 0.05) sets the length of the simulated visit; 1.0 is a full one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

FRACTION = float(os.environ.get("V50CALIB_BENCH_FRACTION", "0.05"))
INSTRUMENTS = ("AIRS-CH0", "FGS1")


def _root() -> Path:
    """Folder with a simulated dataset `data` and its store `raw.zarr`, made once per machine and fraction."""
    from v50calib.io import ingest
    from v50calib.simulate import simulate_dataset

    root = Path(tempfile.gettempdir()) / f"v50calib-bench-{FRACTION}"
    if not (root / "data").exists():
        simulate_dataset(root / "data", planets=1, frames_fraction=FRACTION, seed=3)
    ingest(root / "data", root / "raw.zarr")
    return root


class Kernels:
    """The compiled kernels on one block of codes of each detector."""

    params = INSTRUMENTS
    param_names = ("instrument",)

    def setup(self, instrument: str) -> None:
        ny, nx = (32, 356) if instrument == "AIRS-CH0" else (4, 256)
        rng = np.random.default_rng(1)
        self.raw = rng.integers(300, 27000, (450, ny, nx)).astype(np.uint16)
        self.coef, self.dark = rng.random((6, ny, nx)) * 1e-6, np.zeros((ny, nx))
        self.weights = rng.random((3, ny, nx))
        self.first, self.last = np.zeros(3, np.int64), np.full(3, ny)
        self.bins = np.arange(225) // 30
        self.columns, self.totals, self.binned = np.zeros((225, 2, nx)), np.zeros((225, 1)), np.zeros((8, ny, nx))
        self.out = np.empty((225, ny * nx))
        self.time_extract_pairs(instrument)
        self.time_cds_polynomial(instrument)

    def time_extract_pairs(self, instrument: str) -> None:
        from v50calib.kernels.fused import extract_pairs, rounding_offset

        extract_pairs(
            self.raw, self.coef, self.dark, self.weights, self.first, self.last, self.bins, self.columns, self.totals, self.binned,
            rounding_offset(2.0**-30),
        )  # fmt: skip

    def time_cds_polynomial(self, instrument: str) -> None:
        from v50calib.kernels.fused import cds_polynomial

        cds_polynomial(self.raw.reshape(450, -1), self.coef.reshape(6, -1), self.dark.ravel(), self.out)


class Pipelines:
    """The frame domain, the series domain and single stages of one visit held in memory."""

    params = INSTRUMENTS
    param_names = ("instrument",)

    def setup(self, instrument: str) -> None:
        from v50calib import Pipeline, open_visit
        from v50calib.engine.visit import star_of, visit_input

        root = _root()
        planet = min(p.name for p in (root / "data" / "train").iterdir())
        self.ds = open_visit(root / "raw.zarr", planet, 0, instrument)
        self.pipeline, self.star = Pipeline.from_profile("calib/nominal"), star_of(self.ds.attrs)
        self.raw = self.ds["raw_frames"].to_numpy()
        self.visit = visit_input(self.ds)
        self.frame = self.pipeline.engine.prepare(self.visit, lambda a, b: self.raw[a:b])
        self.results = [self.pipeline.engine.run_chunk(self.frame, self.raw, 0)]
        self.series = self.pipeline.engine.run_series(self.frame, self.results, self.star)

    def time_prepare(self, instrument: str) -> None:
        self.pipeline.engine.prepare(self.visit, lambda a, b: self.raw[a:b])

    def time_frame_domain(self, instrument: str) -> None:
        self.pipeline.engine.run_chunk(self.frame, self.raw, 0)

    def time_series_domain(self, instrument: str) -> None:
        self.pipeline.engine.run_series(self.frame, self.results, self.star)

    def time_build_lazy(self, instrument: str) -> None:
        self.pipeline(self.ds)

    def time_lazy_compute(self, instrument: str) -> None:
        self.pipeline(self.ds)["white_depth"].compute()

    def time_stage_by_stage_cds(self, instrument: str) -> None:
        self.pipeline.until("cds")(self.ds)["cds_corrected"].compute()


class Batch:
    """ingest and calibrate of one visit, both instruments, all products written."""

    timeout = 600

    def setup(self) -> None:
        self.root = _root()
        self.out = Path(tempfile.mkdtemp())

    def teardown(self) -> None:
        shutil.rmtree(self.out, ignore_errors=True)

    def _calibrate(self, root: Path, profile: str) -> None:
        from v50calib import calibrate

        shutil.rmtree(self.out / "run", ignore_errors=True)
        calibrate(root, self.out / "run", profile=profile, overrides=["runtime.scheduler=sync"])

    def time_nominal_from_store(self) -> None:
        self._calibrate(self.root / "raw.zarr", "calib/nominal")

    def time_nominal_from_parquet(self) -> None:
        self._calibrate(self.root / "data", "calib/nominal")

    def time_fast_from_store(self) -> None:
        self._calibrate(self.root / "raw.zarr", "calib/fast")

    def peakmem_nominal_from_store(self) -> None:
        self._calibrate(self.root / "raw.zarr", "calib/nominal")

    def peakmem_nominal_from_parquet(self) -> None:
        self._calibrate(self.root / "data", "calib/nominal")

    def time_ingest(self) -> None:
        from v50calib.io import ingest

        shutil.rmtree(self.out / "raw.zarr", ignore_errors=True)
        ingest(self.root / "data", self.out / "raw.zarr")
