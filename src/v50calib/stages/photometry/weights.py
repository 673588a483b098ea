"""Static extraction maps and noise terms of a visit, from its mean CDS frame: what `Photometry` sums with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from v50calib.dq import DQ
from v50calib.kernels import extraction
from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.horne import rejection_slope
from v50calib.stages.photometry.background import SkyModel, build_sky
from v50calib.stages.photometry.band import band_maps, recentre_of
from v50calib.stages.photometry.centroid import build_centroid
from v50calib.stages.photometry.choices import _check_roi, resolve_method
from v50calib.stages.photometry.config import PhotometryConfig
from v50calib.stages.photometry.constants import PhotometryConstants
from v50calib.stages.photometry.per_frame import FrameWork, Recentre, Rejection
from v50calib.stages.photometry.psf import PsfWork
from v50calib.stages.photometry.spectrum import SpectrumMaps, column_model, spectrum_maps
from v50calib.stages.tile import VisitState


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


@dataclass(frozen=True)
class Maps:
    """What a spectrum's and a band's maps have in common, (ny, nx) but for moments (k, ny, nx) and inside (channels,)."""

    flux: Float
    moments: Float
    profile: Float
    centre: tuple[float, float]
    estimated: Mask
    inside: Float
    psf: PsfWork | None = None


def build_constants(config: PhotometryConfig, state: VisitState, mean: MeanFrame, pair_cadence_s: float) -> PhotometryConstants:
    """Weights, areas and noise terms of a visit (see `PhotometryConstants`)."""
    instrument = state.instrument
    spectral = instrument.spectral
    method, background = resolve_method(config, spectral)
    _check_roi(config, mean.cds.shape)
    noise = config.noise_model
    read_var = mean.read_var
    if noise.read_noise is not None:
        read_var = np.full_like(read_var, 2.0 * noise.read_noise**2) * mean.inverse_flat**2
    photon = mean.inverse_flat * (1.0 if noise.include_shot_noise else 0.0)
    hot = (state.pixel_dq & np.uint32(DQ.HOT)).astype(bool)
    sky = build_sky(config, background, mean.cds, state.masked, hot, spectral=spectral)
    whole = extraction.fill_masked(mean.cds, state.masked) if not sky.linear else mean.cds
    level = np.broadcast_to(sky.image(sky.coefficients(whole[None]))[0], mean.cds.shape)
    image = mean.cds - level
    dark = np.maximum(mean.dark, 0.0) * photon
    sky_photons = np.maximum(level, 0.0) * photon * (1.0 if noise.include_background_var else 0.0)
    span = _drift_columns(instrument.science, image.shape[1])
    total = read_var + np.maximum(mean.cds + mean.dark, 0.0) * photon
    if spectral:
        found = spectrum_maps(config, method, image, state.masked, span, read_var=read_var, noise=(total, sky_photons + dark, photon))
        maps = Maps(found.weight, found.moment[None], found.profile, found.centre, found.estimated, found.inside)
        rejection = _rejection(config, method, found, image, state.masked, read_var, (total, sky_photons + dark, photon))
        recentre = _strip(config, method, maps)
    else:
        band = band_maps(config, method, image, state.masked, read_var=read_var, photon=photon, constant=sky_photons + dark)
        maps = Maps(band.weight, band.moments, band.profile, band.centre, band.estimated, np.array([band.inside]), band.psf)
        rejection, recentre = None, recentre_of(config, band) if method == "aperture" else None
    dead_column = np.asarray(~np.isfinite(maps.flux).all(axis=0))
    flux_map = np.nan_to_num(maps.flux, nan=0.0)
    sums = _sky_sums(sky, flux_map, maps.moments, spectral)
    at = maps.centre
    if spectral:
        # the moment of the mean frame itself: the trace's row is measured on fewer rows
        at = (at[0] + float((maps.moments[0] * image).sum() / (np.nan_to_num(maps.flux) * image)[:, span].sum()), at[1])
    centroid = build_centroid(config.centroid, extraction.fill_masked(image, state.masked), at, spectral=spectral)
    fit = maps.psf if config.psf.mode == "fit" else None
    work = None
    if not (sky.linear and centroid is None and fit is None and rejection is None and recentre is None):
        repair = extraction.masked_shares(image, state.masked)
        many = not sky.linear and not sky.per_column and len(sky.surface) > 1
        work = FrameWork(spectral, repair, sky, sums.under, centroid, fit, recentre, rejection, many)
    # a spectrum's shift along x is measured on the spectrum itself: no map for it
    weights = np.stack([flux_map, *sums.sky_maps, *sums.moments, *(sums.coefficients if work is None else ())])
    if work is not None and not sums.sky_maps:
        weights = np.insert(weights, 1, 0.0, axis=0)
    axis = 0 if spectral else None
    square = flux_map**2
    terms = (flux_map, square * maps.profile * photon, square * read_var, square * (sky_photons + dark))
    area, photon_sum, read_sum, poisson_sum = (np.atleast_1d(v.sum(axis=axis)) for v in terms)
    slopes = [square * np.gradient(extraction.fill_masked(image, state.masked), axis=a) ** 2 for a in (0, 1)]
    sky_var = _sky_variance(sky, sums, read_var + np.maximum(mean.cds, 0.0) * photon, spectral)
    smooth_columns = config.background.columns.smooth_columns if background == "columns" else 1
    estimated = maps.estimated
    rows = [np.flatnonzero((w != 0).any(axis=1)) for w in weights]
    return PhotometryConstants(
        method=method,
        spectral=spectral,
        weights=np.ascontiguousarray(weights),
        per_column=(1 + len(sums.sky_maps) if work is None else 2) if spectral else 0,
        first=np.array([r[0] if r.size else 0 for r in rows], np.int64),
        last=np.array([r[-1] + 1 if r.size else 0 for r in rows], np.int64),
        used=flux_map != 0,
        area=np.where(dead_column, np.nan, area) if spectral else area,
        moment_area=np.stack([np.atleast_1d(m.sum(axis=axis)) for m in maps.moments]),
        photon_gain=photon_sum,
        read_var=read_sum,
        poisson_var=poisson_sum,
        dark_var=np.atleast_1d((square * dark).sum(axis=axis)),
        flat_gain=np.stack([np.atleast_1d(s.sum(axis=axis)) for s in slopes]),
        background_var=sky_var / smooth_columns if noise.include_background_var else np.zeros_like(sky_var),
        centre=maps.centre,
        columns=instrument.science_columns(state.wavelength_um) if spectral else None,
        drift_columns=span,
        channel_dq=_channel_dq(state, flux_map != 0, estimated, dead_column, spectral),
        smooth_pairs=max(1, round(config.background.smooth_s / pair_cadence_s)),
        smooth_columns=smooth_columns,
        shared_columns=smooth_columns if sky.per_column else area.size,
        sky_basis=sums.under if work is None and sums.coefficients else None,
        replaced=_replaced(maps, state.masked, spectral),
        frame=work,
    )


@dataclass(frozen=True)
class _SkySums:
    """How the background becomes sums of the frames.

    sky_maps      [map] of the background per pixel (columns, annulus, a band under any linear surface), or nothing
    coefficients  maps of the surface's coefficients, where each column has its own mix of them (a spectrum)
    under         (channels, terms) the mix; None: the map, or a coefficient a column, is the background itself
    moments       moment maps that take the surface's own shape off
    """

    sky_maps: list[Float]
    coefficients: list[Float]
    under: Float | None
    moments: Float


def _sky_sums(sky: SkyModel, flux_map: Float, moments: Float, spectral: bool) -> _SkySums:
    if sky.weights is not None:
        under = None if sky.per_column else np.ones((flux_map.shape[1] if spectral else 1, 1))
        return _SkySums([sky.weights], [], under, moments)
    under = sky.under(flux_map, spectral)
    if not sky.linear:
        return _SkySums([np.zeros_like(flux_map)], [], under, moments)
    # Σ m·(frame - B) + Σ m·(background per pixel): the light curves' end takes the second off again, smoothed in time
    shape = np.tensordot(moments, sky.surface, axes=([1, 2], [1, 2]))
    area = moments.sum(axis=1) if spectral else moments.sum(axis=(1, 2))[:, None]
    level = area @ under
    kept = moments + np.tensordot(level - shape, sky.maps, axes=1)
    if spectral:
        return _SkySums([], list(sky.maps), under, kept)
    return _SkySums([np.tensordot(under[0], sky.maps, axes=1)], [], under, kept)


def _sky_variance(sky: SkyModel, sums: _SkySums, variance: Float, spectral: bool) -> Float:
    """Variance (channels,) of one pair's background per pixel, e-²."""
    if sky.weights is not None:
        found = np.atleast_1d((sky.weights**2 * variance).sum(axis=0 if sky.per_column else None))
        return np.repeat(found, variance.shape[1]) if spectral and not sky.per_column else found
    assert sums.under is not None
    maps = sums.under @ sky.maps.reshape(len(sky.maps), -1)
    return np.asarray((maps**2) @ variance.reshape(-1)) * sky.excess


