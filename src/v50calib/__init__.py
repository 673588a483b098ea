"""v50calib: calibration of Ariel-like detector frames (FGS1, AIRS-CH0), in parallel with Dask."""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - from a checkout or a copied folder, pip has not asked
    raise ImportError(f"v50calib needs Python >= 3.11, this is {sys.version_info[0]}.{sys.version_info[1]}")

from importlib import import_module
from typing import TYPE_CHECKING, Any

from v50calib.safety.compiled import use_private_cache

if TYPE_CHECKING:
    from v50calib.export.arrays import open_arrays, to_arrays
    from v50calib.io.table import visits
    from v50calib.io.visit import open_visit
    from v50calib.pipeline import Pipeline
    from v50calib.runs.calibrated import open_calibrated
    from v50calib.runs.depths import bin_depths, covariance
    from v50calib.runs.folding import fold, river
    from v50calib.runtime.batch import calibrate

__all__ = [
    "Pipeline",
    "bin_depths",
    "calibrate",
    "covariance",
    "fold",
    "open_arrays",
    "open_calibrated",
    "open_visit",
    "river",
    "to_arrays",
    "visits",
]

# before numba is imported, which reads it then
use_private_cache()

_HOME = {
    "Pipeline": "v50calib.pipeline",
    "bin_depths": "v50calib.runs.depths",
    "calibrate": "v50calib.runtime.batch",
    "covariance": "v50calib.runs.depths",
    "fold": "v50calib.runs.folding",
    "open_arrays": "v50calib.export.arrays",
    "open_calibrated": "v50calib.runs.calibrated",
    "open_visit": "v50calib.io.visit",
    "river": "v50calib.runs.folding",
    "to_arrays": "v50calib.export.arrays",
    "visits": "v50calib.io.table",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import v50calib` stays quick."""
    if name in _HOME:
        try:
            return getattr(import_module(_HOME[name]), name)
        except RuntimeError as exc:
            from v50calib.errors import no_cache

            if (told := no_cache(exc)) is None:
                raise
            raise told from exc
    raise AttributeError(f"module 'v50calib' has no attribute '{name}'; public names: {', '.join(__all__)}")
