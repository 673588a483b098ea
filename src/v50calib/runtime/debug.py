"""Pictures of single pairs stage by stage, and frames of single stages on disk: for inspection, only if the config asks for them.

RUN_DIR/debug/<planet_id>/<visit>/<instrument>/<stage>.png
RUN_DIR/intermediate.zarr/<planet_id>/<visit>/<instrument>/<stage>: values, variances, flags at full cadence
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from v50calib.engine.constants import VisitConstants
from v50calib.engine.engine import Engine
from v50calib.engine.frames import Frames, windows, with_halo
from v50calib.engine.steps import stage_by_stage
from v50calib.errors import StoreError
from v50calib.io.keys import VisitKey
from v50calib.io.storage.commit import commit, staging
from v50calib.io.storage.location import Location, replace_bytes
from v50calib.runs.product import product_path
from v50calib.safety.files import refuse_links
from v50calib.stages.tile import Tile, cut

DEBUG, INTERMEDIATE = "debug", "intermediate.zarr"
#: what is written of a stage: attribute of its tile, suffix of the array, dtype, units
_KEPT = (("values", "", "f4", "e-"), ("var_poisson", "_var_poisson", "f4", "e-2"), ("var_rnoise", "_var_rnoise", "f4", "e-2"),
         ("frame_dq", "_frame_dq", "u1", ""))  # fmt: skip


def wanted_images(engine: Engine) -> dict[str, list[int]]:
    """Pairs to draw of each enabled stage that asks for pictures."""
    if not engine.config.output.diagnostics:
        return {}
    asked = {name: stage.diagnostics for name, stage in engine.config.calib.stages() if stage.enabled}
    return {name: wish.sample_indices for name, wish in asked.items() if wish.enabled and wish.save_debug_images}


def wanted_frames(engine: Engine) -> list[Any]:
    """Frame stages whose output is written."""
    return [stage for stage in engine.stages if stage.config.cache.write_intermediate]


def save_images(run_dir: Location, key: VisitKey, engine: Engine, frames: Frames, visit: VisitConstants, ds: xr.Dataset) -> None:
    """Draw what `wanted_images` names. Pairs beyond the visit's end are left out. Raises StoreError where nothing can be written."""
    asked = wanted_images(engine)
    if not asked:
        return
    # imported here: it takes a second
    from v50calib import plot

    folder = product_path(run_dir / DEBUG, key)
    n_pairs = frames.n_frames // 2
    if isinstance(run_dir, Path) and isinstance(folder, Path):
        refuse_links(run_dir / DEBUG, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stage, indices in asked.items():
            pairs = [i for i in indices if i < n_pairs]
            if stage in ("photometry", "trace", "phase"):
                figure = _SERIES[stage](plot, ds)
            else:
                tiles = [_pair(engine, frames, visit, i, stage) for i in pairs]
                figure = plot.frames([(i, t.values, t.frame_dq) for i, t in zip(pairs, tiles, strict=True)], stage, str(key))
            _save(figure, folder / f"{stage}.png")
    except OSError as exc:
        raise StoreError(
            f"cannot write pictures into '{folder}' ({exc.strerror or exc}): free space, or turn save_debug_images off"
        ) from exc


def _series_figure(names: tuple[str, ...]) -> Any:
    def draw(plot: Any, ds: xr.Dataset) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.0, 3.4 * len(names)), layout="constrained")
        for name, ax in zip(names, figure.subplots(len(names), squeeze=False)[:, 0], strict=True):
            getattr(plot, name)(ds, ax)
        return figure

    return draw


#: figures of the stages on light curves, for the whole visit
_SERIES = {
    "photometry": _series_figure(("mean_frame", "drift")),
    "trace": _series_figure(("white_light", "light_curves", "rms_versus_time")),
    "phase": _series_figure(("folded",)),
}


def _save(figure: Any, path: Location) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    replace_bytes(path, content.getvalue())


def _pair(engine: Engine, frames: Frames, visit: VisitConstants, index: int, stage: str) -> Tile:
    """One pair after a stage; its neighbours in time, which its methods use, are read with it."""
    low, high = with_halo(index, index + 1, engine.halo, frames.n_frames // 2)
    tile = _until(visit, frames.read(2 * low, 2 * high), 2 * low, stage)
    per_pair = 1 if stage == "cds" else 2
    return cut(tile, per_pair * (index - low), per_pair * (index - low + 1))


def _until(visit: VisitConstants, raw: NDArray[np.uint16], start_frame: int, last: str) -> Tile:
    exposure = visit.exposure_s[start_frame : start_frame + len(raw)]
    return stage_by_stage(visit.plan.stages, visit.plan.constants, raw, exposure, start_frame, last)


def save_frames(run_dir: Location, key: VisitKey, engine: Engine, frames: Frames, visit: VisitConstants, step: int) -> None:
    """Write the frames of each stage that `wanted_frames` names, `step` pairs at a time; each stage whole or not at all."""
    for stage in wanted_frames(engine):
        final = product_path(run_dir / INTERMEDIATE, key) / stage.name
        record = {"config_hash": engine.fingerprint, "stage": stage.name}
        try:
            with staging(final, run_dir / INTERMEDIATE) as tmp:
                _write_stage(tmp, engine, frames, visit, stage, step)
                commit(tmp, final, record, replace=True)
        except OSError as exc:
            raise StoreError(
                f"cannot write the frames of {stage.name} for {key} ({exc.strerror or exc}): free space, or set "
                f"calib.{stage.name}.cache.write_intermediate=false"
            ) from exc


def _write_stage(path: Path, engine: Engine, frames: Frames, visit: VisitConstants, stage: Any, step: int) -> None:
    per_pair = 1 if stage.name == "cds" else 2
    n, dim = per_pair * (frames.n_frames // 2), "pair" if stage.name == "cds" else "time"
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.open_group(path, mode="w", zarr_format=3)
        arrays = {
            attribute: group.create_array(
                f"{stage.output_key}{suffix}", shape=(n, *visit.shape), chunks=(per_pair * step, *visit.shape), dtype=dtype,
                dimension_names=(dim, "y", "x"), attributes={"units": units} if units else {},
            )
            for attribute, suffix, dtype, units in _KEPT
        }  # fmt: skip
        for window in windows(frames, step, engine.halo):
            tile = _until(visit, window.raw, 2 * window.first, stage.name)
            tile = cut(tile, per_pair * (window.start - window.first), per_pair * (window.stop - window.first))
            for attribute, array in arrays.items():
                array[per_pair * window.start : per_pair * window.stop] = np.asarray(getattr(tile, attribute)).astype(array.dtype)
