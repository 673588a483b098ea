"""Raw visits: challenge folders, raw Zarr stores and detector.yaml folders are read, and raw stores written.

`open_visit` gives a lazy xarray Dataset; `open_root` a root, which lists visits and opens them as plain arrays for the batch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOME = {
    "FrameSource": "source",
    "IngestReport": "ingestion",
    "Root": "root",
    "VisitKey": "keys",
    "VisitSource": "source",
    "find": "catalog",
    "ingest": "ingestion",
    "normalise_planet_id": "keys",
    "open_root": "catalog",
    "open_source": "catalog",
    "open_visit": "visit",
    "scan": "catalog",
    "visit_dataset": "visit",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: who wants a path of a store needs no reader of parquet."""
    if name in _HOME:
        return getattr(import_module(f"v50calib.io.{_HOME[name]}"), name)
    raise AttributeError(f"module 'v50calib.io' has no attribute '{name}'; public names: {', '.join(__all__)}")
