"""Config of `calib.cds`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from v50calib.stages.config import FrameStageConfig, Io, QualityChecks, Section

_Io = Io[Literal["flat_corrected"], Literal["cds_corrected"]]


class CdsMode(Section):
    """What is subtracted from a second read."""

    mode: Literal["auto", "odd_even", "frame_diff", "reset_signal", "rolling_window", "reference_frame"] = Field(
        default="auto", description="what is subtracted from a second read: its first read, or a baseline"
    )


class EvenOdd(Section):
    """Order of the two reads that are stored side by side."""

    direction: Literal["odd_minus_even", "even_minus_odd"] = Field(
        default="odd_minus_even", description="`even_minus_odd`: the first stored read is left out"
    )


class Pairing(Section):
    """How reads find their partner."""

    policy: Literal["auto", "even_odd", "n_minus_1", "nearest", "time_window"] = Field(
        default="auto", description="`auto`: as the mode implies (`even_odd`; frame_diff: `n_minus_1`; reset_signal: `nearest`)"
    )
    order_by: Literal["index", "timestamp"] = Field(default="index", description="order of the reads: as stored, or by their time stamps")
    window_s: float | None = Field(default=None, gt=0, description="s, largest distance of the two reads' time stamps")
    even_odd: EvenOdd = EvenOdd()
    keep_unpaired: bool = Field(default=False, description="true is refused: a read without a partner has no difference")

    @field_validator("keep_unpaired")
    @classmethod
    def _drops_unpaired(cls, value: bool) -> bool:
        if value:
            raise ValueError(
                "keep_unpaired=true has no physical meaning: a read without a partner has no difference, its value is the reset level plus "
                "light. Set it to false: unpaired reads are left out and counted in the notes"
            )
        return value

    @model_validator(mode="after")
    def _window(self) -> Pairing:
        if self.policy == "time_window" and self.window_s is None:
            raise ValueError("policy=time_window needs window_s, the largest distance of the two reads in s: give it")
        return self


class ResetSignal(Section):
    """How first reads are recognized, with mode=reset_signal."""

    reset_flag_key: str | None = Field(
        default=None, description="variable on the time axis, true at first reads; null: the shortest exposures"
    )
    subtract_signal_minus_reset: bool = Field(default=True, description="false is refused: starlight would become negative")
    require_temporal_proximity: bool = Field(
        default=False,
        description="true: a read without a reset within `pairing.window_s` stops the visit; false: it is left out, and counted",
    )

    @field_validator("subtract_signal_minus_reset")
    @classmethod
    def _signal_minus_reset(cls, value: bool) -> bool:
        if not value:
            raise ValueError("subtract_signal_minus_reset=false makes starlight negative, and no later stage takes that: keep it true")
        return value


class ReferenceFrame(Section):
    """The frame that is subtracted, with mode=reference_frame."""

    strategy: Literal["static", "running"] = Field(
        default="static", description="`static`: mean first read of the visit's sample frames; `running`: of the last `window_pairs` pairs"
    )
    window_pairs: int = Field(default=15, ge=1, le=200, description="pairs in the running mean, with strategy=running")


class RollingWindow(Section):
    """A baseline from the first reads of neighbouring ramps, with mode=rolling_window."""

    baseline: Literal["median", "mean"] = Field(default="median", description="statistic of the window")
    half_window: int = Field(default=2, ge=1, le=100, description="pairs to each side")
    exclude_center: bool = Field(default=False, description="leave the pair's own first read out of its window")
    robust: bool = Field(default=False, description="leave the window's outliers out of the mean")


class SigmaClip(Section):
    """Flags on samples that stand off both neighbours in time."""

    enabled: bool = Field(default=False, description="flag them")
    sigma: float = Field(default=8.0, gt=0, description="limit, in standard deviations")
    max_iters: int = Field(default=2, ge=1, le=5, description="iterations of the clip")


class OutlierReplace(Section):
    """Repair of samples that stand off both neighbours in time."""

    enabled: bool = Field(default=False, description="flag and fill them")
    threshold_sigma: float = Field(default=12.0, gt=0, description="limit, in standard deviations")
    mode: Literal["interpolate", "median"] = Field(default="interpolate", description="how a sample is filled from its neighbours in time")
    max_replace_fraction: float = Field(
        default=0.01, gt=0, le=1, description="largest share of a frame's usable pixels that is filled; a frame with more keeps its values"
    )


class Robust(Section):
    """Outliers in time of single pixels."""

    sigma_clip: SigmaClip = SigmaClip()
    outlier_replace: OutlierReplace = OutlierReplace()


class TemporalFilter(Section):
    """A filter in time of every pixel. It removes the transit with everything else that is slow."""

    enabled: bool = Field(default=False, description="filter the frames")
    kind: Literal["highpass", "bandpass"] = Field(default="highpass", description="`bandpass`: also a short running mean")
    window_pairs: int = Field(default=101, ge=3, le=2001, description="pairs (odd) in the running mean that is subtracted")
    short_pairs: int = Field(default=3, ge=1, le=2001, description="pairs (odd) in the running mean that is kept, with kind=bandpass")

    @model_validator(mode="after")
    def _odd_and_ordered(self) -> TemporalFilter:
        if self.window_pairs % 2 == 0 or self.short_pairs % 2 == 0:
            raise ValueError(
                f"window_pairs={self.window_pairs} and short_pairs={self.short_pairs} must be odd: the windows are centred on a pair"
            )
        if self.kind == "bandpass" and self.short_pairs >= self.window_pairs:
            raise ValueError(f"bandpass needs short_pairs={self.short_pairs} smaller than window_pairs={self.window_pairs}")
        return self


class Normalization(Section):
    """Normalization of the frames, for cubes only: photometry takes electrons."""

    method: Literal["none", "mad", "global_median", "per_channel_median"] = Field(
        default="none", description="divide by each pixel's noise (`mad`), or by the median total of a frame or of its columns"
    )

    @property
    def units(self) -> str | None:
        """Units of the frames after it; None: it is off."""
        return {"none": None, "mad": "sigma", "global_median": "1", "per_channel_median": "1"}[self.method]


class PairingIntegrity(Section):
    """Bounds of the pairing."""

    max_unpaired_fraction: float = Field(default=0.1, ge=0, le=1, description="largest share of the reads without a partner")
    require_monotonic_timestamps: bool = Field(default=False, description="time stamps must increase from read to read")
    max_time_gap_s: float | None = Field(default=None, gt=0, description="s, largest gap between neighbouring pairs; null: any")


class CdsQuality(QualityChecks):
    """Bounds of the pairing and of the differences."""

    pairing_integrity: PairingIntegrity = PairingIntegrity()


class CdsConfig(FrameStageConfig):
    """Correlated double sampling: the second minus the first read of each ramp."""

    enabled: bool = Field(default=True, description="must stay on where photometry follows")
    io: _Io = Field(default={}, validate_default=True)
    cds: CdsMode = CdsMode()
    pairing: Pairing = Pairing()
    reset_signal: ResetSignal = ResetSignal()
    reference_frame: ReferenceFrame = ReferenceFrame()
    rolling_window: RollingWindow = RollingWindow()
    robust: Robust = Robust()
    temporal_filter: TemporalFilter = TemporalFilter()
    normalization: Normalization = Normalization()
    quality_checks: CdsQuality = CdsQuality()

    @model_validator(mode="after")
    def _modes_agree(self) -> CdsConfig:
        mode, flag = self.cds.mode, self.reset_signal.reset_flag_key
        if flag is not None and mode != "reset_signal":
            raise ValueError(
                f"reset_signal.reset_flag_key='{flag}' goes with cds.mode=reset_signal, and the mode is {mode}: give both or neither"
            )
        if mode == "reset_signal" and self.pairing.policy == "even_odd":
            raise ValueError("cds.mode=reset_signal finds resets by their flag, pairing.policy=even_odd by position: use nearest or auto")
        if self.reset_signal.require_temporal_proximity and mode != "reset_signal":
            raise ValueError(
                f"reset_signal.require_temporal_proximity goes with cds.mode=reset_signal, and the mode is {mode}: give both or neither"
            )
        if self.reset_signal.require_temporal_proximity and self.pairing.window_s is None:
            raise ValueError("reset_signal.require_temporal_proximity needs pairing.window_s, the largest distance in s: give it")
        return self

    @property
    def policy(self) -> str:
        """The pairing policy with `auto` resolved by the mode."""
        if self.pairing.policy != "auto":
            return self.pairing.policy
        return {"frame_diff": "n_minus_1", "reset_signal": "nearest"}.get(self.cds.mode, "even_odd")

    @property
    def in_stored_order(self) -> bool:
        """Whether reads 2i and 2i+1 are taken as pairs, as they are stored."""
        plain = self.pairing.even_odd.direction == "odd_minus_even" and self.pairing.order_by == "index"
        return plain and self.policy == "even_odd"
