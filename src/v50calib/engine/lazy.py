"""The lazy form of the engine: xarray Datasets of Dask arrays around the same functions the batch runs.

Nothing here knows a formula. `products` makes one task per time chunk and one for the series domain;
`chain` runs stage after stage, each on its own, so that every intermediate can be looked at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr

from v50calib.config.provenance import product_attrs
from v50calib.engine.constants import VisitConstants, bin_of_pairs
from v50calib.engine.engine import Engine
from v50calib.engine.frames import sample_pairs, with_halo
from v50calib.engine.noise_budget import COMPONENTS
from v50calib.engine.prepare import prepare_stages
from v50calib.engine.process import shared_columns
from v50calib.engine.products import Arrays, Visit, arrays_of, build_dataset, coordinates, made, storage_dtype, unsaved, variable_attrs
from v50calib.engine.result import ChunkResult, Wanted, chunk_of_tile
from v50calib.engine.said import attributes, notes_of, numbers_of, stage_status, stages_with_numbers
from v50calib.engine.series import SeriesResult, channel_wavelengths
from v50calib.engine.visit import VisitInput, star_of, visit_input
from v50calib.errors import DataError
from v50calib.kernels.noise import block_sizes
from v50calib.reference import ABSENT_ATTR
from v50calib.schema import CALIBRATED, in_order
from v50calib.stages.tile import Tile, cut, raw_tile

#: stays one Dask chunk per time chunk
FULL_CUBE = "cds_corrected"
#: a lazy product's variable that `complete` puts in its place, and what its reader is told
REST = "rest"
REST_SAID = "attributes and fit_* variables, which compute() or load() put in their place"


@dataclass(frozen=True)
class Rest:
    """What of a product has no shape before it is computed: attributes, and the variables that the fit of the depths worked on."""

    attrs: dict[str, Any]
    variables: dict[str, xr.Variable]


#: QC record of a visit's product: (Dataset, notes, checks, numbers of the stages, which stages are asked for)
Record = Callable[[xr.Dataset, list[str], Mapping[str, Any], Mapping[str, Mapping[str, Any]], Mapping[str, bool]], dict[str, Any]]


def products(engine: Engine, ds: xr.Dataset, record: Record) -> xr.Dataset:
    """All products of a raw visit, lazily, see `schema.CALIBRATED`; the variable REST holds a `Rest` once it is computed."""
    visit, ds = paired(engine, ds)
    raw = _frames(ds["raw_frames"].data)
    lengths = even_chunks(raw)
    constants = _constants(engine, visit, raw)
    chunk = dask.delayed(engine.run_chunk, pure=False)
    parts = [chunk(constants, *window) for window in _windows(raw, lengths, engine.halo)]
    outline = _Outline(engine, visit)
    names = outline.names("frames")
    static = [n for n in names if n != FULL_CUBE]
    arrays = outline.arrays(dask.delayed(_frame_arrays, pure=False)(engine, constants, parts, static), static)
    if FULL_CUBE in names:
        shape, dtype = outline.shape(FULL_CUBE)[1:], np.dtype(engine.config.output.dtype)
        arrays[FULL_CUBE] = da.concatenate([da.from_delayed(p.cube, (n // 2, *shape), dtype) for p, n in zip(parts, lengths, strict=True)])
    attrs = _attrs(engine, ds)
    arrays |= _series(engine, constants, parts, outline, attrs, record)
    return outline.dataset(arrays, attrs)


def complete(ds: xr.Dataset) -> None:
    """Put what REST holds, once it is computed, in its place: attributes and variables, in the order of a stored product."""
    rest: Rest = ds[REST].values.item()
    del ds[REST]
    for name, variable in rest.variables.items():
        # a selection along a dimension that they share leaves them out
        if all(ds.sizes.get(dim, size) == size for dim, size in variable.sizes.items()):
            ds[name] = variable
    ds.attrs.update(rest.attrs)
    in_order(ds)


def _attrs(engine: Engine, ds: xr.Dataset) -> dict[str, Any]:
    """Attributes of a product that are known before anything is computed."""
    own = {name: value for name, value in ds.attrs.items() if name not in ("reference_hashes", ABSENT_ATTR)}
    return product_attrs(engine.config, own, json.loads(ds.attrs.get("reference_hashes", "{}")))


def chain(engine: Engine, ds: xr.Dataset, last: str, record: Record) -> xr.Dataset:
    """Stage after stage up to `last`: each frame stage adds its output, variances and flags; nothing is folded. From cds on, `time` is
    that of the pairs, as in a product, and the reads are along `frame`."""
    visit, ds = paired(engine, ds)
    raw = _frames(ds["raw_frames"].data)
    lengths = even_chunks(raw)
    state, constants = prepare_stages(visit, engine.stages)
    whole = _constants(engine, visit, raw)
    if any(stage.needs_measure for stage in engine.stages):
        constants = [whole.plan.constants[i] for i in range(len(engine.stages))]
    windows = _windows(raw, lengths, engine.halo)
    first_tile = dask.delayed(_first_tile, pure=False)
    tiles = [first_tile(block, visit.exposure_s, first) for block, first, _ in windows]
    wanted = [(start - first, stop - first) for _, first, (start, stop) in windows]
    out = ds.assign(pixel_dq=(("y", "x"), state.pixel_dq, variable_attrs("pixel_dq")))
    dim, rows, per_pair = "time", lengths, 2
    apply = dask.delayed(engine.apply_stage, pure=False)
    for i, (stage, constant) in enumerate(zip(engine.stages, constants, strict=True)):
        tiles = [apply(i, t, constant) for t in tiles]
        if stage.name == "cds":
            dim, rows, per_pair = "pair", tuple(n // 2 for n in lengths), 1
            out = _along_reads(out, visit)
        kept = tiles
        if engine.halo:
            kept = [dask.delayed(cut, pure=False)(t, per_pair * a, per_pair * b) for t, (a, b) in zip(tiles, wanted, strict=True)]
        out = out.assign(_tile_variables(stage.output_key, kept, rows, raw.shape[1:], dim))
        if stage.name == last:
            return out
    part = dask.delayed(chunk_of_tile, pure=False)
    # the same sums and the same series domain, of the chained CDS frames instead of the folded ones
    asked = Wanted("width" in engine.config.calib.trace.vectors, None, engine.config.output.dtype)
    parts = [part(whole, tile, engine.photometry, asked) for tile in kept]
    outline = _Outline(engine, visit)
    attrs = _attrs(engine, ds)
    return outline.dataset(_series(engine, whole, parts, outline, attrs, record), attrs)


def _along_reads(ds: xr.Dataset, visit: VisitInput) -> xr.Dataset:
    """The chain's variables with their reads along `frame`, their stamps and seconds under names of their own; time, exposure: of pairs."""
    own = {name: f"frame_{name}" for name in ("time", "exposure") if name in ds.coords}
    between = visit.exposure_s[1::2] - visit.exposure_s[0::2]
    of_pairs = coordinates(visit.time_h, between, np.full(len(between), -1), None, noise=False)
    return ds.rename_vars(own).rename_dims(time="frame").assign_coords({n: of_pairs[n] for n in ("time", "exposure")})


