"""Builds the page and writes it in one piece."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from v50calib.errors import StoreError
from v50calib.io.storage.location import Location, locate, replace_bytes
from v50calib.io.storage.ours import is_page, refuse_to_overwrite
from v50calib.qc.distrust import CAP, NO_PRODUCT, NO_TRANSIT, PLANET_RULES, RULES
from v50calib.report.figures import Image, draw_visit
from v50calib.report.planets import planet_rows
from v50calib.report.profile import SHOWN as DIFFERENCES
from v50calib.report.profile import name_of
from v50calib.report.run_figures import draw_run
from v50calib.report.table import columns, row
from v50calib.report.visits import Visit, collect, facts
from v50calib.runs.directory import MARK, read_mark
from v50calib.runs.product import open_product
from v50calib.runs.status import status
from v50calib.runs.truth import read_depths

NAME = "report.html"
#: visits with figures unless the caller says otherwise
LIMIT = 8
#: failures listed with their reasons, at most; all are in the table
FAILURES = 50

#: variables that no figure shows, and that hold most of a product
CUBES = ("cds_corrected", "cds_binned", "cds_binned_var_poisson")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Report:
    """What was written: the page, visits in its table, visits with figures."""

    path: Location
    visits: int
    drawn: int
    bytes: int


@dataclass(frozen=True)
class Section:
    """One visit's part of the page."""

    anchor: str
    visit: Visit
    images: list[Image]
    missing: dict[str, list[str]]


def write_report(
    run_dir: str | Path | Location,
    out: str | Path | Location | None = None,
    *,
    limit: int = LIMIT,
    truth: str | Path | Location | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Write the page of a run: one HTML file without any link to the outside.

    out     default: RUN_DIR/report.html
    limit   figures are drawn of at most this many of the least trusted visits, and of the first planet's first visit
    truth   train.csv, a folder that holds it, or a simulated dataset: depths that are shown beside the recovered ones
    overwrite  replace a file that is no page of this program

    The run may still be running. Raises StoreError where `run_dir` is no run directory, the page cannot be written or something else is
    in its place, DataError where `truth` cannot be read or is of other planets.
    """
    run_dir = locate(run_dir)
    path = locate(out) if out is not None else run_dir / NAME
    known = read_mark(run_dir)
    refuse_to_overwrite(path, is_page, "a page", overwrite=overwrite, within=run_dir)
    known_depths = read_depths(locate(truth) if truth is not None else None)
    visits = collect(run_dir, known_depths.white)
    if truth is not None:
        known_depths.refuse_strangers(visit.entry.planet_id for visit in visits)
        for visit in visits:
            entry = visit.entry
            visit.truth_ppm = 1e6 * known_depths.white_depth(entry.planet_id, entry.visit, entry.instrument, visit.product)
    sections = _sections(_chosen(visits, limit), visits, known_depths.spectra, progress)
    page = _render(run_dir, known, visits, sections, truth is not None)
    _write(path, page)
    return Report(path, len(visits), len(sections), len(page))


def _chosen(visits: list[Visit], limit: int) -> list[Visit]:
    """The `limit` first of those that have a product, then the first visit of the first planet."""
    whole = [v for v in visits if v.product is not None]
    chosen = whole[:limit]
    if limit and whole:
        first = min((v.entry.planet_id, v.entry.visit) for v in whole)
        chosen += [v for v in whole[limit:] if (v.entry.planet_id, v.entry.visit) == first]
    return chosen


def _sections(chosen: list[Visit], visits: list[Visit], spectra: Mapping[str, np.ndarray], progress: Progress | None) -> list[Section]:
    sections = []
    for i, visit in enumerate(chosen):
        assert visit.product is not None
        images, missing = draw_visit(
            open_product(visit.product).drop_vars(CUBES, errors="ignore").load(), spectra.get(visit.entry.planet_id)
        )
        sections.append(Section(f"visit-{visits.index(visit)}", visit, images, missing))
        if progress is not None:
            progress(visit.label, i + 1, len(chosen))
    return sections


def _render(run_dir: Location, known: dict[str, Any], visits: list[Visit], sections: list[Section], with_truth: bool) -> bytes:
    profile, differences = name_of(known)
    anchors = {section.visit.label: section.anchor for section in sections}
    heads, planets = columns(with_truth), planet_rows(run_dir, visits)
    environment = Environment(
        loader=PackageLoader("v50calib.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    text = environment.get_template("page.html").render(
        run=run_dir.resolve().name if isinstance(run_dir, Path) else run_dir.name,
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        status=status(run_dir),
        facts=facts(visits, known.get("calib", {})),
        profile=profile,
        differences=differences[:DIFFERENCES],
        more_differences=max(0, len(differences) - DIFFERENCES),
        config_hash=str(known.get("config_hash", "unknown")),
        config_text=(run_dir / MARK).read_bytes().decode(errors="replace"),
        noise=_noise(visits),
        suspects=sum(0 < v.verdict.score < NO_PRODUCT for v in visits),
        work_s=sum(v.entry.seconds for v in visits),
        failed=[v for v in visits if v.product is None],
        failures=FAILURES,
        planets=planets,
        doubtful=sum(bool(row.verdict.reasons) for row in planets),
        no_product=NO_PRODUCT,
        planet_rules=PLANET_RULES,
        rules=RULES, cap=CAP, no_transit=NO_TRANSIT,
        columns=heads,
        rows=[row(i + 1, visit, anchors.get(visit.label), with_truth) for i, visit in enumerate(visits)],
        run_images=draw_run(visits),
        sections=sections,
        whole=sum(v.product is not None for v in visits),
    )  # fmt: skip
    return text.encode()


def _noise(visits: list[Visit]) -> list[tuple[str, float, float]]:
    """(instrument, median, worst) of the scatter over its limit."""
    found: dict[str, list[float]] = {}
    for visit in visits:
        value = visit.verdict.numbers.get("noise_over_limit", math.nan)
        if math.isfinite(value):
            found.setdefault(visit.entry.instrument, []).append(value)
    return [(name, statistics.median(values), max(values)) for name, values in sorted(found.items())]


def _number(value: float, spec: str = "") -> str:
    plain = spec or (".0f" if abs(value) >= 1000 else ".3g")
    return format(value, plain) if math.isfinite(value) else "unknown"


def _write(path: Location, page: bytes) -> None:
    try:
        replace_bytes(path, page)
    except OSError as exc:
        raise StoreError(f"cannot write '{path}' ({exc.strerror or exc}): free space, or give another --out") from exc
