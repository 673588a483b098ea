"""Light curves made here for the series stages: an injected transit on baselines of known form."""

from __future__ import annotations

import numpy as np

from v50calib.kernels.transit import Model, Shape
from v50calib.stages.phase.ephemeris import EphemerisConfig, resolve_ephemeris
from v50calib.stages.series.curves import Ephemeris, Series
from v50calib.stages.trace.config import TraceConfig
from v50calib.stages.trace.stage import search_model

TIME = np.linspace(0.01, 7.49, 1500)
SHAPE = Shape(t0=3.8, period=84.0, a=9.0, b=0.2, k=0.11, u1=0.15, u2=0.2)
STAR = {"P": 3.5, "sma": 9.1, "i": 88.8, "Ts": 5500.0}


def make(
    seed: int,
    *,
    shape: Shape | None = SHAPE,
    channels: int = 6,
    noise: float = 5e-4,
    factor: np.ndarray | None = None,
    spectrum: np.ndarray | None = None,
    jitter: float = 0.1,
    coupling: float = 0.02,
) -> Series:
    """factor (pair,) or (pair, channel) multiplies every curve; spectrum (channel,) e- per pair."""
    rng = np.random.default_rng(seed)
    transit = Model(TIME, 0.0)(shape) if shape is not None else np.ones_like(TIME)
    x, y = jitter * rng.standard_normal((2, TIME.size)) + 0.05 * np.sin(TIME)
    level = np.linspace(1e4, 1e5, channels) if spectrum is None else spectrum
    flux = level * transit[:, None] * (1 + coupling * (x + y**2))[:, None]
    if factor is not None:
        flux = flux * (factor if factor.ndim == 2 else factor[:, None])
    flux = flux * (1 + noise * rng.standard_normal(flux.shape))
    n = len(level)
    return Series(
        time_h=TIME, flux=flux, var=(noise * level) ** 2 * np.ones_like(flux), dq=np.zeros(flux.shape, np.uint32), x=x, y=y,
        wavelength_um=np.linspace(2.0, 3.9, n), star=STAR, slow_var=np.zeros(n),
    )  # fmt: skip


def found(curves: Series, config: EphemerisConfig | None = None, trace: TraceConfig | None = None) -> Ephemeris:
    return resolve_ephemeris(curves, config or EphemerisConfig(), search_model(curves, trace or TraceConfig()))
