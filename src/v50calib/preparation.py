"""What a visit needs once: its maps and coordinates as arrays, every stage's constants, the mean frame.

`prepare_visit` runs each stage's `prepare` and, where photometry is asked for, measures the mean CDS frame
on a fixed sample of pairs. The result serves every chunk of the visit (`tiles`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from v50calib import general
from v50calib.dq import counts
from v50calib.kernels.fused import cds_polynomial
from v50calib.kernels.pixelwise import evaluate_derivative
from v50calib.reference import Reference, reference_from_dataset
from v50calib.schema import STAR_PARAMETERS, Instrument, instrument_of
from v50calib.stages.adc import AdcConstants
from v50calib.stages.base import Float, PixelPolynomial, VisitState
from v50calib.stages.photometry import Photometry, PhotometryConstants
from v50calib.stages.photometry_weights import MeanFrame, build_constants

#: runs and pairs per run of the sample that the mean frame is measured on
SAMPLE_RUNS, SAMPLE_PAIRS = 3, 48

ReadFrames = Callable[[int, int], NDArray[np.uint16]]


@dataclass(frozen=True)
class FrameConstants:
    """All static work of a visit's frame domain; picklable, made once, used by every chunk.

    folded       adc … flat as one polynomial of the raw code per pixel; None where a stage cannot be folded
    chain        the general path, where the folded polynomial does not do all; None: it does
    dark         electrons between the reads of pair i: ``rate·between[i]``; between (pairs,) s
    pair_bins    bin of each pair for the time-binned cube (-1: dropped)
    """

    stages: list[Any]
    constants: list[Any]
    folded: PixelPolynomial | None
    between: Float
    exposure_s: Float
    state: VisitState
    saturation_adu: int
    floor_adu: int
    mean: MeanFrame | None
    photometry: PhotometryConstants | None
    pair_bins: NDArray[np.int64]
    chain: general.Chain | None = None

    @property
    def shape(self) -> tuple[int, int]:
        ny, nx = self.state.masked.shape
        return ny, nx

    @property
    def n_bins(self) -> int:
        return int(self.pair_bins.max(initial=-1)) + 1


@dataclass
class VisitInput:
    """A visit as the frame domain sees it: arrays and numbers, no files.

    telemetry   other numbers on the time axis; notes, qc: what reading it has found already
    in_pairs    the frames are in the order of their pairs (`stages.cds_pairing`)
    """

    instrument: Instrument
    reference: Reference
    exposure_s: Float
    time_h: Float
    wavelength_um: Float
    attrs: dict[str, Any] = field(default_factory=dict)
    telemetry: dict[str, NDArray[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    qc: dict[str, dict[str, Any]] = field(default_factory=dict)
    in_pairs: bool = False


def star_of(attrs: dict[Any, Any]) -> dict[str, float]:
    """Star parameters of a visit's attributes, without the prefix."""
    return {k: float(attrs[f"star_{k}"]) for k in STAR_PARAMETERS if f"star_{k}" in attrs}


def visit_input(ds: xr.Dataset) -> VisitInput:
    """The maps and coordinates of a raw visit as arrays; frames stay where they are."""
    return VisitInput(
        instrument=instrument_of(ds.attrs),
        reference=reference_from_dataset(ds),
        exposure_s=np.asarray(ds["exposure"], dtype=np.float64),
        time_h=np.asarray(ds["time"], dtype=np.float64),
        wavelength_um=np.atleast_1d(np.asarray(ds["wavelength"], dtype=np.float64)),
        attrs=dict(ds.attrs),
        telemetry=telemetry_of(ds),
    )


def telemetry_of(ds: xr.Dataset) -> dict[str, NDArray[Any]]:
    """Numbers and flags on a visit's time axis beside its stamps and exposures."""
    other = [n for n in ds.variables if ds[n].dims == ("time",) and n not in ("time", "exposure") and ds[n].dtype.kind in "biuf"]
    return {str(n): np.asarray(ds[n]) for n in other}


