"""Raw visits: challenge folders, raw Zarr stores and detector.yaml folders are read, and raw stores written.

`open_visit` gives a lazy xarray Dataset; `open_root` a root, which lists visits and opens them as plain arrays for the batch.
"""

from v50calib.io.catalog import find, open_root, open_source, scan
from v50calib.io.ingestion import IngestReport, ingest
from v50calib.io.keys import VisitKey, normalise_planet_id
from v50calib.io.root import Root
from v50calib.io.source import FrameSource, VisitSource
from v50calib.io.visit import open_visit, visit_dataset

__all__ = [
    "FrameSource",
    "IngestReport",
    "Root",
    "VisitKey",
    "VisitSource",
    "find",
    "ingest",
    "normalise_planet_id",
    "open_root",
    "open_source",
    "open_visit",
    "scan",
    "visit_dataset",
]
