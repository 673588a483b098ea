"""`export`: all visits, or planets, of a run as one aligned grid in one file or store, made row by row in bounded memory."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from v50calib import dq
from v50calib.errors import ConfigError, StoreError
from v50calib.export import align
from v50calib.export.align import NAMES, SHARED, Axes, VisitWhat, What
from v50calib.export.clock import Clock, sampling
from v50calib.export.curves import Fit, curves_of, fit_of_products
from v50calib.export.files import CsvGrid, Hdf5Grid, NetcdfGrid, NpzGrid
from v50calib.export.grid import Grid, GridVar, GridWriter, ZarrGrid
from v50calib.export.made import prepare_place
from v50calib.export.planets import Fits, planet_row, planets_grid, refuse_old_fits, stored_fits
from v50calib.io.storage.commit import check_complete, is_committed, publish, read_record, staging
from v50calib.io.storage.location import Location, locate
from v50calib.io.storage.objects import ObjectPath
from v50calib.runs import manifest
from v50calib.runs.calibrated import PRODUCTS
from v50calib.runs.directory import product_hash, read_mark
from v50calib.runs.product import array_metadata, committed_products, product_attrs
from v50calib.runs.spectra import fitted_planets
from v50calib.runtime.observations import observation
from v50calib.safety.files import refuse_foreign_link

Format = Literal["zarr", "netcdf", "npz", "hdf5", "csv"]
FORMATS = get_args(Format)
_WRITERS: dict[Format, Callable[[Path, Grid], GridWriter]] = {
    "zarr": ZarrGrid,
    "netcdf": NetcdfGrid,
    "npz": NpzGrid,
    "hdf5": Hdf5Grid,
    "csv": CsvGrid,
}
#: disk space that a format needs while it is written, in units of its own size: npz gathers each array before it is packed
_DISK = {"npz": 2.0}
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """What an export will hold. visits: (planet, visit number) in order; products: {(planet, visit): {instrument: path}}.

    planets and their fits: of an export of planets, whose rows they are.
    """

    what: What
    grid: Grid
    axes: Axes
    visits: list[tuple[str, int]]
    products: dict[tuple[str, int], dict[str, Location]]
    planets: list[str] = field(default_factory=list)
    fits: Fits = field(default_factory=dict)
    #: what its rows are read from, with the record that each had when it was planned
    records: dict[Location, str] = field(default_factory=dict)
    #: of light curves: the fit of each planet, None where it has none
    curve_fits: dict[str, Fit | None] = field(default_factory=dict)

    @property
    def rows(self) -> Sequence[str]:
        """What the rows are: planet/visit, or planet."""
        return self.planets if self.what == "planets" else [f"{planet}/{visit}" for planet, visit in self.visits]

    @property
    def present(self) -> int:
        """Visits with a product of at least one instrument, or planets with a fit."""
        if self.what == "planets":
            return sum(planet in self.fits for planet in self.planets)
        return sum(bool(self.products.get(visit)) for visit in self.visits)


def plan_export(
    run_dir: str | os.PathLike[str] | ObjectPath, what: What, fmt: Format, *, bin_s: float | None = None, fits: Fits | None = None
) -> Plan:
    """The grid of a run's products; reads names, times and wavelengths only.

    bin_s: width of a time bin [s] (default: the run's output.bin_s, or its sampling where that is slower); fits: of planets, by
    planet_id (default: those that the run directory has, none of which may be older than its visits).
    Raises ConfigError: what the format cannot hold; StoreError: no run, products that do not fit on one grid.
    """
    if (what, fmt) == ("cubes", "csv"):
        raise ConfigError("--format csv cannot hold cubes (four axes, some 10^6 numbers a visit): use zarr, hdf5, netcdf or npz")
    if bin_s is not None and not (math.isfinite(bin_s) and bin_s > 0):
        raise ConfigError(f"--bin-s {bin_s} is no width of a time bin: give a number of seconds above 0")
    run_dir = locate(run_dir)
    mark = read_mark(run_dir)
    records: dict[Location, str] = {}
    products = products_of(run_dir, mark, records)
    visits = sorted(products.keys() | {(e.planet_id, e.visit) for e in manifest.read(run_dir)})
    flat = [(instrument, path) for visit in visits for instrument, path in products.get(visit, {}).items()]
    if not flat:
        raise StoreError(f"'{run_dir}' has no product to export: run 'v50calib calibrate' to its end")
    if what == "planets":
        planets = sorted({planet for planet, _ in visits})
        kept = {planet: path for planet, path in fitted_planets(run_dir) if fits is None or planet in fits}
        records |= {path: _record(path) for path in kept.values()}
        if fits is not None:
            refuse_old_fits(list(kept), run_dir / PRODUCTS, run_dir, products)
        known = fits if fits is not None else stored_fits(run_dir / PRODUCTS, run_dir, products)
        grid, axes = planets_grid(planets, known, products, {"config_hash": str(mark.get("config_hash"))})
        return Plan(what, grid, axes, visits, products, planets, known, records)
    axes = align.find_axes(flat, what, bin_s if bin_s is not None else float(mark.get("output", {}).get("bin_s", 144.0)))
    curve_fits = {}
    if what == "lightcurves" and align.kinds_of_light(flat)[0]:
        curve_fits = {planet: fit_of_products(run_dir, planet, products) for planet in sorted({planet for planet, _ in products})}
    grid = _grid(what, axes, visits, products, flat, mark)
    return Plan(what, grid, axes, visits, products, records=records, curve_fits=curve_fits)


def export(
    run_dir: str | os.PathLike[str] | ObjectPath, out: str | os.PathLike[str], what: What, fmt: Format = "zarr", *,
    bin_s: float | None = None, fits: Fits | None = None, overwrite: bool = False, progress: Progress | None = None,
    plan: Plan | None = None,
) -> Plan:  # fmt: skip
    """Write all visits (or planets) of a run to `out`, wholly or not at all.

    Raises as `plan_export` and `check_out`; StoreError also where the disk has no room for it.
    """
    run_dir, out = locate(run_dir), check_out(out, overwrite=overwrite)
    plan = plan if plan is not None else plan_export(run_dir, what, fmt, bin_s=bin_s, fits=fits)
    try:
        with staging(out) as tmp:
            _check_room(tmp, plan.grid, fmt)
            part = tmp / "grid"
            with _WRITERS[fmt](part, plan.grid) as writer:
                for start, rows in _blocks(plan, progress):
                    writer.put(start, rows)
            if fmt == "zarr":
                check_complete(part)
            # it may have taken hours: what was put there meanwhile is not lost either
            prepare_place(out, overwrite=overwrite)
            publish(part, out)
    except OSError as exc:
        raise StoreError(f"cannot write '{out}' ({exc.strerror or exc}): nothing was left there; free space or give another name") from exc
    return plan


def check_out(out: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Where a grid is to be written; before anything is read, what a killed export had moved aside there is put back.

    Raises ConfigError for an object store; StoreError where `out` exists (without `overwrite`), or is nothing that an export made.
    """
    found = locate(out)
    if not isinstance(found, Path):
        raise ConfigError(f"export writes to a local file system, not to {found}: give a local path and copy the result")
    # what a link of one's own points at is replaced, not the link
    refuse_foreign_link(found)
    found = found.resolve() if found.is_symlink() else found
    prepare_place(found, overwrite=overwrite)
    return found


def products_of(run_dir: Location, mark: Mapping[str, Any], records: dict[Location, str]) -> dict[tuple[str, int], dict[str, Location]]:
    """Committed products by visit; the record of each goes into `records`. mark: the run's config.yaml.

    Raises StoreError for other instruments and for products of another config.
    """
    found: dict[tuple[str, int], dict[str, Location]] = {}
    for label, path in committed_products(run_dir / PRODUCTS):
        planet, visit, instrument = label.split("/")
        if instrument not in NAMES:
            raise StoreError(f"{label}: the grid holds {' and '.join(NAMES)} only; open products of '{instrument}' with open_calibrated")
        records[path] = _record(path)
        if product_attrs(path).get("config_hash") != product_hash(mark, instrument):
            raise StoreError(
                f"{label} is of another config than '{run_dir}': an update was not finished, run 'v50calib calibrate --update'"
            )
        found.setdefault((planet, int(visit)), {})[instrument] = path
    return found


def _record(path: Location) -> str:
    """What was committed at a path, by its record; empty where nothing is."""
    return json.dumps(read_record(path), sort_keys=True) if is_committed(path) else ""


def _grid(
    what: VisitWhat, axes: Axes, visits: list[tuple[str, int]], products: dict[tuple[str, int], dict[str, Location]],
    flat: list[tuple[str, Location]], mark: dict[str, Any],
) -> Grid:  # fmt: skip
    units = {name: _units(flat[0][1], name) for name in ("photometry", "photometry_var", "cds_binned", "cds_binned_var_poisson")}
    terms = align.shared_terms(flat) if what == "spectra" else 0
    streamed = align.variables(what, {name: unit for name, unit in units.items() if unit}, terms, align.kinds_of_light(flat))
    if what == "lightcurves":
        streamed = tuple(replace(v, attrs=dq.cf_attrs() | v.attrs) if v.name == "dq" else v for v in streamed)
    present = np.array([[name in products.get(visit, {}) for name in NAMES] for visit in visits])
    fixed = [
        GridVar("planet_id", ("visit",), np.dtype("U"), {}, np.array([p for p, _ in visits], object), coordinate=True),
        GridVar("visit_number", ("visit",), np.dtype("int32"), {}, np.array([n for _, n in visits], np.int32), coordinate=True),
        GridVar("instrument", ("instrument",), np.dtype("U"), {}, np.array(NAMES, object), coordinate=True),
        GridVar("wavelength", ("wavelength",), np.dtype("float64"), {"units": "um"}, axes.wavelength, coordinate=True),
        GridVar("present", ("visit", "instrument"), np.dtype(bool), {"long_name": "the run has a product"}, present),
    ]
    sizes = {"visit": len(visits), "instrument": len(NAMES), "wavelength": len(axes.wavelength)}
    if what != "spectra":
        about = {"units": "h", "long_name": "middle of the bin, since the start of the visit"}
        fixed.append(GridVar("time", ("bin",), np.dtype("float64"), about, axes.time_h, coordinate=True))
        sizes["bin"] = axes.n_bins
    if what == "cubes":
        sizes |= {"y": 32, "x": 32}
    if any(v.name == SHARED for v in streamed):
        sizes["shared"] = terms
    attrs = {"what": what, "config_hash": str(mark.get("config_hash")), "bin_s": axes.width_h * 3600, "channel_0": "FGS1"}
    return Grid(sizes, (*fixed, *streamed), attrs, columns=("shared",))


def _units(path: Location, name: str) -> str:
    meta = array_metadata(path).get(name)
    return str(meta["attributes"].get("units", "")) if meta is not None else ""


def _blocks(plan: Plan, progress: Progress | None) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """(first row, rows) for a block of them at a time."""
    size, labels = plan.grid.rows_at_once(), plan.rows
    for start in range(0, len(labels), size):
        block = range(start, min(start + size, len(labels)))
        rows = {v.name: np.full((len(block), *plan.grid.shape(v)[1:]), v.missing, v.dtype) for v in plan.grid.streamed}
        for i in block:
            # a view of an array, also where a row is one number
            _fill_unchanged(plan, i, {name: values[i - start, ...] for name, values in rows.items()})
            if progress is not None:
                progress(labels[i], i + 1, len(labels))
        yield start, rows


def _fill_unchanged(plan: Plan, i: int, row: align.Row) -> None:
    """`_fill`, of what was planned. Raises StoreError where a run has replaced it since: the grid would be of two configs."""
    if plan.what == "planets":
        paths = [path for path in plan.records if path.name == plan.planets[i]]
    else:
        paths = list(plan.products.get(plan.visits[i], {}).values())
    fault: Exception | None = None
    try:
        _fill(plan, i, row)
    except (StoreError, OSError, ValueError, KeyError, RuntimeError) as exc:
        fault = exc
    if any(_record(path) != plan.records[path] for path in paths):
        raise StoreError(
            f"{plan.rows[i]} was replaced by a run while the export read it: the grid would be of two configs, and nothing was written; "
            "export again when the run has ended ('v50calib status')"
        ) from fault
    if fault is not None:
        raise fault


def _fill(plan: Plan, i: int, row: align.Row) -> None:
    """Write row i of a plan into `row`."""
    if plan.what == "planets":
        planet = plan.planets[i]
        if planet in plan.fits:
            planet_row(row, planet, plan.fits[planet])
        return
    for instrument, path in plan.products.get(plan.visits[i], {}).items():
        align.ROWS[plan.what](row, instrument, path, plan.axes)
        align.scalar_row(row, instrument, path)
        if plan.curve_fits:
            _fill_light(plan, plan.visits[i], row, instrument, path)


def _fill_light(plan: Plan, visit: tuple[str, int], row: align.Row, instrument: str, path: Location) -> None:
    """The curves of the planet's joint fit, where it has them."""
    fit, given = plan.curve_fits.get(visit[0]), observation(path)
    if fit is None or given is None or fit.why_not(visit[1], instrument):
        return
    stamps = [float(product_attrs(p).get("first_stamp_h", 0.0)) for n, p in plan.products[visit].items() if not fit.why_not(visit[1], n)]
    curves, own = curves_of(given, fit, "detrended", min(stamps)), given.given
    clock = Clock(0.0, plan.axes.width_h, plan.axes.n_bins)
    align.light_row(row, instrument, clock.regrid(curves, own.time, sampling(own.time, own.width), whole=True))


def _check_room(folder: Path, grid: Grid, fmt: Format) -> None:
    need, free = grid.nbytes * _DISK.get(fmt, 1.0), shutil.disk_usage(folder).free
    # compressed formats may need less, but never much more
    if fmt == "npz" and need > free:
        raise StoreError(
            f"npz needs {need / 1e9:.2f} GB while it is written, {free / 1e9:.2f} GB are free: use zarr or hdf5, or another disk"
        )
