"""Config of the CDS stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from v50calib.stages.config import FrameStageConfig, QualityChecks, Section


class CdsIo(Section):
    input_key: Literal["flat_corrected"] = "flat_corrected"
    output_key: Literal["cds_corrected"] = "cds_corrected"


class CdsMode(Section):
    mode: Literal["auto", "odd_even", "frame_diff", "reset_signal", "rolling_window", "reference_frame"] = "auto"


class EvenOdd(Section):
    direction: Literal["odd_minus_even", "even_minus_odd"] = "odd_minus_even"


class Pairing(Section):
    """How reads find their partner. auto: the policy that the mode implies (even_odd; frame_diff: n_minus_1;
    reset_signal: nearest). Indices or time stamps say what comes before what."""

    policy: Literal["auto", "even_odd", "n_minus_1", "nearest", "time_window"] = "auto"
    order_by: Literal["index", "timestamp"] = "index"
    window_s: float | None = Field(default=None, gt=0)
    even_odd: EvenOdd = EvenOdd()
    keep_unpaired: bool = False

    @field_validator("keep_unpaired")
    @classmethod
    def _drops_unpaired(cls, value: bool) -> bool:
        if value:
            raise ValueError(
                "keep_unpaired=true has no physical sense: a read without a partner has no difference, its value is the reset level plus "
                "light; unpaired reads are left out and counted in the notes"
            )
        return value

    @model_validator(mode="after")
    def _window(self) -> Pairing:
        if self.policy == "time_window" and self.window_s is None:
            raise ValueError("policy=time_window needs window_s, the largest distance of the two reads in s: give it")
        return self


class ResetSignal(Section):
    reset_flag_key: str | None = None
    subtract_signal_minus_reset: bool = True
    require_temporal_proximity: bool = False

    @field_validator("subtract_signal_minus_reset")
    @classmethod
    def _signal_minus_reset(cls, value: bool) -> bool:
        if not value:
            raise ValueError("subtract_signal_minus_reset=false makes starlight negative, and no later stage takes that: keep it true")
        return value


class ReferenceFrame(Section):
    """static: the mean first read of the visit's sample frames; running: of the last window_pairs pairs."""

    strategy: Literal["static", "running"] = "static"
    window_pairs: int = Field(default=15, ge=1, le=200)


class RollingWindow(Section):
    baseline: Literal["median", "mean"] = "median"
    half_window: int = Field(default=2, ge=1, le=100)
    exclude_center: bool = False
    robust: bool = False


class SigmaClip(Section):
    enabled: bool = False
    sigma: float = Field(default=8.0, gt=0)
    max_iters: int = Field(default=2, ge=1, le=5)


class OutlierReplace(Section):
    enabled: bool = False
    threshold_sigma: float = Field(default=12.0, gt=0)
    mode: Literal["interpolate", "median"] = "interpolate"
    max_replace_fraction: float = Field(default=0.01, gt=0, le=1)


class Robust(Section):
    sigma_clip: SigmaClip = SigmaClip()
    outlier_replace: OutlierReplace = OutlierReplace()


class TemporalFilter(Section):
    """window_pairs: running mean that is taken away; short_pairs: running mean that is kept (bandpass)."""

    enabled: bool = False
    kind: Literal["highpass", "bandpass"] = "highpass"
    window_pairs: int = Field(default=101, ge=3, le=2001)
    short_pairs: int = Field(default=3, ge=1, le=2001)

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
    method: Literal["none", "mad", "global_median", "per_channel_median"] = "none"


class PairingIntegrity(Section):
    max_unpaired_fraction: float = Field(default=0.1, ge=0, le=1)
    require_monotonic_timestamps: bool = False
    max_time_gap_s: float | None = Field(default=None, gt=0)


class CdsQuality(QualityChecks):
    pairing_integrity: PairingIntegrity = PairingIntegrity()


class CdsConfig(FrameStageConfig):
    io: CdsIo = CdsIo()
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
        if self.reset_signal.require_temporal_proximity and self.pairing.window_s is None:
            raise ValueError("reset_signal.require_temporal_proximity needs pairing.window_s, the largest distance in s: give it")
        return self

    @property
    def policy(self) -> str:
        """The pairing policy with `auto` resolved by the mode."""
        if self.pairing.policy != "auto":
            return self.pairing.policy
        return {"frame_diff": "n_minus_1", "reset_signal": "nearest"}.get(self.cds.mode, "even_odd")
