"""Finished runs that the headline's last rows look at: of the one visit, and of as many products as the challenge's training set has."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

#: products of the challenge's 1,100 planets, some with several visits, by two instruments
PRODUCTS = 2420


def run_of(store: Path) -> Path:
    """The nominal run of the headline's visit."""
    return store.with_name("run")


def large_run_of(store: Path) -> Path:
    """A run of PRODUCTS tiny products."""
    return store.with_name(f"run-{PRODUCTS}")


def make_run(store: Path) -> None:
    """Calibrate the visit, once for all repeats."""
    from v50calib import calibrate

    if not run_of(store).exists():
        summary = calibrate(store, run_of(store), "calib/nominal", ["runtime.scheduler=sync"])
        if summary.failed:
            raise RuntimeError(summary.failed[0].error)


def make_large_run(store: Path) -> None:
    """Two tiny products, written again under as many planets' names as it takes."""
    from v50calib import calibrate
    from v50calib.io import scan
    from v50calib.io.keys import VisitKey
    from v50calib.io.storage.location import locate
    from v50calib.runs.calibrated import PRODUCTS as FOLDER
    from v50calib.runs.product import open_product, product_path, write_product
    from v50calib.simulate import simulate_dataset

    out = large_run_of(store)
    if out.exists():
        return
    part = out.with_name(f".{out.name}")
    shutil.rmtree(part, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        data = simulate_dataset(Path(scratch) / "data", planets=1, frames_fraction=0.002, seed=1)
        summary = calibrate(data, part, "calib/fast", ["runtime.scheduler=sync"])
        if summary.failed:
            raise RuntimeError(summary.failed[0].error)
        keys = list(scan(data))
    root = locate(part) / FOLDER
    for key in keys:
        ds = open_product(product_path(root, key)).load()
        for number in range(1, PRODUCTS // len(keys)):
            name = str(int(key.planet_id) + number)
            named = VisitKey(name, key.visit, key.instrument, key.split)
            hashes = {"config_hash": ds.attrs["config_hash"], "reference_hashes": {}, "inputs": {}}
            write_product(root, named, ds.assign_attrs(planet_id=name), **hashes)  # type: ignore[arg-type]
    part.rename(out)


def report(store: Path, out: Path) -> None:
    """The page of the visit's run, figures included."""
    from v50calib.report import write_report

    out.mkdir(parents=True)
    write_report(run_of(store), out / "report.html")


def open_large_run(store: Path) -> None:
    """Every product of the large run, as a user gets them."""
    from v50calib import open_calibrated

    found = sum(1 for leaf in open_calibrated(large_run_of(store)).leaves)
    if found != PRODUCTS:
        raise RuntimeError(f"{found} products were opened, {PRODUCTS} are there")
