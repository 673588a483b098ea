"""Background of photometry: which sky pixels, which surface, and whether it is a weighted sum or measured on each frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from v50calib.errors import ConfigError, DataError
from v50calib.kernels import background as kernels
from v50calib.kernels.apertures import circular_aperture
from v50calib.kernels.arrays import Float, Index, Mask
from v50calib.kernels.extraction import barycenter
from v50calib.kernels.fused import weighted_column_sums
from v50calib.kernels.products import row_products
from v50calib.methods.registry import method_of
from v50calib.schema import Instrument
from v50calib.stages.photometry.config import PhotometryConfig

_STATISTICS = {"mean": kernels.MEAN, "median": kernels.MEDIAN, "biweight": kernels.BIWEIGHT}


@dataclass(frozen=True)
class Scene:
    """What a background is modelled on: the mean CDS frame [e-] of a visit, (ny, nx), and pixels that it may not use."""

    image: Float
    masked: Mask
    hot: Mask
    instrument: Instrument

    @property
    def shape(self) -> tuple[int, int]:
        """Detector rows and columns."""
        ny, nx = self.image.shape
        return ny, nx

    @property
    def good(self) -> Mask:
        """Pixels that may be taken for sky."""
        return ~(self.masked | self.hot)


@dataclass(frozen=True)
class BackgroundSums:
    """How the background becomes sums of the frames.

    map           of the background per pixel (columns, annulus, a band with any linear surface); None: see coefficients
    coefficients  maps of the surface's coefficients, where each column has its own mix of them (a spectrum)
    mix           (channels, terms) background per pixel of each channel from the coefficients; None: the map, or a coefficient a
                  column, is the background itself
    moments       moment maps that take the surface's own shape off
    """

    map: Float | None
    coefficients: list[Float]
    mix: Float | None
    moments: Float


@dataclass(frozen=True)
class BackgroundModel:
    """``B(y, x) = Σ_k c_k surface_k(y, x)``, c from each frame.

    per_column      one coefficient a detector column, the mean of its sky pixels: surface and maps are left implicit
    weights         (ny, nx) map of the mean background (columns, annulus); of a surface None
    maps            (terms, ny, nx): c_k = Σ maps_k·frame where the coefficients are linear, and for their variance always
    surface         (terms, ny, nx)
    linear          False: clipping or a median, measured on each frame by `coefficients`
    pixels          flat indices of the sky pixels, grouped (starts) where the coefficients are group statistics
    clip            of sky pixels in each frame, sigma; inf: none; in max_iters rounds
    basis, penalty  of a clipped least-squares surface (terms, pixels), (terms, terms)
    excess          variance of a coefficient over that of the linear maps (medians: π/2)
    smooth_columns  columns in the running mean along wavelength; 1: none
    """

    per_column: bool
    weights: Float | None
    maps: Float
    surface: Float
    linear: bool
    pixels: Index
    starts: Index
    clip: float
    max_iters: int
    basis: Float | None = None
    penalty: Float = field(default_factory=lambda: np.zeros((0, 0)))
    statistic: int = kernels.MEAN
    excess: float = 1.0
    smooth_columns: int = 1

    def coefficients(self, frames: Float) -> Float:
        """Coefficients (n, terms) of each frame (n, ny, nx); terms = nx where `per_column`."""
        n, flat = len(frames), frames.reshape(len(frames), -1)
        if self.linear:
            if self.per_column:
                assert self.weights is not None
                sums, rows = np.empty((n, 1, frames.shape[2])), len(self.weights)
                weighted_column_sums(frames, self.weights[None], np.array([0]), np.array([rows]), sums)
                return sums[:, 0]
            return row_products(flat, self.maps.reshape(len(self.maps), -1).T)
        if self.basis is not None:
            out = np.empty((n, len(self.basis)))
            kernels.clipped_surface(flat, self.pixels, self.basis, self.penalty, self.clip, self.max_iters, out)
        else:
            out = np.empty((n, len(self.starts) - 1))
            kernels.group_statistics(flat, self.pixels, self.starts, self.statistic, self.clip, self.max_iters, out)
        return out

    def image(self, coefficients: Float) -> Float:
        """Background (n, ny, nx), or something that broadcasts to it, of coefficients (n, terms)."""
        if self.per_column:
            return coefficients[:, None, :]
        flat = row_products(coefficients, self.surface.reshape(len(self.surface), -1))
        return flat.reshape(-1, *self.surface.shape[1:])

    def sums(self, flux: Float, moments: Float, *, spectral: bool) -> BackgroundSums:
        """What is summed with the frames for the background per pixel of the flux map (ny, nx); moments (k, ny, nx)."""
        if self.weights is not None:
            mix = None if self.per_column else np.ones((flux.shape[1] if spectral else 1, 1))
            return BackgroundSums(self.weights, [], mix, moments)
        mix = self._mix(flux, spectral)
        if not self.linear:
            return BackgroundSums(np.zeros_like(flux), [], mix, moments)
        # Σ m·(frame - B) + Σ m·(background per pixel): the light curves' end takes the second off again, smoothed in time
        shape = np.tensordot(moments, self.surface, axes=([1, 2], [1, 2]))
        area = moments.sum(axis=1) if spectral else moments.sum(axis=(1, 2))[:, None]
        level = area @ mix
        kept = moments + np.tensordot(level - shape, self.maps, axes=1)
        if spectral:
            return BackgroundSums(None, list(self.maps), mix, kept)
        return BackgroundSums(np.tensordot(mix[0], self.maps, axes=1), [], mix, kept)

    def _mix(self, weights: Float, spectral: bool) -> Float:
        """(channels, terms) that turn coefficients into the mean background per pixel, weighted as each channel's flux."""
        axis = 1 if spectral else (1, 2)
        area = weights.sum(axis=0, keepdims=True) if spectral else weights.sum(keepdims=True).reshape(1, 1)
        share = np.asarray((self.surface * weights).sum(axis=axis)).reshape(len(self.surface), -1)
        return np.ascontiguousarray((share / np.where(area != 0, area, 1.0)).T)

    def variance(self, mix: Float | None, pixels: Float, *, spectral: bool) -> Float:
        """Variance (channels,) of one pair's background per pixel, e-²; pixels (ny, nx): that of a pixel."""
        if self.weights is not None:
            found = np.atleast_1d((self.weights**2 * pixels).sum(axis=0 if self.per_column else None))
            return np.repeat(found, pixels.shape[1]) if spectral and not self.per_column else found
        assert mix is not None
        maps = mix @ self.maps.reshape(len(self.maps), -1)
        return np.asarray((maps**2) @ pixels.reshape(-1)) * self.excess


