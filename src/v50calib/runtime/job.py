"""One visit x instrument as tasks: prepare, chunks, finish. Tasks are given keys and paths, never frames."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from v50calib.config.models import RunConfig
from v50calib.config.provenance import product_attrs
from v50calib.engine.constants import VisitConstants
from v50calib.engine.engine import Engine
from v50calib.engine.frames import Frames, windows, with_halo
from v50calib.engine.products import unsaved
from v50calib.engine.result import ChunkResult
from v50calib.engine.said import notes_of as notes_of_stages
from v50calib.engine.said import numbers_of, stage_status, stages_with_numbers
from v50calib.engine.visit import VisitInput, notes_of, star_notes, star_of
from v50calib.io.catalog import open_root, open_source
from v50calib.io.keys import VisitKey
from v50calib.io.source import VisitSource
from v50calib.io.storage.location import locate
from v50calib.qc.stages import full_record
from v50calib.runs.calibrated import PRODUCTS
from v50calib.runs.product import write_product
from v50calib.runs.stop import check as check_stop
from v50calib.runtime.carried import unpack_methods
from v50calib.runtime.debug import save_frames, save_images, wanted_frames, wanted_images
from v50calib.runtime.own_maps import own_maps
from v50calib.schema import Instrument


@dataclass(frozen=True)
class Job:
    """A visit x instrument to calibrate: where it is, where it goes, with which config and how many threads of its own.

    settings: the config as JSON (`packed`). Pickling its sections and building them again costs milliseconds; a text passes
    through a scheduler as it is, and a worker builds the config of it once. lock: token of the run (`runs.lock`), which must still hold
    the run directory when the product is committed. methods: registered ones (`runtime.carried`).
    """

    root: str
    out: str
    key: VisitKey
    settings: str
    threads: int = 1
    lock: str = ""
    methods: bytes = b""

    @property
    def config(self) -> RunConfig:
        """What the visit's instrument gets of the run's config."""
        # before the config is built, which names them
        unpack_methods(self.methods)
        return _unpacked(self.settings, self.key.instrument)

    def chunk_pairs(self, instrument: Instrument) -> int:
        """Pairs of a time chunk: as configured, else the instrument's own."""
        return self.config.runtime.chunk_pairs or instrument.chunk_frames // 2


def packed(config: RunConfig) -> str:
    """A config as the JSON that a Job carries."""
    return json.dumps(config.model_dump(exclude_unset=True))


@lru_cache(maxsize=8)
def _unpacked(settings: str, instrument: str) -> RunConfig:
    return RunConfig.model_validate_json(settings).of(instrument)


@dataclass(frozen=True)
class Done:
    """What a finished job returns to the driver; `seconds` is its wall time."""

    key: VisitKey
    seconds: float
    qc: dict[str, Any]
    reference_hashes: dict[str, str]
    inputs: dict[str, str]


def visit_of(source: VisitSource) -> VisitInput:
    """The engine's view of an opened source."""
    return VisitInput(
        instrument=source.instrument,
        reference=source.reference,
        exposure_s=source.exposure_s,
        time_h=source.time_h,
        wavelength_um=np.atleast_1d(np.asarray(source.wavelength, dtype=np.float64)),
        attrs=dict(source.attrs),
        telemetry=source.telemetry,
        notes=[*star_notes(source.attrs), *notes_of(source.attrs)],
    )


def prepare_job(job: Job) -> VisitConstants:
    """Task: the static constants of a visit."""
    engine, source = Engine(job.config), open_source(job.root, job.key)
    with own_maps(source, job.config.calib):
        engine.check_instrument(source.instrument)
        raw, frames = engine.ordered(visit_of(source), source.frames)
        return engine.prepare(raw, frames.read)


def extent_of_job(job: Job) -> tuple[int, int]:
    """Number of CDS pairs of a visit and of each of its time chunks; reads no frame."""
    source = open_source(job.root, job.key)
    frames = Engine(job.config).ordered(visit_of(source), source.frames)[1]
    return frames.n_frames // 2, job.chunk_pairs(source.instrument)


