"""Posterior of a mixture of Gaussians by dense algebra: the oracle of the estimators."""

from __future__ import annotations

import numpy as np
from scipy.stats import multivariate_normal

from v50calib.estimators import Measured
from v50calib.kernels.arrays import Float


def dense_posterior(measured: Measured, mean: list[Float], members: list[tuple[float, Float]]) -> tuple[Float, Float, float]:
    """Mean, covariance and log evidence of a mixture of Gaussians by numpy.linalg on the measured channels."""
    keep = measured.known
    noise = np.diag(measured.own_var[keep]) + measured.shared[keep] @ measured.shared[keep].T
    logs, means, covs = [], [], []
    for m, (weight, cov) in zip(mean, members, strict=True):
        total = cov[np.ix_(keep, keep)] + noise
        gain = np.linalg.solve(total, cov[keep]).T
        logs.append(np.log(weight) + multivariate_normal.logpdf(measured.depth[keep], m[keep], total, allow_singular=True))
        means.append(m + gain @ (measured.depth - m)[keep])
        covs.append(cov - gain @ cov[keep])
    top = max(logs)
    w = np.exp(np.array(logs) - top)
    evidence = top + np.log(w.sum())
    w /= w.sum()
    overall = np.einsum("k,kj->j", w, means)
    spread = sum(wk * (ck + np.outer(mk - overall, mk - overall)) for wk, mk, ck in zip(w, means, covs, strict=True))
    return overall, np.asarray(spread), float(evidence)