def build_background(config: PhotometryConfig, method: str, scene: Scene) -> BackgroundModel:
    """The background model of a visit. Raises DataError where the visit leaves no pixel for it."""
    return (BUILDERS.get(method) or _registered)(config, scene)


def edge_rows(config: PhotometryConfig, ny: int, detector: str) -> int:
    """Rows at the top and the bottom that are sky. Raises ConfigError where they reach into the extraction window."""
    rows, half = config.background.columns.edge_rows, config.optimal.window.half_height_px
    if 2 * rows + 2 * half > ny:
        raise ConfigError(
            f"background rows (2 x {rows}) and extraction window (2 x {half}) overlap on the {ny} rows of {detector}: "
            "lower calib.photometry.background.columns.edge_rows or calib.photometry.optimal.window.half_height_px"
        )
    return rows


def _edge(config: PhotometryConfig, scene: Scene) -> Mask:
    """Usable pixels (ny, nx) of the edge rows."""
    ny, _ = scene.shape
    rows = edge_rows(config, ny, str(scene.instrument))
    edge = np.zeros_like(scene.good)
    edge[:rows] = edge[ny - rows :] = True
    return edge & scene.good


def _sky_pixels(config: PhotometryConfig, scene: Scene) -> Mask:
    """Pixels that the surfaces are fitted to: the edge rows of a spectrum, what is outside the annulus' inner radius of a star."""
    if scene.instrument.spectral:
        return _edge(config, scene)
    inner = circular_aperture(scene.image.shape, barycenter(scene.image, scene.masked), config.background.annulus.inner_px)
    return scene.good & (inner == 0)


