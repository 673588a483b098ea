"""What was run on what: config hash, reference hashes, versions."""

from __future__ import annotations

import hashlib
import json
import platform
from functools import cache
from importlib.metadata import version
from typing import Any

from v50calib.config.models import RunConfig

PACKAGES = ("v50calib", "numpy", "scipy", "xarray", "zarr", "dask", "numba", "pyarrow")


def config_hash(config: RunConfig) -> str:
    """sha256 of what decides the numbers: `calib` and `output`, never `runtime`."""
    return hashlib.sha256(decisive(config).encode()).hexdigest()


def decisive(config: RunConfig) -> str:
    """JSON of the config's parts that decide a product's numbers: the same on any scheduler, and whatever is made of predictions."""
    parts = {name: getattr(config, name).model_dump(mode="json") for name in ("calib", "output")}
    del parts["calib"]["top_level_calib"]
    return json.dumps(parts, sort_keys=True)


@cache
def versions() -> dict[str, str]:
    """Versions of the packages that touch the numbers."""
    return {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}


def product_attrs(config: RunConfig, visit_attrs: dict[str, Any], reference_hashes: dict[str, str]) -> dict[str, Any]:
    """Attributes written into a product: who it is of and what made it. No time stamps, no paths."""
    return {
        **visit_attrs,
        "config": decisive(config),
        "config_hash": config_hash(config),
        "reference_hashes": json.dumps(reference_hashes, sort_keys=True),
        "versions": json.dumps(versions(), sort_keys=True),
    }