def _rejection(
    config: PhotometryConfig, method: str, found: SpectrumMaps, image: Float, masked: Mask, read_var: Float,
    noise: tuple[Float, Float, Float],
) -> Rejection | None:  # fmt: skip
    robust = config.optimal.robust
    if method != "optimal" or robust.sigma_clip is None:
        return None
    weighting = np.where(masked | ~found.window, 0.0, np.nan_to_num(found.weight))
    return Rejection(
        profile=found.profile, variance=column_model(image, masked, found.profile, read_var=read_var, noise=noise), weighting=weighting,
        slope=rejection_slope(found.profile, robust.jitter_px), clip=robust.sigma_clip, max_iters=robust.max_iters,
    )  # fmt: skip


def _strip(config: PhotometryConfig, method: str, maps: Maps) -> Recentre | None:
    """A spectrum's aperture that follows the trace in y."""
    aperture = config.aperture
    if method != "aperture" or not aperture.recenter_on_centroid:
        return None
    half = aperture.radius_px if aperture.shape == "circular" else aperture.box.height_px / 2
    return Recentre(0, half, half, 0.0, 0, 1.0 / maps.inside, maps.centre, config.centroid.track.max_step_px)


def _replaced(maps: Maps, masked: Mask, spectral: bool) -> Float:
    """Share (channels,) of each channel's light that falls on pixels that were estimated."""
    light = np.maximum(extraction.fill_masked(maps.profile, masked) if not spectral else maps.profile, 0.0)
    axis = 0 if spectral else None
    lost, whole = (np.atleast_1d(v.sum(axis=axis)) for v in (light * maps.estimated, light))
    return np.asarray(lost / np.where(whole > 0, whole, math.inf))


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
