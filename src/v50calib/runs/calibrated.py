"""The calibrated products of a run as one tree."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import xarray as xr

from v50calib import accessor as _accessor  # noqa: F401  products draw themselves: ds.v50.plot
from v50calib.io.storage.location import locate
from v50calib.io.storage.objects import ObjectPath
from v50calib.runs.product import committed_products, open_product
from v50calib.runs.tree import RunTree

#: the store of products in a run directory
PRODUCTS = "calibrated.zarr"


def open_calibrated(run_dir: str | os.PathLike[str] | ObjectPath) -> xr.DataTree:
    """The committed products of a run as one tree: /<planet_id>/<visit>/<instrument>, opened when first looked at.

    Its nodes draw their own figures: `tree["<planet>/<visit>/<instrument>"].v50.plot.white_light()`. Raises StoreError where
    `run_dir` holds no products, and at the first look at one that is damaged.

    >>> import tempfile
    >>> from v50calib import calibrate
    >>> from v50calib.simulate import simulate_dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data = simulate_dataset(folder + "/data", planets=1, frames_fraction=0.002, seed=1)
    ...     summary = calibrate(data, folder + "/run", "calib/official", ["runtime.scheduler=sync"])
    ...     [leaf.path for leaf in open_calibrated(summary.run_dir).leaves]
    ['/66029709/0/AIRS-CH0', '/66029709/0/FGS1']
    """
    root = locate(run_dir) / PRODUCTS
    if isinstance(root, Path):
        # a product is opened later, maybe from another folder or by a worker that is in one
        root = root.absolute()
    return RunTree.of({f"/{name}": partial(open_product, path) for name, path in committed_products(root)})


def calibrated_visits(run_dir: str | os.PathLike[str] | ObjectPath) -> Iterator[xr.Dataset]:
    """The same products one at a time, as Datasets."""
    for group in open_calibrated(run_dir).leaves:
        if group.has_data:
            yield group.to_dataset()
