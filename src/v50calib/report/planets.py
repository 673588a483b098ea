"""Every planet of a run with what its fit says of itself, the least trusted first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from v50calib.io.storage.location import Location
from v50calib.qc.distrust import Verdict
from v50calib.qc.summary import said_depth
from v50calib.report.visits import Visit
from v50calib.runs.planet_verdicts import planet_verdicts


@dataclass(frozen=True)
class PlanetRow:
    """A planet's line in the page's table: white depths of its instruments as text, and the verdict on its fit."""

    planet_id: str
    depths: str
    visits: int
    verdict: Verdict


def planet_rows(run_dir: Location, visits: Sequence[Visit]) -> list[PlanetRow]:
    """The planets of these visits that have a product; none where the run fits no planets."""
    made = [v for v in visits if v.product is not None]
    found: dict[str, bool] = {}
    for visit in made:
        found[visit.entry.planet_id] = found.get(visit.entry.planet_id, False) or bool(visit.transit_found)
    counts = {planet: len({v.entry.visit for v in made if v.entry.planet_id == planet}) for planet in found}
    rows = [
        PlanetRow(planet, _depths(record.get("white_depth_ppm", {})), counts[planet], verdict)
        for planet, (record, verdict) in planet_verdicts(run_dir, found).items()
    ]
    return sorted(rows, key=lambda row: (-row.verdict.score, row.planet_id))


def _depths(white: dict[str, list[float]]) -> str:
    """Depths with their errors, ppm, by instrument.

    >>> _depths({"FGS1": [10012.3, 85.2]})
    'FGS1 10012 ± 85'
    """
    known = {name: value for name, value in white.items() if all(math.isfinite(v) for v in value)}
    return ", ".join(f"{name} {said_depth(depth, sigma)}" for name, (depth, sigma) in known.items())
