"""Matrix products whose digits do not depend on the number of BLAS threads."""

from __future__ import annotations

import numpy as np

from v50calib.kernels.arrays import Float

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
