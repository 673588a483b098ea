"""Commits into an object store: a product that is replaced is there, old or new, at every moment.

There is no rename of a prefix, and many objects are not put at once. What is put at once is the commit record, so it decides. A new
product is put where there is none, its record last. An older one is replaced in these steps, each of which may be the last:

1. the new files are put beside it, below `.NAME.TOKEN.new/`: nobody looks there;
2. its record is exchanged, if it is still the one that was read, for one that says `being_copied_from: TOKEN`: from here on the new
   product is what counts, and readers take its files from there;
3. the store copies the files to the place of the product;
4. the record is exchanged for the final one, which says `copied_from: TOKEN`;
5. what is below `.NAME.TOKEN.new/` is removed.

Whoever meets a record of step 2 finishes its copy (`finish`): its sources have one content, so it does no harm that several do. A file of
the product itself is only ever put where there is none, or copied from what the record names: a writer that wakes up late finds its file
there or its sources gone.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from v50calib.errors import StoreError
from v50calib.io.storage.location import Location, zarr_source
from v50calib.io.storage.moments import Moment, moment_of
from v50calib.io.storage.objects import ObjectPath
from v50calib.untrusted.json_text import load_json

COMMIT_NAME = "_COMMIT.json"
#: keys of a record: where the files are while they are copied, how many they are, and where they were copied from
BEING_COPIED, FILES, COPIED = "being_copied_from", "files_to_copy", "copied_from"
#: objects put, copied or removed at a time
PUTS = 8
#: how often a record is exchanged that others exchange too: each time it fails, another's product was committed
ATTEMPTS = 20
#: how often a product is read that is replaced meanwhile
READS = 5
#: files below a hidden name that no record names are of a writer at work, or of one that was killed: older than this they are removed
ABANDONED_AFTER_S = 24 * 3600.0
_HIDDEN = re.compile(r"\.(?P<name>.+)\.(?P<token>[0-9a-f]{16})\.new")

T = TypeVar("T")


def put_product(tmp: Path, final: ObjectPath, record: Mapping[str, Any], *, replace: bool) -> bool:
    """Put every file of `tmp` below `final`, with this record; False where another product is there and `replace` is not given.

    Raises StoreError where others keep replacing it, OSError.
    """
    files = {p.relative_to(tmp).as_posix(): p for p in tmp.rglob("*") if p.is_file()}
    marker, there = final / COMMIT_NAME, final.tags()
    if marker.key in there and not replace:
        return False
    if not there and _put_first(files, final, record):
        return True
    # an older product, files of a killed writer, or another writer at this moment
    token = uuid.uuid4().hex[:16]
    hidden, mine = _hidden(final, token), False
    try:
        tags = _upload(files, hidden)
        if hidden.tags() != tags:
            raise StoreError(f"another process keeps writing into {hidden}: end it, then run again")
        copying = _text(dict(record) | {BEING_COPIED: token, FILES: len(files)})
        for _ in range(ATTEMPTS):
            found, tag = _read(marker)
            if tag and not replace:
                return False
            if BEING_COPIED in found:
                # one whose files were lost is replaced as it is
                with suppress(StoreError):
                    finish(final)
                    continue
            _remove(final, found.get(COPIED))
            # where the answer is lost, the record may be ours
            mine = True
            done = marker.exchange(copying, tag) if tag else marker.create(copying)
            if done or token in _tokens(_read(marker)[0]):
                finish(final)
                return True
            mine = False
    finally:
        if not mine:
            with suppress(OSError):
                _remove(final, token)
    raise StoreError(f"other processes keep replacing {final}: end the other runs, then run again")


def _put_first(files: Mapping[str, Path], final: ObjectPath, record: Mapping[str, Any]) -> bool:
    """Put a product where there is nothing; False where another writer was faster with any of its objects."""
    tags = _upload(files, final, new=True)
    if tags is None or final.tags() != tags:
        return False
    marker = final / COMMIT_NAME
    # the answer to our put may have been lost, and obstore's second one found it
    return marker.create(_text(record)) or _read(marker)[0] == dict(record)


def finish(final: ObjectPath) -> bool:
    """Finish the copy that the record of `final` says is under way; False where it says no such thing, or another has finished it.

    Raises StoreError where the files to copy were lost, OSError.
    """
    marker = final / COMMIT_NAME
    record, tag = _read(marker)
    if BEING_COPIED not in record:
        return False
    token = str(record[BEING_COPIED])
    hidden = _hidden(final, token)
    sources = {p.relative_to(hidden).as_posix(): p for p in hidden.objects()}
    try:
        if len(sources) != record.get(FILES):
            raise FileNotFoundError
        with ThreadPoolExecutor(PUTS) as pool:
            for copied in [pool.submit(source.copy, final / name) for name, source in sources.items()]:
                copied.result()
    except FileNotFoundError as error:
        if _read(marker)[1] != tag:
            return False
        raise StoreError(
            f"{final} is incomplete: files below {hidden} were removed before they were copied; remove {marker} and run again"
        ) from error
    for path in final.objects():
        if path != marker and path.relative_to(final).as_posix() not in sources:
            # another may have finished this copy, and a third have put this file
            if _read(marker)[1] != tag:
                return False
            path.unlink(missing_ok=True)
    if marker.exchange(_text(without_tokens(record) | {COPIED: token}), tag) or _read(marker)[0].get(COPIED) == token:
        # what is left of it, the next writer removes
        with suppress(OSError):
            _remove(final, token)
        return True
    return False


def clean(*stores: ObjectPath) -> int:
    """Finish the copies that killed writers left in these stores, and remove files that they left beside products; returns how many.

    One listing a store. What cannot be finished is left to `verify`, and what does not answer to the requests that follow.
    """
    count = 0
    for store in stores:
        with suppress(OSError):
            for hidden, changed in _left(store).items():
                with suppress(StoreError):
                    count += _settle(hidden, changed)
    return count


def _left(store: ObjectPath) -> dict[ObjectPath, datetime]:
    """What writers have put beside products, and when the last object of it was put."""
    ages: dict[ObjectPath, datetime] = {}
    for path, changed in store.changes():
        below = path.relative_to(store).parts
        depth = next((i for i, part in enumerate(below) if _HIDDEN.fullmatch(part)), None)
        if depth is not None:
            hidden = store / "/".join(below[: depth + 1])
            ages[hidden] = max(changed, ages.get(hidden, changed))
    return ages


def _settle(hidden: ObjectPath, changed: datetime) -> bool:
    match = _HIDDEN.fullmatch(hidden.name)
    assert match is not None
    final, token = hidden.with_name(match["name"]), match["token"]
    record, _ = _read(final / COMMIT_NAME)
    if record.get(BEING_COPIED) == token:
        return finish(final)
    if record.get(COPIED) != token and datetime.now(UTC) - changed < timedelta(seconds=ABANDONED_AFTER_S):
        return False
    _remove(final, token)
    return True


def without_tokens(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as its product was committed with: the same while its files are copied and afterwards.

    >>> without_tokens({"tree_sha256": "3f", "being_copied_from": "0123456789abcdef", "files_to_copy": 31})
    {'tree_sha256': '3f'}
    """
    return {name: value for name, value in record.items() if name not in (BEING_COPIED, FILES, COPIED)}


