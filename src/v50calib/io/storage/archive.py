"""A group's arrays in one file: arrays.zip, a ZIP archive of stored (not compressed) members, which are a Zarr group's files.

Clusters count files: a product of fifty arrays is a hundred of them, and three in this layout. Any reader of Zarr opens the archive with
its own store for ZIP files (`zarr.storage.ZipStore`); `ArchiveStore` is ours, for three reasons: it keeps no file open between two
reads (a run has thousands of archives), it reads ranges of objects in a bucket, and it refuses what `pack` does not write.
Format: PKWARE's APPNOTE 6.3 (local header 4.3.7; central directory as Python's zipfile reads it).
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from v50calib.errors import StoreError
from v50calib.io.storage.commit import Written
from v50calib.io.storage.location import Location
from v50calib.io.storage.moments import Moment, moment_of
from v50calib.io.storage.objects import ObjectPath

ARCHIVE = "arrays.zip"
#: attribute of a packed group for readers that see no arrays: where they are
ARRAYS_IN = "arrays_in"
#: what to do about a product whose files are damaged
AGAIN = "'v50calib verify --quarantine', then calibrate again"
#: the same archive whenever it is written
_DATE = (1980, 1, 1, 0, 0, 0)
#: bytes of a member's own header before its name; there stand the lengths of the name and of the extra field
_HEADER, _LENGTHS = 30, slice(26, 30)


class _Hashing:
    """A file that hashes what is written to it, in order; zipfile then writes sizes behind members and not back into their headers."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.digest, self.size = stream, hashlib.sha256(), 0

    def write(self, content: Any) -> int:
        self.digest.update(content)
        self.size += len(content)
        return self._stream.write(content)

    def flush(self) -> None:
        self._stream.flush()


def pack(path: Path, members: Iterable[tuple[str, bytes]]) -> Written:
    """Write an archive of (name, content); the same members give the same bytes. Raises OSError."""
    with path.open("wb") as stream:
        out = _Hashing(stream)
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
            for name, content in members:
                archive.writestr(zipfile.ZipInfo(name, _DATE), content)
    return Written(out.size, out.digest.hexdigest())


class Member(NamedTuple):
    """Offset of its own header, bytes of its content, and their CRC-32."""

    header: int
    size: int
    crc: int