def even_chunks(raw: da.Array) -> tuple[int, ...]:
    """Time chunks of the raw frames; refuses one that splits a CDS pair."""
    lengths = raw.chunks[0]
    if any(n % 2 for n in lengths):
        raise DataError(f"raw_frames has time chunks {lengths[:3]}…: an odd chunk splits a CDS pair; rechunk to an even number of frames")
    return tuple(int(n) for n in lengths)


def paired(engine: Engine, ds: xr.Dataset) -> tuple[VisitInput, xr.Dataset]:
    """The visit's numbers and its Dataset, both with their frames in the order of their pairs; lazy."""
    visit, order = engine.order(visit_input(ds))
    if order is not None:
        length = max(2, int(max(ds.chunksizes.get("time", (ds.sizes["time"],)))) // 2 * 2)
        ds = ds.isel(time=order).chunk(time=length)
    return visit, ds


def _frames(raw: da.Array) -> da.Array:
    """Frames as a Dask array with whole detectors per chunk."""
    array = raw if isinstance(raw, da.Array) else da.from_array(raw, chunks=(-1, -1, -1))
    return array.rechunk({1: -1, 2: -1})


def _windows(raw: da.Array, lengths: tuple[int, ...], halo: int) -> list[tuple[Any, int, tuple[int, int]]]:
    """For each chunk: its frames with `halo` pairs on either side (cut at the ends), the first pair there, the pairs wanted."""
    stops = np.cumsum(lengths) // 2
    starts = np.concatenate([[0], stops[:-1]])
    if halo == 0:
        return [(block, int(a), (int(a), int(b))) for block, a, b in zip(raw.to_delayed().ravel(), starts, stops, strict=True)]
    out = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        first, last = with_halo(start, stop, halo, raw.shape[0] // 2)
        block = raw[2 * first : 2 * last].rechunk((-1, -1, -1)).to_delayed().ravel()[0]
        out.append((block, first, (start, stop)))
    return out


def _constants(engine: Engine, visit: VisitInput, raw: da.Array) -> Any:
    runs = sample_pairs(raw.shape[0] // 2)
    samples = [(2 * r.start, raw[2 * r.start : 2 * r.stop]) for r in runs]
    return dask.delayed(_prepare, pure=False)(engine, visit, samples)


def _prepare(engine: Engine, visit: VisitInput, samples: list[tuple[int, np.ndarray]]) -> VisitConstants:
    by_start = dict(samples)
    return engine.prepare(visit, lambda start, stop: by_start[start][: stop - start])


def product_bytes(engine: Engine, visit: VisitInput) -> dict[str, int]:
    """Bytes of each variable that a visit's product will have, before compression; of those with a shape that is known before."""
    outline, left_out = _Outline(engine, visit), unsaved(engine.config)
    names = [n for domain in ("frames", "series") for n in outline.names(domain) if n not in left_out]
    return {n: math.prod(outline.shape(n)) * storage_dtype(n, engine.config.output.dtype).itemsize for n in names}


class _Outline:
    """The products of a visit as they are known before anything is read: names, shapes, coordinates."""

    def __init__(self, engine: Engine, visit: VisitInput) -> None:
        self.config = engine.config
        calib = engine.config.calib
        ny, nx = visit.reference.dark.shape
        self._visit = visit
        self._pair_bins = bin_of_pairs(len(visit.time_h) // 2, engine.pairs_per_bin(visit.time_h))
        self._wavelength = channel_wavelengths(visit.instrument, visit.wavelength_um, calib.photometry.instrument.per_channel)
        pairs, bins = len(self._pair_bins), int(self._pair_bins.max(initial=-1)) + 1
        self._sizes = {
            "pair": pairs, "y": ny, "x": nx, "bin": bins, "wavelength": self._wavelength.size, "component": len(COMPONENTS),
            "averaging": block_sizes(pairs).size, "phase_bin": min(calib.phase.binning.nbins, pairs),
            "shared": shared_columns(calib),
        }  # fmt: skip
        self._products = made(engine.config, bins=bins > 0)

    def names(self, domain: str) -> list[str]:
        """The products of one domain, in order."""
        return [p.name for p in self._products if p.domain == domain and p.lazy]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a product."""
        return tuple(self._sizes[d] for d in CALIBRATED[name].dims)

    def arrays(self, task: Any, names: list[str]) -> dict[str, da.Array]:
        """Products of a task that returns them by name."""
        dtype = self.config.output.dtype
        return {n: da.from_delayed(task[n], self.shape(n), storage_dtype(n, dtype)) for n in names}

    def bin_phase(self, task: Any) -> da.Array:
        """The folded curve's coordinate, of the same task."""
        return da.from_delayed(task["bin_phase"], (self._sizes["phase_bin"],), np.dtype(np.float64))

    def dataset(self, arrays: dict[str, da.Array], attrs: dict[str, Any]) -> xr.Dataset:
        """The Dataset of lazy arrays, without what the config leaves out."""
        left_out, units = unsaved(self.config), self.config.calib.photometry.output.flux_units
        phase, rest = arrays.pop("bin_phase", None), arrays.pop(REST, None)
        exposure = self._visit.exposure_s
        coords = coordinates(
            self._visit.time_h, exposure[1::2] - exposure[0::2], self._pair_bins,
            self._wavelength if "photometry" in arrays else None,
            noise="rms_measured" in arrays, bin_phase=phase,
        )  # fmt: skip
        variables = {n: (CALIBRATED[n].dims, v, variable_attrs(n, units)) for n, v in arrays.items() if n not in left_out}
        ordered = {name: variables[name] for name in CALIBRATED if name in variables}
        return xr.Dataset(ordered | ({REST: ((), rest, {"long_name": REST_SAID})} if rest is not None else {}), coords=coords, attrs=attrs)


def _series(
    engine: Engine, constants: Any, parts: list[Any], outline: _Outline, attrs: dict[str, Any], record: Record
) -> dict[str, da.Array]:
    """Products of the series domain, one task, and REST; REST alone where photometry is off."""
    names = outline.names("series")
    task = dask.delayed(_series_arrays, pure=False)(engine, constants, parts, attrs, names, record)
    folded = {"bin_phase": outline.bin_phase(task)} if "phase_fold" in names else {}
    return outline.arrays(task, names) | folded | {REST: da.from_delayed(task[REST], (), np.dtype(object))}


def _frame_arrays(engine: Engine, visit: VisitConstants, parts: list[ChunkResult], names: list[str]) -> Arrays:
    return _stored(engine, Visit(visit, parts, None, engine.config), names)


def _series_arrays(
    engine: Engine, visit: VisitConstants, parts: list[ChunkResult], attrs: dict[str, Any], names: list[str], record: Record
) -> dict[str, Any]:
    result = engine.run_series(visit, parts, star_of(attrs))
    whole = Visit(visit, parts, result, engine.config)
    arrays = _stored(engine, whole, names)
    folded = {"bin_phase": result.folded.bin_phase} if result is not None and result.folded is not None else {}
    # an array of one object: what a Dataset may hold
    box = np.empty((), object)
    box[()] = _rest(engine, whole, result, arrays, attrs, record)
    return arrays | folded | {REST: box}


def _rest(
    engine: Engine, whole: Visit, result: SeriesResult | None, arrays: Arrays, attrs: dict[str, Any], record: Record
) -> Rest:  # fmt: skip
    """What of a product is not in the outline: its attributes with the QC record, and variables of unknown shape."""
    visit, config = whole.constants, engine.config
    late = [p for p in made(config, bins=visit.n_bins > 0) if not p.lazy]
    units = config.calib.photometry.output.flux_units
    found = arrays_of(whole, late)
    said = attributes(visit, result)
    coords = coordinates(visit.state.time_h, visit.between, visit.pair_bins, None, noise="rms_measured" in arrays)
    pixel_dq = {"pixel_dq": np.asarray(visit.state.pixel_dq)}
    judged = build_dataset(pixel_dq | arrays | found, coords, attrs | said, config.output.dtype, units)
    qc = record(judged, notes_of(visit, result), visit.state.checks, numbers_of(visit, result), stages_with_numbers(config))
    said["qc"] = json.dumps(qc, sort_keys=True)
    said["stage_status"] = json.dumps(stage_status(config, visit), sort_keys=True)
    return Rest(said, {name: judged.variables[name] for name in found})


def _stored(engine: Engine, visit: Visit, names: list[str]) -> Arrays:
    products = [p for p in made(engine.config, bins=visit.constants.n_bins > 0) if p.name in names]
    dtype = engine.config.output.dtype
    return {n: v.astype(storage_dtype(n, dtype), copy=False) for n, v in arrays_of(visit, products).items()}


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
