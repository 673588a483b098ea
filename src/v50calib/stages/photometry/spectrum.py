"""Extraction maps of a spectrum: the trace, the spatial profile, and the weights of each column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from v50calib.kernels import extraction
from v50calib.kernels.apertures import interval_overlap, interval_samples
from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.background import spline_axis
from v50calib.kernels.horne import rejection_slope
from v50calib.kernels.spectrum_trace import gaussian_centres, moment_centres, smooth_line
from v50calib.methods.registry import method_of
from v50calib.stages.photometry.config import PhotometryConfig, TraceLine
from v50calib.stages.photometry.flux_maps import FluxMaps
from v50calib.stages.photometry.mean_frame import PixelNoise
from v50calib.stages.photometry.per_frame import Recentre, Rejection

#: degree of the polynomial that the width of a Gaussian profile follows along the columns
WIDTH_DEGREE = 2
#: clip of the profile's refit, sigma
REFIT_CLIP = 5.0
REFIT_ROUNDS = 3


@dataclass(frozen=True)
class Spectrum:
    """A spectrum on the detector; (ny, nx) where nothing else is said.

    image    mean frame without background
    span     columns that trace, profile and drift are measured on
    row      of the whole spectrum; line (nx,) of each column [px]
    window   pixels of the extraction window
    profile  P, of unit sum over the window's rows
    """

    image: Float
    masked: Mask
    noise: PixelNoise
    span: slice
    row: float
    line: Float
    window: Mask
    profile: Float

    @property
    def nx(self) -> int:
        """Detector columns."""
        return self.image.shape[1]


def spectrum_on(config: PhotometryConfig, image: Float, masked: Mask, span: slice, noise: PixelNoise) -> Spectrum:
    """Trace, window and profile of a mean frame without background, image (ny, nx)."""
    ny = image.shape[0]
    row = trace_row(image, masked, span)
    line = trace_line(config, image, masked, noise.total, span, row)
    middle, half = np.rint(line + 0.5), config.optimal.window.half_height_px
    yy = np.arange(ny, dtype=np.float64)[:, None]
    window = (yy >= np.maximum(middle - half, 0.0)) & (yy < np.minimum(middle + half, ny))
    profile = spatial_profile(config, image, masked, window, span, line, noise.total)
    return Spectrum(image, masked, noise, span, row, line, window, profile)


def spectrum_maps(config: PhotometryConfig, method: str, spectrum: Spectrum) -> FluxMaps:
    """Per column Horne's optimal weights or an aperture in y, about the mean trace."""
    return (EXTRACTIONS.get(method) or _registered)(config, spectrum)


def _registered(config: PhotometryConfig, spectrum: Spectrum) -> FluxMaps:
    """The weights of a registered method inside the window, scaled so that each column's profile sums to its flux; masked pixels have
    none, and a column that is left without is dead."""
    s, method = spectrum, method_of("photometry.photometry", config.photometry.method)
    weight = np.where(s.masked | ~s.window, 0.0, method.array(method(s, given=config.photometry.options), s.image.shape))
    caught = (weight * s.profile).sum(axis=0)
    weight = np.where(caught > 0, weight / np.where(caught > 0, caught, 1.0), np.nan)
    return FluxMaps(weight, _moment(config, s)[None], s.profile, _centre(config, s), s.masked & s.window, np.ones(s.nx))


def _optimal(config: PhotometryConfig, spectrum: Spectrum) -> FluxMaps:
    """Horne's weights over the window with V from the model; all pixels alike where they are not to be weighted by it."""
    s = spectrum
    model = column_model(s) if config.optimal.profile.variance_weighted else np.ones_like(s.noise.read)
    weight = extraction.optimal_weights(s.profile, model, s.masked | ~s.window)
    rejection = _rejection(config, s, weight) if config.optimal.robust.sigma_clip is not None else None
    return FluxMaps(
        weight, _moment(config, s)[None], s.profile, _centre(config, s), s.masked & s.window, np.ones(s.nx), rejection=rejection
    )  # fmt: skip


