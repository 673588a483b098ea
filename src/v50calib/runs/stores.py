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
        for name, below in _groups(run_dir).items():
            if name != ESTIMATES:
                consolidate(run_dir / name, below)
    except OSError as exc:
        why = exc.strerror or exc
        told = (
            f"the metadata of the whole stores could not be written ({why}): every product is there, and zarr and xarray open them one at"
        )
        return [f"{told} a time; the next calibrate with the same --out tries again"]
    return []


def complete_estimates(run_dir: Location) -> None:
    """The same for estimates, which `spectra` writes without a run; where it cannot be written the root stays as it is."""
    with suppress(OSError):
        for name, below in _groups(run_dir).items():
            if name == ESTIMATES:
                consolidate(run_dir / name, below)


def untrue_stores(run_dir: Location) -> list[str]:
    """Stores of a run whose root says of products, fits or estimates what is not so (`hierarchy.root_is_true`)."""
    return [name for name, below in _groups(run_dir).items() if not root_is_true(run_dir / name, below)]


def _groups(run_dir: Location) -> dict[str, list[str]]:
    """{store: its committed groups} of the stores that a run directory has."""
    products, spectra, estimates = (run_dir / name for name in (PRODUCTS, SPECTRA, ESTIMATES))
    found = {}
    if products.is_dir():
        found[PRODUCTS] = [label for label, _ in committed_products(products)]
    if spectra.is_dir():
        found[SPECTRA] = [planet for planet, _ in fitted_planets(run_dir)]
    if estimates.is_dir():
        found[ESTIMATES] = [path.name for path in committed_in(estimates)]
    return found
