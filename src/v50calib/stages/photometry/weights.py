"""Static extraction maps and noise terms of a visit, from its mean CDS frame: what `Photometry` sums with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v50calib.dq import DQ
from v50calib.kernels import extraction
from v50calib.kernels.arrays import Flags, Float, Mask
from v50calib.stages.photometry.background import BackgroundModel, BackgroundSums, Scene, build_background
from v50calib.stages.photometry.band import band_maps
from v50calib.stages.photometry.centroid import CentroidPerFrame, build_centroid
from v50calib.stages.photometry.choices import check_roi, resolve_method
from v50calib.stages.photometry.config import PhotometryConfig
from v50calib.stages.photometry.constants import BackgroundTerms, Channels, NoiseTerms, PhotometryConstants
from v50calib.stages.photometry.flux_maps import FluxMaps, per_channel
from v50calib.stages.photometry.mean_frame import MeanFrame, PixelNoise, pixel_noise
from v50calib.stages.photometry.per_frame import PerFrame
from v50calib.stages.photometry.spectrum import Spectrum, spectrum_maps, spectrum_on
from v50calib.stages.photometry.weight_maps import Areas, stack_maps
from v50calib.stages.tile import VisitState

#: columns beside the science range, to each side, that the shift of a spectrum is measured on too
BAND_EDGE = 19


@dataclass(frozen=True)
class Star:
    """The mean frame's light on its background, the same for every extraction method.

    image (ny, nx) without background, filled: masked pixels estimated; spectrum: of a spectrum, its trace and profile.
    """

    model: BackgroundModel
    image: Float
    filled: Float
    noise: PixelNoise
    span: slice
    spectrum: Spectrum | None


def star_on_background(config: PhotometryConfig, state: VisitState, mean: MeanFrame) -> Star:
    """Background, noise and, of a spectrum, trace and profile of the mean frame."""
    instrument, spectral = state.instrument, state.instrument.spectral
    check_roi(config, mean.cds.shape)
    hot = (state.pixel_dq & np.uint32(DQ.HOT)).astype(bool)
    _, background_method = resolve_method(config, spectral)
    model = build_background(config, background_method, Scene(mean.cds, state.masked, hot, instrument))
    level = mean_background(model, mean, state.masked)
    image, noise = mean.cds - level, pixel_noise(config.noise_model, mean, level)
    span = drift_columns(instrument.science, image.shape[1])
    spectrum = spectrum_on(config, image, state.masked, span, noise) if spectral else None
    return Star(model, image, extraction.fill_masked(image, state.masked), noise, span, spectrum)


def build_constants(
    config: PhotometryConfig, state: VisitState, mean: MeanFrame, pair_cadence_s: float, star: Star | None = None
) -> PhotometryConstants:  # fmt: skip
    """Maps and noise terms of a visit; star: of another method's constants. Raises ConfigError where a method makes no sense on its
    instrument."""
    instrument, spectral = state.instrument, state.instrument.spectral
    method, _ = resolve_method(config, spectral)
    star = star if star is not None else star_on_background(config, state, mean)
    model, image, noise, filled, span = star.model, star.image, star.noise, star.filled, star.span
    if star.spectrum is not None:
        found = spectrum_maps(config, method, star.spectrum)
    else:
        found = band_maps(config, method, image, state.masked, noise)
    flux = found.weights
    sums = model.sums(flux, found.moments, spectral=spectral)
    centroid = build_centroid(config.centroid, filled, mean_position(found, image, span, spectral=spectral), spectral=spectral)
    per_frame = per_frame_of(found, model, sums, centroid, image, state.masked, spectral=spectral)
    if per_frame is None:
        # a spectrum's shift along x is measured on the spectrum itself: no map for it
        maps = stack_maps(flux, sums.map, sums.moments, sums.coefficients, spectral=spectral)
    else:
        measured = np.zeros_like(flux) if sums.map is None else sums.map
        maps = stack_maps(flux, measured, sums.moments, [], spectral=spectral)
    area = per_channel(flux, spectral)
    return PhotometryConstants(
        method=method,
        spectral=spectral,
        maps=maps,
        used=flux != 0,
        areas=Areas(
            flux=np.where(found.dead_columns, np.nan, area) if spectral else area,
            moments=np.stack([per_channel(m, spectral) for m in found.moments]),
        ),
        background=background_terms(config, model, sums, mean, noise, pair_cadence_s, per_frame is None, spectral=spectral),
        noise=noise_terms(found, noise, filled, spectral=spectral),
        channels=Channels(
            columns=instrument.science_columns(state.wavelength_um) if spectral else np.zeros(1, np.int64),
            dq=channel_dq(state, found, spectral=spectral),
            replaced=found.replaced(state.masked, spectral=spectral),
        ),
        centre=found.centre,
        drift_columns=span,
        per_frame=per_frame,
    )


def mean_background(model: BackgroundModel, mean: MeanFrame, masked: Mask) -> Float:
    """Background (ny, nx) of the mean frame, e- per pixel."""
    # a statistic of pixels must not meet the zeros of masked ones
    whole = mean.cds if model.linear else extraction.fill_masked(mean.cds, masked)
    return np.broadcast_to(model.image(model.coefficients(whole[None]))[0], mean.cds.shape)


def drift_columns(science: slice | None, nx: int) -> slice:
    """Columns that measure the shift: the science range and some to each side, so that band edges are inside."""
    if science is None:
        return slice(0, nx)
    return slice(max(0, science.start - BAND_EDGE), min(nx, science.stop + BAND_EDGE))


def mean_position(found: FluxMaps, image: Float, span: slice, *, spectral: bool) -> tuple[float, float]:
    """Position (y, x) px of the star in the mean frame `image` (ny, nx)."""
    if not spectral:
        return found.centre
    # the moment of the mean frame itself: the trace's row is measured on fewer rows
    offset = float((found.moments[0] * image).sum() / (found.weights * image)[:, span].sum())
    return found.centre[0] + offset, found.centre[1]


def per_frame_of(
    found: FluxMaps, model: BackgroundModel, sums: BackgroundSums, centroid: CentroidPerFrame | None, image: Float, masked: Mask, *,
    spectral: bool,
) -> PerFrame | None:  # fmt: skip
    """What must be measured on each frame; None where the static maps say all."""
    if model.linear and all(part is None for part in (centroid, found.psf, found.rejection, found.recentre)):
        return None
    return PerFrame(
        spectral=spectral,
        repair=extraction.masked_shares(image, masked),
        background=model,
        mix=sums.mix,
        centroid=centroid,
        psf=found.psf,
        recentre=found.recentre,
        rejection=found.rejection,
        moments_on_clean=not model.linear and not model.per_column and len(model.surface) > 1,
    )


def noise_terms(found: FluxMaps, noise: PixelNoise, filled: Float, *, spectral: bool) -> NoiseTerms:
    """Variance of a pair's flux by its causes; filled (ny, nx): the mean frame without background or gaps."""
    square = found.weights**2
    slopes = [square * np.gradient(filled, axis=axis) ** 2 for axis in (0, 1)]
    return NoiseTerms(
        photon_gain=per_channel(square * found.profile * noise.photon, spectral),
        read=per_channel(square * noise.read, spectral),
        dark=per_channel(square * noise.dark, spectral),
        constant=per_channel(square * noise.constant, spectral),
        flat_gain=np.stack([per_channel(s, spectral) for s in slopes]),
    )