def standing(path: Location) -> Location:
    """Where the files of a committed directory are at this moment: `path`, or the place from which they are being copied to it."""
    return path if isinstance(path, Path) else _where(path, _read(path / COMMIT_NAME)[0])


def whole(path: Location, read: Callable[[Any], T]) -> T:
    """What `read` makes of the files of a committed directory, given where they are.

    They are of one product, also where it is replaced meanwhile. Raises what `read` raises.
    """
    if isinstance(path, Path):
        return _whole_on_disk(path, read)
    for left in reversed(range(READS)):
        record, tag = _read(path / COMMIT_NAME)
        try:
            result = read(_where(path, record))
        except Exception:
            if left and _read(path / COMMIT_NAME)[1] != tag:
                continue
            raise
        if not left or _read(path / COMMIT_NAME)[1] == tag:
            break
    return result


def _whole_on_disk(path: Path, read: Callable[[Any], T]) -> T:
    """The same of a folder, which another may have taken the place of meanwhile."""
    for left in reversed(range(READS)):
        here = moment_of(path)
        try:
            result = read(path)
        except Exception:
            if left and moment_of(path) != here:
                continue
            raise
        if not left or moment_of(path) == here:
            break
    return result


def standing_source(path: Location, final: Location, moment: Moment | None = None) -> Any:
    """What zarr and xarray open the files at `path` with, which are those of `final`, or are being copied there.

    An array may be read long after it was opened. In a bucket the copy is finished then, and its sources are gone. On a disk another may
    have taken the place of what was there at `moment`: reading raises StoreError then, in place of numbers of both.
    """
    if path == final and (isinstance(path, ObjectPath) or moment is None):
        return zarr_source(path)
    # zarr takes a while to import
    from v50calib.io.storage.standing_store import StandingStore, SteadyStore

    if isinstance(path, Path):
        return SteadyStore(path, moment) if moment is not None else zarr_source(path)

    assert isinstance(final, ObjectPath)
    return StandingStore(path, final)


def _where(path: ObjectPath, record: Mapping[str, Any]) -> ObjectPath:
    return _hidden(path, str(record[BEING_COPIED])) if BEING_COPIED in record else path


def _hidden(final: ObjectPath, token: str) -> ObjectPath:
    return final.with_name(f".{final.name}.{token}.new")


def _tokens(record: Mapping[str, Any]) -> Iterable[Any]:
    return record.get(BEING_COPIED), record.get(COPIED)


def _read(marker: ObjectPath) -> tuple[dict[str, Any], str]:
    """A record and its e_tag; both empty where there is none, the record where it is no record."""
    try:
        content, tag = marker.read_tagged()
    except FileNotFoundError:
        return {}, ""
    with suppress(ValueError, RecursionError):
        record = load_json(content)
        if isinstance(record, dict):
            return record, tag
    return {}, tag


def _text(record: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(record), indent=1, sort_keys=True).encode()


def _upload(files: Mapping[str, Path], target: ObjectPath, *, new: bool = False) -> dict[str, str] | None:
    """Put files below `target`; e_tags by key. With `new` only where there is none: None where one was there."""
    with ThreadPoolExecutor(PUTS) as pool:
        put = {(target / name).key: pool.submit((target / name).upload, file, new=new) for name, file in files.items()}
        tags = {key: task.result() for key, task in put.items()}
    known = {key: tag for key, tag in tags.items() if tag is not None}
    return known if len(known) == len(tags) else None


def _remove(final: ObjectPath, token: Any) -> None:
    """Remove what a writer has put beside `final`: its name is of one writer alone."""
    if isinstance(token, str) and token:
        with ThreadPoolExecutor(PUTS) as pool:
            for gone in [pool.submit(path.unlink, missing_ok=True) for path in _hidden(final, token).objects()]:
                gone.result()