def _strip(config: PhotometryConfig, spectrum: Spectrum) -> FluxMaps:
    """A strip of rows, the same in every column."""
    s, aperture = spectrum, config.aperture
    weight, profile, inside = strip_weight(config, s)
    estimated = np.zeros(s.image.shape, bool) if aperture.omits_masked else s.masked & s.window
    moment, centre, recentre = _moment(config, s), _centre(config, s), None
    if aperture.recenter_on_centroid:
        # the strip's flux divides the window's moment: without its share of the window's light, y would be too long by it
        moment = moment * (np.nan_to_num(weight) * s.image).sum() / np.where(s.window, s.image, 0.0).sum()
        half = aperture.half_height_px
        recentre = Recentre(0, half, half, 0.0, 0, 1.0 / inside, centre, config.centroid.track.max_step_px)
    return FluxMaps(weight, moment[None], profile, centre, estimated, inside, recentre=recentre)


#: methods of calib.photometry.photometry for a spectrum
EXTRACTIONS: dict[str, Callable[[PhotometryConfig, Spectrum], FluxMaps]] = {"optimal": _optimal, "aperture": _strip}


def _moment(config: PhotometryConfig, spectrum: Spectrum) -> Float:
    """Map (ny, nx) of the first moment in y, over the window in columns of `span` without a masked pixel."""
    s = spectrum
    yy = np.arange(s.image.shape[0], dtype=np.float64)[:, None]
    whole = ~(s.masked & s.window).any(axis=0)
    moment = np.where(s.window & whole, yy - (s.row if config.optimal.straight else s.line), 0.0)
    moment[:, : s.span.start] = moment[:, s.span.stop :] = 0.0
    return moment


def _centre(config: PhotometryConfig, spectrum: Spectrum) -> tuple[float, float]:
    """Mean row of the trace, and the middle column."""
    row = spectrum.row if config.optimal.straight else float(np.median(spectrum.line[spectrum.span]))
    return row, spectrum.nx / 2


def _rejection(config: PhotometryConfig, spectrum: Spectrum, weight: Float) -> Rejection:
    """Horne's rejection of pixels in each pair."""
    s, robust = spectrum, config.optimal.robust
    assert robust.sigma_clip is not None
    return Rejection(
        profile=s.profile, variance=column_model(s), weighting=np.where(s.masked | ~s.window, 0.0, np.nan_to_num(weight)),
        slope=rejection_slope(s.profile, robust.jitter_px), clip=robust.sigma_clip, max_iters=robust.max_iters,
    )  # fmt: skip


def trace_row(image: Float, masked: Mask, span: slice) -> float:
    """Flux-weighted row of the whole spectrum, from the median over its columns."""
    ny = image.shape[0]
    per_row = _row_median(image, masked, span)
    peak = int(np.argmax(per_row))
    near = slice(max(0, peak - 4), min(ny, peak + 5))
    core = np.maximum(per_row[near], 0.0)
    return float((core * np.arange(ny)[near]).sum() / core.sum())


def trace_line(config: PhotometryConfig, image: Float, masked: Mask, variance: Float, span: slice, cy: float) -> Float:
    """Row of the spectrum in each column (nx,): one row, or a polynomial or spline through the measured centres."""
    optimal, nx = config.optimal, image.shape[1]
    if optimal.straight:
        return np.full(nx, cy)
    measure = {"moment": moment_centres, "gaussian": gaussian_centres}[optimal.trace.measure]
    centres, errors, _ = measure(extraction.fill_masked(image, masked), variance, cy)
    return smooth_line(centres, errors, LINES[optimal.trace_model](nx, span, optimal.trace), _within(nx, span))


def along_columns(nx: int, span: slice, degree: int) -> Float:
    """Chebyshev polynomials (terms, nx) of the column over `span`, held constant beyond it."""
    column = np.clip(np.arange(nx), span.start, span.stop - 1).astype(np.float64)
    scaled = 2.0 * (column - column[0]) / max(column[-1] - column[0], 1.0) - 1.0
    return np.ascontiguousarray(np.polynomial.chebyshev.chebvander(scaled, degree).T)


def _knots_along_columns(nx: int, span: slice, knots: int) -> Float:
    """Cubic B-splines (terms, nx) of the column over `span`, held constant beyond it."""
    inner = spline_axis(span.stop - span.start, knots + 1)
    return np.pad(inner, ((0, 0), (span.start, nx - span.stop)), mode="edge")


