"""What the joint fit of depths takes and gives: light curves of a visit and instrument, channels of an instrument, depths."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from v50calib.kernels.arrays import Float
from v50calib.kernels.transit import Shape


@dataclass(frozen=True)
class Block:
    """Light curves of one visit and instrument.

    time (n,), flux and sigma (n, channel): bins of `width` hours, sigma inf where a channel has no sample; design (n, terms)
    of the baseline, its first column constant; visit, band: indices of its mid-time and of its instrument. additive: the terms after
    the first do not dim with the star. ridge (terms,): inverse variance of the prior, about 0, on each term's coefficient.
    shift_noise (channel,): error that the noise of a term leaves in each channel, common to them all, in units of the channel's own; None:
    of no term. shift_bias (channel,): minus the covariance of the noise of that term, column `shift_term` of the design, with what
    it leaves in a channel, in units of that channel's variance (`kernels.lightcurves.Shift.noise_along`); None: not known.
    """

    time: Float
    flux: Float
    sigma: Float
    width: float
    design: Float
    visit: int = 0
    band: int = 0
    additive: bool = False
    ridge: Float | None = None
    shift_noise: Float | None = None
    shift_bias: Float | None = None
    shift_term: int = 0


@dataclass(frozen=True)
class Band:
    """Channels of an instrument: position (channel,) in [-1, 1] along wavelength, darkening (2, channel) prior u1 and u2, and the
    widths of the priors on the offsets of u1 and u2."""

    position: Float
    darkening: Float
    width_u1: float
    width_u2: float


@dataclass(frozen=True)
class Depths:
    """Depth and its standard error per channel of one instrument.

    depth, sigma (channel,); sigma_photon (channel,): with the shape known exactly; chi2 (channel,) reduced. shared (channel, k): the part
    of the errors that channels have in common, so that the covariance is ``diag(sigma² - Σ_k shared²) + shared sharedᵀ``.
    shape: orbit and the visit's mid-time; red: factor of noise that does not average down; converged. timed: False where light says
    nothing of a visit's mid-time, which then stays where it is, half a transit's length uncertain.
    """

    depth: Float
    sigma: Float
    sigma_photon: Float
    chi2: Float
    shape: Shape
    shared: Float = field(default_factory=lambda: np.zeros((0, 0)))
    red: float = 1.0
    converged: bool = True
    timed: bool = True


@dataclass(frozen=True)
class JointFit:
    """Orbit shared by all blocks, mid-time of each visit with errors, and the depths of each band; darkening (band, 3): how far u1, its
    slope along `Band.position` and u2 are from the prior's. untimed: visits of which light says nothing of the mid-time."""

    shape: Shape
    t0: Float
    t0_sigma: Float
    a_sigma: float
    b_sigma: float
    bands: tuple[Depths, ...]
    chi2: float
    converged: bool
    cost: float = np.inf
    darkening: Float = field(default_factory=lambda: np.zeros((0, 3)))
    untimed: tuple[int, ...] = ()
