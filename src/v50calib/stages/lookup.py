"""Tables and curves of a code: what a user gives as a lookup, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from v50calib.kernels import adc as kernels
from v50calib.kernels.arrays import Float
from v50calib.kernels.pixelwise import evaluate_derivative, evaluate_polynomial


@dataclass(frozen=True)
class Table:
    """A look-up table as pieces of polynomials (`kernels.adc.look_up`)."""

    knots: Float
    coef: Float

    def __call__(self, values: Float) -> tuple[Float, Float]:
        return kernels.look_up(values, self.knots, self.coef)


@dataclass(frozen=True)
class Curve:
    """One polynomial for all pixels, ascending powers."""

    coef: Float

    def __call__(self, values: Float) -> tuple[Float, Float]:
        coef = self.coef.reshape((-1,) + (1,) * values.ndim)
        return evaluate_polynomial(values, coef), evaluate_derivative(values, coef)


def make_table(table: Float, interp: str) -> Table:
    """Straight lines or a monotonic cubic (Fritsch & Carlson 1980, SciPy's PCHIP) through the rows of a table (n, 2)."""
    x, y = np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])
    coef = kernels.linear_pieces(x, y) if interp == "linear" else np.ascontiguousarray(PchipInterpolator(x, y).c)
    return Table(x, coef)
