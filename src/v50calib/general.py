"""The general frame path: stage by stage on tiles, for methods that cannot be folded into one polynomial per pixel.

Slower than `tiles`' one-pass kernel and equal to it where both apply. Methods that look at neighbours in time get
their chunk with a halo of pairs on either side, cut at the visit's ends, so results do not depend on the chunking.
What they need to know of the whole visit is measured once, on the fixed sample pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from v50calib.dq import frame_to_pixel_dq
from v50calib.errors import DataError
from v50calib.kernels.frames import read_polynomial
from v50calib.stages.adc import AdcConstants, code_flags
from v50calib.stages.base import Float, FrameStage, PixelPolynomial, Tile, VisitState
from v50calib.stages.cds import Cds

#: frames of a piece that runs through the pointwise stages at once: it stays in the cache
PIECE_BYTES = 1536 * 1024

ReadFrames = Callable[[int, int], NDArray[np.uint16]]
Fold = Callable[[NDArray[np.uint16], int], Float]


@dataclass(frozen=True)
class Chain:
    """The frame stages of a visit with their constants; picklable.

    halo   pairs that a chunk needs on either side
    quick  the differences may be taken from the folded polynomial: only what `cds` does to them afterwards is general
    prefix how many stages from the first on fold into one polynomial of the code, and that polynomial
    """

    stages: list[FrameStage]
    constants: list[Any]
    masked: NDArray[np.bool_]
    exposure_s: Float
    halo: int
    quick: bool
    prefix: tuple[int, PixelPolynomial] | None = None


def halo_of(stages: Sequence[FrameStage]) -> int:
    """Pairs on either side of a chunk that all temporal methods together look at."""
    return sum(stage.halo for stage in stages)


def chain_of(stages: list[FrameStage], constants: list[Any], state: VisitState) -> Chain | None:
    """The general path of a visit; None where the folded polynomial does all."""
    refines = any(isinstance(stage, Cds) and stage.refines for stage in stages)
    if state.folded is not None and not refines:
        return None
    foldable = [i for i, polynomial in enumerate(state.prefixes) if polynomial is not None]
    # cds itself works on pairs of reads, not on one
    last = max((i for i in foldable if not isinstance(stages[i], Cds)), default=None)
    prefix = None
    if last is not None:
        polynomial = state.prefixes[last]
        assert polynomial is not None
        prefix = (last + 1, PixelPolynomial(np.ascontiguousarray(polynomial.coef), np.ascontiguousarray(polynomial.rate)))
    return Chain(stages, constants, state.masked, state.exposure_s, halo_of(stages), quick=state.folded is not None, prefix=prefix)


# tiles


def raw_tile(raw: NDArray[Any], exposure_s: Float, start: int, *, variance: bool) -> Tile:
    """Raw frames as the tile that the first stage takes; without variance the two variances are zeros that take no memory."""
    nothing = np.broadcast_to(0.0, raw.shape)
    return Tile(raw, exposure_s, nothing, nothing, np.zeros(raw.shape, np.uint8), start, variance)


def cut(tile: Tile, start: int, stop: int) -> Tile:
    """Rows start … stop of a tile, views."""
    part = slice(start, stop)
    return replace(
        tile, values=tile.values[part], exposure_s=tile.exposure_s[part], var_poisson=tile.var_poisson[part],
        var_rnoise=tile.var_rnoise[part], frame_dq=tile.frame_dq[part], start=tile.start + start,
    )  # fmt: skip


def join(parts: list[Tile]) -> Tile:
    """Tiles that follow each other as one."""
    if len(parts) == 1:
        return parts[0]
    values = np.concatenate([p.values for p in parts])
    nothing = np.broadcast_to(0.0, values.shape)
    variance = parts[0].variance
    return Tile(
        values=values,
        exposure_s=np.concatenate([p.exposure_s for p in parts]),
        var_poisson=np.concatenate([p.var_poisson for p in parts]) if variance else nothing,
        var_rnoise=np.concatenate([p.var_rnoise for p in parts]) if variance else nothing,
        frame_dq=np.concatenate([p.frame_dq for p in parts]),
        start=parts[0].start,
        variance=variance,
    )


def through(stages: Sequence[FrameStage], constants: Sequence[Any], tile: Tile, masked: NDArray[np.bool_]) -> Tile:
    """A tile through stages: pointwise steps piece by piece, those that look at neighbours in time on the whole tile."""
    work = [
        (step, constant, stage if step is stage_steps[-1] else None)
        for stage, constant in zip(stages, constants, strict=True)
        for stage_steps in [stage.steps()]
        for step in stage_steps
    ]
    for over_time, group in groupby(work, key=lambda item: item[0].over_time):
        members = list(group)
        length = len(tile.values) if over_time else max(2, PIECE_BYTES // (8 * masked.size) // 2 * 2)
        parts = []
        for i in range(0, len(tile.values), length):
            part = cut(tile, i, i + length)
            part.values = np.asarray(part.values, dtype=np.float64)
            for step, constant, finished in members:
                part = step.run(part, constant)
                if finished is not None:
                    check_finite(finished, part, masked)
            parts.append(part)
        tile = join(parts)
    return tile


def check_finite(stage: FrameStage, tile: Tile, masked: NDArray[np.bool_]) -> None:
    """The stage's `assert_finite_output`. Raises DataError."""
    # one sum tells of any NaN or infinity; only then are masked pixels told apart
    if not stage.config.assert_finite_output or np.isfinite(tile.values.sum()):
        return
    bad = np.argwhere(~np.isfinite(tile.values) & ~masked)
    if len(bad):
        raise DataError(
            f"calib.{stage.name}.assert_finite_output: {len(bad)} values that are not finite, the first at frame "
            f"{tile.start + int(bad[0][0])}, pixel (y, x) = ({bad[0][1]}, {bad[0][2]}); look at the maps of that stage, or turn the check "
            "off to have such values flagged only"
        )


