"""Static extraction maps of a visit, from its mean CDS frame: what `Photometry` sums with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v50calib.dq import DQ
from v50calib.errors import ConfigError
from v50calib.kernels import extraction
from v50calib.schema import Instrument
from v50calib.stages.base import Float, VisitState
from v50calib.stages.photometry import PhotometryConfig, PhotometryConstants


@dataclass(frozen=True)
class MeanFrame:
    """Mean CDS frame of the visit's sample pairs and the noise model there, all (ny, nx).

    cds          e-; masked pixels 0
    read_var     read-noise variance of one CDS value, e-² (linearity slope and flat included)
    inverse_flat 1/flat as applied
    dark         dark electrons between the reads, after the flat
    """

    cds: Float
    read_var: Float
    inverse_flat: Float
    dark: Float


def resolve_method(config: PhotometryConfig, spectral: bool) -> tuple[str, str]:
    """Extraction and background method for an instrument; refuses what makes no sense on it."""
    method = config.photometry.method
    if method == "auto":
        method = "optimal" if spectral else "aperture"
    if method == "optimal" and not spectral:
        raise ConfigError(
            "calib.photometry.photometry.method=optimal extracts a spectrum (AIRS) and FGS1 has none: use method=auto "
            "(optimal for AIRS, aperture for FGS1), or add calib.photometry.instrument.name=AIRS"
        )
    background = config.background.method
    if background == "auto":
        background = "columns" if spectral else "annulus"
    if background == "annulus" and spectral:
        raise ConfigError("calib.photometry.background.method=annulus needs a point source (FGS1); use auto or columns for AIRS")
    if background == "columns" and not spectral:
        raise ConfigError("calib.photometry.background.method=columns is per spectral column (AIRS); use auto or annulus for FGS1")
    return method, background


def check_detector(config: PhotometryConfig, instrument: Instrument) -> None:
    """Refuse, before any frame is read, a method that makes no sense on an instrument or a background outside its detector."""
    _, background = resolve_method(config, instrument.spectral)
    ny, nx = instrument.shape
    rows, half = config.background.columns.edge_rows, config.optimal.window.half_height_px
    if background == "columns" and 2 * rows + 2 * half > ny:
        raise ConfigError(
            f"background rows (2 x {rows}) and extraction window (2 x {half}) overlap on the {ny} rows of {instrument}: "
            "lower calib.photometry.background.columns.edge_rows or calib.photometry.optimal.window.half_height_px"
        )
    inner = config.background.annulus.inner_px
    if background == "annulus" and inner >= min(ny, nx) / 2:
        raise ConfigError(
            f"calib.photometry.background.annulus.inner_px={inner} lies outside the {ny} x {nx} detector of {instrument}: "
            "lower it, or use calib.photometry.background.method=none"
        )


def build_constants(config: PhotometryConfig, state: VisitState, mean: MeanFrame, pair_cadence_s: float) -> PhotometryConstants:
    """Weights, areas and noise terms of a visit (see `PhotometryConstants`)."""
    instrument = state.instrument
    method, background = resolve_method(config, instrument.spectral)
    read_var = mean.read_var
    if config.noise_model.read_noise is not None:
        read_var = np.full_like(read_var, 2.0 * config.noise_model.read_noise**2) * mean.inverse_flat**2
    mean = MeanFrame(mean.cds, read_var, mean.inverse_flat, mean.dark)
    sky_map = _background_map(config, background, state, mean)
    build = _spectral_maps if instrument.spectral else _band_maps
    flux_map, moments, profile, centre, estimated = build(config, method, state, mean, sky_map)
    # a spectrum's shift along x is measured on the spectrum itself: no map for it
    weights = np.stack([flux_map, sky_map, moments[0], *(() if instrument.spectral else (moments[1],))])
    dead_column = np.asarray(~np.isfinite(flux_map).all(axis=0))
    weights = np.nan_to_num(weights, nan=0.0)
    sky_level = np.maximum((sky_map * mean.cds).sum(axis=0 if instrument.spectral else None, keepdims=True), 0.0)
    square = weights[0] ** 2
    photon_gain = square * profile * mean.inverse_flat
    poisson = square * (sky_level * mean.inverse_flat + np.maximum(mean.dark * mean.inverse_flat, 0.0))
    read = square * read_var
    sky_var = sky_map**2 * (read_var + np.maximum(mean.cds, 0.0) * mean.inverse_flat)
    axis = 0 if instrument.spectral else None
    collapse = [np.atleast_1d(v.sum(axis=axis)) for v in (weights[0], weights[2], moments[1], photon_gain, read, poisson, sky_var)]
    area, area_y, area_x, photon, read_sum, poisson_sum, sky_sum = collapse
    channel_dq = _channel_dq(state, weights[0] != 0, estimated, dead_column, instrument.spectral)
    if instrument.spectral:
        area = np.where(dead_column, np.nan, area)
    smooth_columns = config.background.columns.smooth_columns if background == "columns" else 1
    rows = [np.flatnonzero((w != 0).any(axis=1)) for w in weights]
    return PhotometryConstants(
        method=method,
        spectral=instrument.spectral,
        weights=np.ascontiguousarray(weights),
        per_column=2 if instrument.spectral else 0,
        first=np.array([r[0] if r.size else 0 for r in rows], np.int64),
        last=np.array([r[-1] + 1 if r.size else 0 for r in rows], np.int64),
        used=weights[0] != 0,
        area=area,
        moment_area=np.stack([area_y, area_x]),
        photon_gain=photon,
        read_var=read_sum,
        poisson_var=poisson_sum,
        background_var=sky_sum / smooth_columns,
        centre=centre,
        columns=instrument.science_columns(state.wavelength_um) if instrument.spectral else None,
        drift_columns=_drift_columns(instrument.science, area.size),
        channel_dq=channel_dq,
        smooth_pairs=max(1, round(config.background.smooth_s / pair_cadence_s)),
        smooth_columns=smooth_columns,
    )


def _drift_columns(science: slice | None, nx: int) -> slice:
    """Columns that measure the shift: the science range and 19 px to each side, so that band edges are inside."""
    if science is None:
        return slice(0, nx)
    return slice(max(0, science.start - 19), min(nx, science.stop + 19))


def _channel_dq(state: VisitState, used: np.ndarray, estimated: np.ndarray, dead: np.ndarray, spectral: bool) -> np.ndarray:
    """Static flags per column (or of the band): hot pixels used, pixels filled in, nothing usable."""
    carried = np.where(used, state.pixel_dq & np.uint32(DQ.HOT | DQ.NO_LIN_CORR | DQ.UNRELIABLE_DARK), np.uint32(0))
    carried |= np.where(estimated, np.uint32(DQ.FLUX_ESTIMATED), np.uint32(0))
    flags = np.bitwise_or.reduce(carried, axis=0)
    flags |= np.where(dead, np.uint32(DQ.DO_NOT_USE), np.uint32(0))
    return flags if spectral else np.bitwise_or.reduce(flags, keepdims=True)


def _background_map(config: PhotometryConfig, method: str, state: VisitState, mean: MeanFrame) -> Float:
    """Weights of the mean background per pixel: Σ w = 1 per column (columns) or over the annulus."""
    good = ~(state.masked | (state.pixel_dq & np.uint32(DQ.HOT)).astype(bool))
    ny, _ = mean.cds.shape
    if method == "none":
        return np.zeros_like(mean.cds)
    if method == "columns":
        rows = config.background.columns.edge_rows
        edge = np.zeros_like(good)
        edge[:rows] = edge[ny - rows :] = True
        region = (edge & good).astype(np.float64)
        return region / np.maximum(region.sum(axis=0), 1.0)
    inner, outer = config.background.annulus.inner_px, config.background.annulus.outer_px
    if inner >= outer:
        raise ConfigError(f"calib.photometry.background.annulus: inner_px={inner} must be smaller than outer_px={outer}")
    centre = extraction.barycenter(mean.cds, state.masked)
    ring = extraction.circular_aperture(mean.cds.shape, centre, outer) - extraction.circular_aperture(mean.cds.shape, centre, inner)
    region = np.where(good, ring, 0.0)
    return region / region.sum()


Maps = tuple[Float, tuple[Float, Float], Float, tuple[float, float], np.ndarray]


def _band_maps(config: PhotometryConfig, method: str, state: VisitState, mean: MeanFrame, sky_map: Float) -> Maps:
    """One photometric band (FGS1): aperture about the barycenter, masked pixels filled from their neighbours."""
    shape = mean.cds.shape
    image = mean.cds - (sky_map * mean.cds).sum()
    cy, cx = extraction.barycenter(image, state.masked)
    aperture = config.aperture
    if aperture.shape == "circular":
        weight = extraction.circular_aperture(shape, (cy, cx), aperture.radius_px)
    else:
        weight = extraction.box_aperture(shape, (cy, cx), (aperture.box.height_px, aperture.box.width_px))
    yy, xx = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    maps = np.stack([weight, weight * (yy - cy), weight * (xx - cx)])
    if aperture.mask_treatment == "fill":
        maps, estimated = extraction.redistribute_masked(maps, state.masked, image)
    else:
        maps, estimated = np.where(state.masked, 0.0, maps), np.zeros(shape, bool)
    profile = np.maximum(image, 0.0)
    profile /= (maps[0] * profile).sum()
    return maps[0], (maps[1], maps[2]), profile, (cy, cx), estimated


def _spectral_maps(config: PhotometryConfig, method: str, state: VisitState, mean: MeanFrame, sky_map: Float) -> Maps:
    """Spectrum (AIRS): per column an aperture in y or Horne's optimal weights, about the mean trace."""
    ny, nx = mean.cds.shape
    image = mean.cds - (sky_map * mean.cds).sum(axis=0)
    span = _drift_columns(state.instrument.science, nx)
    yy = np.arange(ny, dtype=np.float64)[:, None]
    per_row = _row_median(image, state.masked, span)
    peak = int(np.argmax(per_row))
    near = slice(max(0, peak - 4), min(ny, peak + 5))
    core = np.maximum(per_row[near], 0.0)
    cy = float((core * np.arange(ny)[near]).sum() / core.sum())
    half = config.optimal.window.half_height_px
    middle = round(cy + 0.5)
    window = slice(max(0, middle - half), min(ny, middle + half))
    variance = mean.read_var + np.maximum(mean.cds + mean.dark, 0.0) * mean.inverse_flat
    profile = extraction.spatial_profile(image, variance, state.masked, window, degree=config.optimal.profile.degree, fit=span)
    in_window = np.zeros((ny, nx), bool)
    in_window[window] = True
    if method == "optimal":
        flux = np.where(state.masked, 0.0, image)
        column_flux = np.maximum((flux * (profile > 0)).sum(axis=0) / np.maximum((profile * ~state.masked).sum(axis=0), 0.1), 0.0)
        sky = np.maximum((sky_map * mean.cds).sum(axis=0), 0.0)
        model = mean.read_var + (column_flux * profile + sky + np.maximum(mean.dark, 0.0)) * mean.inverse_flat
        weight = extraction.optimal_weights(profile, model, state.masked | ~in_window)
    else:
        reach = config.aperture.radius_px if config.aperture.shape == "circular" else config.aperture.box.height_px / 2
        weight = np.repeat(extraction.interval_overlap(ny, cy - reach, cy + reach)[:, None], nx, axis=1)
        if config.aperture.mask_treatment == "fill":
            wide = extraction.spatial_profile(image, variance, state.masked, slice(0, ny), degree=config.optimal.profile.degree, fit=span)
            weight = extraction.rescale_masked_columns(weight, state.masked, wide)
            profile = wide / np.maximum((np.nan_to_num(weight) * wide).sum(axis=0), 1e-12)
        else:
            weight = np.where(state.masked, 0.0, weight)
    estimated = (
        state.masked & in_window if not (method == "aperture" and config.aperture.mask_treatment == "omit") else np.zeros((ny, nx), bool)
    )
    whole = ~(state.masked & in_window).any(axis=0)
    moment = np.where(in_window & whole, yy - cy, 0.0)
    moment[:, : span.start] = moment[:, span.stop :] = 0.0
    return weight, (moment, np.zeros((ny, nx))), profile, (cy, nx / 2), estimated


def _row_median(image: Float, masked: np.ndarray, span: slice) -> Float:
    """Median of each row's unmasked columns; 0 for a row with none."""
    return np.array([np.median(r[~m]) if (~m).any() else 0.0 for r, m in zip(image[:, span], masked[:, span], strict=True)])
