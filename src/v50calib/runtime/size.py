"""What a run will write, told from shapes alone: before anything is read or measured (`runtime.forecast` measures)."""

from __future__ import annotations

from collections.abc import Sequence

from v50calib.engine.engine import Engine
from v50calib.engine.lazy import FULL_CUBE, product_bytes
from v50calib.errors import V50CalibError
from v50calib.io.catalog import open_source
from v50calib.runtime.job import Job, visit_of
from v50calib.runtime.worklist import Decision

#: share of its bytes that compression leaves of a full cube and of a product's other variables: noise in float32, measured on full visits
KEPT_OF_CUBE, KEPT = 0.88, 0.67
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
        return sum(size * (KEPT_OF_CUBE if variable == FULL_CUBE else KEPT) for variable, size in sizes.items())
    return 0.0
