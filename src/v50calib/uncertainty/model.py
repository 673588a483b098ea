"""A fitted calibrator and its application to mu and sigma of new planets. Plain arrays; torch only where a network is evaluated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.errors import DataError
from v50calib.kernels.arrays import Float
from v50calib.uncertainty.covariates import Standardizer, covariates, logged
from v50calib.uncertainty.options import CorelOptions
from v50calib.uncertainty.tables import Bands, Features, Predictions, matched


@dataclass(frozen=True)
class Inputs:
    """mu, sigma (planet, bin), features (planet, bin, F) or None, all of the same planets."""

    mu: Float
    sigma: Float
    features: Float | None = None

    def take(self, rows: NDArray[np.int64]) -> Inputs:
        return Inputs(self.mu[rows], self.sigma[rows], None if self.features is None else self.features[rows])


@dataclass(frozen=True)
class Ratio:
    """log sigma'/sigma beyond the per-bin T, from covariates: slopes, or a network.

    positive (F,): features whose logarithm is taken; smooth_bins: of the features' running mean.
    """

    standard: Standardizer
    positive: NDArray[np.bool_]
    smooth_bins: int
    slopes: Float | None = None
    network: dict[str, NDArray[np.float32]] | None = None
    options: CorelOptions | None = None

    def covariates(self, inputs: Inputs) -> Float:
        """Standardized covariates (planet, bin, C). Raises DataError where features are missing or of another number."""
        if not self.positive.size:
            # fitted without features: in a blend, given features belong to other parts
            return self.standard(covariates(inputs.mu, inputs.sigma, smooth_bins=self.smooth_bins))
        given = 0 if inputs.features is None else inputs.features.shape[2]
        if given != self.positive.size:
            raise DataError(
                f"the model was fitted with {self.positive.size} features a channel, but {given} are given: "
                "use the same --features table as in the fit"
            )
        assert inputs.features is not None
        features = logged(inputs.features, self.positive)
        return self.standard(covariates(inputs.mu, inputs.sigma, features, smooth_bins=self.smooth_bins))

    def __call__(self, inputs: Inputs) -> Float:
        x = self.covariates(inputs)
        if self.slopes is not None:
            return np.asarray(x @ self.slopes)
        assert self.network is not None
        assert self.options is not None
        log_scale, trained_type = load_torch()
        nodes, count = inputs.mu.shape[1], x.shape[2]
        return np.asarray(log_scale(trained_type(self.network, count, nodes, np.nan, np.nan, 0), x, self.options))


@dataclass(frozen=True)
class Scale:
    """mu' = mu + shift sigma, sigma' = T sigma exp(Σ weight·ratio); T and shift (bin,); parts: (weight, ratio).

    >>> scale = Scale(T=np.array([1.5]), shift=np.array([-0.5]))
    >>> scale(Inputs(np.array([[10.0]]), np.array([[2.0]])))
    (array([[9.]]), array([[3.]]))
    """

    T: Float
    shift: Float
    parts: tuple[tuple[float, Ratio], ...] = ()

    def __call__(self, inputs: Inputs) -> tuple[Float, Float]:
        return inputs.mu + self.shift * inputs.sigma, inputs.sigma * self.T * np.exp(summed(self.parts, inputs))


def summed(parts: tuple[tuple[float, Ratio], ...], inputs: Inputs) -> Float:
    """Weighted sum of log ratios, (planet, bin); 0 without parts.

    >>> summed((), Inputs(np.ones((2, 3)), np.ones((2, 3)))).shape
    (2, 3)
    """
    out = np.zeros(inputs.mu.shape)
    for weight, ratio in parts:
        out = out + weight * ratio(inputs)
    return out


@dataclass(frozen=True)
class BandModel:
    """Conformal intervals: centre ± q·scale; q (group, bin), edges (group - 1,) of the planet's mean log sigma; kind names them.

    >>> bands = BandModel(Scale(np.ones(1), np.zeros(1)), q=np.array([[2.0]]), edges=np.zeros(0), alpha=0.1, kind="per bin", planets=99)
    >>> interval = bands(Inputs(np.array([[10.0]]), np.array([[3.0]])))
    >>> interval.low, interval.high
    (array([[4.]]), array([[16.]]))
    """

    scale: Scale
    q: Float
    edges: Float
    alpha: float
    kind: str
    planets: int

    def groups(self, inputs: Inputs) -> NDArray[np.int64]:
        return np.searchsorted(self.edges, np.log(inputs.sigma).mean(axis=1), side="right").astype(np.int64)

    def __call__(self, inputs: Inputs) -> Bands:
        mu, sigma = self.scale(inputs)
        half = self.q[self.groups(inputs)] * sigma
        return Bands(mu - half, mu + half, self.alpha, self.kind)


@dataclass(frozen=True)
class Calibrator:
    """A fitted model. method: as asked for; used: what sigma comes from, another method after a fall-back.

    scale gives mu and sigma for the likelihood, bands the intervals; report: the comparison made in the fit; notes: for the
    user.
    """

    method: str
    used: str
    planets: int
    scale: Scale
    bands: BandModel | None
    feature_names: tuple[str, ...] = ()
    report: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def n_bins(self) -> int:
        return self.scale.T.size


@dataclass(frozen=True)
class Recalibrated:
    """predictions: the new mu and sigma; bands: intervals, None where the model has none; clipped: number of mu below 0, set to 0."""

    predictions: Predictions
    bands: Bands | None
    clipped: int


def inputs_of(predictions: Predictions, features: Features | None) -> Inputs:
    """Predictions with the features of the same planets. Raises DataError where a planet has none.

    >>> features = Features(("2", "1"), np.array([[[20.0]], [[10.0]]]), ("noise",))
    >>> inputs_of(Predictions(("1",), np.ones((1, 1)), np.ones((1, 1))), features).features
    array([[[10.]]])
    """
    if features is None:
        return Inputs(predictions.mu, predictions.sigma)
    _, rows = matched(predictions.ids, features.ids, "predictions and features", all_left=True)
    return Inputs(predictions.mu, predictions.sigma, features.values[rows])


def apply(calibrator: Calibrator, predictions: Predictions, features: Features | None = None) -> Recalibrated:
    """Recalibrate new planets. Raises DataError for another number of channels, or features unlike those of the fit.

    >>> model = Calibrator("temperature", "temperature", 100, Scale(np.array([1.5, 2.0]), np.zeros(2)), None)
    >>> new = apply(model, Predictions(("1",), np.array([[0.01, 0.02]]), np.array([[1.0, 1.0]])))
    >>> new.predictions.sigma
    array([[1.5, 2. ]])
    """
    if predictions.mu.shape[1] != calibrator.n_bins:
        raise DataError(
            f"the model has {calibrator.n_bins} channels, the predictions {predictions.mu.shape[1]}: they are of different instruments"
        )
    needs = calibrator.feature_names
    if needs and (features is None or features.names != needs):
        given = "none are given" if features is None else f"{', '.join(features.names)} are given"
        raise DataError(f"the model was fitted with the features {', '.join(needs)}, but {given}: add --features with the same ones")
    inputs = inputs_of(predictions, features if needs else None)
    mu, sigma = calibrator.scale(inputs)
    negative = mu < 0
    bands = calibrator.bands(inputs) if calibrator.bands is not None else None
    return Recalibrated(Predictions(predictions.ids, np.where(negative, 0.0, mu), sigma), bands, int(negative.sum()))


def load_torch() -> tuple[Any, Any]:
    """`corel_fit.log_scale` and `Trained`, imported when first needed. Raises DataError where torch is not installed."""
    module = corel_module()
    return module.log_scale, module.Trained


def corel_module() -> Any:
    """The module that needs torch. Raises DataError, with what to install, where it is missing."""
    try:
        from v50calib.uncertainty import corel_fit
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.split(".")[0] != "torch":
            raise
        raise DataError(
            "corel needs torch, which is not installed: pip install 'v50calib[corel]' (a CPU build is enough), or use temperature or affine"
        ) from exc
    return corel_fit