def _clip(config: PhotometryConfig) -> float:
    clip = config.background.robust.sigma_clip
    return math.inf if clip is None else clip


def _none(config: PhotometryConfig, scene: Scene) -> BackgroundModel:
    """No background: its weights are zero."""
    weights = np.zeros_like(scene.image)
    return BackgroundModel(
        per_column=False, weights=weights, maps=weights[None], surface=np.ones((1, *scene.shape)), linear=True,
        pixels=np.zeros(0, np.int64), starts=np.zeros(2, np.int64), clip=math.inf, max_iters=config.background.robust.max_iters,
    )  # fmt: skip


def _columns(config: PhotometryConfig, scene: Scene) -> BackgroundModel:
    """Mean of the edge rows of each column of a spectrum: Σ w = 1 per column."""
    ny, nx = scene.shape
    region = _edge(config, scene).astype(np.float64)
    weights = region / np.maximum(region.sum(axis=0), 1.0)
    column, row = np.nonzero(weights.T)
    starts = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=nx))])
    empty = np.zeros((0, ny, nx))
    return BackgroundModel(
        per_column=True, weights=weights, maps=empty, surface=empty, linear=math.isinf(_clip(config)),
        pixels=(row * nx + column).astype(np.int64), starts=starts.astype(np.int64), clip=_clip(config),
        max_iters=config.background.robust.max_iters, smooth_columns=config.background.columns.smooth_columns,
    )  # fmt: skip


def _annulus(config: PhotometryConfig, scene: Scene) -> BackgroundModel:
    """Mean of an annulus about the star: Σ w = 1 over it."""
    inner, outer = config.background.annulus.inner_px, config.background.annulus.outer_px
    centre = barycenter(scene.image, scene.masked)
    ring = circular_aperture(scene.image.shape, centre, outer) - circular_aperture(scene.image.shape, centre, inner)
    region = np.where(scene.good, ring, 0.0)
    if not region.sum() > 0:
        raise DataError(
            f"{scene.instrument}: no usable pixel lies {inner} to {outer} px from the star at y={centre[0]:.1f}, x={centre[1]:.1f}, where "
            "calib.photometry.background.annulus measures the background: lower inner_px or raise outer_px, or check the visit's bad pixels"
        )
    return _mean(config, region)


def _mean(config: PhotometryConfig, region: Float) -> BackgroundModel:
    """The weighted mean of pixels, by their weights (ny, nx) of any sum above 0."""
    weights = region / region.sum()
    # a clipped mean takes whole pixels: those that count more than half
    pixels = np.flatnonzero(weights > 0.5 * weights.max())
    return BackgroundModel(
        per_column=False, weights=weights, maps=weights[None], surface=np.ones((1, *region.shape)), linear=math.isinf(_clip(config)),
        pixels=pixels, starts=np.array([0, pixels.size]), clip=_clip(config), max_iters=config.background.robust.max_iters,
    )  # fmt: skip


def _registered(config: PhotometryConfig, scene: Scene) -> BackgroundModel:
    """The mean with the weights that a registered method gives; pixels that may not be taken for background have none."""
    method = method_of("photometry.background", config.background.method)
    weights = np.where(scene.good, method.array(method(scene, given=config.background.options), scene.shape), 0.0)
    if not weights.sum() > 0:
        raise DataError(f"{method} leaves no usable pixel with a weight above 0 in this visit of {scene.instrument}: look at its weights")
    return _mean(config, weights)