def chunks_job(job: Job, visit: VisitConstants, ranges: list[tuple[int, int]]) -> list[ChunkResult]:
    """Task: neighbouring time chunks, given as (first, end) in pairs, one after the other, to sums, flags and bins."""
    engine, source = Engine(job.config), open_source(job.root, job.key)
    results = []
    with own_maps(source, job.config.calib):
        _, frames = engine.ordered(visit_of(source), source.frames)
        for start, stop in ranges:
            first, last = with_halo(start, stop, engine.halo, frames.n_frames // 2)
            results.append(engine.run_chunk(visit, frames.read(2 * first, 2 * last), first, (start, stop)))
    return results


def finish_job(job: Job, visit: VisitConstants, parts: list[list[ChunkResult]], inputs: dict[str, str], started: float) -> Done:
    """Task: the series domain, the product and its QC record; the product is written to a staging folder and moved as a whole.

    inputs: identity of the raw visit as it was before its chunks were read.
    """
    results = [result for part in parts for result in part]
    source = open_source(job.root, job.key)
    with own_maps(source, job.config.calib):
        return _finish(job, Engine(job.config), source, visit, results, inputs, started)


def run_job(job: Job) -> Done:
    """Task: a whole visit x instrument in one worker, streaming its chunks."""
    started = time.time()
    # decoding takes the threads that calibrating takes: each holds a stripe of columns besides
    engine, source = Engine(job.config), open_source(job.root, job.key, threads=job.threads)
    with own_maps(source, job.config.calib):
        engine.check_instrument(source.instrument)
        # taken before the frames: a file that changes while it is read counts as changed in the next run
        inputs = open_root(job.root).identity(job.key, source)
        raw, frames = engine.ordered(visit_of(source), source.frames)
        visit = engine.prepare(raw, frames.read)
        results = list(_chunks(engine, frames, visit, job.chunk_pairs(source.instrument), job.threads))
        return _finish(job, engine, source, visit, results, inputs, started)


def _chunks(engine: Engine, frames: Frames, visit: VisitConstants, step: int, threads: int) -> Iterator[ChunkResult]:
    """Chunks of `step` pairs in order of time, by `threads` threads: both decoding and kernels release the GIL.

    The visit is abandoned between two of them if the run is asked to stop.
    """
    n_pairs, halo, whole = frames.n_frames // 2, engine.halo, engine.whole_cube(visit)
    if threads == 1:
        for w in windows(frames, step, halo):
            check_stop()
            yield engine.run_chunk(visit, w.raw, w.first, (w.start, w.stop), whole)
        return

    def chunk(start: int) -> ChunkResult:
        check_stop()
        stop = min(start + step, n_pairs)
        low, high = with_halo(start, stop, halo, n_pairs)
        return engine.run_chunk(visit, frames.read(2 * low, 2 * high), low, (start, stop), whole)

    try:
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(chunk, range(0, n_pairs, step))
    finally:
        frames.release()


def _finish(
    job: Job,
    engine: Engine,
    source: VisitSource,
    visit: VisitConstants,
    results: list[ChunkResult],
    inputs: dict[str, str],
    started: float,
) -> Done:
    attrs, hashes = dict(source.attrs), source.reference.hashes
    series = engine.run_series(visit, results, star_of(attrs))
    ds = engine.dataset(visit, results, series, product_attrs(job.config, attrs, hashes))
    qc = full_record(
        ds, notes_of_stages(visit, series), visit.state.checks, numbers_of(visit, series), stages_with_numbers(job.config)
    )  # fmt: skip
    ds.attrs["qc"] = json.dumps(qc, sort_keys=True)
    ds.attrs["stage_status"] = json.dumps(stage_status(job.config, visit), sort_keys=True)
    if wanted_images(engine) or wanted_frames(engine):
        frames = engine.ordered(visit_of(source), source.frames)[1]
        save_images(locate(job.out), job.key, engine, frames, visit, ds)
        save_frames(locate(job.out), job.key, engine, frames, visit, job.chunk_pairs(source.instrument))
    # after the pictures, which show variables that are not stored, too
    ds = ds.drop_vars(unsaved(job.config), errors="ignore")
    check_stop()
    fingerprint = ds.attrs["config_hash"]
    products = locate(job.out) / PRODUCTS
    write_product(
        products,
        job.key,
        ds,
        config_hash=fingerprint,
        reference_hashes=hashes,
        inputs=inputs,
        lock=job.lock,
        layout=job.config.output.layout,
    )
    # the clock may have been set back meanwhile
    return Done(job.key, max(0.0, time.time() - started), qc, dict(hashes), inputs)
