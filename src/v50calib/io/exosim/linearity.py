"""The inverse of ExoSim's pixel non-linearity, in the form of the chain's linearity map.

ExoSim's detector answers Q electrons with Q_det = Q · Σ a_i Q^i (its task ApplyPixelsNonLinearity); the chain takes Q = Σ c_k Q_det^k.
"""

from __future__ import annotations

import numpy as np

from v50calib.errors import DataError
from v50calib.kernels.arrays import Float
from v50calib.schema import LINEARITY_TERMS

#: electrons between which the inverse is fitted: a little below the bias, a little above the full well
LOWEST, ABOVE_WELL = -400.0, 1.05
#: Chebyshev nodes of the fit, and the unit of its powers [e-]
NODES, SCALE = 160, 1e5
#: the inverse is wrong by this share of the full well at most, or refused
WORST = 1e-3


def invert(forward: Float, well: float) -> Float:
    """Coefficients (6, y, x) in ascending powers of measured electrons from ExoSim's (terms, y, x); well: full well [e-].

    A least-squares fit at Chebyshev nodes over what a pixel can hold. Raises DataError where a pixel's answer cannot be undone.

    >>> straight = np.zeros((5, 1, 1)); straight[0] = 0.5
    >>> (invert(straight, 1e5)[:, 0, 0].round(6) + 0.0).tolist()
    [0.0, 2.0, 0.0, 0.0, 0.0, 0.0]
    """
    most = ABOVE_WELL * well
    electrons = 0.5 * (most + LOWEST) + 0.5 * (most - LOWEST) * np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
    out = np.empty((LINEARITY_TERMS, *forward.shape[1:]))
    for y, x in np.ndindex(*forward.shape[1:]):
        measured = electrons * np.polyval(forward[::-1, y, x], electrons)
        powers = np.vander(measured / SCALE, LINEARITY_TERMS, increasing=True)
        solution = np.linalg.lstsq(powers, electrons, rcond=None)[0]
        worst = float(np.abs(powers @ solution - electrons).max())
        if not worst <= WORST * well:
            raise DataError(
                f"the non-linearity of pixel y={y} x={x}, coefficients {forward[:, y, x].tolist()}, has no inverse up to {most:.6g} e-: "
                f"the best polynomial is off by {worst:.3g} e-; simulate with a weaker non-linearity or a smaller well"
            )
        out[:, y, x] = solution / SCALE ** np.arange(LINEARITY_TERMS)
    return out
