"""The choices of a simulated dataset, each effect with its own switch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self, TypedDict

from v50calib.errors import ConfigError

Layout = Literal["2025", "2024"]
Split = Literal["train", "test"]
Encoding = Literal["dictionary", "plain"]


class Effects(TypedDict, total=False):
    """The fields of SimConfig that a plain dataset leaves off, by their names there."""

    gain_drift: float
    exposure_jitter_px: float
    sub_exposures: int
    structured_spectrum: bool
    spectra: str | None
    limb_table: bool
    full_well_e: float | None
    lost_frames: float
    low_light: float
    background_gradient: float


#: what `v50calib simulate` and SimConfig.realistic switch on; where each level comes from is told in docs/simulator.md
REALISTIC: Effects = {
    "gain_drift": 1e-3,
    "exposure_jitter_px": 0.28,
    "structured_spectrum": True,
    "limb_table": True,
    "lost_frames": 0.0045,
    "background_gradient": 0.3,
}
#: brightest light level: the longest read still has its first read in range, and the chain is exercised well past clipping
MAX_BRIGHTNESS = 5.0


@dataclass(frozen=True)
class SimConfig:
    """Choices of the forward model; the defaults resemble the real sample, with the effects of `REALISTIC` off.

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
    brightness         light level relative to the real sample, up to 5; None draws one per planet (0.6-1.4). Bright reads
                       clip at the converter's full scale (149 ke-, reached from about 2.2) or at `full_well_e`
    star_temperature   K; None draws one per planet
    duration_h         first to fourth contact of every planet, h (a/R* is set to give it); None keeps the drawn orbit
    impact             impact parameter of every planet, R* (0.9: grazing); None draws one (0-0.8)
    exact_star         the star table states the true parameters, and limb darkening follows the law that the fits
                       start from: any difference left between truth and result is then the chain's own error
    t0_h               mid-transit, hours since the start of the visit; None draws one per visit
    gain_drift         rms over the visit of a slow, multiplicative drift of all light: for AIRS-CH0 a smooth random course
                       in time times one in wavelength, for FGS1 a course of its own. 0: none
    exposure_jitter_px rms of the pointing about a pair's mean at 20 Hz within its exposure, per axis, px of either
                       instrument: the light of a pair is blurred, from pair to pair differently. 0: none
    sub_exposures      positions along each axis that stand for the motion within an exposure
    structured_spectrum   draw spectra with molecular bands, of a few hundred ppm rms over AIRS-CH0, rather than smooth ones
    spectra            file of depths in the format of train.csv: its planets are used in order; None draws spectra
    limb_table         limb darkening by a table of the simulator's own instead of near the law of v50calib.kernels.limb;
                       `exact_star` keeps that law
    full_well_e        reading above which a pixel collects no more, e-; None: the converter's full scale alone
    lost_frames        share of the pairs of which a read, or both, is lost: all codes 0, or all 65535
    low_light          share of the visit, at its end, in which the star gives 10 % less light
    background_gradient   background from one edge of the detector to the other, relative to its mean: half of the
                       range along rows and columns together, direction drawn per visit. 0: constant
    encoding           pages of the signal files: `dictionary` as in the challenge's, which Polars wrote, or `plain`

    >>> SimConfig(depth=0.5)
    Traceback (most recent call last):
    v50calib.errors.ConfigError: depth is 0.5: (Rp/Rs)^2 must lie in 0 <= depth < 0.25
    >>> SimConfig().gain_drift, SimConfig.realistic().gain_drift, SimConfig.realistic(gain_drift=0.0).gain_drift
    (0.0, 0.001, 0.0)
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
    impact: float | None = None
    exact_star: bool = False
    t0_h: float | None = None
    layout: Layout = "2025"
    split: Split = "train"
    gain_drift: float = 0.0
    exposure_jitter_px: float = 0.0
    sub_exposures: int = 6
    structured_spectrum: bool = False
    spectra: str | None = None
    limb_table: bool = False
    full_well_e: float | None = None
    lost_frames: float = 0.0
    low_light: float = 0.0
    background_gradient: float = 0.0
    encoding: Encoding = "dictionary"

    @classmethod
    def realistic(cls, **fields: Any) -> Self:
        """The choices of `fields`, with the effects of `REALISTIC` on unless `fields` says otherwise.

        >>> SimConfig.realistic(seed=2, limb_table=False).structured_spectrum
        True
        """
        return cls(**{**REALISTIC, **fields})

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
        if self.impact is not None and not 0.0 <= self.impact <= 1.0:
            raise ConfigError(f"impact is {self.impact}: a planet whose centre misses the star may not transit at all, use 0-1")
        if self.brightness is not None and not 0.0 <= self.brightness <= MAX_BRIGHTNESS:
            raise ConfigError(f"brightness is {self.brightness}: it is relative to the real sample, use 0-{MAX_BRIGHTNESS:g}")
        self._check_effects()

    def _check_effects(self) -> None:
        """The checks of the fields that `Effects` lists, and of what the files are made of. Raises ConfigError."""
        if self.encoding not in ("dictionary", "plain"):
            raise ConfigError(f"encoding '{self.encoding}' does not exist: use 'dictionary' or 'plain'")
        if not 0.0 <= self.gain_drift <= 0.1:
            raise ConfigError(f"gain_drift is {self.gain_drift}: it is the rms of a relative drift, use 0-0.1, e.g. 1e-3")
        if not 0.0 <= self.exposure_jitter_px <= 2.0:
            raise ConfigError(f"exposure_jitter_px is {self.exposure_jitter_px}: use 0-2 px rms")
        if not 2 <= self.sub_exposures <= 64:
            raise ConfigError(f"sub_exposures is {self.sub_exposures}: use 2-64 positions along each axis")
        if self.full_well_e is not None and not 1e3 <= self.full_well_e <= 1.5e5:
            raise ConfigError(f"full_well_e is {self.full_well_e}: use 1e3-1.5e5 e-, or leave it out for the converter's full scale")
        for name in ("lost_frames", "low_light"):
            if not 0.0 <= getattr(self, name) <= 0.5:
                raise ConfigError(f"{name} is {getattr(self, name)}: it is a share of the visit, use 0-0.5")
        if not 0.0 <= self.background_gradient <= 1.0:
            raise ConfigError(f"background_gradient is {self.background_gradient}: more than 1 makes the background negative, use 0-1")
        if self.spectra is not None and self.depth is not None:
            raise ConfigError(f"depth is {self.depth} and spectra is '{self.spectra}': both state the depths, give one")
