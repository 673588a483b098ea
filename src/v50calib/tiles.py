"""The frame domain of one visit: constants once, then chunks of raw frames, tile by tile.

`prepare_visit` runs each stage's `prepare` and, where photometry is asked for, measures the mean CDS frame
on a fixed sample of pairs. `run_chunk` is what one Dask task does: raw uint16 in, weighted sums, flags and
cube bins out, in tiles small enough to stay in the CPU cache. No full-chunk temporary is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from v50calib import general
from v50calib.dq import DQ, counts
from v50calib.kernels.fused import cds_polynomial, code_flags, extract_pairs
from v50calib.kernels.pixelwise import evaluate_derivative
from v50calib.reference import Reference, reference_from_dataset
from v50calib.schema import LINEARITY_TERMS, STAR_PARAMETERS, Instrument, instrument_of
from v50calib.stages.adc import AdcConstants
from v50calib.stages.base import Float, PixelPolynomial, Tile, VisitState
from v50calib.stages.photometry import Photometry, PhotometryConstants, Sums, joined
from v50calib.stages.photometry_weights import MeanFrame, build_constants

#: pairs of a tile, as float64 bytes: their codes and sums stay in the L2 cache while the detector's rows pass by once
TILE_BYTES = 1536 * 1024
#: terms of the fused kernel's polynomial (the linearity's 6; a plain ADC conversion is padded with zeros)
FUSED_TERMS = LINEARITY_TERMS
#: columns up to which short detector rows are joined
LONG_ROW = 128
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
class ChunkResult:
    """What one chunk of pairs leaves behind; small unless full-cadence cubes were asked for.

    start        first pair
    sums         photometry's weighted sums, or None
    dq           (n, nx) or, of a photometric band, (n, 1) uint32 flags of pairs; None where no sample has any
    first_bin    first time bin the chunk has a part of
    bins         (bins, ny, nx) float64 sums of CDS frames; bins at the chunk's ends may be partial
    cube         (n, ny, nx) CDS frames with masked pixels NaN, or None
    """

    start: int
    sums: Sums | None
    dq: NDArray[np.uint32] | None
    first_bin: int
    bins: Float
    cube: NDArray[np.floating] | None = None


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


def run_chunk(
    frame: FrameConstants,
    raw: NDArray[np.uint16],
    start_pair: int,
    photometry: Photometry | None,
    *,
    binned: bool,
    cube: str | None,
    dtype: str = "float32",
    keep: tuple[int, int] | None = None,
) -> ChunkResult:
    """Raw frames (2n, ny, nx) of pairs start_pair … through adc … photometry, tile by tile; sums stored as `dtype`.

    keep  (first, end) of the pairs that are wanted; the others are the halo of the general path (default: all)
    """
    if frame.chain is not None:
        return run_general(frame, raw, start_pair, photometry, binned=binned, cube=cube, dtype=dtype, keep=keep)
    assert keep is None or keep == (start_pair, start_pair + len(raw) // 2)
    n = len(raw) // 2
    ny, nx = frame.shape
    constants = frame.photometry if photometry is not None else None
    spectral = constants is None or constants.spectral
    # photometry that needs the frames measures them itself: the fused kernel then makes the time bins alone
    frames = photometry if photometry is not None and constants is not None and constants.frame is not None else None
    plan = _plan(frame, constants if frames is None else None)
    first_bin, local_bins, acc = _local_bins(frame, start_pair, n, binned=binned, shape=plan.shape)
    columns = np.empty((plan.per_column, n, nx), dtype)
    totals = np.zeros((n, len(plan.weights) - plan.per_column))
    dq: NDArray[np.uint32] | None = None
    used = constants.used if constants is not None else ~frame.state.masked
    step = max(1, TILE_BYTES // (8 * ny * nx))
    part = np.empty((step, plan.per_column, plan.shape[1]))
    for i, j, dark in _tiles(frame.between[start_pair : start_pair + n], plan.rate, step):
        tile = raw[2 * i : 2 * j]
        part[:] = 0.0
        extract_pairs(
            tile.reshape(-1, *plan.shape), plan.coef, dark, plan.weights, plan.first, plan.last,
            local_bins[i:j], part[: j - i], totals[i:j], acc,
        )  # fmt: skip
        if plan.per_column:
            columns[:, i:j] = part[: j - i].swapaxes(0, 1)
        flags = code_flags(
            tile, used, saturation=frame.saturation_adu, floor=frame.floor_adu,
            sat_bit=int(DQ.SATURATED), floor_bit=int(DQ.AD_FLOOR),
        )  # fmt: skip
        if flags is not None:
            dq = np.zeros((n, nx if spectral else 1), np.uint32) if dq is None else dq
            dq[i:j] = flags if spectral else np.bitwise_or.reduce(flags, axis=1, keepdims=True)
    full = _full_cube(frame, raw, start_pair, cube, step) if cube is not None else None
    sums = Sums(columns, totals) if constants is not None else None
    if frames is not None and constants is not None:
        tiles = (fold_pairs(frame, raw[2 * i : 2 * (i + step)], start_pair + i) for i in range(0, n, step))
        sums = joined([frames.measure(tile, constants, dtype if spectral else "float64") for tile in tiles])
    return ChunkResult(start_pair, sums, dq, first_bin, acc.reshape(-1, ny, nx), full)


def _local_bins(
    frame: FrameConstants, start_pair: int, n: int, *, binned: bool, shape: tuple[int, int]
) -> tuple[int, NDArray[np.int64], Float]:
    """First time bin of a chunk, the bins of its pairs counted from there (-1: none), and their zeroed sums."""
    bins = frame.pair_bins[start_pair : start_pair + n]
    real = bins[bins >= 0] if binned else bins[:0]
    first_bin = int(real[0]) if real.size else 0
    local = np.where(bins >= 0, bins - first_bin, -1) if binned else np.full(n, -1)
    return first_bin, local, np.zeros((int(real[-1]) - first_bin + 1 if real.size else 0, *shape))


def _full_cube(frame: FrameConstants, raw: NDArray[np.uint16], start_pair: int, dtype: str, step: int) -> NDArray[np.floating]:
    """Every CDS frame of a chunk, (n, ny, nx), masked pixels NaN."""
    full = np.empty((len(raw) // 2, *frame.shape), np.dtype(dtype))
    for i in range(0, len(full), step):
        full[i : i + step] = fold_pairs(frame, raw[2 * i : 2 * (i + step)], start_pair + i)
    full[:, frame.state.masked] = np.nan
    return full


def run_general(
    frame: FrameConstants,
    raw: NDArray[np.uint16],
    start_pair: int,
    photometry: Photometry | None,
    *,
    binned: bool,
    cube: str | None,
    dtype: str,
    keep: tuple[int, int] | None,
) -> ChunkResult:
    """`run_chunk` on the general path."""
    assert frame.chain is not None
    fold = (lambda frames, start: fold_pairs(frame, frames, start)) if frame.chain.quick else None
    tile = general.cds_tile(frame.chain, raw, start_pair, fold=fold)
    if keep is not None:
        tile = general.cut(tile, keep[0] - start_pair, keep[1] - start_pair)
    return chunk_of_tile(frame, tile, photometry, binned=binned, cube=cube, dtype=dtype)


def chunk_of_tile(
    frame: FrameConstants, tile: Tile, photometry: Photometry | None, *, binned: bool, cube: str | None, dtype: str
) -> ChunkResult:
    """Sums, flags, bins and cube of a tile of CDS frames."""
    constants = frame.photometry if photometry is not None else None
    values = general.usable_values(tile, frame.state.masked)
    dq = general.pair_flags(tile, constants.used if constants is not None else ~frame.state.masked)
    bins = frame.pair_bins[tile.start : tile.start + len(values)] if binned else np.full(len(values), -1)
    first_bin, acc = general.bin_sums(values, bins)
    sums = photometry.measure(values, constants, dtype) if photometry is not None and constants is not None else None
    if constants is not None and not constants.spectral:
        dq = np.bitwise_or.reduce(dq, axis=1, keepdims=True)
    full = None
    if cube is not None:
        full = values.astype(cube)
        full[:, frame.state.masked] = np.nan
    return ChunkResult(tile.start, sums, dq, first_bin, acc, full)


@dataclass(frozen=True)
class _Plan:
    """Arrays of the fused kernel. A narrow detector (FGS1: 32 columns) is seen as fewer, longer rows."""

    shape: tuple[int, int]
    coef: Float
    rate: Float
    weights: Float
    per_column: int
    first: NDArray[np.int64]
    last: NDArray[np.int64]


def _plan(frame: FrameConstants, constants: PhotometryConstants | None) -> _Plan:
    ny, nx = frame.shape
    group = 1
    if constants is not None and not constants.spectral:
        while ny % (2 * group) == 0 and nx * 2 * group <= LONG_ROW:
            group *= 2
    shape = (ny // group, nx * group)
    assert frame.folded is not None
    coef = np.zeros((FUSED_TERMS, *shape))
    coef[: len(frame.folded.coef)] = frame.folded.coef.reshape(-1, *shape)
    if constants is None:
        none = np.zeros(0, np.int64)
        return _Plan(shape, coef, frame.folded.rate.reshape(shape), np.zeros((0, *shape)), 0, none, none)
    weights = constants.weights.reshape(-1, *shape)
    first, last = constants.first // group, -(-constants.last // group)
    return _Plan(shape, coef, frame.folded.rate.reshape(shape), weights, constants.per_column, first, last)


def _tiles(between: Float, rate: Float, step: int) -> Iterator[tuple[int, int, Float]]:
    """(start, stop, dark electrons between the reads) of tiles of at most `step` pairs of one exposure."""
    edges = np.flatnonzero(np.diff(between)) + 1
    for low, high in pairwise([0, *edges.tolist(), len(between)]):
        dark = rate * between[low]
        for i in range(low, high, step):
            yield i, min(high, i + step), dark


def stage_by_stage(frame: FrameConstants, raw: NDArray[np.uint16], start_frame: int, last: str) -> Tile:
    """The same frames through each stage's own kernel up to and including `last`; nothing folded."""
    tile = raw_tile(raw, frame.exposure_s[start_frame : start_frame + len(raw)], start_frame)
    for stage, constants in zip(frame.stages, frame.constants, strict=True):
        tile = stage.apply(tile, constants)
        if stage.name == last:
            break
    return tile


def raw_tile(raw: NDArray[np.uint16], exposure_s: Float, start: int = 0) -> Tile:
    """Raw frames as the tile the first stage takes: codes as float64, no variance, no flags."""
    zeros = np.zeros(raw.shape)
    return Tile(raw.astype(np.float64), exposure_s, zeros, zeros, np.zeros(raw.shape, np.uint8), start)


def assemble_bins(results: list[ChunkResult], n_bins: int, shape: tuple[int, int]) -> Float:
    """Binned CDS cube (bins, ny, nx): partial bins of neighbouring chunks added in order of time."""
    out = np.zeros((n_bins, *shape))
    for result in sorted(results, key=lambda r: r.start):
        if len(result.bins):
            out[result.first_bin : result.first_bin + len(result.bins)] += result.bins
    return out
