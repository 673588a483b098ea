"""The last step of a run: one transit fit a planet, of the products of all its visits and instruments."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from distributed import Client, Future

from v50calib.config.runtime import RuntimeConfig
from v50calib.engine.planet import PlanetFit, fit_planet
from v50calib.errors import StoreError, V50CalibError
from v50calib.io.storage.commit import read_record
from v50calib.io.storage.location import Location, locate
from v50calib.io.storage.object_commit import whole
from v50calib.io.storage.stored_group import StoredGroup
from v50calib.qc.distrust import judge_planet
from v50calib.runs.calibrated import PRODUCTS
from v50calib.runs.planet_verdicts import missing_of, record_of
from v50calib.runs.product import committed_products, product_attrs
from v50calib.runs.spectra import STORE, is_current, open_spectra, planet_record, withdraw_planet, write_planet
from v50calib.runs.stop import STOP
from v50calib.runtime.execute import POLL_S, Watch
from v50calib.runtime.observations import DARKENING, observation
from v50calib.runtime.planet_record import as_attribute, own_spectrum, planet_qc
from v50calib.runtime.trust import left_out_notes, verdict_of, without_bad
from v50calib.schema import SPECTRUM
from v50calib.untrusted.boundary import foreign

REMEDY = "look at the quality numbers of its visits (v50calib qc); if they are in order, report it"
_LOG = logging.getLogger("v50calib")


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


def fit_one(out: str, planet_id: str, labels: Sequence[str], lock: str = "") -> Fitted:
    """Task: fit a planet and store it; what is there already of the same products is left. lock: token of the run, if it is of one."""
    try:
        with foreign(f"planet {planet_id}: the fit of {', '.join(labels)}", "cannot be made", REMEDY, passing=(OSError, MemoryError)):
            return _fit_one(locate(out), planet_id, labels, lock)
    except StoreError:
        raise
    except V50CalibError as exc:
        if exc.__cause__ is not None:
            # of a fault of this program's own, that is all there is to go by
            _LOG.debug("planet %s", planet_id, exc_info=exc)
        return Fitted(planet_id, "failed", f"{type(exc).__name__}: {exc}")


def _fit_one(out: Location, planet_id: str, labels: Sequence[str], lock: str) -> Fitted:
    paths = {label: out / PRODUCTS / label for label in labels}
    record = planet_record({label: read_record(path) for label, path in paths.items()})
    if is_current(out / STORE, planet_id, record):
        return Fitted(planet_id, "skipped")
    # what is there is of other products: nobody may read it if no new fit takes its place
    withdraw_planet(out / STORE, planet_id, lock)
    ds = fitted_dataset(out, planet_id, labels)
    if ds is None:
        return Fitted(planet_id, "no transit")
    # in the files of its products
    layout = whole(next(iter(paths.values())), lambda here: StoredGroup(here).layout)
    write_planet(out / STORE, planet_id, ds, record | {"left_out": dict(ds.attrs["left_out"])}, lock, layout)
    return Fitted(planet_id, "done")


def fitted_dataset(out: Location, planet_id: str, labels: Sequence[str]) -> xr.Dataset | None:
    """The fit of a planet's visits, in memory; None where no visit has a transit, or what the fit needs.

    Visits that are not to be trusted are left out where the planet keeps others (`trust.without_bad`): attribute left_out.
    """
    paths = [out / PRODUCTS / label for label in labels]
    seen = {(o.visit, o.instrument): (o, path) for o, path in ((observation(path), path) for path in paths) if o is not None}
    verdicts = {key: verdict_of(product_attrs(path), found=o.found) for key, (o, path) in seen.items()}
    kept, left = without_bad([o for o, _ in seen.values()], verdicts)
    fit = fit_planet(kept) if kept else None
    if fit is None:
        return None
    keys = [(o.visit, o.instrument) for o in kept]
    own = {key: s for key, s in ((key, own_spectrum(seen[key][1])) for key in keys) if s is not None}
    said = {f"{visit}/{name}": verdicts[visit, name] for visit, name in keys}
    qc = planet_qc(fit, kept, own, said)
    fit = replace(fit, notes=(*fit.notes, *left_out_notes(left)))
    return dataset_of(planet_id, fit, {"fitted": list(said), "left_out": left, "qc": as_attribute(qc)})


def dataset_of(planet_id: str, fit: PlanetFit, attrs: Mapping[str, Any]) -> xr.Dataset:
    """The fit of a planet as a Dataset: depths of all instruments along wavelength, mid-times along visit."""
    values = {
        "transit_depth": np.concatenate([d.depth for d in fit.depths]),
        "transit_depth_sigma": np.concatenate([d.sigma for d in fit.depths]),
        "transit_depth_chi2": np.concatenate([d.chi2 for d in fit.depths]),
        "transit_depth_shared": np.concatenate([d.shared for d in fit.depths]),
        "mid_transit_time": fit.joint.t0,
        "mid_transit_time_sigma": fit.joint.t0_sigma,
    }
    variables = {name: (SPECTRUM[name].dims, value, _about(name)) for name, value in values.items()}
    instrument = np.repeat(np.arange(len(fit.instruments), dtype=np.int32), [w.size for w in fit.wavelength])
    joint = fit.joint
    return xr.Dataset(
        variables,
        coords={
            "wavelength": ("wavelength", np.concatenate(fit.wavelength), {"units": "um"}),
            "instrument": ("wavelength", instrument, {"flag_meanings": " ".join(fit.instruments)}),
            "visit": ("visit", np.array(fit.visits, np.int32)),
        },
        attrs={
            "planet_id": planet_id,
            "instruments": list(fit.instruments),
            "a_over_r": joint.shape.a,
            "a_over_r_sigma": joint.a_sigma,
            "impact_parameter": joint.shape.b,
            "impact_parameter_sigma": joint.b_sigma,
            "period_h": joint.shape.period,
            "chi2": joint.chi2,
            "red_noise": max(d.red for d in fit.depths),
            "converged": joint.converged,
            DARKENING: {name: list(map(float, each)) for name, each in zip(fit.instruments, joint.darkening, strict=True)},
            "notes": list(fit.notes),
            **attrs,
        },
    )


def _about(name: str) -> dict[str, str]:
    spec = SPECTRUM[name]
    return {"long_name": spec.doc} | ({"units": spec.units} if spec.units else {})


def fit_planets(
    out: Location, runtime: RuntimeConfig, planets: Sequence[str] | None = None, client: Client | None = None, *, lock: str = ""
) -> list[Fitted]:  # fmt: skip
    """Fit the planets of a run (all, or those named) that are not up to date, on a cluster or in threads of this process.

    lock: token of the run that this is the last step of.
    Raises StoreError where a fit cannot be written, RunInterruptedError on a signal: finished planets are kept.
    """
    todo = {p: labels for p, labels in planets_of(out).items() if planets is None or p in set(planets)}
    return list(_on(client, runtime, out, todo, lock) if client is not None else _here(out, todo, runtime.threads_per_worker, lock))


def _here(out: Location, todo: dict[str, list[str]], threads: int, lock: str) -> Iterator[Fitted]:
    with ThreadPoolExecutor(max(1, threads)) as pool:
        waiting = [pool.submit(fit_one, str(out), planet, labels, lock) for planet, labels in todo.items()]
        for future in waiting:
            if STOP:
                for other in waiting:
                    other.cancel()
                raise STOP.error()
            yield future.result()


def _on(client: Client, runtime: RuntimeConfig, out: Location, todo: dict[str, list[str]], lock: str) -> Iterator[Fitted]:
    """Planets on a cluster, a limited number at a time. Raises ClusterError where scheduler or workers are lost."""
    watch, backlog = Watch(client, runtime), list(todo.items())
    running: dict[Any, tuple[Future[Fitted], str]] = {}
    finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
    try:
        while backlog or running:
            if STOP:
                raise STOP.error()
            while backlog and len(running) < watch.window:
                planet, labels = backlog.pop()
                future = client.submit(fit_one, str(out), planet, labels, lock, pure=False)
                running[future.key] = (future, planet)
                future.add_done_callback(lambda f: finished.put(f.key))
            watch.look()
            try:
                key = finished.get(timeout=POLL_S)
            except queue.Empty:
                continue
            future, planet = running.pop(key)
            result = watch.result(future)
            future.release()
            if isinstance(result, StoreError):
                raise result
            yield result if isinstance(result, Fitted) else Fitted(planet, "failed", f"{type(result).__name__}: {result}")
    finally:
        if running and client.status == "running":
            client.cancel([future for future, _ in running.values()], force=True)


def planet_fits(out: Location, log: Callable[[int, int], None] | None = None) -> dict[str, xr.Dataset]:
    """The fits of a finished run's planets, by planet_id; those that are missing or older than their visits are made first.

    Products that were made without what a fit needs have none. log: told (done, of all) after each planet.
    """
    beside: dict[str, xr.Dataset] = {}
    every = planets_of(out)
    for done, (planet_id, labels) in enumerate(every.items()):
        if log is not None:
            log(done, len(every))
        try:
            fit_one(str(out), planet_id, labels)
        except StoreError:
            # a run directory that may only be read: the fit is used, and not kept
            fit = fitted_dataset(out, planet_id, labels)
            if fit is not None:
                beside[planet_id] = fit
    return open_spectra(out) | beside


def distrusted(fits: Mapping[str, xr.Dataset]) -> list[str]:
    """A note for each planet whose fit gives reasons to distrust it, the worst first."""
    missing = missing_of({planet: ds.attrs for planet, ds in fits.items()})
    verdicts = {planet: judge_planet(record_of(ds.attrs), missing.get(planet, ())) for planet, ds in fits.items()}
    worst = sorted((v.score, planet) for planet, v in verdicts.items() if v.reasons)[::-1]
    return [f"planet {planet}: distrust its depths: {'; '.join(r.text for r in verdicts[planet].reasons)}" for _, planet in worst]


def notes_of(fitted: Sequence[Fitted]) -> list[str]:
    """What a run says of its planets' fits."""
    failed = [f for f in fitted if f.state == "failed"]
    without = [f.planet_id for f in fitted if f.state == "no transit"]
    notes = [f"planet {f.planet_id}: the fit of all its visits failed ({f.error}); the visits' own depths are there" for f in failed]
    if without:
        shown = ", ".join(without[:5]) + (", …" if len(without) > 5 else "")
        notes.append(f"{len(without)} planets without a transit in any visit have no fit in spectra.zarr: {shown}")
    return notes
