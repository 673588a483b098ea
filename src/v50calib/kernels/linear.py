"""Small symmetric systems of equations inside compiled loops, solved without exceptions and without allocation."""

from __future__ import annotations

import math

from v50calib.kernels.arrays import Float
from v50calib.kernels.compiler import nb

_jit = nb.njit(cache=True, nogil=True, boundscheck=False)


@_jit
def solve_positive(matrix: Float, right: Float, solution: Float) -> bool:
    """Solve ``matrix·solution = right`` by Cholesky; matrix (k, k) is overwritten. False where it is not positive definite.

    >>> solution = np.empty(2)
    >>> solve_positive(np.array([[2.0, 0.0], [0.0, 4.0]]), np.array([6.0, 8.0]), solution), solution
    (True, array([3., 2.]))
    """
    k = right.size
    for j in range(k):
        for i in range(j, k):
            total = matrix[i, j]
            for m in range(j):
                total -= matrix[i, m] * matrix[j, m]
            if i == j:
                if not total > 0.0:
                    return False
                matrix[j, j] = math.sqrt(total)
            else:
                matrix[i, j] = total / matrix[j, j]
    for i in range(k):
        total = right[i]
        for m in range(i):
            total -= matrix[i, m] * solution[m]
        solution[i] = total / matrix[i, i]
    for i in range(k - 1, -1, -1):
        total = solution[i]
        for m in range(i + 1, k):
            total -= matrix[m, i] * solution[m]
        solution[i] = total / matrix[i, i]
    return True
