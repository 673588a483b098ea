"""Every visit of a run with its numbers and the reasons to distrust it, from the manifest or, where that lacks them, from the products."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from v50calib.io.storage.location import Location
from v50calib.qc.distrust import Verdict, judge, no_product, number
from v50calib.qc.summary import is_measured
from v50calib.runs import manifest
from v50calib.runs.calibrated import PRODUCTS
from v50calib.runs.product import committed_products, open_product


@dataclass
class Visit:
    """One visit x instrument. product: its location, None where there is none (or an older one under a failed attempt)."""

    entry: manifest.Entry
    verdict: Verdict
    product: Location | None
    notes: list[str] = field(default_factory=list)
    depth_ppm: float = math.nan
    sigma_ppm: float = math.nan
    transit_found: bool | None = None
    truth_ppm: float = math.nan

    @property
    def label(self) -> str:
        return self.entry.label

    @property
    def measured(self) -> bool:
        """Whether its depth stands out of its error."""
        return is_measured(self.depth_ppm, self.sigma_ppm)

    @property
    def pull(self) -> float:
        return (self.depth_ppm - self.truth_ppm) / self.sigma_ppm if self.sigma_ppm else math.nan


def collect(run_dir: Location, truth: Mapping[tuple[str, int, str], float]) -> list[Visit]:
    """All visits of the manifest and all committed products, the least trusted first.

    truth: white depths, where they are known. Raises StoreError where a product cannot be opened.
    """
    store = run_dir / PRODUCTS
    # a run that has no product yet has no store either
    products = dict(committed_products(store)) if store.is_dir() else {}
    entries = {entry.label: entry for entry in manifest.read(run_dir)}
    for label in products.keys() - entries.keys():
        planet, index, instrument = label.split("/")
        entries[label] = manifest.Entry(planet, int(index), instrument, "done")
    visits = [_visit(entry, products.get(label)) for label, entry in entries.items()]
    for visit in visits:
        key = (visit.entry.planet_id, visit.entry.visit, visit.entry.instrument)
        visit.truth_ppm = 1e6 * truth.get(key, math.nan)
    return sorted(visits, key=_rank)


def _rank(visit: Visit) -> tuple[float, float, str]:
    noise = visit.verdict.numbers.get("noise_over_limit", math.nan)
    return -visit.verdict.score, -noise if math.isfinite(noise) else 0.0, visit.label


def _visit(entry: manifest.Entry, product: Location | None) -> Visit:
    if entry.state not in ("done", "skipped"):
        return Visit(entry, no_product(entry.state, entry.error or entry.error_type), None)
    if product is None:
        return Visit(entry, no_product("product missing", "run v50calib calibrate again"), None)
    qc, ds = entry.qc, None
    if not qc:
        ds = open_product(product)
        qc = json.loads(ds.attrs.get("qc", "{}"))
    phase = qc.get("stages", {}).get("phase", {})
    depth, sigma = number(phase.get("white_depth_ppm")), number(phase.get("white_depth_sigma_ppm"))
    found = math.isfinite(depth) if "white_depth_ppm" in phase else None
    if found is None:
        # diagnostics were off: the depth is in the product only
        depth, sigma, found = _depth(ds if ds is not None else open_product(product))
    verdict = judge(qc, transit_found=found)
    return Visit(entry, verdict, product, list(map(str, qc.get("notes", []))), depth, sigma, found)


def _depth(ds: xr.Dataset) -> tuple[float, float, bool | None]:
    """White depth and its error in ppm, and whether a transit was found (None: not looked for)."""
    if "white_depth" not in ds:
        return math.nan, math.nan, None
    depth, sigma = (1e6 * float(ds[name]) for name in ("white_depth", "white_depth_sigma"))
    return depth, sigma, math.isfinite(depth)


def facts(visits: list[Visit], stages: Iterable[str]) -> dict[str, Any]:
    """What the run's products have in common: versions, config hashes, number of planets, and what each stage did, by instrument.

    stages: names in the order of the pipeline. Taken from the first product of each instrument.
    """
    first = {v.entry.instrument: v.product for v in reversed(visits) if v.product is not None}
    attrs = {instrument: open_product(path).attrs for instrument, path in sorted(first.items())}
    done = {instrument: json.loads(a.get("stage_status", "{}")) for instrument, a in attrs.items()}
    return {
        "versions": next((json.loads(a["versions"]) for a in attrs.values() if "versions" in a), {}),
        "stages": {instrument: {name: status[name] for name in stages if name in status} for instrument, status in done.items()},
        "hashes": sorted({v.entry.config_hash for v in visits if v.entry.config_hash}),
        "planets": len({v.entry.planet_id for v in visits}),
    }
