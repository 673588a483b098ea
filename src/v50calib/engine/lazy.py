"""The lazy face of the pipeline: xarray Datasets of Dask arrays around the same functions the batch runs.

Nothing here knows a formula. `products` makes one task per time chunk and one for the series domain;
`chain` runs stage after stage, each on its own, so that every intermediate can be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import xarray as xr

from v50calib.engine.constants import FrameConstants, bin_of_pairs
from v50calib.engine.frames import OrderedFrames, sample_pairs
from v50calib.engine.noise_budget import COMPONENTS
from v50calib.engine.prepare import prepare_stages
from v50calib.engine.products import averaging, frame_arrays, series_arrays, storage_dtype, unsaved, variable_attrs
from v50calib.engine.result import ChunkResult, chunk_of_tile
from v50calib.engine.visit import VisitInput, star_of, visit_input
from v50calib.errors import DataError
from v50calib.kernels.noise import block_sizes
from v50calib.schema import CALIBRATED, instrument_of
from v50calib.stages.tile import Tile, cut, raw_tile

if TYPE_CHECKING:
    from v50calib.pipeline import Pipeline


def even_chunks(raw: da.Array) -> tuple[int, ...]:
    """Time chunks of the raw frames; refuses one that splits a CDS pair."""
    lengths = raw.chunks[0]
    if any(n % 2 for n in lengths):
        raise DataError(f"raw_frames has time chunks {lengths[:3]}…: an odd chunk splits a CDS pair; rechunk to an even number of frames")
    return tuple(int(n) for n in lengths)


def _prepare(pipeline: Pipeline, visit: VisitInput, samples: list[tuple[int, np.ndarray]]) -> FrameConstants:
    by_start = dict(samples)
    return pipeline.prepare(visit, lambda start, stop: by_start[start][: stop - start])


def paired(pipeline: Pipeline, ds: xr.Dataset) -> tuple[VisitInput, xr.Dataset]:
    """The visit's numbers and its Dataset, both with their frames in the order of their pairs; lazy."""
    visit, frames = pipeline.ordered(visit_input(ds), _NoFrames(ds.sizes["time"]))
    if isinstance(frames, OrderedFrames):
        length = max(2, int(max(ds.chunksizes.get("time", (ds.sizes["time"],)))) // 2 * 2)
        ds = ds.isel(time=frames.order).chunk(time=length)
    return visit, ds


@dataclass(frozen=True)
class _NoFrames:
    """Stands for frames that Dask reads."""

    n_frames: int

    def read(self, start: int, stop: int) -> np.ndarray:
        raise NotImplementedError("frames of a Dataset are read by Dask")

    def blocks(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        raise NotImplementedError("frames of a Dataset are read by Dask")

    def release(self) -> None:
        """There is nothing to drop."""


def _with_halo(raw: da.Array, lengths: tuple[int, ...], halo: int) -> list[tuple[Any, int, tuple[int, int]]]:
    """For each chunk: its frames with `halo` pairs on either side (cut at the ends), the first pair there, the pairs wanted."""
    stops = np.cumsum(lengths) // 2
    starts = np.concatenate([[0], stops[:-1]])
    if halo == 0:
        return [(block, int(a), (int(a), int(b))) for block, a, b in zip(raw.to_delayed().ravel(), starts, stops, strict=True)]
    out = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        first, last = max(0, start - halo), min(raw.shape[0] // 2, stop + halo)
        block = raw[2 * first : 2 * last].rechunk((-1, -1, -1)).to_delayed().ravel()[0]
        out.append((block, first, (start, stop)))
    return out


def _frames(raw: da.Array) -> da.Array:
    """Frames as a Dask array with whole detectors per chunk."""
    array = raw if isinstance(raw, da.Array) else da.from_array(raw, chunks=(-1, -1, -1))
    return array.rechunk({1: -1, 2: -1})


def _constants(pipeline: Pipeline, visit: VisitInput, raw: da.Array) -> Any:
    runs = sample_pairs(raw.shape[0] // 2)
    samples = [(2 * r.start, raw[2 * r.start : 2 * r.stop]) for r in runs]
    return dask.delayed(_prepare, pure=False)(pipeline, visit, samples)


def products(pipeline: Pipeline, ds: xr.Dataset) -> xr.Dataset:
    """All products of a raw visit, lazily; see `schema.CALIBRATED`."""
    visit, ds = paired(pipeline, ds)
    raw = _frames(ds["raw_frames"].data)
    lengths = even_chunks(raw)
    constants = _constants(pipeline, visit, raw)
    chunk = dask.delayed(pipeline.run_chunk, pure=False)
    parts = [chunk(constants, *window) for window in _with_halo(raw, lengths, pipeline.halo)]
    shapes = _shapes(pipeline, ds)
    arrays: dict[str, Any] = {}
    frame = dask.delayed(_frame_products, pure=False)(pipeline, constants, parts)
    names = [n for n in shapes if n in _FRAME_NAMES and n != "cds_corrected"]
    arrays |= {n: da.from_delayed(frame[n], shapes[n], storage_dtype(n, pipeline.config.output.dtype)) for n in names}
    if "cds_corrected" in shapes:
        ny, nx = shapes["cds_corrected"][1:]
        pieces = [
            da.from_delayed(p.cube, (n // 2, ny, nx), np.dtype(pipeline.config.output.dtype)) for p, n in zip(parts, lengths, strict=True)
        ]
        arrays["cds_corrected"] = da.concatenate(pieces)
    if pipeline.photometry is not None:
        series = dask.delayed(_series_products, pure=False)(pipeline, constants, parts, star_of(ds.attrs))
        wanted = [n for n in shapes if n not in _FRAME_NAMES]
        arrays |= {n: da.from_delayed(series[n], shapes[n], storage_dtype(n, pipeline.config.output.dtype)) for n in wanted}
        if pipeline.config.calib.phase.enabled:
            arrays["bin_phase"] = da.from_delayed(series["bin_phase"], (shapes["phase_fold"][0],), np.dtype(np.float64))
    return _assemble(arrays, ds, pipeline)


_MAPS = ("cds_mean", "dark_applied", "flat_applied", "extraction_weights")
_FRAME_NAMES = ("pixel_dq", "cds_var_rnoise", *_MAPS, "cds_binned", "cds_binned_var_poisson", "cds_corrected")


def _stored(pipeline: Pipeline, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {n: np.asarray(v).astype(storage_dtype(n, pipeline.config.output.dtype), copy=False) for n, v in arrays.items()}


def _frame_products(pipeline: Pipeline, frame: FrameConstants, parts: list[ChunkResult]) -> dict[str, np.ndarray]:
    arrays = frame_arrays(frame, [ChunkResult(p.start, None, None, p.first_bin, p.bins, None) for p in parts], _without_cube(pipeline))
    return _stored(pipeline, arrays)


def _without_cube(pipeline: Pipeline) -> Any:
    """The run's config with the full cube left out: it stays one Dask chunk per time chunk."""
    output = pipeline.config.output
    cubes = {"full": "none", "both": "binned"}.get(output.cubes, output.cubes)
    return pipeline.config.model_copy(update={"output": output.model_copy(update={"cubes": cubes})})


def _series_products(pipeline: Pipeline, frame: FrameConstants, parts: list[ChunkResult], star: dict[str, float]) -> dict[str, np.ndarray]:
    result = pipeline.run_series(frame, parts, star)
    assert result is not None
    arrays = _stored(pipeline, series_arrays(frame, result, pipeline.config))
    if result.folded is not None:
        arrays["bin_phase"] = result.folded.bin_phase
    return arrays


def _shapes(pipeline: Pipeline, ds: xr.Dataset) -> dict[str, tuple[int, ...]]:
    """Shapes of every product, known before anything is read."""
    calib, output = pipeline.config.calib, pipeline.config.output
    ny, nx = ds.sizes["y"], ds.sizes["x"]
    pairs = ds.sizes["time"] // 2
    bins = int(bin_of_pairs(pairs, pipeline.pairs_per_bin(np.asarray(ds["time"]))).max(initial=-1)) + 1
    sizes = {"pair": pairs, "y": ny, "x": nx, "bin": bins, "wavelength": _channels(pipeline, ds)}
    sizes |= {"component": len(COMPONENTS), "averaging": block_sizes(pairs).size}
    sizes["phase_bin"] = min(calib.phase.binning.nbins, pairs)
    names = ["pixel_dq", "cds_var_rnoise"]
    if output.diagnostics:
        names += [n for n in _MAPS if calib.photometry.enabled or n != "extraction_weights"]
    if output.cubes in ("binned", "both") and bins:
        names += ["cds_binned", "cds_binned_var_poisson"]
    if output.cubes in ("full", "both"):
        names += ["cds_corrected"]
    if calib.photometry.enabled:
        names += ["photometry", "photometry_var", "photometry_var_rnoise", "photometry_dq", "x_position", "y_position"]
        names += ["background"] if bins else []
    if calib.trace.enabled:
        names += ["trace_norm", "trace_norm_var", "out_of_transit"]
        names += ["noise_budget", "noise_measured", "rms_measured", "rms_expected"] if output.diagnostics else []
        names += ["transit_depth", "transit_depth_sigma"] if calib.phase.depths.enabled else []
        names += ["mid_transit_time", "mid_transit_time_sigma", "transit_duration", "white_depth", "white_depth_sigma", "transit_snr"]
    if calib.phase.enabled:
        names += ["phase", "in_transit", "phase_fold", "phase_fold_var", "phase_fold_count", "phase_fold_dq"]
    return {name: tuple(sizes[d] for d in CALIBRATED[name].dims) for name in names}


def _channels(pipeline: Pipeline, ds: xr.Dataset) -> int:
    instrument = instrument_of(ds.attrs)
    if not instrument.spectral or pipeline.config.calib.photometry.instrument.per_channel is False:
        return 1
    return len(range(ds.sizes["x"])[instrument.science]) if instrument.science is not None else ds.sizes["x"]


def _wavelengths(pipeline: Pipeline, ds: xr.Dataset) -> np.ndarray:
    instrument = instrument_of(ds.attrs)
    wavelength = np.atleast_1d(np.asarray(ds["wavelength"], dtype=np.float64))
    if instrument.spectral:
        wavelength = wavelength[instrument.science_columns(wavelength)]
    return wavelength.mean(keepdims=True) if _channels(pipeline, ds) == 1 else wavelength


def _assemble(arrays: dict[str, Any], ds: xr.Dataset, pipeline: Pipeline) -> xr.Dataset:
    bin_phase = arrays.pop("bin_phase", None)
    units = pipeline.config.calib.photometry.output.flux_units
    left_out = unsaved(pipeline.config)
    variables = {n: (CALIBRATED[n].dims, v, variable_attrs(n, units)) for n, v in arrays.items() if n not in left_out}
    stamps, exposure = np.asarray(ds["time"]), np.asarray(ds["exposure"])
    coords: dict[str, Any] = {
        "time": ("pair", 0.5 * (stamps[0::2] + stamps[1::2]), {"units": "h"}),
        "exposure": ("pair", exposure[1::2] - exposure[0::2], {"units": "s"}),
    }
    if "photometry" in arrays:
        coords["wavelength"] = ("wavelength", _wavelengths(pipeline, ds), {"units": "um"})
    if "rms_measured" in arrays:
        coords["averaging"] = averaging(len(coords["time"][1]), coords["time"][1])
    if bin_phase is not None:
        coords["bin_phase"] = ("phase_bin", bin_phase)
    return xr.Dataset(variables, coords=coords, attrs=dict(ds.attrs))


def chain(pipeline: Pipeline, ds: xr.Dataset, last: str) -> xr.Dataset:
    """Stage after stage up to `last`: each frame stage adds its output, variances and flags; nothing is folded."""
    visit, ds = paired(pipeline, ds)
    raw = _frames(ds["raw_frames"].data)
    lengths = even_chunks(raw)

    state, constants = prepare_stages(visit, pipeline.stages)
    frame = _constants(pipeline, visit, raw)
    if any(stage.needs_measure for stage in pipeline.stages):
        constants = [frame.constants[i] for i in range(len(pipeline.stages))]
    exposure = visit.exposure_s
    tile = dask.delayed(_first_tile, pure=False)
    windows = _with_halo(raw, lengths, pipeline.halo)
    tiles = [tile(block, exposure, first) for block, first, _ in windows]
    wanted = [(start - first, stop - first) for _, first, (start, stop) in windows]
    out = ds.assign(pixel_dq=(("y", "x"), state.pixel_dq, variable_attrs("pixel_dq")))
    dim, rows, per_pair = "time", lengths, 2
    for stage, constant in zip(pipeline.stages, constants, strict=True):
        apply = dask.delayed(stage.apply, pure=False)
        tiles = [apply(t, constant) for t in tiles]
        if stage.name == "cds":
            dim, rows, per_pair = "pair", tuple(n // 2 for n in lengths), 1
            out = out.assign_coords(pair_time=("pair", 0.5 * (np.asarray(ds["time"])[0::2] + np.asarray(ds["time"])[1::2])))
        kept = tiles
        if pipeline.halo:
            kept = [dask.delayed(cut, pure=False)(t, per_pair * a, per_pair * b) for t, (a, b) in zip(tiles, wanted, strict=True)]
        out = out.assign(_tile_variables(stage.output_key, kept, rows, raw.shape[1:], dim))
        if stage.name == last:
            return out
    measured = _chained_photometry(pipeline, ds, frame, kept)
    return measured if last == "photometry" else _chained_series(measured, last)


def _first_tile(raw: np.ndarray, exposure: np.ndarray, first_pair: int) -> Tile:
    codes = raw.astype(np.float64)
    return raw_tile(codes, exposure[2 * first_pair : 2 * first_pair + len(raw)], 2 * first_pair, variance=True)


def _tile_variables(key: str, tiles: list[Any], rows: tuple[int, ...], shape: tuple[int, ...], dim: str) -> dict[str, Any]:
    """Dask arrays of one stage's values, variances (e-²) and flags, named by the stage's output key."""

    def gather(attribute: str, dtype: Any) -> da.Array:
        blocks = [da.from_delayed(getattr(t, attribute), (n, *shape), dtype) for t, n in zip(tiles, rows, strict=True)]
        return da.concatenate(blocks)

    dims = (dim, "y", "x")
    return {
        key: (dims, gather("values", np.float64), {"units": "e-"}),
        f"{key}_var_poisson": (dims, gather("var_poisson", np.float64), {"units": "e-2"}),
        f"{key}_var_rnoise": (dims, gather("var_rnoise", np.float64), {"units": "e-2"}),
        f"{key}_frame_dq": (dims, gather("frame_dq", np.uint8), {"long_name": "sample flags, bits 0-6 and FLUX_ESTIMATED at 7"}),
    }


def _chained_photometry(pipeline: Pipeline, ds: xr.Dataset, frame: Any, tiles: list[Any]) -> xr.Dataset:
    """The products from the chained CDS frames instead of the folded ones: same sums, same series domain."""
    part = dask.delayed(chunk_of_tile, pure=False)
    binned, dtype = "width" in pipeline.config.calib.trace.vectors, pipeline.config.output.dtype
    parts = [part(frame, tile, pipeline.photometry, binned=binned, cube=None, dtype=dtype) for tile in tiles]
    series = dask.delayed(_series_products, pure=False)(pipeline, frame, parts, star_of(ds.attrs))
    shapes = {n: s for n, s in _shapes(pipeline, ds).items() if n not in _FRAME_NAMES}
    arrays = {n: da.from_delayed(series[n], s, storage_dtype(n, pipeline.config.output.dtype)) for n, s in shapes.items()}
    return _assemble(arrays, ds, pipeline)


def _chained_series(ds: xr.Dataset, last: str) -> xr.Dataset:
    """Products up to `last` of the series stages."""
    phase_names = [n for n in ds.variables if str(n).startswith("phase") or n in ("bin_phase", "in_transit")]
    return ds.drop_vars(phase_names) if last == "trace" else ds
