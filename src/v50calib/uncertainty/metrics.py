"""Numbers that say whether sigma is right. Arrays are (planet, bin); every average is over planets first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from v50calib.kernels.arrays import Float

LOG_2PI = float(np.log(2.0 * np.pi))
#: nominal central coverages of the reliability diagram and of ECE
LEVELS = np.linspace(0.05, 0.95, 19)


def gaussian_log_density(y: Float, mu: Float | float, sigma: Float | float) -> Float:
    """log N(y; mu, sigma) of each element.

    >>> gaussian_log_density(np.zeros(1), 0.0, 1.0).round(6), -0.5 * LOG_2PI
    (array([-0.918939]), -0.918938...)
    """
    return np.asarray(-0.5 * (((y - mu) / sigma) ** 2 + LOG_2PI) - np.log(sigma))


def crps(y: Float, mu: Float, sigma: Float) -> Float:
    """Continuous ranked probability score of N(mu, sigma) (Gneiting & Raftery 2007, JASA 102, 359, eq. 21); smaller is better.

    >>> crps(np.zeros(1), np.zeros(1), np.ones(1)).round(6)  # (√2 - 1)/√π
    array([0.233695])
    """
    z = (y - mu) / sigma
    density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    return np.asarray(sigma * (z * (2.0 * ndtr(z) - 1.0) + 2.0 * density - 1.0 / np.sqrt(np.pi)))


def pit(y: Float, mu: Float, sigma: Float) -> Float:
    """Probability integral transform of each element: uniform where sigma is right.

    >>> pit(np.array([-1.0, 0.0, 1.0]), np.zeros(3), np.ones(3)).round(4)
    array([0.1587, 0.5   , 0.8413])
    """
    return np.asarray(ndtr((y - mu) / sigma))


def central_coverage(z: Float, levels: Float = LEVELS) -> Float:
    """Share of |z| inside the central interval of each level, (level,).

    >>> central_coverage(np.array([0.0, -0.5, 1.0, 3.0]), np.array([0.5, 0.9]))  # within 0.674 and 1.645
    array([0.5 , 0.75])
    """
    limits = ndtri(0.5 + 0.5 * levels)
    return np.array([(np.abs(z) <= limit).mean() for limit in limits])


def expected_calibration_error(z: Float) -> float:
    """Mean |observed - nominal| central coverage over LEVELS (Kuleshov et al. 2018, ICML, with equal weights).

    >>> round(expected_calibration_error(np.zeros(10)), 9)  # everything is covered: the mean of 1 - level
    0.5
    """
    return float(np.abs(central_coverage(z) - LEVELS).mean())


def summary(y: Float, mu: Float, sigma: Float) -> dict[str, float]:
    """Calibration of Gaussian predictions in one record, means over all elements: bias is the mean of z, mean_sigma and
    rms_residual in the units of y, worst_bin_coverage_90 that of the bin farthest from 0.9.

    >>> y = np.array([[1.0], [-1.0]])
    >>> numbers = summary(y, 0 * y, 0 * y + 0.5)  # residuals of ±2 sigma
    >>> numbers["rms_z"], numbers["bias"], numbers["coverage_90"], numbers["rms_residual"]
    (2.0, 0.0, 0.0, 1.0)
    """
    z = (y - mu) / sigma
    inside = np.abs(z) <= ndtri(0.95)
    per_bin = inside.mean(axis=0)
    return {
        "gll": float(gaussian_log_density(y, mu, sigma).mean()),
        "rms_z": float(np.sqrt(np.mean(z**2))),
        "bias": float(z.mean()),
        "coverage_90": float(inside.mean()),
        "worst_bin_coverage_90": float(per_bin[np.argmax(np.abs(per_bin - 0.9))]),
        "ece": expected_calibration_error(z),
        "crps": float(crps(y, mu, sigma).mean()),
        "mean_sigma": float(sigma.mean()),
        "rms_residual": float(np.sqrt(np.mean((y - mu) ** 2))),
    }


def per_bin(y: Float, mu: Float, sigma: Float) -> dict[str, Float]:
    """The same per bin, {name: (bin,)}: gll, bias (of z), rms_z, coverage_68, coverage_90, ece, crps.

    >>> y = np.array([[1.0, 3.0], [-1.0, -3.0]])
    >>> per_bin(y, 0 * y, 0 * y + 1)["rms_z"]
    array([1., 3.])
    """
    z = (y - mu) / sigma
    observed = np.stack([(np.abs(z) <= limit).mean(axis=0) for limit in ndtri(0.5 + 0.5 * LEVELS)])
    return {
        "gll": gaussian_log_density(y, mu, sigma).mean(axis=0),
        "bias": z.mean(axis=0),
        "rms_z": np.sqrt(np.mean(z**2, axis=0)),
        "coverage_68": (np.abs(z) <= ndtri(0.84)).mean(axis=0),
        "coverage_90": (np.abs(z) <= ndtri(0.95)).mean(axis=0),
        "ece": np.abs(observed - LEVELS[:, None]).mean(axis=0),
        "crps": crps(y, mu, sigma).mean(axis=0),
    }


def coverage(y: Float, low: Float, high: Float) -> tuple[float, float]:
    """Share of elements inside [low, high], and of planets inside in every bin.

    >>> y = np.array([[0.5, 0.5], [0.5, 2.0]])
    >>> coverage(y, 0 * y, 0 * y + 1)
    (0.75, 0.5)
    """
    inside = (y >= low) & (y <= high)
    return float(inside.mean()), float(inside.all(axis=1).mean())


def group_coverage(inside: NDArray[np.bool_], difficulty: Float, groups: int = 5) -> Float:
    """Coverage in groups of planets of equal size by `difficulty` (n,), (groups,).

    >>> group_coverage(np.array([True, False, True, True]), difficulty=np.array([9.0, 8.0, 1.0, 2.0]), groups=2)
    array([1. , 0.5])
    """
    order = np.array_split(np.argsort(difficulty, kind="stable"), groups)
    return np.array([inside[rows].mean() for rows in order])
