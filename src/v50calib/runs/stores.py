"""The stores of a finished run, as other readers of Zarr find them."""

from __future__ import annotations

from contextlib import suppress

from v50calib.io.storage.hierarchy import consolidate, root_is_true
from v50calib.io.storage.location import Location
from v50calib.runs.calibrated import PRODUCTS
from v50calib.runs.estimates import STORE as ESTIMATES
from v50calib.runs.product import committed_products
from v50calib.runs.spectra import STORE as SPECTRA
from v50calib.runs.spectra import committed_in, fitted_planets


def complete_stores(run_dir: Location) -> list[str]:
    """Write into the roots of a run's stores what others open them by; a note where that cannot be written. The run's lock must be held.

    A store in which a killed run left no metadata gets it here, too.
    """
    try:
        for name in (PRODUCTS, SPECTRA):
            if (run_dir / name).is_dir():
                consolidate(run_dir / name, _below(run_dir, name))
    except OSError as exc:
        why = exc.strerror or exc
        told = (
            f"the metadata of the whole stores could not be written ({why}): every product is there, and zarr and xarray open them one at"
        )
        return [f"{told} a time; the next calibrate with the same --out tries again"]
    return []


def complete_estimates(run_dir: Location) -> None:
    """The same for estimates, which `spectra` writes without a run; where it cannot be written the root stays as it is."""
    if (run_dir / ESTIMATES).is_dir():
        with suppress(OSError):
            consolidate(run_dir / ESTIMATES, _below(run_dir, ESTIMATES))


def untrue_stores(run_dir: Location) -> list[str]:
    """Stores of a run whose root says of products, fits or estimates what is not so (`hierarchy.root_is_true`)."""
    there = [name for name in (PRODUCTS, SPECTRA, ESTIMATES) if (run_dir / name).is_dir()]
    return [name for name in there if not root_is_true(run_dir / name, _below(run_dir, name))]


def _below(run_dir: Location, store: str) -> list[str]:
    """The committed groups of one of a run's stores."""
    if store == PRODUCTS:
        return [label for label, _ in committed_products(run_dir / PRODUCTS)]
    if store == SPECTRA:
        return [planet for planet, _ in fitted_planets(run_dir)]
    return [path.name for path in committed_in(run_dir / ESTIMATES)]
