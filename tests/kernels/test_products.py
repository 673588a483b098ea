"""The joint fit has the same digits whatever number of threads BLAS has: in a notebook, in a worker process, on a cluster's node."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from v50calib.kernels.products import ALONE, product

FIT = """
import hashlib
import numpy as np
from v50calib.kernels.blocks import Band, Block
from v50calib.kernels.depths import fit_joint
from v50calib.kernels.transit import Model, Prior, Shape
rng = np.random.default_rng(0)
shape, time = Shape(t0=3.0, period=96.0, a=12.0, b=0.3, k=0.1, u1=0.2, u2=0.1), np.linspace(0.0, 6.0, 200)
design = np.stack([time**i for i in range(5)] + [rng.normal(size=200) for _ in range(5)], axis=1) / 6.0 ** np.minimum(np.arange(10), 4)
flux = Model(time, time[1])(shape)[:, None] + 1e-3 * rng.normal(size=(200, 282))
block = Block(time, flux, np.full(flux.shape, 1e-3), time[1], design, ridge=np.r_[0.0, 0.0, 1e7, 1e7, 1e7, np.zeros(5)])
band = Band(np.linspace(-1.0, 1.0, 282), np.tile([[0.2], [0.1]], (1, 282)), 0.1, 0.1)
fit = fit_joint([block], [band], shape, np.array([3.0]), Prior((12.0, 0.6), (0.3, 0.3), (0.2, 0.1), (0.1, 0.1))).bands[0]
print(hashlib.sha256(np.concatenate([fit.depth, fit.sigma, fit.shared.ravel()]).tobytes()).hexdigest())
"""


def test_one_thread_and_two_give_the_same_fit() -> None:
    digests = set()
    for threads in ("1", "2"):
        environment = os.environ | {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        done = subprocess.run([sys.executable, "-c", FIT], env=environment, capture_output=True, text=True, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1


def test_blocks_cover_the_product() -> None:
    """Widths that divide the columns, that do not, and one of a single column; into an array that is there."""
    rng = np.random.default_rng(1)
    for m, k, n in ((200, 10, 282), (7, 3, 5), (ALONE, 2, 3), (55, 200, 282)):
        a, b, out = rng.normal(size=(m, k)), rng.normal(size=(k, n)), np.full((m, n), np.nan)
        np.testing.assert_allclose(product(a, b), np.einsum("mk,kn->mn", a, b), rtol=1e-9, atol=1e-12)
        assert product(a, b, out) is out
        np.testing.assert_array_equal(out, product(a, b))
