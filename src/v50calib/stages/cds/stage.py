"""CDS: correlated double sampling, second minus first read of each ramp, and what may be done to the differences in time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from v50calib.dq import DQ, FRAME_FLUX_ESTIMATED
from v50calib.errors import DataError
from v50calib.kernels import temporal
from v50calib.kernels.arrays import Float
from v50calib.kernels.repaired import Outliers
from v50calib.kernels.series import MAD_TO_SIGMA, robust_sigma
from v50calib.stages.base import PlainStage, Step
from v50calib.stages.cds.baseline import baseline_of
from v50calib.stages.cds.config import CdsConfig
from v50calib.stages.cds.pairing import ReadingOrder, reading_order
from v50calib.stages.tile import Tile, VisitState

#: axes that the total of a frame (n, ny, nx), or of each of its columns, is taken over
TOTALS = {"global_median": (1, 2), "per_channel_median": (1,)}
#: each pixel over its own noise
NOISE = "mad"


@dataclass(frozen=True)
class CdsConstants:
    """between (pairs,) s between the reads; maps (ny, nx) in e-, None until measured or where not asked for.

    reference: static first read; sigma: noise of a pixel's differences from pair to pair; level: mean difference that a
    filter leaves standing; scale: what normalization divides by, (), (nx,) or (ny, nx); masked pixels.
    """

    between: Float
    masked: NDArray[np.bool_]
    sigma_floor: Float
    reference: Float | None = None
    sigma: Float | None = None
    level: Float | None = None
    scale: Float | None = None


class Cds(PlainStage[CdsConfig]):
    """flat_corrected (time, y, x) [e-] -> cds_corrected (pair, y, x) [e-]: second minus first read of each ramp, or minus a baseline.

    What may follow is done to the differences: outliers in time, a filter, normalization (then in its own units).

    Variances: photons are those of the second read less those of the first, whose electrons it contains; read noise adds.
    Flags: those of either read; OUTLIER where a sample stands off both its neighbours in time, with FLUX_ESTIMATED where it is
    replaced.
    Raises ConfigError where a reset flag is not there, DataError where reads make no pairs or break a bound.
    """

    name: ClassVar[str] = "cds"
    input_key: ClassVar[str] = "flat_corrected"
    output_key: ClassVar[str] = "cds_corrected"

    def __init__(self, config: CdsConfig) -> None:
        super().__init__(config)
        self.baseline = baseline_of(config)

    @property
    def has_baseline(self) -> bool:
        """Whether second reads lose something else than their own first read: the two then share no electrons."""
        return self.baseline is not None

    @property
    def refines(self) -> bool:
        """Whether anything is done to the differences after they are made."""
        cfg = self.config
        robust = cfg.robust.sigma_clip.enabled or cfg.robust.outlier_replace.enabled
        return robust or cfg.temporal_filter.enabled or self.normalizes

    @property
    def normalizes(self) -> bool:
        """Whether the differences are divided by something."""
        return self.config.normalization.units is not None

    @property
    def halo(self) -> int:
        cfg = self.config
        reach = self.baseline.halo if self.baseline is not None else 0
        if cfg.robust.sigma_clip.enabled:
            reach += temporal.SPIKE_HALO * cfg.robust.sigma_clip.max_iters
        if cfg.robust.outlier_replace.enabled:
            reach += temporal.SPIKE_HALO
        if cfg.temporal_filter.enabled:
            reach += cfg.temporal_filter.window_pairs // 2
        return reach

    @property
    def needs_measure(self) -> bool:
        return self.refines or (self.baseline is not None and self.baseline.static)

    def order(self, exposure: Float, time_h: Float, telemetry: dict[str, NDArray[Any]], instrument: str) -> ReadingOrder:
        """The frames of each pair; see `pairing.reading_order`."""
        return reading_order(self.config, exposure, time_h, telemetry, instrument)

    def prepare(self, state: VisitState) -> CdsConstants:
        """Constants; refuses reads that do not pair as 2i, 2i+1 (other pairings are read in that order)."""
        exposure = state.exposure_s
        between = exposure[1::2] - exposure[0::2]
        if not (between > 0).all():
            i = int(np.argmin(between))
            raise DataError(
                f"{state.instrument}: reads {2 * i} and {2 * i + 1} have exposures {exposure[2 * i]} and {exposure[2 * i + 1]} s: "
                "the second read of a ramp must be the longer one; check axis_info.parquet"
            )
        if self.has_baseline:
            state.folded = None
        self._warn(state, exposure)
        read = np.asarray(state.reference.read, dtype=np.float64)
        floor = np.where(np.isfinite(read), read, 0.0) * state.inverse_flat * np.sqrt(2.0)
        return CdsConstants(between, state.masked.copy(), floor)

    def _warn(self, state: VisitState, exposure: Float) -> None:
        """Notes on choices that touch the transit itself."""
        cfg, notes = self.config, state.notes
        share = float(np.median(exposure[0::2]) / np.median(exposure[1::2]))
        if self.baseline is not None:
            notes.append(self.baseline.note(cfg.cds.mode, str(state.instrument), share))
        if cfg.temporal_filter.enabled:
            notes.append(
                f"cds.temporal_filter {cfg.temporal_filter.kind} over {cfg.temporal_filter.window_pairs} pairs removes whatever is "
                "slower than its window, a transit first of all: depths of this product mean nothing"
            )

    def measure(self, tiles: list[Tile], constants: CdsConstants, state: VisitState) -> CdsConstants:
        """Static reference, noise, level and scale from the sample frames, the same for any chunking of the visit."""
        cfg, c = self.config, constants
        if self.baseline is not None and self.baseline.static:
            c = replace(c, reference=np.concatenate([t.values[0::2] for t in tiles]).mean(axis=0))
        if not self.refines:
            return c
        pairs = [self.difference(replace(t, variance=False), c).values for t in tiles]
        steps = np.concatenate([np.diff(p, axis=0) for p in pairs])
        if len(steps):
            c = replace(c, sigma=np.maximum(MAD_TO_SIGMA * np.median(np.abs(steps), axis=0) / np.sqrt(2.0), c.sigma_floor))
        else:
            c = replace(c, sigma=np.where(c.sigma_floor > 0, c.sigma_floor, np.inf))
        values = np.concatenate(pairs)
        if cfg.temporal_filter.enabled:
            c = replace(c, level=values.mean(axis=0))
        if self.normalizes:
            c = replace(c, scale=_scale(cfg.normalization.method, values, c.masked, state))
        return c

    def steps(self) -> list[Step]:
        over_time = self.has_baseline and self.halo > 0
        return [Step(self.difference, over_time), *([Step(self.refine, True)] if self.refines else [])]

    def difference(self, tile: Tile, constants: CdsConstants) -> Tile:
        """Second reads less their first reads, or less the mode's baseline."""
        first, second = slice(0, None, 2), slice(1, None, 2)
        out = replace(
            tile,
            exposure_s=tile.exposure_s[second] - tile.exposure_s[first],
            frame_dq=tile.frame_dq[second] | tile.frame_dq[first],
            start=tile.start // 2,
            var_poisson=tile.var_poisson[second],
            var_rnoise=tile.var_rnoise[second],
        )
        if self.baseline is not None:
            base, share = self.baseline.of(tile.values[first], constants.reference)
            out = replace(out, values=tile.values[second] - base)
            if tile.variance:
                out.var_poisson = tile.var_poisson[second] + share * tile.var_poisson[first]
                out.var_rnoise = tile.var_rnoise[second] + share * tile.var_rnoise[first]
            return out
        out = replace(out, values=tile.values[second] - tile.values[first])
        if tile.variance:
            out.var_poisson = np.maximum(tile.var_poisson[second] - tile.var_poisson[first], 0.0)
            out.var_rnoise = tile.var_rnoise[second] + tile.var_rnoise[first]
        return out

    def refine(self, tile: Tile, constants: CdsConstants) -> Tile:
        """Outliers in time, filter and normalization of differences; unchanged where none is asked for."""
        cfg, c = self.config, constants
        if not self.refines:
            return tile
        n, ny, nx = tile.values.shape
        series = np.ascontiguousarray(tile.values).reshape(n, ny * nx)
        limit = self._limit(c)
        flags = tile.frame_dq
        if cfg.robust.sigma_clip.enabled:
            found = _clipped(series, cfg.robust.sigma_clip.sigma * limit, cfg.robust.sigma_clip.max_iters)
            if found.any():
                flags = flags | np.where(found, np.uint8(DQ.OUTLIER), np.uint8(0)).reshape(flags.shape)
        if cfg.robust.outlier_replace.enabled:
            series, more = self._replace(series, limit)
            flags = flags if more is None else flags | more.reshape(flags.shape)
        if cfg.temporal_filter.enabled:
            series = self._filter(series, c)
        out = replace(tile, values=series.reshape(n, ny, nx), frame_dq=flags)
        if c.scale is not None:
            out.values = out.values / c.scale
            if tile.variance:
                out.var_poisson, out.var_rnoise = tile.var_poisson / c.scale**2, tile.var_rnoise / c.scale**2
        return out

    @staticmethod
    def _limit(c: CdsConstants) -> Float:
        """Noise (npix,) that outliers are judged by."""
        sigma = (c.sigma if c.sigma is not None else np.full(c.masked.shape, np.inf)).ravel()
        # a masked pixel is in no sum: it is never an outlier
        return np.where((sigma > 0) & ~c.masked.ravel(), sigma, np.inf)

    def compiled(self, c: CdsConstants) -> tuple[Outliers, float] | None:
        """What `kernels.repaired` needs to do the same in its pass, and outliers of a frame from which on it keeps its values.

        None with a baseline, a filter or a normalization.
        """
        if self.has_baseline or self.config.temporal_filter.enabled or self.normalizes:
            return None
        clip, fill, limit = self.config.robust.sigma_clip, self.config.robust.outlier_replace, self._limit(c)
        iterations = clip.max_iters if clip.enabled else 0
        outliers = Outliers(clip.sigma * limit, iterations, fill.threshold_sigma * limit, fill.enabled, fill.mode == "median")
        return outliers, self._most(limit)

    def _most(self, limit: Float) -> float:
        return self.config.robust.outlier_replace.max_replace_fraction * max(int(np.isfinite(limit).sum()), 1)

    def _replace(self, series: Float, limit: Float) -> tuple[Float, NDArray[np.uint8] | None]:
        """Series with isolated outliers bridged, and their flags (None: there are none); a frame with too many keeps its values."""
        cfg = self.config.robust.outlier_replace
        bad = np.empty(series.shape, np.bool_)
        if not temporal.find_isolated(series, cfg.threshold_sigma * limit, bad):
            return series, None
        wanted = bad.copy()
        wanted[bad.sum(axis=1) > self._most(limit)] = False
        series, done = temporal.fill_marked(series, bad, wanted, lag=1, use_median=cfg.mode == "median")
        flags = np.where(bad, np.uint8(DQ.OUTLIER), np.uint8(0))
        flags |= np.where(done, FRAME_FLUX_ESTIMATED, np.uint8(0))
        return series, flags

    def _filter(self, series: Float, c: CdsConstants) -> Float:
        """Running mean over window_pairs taken away, that over short_pairs kept (bandpass), the visit's level put back."""
        cfg = self.config.temporal_filter
        slow = np.empty_like(series)
        temporal.running_mean(series, cfg.window_pairs // 2, slow)
        kept = series
        if cfg.kind == "bandpass":
            kept = np.empty_like(series)
            temporal.running_mean(series, cfg.short_pairs // 2, kept)
        level = c.level.ravel() if c.level is not None else np.zeros(series.shape[1])
        return kept - slow + level

    def inspect(self, tiles: list[Tile], constants: CdsConstants, state: VisitState) -> tuple[dict[str, Any], list[str]]:
        outlier = [float((t.frame_dq & np.uint8(DQ.OUTLIER)).astype(bool).mean()) for t in tiles]
        return {"outlier_fraction": float(np.mean(outlier)) if outlier else 0.0}, []


def _clipped(series: Float, limit: Float, max_iters: int) -> NDArray[np.bool_]:
    """Isolated outliers, looked for again with those found bridged."""
    found = np.zeros(series.shape, np.bool_)
    current = series
    for _ in range(max_iters):
        new = np.empty(series.shape, np.bool_)
        if not temporal.find_isolated(current, limit, new) or not (new & ~found).any():
            break
        found |= new
        current, _ = temporal.fill_marked(series, found, found, lag=1, use_median=False)
    return found


def _scale(method: str, values: Float, masked: NDArray[np.bool_], state: VisitState) -> Float:
    """What differences are divided by: noise of each pixel (mad), or the median total of a frame or of its columns."""
    if method == NOISE:
        sigma = robust_sigma(values)
        return np.where(sigma > 0, sigma, 1.0)
    usable = np.where(masked, 0.0, values)
    total = np.median(usable.sum(axis=TOTALS[method]), axis=0)
    dim = ~(total > 0)
    if np.any(dim):
        state.notes.append(f"cds.normalization {method}: {int(np.sum(dim))} of {np.size(total)} medians are not positive; 1 is used there")
    return np.where(dim, 1.0, total)
