"""Whether calibration maps can be those of the frames: numbers that a right dark map and a right flat have, and wrong ones do not."""

from __future__ import annotations

import numpy as np

from v50calib.kernels.arrays import Float, Index, Mask
from v50calib.kernels.series import MAD_TO_SIGMA
from v50calib.kernels.surface import large_scale

#: a dark this far below zero, in read noise over the time between a pair's reads, is no dark current: what its map's own noise leaves of
#: it in a pair is smaller
NEGATIVE_DARK = 0.1
#: a pixel's light is below zero beyond this many errors of the mean frame: none of 10⁶ pixels by chance
NEGATIVE_LIGHT = 5.0
#: pixels that tell a dark map's scale: those that stand out most; more do not help
MOST_PIXELS = 4000
#: how well a pixel's light is known from its neighbours', in units of their range
INTERPOLATION = 0.3


def negative_dark(rate: Float, read_noise: Float, between_s: float) -> Mask:
    """Pixels whose dark rate (ny, nx) [e-/s] is below zero beyond its noise; read_noise (ny, nx) e-, between_s: s between a pair's reads.

    >>> negative_dark(np.array([[0.5, -0.02, -4.0]]), np.full((1, 3), 13.0), 4.5)
    array([[False, False,  True]])
    """
    usable = read_noise[np.isfinite(read_noise) & (read_noise > 0)]
    noise = float(np.median(usable)) if usable.size else 0.0
    return np.asarray(np.isfinite(rate) & (rate * between_s < -NEGATIVE_DARK * noise))


def below_zero(rate: Float) -> float:
    """Share of a dark map's pixels that are below zero by more than three times the map's own scatter (MAD).

    >>> below_zero(-np.linspace(0.9, 1.1, 5)), below_zero(np.array([0.9, 1.0, 1.1, -0.1]))
    (1.0, 0.0)
    """
    scatter = MAD_TO_SIGMA * float(np.median(np.abs(rate - np.median(rate))))
    return float((rate < -3.0 * scatter).mean())


def contrast(image: Float, bad: Mask, pixels: Index) -> tuple[Float, Float]:
    """How far pixels (n,), flat positions, stand off the median of their good neighbours, and these neighbours' range; NaN without three.

    >>> image = np.ones((3, 3))
    >>> image[1, 1] = 5.0
    >>> contrast(image, np.zeros((3, 3), bool), np.array([4]))
    (array([4.]), array([0.]))
    """
    y, x = np.divmod(pixels, image.shape[1])
    padded = np.pad(np.where(bad, np.nan, image), 1, constant_values=np.nan)
    around = np.stack([padded[y + 1 + i, x + 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j])
    enough = np.isfinite(around).sum(axis=0) >= 3
    around = np.where(enough, around, 0.0)
    range_of = np.nanmax(around, axis=0) - np.nanmin(around, axis=0)
    return np.where(enough, image[y, x] - np.nanmedian(around, axis=0), np.nan), np.where(enough, range_of, np.nan)


def dark_left(frame: Float, dark: Float, variance: Float, bad: Mask) -> tuple[float, float] | None:
    """Share of the dark (ny, nx) [e-] that is still in a frame from which it was subtracted, and its error: 0 of a right map.

    Of the pixels whose dark stands off their neighbours'. variance (ny, nx) of the frame, e-². None where no pixel tells.
    Of a map that is too small by 2 the share is 1, of one that is ten times too large -0.9, of one with the wrong sign -2.

    >>> rng = np.random.default_rng(1)
    >>> dark, noise = rng.exponential(50.0, (20, 20)), rng.normal(0.0, 2.0, (20, 20))
    >>> share, error = dark_left(noise + dark - 2.0 * dark, 2.0 * dark, np.full((20, 20), 4.0), np.zeros((20, 20), bool))
    >>> round(share, 2), error < 0.05
    (-0.5, True)
    """
    around = dark if not bad.any() else np.where(bad, np.median(dark[~bad]) if not bad.all() else 0.0, dark)
    pixels = np.flatnonzero((~bad & (variance > 0)).ravel() & (around != np.median(around)).ravel())
    if pixels.size > MOST_PIXELS:
        off = np.abs(around.ravel()[pixels] - np.median(around))
        pixels = pixels[np.argpartition(off, -MOST_PIXELS)[-MOST_PIXELS:]]
    if not pixels.size:
        return None
    seen, spread = contrast(frame, bad, pixels)
    told, _ = contrast(dark, bad, pixels)
    use = np.isfinite(seen) & np.isfinite(told) & (told != 0)
    weight = np.where(use, 1.0, 0.0) / (1.2 * variance.ravel()[pixels] + (INTERPOLATION * np.where(use, spread, 0.0)) ** 2)
    seen, told = np.where(use, seen, 0.0), np.where(use, told, 0.0)
    information = float((weight * told**2).sum())
    if information <= 0:
        return None
    share = float((weight * told * seen).sum()) / information
    # pixels that scatter by more than their noise say less
    chi2 = float((weight * (seen - share * told) ** 2).sum()) / max(int(use.sum()) - 1, 1)
    return share, float(np.sqrt(max(chi2, 1.0) / information))


def negative_light(frame: Float, variance: Float, bad: Mask) -> float:
    """Share of the good pixels of a mean frame (ny, nx) [e-] that are below zero beyond noise: too much was subtracted.

    >>> negative_light(np.array([[3.0, -1.0, -40.0, 2.0]]), np.ones((1, 4)), np.zeros((1, 4), bool))
    0.25
    """
    good = ~bad & (variance > 0)
    return float((frame[good] < -NEGATIVE_LIGHT * np.sqrt(variance[good])).mean()) if good.any() else 0.0


def flat_gradient(flat: Float, good: Mask) -> float:
    """Change of a flat's large-scale part (a quadratic surface) over its good pixels, the central 98 % of them, over its median.

    >>> flat = np.linspace(0.5, 1.5, 20) * np.ones((10, 1))
    >>> round(flat_gradient(flat, flat > 0), 2)
    1.0
    """
    if good.sum() < 64:
        return 0.0
    surface = large_scale(np.where(good, flat, 1.0), good, method="poly2d", scale=2.0, sigma_clip=5.0, max_iters=3)[good]
    low, middle, high = np.quantile(surface, [0.01, 0.5, 0.99])
    return float((high - low) / abs(middle)) if middle else 0.0
