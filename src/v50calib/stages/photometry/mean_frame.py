"""The mean CDS frame of a visit, and the noise of a pixel there: what photometry's maps are made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v50calib.kernels.arrays import Float
from v50calib.stages.photometry.config import NoiseModel


@dataclass(frozen=True)
class MeanFrame:
    """Mean CDS frame of the visit's sample pairs and the noise model there, all (ny, nx).

    cds          e-; masked pixels 0
    read_var     read-noise variance of one CDS value, e-² (linearity slope and flat included)
    inverse_flat 1/flat as applied
    dark         dark electrons between the reads, after the flat
    pairs        how many pairs it is the mean of
    """

    cds: Float
    read_var: Float
    inverse_flat: Float
    dark: Float
    pairs: int = 1


@dataclass(frozen=True)
class PixelNoise:
    """Variance of one CDS value by its causes, e-² and (ny, nx), as the config's noise model has them.

    read      read noise
    photon    of one electron of signal
    dark      dark electrons between the reads
    constant  photons of the background, and the dark: what does not vary with the star
    total     of the mean frame as it is, its star included
    """

    read: Float
    photon: Float
    dark: Float
    constant: Float
    total: Float


def pixel_noise(config: NoiseModel, mean: MeanFrame, background: Float) -> PixelNoise:
    """The noise of a mean frame with a background (ny, nx) [e- per pixel]."""
    read = mean.read_var
    if config.read_noise is not None:
        read = np.full_like(read, 2.0 * config.read_noise**2) * mean.inverse_flat**2
    photon = mean.inverse_flat * (1.0 if config.include_shot_noise else 0.0)
    dark = np.maximum(mean.dark, 0.0) * photon
    from_background = np.maximum(background, 0.0) * photon * (1.0 if config.include_background_var else 0.0)
    total = read + np.maximum(mean.cds + mean.dark, 0.0) * photon
    return PixelNoise(read, photon, dark, from_background + dark, total)
