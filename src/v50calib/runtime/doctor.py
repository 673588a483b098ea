"""What this machine has and lacks for a run: versions, packages, cores, memory, disk, caches, data; each fault with its remedy."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal

from dask.utils import format_bytes
from packaging.requirements import Requirement

from v50calib.config.compose import list_profiles
from v50calib.errors import DataError, V50CalibError
from v50calib.io.catalog import open_root
from v50calib.io.folders import passed_over_note
from v50calib.io.storage.location import Location, check_answers, locate
from v50calib.io.storage.machine import cores, memory_limit
from v50calib.io.storage.objects import ObjectPath
from v50calib.methods.kinds import KINDS
from v50calib.methods.registry import broken, find, names
from v50calib.runs.directory import check_writable
from v50calib.runtime.environment import KernelCache, kernel_cache
from v50calib.runtime.inputs import input_notes
from v50calib.runtime.queues import SUBMIT
from v50calib.safety.compiled import damaged_files, fault, is_empty

#: note: a run works without it; problem: a run would fail
State = Literal["ok", "note", "problem"]
#: extras that are not reported: they serve the development, or are made of the others
EXTRAS = ("test", "dev", "docs", "dvc", "all")
#: projected peak of the larger instrument read from parquet, nominal (docs/how-to/cluster.md), and a product with its staging copy
MEMORY_NEEDED, DISK_NEEDED = 910 * 2**20, 2 * 2**30

#: remedy for an object store that refuses or does not answer
CREDENTIALS = "put credentials, region and endpoint into the environment, see docs/how-to/object-stores.md"


@dataclass(frozen=True)
class Check:
    """One check: what was found, and what to do if it is not ok."""

    name: str
    state: State
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Report:
    """All checks of one call."""

    checks: list[Check]

    @property
    def ok(self) -> bool:
        return not any(check.state == "problem" for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"ok": self.ok, "checks": [asdict(check) for check in self.checks]}


def examine(data: Location | None = None, out: Location | None = None, cache: KernelCache | None = None) -> Report:
    """Check everything that a run needs; nothing that is written for it stays.

    data: the dataset; None: $DATA_DIR or `data`, which is only a note if it is missing. out: the run directory (default: here). cache:
    what `kernel_cache` said, asked before this module is imported, which needs the kernels.
    """
    return Report(
        [
            *_program(),
            *_packages(),
            *_methods(),
            *_machine(out if out is not None else Path()),
            _numba_cache(cache or kernel_cache()),
            *_dataset(data),
        ]
    )


def _program() -> Iterator[Check]:
    yield Check("python", "ok", f"{platform.python_version()} at {sys.executable}")
    yield Check("v50calib", "ok", f"{version('v50calib')} at {Path(__file__).resolve().parents[1]}")
    try:
        names = [name for name in list_profiles() if name.startswith("calib/")]
        yield Check("profiles", "ok", ", ".join(names))
    except V50CalibError as exc:
        yield Check("profiles", "problem", str(exc), "pip install --force-reinstall v50calib")


def _packages() -> Iterator[Check]:
    """Required packages one by one, optional ones by extra, as the installed metadata name them."""
    optional: dict[str, list[Requirement]] = {}
    for text in requires("v50calib") or ():
        requirement = Requirement(text)
        extra = next((e for e in _extras(requirement) if e not in EXTRAS), None)
        if _applies(requirement, ""):
            yield _required(requirement)
        elif extra is not None and _applies(requirement, extra):
            optional.setdefault(extra, []).append(requirement)
    for extra, requirements in sorted(optional.items()):
        lacking = [f"{r.name} ({_wrong(r)})" for r in requirements if _wrong(r)]
        found = ", ".join(f"{r.name} {version(r.name)}" for r in requirements if not _wrong(r))
        if lacking:
            yield Check(f"extra {extra}", "note", ", ".join(lacking), f"pip install 'v50calib[{extra}]'")
        else:
            yield Check(f"extra {extra}", "ok", found)


def _methods() -> Iterator[Check]:
    """The methods of installed plug-ins, and the plug-ins that cannot be imported; nothing where there is no plug-in."""
    found = [method for kind in KINDS for name in names(kind) if (method := find(kind, name)) is not None and method.installed]
    if found:
        yield Check("methods", "ok", ", ".join(f"{KINDS[m.kind].key}={m.name} ({m.origin})" for m in found))
    for text in broken():
        yield Check("methods", "note", text, "install what it needs, or uninstall it; a run without its methods works")


def _extras(requirement: Requirement) -> list[str]:
    """Names of extras in a requirement's marker.

    >>> _extras(Requirement('astroscrappy; extra == "cosmic"'))
    ['cosmic']
    """
    return re.findall(r'extra == "([^"]+)"', str(requirement.marker or ""))


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _wrong(requirement: Requirement) -> str:
    """Why a requirement is not met; empty if it is met."""
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return "not installed"
    return "" if requirement.specifier.contains(found, prereleases=True) else f"is {found}, needs {requirement.specifier}"


def _required(requirement: Requirement) -> Check:
    if wrong := _wrong(requirement):
        return Check(requirement.name, "problem", wrong, f"pip install '{requirement.name}{requirement.specifier}'")
    return Check(requirement.name, "ok", version(requirement.name))


def _machine(out: Location) -> Iterator[Check]:
    """Cores, memory, and where products and temporary files go."""
    yield Check("cores", "ok", f"{cores()} (one worker process per core, unless runtime.num_workers is set)")
    limit = memory_limit()
    share = limit // cores()
    enough = share >= MEMORY_NEEDED
    yield Check(
        "memory", "ok" if enough else "note", f"{format_bytes(limit)}, {format_bytes(share)} for each of {cores()} workers",
        "" if enough else f"runtime.num_workers={max(1, limit // MEMORY_NEEDED)}, or v50calib ingest first",
    )  # fmt: skip
    yield _queues()
    if isinstance(out, ObjectPath):
        yield _bucket(out)
    else:
        folder = next(folder for folder in (out.resolve(), *out.resolve().parents) if folder.is_dir())
        yield _disk("disk for products", folder, "give --out on another disk")
    yield _disk("disk for temporary files", Path(tempfile.gettempdir()), "set TMPDIR to a folder on another disk")


def _queues() -> Check:
    """Which queues this machine can hand jobs to."""
    found = [f"{name} ({command})" for name, command in SUBMIT.items() if shutil.which(command) is not None]
    if found:
        return Check("queues", "ok", ", ".join(found))
    lacking = f"none of {', '.join(dict.fromkeys(SUBMIT.values()))} on the PATH: runs stay on this machine"
    return Check("queues", "note", lacking, "for runtime.scheduler=slurm, pbs, lsf or sge start the run on a login node of the cluster")


def _bucket(out: ObjectPath) -> Check:
    """Whether objects can be put below a key."""
    try:
        check_answers(out)
        check_writable(out)
    except V50CalibError as exc:
        return Check("store for products", "problem", str(exc), CREDENTIALS)
    return Check("store for products", "ok", f"{out} is writable")


def _disk(name: str, folder: Path, remedy: str) -> Check:
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK | os.X_OK):
        return Check(name, "problem", f"{folder} is not writable", remedy)
    return Check(
        name, "ok" if free >= DISK_NEEDED else "note", f"{format_bytes(free)} free at {folder}", "" if free >= DISK_NEEDED else remedy
    )


def _numba_cache(cache: KernelCache) -> Check:
    """The folder of compiled kernels; without it they cannot be loaded at all."""
    remedy = "export NUMBA_CACHE_DIR=FOLDER, e.g. $HOME/.cache/v50calib-numba"
    given = os.environ.get("NUMBA_CACHE_DIR", "")
    if problem := cache.problem or (fault(Path(given)) if given else ""):
        return Check("numba cache", "problem", problem, remedy)
    if damaged := damaged_files(Path(cache.folder).parent):
        found = f"{len(damaged)} of the compiled kernels are cut ({damaged[0]}): they are compiled again when they are needed"
        return Check("numba cache", "note", found, f"free space, or remove {Path(cache.folder).parent}")
    if is_empty(Path(cache.folder).parent):
        found = f"{Path(cache.folder).parent} is empty: the first visit compiles the kernels, once, which takes one to several minutes"
        return Check("numba cache", "note", found, "nothing to do: they are kept there for later runs")
    return Check("numba cache", "ok", f"{cache.folder} is writable, and by nobody else")


def _dataset(data: Location | None) -> Iterator[Check]:
    """What kind of root the dataset is, what it holds, and which tables it lacks."""
    given = data if data is not None else os.environ.get("DATA_DIR", "data")
    try:
        location = locate(given)
        check_answers(location)
        root = open_root(location)
        keys = root.visits()
    except (V50CalibError, OSError) as exc:
        remedy = "--data FOLDER, or export DATA_DIR=FOLDER, or: v50calib simulate data --planets 2 --frames-fraction 0.05"
        unanswered = "://" in str(given) and not isinstance(exc, DataError)
        yield Check("dataset", "note" if data is None else "problem", str(exc), CREDENTIALS if unanswered else remedy)
        return
    planets = {key.planet_id for key in keys}
    visits = {(key.planet_id, key.visit) for key in keys}
    if not keys:
        yield Check("dataset", "problem", f"{location} holds no visit", "download the data again, or give another --data")
        return
    numbers = f"planets: {len(planets)}, visits: {len(visits)}, instruments: {', '.join(_instruments(keys))}"
    note = "; ".join(passed_over_note(location))
    yield Check("dataset", "note" if note else "ok", f"{location}: {root.kind}, {numbers}", note)
    for note in input_notes(root, keys):
        yield Check("dataset tables", "note", note, "runs work without it; every product says so in its notes")


def _instruments(keys: list[Any]) -> list[str]:
    return sorted({key.instrument for key in keys})
