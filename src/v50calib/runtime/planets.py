"""The last step of a run: one transit fit a planet, of the products of all its visits and instruments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from distributed import Client, as_completed

from v50calib.engine.planet import Observation, fit_planet
from v50calib.errors import StoreError, V50CalibError
from v50calib.io.storage.commit import read_record
from v50calib.io.storage.location import Location, locate
from v50calib.runs.calibrated import PRODUCTS
from v50calib.runs.product import committed_products
from v50calib.runs.spectra import STORE, dataset_of, is_current, observation, planet_record, write_planet
from v50calib.runs.stop import STOP


@dataclass(frozen=True)
class Fitted:
    """A planet's fit: what there is to say of it; `error` where it failed."""

    planet_id: str
    state: str
    error: str = ""


def planets_of(out: Location) -> dict[str, list[str]]:
    """The committed products of each planet: planet_id -> labels planet/visit/instrument."""
    found: dict[str, list[str]] = {}
    for label, _ in committed_products(out / PRODUCTS):
        found.setdefault(label.split("/")[0], []).append(label)
    return found


def fit_one(out: str, planet_id: str, labels: Sequence[str]) -> Fitted:
    """Task: fit a planet and store it; what is there already of the same products is left."""
    try:
        return _fit_one(locate(out), planet_id, labels)
    except StoreError:
        raise
    except (V50CalibError, ValueError, ArithmeticError) as exc:
        return Fitted(planet_id, "failed", f"{type(exc).__name__}: {exc}")


def _fit_one(out: Location, planet_id: str, labels: Sequence[str]) -> Fitted:
    paths = {label: out / PRODUCTS / label for label in labels}
    record = planet_record({label: read_record(path) for label, path in paths.items()})
    if is_current(out / STORE, planet_id, record):
        return Fitted(planet_id, "skipped")
    observations = [o for o in map(observation, paths.values()) if o is not None]
    if not observations:
        return Fitted(planet_id, "absent")
    fit = fit_planet(observations)
    if fit is None:
        return Fitted(planet_id, "no transit")
    write_planet(out / STORE, planet_id, dataset_of(planet_id, fit, _provenance(observations)), record)
    return Fitted(planet_id, "done")


def _provenance(observations: Sequence[Observation]) -> dict[str, object]:
    return {"fitted": [f"{o.visit}/{o.instrument}" for o in observations]}


def fit_planets(out: Location, planets: Sequence[str] | None = None, client: Client | None = None, threads: int = 1) -> list[Fitted]:
    """Fit the planets of a run (all, or those named) that are not up to date, on a cluster or in threads of this process.

    Raises StoreError where a fit cannot be written, RunInterruptedError on a signal: finished planets are kept.
    """
    todo = {p: labels for p, labels in planets_of(out).items() if planets is None or p in set(planets)}
    return list(_on(client, out, todo) if client is not None else _here(out, todo, threads))


def _here(out: Location, todo: dict[str, list[str]], threads: int) -> Iterator[Fitted]:
    with ThreadPoolExecutor(max(1, threads)) as pool:
        waiting = [pool.submit(fit_one, str(out), planet, labels) for planet, labels in todo.items()]
        for future in waiting:
            if STOP:
                for other in waiting:
                    other.cancel()
                raise STOP.error()
            yield future.result()


def _on(client: Client, out: Location, todo: dict[str, list[str]]) -> Iterator[Fitted]:
    futures = [client.submit(fit_one, str(out), planet, labels, pure=False) for planet, labels in todo.items()]
    try:
        for future in as_completed(futures):
            if STOP:
                raise STOP.error()
            yield future.result()
    finally:
        for future in futures:
            future.release()


def notes_of(fitted: Sequence[Fitted]) -> list[str]:
    """What a run says of its planets' fits."""
    failed = [f for f in fitted if f.state == "failed"]
    without = [f.planet_id for f in fitted if f.state == "no transit"]
    notes = [f"planet {f.planet_id}: the fit of all its visits failed ({f.error}); the visits' own depths are there" for f in failed]
    if without:
        shown = ", ".join(without[:5]) + (", …" if len(without) > 5 else "")
        notes.append(f"{len(without)} planets without a transit in any visit have no fit in spectra.zarr: {shown}")
    return notes
