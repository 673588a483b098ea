"""Extraction maps of a spectrum: the trace, the spatial profile, and the weights of each column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v50calib.kernels import extraction
from v50calib.kernels.apertures import interval_overlap, interval_samples
from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.background import spline_axis
from v50calib.kernels.spectrum_trace import gaussian_centres, moment_centres, smooth_line
from v50calib.stages.photometry.config import PhotometryConfig

#: degree of the polynomial that the width of a Gaussian profile follows along the columns
WIDTH_DEGREE = 2
#: clip of the profile's refit, sigma
REFIT_CLIP = 5.0
REFIT_ROUNDS = 3


@dataclass(frozen=True)
class SpectrumMaps:
    """Maps of a spectrum, all (ny, nx) but `centre` (row, column) and `whole_profile`.

    weight   flux weights, NaN in columns without a usable pixel
    moment   first moment in y about centre[0], over columns that no masked pixel mars
    profile  P, Σ_y weight·P = 1
    window   pixels of the extraction window
    inside   share of each column's light inside the aperture (nx,), 1 for optimal extraction
    """

    weight: Float
    moment: Float
    profile: Float
    window: Mask
    centre: tuple[float, float]
    estimated: Mask
    inside: Float


def spectrum_maps(
    config: PhotometryConfig,
    method: str,
    image: Float,
    masked: Mask,
    span: slice,
    *,
    read_var: Float,
    noise: tuple[Float, Float, Float],
) -> SpectrumMaps:
    """Per column an aperture in y or Horne's optimal weights, about the mean trace.

    image (ny, nx): mean frame without background. noise: its variance for the profile's fit, what a column's variance has beside
    read noise and photons (sky and dark electrons), and variance per electron of signal, (ny, nx) each.
    """
    ny, nx = image.shape
    yy = np.arange(ny, dtype=np.float64)[:, None]
    cy = trace_row(image, masked, span)
    line = trace_line(config, image, masked, noise[0], span, cy)
    half = config.optimal.window.half_height_px
    middle = np.rint(line + 0.5)
    window = (yy >= np.maximum(middle - half, 0.0)) & (yy < np.minimum(middle + half, ny))
    fixed = config.optimal.trace_model == "fixed_row"
    inside = np.ones(nx)
    profile = spatial_profile(config, image, masked, window, span, line, noise[0])
    if method == "optimal":
        weight = optimal_weight(config, image, masked, profile, window, read_var=read_var, noise=noise)
    else:
        weight, profile, inside = strip_weight(config, image, masked, profile, span, cy, noise[0])
    omitted = method == "aperture" and config.aperture.mask_treatment == "omit"
    estimated = np.zeros((ny, nx), bool) if omitted else masked & window
    whole = ~(masked & window).any(axis=0)
    moment = np.where(window & whole, yy - (cy if fixed else line), 0.0)
    moment[:, : span.start] = moment[:, span.stop :] = 0.0
    if method == "aperture" and config.aperture.recenter_on_centroid:
        # the strip's flux divides the window's moment: without its share of the window's light, y would be too long by it
        moment = moment * (np.nan_to_num(weight) * image).sum() / np.where(window, image, 0.0).sum()
    row = cy if fixed else float(np.median(line[span]))
    return SpectrumMaps(weight, moment, profile, window, (row, nx / 2), estimated, inside)


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
    if optimal.trace_model == "fixed_row":
        return np.full(nx, cy)
    measure = {"moment": moment_centres, "gaussian": gaussian_centres}[optimal.trace.measure]
    centres, errors, _ = measure(extraction.fill_masked(image, masked), variance, cy)
    if optimal.trace_model == "centerline_poly":
        basis = along_columns(nx, span, optimal.trace.degree)
    else:
        inner = spline_axis(span.stop - span.start, optimal.trace.knots + 1)
        basis = np.pad(inner, ((0, 0), (span.start, nx - span.stop)), mode="edge")
    return smooth_line(centres, errors, basis, _within(nx, span))


def along_columns(nx: int, span: slice, degree: int) -> Float:
    """Chebyshev polynomials (terms, nx) of the column over `span`, held constant beyond it."""
    column = np.clip(np.arange(nx), span.start, span.stop - 1).astype(np.float64)
    scaled = 2.0 * (column - column[0]) / max(column[-1] - column[0], 1.0) - 1.0
    return np.ascontiguousarray(np.polynomial.chebyshev.chebvander(scaled, degree).T)


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


def optimal_weight(
    config: PhotometryConfig,
    image: Float,
    masked: Mask,
    profile: Float,
    window: Mask,
    *,
    read_var: Float,
    noise: tuple[Float, Float, Float],
) -> Float:
    """Horne's weights with V from the model; all pixels alike where they are not to be weighted by it."""
    model = np.ones_like(read_var)
    if config.optimal.profile.variance_weighted:
        model = column_model(image, masked, profile, read_var=read_var, noise=noise)
    return extraction.optimal_weights(profile, model, masked | ~window)


def column_model(image: Float, masked: Mask, profile: Float, *, read_var: Float, noise: tuple[Float, Float, Float]) -> Float:
    """Model variance V (ny, nx) of a pair: read noise and the photons of profile x column flux, sky and dark."""
    flux = np.where(masked, 0.0, image)
    column_flux = np.maximum((flux * (profile > 0)).sum(axis=0) / np.maximum((profile * ~masked).sum(axis=0), 0.1), 0.0)
    _, others, photon = noise
    return np.asarray(read_var + column_flux * profile * photon + others)


def strip_weight(
    config: PhotometryConfig, image: Float, masked: Mask, profile: Float, span: slice, cy: float, variance: Float
) -> tuple[Float, Float, Float]:
    """Weights of a strip of rows, the profile normalized to it, and the share of the column's light inside."""
    ny, nx = image.shape
    aperture = config.aperture
    reach = aperture.radius_px if aperture.shape == "circular" else aperture.box.height_px / 2
    n = aperture.samples
    rows = interval_overlap(ny, cy - reach, cy + reach) if n == 0 else interval_samples(ny, cy - reach, cy + reach, n)
    weight = np.repeat(rows[:, None], nx, axis=1)
    correct = aperture.aperture_correction.enabled
    inside = np.ones(nx)
    if aperture.mask_treatment != "omit" or correct:
        wide = extraction.spatial_profile(image, variance, masked, slice(0, ny), degree=config.optimal.profile.degree, fit=span)
        if correct:
            inside = (weight * wide).sum(axis=0)
            weight = weight / inside
        if aperture.mask_treatment != "omit":
            weight = extraction.rescale_masked_columns(weight, masked, wide)
            profile = wide / np.maximum((np.nan_to_num(weight) * wide).sum(axis=0), 1e-12)
    if aperture.mask_treatment == "omit":
        weight = np.where(masked, 0.0, weight)
        if correct:
            profile = profile / np.maximum((weight * profile).sum(axis=0), 1e-12)
    return weight, profile, inside


def _row_median(image: Float, masked: Mask, span: slice) -> Float:
    """Median of each row's unmasked columns; 0 for a row with none."""
    return np.array([np.median(r[~m]) if (~m).any() else 0.0 for r, m in zip(image[:, span], masked[:, span], strict=True)])
