"""Reading challenge datasets and raw Zarr stores, and writing the latter.

`open_visit` gives a lazy xarray Dataset; `open_source` gives plain arrays for the batch runtime.
"""

from v50calib.io.catalog import VisitKey, find, normalise_planet_id, root_kind, scan
from v50calib.io.challenge import open_visit, visit_dataset
from v50calib.io.source import FrameSource, VisitSource, open_source
from v50calib.io.store import IngestReport, ingest

__all__ = [
    "FrameSource",
    "IngestReport",
    "VisitKey",
    "VisitSource",
    "find",
    "ingest",
    "normalise_planet_id",
    "open_source",
    "open_visit",
    "root_kind",
    "scan",
    "visit_dataset",
]
