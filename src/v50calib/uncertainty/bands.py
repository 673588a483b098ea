"""Parts of every fit: the split of planets, the affine scale, and conformal intervals around a scale."""

from __future__ import annotations

import numpy as np

from v50calib.errors import DataError
from v50calib.kernels.arrays import Float, Index
from v50calib.uncertainty import conformal
from v50calib.uncertainty.affine import fit_slopes, shrunk_shift
from v50calib.uncertainty.covariates import covariates, prepared_features, standardizer
from v50calib.uncertainty.model import BandModel, Inputs, Ratio, Scale
from v50calib.uncertainty.options import AffineOptions, CorelOptions
from v50calib.uncertainty.temperature import fit_temperature


def split_planets(n: int, share: float, seed: int) -> tuple[Index, Index]:
    """Random split of n planets: (the rest, a share of them), both sorted.

    >>> rest, held = split_planets(10, 0.3, seed=0)
    >>> len(rest), len(held), sorted([*rest.tolist(), *held.tolist()])
    (7, 3, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    order = np.random.default_rng(seed).permutation(n)
    held = max(1, round(share * n))
    return np.sort(order[held:]), np.sort(order[:held])


def affine_scale(inputs: Inputs, y: Float, options: AffineOptions) -> Scale:
    """Shift, slopes and T of every bin; the shift is estimated with the slopes' weights, the slopes again after it.

    >>> draws = np.random.default_rng(1)
    >>> inputs = Inputs(draws.uniform(0.01, 0.02, (2000, 6)), draws.uniform(1e-5, 2e-5, (2000, 6)))
    >>> y = inputs.mu + 2.0 * inputs.sigma * draws.normal(size=(2000, 6))  # sigma is half of what it should be
    >>> (affine_scale(inputs, y, AffineOptions())(inputs)[1] / inputs.sigma).mean().round(1)
    np.float64(2.0)
    """
    features, positive = prepared_features(inputs.features)
    values = covariates(inputs.mu, inputs.sigma, features, smooth_bins=options.smooth_bins)
    standard = standardizer(values)
    x, z = standard(values), (y - inputs.mu) / inputs.sigma
    slopes, shift = fit_slopes(z, x, options.ridge), np.zeros(z.shape[1])
    if options.shift:
        shift = shrunk_shift(z, np.exp(-2.0 * (x @ slopes)))
        slopes = fit_slopes(z - shift, x, options.ridge)
    T = fit_temperature((z - shift) * np.exp(-(x @ slopes)), per_bin=True, clamp=(1e-3, 1e3)).T
    return Scale(T, shift, ((1.0, Ratio(standard, positive, options.smooth_bins, slopes=slopes)),))


def make_bands(scale: Scale, inputs: Inputs, y: Float, options: CorelOptions, notes: list[str]) -> BandModel:
    """Conformal quantiles from planets that `scale` was not fitted on; too few for the level: infinite, with a note.

    >>> inputs, y = Inputs(np.zeros((19, 1)), np.ones((19, 1))), np.arange(1.0, 20.0)[:, None]
    >>> make_bands(Scale(np.ones(1), np.zeros(1)), inputs, y, CorelOptions(), []).q  # the 18th of 19 residuals
    array([[18.]])
    """
    cfg, alpha = options.conformal, options.alpha
    mu, sigma = scale(inputs)
    scores = np.abs(y - mu) / sigma
    n, bins = scores.shape
    edges = np.quantile(np.log(inputs.sigma).mean(axis=1), np.arange(1, cfg.groups) / cfg.groups)
    kind = "per bin"
    if cfg.method == "joint":
        outside, inside = split_planets(n, 0.5, options.fit.seed + 1)
        if not len(outside):
            raise DataError(f"a joint band needs 2 planets at least, but there are {n}")
        q = conformal.joint_quantile(scores[inside], alpha, np.sqrt(np.mean(scores[outside] ** 2, axis=0)))[None, :]
        kind, n = "joint", len(inside)
    elif not cfg.per_bin:
        q, kind = np.full((1, bins), conformal.pooled_quantile(scores, alpha)), "pooled"
    else:
        groups = np.searchsorted(edges, np.log(inputs.sigma).mean(axis=1), side="right").astype(np.int64)
        q = conformal.mondrian_quantile(scores, groups, cfg.groups, alpha)
        kind = f"per bin in {cfg.groups} groups" if cfg.groups > 1 else kind
    if np.isinf(q).any():
        needed = conformal.least_planets(alpha) * cfg.groups
        notes.append(f"{n} planets are too few for {1 - alpha:.0%} intervals ({needed} are needed): the intervals are infinite")
    return BandModel(scale, q, edges, alpha, kind, n)
