"""`qc.csv` of a run directory: one row per visit, instrument and stage, from the manifest, and one per planet's fit."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from typing import Any

from v50calib.config.models import CalibConfig, RunConfig
from v50calib.errors import StoreError
from v50calib.io.storage.commit import is_committed
from v50calib.io.storage.location import Location, replace_text
from v50calib.io.storage.ours import refuse_to_overwrite, starts_with
from v50calib.runs import manifest
from v50calib.runs.calibrated import PRODUCTS
from v50calib.runs.planet_verdicts import STAGE as PLANET
from v50calib.runs.planet_verdicts import planet_qc_rows

NAME = "qc.csv"
KEYS = ("planet_id", "visit", "instrument", "stage")
#: the stages in the order in which they run
CHAIN = tuple(CalibConfig.model_fields)


def exported(config: RunConfig) -> list[str]:
    """Stages whose rows go to the table, and the planets' fits with those of phase."""
    if not config.output.diagnostics:
        return []
    every = [dict(one.calib.stages()) for one in (config, *map(config.of, config.by_instrument))]
    told = {name for stages in every for name, stage in stages.items() if stage.diagnostics.enabled and stage.diagnostics.export_stats_csv}
    names = [name for name in every[0] if name in told]
    return [*names, PLANET] if "phase" in names and config.fits_planets else names


def qc_rows(run_dir: Location, stages: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows in order of planet, visit, instrument and stage, then one of the stage `planet` for each planet's fit.

    stages: only the rows of these (default: all that were recorded). A visit whose product is there has its rows, also where a later
    attempt failed or was interrupted.
    """
    for entry, is_last in manifest.finished(run_dir):
        if is_last or is_committed(run_dir / PRODUCTS / entry.label):
            for stage, numbers in sorted(entry.qc.get("stages", {}).items(), key=_place):
                if stages is None or stage in stages:
                    yield {"planet_id": entry.planet_id, "visit": entry.visit, "instrument": entry.instrument, "stage": stage, **numbers}
    if stages is None or PLANET in stages:
        yield from planet_qc_rows(run_dir)


def _place(row: tuple[str, Any]) -> int:
    """Where a stage stands in the chain: the manifest's keys are in alphabetical order."""
    return CHAIN.index(row[0]) if row[0] in CHAIN else len(CHAIN)


def check_place(run_dir: Location, path: Location, stages: Collection[str] = (), *, overwrite: bool = False) -> None:
    """Refuse to write the table over anything but a table of this kind, or a part of it over the run's own. Raises StoreError."""
    refuse_to_overwrite(path, starts_with(",".join((*KEYS, "notes"))), "a table of quality numbers", overwrite=overwrite, within=run_dir)
    if stages and path == run_dir / NAME and path.is_file() and not overwrite:
        raise StoreError(
            f"'{path}' is the run's own table of all stages, and only {', '.join(stages)} would be left in it: give another name, or "
            "--overwrite to replace it"
        )


def write_table(run_dir: Location, path: Location, stages: Collection[str] | None = None) -> int:
    """Write the table as CSV, replaced as a whole, and return its number of rows. Nothing is written if there are none.

    Columns: the keys, `notes`, then every number that some stage has, in alphabetical order. Raises OSError.
    """
    rows = list(qc_rows(run_dir, stages))
    if not rows:
        return 0
    others = sorted({name for row in rows for name in row} - {*KEYS, "notes"})
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*KEYS, "notes", *others], restval="")
    writer.writeheader()
    writer.writerows(rows)
    replace_text(path, text.getvalue())
    return len(rows)