def cds_tile(chain: Chain, raw: NDArray[np.uint16], start_pair: int, *, variance: bool = False, fold: Fold | None = None) -> Tile:
    """CDS differences of raw frames (2n, ny, nx), pairs start_pair …; masked pixels may hold anything, also NaN.

    fold  gives the plain differences of frames by the folded polynomial, taken where the chain is `quick`
    """
    exposure = chain.exposure_s[2 * start_pair : 2 * start_pair + len(raw)]
    if variance:
        return through(chain.stages, chain.constants, raw_tile(raw, exposure, 2 * start_pair, variance=True), chain.masked)
    flags = _flags_of(chain, raw)
    if chain.quick and fold is not None:
        cds, constants = next((s, c) for s, c in zip(chain.stages, chain.constants, strict=True) if isinstance(s, Cds))
        values = fold(raw, start_pair)
        nothing = np.broadcast_to(0.0, values.shape)
        tile = Tile(values, exposure[1::2] - exposure[0::2], nothing, nothing, flags[0::2] | flags[1::2], start_pair, variance=False)
        assert isinstance(cds, Cds)
        out = cds.refine(tile, constants)
        check_finite(cds, out, chain.masked)
        return out
    tile = raw_tile(raw, exposure, 2 * start_pair, variance=False)
    if chain.prefix is None:
        return through(chain.stages, chain.constants, tile, chain.masked)
    done, polynomial = chain.prefix
    tile = replace(tile, values=_reads(raw, polynomial, exposure), frame_dq=flags)
    return through(chain.stages[done:], chain.constants[done:], tile, chain.masked)


