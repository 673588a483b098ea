"""Background of photometry: which sky pixels, which surface, and whether it is a weighted sum or measured on each frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from v50calib.errors import ConfigError
from v50calib.kernels import background as sky_kernels
from v50calib.kernels.apertures import circular_aperture
from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.extraction import barycenter
from v50calib.stages.photometry.config import PhotometryConfig

_STATISTICS = {"mean": sky_kernels.MEAN, "median": sky_kernels.MEDIAN, "biweight": sky_kernels.BIWEIGHT}


@dataclass(frozen=True)
class SkyModel:
    """``B(y, x) = Σ_k c_k surface_k(y, x)``, c from each frame.

    per_column   one coefficient a detector column, the mean of its sky pixels: surface and maps are left implicit
    weights      (ny, nx) map of the mean background (columns, annulus); of a surface None
    maps         (terms, ny, nx): c_k = Σ maps_k·frame where the coefficients are linear, and for their variance always
    surface      (terms, ny, nx)
    linear       False: clipping or a median, measured on each frame by `coefficients`
    pixels       flat indices of the sky pixels, grouped (starts) where the coefficients are group statistics
    basis, penalty   of a clipped least-squares surface (terms, pixels), (terms, terms)
    excess       variance of a coefficient over that of the linear maps (medians: π/2)
    """

    per_column: bool
    weights: Float | None
    maps: Float
    surface: Float
    linear: bool
    pixels: NDArray[np.int64]
    starts: NDArray[np.int64]
    basis: Float | None
    penalty: Float
    statistic: int
    clip: float
    max_iters: int
    excess: float

    def coefficients(self, frames: Float) -> Float:
        """Coefficients (n, terms) of each frame (n, ny, nx); terms = nx where `per_column`."""
        n, flat = len(frames), frames.reshape(len(frames), -1)
        if self.linear:
            if self.per_column:
                assert self.weights is not None
                return np.asarray(np.einsum("yx,iyx->ix", self.weights, frames))
            return np.asarray(flat @ self.maps.reshape(len(self.maps), -1).T)
        if self.basis is not None:
            out = np.empty((n, len(self.basis)))
            sky_kernels.clipped_surface(flat, self.pixels, self.basis, self.penalty, self.clip, self.max_iters, out)
        else:
            out = np.empty((n, len(self.starts) - 1))
            sky_kernels.group_statistics(flat, self.pixels, self.starts, self.statistic, self.clip, self.max_iters, out)
        return out

    def image(self, coefficients: Float) -> Float:
        """Background (n, ny, nx), or something that broadcasts to it, of coefficients (n, terms)."""
        if self.per_column:
            return coefficients[:, None, :]
        return np.asarray(np.tensordot(coefficients, self.surface, axes=(1, 0)))

    def under(self, weights: Float, spectral: bool) -> Float:
        """(channels, terms) that turn coefficients into the background per pixel under the weights (ny, nx) of each channel."""
        if self.per_column:
            raise ValueError("a background per column is its own coefficient")
        axis = 1 if spectral else (1, 2)
        area = weights.sum(axis=0, keepdims=True) if spectral else weights.sum(keepdims=True).reshape(1, 1)
        share = np.asarray((self.surface * weights).sum(axis=axis)).reshape(len(self.surface), -1)
        return np.ascontiguousarray((share / np.where(area != 0, area, 1.0)).T)


def sky_pixels(config: PhotometryConfig, method: str, image: Float, masked: Mask, hot: Mask, *, spectral: bool) -> Mask:
    """Pixels that the surfaces are fitted to: the edge rows of a spectrum, what is outside the annulus' inner radius of a star."""
    good = ~(masked | hot)
    ny = image.shape[0]
    if spectral:
        rows = edge_rows(config, ny)
        edge = np.zeros_like(good)
        edge[:rows] = edge[ny - rows :] = True
        return edge & good
    inner = circular_aperture(image.shape, barycenter(image, masked), config.background.annulus.inner_px)
    return good & (inner == 0)


def edge_rows(config: PhotometryConfig, ny: int) -> int:
    """Rows at the top and the bottom that are sky; refuses rows that reach into the extraction window."""
    rows, half = config.background.columns.edge_rows, config.optimal.window.half_height_px
    if 2 * rows + 2 * half > ny:
        raise ConfigError(
            f"background rows (2 x {rows}) and extraction window (2 x {half}) overlap on {ny} rows: "
            "lower calib.photometry.background.columns.edge_rows or calib.photometry.optimal.window.half_height_px"
        )
    return rows


def build_sky(config: PhotometryConfig, method: str, image: Float, masked: Mask, hot: Mask, *, spectral: bool) -> SkyModel:
    """The background model of a visit from its mean frame `image`. Raises ConfigError where no sky is left."""
    if method in ("none", "columns", "annulus"):
        return _mean_model(config, method, image, masked, hot)
    sky = sky_pixels(config, method, image, masked, hot, spectral=spectral)
    return _mesh_model(config, sky) if method == "mesh" else _surface_model(config, method, sky)


def _clip(config: PhotometryConfig) -> float:
    clip = config.background.robust.sigma_clip
    return math.inf if clip is None else clip


