"""Which files hold NDRs of ExoSim, and what their visits are called."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from v50calib.array_files import refuse_special
from v50calib.errors import DataError
from v50calib.io.exosim.settings import settings_beside
from v50calib.io.exosim.sidecar import FILE, Named, Sidecar, read_sidecar
from v50calib.io.folders import subfolders
from v50calib.io.keys import PLANET_ID, VisitKey, normalise_planet_id
from v50calib.schema import INSTRUMENT, INSTRUMENTS
from v50calib.untrusted.boundary import foreign
from v50calib.untrusted.hdf5 import open_hdf5

SUFFIXES = (".h5", ".hdf5")
#: folders below the root in which files are looked for: OUT/visits/PLANET_VISIT/ndr.h5
DEPTH = 2
#: a name that says planet and visit
_NAMED = re.compile(r"(?P<planet>[0-9A-Za-z-]+)_(?P<visit>\d{1,6})")
#: what is no part of a name
_NO_NAME = re.compile(r"[^0-9A-Za-z-]+")
_OUR_WORDS = re.compile(r"^ndrs?_|_ndrs?$", re.IGNORECASE)


@dataclass(frozen=True)
class NdrFile:
    """One simulation's file: its channels with their shapes (ny, nx), and the path that it was written to."""

    path: Path
    channels: tuple[tuple[str, tuple[int, int] | None], ...]
    written_to: str


def is_hdf5(path: Path) -> bool:
    """Whether a file is called as HDF5 is."""
    return path.suffix.lower() in SUFFIXES


def ndr_files(location: Path) -> list[NdrFile]:
    """The files of NDRs at a location, a file or a folder, sorted; one that cannot be read counts, and fails when it is opened."""
    paths = [location] if location.is_file() else sorted(_hdf5_files(location, DEPTH))
    return [file for file in map(_looked_at, paths) if file is not None]


def _hdf5_files(folder: Path, depth: int) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        yield from (Path(entry.path) for entry in entries if is_hdf5(Path(entry.name)) and not entry.name.startswith("."))
    if depth:
        for below in subfolders(folder):
            yield from _hdf5_files(below, depth - 1)


def _looked_at(path: Path) -> NdrFile | None:
    refuse_special(path)
    with foreign(path):
        status = path.stat()
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _read(path: Path, _mtime: int, _size: int) -> NdrFile | None:
    """None where the file is another of ExoSim's products, or none of it."""
    unread = NdrFile(path, tuple((name, INSTRUMENT[name].shape) for name in INSTRUMENTS), "")
    try:
        with foreign(path), open_hdf5(path) as file:
            groups = file.get("channels", {})
            shapes = {name: _frame_shape(group) for name, group in groups.items() if _has_ndrs(group)}
            if not shapes:
                return None
            written = file["info/exosim/file_name"][()] if "info/exosim/file_name" in file else b""
            return NdrFile(path, tuple(sorted(shapes.items())), written.decode() if isinstance(written, bytes) else "")
    except DataError as error:
        if "h5py" in str(error) and "pip install" in str(error):
            raise
        return unread


def _has_ndrs(group: Any) -> bool:
    """Also where the simulation was stopped before they were written."""
    return "NDRs" in group or "sub_ndrs" in group.get("simulation_data", ())


def _frame_shape(group: Any) -> tuple[int, int] | None:
    data = group["NDRs"].get("data") if "NDRs" in group else None
    return (int(data.shape[1]), int(data.shape[2])) if data is not None and len(data.shape) == 3 else None


def instrument_name(channel: str, shape: tuple[int, int] | None) -> str:
    """The instrument of a channel: its own name, with the frames' shape where the challenge's detector of that name has another.

    >>> instrument_name("FGS1", (32, 32)), instrument_name("AIRS-CH0", (64, 364)), instrument_name("NIR Spec", None)
    ('FGS1', 'AIRS-CH0-64x364', 'NIR-Spec')
    """
    name = _NO_NAME.sub("-", channel).strip("-") or "channel"
    if name in INSTRUMENT and shape is not None and shape != INSTRUMENT[name].shape:
        return f"{name}-{shape[0]}x{shape[1]}"
    return name


