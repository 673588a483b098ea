"""All-or-nothing directories: write beside the final path, check, mark, rename.

Writing a chunk is atomic, writing a store is not: a half-written Zarr store opens and returns fill values. A
directory made here either is at its final path with a `_COMMIT.json`, or it does not exist for readers.
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
import tempfile
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v50calib.errors import StoreError
from v50calib.io.storage import object_commit
from v50calib.io.storage.exchange import exchanged
from v50calib.io.storage.location import Location, replace_text
from v50calib.io.storage.machine import pid_space
from v50calib.io.storage.object_commit import finish, put_product, without_tokens
from v50calib.io.storage.objects import ObjectPath
from v50calib.safety.files import refuse_links
from v50calib.untrusted.json_text import load_json

COMMIT_NAME = object_commit.COMMIT_NAME
#: whether the owner of a staging directory on another host lives cannot be found out; older than this it counts as abandoned
ABANDONED_AFTER_S = 24 * 3600.0
_HASH_BLOCK = 1 << 20


def is_committed(path: Location) -> bool:
    """True where `path` is a directory that was written completely."""
    return (path / COMMIT_NAME).is_file()


def read_record(path: Location, again: str = "run the command again") -> dict[str, Any]:
    """The commit record of a finished directory. Raises StoreError where it is absent or no JSON; again: how to make it again."""
    marker = path / COMMIT_NAME
    try:
        record = load_json(marker.read_text())
    except FileNotFoundError:
        raise StoreError(f"{path} has no {COMMIT_NAME}: it was not written completely. Remove it and {again}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"cannot read {marker} ({error}): remove {path} and {again}") from error
    if not isinstance(record, dict):
        raise StoreError(f"{marker} holds a {type(record).__name__}, not an object: remove {path} and {again}")
    return without_tokens(record)


@contextmanager
def marked_group() -> Iterator[None]:
    """Around xarray or Zarr calls that list a committed group: its record is not a Zarr node, and no warning is needed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=f"Object at {re.escape(COMMIT_NAME)} is not recognized")
        yield