#: bases (terms, nx) of the trace models that follow the measured centres
LINES: dict[str, Callable[[int, slice, TraceLine], Float]] = {
    "centerline_poly": lambda nx, span, trace: along_columns(nx, span, trace.degree),
    "centerline_spline": lambda nx, span, trace: _knots_along_columns(nx, span, trace.knots),
}


def _within(nx: int, span: slice) -> Mask:
    use = np.zeros(nx, bool)
    use[span] = True
    return use


def spatial_profile(config: PhotometryConfig, image: Float, masked: Mask, window: Mask, span: slice, line: Float, variance: Float) -> Float:
    """P (ny, nx) of unit sum over the window's rows: polynomials along the columns, or a Gaussian about the trace."""
    profile = config.optimal.profile
    if profile.model == "gaussian":
        _, errors, widths = gaussian_centres(extraction.fill_masked(image, masked), variance, float(np.median(line[span])))
        sigma = smooth_line(widths, errors, along_columns(len(line), span, WIDTH_DEGREE), _within(len(line), span))
        # the fit takes the Gaussian at pixel centres, which the pixel's own width (1/12 px²) has widened
        core = np.sqrt(np.maximum(sigma**2 - 1.0 / 12.0, 0.05))
        return extraction.gaussian_profile((image.shape[0], image.shape[1]), line, core, window)
    lost, found = masked, extraction.spatial_profile(image, variance, masked, window, degree=profile.degree, fit=span)
    for _ in range(REFIT_ROUNDS if profile.refit else 0):
        off = extraction.profile_outliers(image, variance, found, window & ~lost & _within(len(line), span), clip=REFIT_CLIP)
        if not off.any():
            break
        lost = lost | off
        found = extraction.spatial_profile(image, variance, lost, window, degree=profile.degree, fit=span)
    return found


def column_model(spectrum: Spectrum) -> Float:
    """Model variance V (ny, nx) of a pair: read noise and the photons of profile x column flux, background and dark."""
    s = spectrum
    flux = np.where(s.masked, 0.0, s.image)
    column_flux = np.maximum((flux * (s.profile > 0)).sum(axis=0) / np.maximum((s.profile * ~s.masked).sum(axis=0), 0.1), 0.0)
    return np.asarray(s.noise.read + column_flux * s.profile * s.noise.photon + s.noise.constant)


def strip_weight(config: PhotometryConfig, spectrum: Spectrum) -> tuple[Float, Float, Float]:
    """Weights of a strip of rows, the profile normalized to it, and the share of the column's light inside."""
    s, aperture = spectrum, config.aperture
    ny, nx = s.image.shape
    low, high = s.row - aperture.half_height_px, s.row + aperture.half_height_px
    rows = interval_overlap(ny, low, high) if aperture.samples == 0 else interval_samples(ny, low, high, aperture.samples)
    weight, profile, inside = np.repeat(rows[:, None], nx, axis=1), s.profile, np.ones(nx)
    correct = aperture.aperture_correction.enabled
    if not aperture.omits_masked or correct:
        degree = config.optimal.profile.degree
        wide = extraction.spatial_profile(s.image, s.noise.total, s.masked, slice(0, ny), degree=degree, fit=s.span)
        if correct:
            inside = (weight * wide).sum(axis=0)
            weight = weight / inside
        if not aperture.omits_masked:
            weight = extraction.rescale_masked_columns(weight, s.masked, wide)
            profile = wide / np.maximum((np.nan_to_num(weight) * wide).sum(axis=0), 1e-12)
    if aperture.omits_masked:
        weight = np.where(s.masked, 0.0, weight)
        if correct:
            profile = profile / np.maximum((weight * profile).sum(axis=0), 1e-12)
    return weight, profile, inside


def _row_median(image: Float, masked: Mask, span: slice) -> Float:
    """Median of each row's unmasked columns; 0 for a row with none."""
    return np.array([np.median(r[~m]) if (~m).any() else 0.0 for r, m in zip(image[:, span], masked[:, span], strict=True)])
