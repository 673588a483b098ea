"""What stands where a command is to write: nothing, something that this program made, or something that is not to be lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from v50calib.errors import StoreError
from v50calib.io.storage.location import Location
from v50calib.untrusted.json_text import load_json

#: bytes of a file that are looked at
HEAD = 8192
#: names in a folder that a message shows
_SHOWN = 3
_MARK = "config.yaml"
#: what a run keeps its books in: no other command may write there, whatever the user says
_BOOKS = (_MARK, "manifest.jsonl", "run.json", "quarantine.json", ".lock")
#: what a run keeps its products in
_STORES = ("calibrated.zarr", "spectra.zarr", "estimates.zarr", "intermediate.zarr")
_PAGE = re.compile(rb'<meta name="generator" content="v50calib[^"]*">|: calibration report</title>')

REMEDY = "give another name, or --overwrite to replace it"

Made = Callable[[Location], bool]


def refuse_to_overwrite(
    path: Location, made: Made, what: str, *, overwrite: bool = False, within: Location | None = None, remedy: str = REMEDY
) -> None:
    """Refuse a file that exists and is not evidently of this program; nothing and empty files are free.

    made: whether it is (`starts_with`, `is_page`, …); what: the words for that, "a table of quality numbers"; overwrite: the user has
    said so; within: the run directory that is written of: what another run holds is never free. Raises StoreError.
    """
    if not _exists(path):
        refuse_within_run(path)
        return
    if isinstance(path, Path) and not path.is_file():
        raise StoreError(f"'{path}' is {describe(path)}, and {what} is one file: nothing was written; give the name of a file")
    if overwrite or not head_of(path, 1):
        refuse_within_run(path)
        return
    if within is not None and _same(path.parent, within) is False and is_run_dir(path.parent):
        raise StoreError(f"'{path}' is in another run directory than '{within}': nothing was written; {remedy}")
    if not made(path):
        raise StoreError(f"'{path}' exists and is not {what} of this program ({describe(path)}): nothing was written; {remedy}")


def refuse_existing(path: Location, what: str, *, overwrite: bool = False) -> None:
    """Refuse a file that exists, whoever made it: for layouts that others write as well. Raises StoreError."""
    if overwrite or not _exists(path) or (isinstance(path, Path) and not path.is_file()):
        refuse_to_overwrite(path, lambda _: False, what, overwrite=overwrite)
        return
    if head_of(path, 1):
        raise StoreError(f"'{path}' exists ({describe(path)}), and who made it cannot be told from {what}: nothing was written; {REMEDY}")


def refuse_input(path: Location | None, inputs: Iterable[Location | None]) -> None:
    """Refuse to write over a file that the same command reads, or has written: it would be lost. Raises StoreError."""
    for given in inputs:
        if path is not None and given is not None and _same(path, given):
            raise StoreError(f"'{path}' is named twice in this command, and writing it would lose the other: give another name")


def refuse_within_run(path: Location) -> None:
    """Refuse the books of a run, and places among its products: the run would be lost, or take them for its own. Raises StoreError."""
    found = path.resolve() if isinstance(path, Path) else path
    books = found.name in _BOOKS and is_run_dir(found.parent)
    above = found.parents if isinstance(found, Path) else ()
    if books or any(folder.name in _STORES and is_run_dir(folder.parent) for folder in above):
        raise StoreError(f"'{path}' is what a run keeps of itself: nothing was written; give another name")


def starts_with(*beginnings: str) -> Made:
    """Whether a file begins with one of these texts."""
    return lambda path: head_of(path, HEAD).startswith(tuple(text.encode() for text in beginnings))


def is_page(path: Location) -> bool:
    """Whether a file is an HTML page that this program made."""
    return _PAGE.search(head_of(path, HEAD)) is not None


def head_of(path: Location, size: int) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    try:
        if isinstance(path, Path):
            # a pipe would wait for its writer
            if not path.is_file():
                return b""
            with path.open("rb") as stream:
                return stream.read(size)
        return path.read_bytes()[:size]
    except OSError:
        return b""


def is_run_dir(folder: Location) -> bool:
    """Whether a folder is a run directory: its config.yaml has the hash of a config, as each run's has."""
    text = head_of(folder / _MARK, HEAD)
    return re.search(rb"^config_hash: *['\"]?[0-9a-f]{16,}", text, re.MULTILINE) is not None


def describe(path: Location) -> str:
    """What stands at a path, for a message."""
    if not isinstance(path, Path):
        return f"an object of {path.size()} bytes"
    if path.is_file():
        return f"a file of {path.stat().st_size} bytes"
    if not path.is_dir():
        return "a device or a pipe"
    if is_run_dir(path):
        return "a run directory of v50calib"
    if _is_raw_store(path):
        return "a raw Zarr store of v50calib"
    names = sorted(entry.name for entry in path.iterdir())
    if not names:
        return "an empty folder"
    kind = "a dataset's folder" if {"train", "test"} & set(names) and any(n.endswith((".csv", ".parquet")) for n in names) else "a folder"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{kind} with {', '.join(names[:_SHOWN])}{more}"


def _is_raw_store(path: Path) -> bool:
    try:
        return str(load_json((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]["format"]).startswith("v50calib")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _exists(path: Location) -> bool:
    return path.exists() if isinstance(path, Path) else path.is_file()


def _same(one: Location, other: Location) -> bool:
    return one.resolve() == other.resolve() if isinstance(one, Path) and isinstance(other, Path) else one == other
