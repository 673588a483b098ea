"""What a run's planet fits say of themselves: their records in spectra.zarr, judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from v50calib.io.storage.location import Location
from v50calib.qc.distrust import Verdict, judge_planet, missing_instruments, no_fit
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


def reasons_of(attrs: Mapping[str, Any] | None, *, transit_found: bool = True, missing: Iterable[str] = ()) -> str:
    """The reasons to distrust a planet's fit, from the attributes of its product, in one line; None: it has no fit.

    missing: of `missing_of`.

    >>> reasons_of({"qc": '{"contacts_seen": 0.3}'}), reasons_of(None, transit_found=False)
    ('contacts_seen 0.3 < 0.9', 'no fit of the planet: no transit found in any visit')
    """
    verdict = no_fit(transit_found=transit_found) if attrs is None else judge_planet(record_of(attrs), missing)
    return "; ".join(reason.text for reason in verdict.reasons)


def missing_of(attrs: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """The instruments that a planet's fit lacks and another planet's has, from the attributes of all fits of a run.

    >>> missing_of({"7": {"instruments": ["FGS1", "AIRS-CH0"]}, "8": {"instruments": ["FGS1"]}})
    {'8': ['AIRS-CH0']}
    """
    return missing_instruments({planet: list(own.get("instruments", ())) for planet, own in attrs.items()})


def planet_verdicts(run_dir: Location, found: Mapping[str, bool]) -> dict[str, tuple[dict[str, Any], Verdict]]:
    """Record and verdict of each planet in `found`, which says whether some visit has a transit; empty where the run fits no planets.

    Raises StoreError where a fit cannot be read.
    """
    if not (run_dir / STORE).is_dir():
        return {}
    attrs = {planet: product_attrs(path) for planet, path in fitted_planets(run_dir)}
    missing, out = missing_of(attrs), {}
    for planet, transit in found.items():
        if planet in attrs:
            record = record_of(attrs[planet])
            out[planet] = record, judge_planet(record, missing.get(planet, ()))
        else:
            out[planet] = {}, no_fit(transit_found=transit)
    return out


def planet_qc_rows(run_dir: Location) -> Iterator[dict[str, Any]]:
    """A row of qc.csv for each planet's fit, of no visit and no instrument: its numbers, its score and the reasons to distrust it.

    `notes` is the number of the reasons, as it is the number of notes in a visit's row.
    """
    attrs = {planet: product_attrs(path) for planet, path in fitted_planets(run_dir)}
    missing = missing_of(attrs)
    for planet, own in attrs.items():
        record = record_of(own)
        verdict = judge_planet(record, missing.get(planet, ()))
        numbers = {name: value for name, value in record.items() if isinstance(value, float)}
        row = {"planet_id": planet, "visit": None, "instrument": None, "stage": STAGE, "notes": len(verdict.reasons), **numbers}
        yield row | {"score": verdict.score, "reasons": "; ".join(reason.text for reason in verdict.reasons)}