class Archive:
    """Members of an archive, read one at a time. Pickles as its path.

    final: where the archive is once it is no more at `path`: it was being copied when it was opened. moment: that of its folder on a disk,
    if it is to be no other's.
    """

    def __init__(self, path: Location, final: Location | None = None, moment: Moment | None = None) -> None:
        self.path, self.final, self._moment = path, path if final is None else final, moment

    def __reduce__(self) -> tuple[Any, ...]:
        return Archive, (self.path, self.final, self._moment)

    @cached_property
    def members(self) -> dict[str, Member]:
        """Where each member is, by name. Raises StoreError where that cannot be read, or one is packed; OSError."""
        try:
            with self._open() as stream, zipfile.ZipFile(stream) as archive:
                infos, whole = archive.infolist(), stream.seek(0, os.SEEK_END)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise StoreError(f"{self.final} is damaged ({error}): {AGAIN}") from error
        packed = next((info.filename for info in infos if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1), None)
        if packed is not None:
            raise StoreError(f"{self.final} was not written by this program: {packed} in it is compressed or encrypted, and arrays are not")
        members = {info.filename: Member(info.header_offset, info.file_size, info.CRC) for info in infos}
        if len(members) != len(infos):
            raise StoreError(f"{self.final} was not written by this program: two of its members have one name")
        # what a member says is what `read` allocates
        beyond = next((name for name, m in members.items() if m.header < 0 or m.header + _HEADER + m.size > whole), None)
        if beyond is not None:
            raise StoreError(f"{self.final} is damaged (it has {whole} bytes, and {beyond} would end beyond them): {AGAIN}")
        return members

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes of a member.

        Raises KeyError where there is none; StoreError where it is cut or damaged, or where the archive was replaced since its members were
        read; OSError.
        """
        member, own = self.members[name], name.encode()
        stop = member.size if stop is None else min(stop, member.size)
        start = min(start, stop)
        head = self._range(member.header, _HEADER + len(own))
        # the name too: an archive that was replaced since may have another member there
        if head[:4] != b"PK\x03\x04" or head[_HEADER:] != own:
            why = f"{name} does not begin at {member.header}"
            raise StoreError(f"{self.final} was replaced since it was opened, or is damaged ({why}): open it again, or {AGAIN}")
        lengths = head[_LENGTHS]
        begin = member.header + _HEADER + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
        found = self._range(begin + start, stop - start)
        if self._moment is not None and isinstance(self.path, Path) and moment_of(self.path.parent) != self._moment:
            raise StoreError(f"{self.final.parent} was replaced or removed after it was opened: open it again")
        if len(found) != stop - start:
            raise StoreError(f"{self.final} is cut within {name}: {AGAIN}")
        if len(found) == member.size and zlib.crc32(found) != member.crc:
            raise StoreError(f"{self.final} was damaged or replaced (the checksum of {name} is another): {AGAIN}")
        return found

    def _open(self) -> Any:
        if isinstance(self.path, ObjectPath):
            try:
                return self.path.reader()
            except FileNotFoundError:
                self._go_to_its_place()
                return self.path.reader()
        return self.path.open("rb")

    def _go_to_its_place(self) -> None:
        """Raises what is being handled where that is where it is already."""
        if self.path == self.final:
            raise
        self.path = self.final

    def _range(self, start: int, length: int) -> bytes:
        if not length:
            return b""
        if isinstance(self.path, ObjectPath):
            try:
                return self.path.read_range(start, length)
            except FileNotFoundError:
                self._go_to_its_place()
                return self.path.read_range(start, length)
        with self.path.open("rb") as stream:
            stream.seek(start)
            return stream.read(length)


class ArchiveStore(Store):
    """An archive as a read-only store for zarr and xarray. Raises what `Archive` raises."""

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(self, archive: Archive) -> None:
        super().__init__(read_only=True)
        self.archive = archive

    def __reduce__(self) -> tuple[Any, ...]:
        return ArchiveStore, (self.archive,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArchiveStore) and other.archive.final == self.archive.final

    def __hash__(self) -> int:
        return hash(self.archive.final)

    def __str__(self) -> str:
        return f"archive://{self.archive.path}"

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        if key not in self.archive.members:
            return None
        size = self.archive.members[key].size
        start, stop = _bounds(byte_range, size)
        return prototype.buffer.from_bytes(self.archive.read(key, start, stop))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        return key in self.archive.members

    async def set(self, key: str, value: Buffer) -> None:
        raise ValueError(f"{self} is read only")

    async def delete(self, key: str) -> None:
        raise ValueError(f"{self} is read only")

    async def list(self) -> AsyncIterator[str]:
        for key in self.archive.members:
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for key in self.archive.members:
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        for name in _below(self.archive.members, prefix.strip("/")):
            yield name


def _bounds(wanted: ByteRequest | None, size: int) -> tuple[int, int]:
    """First byte and the one after the last of what zarr asks for.

    >>> _bounds(SuffixByteRequest(4), 10), _bounds(OffsetByteRequest(4), 10), _bounds(RangeByteRequest(2, 5), 10), _bounds(None, 10)
    ((6, 10), (4, 10), (2, 5), (0, 10))
    """
    if isinstance(wanted, RangeByteRequest):
        return wanted.start, wanted.end
    if isinstance(wanted, OffsetByteRequest):
        return wanted.offset, size
    if isinstance(wanted, SuffixByteRequest):
        return max(0, size - wanted.suffix), size
    return 0, size


def _below(keys: Iterable[str], prefix: str) -> Iterator[str]:
    start = f"{prefix}/" if prefix else ""
    yield from dict.fromkeys(key[len(start) :].split("/")[0] for key in keys if key.startswith(start))