@contextmanager
def staging(final: Location, below: Location | None = None) -> Iterator[Path]:
    """Yield an empty directory beside `final`, on the same file system; it is removed unless it was committed.

    For an object store it is a local temporary directory, from which `commit` puts the objects. Staging directories that killed
    runs left for the same `final` are removed first.
    below: the store that `final` is in; no part of the path from there on may be a symbolic link.
    Raises StoreError where the directory cannot be made.
    """
    if isinstance(final, ObjectPath):
        with tempfile.TemporaryDirectory(prefix=f"v50calib-{final.name}.") as folder:
            yield Path(folder)
        return
    target = final
    if isinstance(below, Path):
        refuse_links(below, target)
    tmp = _hidden(target, "tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        clean_leftovers(target)
        tmp.mkdir()
    except OSError as error:
        raise StoreError(
            f"cannot write into {target.parent} ({error.strerror or error}): choose another folder or fix its permissions"
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
    final: Location,
    record: Mapping[str, Any],
    written: Mapping[str, Written] | None = None,
    *,
    replace: bool = False,
) -> bool:
    """Check `tmp`, write its record (plus `tree_sha256`) and move it to `final` in one step.

    record: JSON values; no date of writing, so that the same content gives the same record.
    written: every file by relative name, as its writer knows it; nothing is then read back, sizes are compared.
    replace: an older directory at `final` is exchanged for the new one in one step. Where the file system cannot, it is moved aside for
    the moment of a rename; where that fails it is put back.
    Returns False where another run committed to the same path first (ours is then dropped).
    Raises StoreError where an array of the store lacks chunks or `final` is occupied by something else.
    """
    if written is None:
        check_complete(tmp)
        tree = tree_hash(tmp)
    else:
        check_sizes(tmp, written)
        tree = combine_hashes({name: file.sha256 for name, file in written.items()})
    full = dict(record) | {"tree_sha256": tree}
    if isinstance(final, ObjectPath):
        return put_product(tmp, final, full, replace=replace)
    target = final
    with (tmp / COMMIT_NAME).open("w") as stream:
        json.dump(full, stream, indent=1, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())
    if replace and _is_folder(target) and exchanged(tmp, target):
        # the old one has our name, under which it is removed: here, or after a kill by `clean_leftovers`
        _remove(tmp)
        return True
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


def write_record(path: Location, record: Mapping[str, Any]) -> None:
    """Replace the record of a committed directory, in one step: its content has not changed. Raises StoreError."""
    try:
        if isinstance(path, ObjectPath):
            finish(path)
        replace_text(path / COMMIT_NAME, json.dumps(record, indent=1, sort_keys=True))
    except OSError as error:
        raise StoreError(f"cannot write {path / COMMIT_NAME} ({error.strerror or error}): free space or fix its permissions") from error


def check_sizes(path: Path, written: Mapping[str, Written]) -> None:
    """Refuse a directory in which a file is shorter than what was written to it (StoreError)."""
    for name, file in written.items():
        try:
            found = (path / name).stat().st_size
        except FileNotFoundError:
            found = 0
        if found != file.size:
            raise StoreError(
                f"'{name}' has {found} of {file.size} bytes: the write was cut short (full disk?); nothing was published, "
                "free some space and run again"
            )


def check_complete(path: Location) -> None:
    """Refuse a Zarr hierarchy in which a chunk was never written. Directories without Zarr arrays pass."""
    if isinstance(path, ObjectPath):
        # one listing for all arrays
        below = Counter(_array_of(p) for p in path.objects())
    for meta in sorted([*path.rglob("zarr.json")], key=str):
        node = load_json(meta.read_text())
        if not isinstance(node, dict):
            raise StoreError(f"'{_relative(meta, path)}' is damaged: it holds no object")
        if node.get("node_type") != "array":
            continue
        grid = node["chunk_grid"]["configuration"]["chunk_shape"]
        expected = math.prod(-(-n // c) for n, c in zip(node["shape"], grid, strict=True))
        found = below[meta.parent] if isinstance(meta, ObjectPath) else _chunk_files(meta.parent)
        if found < expected:
            raise StoreError(
                f"array '{_relative(meta.parent, path)}' has {found} of {expected} chunk files: the write was cut short "
                "(full disk?); nothing was published, free some space and run again"
            )


def _chunk_files(array: Path) -> int:
    """Chunk files of an array: `c`, `c.0.0` or below `c/`."""
    beside = sum(e.is_file() and (e.name == "c" or e.name.startswith("c.")) for e in os.scandir(array))
    return beside + sum(len(files) for _, _, files in os.walk(array / "c"))


def _array_of(path: ObjectPath) -> ObjectPath:
    """The array that a chunk is of (`c.0.0` beside its metadata, or below `c/`); itself for what is no chunk."""
    parts = path.key.split("/")
    if path.name == "c" or path.name.startswith("c."):
        return path.parent
    return ObjectPath(path.bucket, "/".join(parts[: len(parts) - 1 - parts[::-1].index("c")])) if "c" in parts else path


def _relative(path: Location, root: Any) -> str:
    return path.relative_to(root).as_posix()


def tree_hash(path: Location) -> str:
    """sha256 over relative names and contents of all files below `path`, except the commit record."""
    if isinstance(path, ObjectPath):
        objects = [p for p in path.objects() if p.name != COMMIT_NAME]
        return combine_hashes({_relative(p, path): hashlib.sha256(p.read_bytes()).hexdigest() for p in objects})
    files = [p for p in path.rglob("*") if p.is_file() and p.name != COMMIT_NAME]
    return combine_hashes({p.relative_to(path).as_posix(): _file_hash(p) for p in files})


def combine_hashes(hashes: Mapping[str, str]) -> str:
    """One sha256 of files' names and content hashes, whatever their order.

    >>> combine_hashes({"a": "1", "b": "2"}) == combine_hashes({"b": "2", "a": "1"})
    True
    """
    return hashlib.sha256("".join(f"{name}\0{hashes[name]}\n" for name in sorted(hashes)).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def clean_leftovers(final: Path) -> int:
    """Remove staging directories for `final` whose owner is gone, and put back what it had moved aside; returns how many."""
    return sum(_clean(entry, final.name) for entry in _entries(final.parent))


def clean_folder(folder: Location) -> int:
    """`clean_leftovers` for everything that belongs into `folder`, and in an object store for everything below it."""
    if isinstance(folder, ObjectPath):
        return object_commit.clean(folder)
    return sum(_clean(entry, None) for entry in _entries(folder))


def set_aside(path: Location, suffix: str) -> Location:
    """Hide a directory from readers under a name that ends with `suffix`, in one rename; returns where it is. Raises OSError.

    In an object store its record gets that name: a product without a record does not exist for readers, and the next commit replaces it.
    """
    if isinstance(path, ObjectPath):
        hidden = path / f".{COMMIT_NAME}.{suffix}"
        if is_committed(path):
            hidden.write_bytes((path / COMMIT_NAME).read_bytes())
            (path / COMMIT_NAME).unlink()
        return hidden
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
        _remove(path)
    return True


def publish(part: Path, out: Path) -> None:
    """Move a finished file or directory to `out`; what was there is removed once the new one is in its place. Raises OSError.

    A file replaces a file in one rename, a directory a directory in one exchange where the file system can. Else what was there is moved
    aside first; wherever that ends halfway, it is put back: here, or by `clean_leftovers` where the process was killed.
    """
    if not out.exists() or (part.is_file() and out.is_file()):
        part.replace(out)
        return
    if _is_folder(out) and part.is_dir() and exchanged(part, out):
        _remove(part)
        return
    aside = _hidden(out, "old")
    try:
        out.rename(aside)
        part.rename(out)
    finally:
        _settle_aside(aside, out)


def _settle_aside(aside: Path, target: Path) -> None:
    """Put back what was moved aside, where nothing else is at its path by now; remove it where it has been replaced."""
    if not aside.exists():
        return
    if not target.exists():
        # another run may restore or commit the same path at the same moment: whichever rename is first stays
        with suppress(OSError):
            aside.rename(target)
            return
    # under a name that nobody puts back: it may be killed halfway
    doomed = _hidden(target, "tmp")
    with suppress(OSError):
        aside.rename(doomed)
    _remove(doomed)


def _is_folder(path: Path) -> bool:
    """A directory itself: of a link, the link would be exchanged."""
    return path.is_dir() and not path.is_symlink()


def _remove(path: Path) -> None:
    if _is_folder(path):
        # first what makes it a Zarr group: nobody may list it while its arrays go
        with suppress(OSError):
            (path / "zarr.json").unlink()
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _hidden(target: Path, kind: str) -> Path:
    """A hidden name beside `target` that names its owner."""
    return target.parent / f".{target.name}.{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.{kind}"


def _host() -> str:
    """Name of the host and of the namespace in which process numbers count: containers may share the one and not the other."""
    return re.sub(r"[^0-9A-Za-z_-]", "_", f"{socket.gethostname() or 'host'}_{pid_space()}")


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
