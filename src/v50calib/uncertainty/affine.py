"""Affine: log sigma' = log T_b + a·covariates by ridge regression on the Gaussian likelihood; a shrunk shift of mu per bin."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from v50calib.kernels.arrays import Float

#: fewer planets are refused
MIN_PLANETS = 30
#: residuals are clipped at this many sigma (after the pooled rescaling) when slopes are fitted
CLIP_Z = 6.0


def fit_slopes(z: Float, x: Float, ridge: float) -> Float:
    """Slopes a (C,) of log sigma'/sigma on standardized covariates x (planet, bin, C); z (planet, bin).

    Minimizes mean[g + z² exp(-2g)/2] + ridge |a|²/(2 n), g = log T_b + a·x, with every T_b at its optimum for the given a.

    >>> draws = np.random.default_rng(1)
    >>> x = draws.normal(size=(2000, 2, 1))
    >>> z = draws.normal(size=(2000, 2)) * np.exp(0.5 * x[:, :, 0])  # errors that grow with the covariate
    >>> fit_slopes(z, x, ridge=0.0).round(1)
    array([0.5])
    """
    n, bins, terms = x.shape
    square = np.minimum(np.square(z) / np.square(z).mean(), CLIP_Z**2)
    flat = np.ascontiguousarray(x.reshape(n * bins, terms))

    def objective(a: Float) -> tuple[float, Float]:
        g = np.clip((flat @ a).reshape(n, bins), -5.0, 5.0)
        scaled = square * np.exp(-2.0 * g)
        level = scaled.mean(axis=0)
        value = float((0.5 * np.log(level)).mean() + g.mean() + 0.5 * ridge * (a @ a) / n)
        slope = flat.T @ (1.0 - scaled / level).ravel() / g.size + ridge * a / n
        return value, slope

    found = minimize(objective, np.zeros(terms), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return np.asarray(found.x)


def shrunk_shift(z: Float, weight: Float | None = None) -> Float:
    """Bias of z per bin, (bin,), shrunk towards 0 (James & Stein 1961) by the share of its square that is noise.

    weight (planet, bin): inverse variances; None: equal. The noise is the planets' own scatter about the bin's mean.

    >>> shrunk_shift(np.array([[1.9], [2.1]]))  # mean 2, variance of it 0.005: 2·(1 - 0.005/2²)
    array([1.9975])
    """
    weight = np.ones_like(z) if weight is None else weight
    total = weight.sum(axis=0)
    mean = (weight * z).sum(axis=0) / total
    noise = np.square(weight * (z - mean)).sum(axis=0) / total**2
    power = float(np.mean(mean**2 / noise))
    return mean * max(0.0, 1.0 - 1.0 / power) if power > 0 else np.zeros_like(mean)
