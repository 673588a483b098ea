"""Keys of `calib.top_level_calib`: what recalibration of mu and sigma may be told, and the defaults."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from v50calib.stages.config import Section

Method = Literal["none", "temperature", "affine", "corel"]
Edition = Literal["2025", "2024"]


class IoPaths(Section):
    """Files of predictions and of the fitted model."""

    pred_path: str | None = Field(default=None, description="mu and sigma of every planet (.csv, .parquet, .npz); null: $PRED_PATH")
    truth_path: str | None = Field(default=None, description="truth of planets that the model was not trained on; null: $TRUTH_PATH")
    features_path: str | None = Field(
        default=None, description="per-channel features (.npz); null: $FEATURES_PATH, else corel takes the run's own light curves"
    )
    out_path: str | None = Field(default=None, description="recalibrated predictions; null: predictions_calibrated.* in the run directory")
    model_path: str | None = Field(default=None, description="the fitted model; null: calibrator.npz in the run directory")


class ScoreOptions(Section):
    """Constants of the challenge's metric."""

    edition: Edition = Field(default="2025", description="edition of the challenge whose metric is used")
    sigma_fgs1: float = Field(default=1e-6, gt=0, description="sigma of the ideal answer, wl_1")
    sigma_airs: float = Field(default=1e-5, gt=0, description="sigma of the ideal answer, wl_2 to wl_283")
    sigma_2024: float = Field(default=1e-5, gt=0, description="sigma of the ideal answer, every channel of 2024")
    fgs1_weight: float = Field(default=57.846, gt=0, description="weight of wl_1 (2025)")
    naive_mean: float = Field(default=0.014689, description="mean of the training set: the answer that scores 0")
    naive_sigma: float = Field(default=0.010661, gt=0, description="standard deviation of the training set")
    sigma_floor: float = Field(default=1e-15, gt=0, description="a smaller sigma counts as this")


class TemperatureOptions(Section):
    """sigma' = T sigma."""

    per_bin: bool = Field(default=False, description="one T for each channel")
    grid_search: bool = Field(default=False, description="search T on a grid of log T (step 0.002) instead of the closed form")
    shrinkage: Literal["auto"] | float = Field(
        default="auto",
        description="share by which log T of a channel is drawn to the pooled one: 0 (none) to 1; `auto` measures how much is noise",
    )
    clamp_T: list[float] = Field(default=[0.1, 10.0], description="smallest and largest T")

    @model_validator(mode="after")
    def _ranges(self) -> TemperatureOptions:
        if len(self.clamp_T) != 2 or not 0 < self.clamp_T[0] < self.clamp_T[1]:
            raise ValueError(f"clamp_T is {self.clamp_T}: give [smallest, largest] with 0 < smallest < largest")
        if self.shrinkage != "auto" and not 0 <= self.shrinkage <= 1:
            raise ValueError(f"shrinkage is {self.shrinkage}: give auto, or 0 (none) to 1 (one T for all bins)")
        return self


class AffineOptions(Section):
    """log sigma' = log T_b + a·covariates."""

    ridge: float = Field(default=1.0, ge=0, description="penalty on the slopes, in planets")
    shift: bool = Field(default=True, description="correct mu by its bias in each channel")
    smooth_bins: int = Field(default=9, ge=1, description="channels in the running mean of features; 1: none")


class ModelOptions(Section):
    """The network."""

    backend: Literal["gatconv", "none"] = Field(default="gatconv", description="`none`: the same network without edges")
    head: Literal["scale", "quantile"] = Field(
        default="scale", description="`quantile`: 39 quantiles by pinball loss, their width as scale"
    )
    hidden: int = Field(default=32, ge=4, description="width of a node's state")
    layers: int = Field(default=2, ge=1, le=6, description="attention layers")
    heads: int = Field(default=2, ge=1, description="attention heads")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="share of activations set to 0 in training")
    use_edge_features: bool = Field(default=False, description="distance in wavelength enters the attention")

    @model_validator(mode="after")
    def _whole_heads(self) -> ModelOptions:
        if self.hidden % self.heads:
            raise ValueError(
                f"hidden={self.hidden} is not a multiple of heads={self.heads}: each head takes an equal part of the hidden width"
            )
        return self


class GraphOptions(Section):
    """Edges between channels."""

    k_proximity: int = Field(default=8, ge=1, le=282, description="nearest channels that a channel attends to, itself not counted")


class EarlyStop(Section):
    """The end of training before its last epoch."""

    enabled: bool = Field(default=True, description="stop where the loss on held-out planets no longer falls")
    patience: int = Field(default=12, ge=1, description="epochs without a gain")
    validation_fraction: float = Field(default=0.2, gt=0, lt=0.5, description="share of the fit planets that stops the training")


class FitOptions(Section):
    """Training of the network."""

    epochs: int = Field(default=50, ge=0, description="largest number of passes over the planets")
    batch_size: int = Field(default=16, ge=1, description="planets in a step")
    lr: float = Field(default=5e-3, gt=0, description="learning rate")
    weight_decay: float = Field(default=1e-3, ge=0, description="penalty on the weights")
    conformal_fraction: float = Field(default=0.5, ge=0.2, le=0.8, description="share of planets held out for the intervals")
    seed: int = Field(default=0, ge=0, description="seed of the splits and of the network")
    early_stop: EarlyStop = EarlyStop()


class Coverage(Section):
    """Coverage of the intervals."""

    target: float | None = Field(default=None, gt=0, lt=1, description="probability that an interval covers; null: 1 - conformal.alpha")


class ConformalOptions(Section):
    """Intervals from held-out planets."""

    enabled: bool = Field(default=True, description="make intervals")
    method: Literal["split", "joint"] = Field(
        default="split", description="`split`: an interval for each channel; `joint`: one band for all channels of a planet"
    )
    alpha: float = Field(default=0.1, gt=0, lt=1, description="share of misses")
    per_bin: bool = Field(default=True, description="false: one quantile for all channels")
    groups: int = Field(default=1, ge=1, description="groups of planets by mean log sigma (Mondrian), each with its own quantiles")

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
    """The graph network over channels; its `conformal` and `coverage` hold for every method."""

    model: ModelOptions = ModelOptions()
    graph: GraphOptions = GraphOptions()
    fit: FitOptions = FitOptions()
    coverage: Coverage = Coverage()
    conformal: ConformalOptions = ConformalOptions()
    ablation: bool = Field(default=True, description="also fit the network without edges, for the printed comparison")

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
    """Recalibration of predictions after inference."""

    method: Method = Field(default="none", description="`none`: predictions are left as they are")
    io: IoPaths = IoPaths()
    score: ScoreOptions = ScoreOptions()
    temperature: TemperatureOptions = TemperatureOptions()
    affine: AffineOptions = AffineOptions()
    corel: CorelOptions = CorelOptions()
