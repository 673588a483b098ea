"""Reading challenge datasets and raw Zarr stores, and writing the latter.

`open_visit` gives a lazy xarray Dataset; `open_source` gives plain arrays for the batch runtime.
"""

from v50calib.io.catalog import find, open_source, root_kind, scan
from v50calib.io.ingestion import IngestReport, ingest
from v50calib.io.keys import VisitKey, normalise_planet_id
from v50calib.io.source import FrameSource, VisitSource
from v50calib.io.visit import open_visit, visit_dataset

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