def background_terms(
    config: PhotometryConfig, model: BackgroundModel, sums: BackgroundSums, mean: MeanFrame, noise: PixelNoise, pair_cadence_s: float,
    summed: bool, *, spectral: bool,
) -> BackgroundTerms:  # fmt: skip
    """Smoothing and errors of the background; summed: it comes out of sums with static maps."""
    variance = model.variance(sums.mix, noise.read + np.maximum(mean.cds, 0.0) * noise.photon, spectral=spectral)
    return BackgroundTerms(
        mix=sums.mix if summed and sums.coefficients else None,
        variance=variance / model.smooth_columns if config.noise_model.include_background_var else np.zeros_like(variance),
        smooth_pairs=max(1, round(config.background.smooth_s / pair_cadence_s)),
        smooth_columns=model.smooth_columns,
        shared_columns=model.smooth_columns if model.per_column else variance.size,
    )


def channel_dq(state: VisitState, found: FluxMaps, *, spectral: bool) -> Flags:
    """Static flags (channels,): hot pixels used, pixels filled in, nothing usable."""
    used = found.weights != 0
    carried = np.where(used, state.pixel_dq & np.uint32(DQ.HOT | DQ.NO_LIN_CORR | DQ.UNRELIABLE_DARK), np.uint32(0))
    carried |= np.where(found.estimated, np.uint32(DQ.FLUX_ESTIMATED), np.uint32(0))
    flags = np.bitwise_or.reduce(carried, axis=0)
    flags |= np.where(found.dead_columns, np.uint32(DQ.DO_NOT_USE), np.uint32(0))
    return flags if spectral else np.bitwise_or.reduce(flags, keepdims=True)