def sample_pairs(n_pairs: int) -> list[slice]:
    """Fixed runs of pairs (start, middle, end) for the mean frame: independent of chunks and root."""
    length = min(SAMPLE_PAIRS, max(1, n_pairs // SAMPLE_RUNS))
    starts = np.linspace(0, n_pairs - length, SAMPLE_RUNS).astype(int) if n_pairs > length * SAMPLE_RUNS else [0]
    if len(starts) == 1:
        return [slice(0, min(n_pairs, length * SAMPLE_RUNS))]
    return [slice(int(s), int(s) + length) for s in starts]


def bin_of_pairs(exposures: int, pairs_per_bin: int) -> NDArray[np.int64]:
    """Bin index of each pair; the remainder at the end is -1 (dropped, as the host's procedure does)."""
    bins = np.arange(exposures) // pairs_per_bin
    bins[bins >= exposures // pairs_per_bin] = -1
    return bins


def new_flags(before: NDArray[np.uint32], after: NDArray[np.uint32]) -> dict[str, float]:
    """Share of the pixels (ny, nx) that got each flag from one stage: `flagged_<NAME>`, flags that occur only."""
    return {f"flagged_{name}": n / after.size for name, n in counts(after & ~before).items()}


def prepare_stages(visit: VisitInput, stages: list[Any], *, diagnostics: bool = True) -> tuple[VisitState, list[Any]]:
    """Run `prepare` of the stages adc … cds in order; returns the state they built and their constants.

    diagnostics: keep the share of pixels that each stage flags in the state's qc.
    """
    ny, nx = visit.reference.dark.shape
    state = VisitState(
        reference=visit.reference,
        exposure_s=np.asarray(visit.exposure_s, dtype=np.float64),
        time_h=np.asarray(visit.time_h, dtype=np.float64),
        wavelength_um=np.asarray(visit.wavelength_um, dtype=np.float64),
        instrument=visit.instrument,
        pixel_dq=np.full((ny, nx), visit.reference.absent_dq, np.uint32),
        masked=np.zeros((ny, nx), bool),
        telemetry=visit.telemetry,
        notes=list(visit.notes),
        qc={stage: dict(numbers) for stage, numbers in visit.qc.items()},
    )
    constants = []
    for stage in stages:
        before = state.pixel_dq.copy()
        constants.append(stage.prepare(state))
        if diagnostics and stage.config.diagnostics.enabled:
            state.qc[stage.name] = state.qc.get(stage.name, {}) | new_flags(before, state.pixel_dq)
        state.prefixes.append(state.folded)
    return state, constants


def prepare_visit(
    visit: VisitInput, stages: list[Any], photometry: Photometry | None, read: ReadFrames, *, pairs_per_bin: int, diagnostics: bool = True
) -> FrameConstants:
    """All constants of a visit. `read(start, stop)` gives raw frames; called for the sample pairs only."""
    state, constants = prepare_stages(visit, stages, diagnostics=diagnostics)
    adc = next(c for c in constants if isinstance(c, AdcConstants))
    between = state.exposure_s[1::2] - state.exposure_s[0::2]
    n_pairs = len(between)
    general.check_folded(stages, state.folded, state.masked)
    constants = general.measure(stages, constants, state, read, sample_pairs(n_pairs))
    folded = state.folded
    frame = FrameConstants(
        stages=stages,
        constants=constants,
        folded=PixelPolynomial(np.ascontiguousarray(folded.coef), np.ascontiguousarray(folded.rate)) if folded is not None else None,
        between=between,
        exposure_s=state.exposure_s,
        state=state,
        saturation_adu=int(np.min(adc.saturation_adu)),
        floor_adu=adc.floor_adu,
        mean=None,
        photometry=None,
        pair_bins=bin_of_pairs(n_pairs, pairs_per_bin),
        chain=general.chain_of(stages, constants, state),
    )
    # what the chain needs of them it has; every task would carry the others
    state.prefixes.clear()
    mean = mean_frame(frame, adc, read)
    if photometry is not None:
        cadence = float(np.median(np.diff(state.time_h[1::2]))) * 3600.0 if n_pairs > 1 else float(between[0])
        built = build_constants(photometry.config, state, mean, cadence)
        return FrameConstants(**{**frame.__dict__, "mean": mean, "photometry": built})
    return FrameConstants(**{**frame.__dict__, "mean": mean})


def mean_frame(frame: FrameConstants, adc: AdcConstants, read: ReadFrames) -> MeanFrame:
    """Mean CDS frame of the sample pairs and the noise model there."""
    dark = frame.state.dark_rate * float(np.median(frame.between))
    flat = frame.state.inverse_flat
    if frame.chain is not None:
        means = general.mean_pairs(frame.chain, read, sample_pairs(len(frame.between)))
        read_var = means.read_var + general.unshared_photons(frame.chain, means, flat, dark)
        return MeanFrame(cds=np.where(frame.state.masked, 0.0, means.cds), read_var=_usable(read_var), inverse_flat=flat, dark=dark)
    assert frame.folded is not None
    ny, nx = frame.shape
    total, raw_total, count = np.zeros((ny, nx)), np.zeros((2, ny, nx)), 0
    for run in sample_pairs(len(frame.between)):
        raw = read(2 * run.start, 2 * run.stop)
        total += fold_pairs(frame, raw, run.start).sum(axis=0)
        raw_total += raw.reshape(-1, 2, ny, nx).sum(axis=0, dtype=np.float64)
        count += run.stop - run.start
    slope = [evaluate_derivative(level[None] / count, frame.folded.coef)[0] for level in raw_total]
    read_var = adc.read_variance * adc.gain**2 * (slope[0] ** 2 + slope[1] ** 2)
    cds = np.where(frame.state.masked, 0.0, total / count)
    return MeanFrame(cds=cds, read_var=_usable(read_var), inverse_flat=flat, dark=dark)


def _usable(variance: Float) -> Float:
    """Read variance with pixels that have none (NaN, 0 in the read map) set to the map's median."""
    good = np.isfinite(variance) & (variance > 0)
    return np.where(good, variance, np.median(variance[good])) if good.any() else np.ones_like(variance)


def fold_pairs(frame: FrameConstants, raw: NDArray[np.uint16], start_pair: int, out: Float | None = None) -> Float:
    """CDS electrons (n, ny, nx) of raw frames (2n, ny, nx) by the folded polynomial; masked pixels finite."""
    assert frame.folded is not None
    n = len(raw) // 2
    ny, nx = frame.shape
    buffer = np.empty((n, ny * nx)) if out is None else out[:n].reshape(n, ny * nx)
    coef = frame.folded.coef.reshape(len(frame.folded.coef), -1)
    rate = frame.folded.rate.reshape(-1)
    flat_raw = raw.reshape(2 * n, ny * nx)
    between = frame.between[start_pair : start_pair + n]
    if (between == between[0]).all():
        cds_polynomial(flat_raw, coef, rate * between[0], buffer)
    else:
        for i in range(n):
            cds_polynomial(flat_raw[2 * i : 2 * i + 2], coef, rate * between[i], buffer[i : i + 1])
    return buffer.reshape(n, ny, nx)
