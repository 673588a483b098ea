"""Locations of data: a local path, or a key in an object store (s3://, gs://, az://).

`locate` turns what a user gave into one of the two: a `pathlib.Path`, or an `ObjectPath`, which has the part of its interface that
readers and runs use. Credentials come from the environment or the machine's role, never from a URL.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from v50calib.errors import ConfigError
from v50calib.io.storage import objects
from v50calib.io.storage.objects import ObjectPath
from v50calib.safety.files import replacing

SCHEMES = ("s3", "gs", "az")
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: a URL that went through pathlib has lost a slash
_SQUASHED = re.compile(rf"(?:{'|'.join(SCHEMES)}):/[^/]")

Location = Path | ObjectPath


def locate(where: str | os.PathLike[str] | ObjectPath) -> Location:
    """The location that a path or URL names. Raises ConfigError: unknown scheme, credentials in the URL, no bucket.

    Messages never repeat the part of a URL in which credentials would stand.

    >>> locate("data/train").name
    'train'
    """
    if isinstance(where, ObjectPath):
        return where
    text = os.fspath(where)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"the path {os.fsencode(text)!r} has bytes that are no UTF-8, and names of files are written as UTF-8 into products and "
            "manifests: rename the folder, or give a link to it (ln -s)"
        ) from error
    match = _URL.fullmatch(text)
    if match is None:
        if _SQUASHED.match(text):
            raise ConfigError(f"'{text}' has lost a slash: give a URL as text (s3://…), not as a pathlib.Path")
        # `~` is the home also where no shell has put it in: behind `=`, in DATA_DIR, from Python; one of no known user stays a name
        return Path(os.path.expanduser(where))  # noqa: PTH111 - Path.expanduser raises where there is no home
    scheme = match["scheme"].lower()
    if scheme not in SCHEMES:
        raise ConfigError(f"{scheme}:// is no known kind of location: give a local path, or {', '.join(f'{s}://' for s in SCHEMES)}")
    bucket, _, key = match["rest"].partition("/")
    if "@" in bucket or ":" in bucket or "?" in text or "#" in text:
        raise ConfigError(
            f"a {scheme}:// URL with a login, port or query is refused, because it would be written into logs and products: give "
            f"{scheme}://BUCKET/KEY and put credentials (and an endpoint) into the environment, see how-to/object-stores.md"
        )
    parts = [part for part in key.split("/") if part]
    if not _BUCKET.fullmatch(bucket) or any(part in (".", "..") for part in parts):
        raise ConfigError(f"'{text}' names no location in an object store: write {scheme}://BUCKET/KEY, without '..'")
    _package()
    return ObjectPath(f"{scheme}://{bucket}", "/".join(parts))


def zarr_source(path: Location) -> Any:
    """What zarr and xarray open a location with."""
    return path if isinstance(path, Path) else path.zarr_store()


def replace_text(path: Location, text: str) -> None:
    """Write a small text file in one step: readers see the old content or the new. Raises OSError."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Location, content: bytes) -> None:
    """Write a small file in one step: readers see the old content or the new. Raises OSError."""
    if isinstance(path, ObjectPath):
        path.write_bytes(content)
        return
    # a link at `path` is replaced, not followed
    with replacing(path, make_folder=False) as stream:
        stream.write(content)


def version_of(path: Location) -> str:
    """Text that changes when a file or object does. Raises FileNotFoundError, OSError."""
    if isinstance(path, ObjectPath):
        return path.version()
    status = path.stat()
    return f"{status.st_size} bytes, mtime_ns {status.st_mtime_ns}"


def size_of(path: Location) -> int:
    """Bytes of a file or object; 0 where it is not there."""
    if isinstance(path, ObjectPath):
        return path.size() if path.is_file() else 0
    return path.stat().st_size if path.is_file() else 0


def check_answers(*locations: Location) -> None:
    """Raises StoreError where the object store of a location does not answer."""
    for path in locations:
        if isinstance(path, ObjectPath):
            objects.check_answers(path)


def _package() -> None:
    try:
        import obstore  # noqa: F401
    except ImportError as error:
        raise ConfigError("object stores need the package obstore: pip install 'v50calib[objects]'") from error
