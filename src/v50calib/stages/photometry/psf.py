"""The point-spread function of a visit, from its mean frame or a file, for fits and matched filters (FGS1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v50calib.array_files import load_array
from v50calib.errors import ConfigError, DataError
from v50calib.kernels import psf
from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.centroid import gaussian2d
from v50calib.kernels.extraction import fill_masked
from v50calib.kernels.products import row_products
from v50calib.stages.photometry.config import Psf
from v50calib.stages.photometry.mean_frame import PixelNoise

_MODELS = {"gaussian": psf.GAUSSIAN, "moffat": psf.MOFFAT, "empirical": psf.EMPIRICAL}


@dataclass(frozen=True)
class PsfPerFrame:
    """A PSF of fixed shape and the window of the detector it is fitted in.

    rows, columns   the window
    profile         (ny, nx) the PSF at the mean position, zero outside the window
    inverse         (rows, columns) 1/V of the model, 0 for masked pixels
    start           centre in the window (empirical: shift) that fits start from; offset: what turns it into detector px
    reach           px that a pair's centre may lie off the start
    filter          (ny, nx) matched-filter weights: flux of a pair whose fit fails
    """

    model: int
    shape: Float
    table: Float
    rows: slice
    columns: slice
    profile: Float
    inverse: Float
    start: tuple[float, float]
    offset: tuple[float, float]
    reach: float
    filter: Float

    def measure(self, frames: Float) -> tuple[Float, Float, Mask]:
        """Flux (n,), centre (n, 2) [y, x] in detector px and success (n,) of background-free frames (n, ny, nx)."""
        out, good = np.empty((len(frames), 3)), np.empty(len(frames), np.bool_)
        stamps = np.ascontiguousarray(frames[:, self.rows, self.columns])
        psf.fit_frames(stamps, self.inverse, self.model, self.shape, self.table, np.array(self.start), self.reach, out, good)
        flux = np.where(good, out[:, 0], row_products(frames.reshape(len(frames), -1), self.filter.reshape(-1, 1))[:, 0])
        positions = np.where(good[:, None], out[:, 1:] + np.array(self.offset), np.nan)
        return flux, positions, good


def check_kernel(config: Psf) -> None:
    """Refuse, before frames are read, a kernel file that does not exist or holds no image. Raises ConfigError."""
    if config.kernel_path is not None:
        _load_kernel(config.kernel_path)


def _load_kernel(path: str) -> Float:
    try:
        kernel = load_array(path, key="calib.photometry.psf.kernel_path")
    except DataError as exc:
        # read before any visit is: a fault of the config, not of the data
        raise ConfigError(str(exc)) from exc
    if kernel.ndim != 2 or kernel.dtype.kind not in "biuf" or not np.isfinite(kernel).all() or not kernel.sum() > 0:
        raise ConfigError(
            f"calib.photometry.psf.kernel_path={path} has the shape {kernel.shape} and the type {kernel.dtype}: it must be a finite "
            "2-D image with a positive sum"
        )
    return kernel.astype(np.float64)


def build_psf(config: Psf, image: Float, masked: Mask, centre: tuple[float, float], noise: PixelNoise) -> PsfPerFrame:
    """The PSF of a visit. image (ny, nx): mean frame without background; V = read noise + constant + flux·photon·PSF.

    Raises DataError where the shape cannot be fitted to the mean frame, or the mean frame has no light.
    """
    filled = fill_masked(image, masked)
    rows, columns = (_span(c, config.fit_window, n) for c, n in zip(centre, image.shape, strict=True))
    stamp, used = filled[rows, columns], ~masked[rows, columns]
    total = float(stamp.sum())
    if not total > 0:
        raise DataError(
            f"the mean frame holds {total:.3g} e- in the PSF's window: no star to fit; check the pointing or use method=aperture"
        )
    # first with the image's own photons, not smoothed: the shape is fitted once, to a mean of many frames
    variance = noise.read + noise.constant + np.maximum(filled, 0.0) * noise.photon
    inverse = np.where(used, 1.0 / variance[rows, columns], 0.0)
    model, table, shape = _MODELS[config.model], np.zeros((1, 1)), np.zeros(2)
    corner = (float(rows.start), float(columns.start))
    if model == psf.EMPIRICAL:
        kernel = _moved_to(_load_kernel(config.kernel_path), stamp) if config.kernel_path is not None else np.maximum(stamp, 0.0)
        table, start, offset = psf.spline_table(kernel), (0.0, 0.0), centre
        flux = total
    else:
        local = (centre[0] - corner[0], centre[1] - corner[1])
        shape, start, flux = _fitted_shape(config, model, stamp, inverse, local, total)
        offset = corner
    profile = np.zeros(image.shape)
    profile[rows, columns] = psf.image(model, shape, table, start, (stamp.shape[0], stamp.shape[1]))
    variance = noise.read + noise.constant + np.maximum(flux * profile, 0.0) * noise.photon
    inverse = np.where(used, 1.0 / variance[rows, columns], 0.0)
    weight = np.zeros(image.shape)
    weight[rows, columns] = inverse * profile[rows, columns]
    weight /= (weight * profile).sum()
    return PsfPerFrame(
        model=model, shape=shape, table=table, rows=rows, columns=columns, profile=profile, inverse=inverse, start=start,
        offset=offset, reach=config.bounds.max_shift_px, filter=weight,
    )  # fmt: skip


def _span(centre: float, half: int, n: int) -> slice:
    middle = round(centre)
    return slice(max(0, middle - half), min(n, middle + half + 1))


def _fitted_shape(
    config: Psf, model: int, stamp: Float, inverse: Float, centre: tuple[float, float], total: float
) -> tuple[Float, tuple[float, float], float]:
    bounds, init = config.bounds, config.init
    low, high = bounds.min_width_px, bounds.max_width_px
    second, lower, upper = (init.width_px, low, high) if model == psf.GAUSSIAN else (init.beta, bounds.min_beta, bounds.max_beta)
    reach = bounds.max_shift_px
    shape, found, flux, good = psf.fit_shape(
        stamp, inverse, model, (total, *centre, init.width_px, second),
        [0.0, centre[0] - reach, centre[1] - reach, low, lower], [np.inf, centre[0] + reach, centre[1] + reach, high, upper],
    )  # fmt: skip
    if not good:
        raise DataError(
            f"psf.model={config.model} does not fit the mean frame (last shape {shape.round(3).tolist()}); "
            "change calib.photometry.psf.init or bounds, or use psf.model=empirical"
        )
    return shape, found, flux


def _moved_to(kernel: Float, stamp: Float) -> Float:
    """The user's image, moved so that its Gaussian centre is the stamp's, on the stamp's grid."""
    centres = np.empty((2, 2))
    gaussian2d(kernel[None], centres[:1])
    gaussian2d(stamp[None], centres[1:])
    if not np.isfinite(centres).all():
        raise DataError("calib.photometry.psf.kernel_path or the mean frame has no star-like centre: a Gaussian fit does not converge")
    shift = centres[1] - centres[0]
    table = psf.spline_table(kernel)
    return np.maximum(psf.image(psf.EMPIRICAL, np.zeros(2), table, (shift[0], shift[1]), (stamp.shape[0], stamp.shape[1])), 0.0)
