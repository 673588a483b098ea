"""Compiled pass from raw codes to single reads: a polynomial per pixel less a rate times the exposure."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

_jit = nb.njit(cache=True, nogil=True, fastmath={"contract", "nsz", "arcp"})

Float = NDArray[np.float64]


@_jit
def read_polynomial(raw: NDArray[np.uint16], coef: Float, rate: Float, exposure: Float, out: Float) -> None:
    """``out = Σ_k coef[k]·raw^k - rate·exposure`` for reads raw (n, npix); coef (terms, npix) ascending, rate (npix,), exposure (n,)."""
    n, npix = out.shape
    terms = coef.shape[0]
    for i in range(n):
        row, codes, t = out[i], raw[i], exposure[i]
        for p in range(npix):
            row[p] = coef[terms - 1, p]
        for k in range(terms - 2, -1, -1):
            c = coef[k]
            for p in range(npix):
                row[p] = row[p] * np.float64(codes[p]) + c[p]
        for p in range(npix):
            row[p] -= rate[p] * t
