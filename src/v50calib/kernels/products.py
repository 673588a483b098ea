"""Matrix products whose digits do not depend on the number of BLAS threads, or on how many rows are given at once."""

from __future__ import annotations

import numpy as np

from v50calib.kernels.arrays import Float
from v50calib.kernels.compiler import nb

#: multiplications up to which BLAS works with one thread (OpenBLAS' interface/gemm.c: SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD)
ALONE = 65536 * 4


def product(a: Float, b: Float, out: Float | None = None) -> Float:
    """a @ b (m, n), of a (m, k) and b (k, n), in blocks of columns that BLAS does not split among threads.

    Threads divide a product by their number, and its edges are summed in another order: the same visit would have other last digits
    in a worker process than in a notebook.

    >>> a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    >>> bool((product(a, b) == a @ b).all())
    True
    """
    (m, k), n = a.shape, b.shape[1]
    found = np.empty((m, n)) if out is None else out
    width = max(1, ALONE // max(m * k, 1))
    for start in range(0, n, width):
        found[:, start : start + width] = a @ b[:, start : start + width]
    return found


def row_products(a: Float, b: Float) -> Float:
    """a @ b (m, n), of a (m, k) and b (k, n), row by row: BLAS sums a row in an order that depends on how many rows there are.

    >>> a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    >>> bool((row_products(a, b) == a @ b).all())
    True
    """
    out = np.zeros((len(a), b.shape[1]))
    if b.shape[1] < b.shape[0]:
        _dots(np.ascontiguousarray(a), np.ascontiguousarray(b.T), out)
    else:
        _combinations(np.ascontiguousarray(a), np.ascontiguousarray(b), out)
    return out


@nb.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _dots(a: Float, b: Float, out: Float) -> None:
    """``out[i, j] = Σ_k a[i, k] b[j, k]`` in vector lanes, whose order depends on the length alone."""
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            total = 0.0
            for k in range(a.shape[1]):
                total += a[i, k] * b[j, k]
            out[i, j] = total


@nb.njit(cache=True, nogil=True, fastmath={"contract"})
def _combinations(a: Float, b: Float, out: Float) -> None:
    """Adds ``Σ_k a[i, k] b[k, j]`` to out[i, j], k after k."""
    for i in range(a.shape[0]):
        row = out[i]
        for k in range(b.shape[0]):
            weight, term = a[i, k], b[k]
            for j in range(row.size):
                row[j] += weight * term[j]
