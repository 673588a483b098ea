"""A key in an object store, with the part of pathlib's interface that readers and runs use.

An object is put as a whole or not at all, so what is a rename on a file system is a put here; there is neither append nor
rename. Credentials come from the environment or the machine's role. Requests are made by obstore, which retries failures that may
pass (5xx, slow-down, lost connections).
"""

from __future__ import annotations

import fnmatch
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any

from v50calib.errors import StoreError

#: for how long a request is retried that was not answered, or with 5xx, s; a run has its own retries beyond
PATIENCE_S = 60.0
#: the same before a run begins: nothing is lost by giving up earlier, and a mistyped endpoint is reported sooner
FIRST_PATIENCE_S = 10.0
#: requests of a listing at most: one that breaks off in the middle of an answer is resumed, which obstore does not do
LISTINGS = 5
#: smallest range of an object that is requested
READ_BYTES = 1 << 20
#: obstore's words for an answer that is an error, and for a refusal: neither has a class of its own
_ANSWERED = "Server returned"
_REFUSED = re.compile(r"status code: 40[13]\b")


@dataclass(frozen=True, order=True)
class ObjectPath:
    """bucket: `s3://name`; key: the object's or the prefix's name below it, without slashes at its ends. Pickles as text."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    def __truediv__(self, name: str | os.PathLike[str]) -> ObjectPath:
        return ObjectPath(self.bucket, "/".join(p for p in (self.key, os.fspath(name).strip("/")) if p))

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> ObjectPath:
        return ObjectPath(self.bucket, self.key.rpartition("/")[0])

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.bucket, *self.key.split("/")) if self.key else (self.bucket,)

    def with_name(self, name: str) -> ObjectPath:
        return self.parent / name

    def relative_to(self, other: ObjectPath) -> PurePosixPath:
        return PurePosixPath(self.key).relative_to(other.key) if other.key else PurePosixPath(self.key)

    # what is there

    def head(self) -> dict[str, Any]:
        """Size, time of change and e_tag of an object. Raises FileNotFoundError, OSError."""
        import obstore

        with _as_os_errors(self):
            return dict(obstore.head(_store(self.bucket), self.key))

    def version(self) -> str:
        """Text that changes with the object's content."""
        known = self.head()
        return f"{known['size']} bytes, e_tag {known['e_tag']}"

    def size(self) -> int:
        """Bytes of the object."""
        return int(self.head()["size"])

    def is_file(self) -> bool:
        try:
            self.head()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether any object lies below."""
        try:
            return next(self.objects(), None) is not None
        except FileNotFoundError:
            return False

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def iterdir(self) -> Iterator[ObjectPath]:
        """Objects and prefixes directly below, in order."""
        found = self._listed_here()
        names = [*found["common_prefixes"], *(item["path"] for item in found["objects"])]
        yield from (ObjectPath(self.bucket, name.strip("/")) for name in sorted(names))

    def objects(self) -> Iterator[ObjectPath]:
        """Every object below, in order, from one listing."""
        return (ObjectPath(self.bucket, item["path"]) for item in self._listed())

    def tags(self) -> dict[str, str]:
        """e_tag of every object below by its key, from one listing."""
        return {item["path"]: str(item["e_tag"]) for item in self._listed()}

    def changes(self) -> Iterator[tuple[ObjectPath, datetime]]:
        """Every object below and when it was put, by the store's clock, from one listing."""
        return ((ObjectPath(self.bucket, item["path"]), item["last_modified"]) for item in self._listed())

    def _listed(self) -> Iterator[Any]:
        import obstore

        last: str | None = None
        for left in reversed(range(LISTINGS)):
            try:
                with _as_os_errors(self):
                    for page in obstore.list(_store(self.bucket), prefix=self.key or None, offset=last):
                        for item in page:
                            last = item["path"]
                            yield item
                return
            except ConnectionError as error:
                if not left or not _broke_off(error):
                    raise

    def _listed_here(self) -> Any:
        import obstore

        for left in reversed(range(LISTINGS)):
            try:
                with _as_os_errors(self):
                    return obstore.list_with_delimiter(_store(self.bucket), prefix=self.key or None)
            except ConnectionError as error:
                if not left or not _broke_off(error):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def rglob(self, pattern: str) -> Iterator[ObjectPath]:
        """Objects below whose name matches."""
        return (path for path in self.objects() if fnmatch.fnmatchcase(path.name, pattern))

    # reading

    def read_bytes(self) -> bytes:
        import obstore

        with _as_os_errors(self):
            return bytes(obstore.get(_store(self.bucket), self.key).bytes())

    def read_tagged(self) -> tuple[bytes, str]:
        """The object and its e_tag, from one request."""
        import obstore

        with _as_os_errors(self):
            answer = obstore.get(_store(self.bucket), self.key)
            return bytes(answer.bytes()), str(answer.meta["e_tag"])

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def read_range(self, start: int, length: int) -> bytes:
        """`length` bytes from `start`, which counts from the end where it is negative."""
        import obstore

        with _as_os_errors(self):
            if start < 0:
                return bytes(obstore.get(_store(self.bucket), self.key, options={"range": {"suffix": -start}}).bytes())[:length]
            return bytes(obstore.get_range(_store(self.bucket), self.key, start=start, length=length))

    def open(self, mode: str = "r", newline: str | None = None) -> IO[Any]:
        """The object in memory, to be read."""
        return io.BytesIO(self.read_bytes()) if "b" in mode else io.StringIO(self.read_text(), newline=newline)

    def reader(self) -> Any:
        """The object as a file that fetches ranges as they are read, 1 MB at least."""
        import obstore
        import pyarrow as pa

        with _as_os_errors(self):
            return pa.PythonFile(_Ranges(self, obstore.head(_store(self.bucket), self.key)["size"]), mode="r")

    def download(self, stream: IO[bytes]) -> None:
        """Copy the object into `stream`, piece by piece."""
        import obstore

        with _as_os_errors(self):
            for piece in obstore.get(_store(self.bucket), self.key).stream():
                stream.write(piece)

    # writing

    def mkdir(self, **_: bool) -> None:
        """Nothing to do: a prefix exists where an object below it does."""

    def write_bytes(self, content: bytes) -> None:
        import obstore

        with _as_os_errors(self):
            obstore.put(_store(self.bucket), self.key, content)

    def write_text(self, text: str, encoding: str = "utf-8") -> None:
        self.write_bytes(text.encode(encoding))

    def upload(self, file: Path, *, new: bool = False) -> str | None:
        """Put a local file here, in parts where it is large; returns the object's e_tag.

        new: only where there is no object, in one part; None where there is one.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with _as_os_errors(self):
                return str(obstore.put(_store(self.bucket), self.key, file, mode="create" if new else "overwrite")["e_tag"])
        except OSError as error:
            if new and isinstance(error.__cause__, (AlreadyExistsError, PreconditionError)):
                return None
            raise

    def copy(self, to: ObjectPath) -> None:
        """Copy the object within its bucket; the store does it. Raises FileNotFoundError, OSError."""
        import obstore

        with _as_os_errors(self):
            obstore.copy(_store(self.bucket), self.key, to.key)

    def create(self, content: bytes) -> bool:
        """Put the object where there is none; False where there is one."""
        return self._put_if(content, "create")

    def exchange(self, content: bytes, e_tag: str) -> bool:
        """Put the object where it is still the one of `e_tag`; False where it is not."""
        return self._put_if(content, {"e_tag": e_tag})

    def _put_if(self, content: bytes, mode: Any) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with _as_os_errors(self):
                obstore.put(_store(self.bucket), self.key, content, mode=mode)
        except FileNotFoundError:
            return False
        except OSError as error:
            if isinstance(error.__cause__, (AlreadyExistsError, PreconditionError)):
                return False
            raise
        return True

    def unlink(self, missing_ok: bool = False) -> None:
        import obstore

        try:
            with _as_os_errors(self):
                obstore.delete(_store(self.bucket), self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def zarr_store(self) -> Any:
        """The prefix as a read-only store for zarr and xarray."""
        from zarr.storage import ObjectStore

        return ObjectStore(_open_store(str(self)), read_only=True)


class _Ranges(io.RawIOBase):
    """An object as a read-only file, in requests of READ_BYTES at least; only the last answer is kept."""

    def __init__(self, path: ObjectPath, size: int) -> None:
        self._path, self._size = path, size
        self._at, self._start, self._held = 0, 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def size(self) -> int:
        """Bytes of the object, as arrow asks for them."""
        return self._size

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._size, self._at + size)
        if stop <= self._at:
            return b""
        if not self._start <= self._at <= stop <= self._start + len(self._held):
            # arrow reads a footer from its end: the range reaches back from the end of the object
            first = max(0, min(self._at, self._size - READ_BYTES))
            self._held, self._start = self._path.read_range(first, max(stop, min(self._size, first + READ_BYTES)) - first), first
        piece = self._held[self._at - self._start : stop - self._start]
        self._at += len(piece)
        return piece


def check_answers(path: ObjectPath) -> None:
    """Raises StoreError where the store does not answer; a refusal of access is reported by the requests that follow."""
    import obstore

    try:
        with _as_os_errors(path):
            next(iter(obstore.list(_open_store(path.bucket, FIRST_PATIENCE_S), prefix=path.key or None, chunk_size=1)), None)
    except (FileNotFoundError, PermissionError):
        return
    except ConnectionError as exc:
        if _ANSWERED not in str(exc):
            raise StoreError(
                f"{exc} (asked for {FIRST_PATIENCE_S:g} s): look at the network and at the endpoint in the environment, "
                "see how-to/object-stores.md"
            ) from exc


@lru_cache(maxsize=64)
def _store(bucket: str) -> Any:
    return _open_store(bucket)


def _open_store(url: str, patience_s: float | None = None) -> Any:
    from obstore.store import from_url

    # the time is the limit, not the number: ten requests, the default, are over in a few seconds
    backoff = {"base": 2.0, "init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5)}
    retry: Any = {"backoff": backoff, "max_retries": 1000, "retry_timeout": timedelta(seconds=patience_s or PATIENCE_S)}
    return from_url(url, retry_config=retry)


def _broke_off(error: ConnectionError) -> bool:
    """Whether an answer began and did not end; only the text of obstore's error says so."""
    return "response body" in str(error)


@contextmanager
def _as_os_errors(path: ObjectPath) -> Iterator[None]:
    """obstore's errors as the OSErrors that file systems have; only the first line, which is without its debug dump."""
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(2, "no such object", str(path)) from None
    except BaseError as error:
        # a listing's refusal has no class of its own
        if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or _REFUSED.search(str(error)):
            raise PermissionError(13, "access denied; look at the credentials in the environment", str(path)) from error
        raise ConnectionError(f"{path}: {str(error).splitlines()[0][:300]}") from error
