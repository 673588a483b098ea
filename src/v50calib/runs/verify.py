"""Checks again what a run has committed: every byte against the commit record, every array against the schema."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from v50calib.errors import StoreError
from v50calib.io.storage.commit import check_complete, clean_folder, is_committed, read_record, set_aside, tree_hash
from v50calib.io.storage.hierarchy import plain_root
from v50calib.io.storage.location import Location
from v50calib.io.storage.machine import cores
from v50calib.io.storage.object_commit import whole
from v50calib.io.storage.objects import ObjectPath
from v50calib.io.storage.stored_group import StoredGroup
from v50calib.runs import books, manifest
from v50calib.runs.calibrated import PRODUCTS
from v50calib.runs.directory import product_hash, read_mark
from v50calib.runs.estimates import STORE as ESTIMATES
from v50calib.runs.lock import run_lock
from v50calib.runs.product import name_inside
from v50calib.runs.spectra import STORE as SPECTRA
from v50calib.runs.spectra import committed_in
from v50calib.runs.stores import complete_estimates, complete_stores, untrue_stores
from v50calib.schema import CALIBRATED


@dataclass
class Verification:
    """What was found.

    whole    number of products that are as they were committed
    fits     number of planets' fits (spectra.zarr/PLANET) and estimates (estimates.zarr/METHOD) that are as they were committed
    broken   {product: reasons}, committed products, fits and estimates that differ from what was committed
    missing  products that are done by the manifest and are not there
    partial  folders of products without a commit record
    books    what is no manifest, run.json or quarantine.json of a run, or is in part: which products are missing is not known then
    stale    whole products of another config than config.yaml's: a run with --update was not finished, or another run wrote them
    roots    stores whose root document names products, fits or estimates that are not there or are others, or cannot be read
    mended   stores of which that was so, and whose root was written anew
    aside    {product: new name}, broken products that were hidden from readers
    cleaned  number of leftovers of dead processes that were removed or restored
    left     why leftovers were not looked at: a run holds the directory, or it cannot be written; empty where they were
    """

    run_dir: str
    whole: int = 0
    fits: int = 0
    broken: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    books: list[str] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    aside: dict[str, str] = field(default_factory=dict)
    cleaned: int = 0
    left: str = ""

    @property
    def ok(self) -> bool:
        """Whether every product is whole, and of the directory's config, and the run's books and roots say which there are."""
        return not (self.broken or self.missing or self.partial or self.stale or self.books or self.roots)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"ok": self.ok}


def verify(run_dir: Location, *, quarantine: bool = False) -> Verification:
    """Check every product of a run; leftovers of dead processes are cleaned while the run's lock is free, and only then.

    quarantine: rename broken and partial products to hidden names, so that the next calibrate makes them again.
    Raises StoreError: no run directory; `quarantine` while a run holds it.
    """
    mark = read_mark(run_dir)
    if quarantine:
        # before an hour of reading
        with run_lock(run_dir):
            pass
    root, found = run_dir / PRODUCTS, Verification(str(run_dir))
    paths: list[Location] = []
    if isinstance(root, ObjectPath):
        _clean(run_dir, [root], found)
        below = {p.relative_to(root).parts[:3] for p in root.objects() if len(p.relative_to(root).parts) > 3}
        paths += [root / "/".join(parts) for parts in sorted(below) if not parts[2].startswith(".")]
    else:
        _clean(run_dir, _visits(root), found)
        paths += [path for folder in _visits(root) for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    with ThreadPoolExecutor(min(4, cores())) as pool:
        results = list(pool.map(check_product, paths))
    for path, (known, reasons) in zip(paths, results, strict=True):
        label = "/".join(path.parts[-3:])
        if not is_committed(path):
            found.partial.append(label)
        elif reasons:
            found.broken[label] = reasons
        else:
            found.whole += 1
            if known.get("config_hash") != product_hash(mark, path.name):
                found.stale.append(label)
    there = {"/".join(path.parts[-3:]) for path in paths}
    found.missing = [e.label for e in manifest.read(run_dir) if e.state == "done" and e.label not in there]
    found.books = books.damaged(run_dir)
    made = {f"{path.parent.name}/{path.name}": path for store in (SPECTRA, ESTIMATES) for path in committed_in(run_dir / store)}
    faults = {label: check_made(path) for label, path in made.items()}
    found.broken |= {label: reasons for label, reasons in faults.items() if reasons}
    found.fits = len(made) - sum(map(bool, faults.values()))
    # twice, because a run may have ended between the look at its products and that at its root
    found.roots = untrue_stores(run_dir) and untrue_stores(run_dir)
    if quarantine:
        with run_lock(run_dir):
            for store in (root, run_dir / SPECTRA, run_dir / ESTIMATES):
                plain_root(store)
            for label in [*found.broken, *found.partial]:
                path = made.get(label, root / label)
                # a run may have replaced it since it was read
                if check_made(path) if label in made else check_product(path)[1]:
                    found.aside[label] = set_aside(path, "broken").name
            # others' readers find what was deleted by hand, or set aside, until a root says what there is; where it cannot, it is plain
            complete_stores(run_dir)
            complete_estimates(run_dir)
            untrue, found.roots = found.roots, untrue_stores(run_dir)
            found.mended = [name for name in untrue if name not in found.roots]
    return found


def _clean(run_dir: Location, folders: Sequence[Location], found: Verification) -> None:
    """Clean what killed writers have left in `folders`, of fits and of estimates, if no run is at work."""
    try:
        with run_lock(run_dir):
            found.cleaned = sum(clean_folder(folder) for folder in [*folders, run_dir / SPECTRA, run_dir / ESTIMATES])
    except StoreError as exc:
        found.left = str(exc)


def check_made(path: Location) -> list[str]:
    """Faults of a committed group that is made of products: a planet's fit, or estimates."""
    return whole(path, lambda here: _check_made(path, here))