def _flags_of(chain: Chain, raw: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """SATURATED and AD_FLOOR of raw codes; looked at one by one only where a code reaches an end of the converter."""
    adc = next(c for c in chain.constants if isinstance(c, AdcConstants))
    if raw.min() > adc.floor_adu and raw.max() < np.min(adc.saturation_adu):
        return np.zeros(raw.shape, np.uint8)
    return code_flags(raw, adc)


def _reads(raw: NDArray[np.uint16], polynomial: PixelPolynomial, exposure: Float) -> Float:
    """Single reads (n, ny, nx) by the polynomial of the stages that fold."""
    npix = raw[0].size
    out = np.empty((len(raw), npix))
    read_polynomial(raw.reshape(len(raw), npix), polynomial.coef.reshape(-1, npix), polynomial.rate.reshape(npix), exposure, out)
    return out.reshape(raw.shape)


# once a visit


def measure(stages: list[FrameStage], constants: list[Any], state: VisitState, read: ReadFrames, runs: list[slice]) -> list[Any]:
    """Constants with what stages measure on the sample pairs, and their soft guards; reads nothing where no stage asks.

    runs  slices of pairs. Raises DataError where a guard is broken and its action_on_fail is `error`.
    """
    if not any(stage.needs_measure or stage.config.quality_checks.enabled for stage in stages):
        return constants
    out, tiles = [], []
    for run in runs:
        raw = read(2 * run.start, 2 * run.stop)
        tile = raw_tile(raw, state.exposure_s[2 * run.start : 2 * run.stop], 2 * run.start, variance=False)
        tiles.append(replace(tile, values=raw.astype(np.float64)))
    for stage, prepared in zip(stages, constants, strict=True):
        constant = stage.measure(tiles, prepared, state) if stage.needs_measure else prepared
        tiles = [stage.apply(tile, constant) for tile in tiles]
        for tile in tiles:
            check_finite(stage, tile, state.masked)
        out.append(constant)
        if stage.config.quality_checks.enabled:
            _guard(stage, constant, tiles, state)
    return out


def _guard(stage: FrameStage, constants: Any, tiles: list[Tile], state: VisitState) -> None:
    """Numbers of a stage's sample output into state.qc; broken bounds become notes, or an error."""
    checks = stage.config.quality_checks
    total = sum(len(t.values) for t in tiles)
    wanted = max(1, round(total * checks.sampling_fraction))
    if wanted < checks.min_samples:
        state.notes.append(f"{stage.name} quality: {wanted} sample frames are fewer than min_samples={checks.min_samples}; not judged")
        return
    kept = _share(tiles, checks.sampling_fraction)
    good = np.concatenate([t.values[:, ~state.masked] for t in kept])
    lost = float((~np.isfinite(good)).mean())
    finite = good[np.isfinite(good)]
    numbers: dict[str, Any] = {"frames": sum(len(t.values) for t in kept), "nonfinite_fraction": lost}
    if finite.size:
        numbers |= {"mean": float(finite.mean()), "std": float(finite.std()), "min": float(finite.min()), "max": float(finite.max())}
    own, faults = stage.inspect(kept, constants, state)
    if lost > checks.max_nonfinite_fraction:
        faults = [f"{lost:.3%} of the values are not finite, more than max_nonfinite_fraction={checks.max_nonfinite_fraction}", *faults]
    state.qc[stage.name] = state.qc.get(stage.name, {}) | numbers | own
    if faults and checks.action_on_fail == "error":
        raise DataError(
            f"{state.instrument}: calib.{stage.name}.quality_checks: {'; '.join(faults)}; look at the visit, or set action_on_fail=warn"
        )
    state.notes += [f"{stage.name} quality: {fault}" for fault in faults]


def _share(tiles: list[Tile], fraction: float) -> list[Tile]:
    """The first `fraction` of each run, whole ramps, at least one."""
    kept = []
    for tile in tiles:
        n = len(tile.values)
        stop = min(n, max(2, round(n * fraction / 2) * 2))
        kept.append(cut(tile, 0, stop))
    return kept


@dataclass(frozen=True)
class MeanPairs:
    """Means over the sample pairs, (ny, nx): cds e-, read_var and poisson_var e-²."""

    cds: Float
    read_var: Float
    poisson_var: Float


def mean_pairs(chain: Chain, read: ReadFrames, runs: list[slice]) -> MeanPairs:
    """Mean CDS frame and mean variances of one CDS value over the sample pairs."""
    shape = chain.masked.shape
    totals, count = [np.zeros(shape) for _ in range(3)], 0
    for run in runs:
        tile = cds_tile(chain, read(2 * run.start, 2 * run.stop), run.start, variance=True)
        for total, values in zip(totals, (tile.values, tile.var_rnoise, tile.var_poisson), strict=True):
            total += values.sum(axis=0)
        count += len(tile.values)
    return MeanPairs(*(total / count for total in totals))


def unshared_photons(chain: Chain, mean: MeanPairs, inverse_flat: Float, dark: Float) -> Float:
    """Photon variance [e-²] beyond that of the difference itself: of a baseline that shares no electrons with its read."""
    if not any(isinstance(stage, Cds) and stage.has_baseline for stage in chain.stages):
        return np.zeros_like(mean.cds)
    return np.maximum(mean.poisson_var - np.maximum(mean.cds + dark, 0.0) * inverse_flat, 0.0)


def check_folded(stages: Sequence[FrameStage], folded: PixelPolynomial | None, masked: NDArray[np.bool_]) -> None:
    """`assert_finite_output` on the folded path: finite codes through finite coefficients give finite values."""
    asking = [stage.name for stage in stages if stage.config.assert_finite_output]
    if folded is None or not asking:
        return
    bad = ~(np.isfinite(folded.coef).all(axis=0) & np.isfinite(folded.rate)) & ~masked
    if bad.any():
        y, x = np.argwhere(bad)[0]
        raise DataError(
            f"calib.{asking[0]}.assert_finite_output: the correction of {int(bad.sum())} usable pixels is not finite, the first at (y, "
            "x) = "
            f"({y}, {x}); look at the calibration maps there"
        )


# one chunk


def usable_values(tile: Tile, masked: NDArray[np.bool_]) -> Float:
    """Values with masked pixels at 0, so that no NaN of theirs reaches a sum with weight 0."""
    values = np.array(tile.values)
    values[:, masked] = 0.0
    return values


def pair_flags(tile: Tile, used: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Flags (n, nx) of pairs: OR over the used pixels (ny, nx) of each column."""
    flags = np.where(used, tile.frame_dq, np.uint8(0))
    return frame_to_pixel_dq(np.bitwise_or.reduce(flags, axis=1))


def bin_sums(values: Float, bins: NDArray[np.int64]) -> tuple[int, Float]:
    """First bin and sums (bins, ny, nx) of frames whose bin (n,) is not negative."""
    real = bins[bins >= 0]
    first = int(real[0]) if real.size else 0
    out = np.zeros((int(real[-1]) - first + 1 if real.size else 0, *values.shape[1:]))
    for b in np.unique(real):
        out[b - first] = values[bins == b].sum(axis=0)
    return first, out


# reading


class Frames(Protocol):
    """What the batch reads frames with (`io.source.FrameSource`)."""

    @property
    def n_frames(self) -> int: ...
    def read(self, start: int, stop: int) -> NDArray[np.uint16]: ...
    def blocks(self, size: int) -> Iterator[tuple[int, NDArray[np.uint16]]]: ...
    def release(self) -> None: ...


@dataclass(frozen=True)
class OrderedFrames:
    """Frames in the order of their pairs (`stages.cds_pairing`), read from a source that stores them otherwise.

    A block needs frames from anywhere in the visit, so `blocks` holds the whole visit in memory.
    """

    source: Frames
    order: NDArray[np.int64]

    @property
    def n_frames(self) -> int:
        return len(self.order)

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Frames `start:stop` of the order; decodes the span they come from."""
        index = self.order[start:stop]
        low = int(index.min())
        return self.source.read(low, int(index.max()) + 1)[index - low]

    def release(self) -> None:
        """Drop what the source keeps of decoded frames."""
        self.source.release()

    def blocks(self, size: int) -> Iterator[tuple[int, NDArray[np.uint16]]]:
        whole = self.source.read(0, self.source.n_frames)
        for start in range(0, self.n_frames, size):
            yield start, whole[self.order[start : start + size]]


@dataclass(frozen=True)
class Window:
    """Frames of pairs from `first`, of which pairs start … stop are wanted; the others are halo."""

    first: int
    start: int
    stop: int
    raw: NDArray[np.uint16]


def windows(frames: Frames, chunk_pairs: int, halo: int) -> Iterator[Window]:
    """A visit in chunks with their halo, each frame decoded once; a window is good until the next one is asked for."""
    n_pairs = frames.n_frames // 2
    if halo == 0:
        for start, block in frames.blocks(2 * chunk_pairs):
            yield Window(start // 2, start // 2, start // 2 + len(block) // 2, block)
        return
    held, first, start = np.empty((0,), np.uint16), 0, 0
    for _, block in frames.blocks(2 * chunk_pairs):
        held = np.concatenate([held, block]) if held.size else np.array(block)
        while start < n_pairs:
            stop = min(start + chunk_pairs, n_pairs)
            low, high = max(0, start - halo), min(n_pairs, stop + halo)
            if 2 * high > 2 * first + len(held):
                break
            yield Window(low, start, stop, held[2 * (low - first) : 2 * (high - first)])
            start = stop
            low = max(0, start - halo)
            held, first = held[2 * (low - first) :], low
