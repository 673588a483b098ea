"""Limb darkening of a Sun-like star as a smooth function of wavelength and effective temperature."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

_T_REF_K = 5500.0
_T_RANGE_K = (3000.0, 10000.0)


def quadratic_limb_darkening(wavelength_um: ArrayLike, teff_k: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Approximate coefficients of I(mu) / I(1) = 1 - u1 (1 - mu) - u2 (1 - mu)^2.

    wavelength_um  any shape, µm; power laws fitted for 0.5-5 µm
    teff_k         effective temperature, K; held inside 3000-10000 K

    Returns (u1, u2), each of the shape of `wavelength_um`: u1 0.45 at 0.7 µm and 0.10 at 3 µm for 5500 K, smaller
    for hotter stars; u2 0.20 falling to 0.12. They follow tabulated values for FGK dwarfs (Claret & Bloemen 2011,
    A&A 529, A75) to about 0.05 each: a starting point for a fit, not a replacement for the tables.

    >>> u1, u2 = quadratic_limb_darkening([0.7, 3.0], 5500.0)
    >>> u1.round(2), u2.round(2)
    (array([0.45, 0.1 ]), array([0.2 , 0.12]))
    """
    wavelength = np.asarray(wavelength_um, dtype=np.float64)
    teff = float(np.clip(teff_k, *_T_RANGE_K))
    u1 = 0.45 * (wavelength / 0.7) ** -1.034 * (_T_REF_K / teff) ** 1.3
    u2 = 0.20 * (wavelength / 0.7) ** -0.35
    # dim, red end of the range: keep the limb's intensity above zero
    return np.minimum(u1, 0.95 - u2), u2


def kipping(u1: float, u2: float) -> tuple[float, float]:
    """Quadratic coefficients as (q1, q2): uncorrelated in a fit, physical on the unit square.

    Kipping 2013, MNRAS 435, 2152, eqs. 17-18.
    A star without limb darkening is q1 = 0, where q2 says nothing: 0.5 is given.

    >>> [round(float(q), 9) for q in kipping(0.4, 0.2)]
    [0.36, 0.333333333]
    """
    total = u1 + u2
    return (total**2, 0.5 * u1 / total) if total > 1e-9 else (0.0, 0.5)


def from_kipping(q1: float, q2: float) -> tuple[float, float]:
    """(u1, u2) of (q1, q2), both held inside [0, 1] (Kipping 2013, eqs. 15-16).

    >>> [round(float(u), 9) for u in from_kipping(0.36, 1 / 3)]
    [0.4, 0.2]
    """
    root, q2 = math.sqrt(min(max(q1, 0.0), 1.0)), min(max(q2, 0.0), 1.0)
    return 2.0 * root * q2, root * (1.0 - 2.0 * q2)