def _poly2d(config: PhotometryConfig, scene: Scene) -> BackgroundModel:
    """A polynomial in y and x through the sky pixels by least squares."""
    basis = kernels.polynomial_basis(scene.shape, config.background.poly2d.degree)
    return _surface(config, _sky_pixels(config, scene), basis, None, fewest=len(basis))


def _spline2d(config: PhotometryConfig, scene: Scene) -> BackgroundModel:
    """A smooth spline surface through the sky pixels by penalized least squares; what it cannot do without is a plane."""
    cfg = config.background.spline2d
    basis, rough = kernels.spline_basis(scene.shape, cfg.intervals)
    return _surface(config, _sky_pixels(config, scene), basis, rough * cfg.smoothing_lambda, fewest=3)


def _surface(config: PhotometryConfig, sky: Mask, basis: Float, penalty: Float | None, *, fewest: int) -> BackgroundModel:
    """The surface of a basis (terms, ny, nx) through sky pixels (ny, nx), which must be more than twice `fewest`."""
    cfg = config.background
    if sky.sum() <= 2 * fewest:
        raise DataError(
            f"calib.photometry.background.method={cfg.method} has {int(sky.sum())} background pixels in this visit: too few for "
            f"{len(basis)} coefficients; "
            "lower calib.photometry.background.annulus.inner_px or the surface's degree"
        )
    maps = kernels.least_squares_maps(basis, sky, penalty)
    pixels = np.flatnonzero(sky)
    return BackgroundModel(
        per_column=False, weights=None, maps=maps, surface=basis, linear=math.isinf(_clip(config)), pixels=pixels,
        starts=np.array([0, pixels.size]), clip=_clip(config), max_iters=cfg.robust.max_iters, basis=np.ascontiguousarray(basis[:, sky]),
        penalty=np.zeros((len(basis), len(basis))) if penalty is None else penalty,
    )  # fmt: skip


def _mesh(config: PhotometryConfig, scene: Scene) -> BackgroundModel:
    """A statistic of the sky pixels in boxes, carried to every pixel by a thin-plate spline."""
    mesh, sky = config.background.mesh, _sky_pixels(config, scene)
    pixels, starts, centres = kernels.mesh_boxes(sky, (mesh.box_height_px, mesh.box_width_px))
    if len(centres) == 0:
        raise DataError(
            f"calib.photometry.background.method=mesh: no box of {mesh.box_height_px} x {mesh.box_width_px} px has a quarter of its pixels "
            "usable for the background in this visit; make the boxes smaller, or lower calib.photometry.background.annulus.inner_px"
        )
    maps = np.zeros((len(centres), sky.size))
    for k in range(len(centres)):
        maps[k, pixels[starts[k] : starts[k + 1]]] = 1.0 / (starts[k + 1] - starts[k])
    statistic = _STATISTICS[mesh.statistic]
    return BackgroundModel(
        per_column=False, weights=None, maps=maps.reshape(-1, *sky.shape), surface=kernels.interpolation_maps(centres, scene.shape),
        linear=statistic == kernels.MEAN and math.isinf(_clip(config)), pixels=pixels, starts=starts, clip=_clip(config),
        max_iters=config.background.robust.max_iters, statistic=statistic,
        excess=kernels.MEDIAN_VARIANCE if statistic == kernels.MEDIAN else 1.0,
    )  # fmt: skip


#: methods of calib.photometry.background, `auto` resolved (`choices.resolve_method`)
BUILDERS: dict[str, Callable[[PhotometryConfig, Scene], BackgroundModel]] = {
    "none": _none, "columns": _columns, "annulus": _annulus, "mesh": _mesh, "poly2d": _poly2d, "spline2d": _spline2d,
}  # fmt: skip