def _check_made(path: Location, here: Location) -> list[str]:
    try:
        record = read_record(path)
        check_complete(here)
        if tree_hash(here) != record.get("tree_sha256"):
            return ["its bytes are not those that were committed (tree_sha256 differs)"]
        inside = name_inside(path, StoredGroup(here, "group", path).attrs)
    except (OSError, ValueError, KeyError, TypeError, StoreError) as exc:
        return [f"cannot be read: {exc}"]
    return [f"its attributes name {inside}"] if inside else []


def check_product(path: Location) -> tuple[dict[str, Any], list[str]]:
    """(commit record, faults of the product); a folder without a record has one fault."""
    return whole(path, lambda here: _check_product(path, here))


def _check_product(path: Location, here: Location) -> tuple[dict[str, Any], list[str]]:
    try:
        record = read_record(path)
    except StoreError as exc:
        return {}, [str(exc)]
    try:
        check_complete(here)
        reasons = list(_faults(path, here, record))
        if tree_hash(here) != record.get("tree_sha256"):
            reasons.append("its bytes are not those that were committed (tree_sha256 differs)")
    except (OSError, ValueError, KeyError, TypeError, StoreError) as exc:
        reasons = [f"cannot be read: {exc}"]
    return record, reasons


def _faults(path: Location, here: Location, record: dict[str, Any]) -> Iterator[str]:
    group = StoredGroup(here, final=path)
    attrs = group.attrs
    if attrs.get("config_hash") != record.get("config_hash"):
        yield "its config hash is not the commit record's"
    named = (str(attrs.get("planet_id")), str(attrs.get("visit")), str(attrs.get("instrument")))
    if named != path.parts[-3:]:
        yield f"its attributes name {'/'.join(named)}"
    sizes: dict[str, int] = {}
    for name, node in sorted(group.arrays.items()):
        dims, shape = node["dimension_names"], node["shape"]
        spec = CALIBRATED.get(name)
        if spec is not None and tuple(dims) != spec.dims:
            yield f"{name} has the dimensions {dims}, expected {list(spec.dims)}"
        for dim, size in zip(dims, shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                yield f"{name} has {size} along {dim}, others {sizes[dim]}"


def _visits(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*/*") if path.is_dir() and not any(part.startswith(".") for part in path.parts[-2:]))
