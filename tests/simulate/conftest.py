"""What the simulator's tests share: the real sample's place, quiet scenes, a hand-written inversion of the detector."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from v50calib.simulate import InstrumentVisit, SimConfig

Inverse = Callable[[InstrumentVisit], np.ndarray]

#: 22 AIRS pairs, 264 FGS1 pairs
TINY = 0.004


@pytest.fixture(scope="session")
def sample_root() -> Path:
    """Root of the real sample; tests that need it are skipped where it is absent."""
    default = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ariel2025-sample"
    root = Path(os.environ.get("V50CALIB_SAMPLE", default))
    if not (root / "axis_info.parquet").is_file():
        pytest.skip("the real sample is absent: set V50CALIB_SAMPLE to its folder")
    return root


@pytest.fixture(scope="session")
def still() -> dict[str, object]:
    """Choices of a scene without noise, motion, cosmic rays or transit."""
    return {
        "frames_fraction": TINY,
        "noise": False,
        "jitter_px": (0.0, 0.0),
        "drift_px": 0.0,
        "cosmic_rays": 0.0,
        "transit": False,
    }


@pytest.fixture(scope="session")
def quiet(still: dict[str, object]) -> SimConfig:
    """The still scene at the real sample's light level."""
    return SimConfig(brightness=1.0, star_temperature=4800.0, **still)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def invert() -> Inverse:
    """frames -> CDS electrons [pair, y, x] before the flat, in plain NumPy and float64: the detector undone by hand."""

    def inverse(data: InstrumentVisit) -> np.ndarray:
        electrons = data.frames.astype(np.float64) / 0.4369 - 1000.0
        linear = np.zeros_like(electrons)
        for k in range(6):
            linear += data.maps.linear_corr[k] * electrons**k
        first, second = data.axis.read_s
        return (linear[1::2] - data.maps.dark * second) - (linear[0::2] - data.maps.dark * first)

    return inverse
