"""v50calib: calibration of Ariel-like detector frames (FGS1, AIRS-CH0), in parallel with Dask."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from v50calib.folding import fold, river
    from v50calib.io.challenge import open_visit
    from v50calib.pipeline import Pipeline
    from v50calib.runtime.batch import calibrate
    from v50calib.runtime.visit import open_calibrated

__all__ = ["Pipeline", "calibrate", "fold", "open_calibrated", "open_visit", "river"]

_HOME = {
    "Pipeline": "v50calib.pipeline",
    "calibrate": "v50calib.runtime.batch",
    "fold": "v50calib.folding",
    "open_calibrated": "v50calib.runtime.visit",
    "open_visit": "v50calib.io.challenge",
    "river": "v50calib.folding",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import v50calib` stays quick."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'v50calib' has no attribute '{name}'; public names: {', '.join(__all__)}")
