"""Which extraction a visit's own frames ask for, where the config leaves it open (`calib.photometry.photometry.method=auto`).

Optimal weights are the least noisy ones for a star that stands still within an exposure. Where it moves within one, the light's width
changes from pair to pair, and weights that follow a narrow profile feel it: up to 4.5 times the noise limit in white light on
frames of ExoSim 2, where a wide aperture stays at the limit. On the challenge's own frames both are at the limit. So both are tried
on the sample pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v50calib.engine.frames import ReadFrames, sample_pairs
from v50calib.engine.map_checks import check_background
from v50calib.engine.plan import FramePlan
from v50calib.engine.result import usable_values
from v50calib.engine.samples import whole_pairs
from v50calib.kernels.arrays import Float
from v50calib.kernels.series import MAD_TO_SIGMA
from v50calib.stages.photometry.config import PhotometryConfig
from v50calib.stages.photometry.constants import LightCurves, PhotometryConstants
from v50calib.stages.photometry.mean_frame import MeanFrame
from v50calib.stages.photometry.stage import Photometry
from v50calib.stages.photometry.weights import Star, build_constants, star_on_background
from v50calib.stages.tile import VisitState

#: extractions of a spectrum, the one that is kept where both do first
CANDIDATES = ("optimal", "aperture")
#: the other one is taken where it lowers white variance squared times channel variance by this share
MARGIN = 0.02
#: fewer differences of neighbouring sample pairs than this do not decide
LEAST_STEPS = 100


@dataclass(frozen=True)
class Scatter:
    """Of the sample pairs' light curves, from pair to pair and without what follows the pointing: relative variance of white light
    and of a channel (median), and the white scatter over its predicted limit."""

    white: float
    channel: float
    over_limit: float


def photometry_constants(
    photometry: Photometry, state: VisitState, plan: FramePlan, mean: MeanFrame, cadence_s: float, read: ReadFrames
) -> PhotometryConstants:  # fmt: skip
    """Constants of the method that the config names, or of the one that the frames ask for; the choice goes into notes and qc."""
    star = star_on_background(photometry.config, state, mean)
    built = _chosen(photometry, state, plan, mean, star, cadence_s, read)
    state.checks |= check_background(photometry.config, state, mean, star, built)
    return built


def _chosen(
    photometry: Photometry, state: VisitState, plan: FramePlan, mean: MeanFrame, star: Star, cadence_s: float, read: ReadFrames
) -> PhotometryConstants:  # fmt: skip
    """Constants of the named method, or of that of the two which has the lesser noise on the sample pairs."""
    config, runs = photometry.config, sample_pairs(len(plan.between))
    if config.photometry.method != "auto" or not state.instrument.spectral or sum(r.stop - r.start - 1 for r in runs) < LEAST_STEPS:
        return build_constants(config, state, mean, cadence_s, star)
    tried = {method: Photometry(_with_method(config, method)) for method in CANDIDATES}
    built = {method: build_constants(one.config, state, mean, cadence_s, star) for method, one in tried.items()}
    curves: dict[str, list[LightCurves]] = {method: [] for method in CANDIDATES}
    for run in runs:
        # one run of frames in memory at a time: a detector may be large
        raw = read(2 * run.start, 2 * run.stop)
        values = usable_values(plan.cds(raw, run.start), state.masked)[whole_pairs(raw)]
        if not len(values):
            continue
        for method, one in tried.items():
            curves[method].append(light_curves(one, built[method], values))
    first, second = CANDIDATES
    if sum(max(len(one.x) - 1, 0) for one in curves[first]) < LEAST_STEPS:
        state.notes.append(f"photometry.method=auto took {first}: too few sample pairs have all their light to compare methods")
        return built[first]
    found = {method: scatter_of(curves[method]) for method in CANDIDATES}
    if not (found[first].white > 0 and found[first].channel > 0):
        return built[first]
    # white light counts twice: the level of the whole spectrum hangs on it
    gain = (found[second].white / found[first].white) ** 2 * found[second].channel / found[first].channel
    taken = second if gain < 1.0 - MARGIN else first
    state.qc["photometry"] = state.qc.get("photometry", {}) | {f"white_noise_{m}": found[m].over_limit for m in CANDIDATES}
    if taken != first:
        state.notes.append(
            f"photometry.method=auto took {taken}: on the sample pairs white light scatters {found[taken].over_limit:.2f} times its limit "
            f"with it, {found[first].over_limit:.2f} times with {first} weights, which feel motion within an exposure"
        )
    return built[taken]


def _with_method(config: PhotometryConfig, method: str) -> PhotometryConfig:
    return config.model_copy(update={"photometry": config.photometry.model_copy(update={"method": method})})


def light_curves(photometry: Photometry, constants: PhotometryConstants, values: Float) -> LightCurves:
    """Light curves of a run of CDS frames (n, ny, nx) without flags."""
    sums = photometry.measure(values, constants, "float64")
    return photometry.finish(sums, np.zeros((len(values), constants.areas.flux.size), np.uint32), constants)


def scatter_of(runs: list[LightCurves]) -> Scatter:
    """Noise of the light curves of several runs of pairs: differences of neighbours, pointing terms fitted out."""
    steps, pointing, level, predicted = [], [], [], []
    for curves in runs:
        flux = np.asarray(curves.flux, np.float64)
        steps.append(np.diff(flux, axis=0))
        x, y = curves.x - curves.x.mean(), curves.y - curves.y.mean()
        pointing.append(np.diff(np.stack([x, y, x**2, x * y, y**2], axis=1), axis=0))
        level.append(flux.mean(axis=0))
        predicted.append(np.asarray(curves.variance, np.float64).mean(axis=0))
    change, terms = np.concatenate(steps), np.concatenate(pointing)
    mean, limit = np.mean(level, axis=0), np.mean(predicted, axis=0)
    good = np.isfinite(mean) & (mean > 0)
    table = np.column_stack([change[:, good].sum(axis=1), change[:, good]])
    if len(table) > 2 * terms.shape[1]:
        unit = np.sqrt(np.square(terms).sum(axis=0))
        basis = np.linalg.qr(terms[:, unit > 0] / unit[unit > 0])[0]
        table = table - basis @ (basis.T @ table)
        free = len(table) - basis.shape[1]
    else:
        free = len(table)
    # a lost frame or a leap of the light is no noise of an extraction
    white = np.abs(table[:, 0])
    usual = white <= 5.0 * MAD_TO_SIGMA * np.median(white)
    variance = np.square(table[usual]).sum(axis=0) / (2.0 * max(free - int((~usual).sum()), 1))
    total = mean[good].sum()
    return Scatter(
        white=float(variance[0] / total**2), channel=float(np.median(variance[1:] / mean[good] ** 2)),
        over_limit=float(np.sqrt(variance[0] / limit[good].sum())),
    )  # fmt: skip