@dataclass(frozen=True)
class Listed:
    """One visit of a root: its key, the channel of the file, and what the user says of it."""

    key: VisitKey
    file: NdrFile
    channel: str
    said: Named
    sidecar: Sidecar


def listed(location: Path) -> list[Listed]:
    """Every visit of a root, sorted. Raises DataError where two files have one name, or exosim.yaml names a file that is not there."""
    folder = location.parent if location.is_file() else location
    sidecar, files = read_sidecar(folder), ndr_files(location)
    by_name = {file.path.relative_to(folder).as_posix(): file for file in files}
    if location.is_dir() and (lost := [name for name in sidecar.visits if name not in by_name]):
        raise DataError(f"{folder / FILE} names {lost}, and the files of NDRs are {sorted(by_name)}: correct the names")
    names = {name: _name(file, sidecar.visits.get(name, Named())) for name, file in by_name.items()}
    found: dict[VisitKey, Listed] = {}
    for name, file in by_name.items():
        said = sidecar.visits.get(name, Named())
        planet, visit = names[name]
        if visit is None:
            taken = {v for p, v in names.values() if p == planet and v is not None}
            visit = next(v for v in range(len(names) + 1) if v not in taken)
            names[name] = planet, visit
        for channel, shape in file.channels:
            key = VisitKey(planet, visit, instrument_name(channel, shape), said.split)
            if key in found:
                raise DataError(
                    f"{found[key].file.path} and {file.path} are both planet {planet} visit {visit}: name the folders PLANET_VISIT, or say "
                    f"planet_id and visit of each in {folder / FILE}"
                )
            found[key] = Listed(key, file, channel, said, sidecar)
    return sorted(found.values(), key=lambda one: one.key)


#: the listings of the roots looked at last: every question about a visit would list its root again
_KNOWN: dict[Path, dict[VisitKey, Listed]] = {}
MOST_KNOWN = 16


def find_listed(location: Path, key: VisitKey) -> Listed | None:
    """One visit of a root; None where it has no such. Raises DataError as `listed`."""
    held = _KNOWN.get(location, {}).get(key)
    folder = location.parent if location.is_file() else location
    if held is not None and held.sidecar == read_sidecar(folder) and held.file.path.exists() and _looked_at(held.file.path) == held.file:
        return held
    while len(_KNOWN) >= MOST_KNOWN:
        _KNOWN.pop(next(iter(_KNOWN)), None)
    _KNOWN[location] = {one.key: one for one in listed(location)}
    return _KNOWN[location].get(key)


def _name(file: NdrFile, said: Named) -> tuple[str, int | None]:
    """Planet and visit of a file: as the user says, as it, its folder or the place where it was written is called (PLANET_VISIT), else
    by the star's name; the visit is None where only the planet is known."""
    stem = _OUR_WORDS.sub("", file.path.stem)
    written = Path(file.written_to)
    for name in (stem, file.path.parent.name, _OUR_WORDS.sub("", written.stem), written.parent.name):
        if match := _NAMED.fullmatch(name):
            planet, visit = match["planet"], int(match["visit"])
            return _planet(said, planet), said.visit if said.visit is not None else visit
    return _planet(said, _target(file.path.parent) or stem), said.visit


def _planet(said: Named, otherwise: str) -> str:
    if said.planet_id is not None:
        return normalise_planet_id(said.planet_id)
    name = _NO_NAME.sub("-", otherwise).strip("-")
    return name if PLANET_ID.fullmatch(name) else "exosim"


def _target(folder: Path) -> str:
    """The star's name in the configuration; a number behind the word star stands alone. Empty where there is none, or it is damaged."""
    try:
        settings = settings_beside(folder)
    except DataError:
        return ""
    name = settings.target if settings is not None else ""
    number = name.removeprefix("star").strip()
    return number if number.isdecimal() else name
