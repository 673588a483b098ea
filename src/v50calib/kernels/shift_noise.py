"""What the noise of a shift that is read from the light curves themselves does to the depths of the joint fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from v50calib.kernels.arrays import Float
from v50calib.kernels.blocks import Block
from v50calib.kernels.joint_shapes import Curves, Reduced

#: what the correction for a shift's own noise is known to, as a share of it: the spectrum's slope and the noise are measured
BIAS_KNOWN = 0.2
#: a block, its transit curves, and its reduced normal equations
Fitted = tuple[Block, Curves, Reduced]


def shift_noise(fitted: Sequence[Fitted]) -> Float:
    """What the noise of measured shifts leaves in a band's depths (channel,), in units of their own error: each visit by its share of the
    channel's information.

    >>> from types import SimpleNamespace as Made
    >>> seen = Made(gg=np.array([1.0, 1.0])), Made(gg=np.array([3.0, 1.0]))
    >>> blocks = Made(shift_noise=np.array([0.4, -0.4])), Made(shift_noise=None)
    >>> shift_noise([(block, None, one) for block, one in zip(blocks, seen)])
    array([ 0.1, -0.2])
    """
    total = np.sum([r.gg for _, _, r in fitted], axis=0)
    found = np.zeros_like(total)
    for block, _, r in fitted:
        if block.shift_noise is not None:
            found += r.gg * block.shift_noise
    return np.where(total > 0, found / np.where(total > 0, total, 1.0), 0.0)


def shift_bias(fitted: Sequence[Fitted]) -> Float:
    """What the depths of a band (channel,) are wrong by since a measured shift has noise of its own.

    Least squares on a noisy regressor finds a coefficient that is too small by the noise's share, and by what that noise has in common
    with the channel's (Fuller 1987, Measurement Error Models, section 1.2): a drift of the pointing stays in part, and is taken for depth
    where it resembles a transit. `Block.shift_bias`, summed over the samples, is what the normal equations lack; their solution says
    what it does to a depth. The orbit, which all channels share, is left as it is: the pattern has both signs.

    >>> from types import SimpleNamespace as Made
    >>> block = Made(shift_bias=np.array([0.5]), shift_term=0, sigma=np.ones((102, 1)), design=np.ones((102, 1)))
    >>> reduced = Made(gg=np.array([50.0]), solved=np.array([[[0.1, 0.0]]]))
    >>> shift_bias([(block, Made(base=np.ones((102, 1))), reduced)]).round(3)
    array([0.1])
    """
    total = np.sum([r.gg for _, _, r in fitted], axis=0)
    found = np.zeros_like(total)
    for block, curves, r in fitted:
        if block.shift_bias is None:
            continue
        samples = np.isfinite(block.sigma)
        # the baseline and the depth take a share of the shift's noise as well
        left = np.maximum(1.0 - (block.design.shape[1] + 1) / np.maximum(samples.sum(axis=0), 1), 0.0)
        lacking = block.shift_bias * left * np.where(samples, np.square(curves.base), 0.0).sum(axis=0)
        found += lacking * r.solved[:, block.shift_term, -2]
    return np.where(total > 0, found / np.where(total > 0, total, 1.0), 0.0)
