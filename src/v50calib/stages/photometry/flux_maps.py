"""What a flux is summed with, whatever the instrument and the method."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from v50calib.kernels import extraction
from v50calib.kernels.arrays import Float, Mask
from v50calib.stages.photometry.per_frame import Recentre, Rejection
from v50calib.stages.photometry.psf import PsfPerFrame


@dataclass(frozen=True)
class FluxMaps:
    """What the flux of a spectrum's columns or of a band is summed with; (ny, nx) where nothing else is said.

    flux       weights, NaN in columns without a usable pixel
    moments    (k, ny, nx) first moments: of a spectrum in y, over columns without a masked pixel; of a band in y and x and, where it
               is not the flux, the light that they are divided by
    profile    P, Σ weight·P = 1
    centre     (y, x) px that the moments are taken about
    estimated  masked pixels whose light is estimated
    inside     (nx,) or (1,) share of the light inside the aperture; 1: not corrected
    psf, recentre, rejection   how the flux of each pair is measured instead; None: not so
    """

    flux: Float
    moments: Float
    profile: Float
    centre: tuple[float, float]
    estimated: Mask
    inside: Float
    psf: PsfPerFrame | None = None
    recentre: Recentre | None = None
    rejection: Rejection | None = None

    @property
    def weights(self) -> Float:
        """Flux weights, 0 where there are none."""
        return np.nan_to_num(self.flux, nan=0.0)

    @property
    def dead_columns(self) -> Mask:
        """Columns (nx,) without a usable pixel."""
        return np.asarray(~np.isfinite(self.flux).all(axis=0))

    def replaced(self, masked: Mask, *, spectral: bool) -> Float:
        """Share (channels,) of each channel's light that falls on pixels that were estimated."""
        light = np.maximum(self.profile if spectral else extraction.fill_masked(self.profile, masked), 0.0)
        lost, whole = (per_channel(v, spectral) for v in (light * self.estimated, light))
        return np.asarray(lost / np.where(whole > 0, whole, math.inf))


def per_channel(values: Float, spectral: bool) -> Float:
    """Sum (channels,) of a map (ny, nx): over each column of a spectrum, over all of a band."""
    return np.atleast_1d(values.sum(axis=0 if spectral else None))
