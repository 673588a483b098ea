"""A small detector with known everything: the forward model that the frame stages have to invert."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from v50calib import Pipeline
from v50calib.config import validate

SHAPE = (12, 10)
#: stages after cds off, every CDS frame out in float64, unfolded dataset maps where a test does not say otherwise
PLAIN = {
    "photometry": {"enabled": False},
    "trace": {"enabled": False},
    "phase": {"enabled": False},
}


def pipeline(**calib: Any) -> Pipeline:
    """Pipeline of stage sections (`adc={"clip": {"min": 0.0}}`), nothing after cds, full cubes."""
    return Pipeline(validate({"calib": PLAIN | calib, "output": {"cubes": "both", "dtype": "float64", "bin_s": 2.0}}))


@dataclass
class Detector:
    """Maps of a simulated detector. electrons = rate·flat·t + dark·t; ADU = inverse linearity, offset, gain; rounded.

    A gain of 8 ADU/e- makes a code 0.125 e-: what is recovered is good to that over sqrt(12).
    """

    seed: int = 0
    pairs: int = 24
    gain: Any = 8.0
    offset: Any = -100.0
    quadratic: float = 0.0
    read_s: tuple[float, float] = (0.1, 1.1)
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.dark = self.rng.uniform(5.0, 40.0, SHAPE)
        self.flat = self.rng.uniform(0.8, 1.2, SHAPE)
        self.rate = self.rng.uniform(200.0, 4000.0, SHAPE)
        self.dead = np.zeros(SHAPE, bool)
        self.light = np.ones(self.pairs)
        self.extra: np.ndarray | float = 0.0
        self.dark_scale: np.ndarray | float = 1.0

    @property
    def exposure(self) -> np.ndarray:
        return np.tile(self.read_s, self.pairs)

    @property
    def times_h(self) -> np.ndarray:
        start = 2.0 * np.repeat(np.arange(self.pairs), 2)
        return (start + self.exposure) / 3600.0

    def truth(self) -> np.ndarray:
        """CDS electrons per unit flat (pair, y, x) that a perfect chain gives."""
        return self.light[:, None, None] * self.rate * (self.read_s[1] - self.read_s[0])

    def electrons(self) -> np.ndarray:
        """Electrons (time, y, x) in the wells, with cosmic rays and pedestals of `extra`."""
        t = self.exposure[:, None, None]
        light = np.repeat(self.light, 2)[:, None, None]
        scale = np.asarray(self.dark_scale).reshape(-1, 1, 1)
        return light * self.rate * self.flat * t + self.dark * t * scale + self.extra

    def visit(self, **telemetry: np.ndarray) -> xr.Dataset:
        """A raw visit of it, as `open_visit` gives them; `dark`, `flat`, `dead` as the dataset's maps."""
        linear = self.electrons()
        # the reading x with x + q x² = linear
        q = self.quadratic
        seen = linear if q == 0 else (np.sqrt(1 + 4 * q * linear) - 1) / (2 * q)
        codes = np.rint((seen - self.offset) * self.gain)
        assert codes.min() > 0
        assert codes.max() < 65535
        coef = np.zeros((6, *SHAPE))
        coef[1], coef[2] = 1.0, q
        frames = codes.astype(np.uint16)
        return xr.Dataset(
            {
                "raw_frames": (("time", "y", "x"), frames),
                "exposure": ("time", self.exposure),
                "dark": (("y", "x"), self.dark),
                "dead": (("y", "x"), self.dead),
                "flat": (("y", "x"), self.flat),
                "read": (("y", "x"), np.full(SHAPE, 2.0)),
                "linear_corr": (("order", "y", "x"), coef),
                **{name: ("time", values) for name, values in telemetry.items()},
            },
            coords={"time": self.times_h, "wavelength": 0.7},
            attrs={
                "planet_id": "1", "visit": 0, "instrument": "FGS1",
                "adc_offset": float(np.mean(self.offset)), "adc_gain": float(np.mean(self.gain)),
            },
        )  # fmt: skip


def cds_of(ds: xr.Dataset, **calib: Any) -> np.ndarray:
    """CDS frames (pair, y, x) of the general or folded path, whichever the config takes."""
    return pipeline(**calib)(ds)["cds_corrected"].compute(scheduler="sync").to_numpy()
