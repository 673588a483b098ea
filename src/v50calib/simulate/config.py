"""The choices of a simulated dataset, each effect with its own switch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from v50calib.errors import ConfigError

Layout = Literal["2025", "2024"]
Split = Literal["train", "test"]


@dataclass(frozen=True)
class SimConfig:
    """Choices of the forward model; the defaults resemble the real sample.

    seed               one integer fixes everything; a planet's and visit's numbers depend on (seed, planet index,
                       visit, instrument) only, so never on how many planets or workers there are
    frames_fraction    0-1: fewer read pairs over the same 7.5 h (the pairs are spread out, the reads keep their length)
    noise              photon and read noise; off gives the rounded expectation
    read_noise         False leaves photon noise alone (the read map still states the detector's)
    dither             codes are rounded up or down at random: in frames without noise, plain rounding is the same in every frame,
                       a systematic error that the read noise of a real detector averages out
    jitter_px          rms of the white pointing jitter along (x, y), FGS1 px, new for every FGS1 pair. AIRS sees the
                       mean over the 12 FGS1 pairs of its own pair, times `airs_scale`
    airs_scale         AIRS px per FGS1 px; 0.3 gives 0.009, 0.010 px rms (real sample: about 0.006, 0.013 px)
    drift_px           rms of a slow smooth motion per axis over the visit, the same in px on both instruments
    cosmic_rays        hits per pixel and second
    dead_fraction, hot_fraction   share of pixels
    dark               False: no dark current at all (hot pixels neither)
    nonlinearity       False: the identity polynomial
    flat_rms           pixel-to-pixel scatter of the response; 0: a flat of exactly 1
    background_e_s     constant background per pixel, e-/s, (AIRS-CH0, FGS1)
    transit            False: the star alone
    limb_darkening     False: a uniform stellar disc
    depth              (Rp/Rs)^2 of every channel; None draws a spectrum per planet
    brightness         light level relative to the real sample; None draws one per planet (0.6-1.4)
    star_temperature   K; None draws one per planet
    duration_h         first to fourth contact of every planet, h (a/R* is set to give it); None keeps the drawn orbit
    exact_star         the star table states the true parameters, and limb darkening follows the law that the fits
                       start from: any difference left between truth and result is then the chain's own error
    t0_h               mid-transit, hours since the start of the visit; None draws one per visit

    >>> SimConfig(depth=0.5)
    Traceback (most recent call last):
    v50calib.errors.ConfigError: depth is 0.5: (Rp/Rs)^2 must lie in 0 <= depth < 0.25
    """

    seed: int = 0
    frames_fraction: float = 1.0
    noise: bool = True
    read_noise: bool = True
    dither: bool = False
    jitter_px: tuple[float, float] = (0.10, 0.12)
    airs_scale: float = 0.3
    drift_px: float = 0.05
    cosmic_rays: float = 2e-7
    dead_fraction: float = 0.0012
    hot_fraction: float = 0.0017
    dark: bool = True
    nonlinearity: bool = True
    flat_rms: float = 0.0125
    background_e_s: tuple[float, float] = (0.5, 5.0)
    transit: bool = True
    limb_darkening: bool = True
    depth: float | None = None
    brightness: float | None = None
    star_temperature: float | None = None
    duration_h: float | None = None
    exact_star: bool = False
    t0_h: float | None = None
    layout: Layout = "2025"
    split: Split = "train"

    def __post_init__(self) -> None:
        """Refuse values that cannot be simulated. Raises ConfigError."""
        if not 0.0 < self.frames_fraction <= 1.0:
            raise ConfigError(f"frames_fraction is {self.frames_fraction}: it is the share of a full visit's frames, use 0 < F <= 1")
        if self.layout not in ("2025", "2024"):
            raise ConfigError(f"layout '{self.layout}' does not exist: use '2025' or '2024'")
        if self.split not in ("train", "test"):
            raise ConfigError(f"split '{self.split}' does not exist: use 'train' or 'test'")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}: use an integer >= 0")
        for name in ("cosmic_rays", "dead_fraction", "hot_fraction", "flat_rms", "drift_px"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}: use a number >= 0")
        if self.dead_fraction + self.hot_fraction > 0.5:
            raise ConfigError(
                f"dead_fraction {self.dead_fraction} + hot_fraction {self.hot_fraction} leave too few good pixels: keep their sum below 0.5"
            )
        if self.depth is not None and not 0.0 <= self.depth < 0.25:
            raise ConfigError(f"depth is {self.depth}: (Rp/Rs)^2 must lie in 0 <= depth < 0.25")
        if self.duration_h is not None and not 0.5 <= self.duration_h <= 10.0:
            raise ConfigError(f"duration_h is {self.duration_h}: orbits of 3-8 days give transits of 0.5 to 10 h")
        if self.brightness is not None and not 0.0 <= self.brightness <= 2.0:
            raise ConfigError(f"brightness is {self.brightness}: above 2 the reads saturate, use 0-2")