def _mean_model(config: PhotometryConfig, method: str, image: Float, masked: Mask, hot: Mask) -> SkyModel:
    """Mean of the edge rows of each column, or of an annulus about the star."""
    weights = mean_map(config, method, image, masked, hot)
    columns = method == "columns"
    ny, nx = image.shape
    if columns:
        groups = [np.flatnonzero(weights[:, x]) * nx + x for x in range(nx)]
        pixels = np.concatenate(groups)
        starts = np.concatenate([[0], np.cumsum([g.size for g in groups])])
    else:
        # a clipped annulus takes whole pixels: those more than half inside
        pixels = np.flatnonzero(weights > 0.5 * weights.max()) if weights.any() else np.zeros(0, np.int64)
        starts = np.array([0, pixels.size])
    empty = np.zeros((0, ny, nx))
    return SkyModel(
        per_column=columns, weights=weights, maps=empty if columns else weights[None], surface=empty if columns else np.ones((1, ny, nx)),
        linear=math.isinf(_clip(config)) or method == "none", pixels=pixels.astype(np.int64), starts=starts.astype(np.int64), basis=None,
        penalty=np.zeros((0, 0)), statistic=sky_kernels.MEAN, clip=_clip(config), max_iters=config.background.robust.max_iters, excess=1.0,
    )  # fmt: skip


def mean_map(config: PhotometryConfig, method: str, image: Float, masked: Mask, hot: Mask) -> Float:
    """Weights of the mean background per pixel: Σ w = 1 per column (columns) or over the annulus."""
    good = ~(masked | hot)
    ny, _ = image.shape
    if method == "none":
        return np.zeros_like(image)
    if method == "columns":
        rows = edge_rows(config, ny)
        edge = np.zeros_like(good)
        edge[:rows] = edge[ny - rows :] = True
        region = (edge & good).astype(np.float64)
        return region / np.maximum(region.sum(axis=0), 1.0)
    inner, outer = config.background.annulus.inner_px, config.background.annulus.outer_px
    centre = barycenter(image, masked)
    ring = circular_aperture(image.shape, centre, outer) - circular_aperture(image.shape, centre, inner)
    region = np.where(good, ring, 0.0)
    if not region.sum() > 0:
        raise ConfigError(f"calib.photometry.background.annulus: no usable pixel lies {inner} to {outer} px from the star; lower both")
    return region / region.sum()


def _surface_model(config: PhotometryConfig, method: str, sky: Mask) -> SkyModel:
    """A polynomial or spline surface through the sky pixels by least squares."""
    shape, cfg = (sky.shape[0], sky.shape[1]), config.background
    if method == "poly2d":
        basis, penalty = sky_kernels.polynomial_basis(shape, cfg.poly2d.degree), None
    else:
        basis, rough = sky_kernels.spline_basis(shape, cfg.spline2d.intervals)
        penalty = rough * cfg.spline2d.smoothing_lambda
    if sky.sum() <= 2 * (len(basis) if penalty is None else 3):
        raise ConfigError(
            f"calib.photometry.background.method={method} has {int(sky.sum())} sky pixels: too few for {len(basis)} coefficients; "
            "lower calib.photometry.background.annulus.inner_px or the surface's degree"
        )
    maps = sky_kernels.least_squares_maps(basis, sky, penalty)
    pixels = np.flatnonzero(sky)
    return SkyModel(
        per_column=False, weights=None, maps=maps, surface=basis, linear=math.isinf(_clip(config)), pixels=pixels,
        starts=np.array([0, pixels.size]), basis=np.ascontiguousarray(basis[:, sky]),
        penalty=np.zeros((len(basis), len(basis))) if penalty is None else penalty,
        statistic=sky_kernels.MEAN, clip=_clip(config), max_iters=cfg.robust.max_iters, excess=1.0,
    )  # fmt: skip


def _mesh_model(config: PhotometryConfig, sky: Mask) -> SkyModel:
    """A statistic of the sky pixels in boxes, carried to every pixel by a thin-plate spline."""
    mesh = config.background.mesh
    pixels, starts, centres = sky_kernels.mesh_boxes(sky, (mesh.box_height_px, mesh.box_width_px))
    if len(centres) == 0:
        raise ConfigError(
            f"calib.photometry.background.method=mesh: no box of {mesh.box_height_px} x {mesh.box_width_px} px has a quarter of its pixels "
            "on the sky; make the boxes smaller, or lower calib.photometry.background.annulus.inner_px"
        )
    maps = np.zeros((len(centres), sky.size))
    for k in range(len(centres)):
        maps[k, pixels[starts[k] : starts[k + 1]]] = 1.0 / (starts[k + 1] - starts[k])
    statistic = _STATISTICS[mesh.statistic]
    linear = statistic == sky_kernels.MEAN and math.isinf(_clip(config))
    return SkyModel(
        per_column=False, weights=None, maps=maps.reshape(-1, *sky.shape), linear=linear,
        surface=sky_kernels.interpolation_maps(centres, (sky.shape[0], sky.shape[1])), pixels=pixels, starts=starts, basis=None,
        penalty=np.zeros((0, 0)), statistic=statistic, clip=_clip(config), max_iters=config.background.robust.max_iters,
        excess=sky_kernels.MEDIAN_VARIANCE if statistic == sky_kernels.MEDIAN else 1.0,
    )  # fmt: skip
