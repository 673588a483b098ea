"""Which files and stores an export made: `--overwrite` replaces these and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from v50calib.errors import StoreError
from v50calib.export.grid import MADE_BY, MARK
from v50calib.io.storage.commit import clean_leftovers
from v50calib.io.storage.ours import HEAD, describe, head_of, refuse_within_run
from v50calib.untrusted.json_text import load_json
from v50calib.untrusted.npz import DAMAGED, read_npz

#: what a folder of .npy arrays says of itself
ARRAYS = "arrays.json"
#: bytes of a grid's description in an npz, of a line of headings in a CSV
_META_BYTES, _LINE_BYTES = 2**24, 2**18
_CHUNK = re.compile(r"c|c(/\d+)+|c(\.\d+)+")
#: what the first line of a CSV is
_HEADINGS = (
    re.compile(r"planet_id,visit_number,wavelength,time,photometry,photometry_var,trace_norm,trace_norm_var,dq,count"),
    re.compile(r"planet_id,visit_number,wavelength,time,(light,light_var,light_baseline_var,?)?(photometry,photometry_var,dq,count)?"),
    re.compile(r"planet_id,visit_number,wavelength,time,trace_norm,trace_norm_var,count"),
    re.compile(r"planet_id,visit_number,wavelength,transit_depth,transit_depth_sigma(,transit_depth_shared_\d+)*"),
    re.compile(r"planet_id,wavelength,notes,reasons,transit_depth,transit_depth_sigma,transit_depth_chi2(,[a-z]\w*(-CH0)?)*"),
)


def prepare_place(out: Path, *, overwrite: bool) -> None:
    """Look at the place of a new export before anything is computed; what a killed export had moved aside is put back first.

    Raises StoreError where `out` exists without `overwrite`, or is nothing that an export made.
    """
    refuse_within_run(out)
    clean_leftovers(out)
    if not out.exists():
        return
    if not overwrite:
        raise StoreError(f"'{out}' exists ({describe(out)}): give another name, or --overwrite, which replaces what an export made")
    if out.is_dir() and not any(out.iterdir()):
        return
    if foreign := _foreign(out):
        raise StoreError(
            f"'{out}' is {foreign}: --overwrite replaces only what an export made, and nothing was written; give another name, or move or "
            "remove it yourself"
        )


def _foreign(out: Path) -> str:
    """What makes `out` something else than an export; nothing where it is one."""
    if out.is_dir():
        return _foreign_in_store(out)
    head = head_of(out, HEAD)
    known = {b"PK": _archive_about, b"\x89HDF": _hdf5_about}
    for beginning, about in known.items():
        if head.startswith(beginning) and about(out).get(MARK) == MADE_BY:
            return ""
    if out.is_file() and (not head or _is_table(out)):
        return ""
    return f"{describe(out)}, which no export made"


def _foreign_in_store(out: Path) -> str:
    """The same of a folder: a group with our mark, or arrays beside their description, and in it nothing but its own arrays."""
    if (about := _json(out / ARRAYS)).get(MARK) == MADE_BY:
        own_files = {ARRAYS, *(f"{name}.npy" for name in about.get("arrays", []))}
        added = sorted(path.name for path in out.iterdir() if path.name not in own_files or not path.is_file())
        return f"an export's folder in which '{added[0]}' was put by someone else" if added else ""
    attrs = _json(out / "zarr.json").get("attributes")
    if not isinstance(attrs, dict) or attrs.get(MARK) != MADE_BY:
        return f"{describe(out)}, which no export made"
    arrays = str(attrs.get("arrays", "")).split()
    for path in out.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            continue
        name, _, below = path.relative_to(out).as_posix().partition("/")
        own = name == "zarr.json" if not below else name in arrays and (below == "zarr.json" or _CHUNK.fullmatch(below))
        if not own:
            return f"an export's store in which '{path.relative_to(out)}' was put by someone else"
    return ""


def _json(path: Path) -> dict[str, Any]:
    try:
        found = load_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _archive_about(path: Path) -> dict[str, Any]:
    """Attributes of a grid in an npz."""
    try:
        about = load_json(str(read_npz(path, ["meta"], most=_META_BYTES)["meta"]))["about"]
    except DAMAGED:
        return {}
    return about if isinstance(about, dict) else {}


def _hdf5_about(path: Path) -> dict[str, Any]:
    """Attributes of a grid in an HDF5 or netCDF-4 file; none where there is no package to read them."""
    try:
        import h5py

        with h5py.File(path) as file:
            return {MARK: str(file.attrs.get(MARK, ""))}
    except (ImportError, OSError, RuntimeError, KeyError, UnicodeDecodeError):
        return {}


def _is_table(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            line = stream.readline(_LINE_BYTES).rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        return False
    return any(headings.fullmatch(line) for headings in _HEADINGS)
