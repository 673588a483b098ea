"""All-or-nothing directories: write beside the final place, check, mark, rename.

Chunk writes are atomic but a store is not: a half-written Zarr store opens and returns fill values. A
directory made here either is in its final place with a `_COMMIT.json`, or it does not exist for readers.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import socket
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v50calib.errors import StoreError

COMMIT_NAME = "_COMMIT.json"
#: a staging place of another host cannot be asked whether its owner lives; older than this it is abandoned
ABANDONED_AFTER_S = 24 * 3600.0
_HASH_BLOCK = 1 << 20


def is_committed(path: str | os.PathLike[str]) -> bool:
    """True where `path` is a directory that was written completely."""
    return (Path(path) / COMMIT_NAME).is_file()


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The commit record of a finished directory. Raises StoreError where it is absent or not JSON."""
    marker = Path(path) / COMMIT_NAME
    try:
        record = json.loads(marker.read_text())
    except FileNotFoundError:
        raise StoreError(f"{path} has no {COMMIT_NAME}: it was not written completely. Remove it and run the command again") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {marker} ({error}): remove {path} and run the command again") from error
    if not isinstance(record, dict):
        raise StoreError(f"{marker} holds a {type(record).__name__}, not an object: remove {path} and run again")
    return record


@contextmanager
def marked_group() -> Iterator[None]:
    """Around xarray or Zarr calls that list a committed group: its record is not a Zarr node, which is no news."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=f"Object at {re.escape(COMMIT_NAME)} is not recognized")
        yield


@contextmanager
def staging(final: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty directory beside `final`, on the same file system; it is removed unless it was committed.

    Staging places that killed runs left for the same `final` are removed first.
    Raises StoreError where the directory cannot be made.
    """
    target = Path(final)
    tmp = _hidden(target, "tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        clean_leftovers(target)
        tmp.mkdir()
    except OSError as error:
        raise StoreError(
            f"cannot write into {target.parent} ({error.strerror or error}): choose another place or fix its permissions"
        ) from error
    try:
        yield tmp
    finally:
        shutil.rmtree(tmp, ignore_errors=True)


@dataclass(frozen=True)
class Written:
    """A file as its writer knows it: size in bytes and sha256 of its content."""

    size: int
    sha256: str


def commit(
    tmp: Path,
    final: str | os.PathLike[str],
    record: Mapping[str, Any],
    written: Mapping[str, Written] | None = None,
    *,
    replace: bool = False,
) -> bool:
    """Check `tmp`, write its record (plus `tree_sha256`) and move it to `final` in one rename.

    record: JSON values; nothing of the moment of writing, so that the same content gives the same record.
    written: every file by relative name where the writer kept count; nothing is then read back, sizes are compared.
    replace: an older directory at `final` goes, once the new one is in its place; where that fails it comes back.
    Returns False where another run committed the same place first (ours is then dropped).
    Raises StoreError where an array of the store lacks chunks or `final` is occupied by something else.
    """
    target = Path(final)
    if written is None:
        check_complete(tmp)
        tree = tree_hash(tmp)
    else:
        check_sizes(tmp, written)
        tree = combine_hashes({name: file.sha256 for name, file in written.items()})
    marker = tmp / COMMIT_NAME
    full = dict(record) | {"tree_sha256": tree}
    with marker.open("w") as stream:
        json.dump(full, stream, indent=1, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())
    aside = _hidden(target, "old") if replace and target.exists() else None
    try:
        if aside is not None:
            target.rename(aside)
        tmp.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            if is_committed(target):
                return False
            raise StoreError(f"{target} exists and was not made by a finished run: remove it and run again") from error
        raise StoreError(f"cannot move the finished {tmp.name} to {target} ({error.strerror or error})") from error
    finally:
        if aside is not None:
            _settle_aside(aside, target)
    return True


def check_sizes(path: Path, written: Mapping[str, Written]) -> None:
    """Refuse a directory in which a file is shorter than what was written to it (StoreError)."""
    for name, file in written.items():
        found = (path / name).stat().st_size if (path / name).exists() else 0
        if found != file.size:
            raise StoreError(
                f"'{name}' has {found} of {file.size} bytes: the write was cut short (full disk?); nothing was published, "
                "free some space and run again"
            )


def check_complete(path: Path) -> None:
    """Refuse a Zarr hierarchy in which a chunk was never written. Directories without Zarr arrays pass."""
    for meta in sorted(path.rglob("zarr.json")):
        node = json.loads(meta.read_text())
        if node.get("node_type") != "array":
            continue
        grid = node["chunk_grid"]["configuration"]["chunk_shape"]
        expected = math.prod(-(-n // c) for n, c in zip(node["shape"], grid, strict=True))
        found = _chunk_files(meta.parent)
        if found < expected:
            raise StoreError(
                f"array '{meta.parent.relative_to(path)}' has {found} of {expected} chunk files: the write was cut short "
                "(full disk?); nothing was published, free some space and run again"
            )


def _chunk_files(array: Path) -> int:
    """Chunk files of an array: `c`, `c.0.0` or below `c/`."""
    beside = sum(e.is_file() and (e.name == "c" or e.name.startswith("c.")) for e in os.scandir(array))
    return beside + sum(len(files) for _, _, files in os.walk(array / "c"))


def tree_hash(path: Path) -> str:
    """sha256 over relative names and contents of all files below `path`, except the commit record."""
    files = [p for p in path.rglob("*") if p.is_file() and p.name != COMMIT_NAME]
    return combine_hashes({p.relative_to(path).as_posix(): _file_hash(p) for p in files})


def combine_hashes(hashes: Mapping[str, str]) -> str:
    """One sha256 of files' names and content hashes, in order of the names."""
    return hashlib.sha256("".join(f"{name}\0{hashes[name]}\n" for name in sorted(hashes)).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def clean_leftovers(final: str | os.PathLike[str]) -> int:
    """Remove staging places for `final` whose owner is gone, and put back what it had moved aside; returns how many."""
    target = Path(final)
    return sum(_clean(entry, target.name) for entry in _entries(target.parent))


def clean_folder(folder: Path) -> int:
    """`clean_leftovers` for everything that belongs into `folder`."""
    return sum(_clean(entry, None) for entry in _entries(folder))


def set_aside(path: Path, suffix: str) -> Path:
    """Hide a directory from readers under a name that ends with `suffix`, in one rename; returns where it is. Raises OSError."""
    return path.rename(_hidden(path, suffix))


_OWNED = re.compile(r"^\.(?P<name>.+)\.(?P<host>[0-9A-Za-z_-]+)-(?P<pid>\d+)-[0-9a-f]{8}\.(?P<kind>tmp|old)$")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return list(entries)


def _clean(entry: os.DirEntry[str], name: str | None) -> bool:
    """Deal with one leftover (of `name`, or of anything) of a dead owner; whether it was one."""
    match = _OWNED.match(entry.name)
    if match is None or name not in (None, match["name"]) or not _is_abandoned(entry, match["host"], int(match["pid"])):
        return False
    path = Path(entry.path)
    if match["kind"] == "old":
        _settle_aside(path, path.parent / match["name"])
    else:
        shutil.rmtree(path, ignore_errors=True)
    return True


def _settle_aside(aside: Path, target: Path) -> None:
    """Put what was moved aside back, where nothing has taken its place; else it has been replaced and goes."""
    if aside.exists() and is_committed(aside) and not target.exists():
        # another run may restore or commit the same place at the same moment: whichever rename is first stays
        with suppress(OSError):
            aside.rename(target)
    shutil.rmtree(aside, ignore_errors=True)


def _hidden(target: Path, kind: str) -> Path:
    """A hidden name beside `target` that tells its owner."""
    return target.parent / f".{target.name}.{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.{kind}"


def _host() -> str:
    return re.sub(r"[^0-9A-Za-z_-]", "_", socket.gethostname()) or "host"


def _is_abandoned(entry: os.DirEntry[str], host: str, pid: int) -> bool:
    if host != _host():
        return time.time() - entry.stat().st_mtime > ABANDONED_AFTER_S
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
