"""What a run will write, told from shapes alone: before anything is read or measured (`runtime.forecast` measures)."""

from __future__ import annotations

from collections.abc import Sequence

from v50calib.engine.engine import Engine
from v50calib.engine.lazy import FULL_CUBE, product_bytes
from v50calib.errors import V50CalibError
from v50calib.io.catalog import open_source
from v50calib.runtime.job import Job, visit_of
from v50calib.runtime.worklist import Decision
from v50calib.schema import CALIBRATED

#: share of their bytes that compression leaves of a full cube, other floats (noise, mostly), flags and counts, for visits of full length
KEPT_OF_CUBE, KEPT, KEPT_OF_FLAGS = 0.88, 0.77, 0.06
#: metadata of an array (its own, its group's copy, the root's; an archive has two), attributes with the config, number of coordinates
PER_ARRAY, ATTRIBUTES, COORDINATES = {"zarr": 1_800, "packed": 1_400}, 18_000, 8
#: values of each channel that the fit of its depth worked on, kept where there is one
FITTED = 2 * 200
#: visits of an instrument that are tried for one that opens
TRIED = 5


def output_bytes(decisions: Sequence[Decision]) -> int:
    """About how many bytes the visits to calibrate will have, by the first of each instrument that opens: those of a dataset are alike."""
    by_instrument: dict[str, list[Job]] = {}
    for decision in decisions:
        if decision.action == "do":
            by_instrument.setdefault(decision.job.key.instrument, []).append(decision.job)
    return round(sum(len(jobs) * _bytes_of_one(jobs[:TRIED]) for jobs in by_instrument.values()))


def _bytes_of_one(jobs: Sequence[Job]) -> float:
    """Bytes of a product of the first job whose visit opens; 0 where none does: the run will say why."""
    for job in jobs:
        try:
            engine = Engine(job.config)
            visit, _ = engine.order(visit_of(open_source(job.root, job.key)))
            sizes = product_bytes(engine, visit)
        except (V50CalibError, OSError):
            continue
        said = ATTRIBUTES + PER_ARRAY[job.config.output.layout] * (len(sizes) + COORDINATES)
        fitted = KEPT * FITTED * 4 * sizes.get("transit_depth", 0) / 8
        return said + fitted + sum(size * _kept(variable) for variable, size in sizes.items())
    return 0.0


def _kept(variable: str) -> float:
    if variable == FULL_CUBE:
        return KEPT_OF_CUBE
    return KEPT if CALIBRATED[variable].kinds == "f" else KEPT_OF_FLAGS
