"""One visit x instrument as tasks: prepare, chunks, finish. Workers get keys and paths, never frames."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from v50calib.config.models import RunConfig
from v50calib.io.catalog import VisitKey
from v50calib.io.identity import identity_of
from v50calib.io.product import committed_products, open_product, write_product
from v50calib.io.source import VisitSource, instrument_at, open_source
from v50calib.pipeline import Pipeline
from v50calib.provenance import product_attrs
from v50calib.qc.metrics import record
from v50calib.runtime import stop
from v50calib.schema import default_chunk_frames
from v50calib.tiles import ChunkResult, FrameConstants, VisitInput, star_of

#: the store of a run directory
PRODUCTS = "calibrated.zarr"
#: pairs in a time chunk where the config does not say: both instruments then span the same time
CHUNK_PAIRS = {"AIRS-CH0": 225, "FGS1": 2700}


@dataclass(frozen=True)
class Job:
    """A visit x instrument to calibrate: where it is, where it goes, with which config."""

    root: str
    out: str
    key: VisitKey
    config: RunConfig

    @property
    def chunk_pairs(self) -> int:
        """Pairs of a time chunk: as configured, the instrument's own, or about 10 MB of frames."""
        known = self.config.runtime.chunk_pairs or CHUNK_PAIRS.get(self.key.instrument)
        return known or default_chunk_frames(instrument_at(self.root, self.key).shape) // 2


@dataclass(frozen=True)
class Done:
    """What a finished job tells the driver."""

    key: VisitKey
    seconds: float
    qc: dict[str, Any]
    reference_hashes: dict[str, str]
    inputs: dict[str, str]


def visit_of(source: VisitSource) -> VisitInput:
    """The pipeline's view of an opened source."""
    return VisitInput(
        instrument=source.instrument,
        reference=source.reference,
        exposure_s=source.exposure_s,
        time_h=source.time_h,
        wavelength_um=np.atleast_1d(np.asarray(source.wavelength, dtype=np.float64)),
        attrs=dict(source.attrs),
        telemetry=source.telemetry,
    )


def prepare_job(job: Job) -> FrameConstants:
    """Task: the static constants of a visit."""
    pipeline, source = Pipeline(job.config), open_source(job.root, job.key)
    pipeline.check_instrument(source.instrument)
    return pipeline.prepare(visit_of(source), source.frames.read)


def chunk_job(job: Job, frame: FrameConstants, start_pair: int, stop_pair: int) -> ChunkResult:
    """Task: one time chunk of raw frames to sums, flags and bins."""
    source = open_source(job.root, job.key)
    return Pipeline(job.config).run_chunk(frame, source.frames.read(2 * start_pair, 2 * stop_pair), start_pair)


def finish_job(job: Job, frame: FrameConstants, results: list[ChunkResult], inputs: dict[str, str], started: float) -> Done:
    """Task: the series domain, the product, its QC record; written to a staging place and moved as a whole.

    inputs: identity of the raw visit as it was before its chunks were read.
    """
    return _finish(job, Pipeline(job.config), open_source(job.root, job.key), frame, results, inputs, started)


def run_job(job: Job) -> Done:
    """Task: a whole visit x instrument in one worker, streaming its chunks."""
    started = time.time()
    pipeline, source = Pipeline(job.config), open_source(job.root, job.key)
    pipeline.check_instrument(source.instrument)
    # taken before the frames: a file that changes while it is read is found changed by the next run
    inputs = identity_of(job.root, source)
    frame = pipeline.prepare(visit_of(source), source.frames.read)
    results = list(_chunks(job, pipeline, source, frame))
    return _finish(job, pipeline, source, frame, results, inputs, started)


def _chunks(job: Job, pipeline: Pipeline, source: VisitSource, frame: FrameConstants) -> Iterator[ChunkResult]:
    """Chunks of a visit in order of time; left between two of them where the run is asked to stop.

    Without a Dask scheduler around it (`sync`) the visit may use runtime.threads_per_worker threads of its own; both
    decoding and kernels release the GIL.
    """
    threads = job.config.runtime.threads_per_worker if job.config.runtime.scheduler == "sync" else 1
    if threads == 1:
        for start, block in source.frames.blocks(2 * job.chunk_pairs):
            stop.check()
            yield pipeline.run_chunk(frame, block, start // 2)
        return
    ranges = [(i, min(i + 2 * job.chunk_pairs, source.frames.n_frames)) for i in range(0, source.frames.n_frames, 2 * job.chunk_pairs)]

    def chunk(frames: tuple[int, int]) -> ChunkResult:
        stop.check()
        return pipeline.run_chunk(frame, source.frames.read(*frames), frames[0] // 2)

    try:
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(chunk, ranges)
    finally:
        source.frames.release()


def _finish(
    job: Job,
    pipeline: Pipeline,
    source: VisitSource,
    frame: FrameConstants,
    results: list[ChunkResult],
    inputs: dict[str, str],
    started: float,
) -> Done:
    attrs, hashes = dict(source.attrs), source.reference.hashes
    series = pipeline.run_series(frame, results, star_of(attrs))
    ds = pipeline.dataset(frame, results, series, product_attrs(job.config, attrs, hashes))
    notes = list(frame.state.notes) + (list(series.normalized.notes) if series is not None and series.normalized else [])
    qc = record(ds, notes)
    ds.attrs["qc"] = json.dumps(qc, sort_keys=True)
    ds.attrs["stage_status"] = json.dumps(stage_status(pipeline, frame), sort_keys=True)
    stop.check()
    fingerprint = ds.attrs["config_hash"]
    write_product(Path(job.out) / PRODUCTS, job.key, ds, config_hash=fingerprint, reference_hashes=hashes, inputs=inputs)
    # the clock may have been set meanwhile
    return Done(job.key, max(0.0, time.time() - started), qc, dict(hashes), inputs)


def stage_status(pipeline: Pipeline, frame: FrameConstants) -> dict[str, str]:
    """What each stage did to this visit: the method used, `off` where it was disabled."""
    calib = pipeline.config.calib
    status = {name: "off" for name in type(calib).model_fields if name != "top_level_calib"}
    for stage in pipeline.stages:
        status[stage.name] = "done"
    if frame.photometry is not None:
        status["photometry"] = frame.photometry.method
    for name in ("trace", "phase"):
        if getattr(calib, name).enabled:
            status[name] = "done"
    return status


def open_calibrated(run_dir: str | Path) -> xr.DataTree:
    """The committed products of a run as one tree: /<planet_id>/<visit>/<instrument>, lazily opened."""
    root = Path(run_dir) / PRODUCTS
    groups = {f"/{name}": open_product(path) for name, path in committed_products(root)}
    return xr.DataTree.from_dict(groups)
