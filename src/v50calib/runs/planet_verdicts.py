"""What a run's planet fits say of themselves: their records in spectra.zarr, judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from v50calib.io.storage.location import Location
from v50calib.qc.distrust import Verdict, judge_planet, no_fit
from v50calib.runs.product import product_attrs
from v50calib.runs.spectra import STORE, fitted_planets
from v50calib.untrusted.json_text import load_json

#: the stage of a planet's rows in qc.csv
STAGE = "planet"


def record_of(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a planet's fit, from the attributes of its product; empty where it was made without.

    >>> record_of({"qc": '{"red_noise": 1.0}'}), record_of({})
    ({'red_noise': 1.0}, {})
    """
    return dict(load_json(attrs.get("qc", "{}")))


def reasons_of(attrs: Mapping[str, Any] | None, *, transit_found: bool = True) -> str:
    """The reasons to distrust a planet's fit, from the attributes of its product, in one line; None: it has no fit.

    >>> reasons_of({"qc": '{"contacts_seen": 0.3}'}), reasons_of(None, transit_found=False)
    ('contacts_seen 0.3 < 0.9', 'no fit of the planet: no transit found in any visit')
    """
    verdict = no_fit(transit_found=transit_found) if attrs is None else judge_planet(record_of(attrs))
    return "; ".join(reason.text for reason in verdict.reasons)


def planet_verdicts(run_dir: Location, found: Mapping[str, bool]) -> dict[str, tuple[dict[str, Any], Verdict]]:
    """Record and verdict of each planet in `found`, which says whether some visit has a transit; empty where the run fits no planets.

    Raises StoreError where a fit cannot be read.
    """
    if not (run_dir / STORE).is_dir():
        return {}
    records = {planet: record_of(product_attrs(path)) for planet, path in fitted_planets(run_dir)}
    out = {}
    for planet, transit in found.items():
        record = records.get(planet)
        out[planet] = ({}, no_fit(transit_found=transit)) if record is None else (record, judge_planet(record))
    return out


def planet_qc_rows(run_dir: Location) -> Iterator[dict[str, Any]]:
    """A row of qc.csv for each planet's fit, of no visit and no instrument: its numbers, its score and the reasons to distrust it.

    `notes` is the number of the reasons, as it is the number of notes in a visit's row.
    """
    for planet, path in fitted_planets(run_dir):
        record = record_of(product_attrs(path))
        verdict = judge_planet(record)
        numbers = {name: value for name, value in record.items() if isinstance(value, float)}
        row = {"planet_id": planet, "visit": None, "instrument": None, "stage": STAGE, "notes": len(verdict.reasons), **numbers}
        yield row | {"score": verdict.score, "reasons": "; ".join(reason.text for reason in verdict.reasons)}
