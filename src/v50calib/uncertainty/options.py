"""Keys of `calib.top_level_calib`: what recalibration of mu and sigma may be told, and the defaults."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from v50calib.stages.config import Section

Method = Literal["none", "temperature", "affine", "corel"]
Edition = Literal["2025", "2024"]


class IoPaths(Section):
    """Files of predictions (.csv, .parquet, .npz): mu and sigma, the truth of the planets that have one, the result."""

    pred_path: str | None = None
    truth_path: str | None = None
    features_path: str | None = None
    out_path: str | None = None
    model_path: str | None = None


class ScoreOptions(Section):
    """Constants of the challenge's metric.

    sigma_fgs1, sigma_airs, sigma_2024  sigma of the ideal answer: wl_1, wl_2..wl_283, and every channel of 2024
    fgs1_weight                         weight of wl_1 (2025)
    naive_mean, naive_sigma             the answer that scores 0: mean and standard deviation of the training set
    sigma_floor                         smaller sigmas count as this
    """

    edition: Edition = "2025"
    sigma_fgs1: float = Field(default=1e-6, gt=0)
    sigma_airs: float = Field(default=1e-5, gt=0)
    sigma_2024: float = Field(default=1e-5, gt=0)
    fgs1_weight: float = Field(default=57.846, gt=0)
    naive_mean: float = 0.014689
    naive_sigma: float = Field(default=0.010661, gt=0)
    sigma_floor: float = Field(default=1e-15, gt=0)


class TemperatureOptions(Section):
    """sigma' = T sigma. shrinkage: of log T per bin towards the pooled level; auto measures how much is noise."""

    per_bin: bool = False
    grid_search: bool = False
    shrinkage: Literal["auto"] | float = "auto"
    clamp_T: list[float] = [0.1, 10.0]

    @model_validator(mode="after")
    def _ranges(self) -> TemperatureOptions:
        if len(self.clamp_T) != 2 or not 0 < self.clamp_T[0] < self.clamp_T[1]:
            raise ValueError(f"clamp_T is {self.clamp_T}: give [smallest, largest] with 0 < smallest < largest")
        if self.shrinkage != "auto" and not 0 <= self.shrinkage <= 1:
            raise ValueError(f"shrinkage is {self.shrinkage}: give auto, or 0 (none) to 1 (one T for all bins)")
        return self


class AffineOptions(Section):
    """log sigma' = log T_b + a·covariates. shift: also move mu by a bias per bin; smooth_bins: running mean of features."""

    ridge: float = Field(default=1.0, ge=0)
    shift: bool = True
    smooth_bins: int = Field(default=9, ge=1)


class ModelOptions(Section):
    backend: Literal["gatconv", "none"] = "gatconv"
    head: Literal["scale", "quantile"] = "scale"
    hidden: int = Field(default=32, ge=4)
    layers: int = Field(default=2, ge=1, le=6)
    heads: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    use_edge_features: bool = False

    @model_validator(mode="after")
    def _whole_heads(self) -> ModelOptions:
        if self.hidden % self.heads:
            raise ValueError(
                f"hidden={self.hidden} is not a multiple of heads={self.heads}: each head takes an equal part of the hidden width"
            )
        return self


class GraphOptions(Section):
    """k_proximity: nearest channels in wavelength that a channel listens to, itself not counted."""

    k_proximity: int = Field(default=8, ge=1, le=282)


class EarlyStop(Section):
    enabled: bool = True
    patience: int = Field(default=12, ge=1)
    validation_fraction: float = Field(default=0.2, gt=0, lt=0.5)


class FitOptions(Section):
    epochs: int = Field(default=50, ge=0)
    batch_size: int = Field(default=16, ge=1)
    lr: float = Field(default=5e-3, gt=0)
    weight_decay: float = Field(default=1e-3, ge=0)
    conformal_fraction: float = Field(default=0.5, ge=0.2, le=0.8)
    seed: int = Field(default=0, ge=0)
    early_stop: EarlyStop = EarlyStop()


class Coverage(Section):
    """target: probability that an interval covers; None: 1 - conformal.alpha."""

    target: float | None = Field(default=None, gt=0, lt=1)


class ConformalOptions(Section):
    """Intervals from held-out planets. split: one a channel (per_bin) or one quantile for all channels; joint: a band for all at once.

    groups: Mondrian, this many groups of planets of equal size by their mean log sigma, each with its own quantiles.
    """

    enabled: bool = True
    method: Literal["split", "joint"] = "split"
    alpha: float = Field(default=0.1, gt=0, lt=1)
    per_bin: bool = True
    groups: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _one_kind(self) -> ConformalOptions:
        if self.groups > 1 and (self.method == "joint" or not self.per_bin):
            raise ValueError(
                f"groups={self.groups} goes with method=split and per_bin=true: other intervals have one quantile for all planets"
            )
        if self.method == "joint" and not self.per_bin:
            raise ValueError("per_bin=false pools channels, which a joint band does already: leave it out with method=joint")
        return self


class CorelOptions(Section):
    model: ModelOptions = ModelOptions()
    graph: GraphOptions = GraphOptions()
    fit: FitOptions = FitOptions()
    coverage: Coverage = Coverage()
    conformal: ConformalOptions = ConformalOptions()
    ablation: bool = True

    @model_validator(mode="after")
    def _one_level(self) -> CorelOptions:
        target, alpha = self.coverage.target, self.conformal.alpha
        if target is not None and "alpha" in self.conformal.model_fields_set and abs(target + alpha - 1.0) > 1e-9:
            raise ValueError(f"coverage.target={target} and conformal.alpha={alpha} contradict each other: alpha is 1 - target; give one")
        return self

    @property
    def alpha(self) -> float:
        return self.conformal.alpha if self.coverage.target is None else 1.0 - self.coverage.target


class TopLevelCalib(Section):
    """Calibration of predictions after inference. `corel.conformal` and `corel.coverage` hold for every method."""

    method: Method = "none"
    io: IoPaths = IoPaths()
    score: ScoreOptions = ScoreOptions()
    temperature: TemperatureOptions = TemperatureOptions()
    affine: AffineOptions = AffineOptions()
    corel: CorelOptions = CorelOptions()
