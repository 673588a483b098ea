"""Direct decoding of the shards of a raw store: bytes from the file straight into the frame buffer.

zarr's codec pipeline is general and spends twice the decoder's time on copies and event-loop steps. Where an
array's metadata is exactly what `raw_store.group.write_visit` writes (one sharding codec over whole frames, index at the
end, little-endian bytes, Blosc, CRC32C), the same chunks are decoded here with numcodecs. Any other array is read by zarr.
Format: Zarr v3 core and sharding-indexed codec specifications.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from google_crc32c import value as crc32c
from numcodecs import blosc
from numpy.typing import NDArray

from v50calib.io.storage.location import Location
from v50calib.io.storage.objects import ObjectPath
from v50calib.io.storage.zarr_groups import BLOSC_HEADER_BYTES, CHECKSUM_BYTES, RESIDUE
from v50calib.untrusted.chunks import CHUNK_VALUES
from v50calib.untrusted.json_text import load_json

_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
#: decoded chunks that partial reads may leave behind
KEPT = 3
#: offset and length of a chunk that was never written
_EMPTY = 2**64 - 1


@dataclass(frozen=True)
class ShardedFrames:
    """Layout of a sharded array (n, ny, nx) uint16: frames per chunk and chunks per shard."""

    path: Location
    shape: tuple[int, int, int]
    chunk: int
    per_shard: int
    #: whether each chunk ends with its checksum; stores of older versions have none
    checked: bool = True

    def read(
        self, start: int, stop: int, out: NDArray[np.uint16] | None = None, *, kept: dict[int, NDArray[np.uint16]] | None = None
    ) -> NDArray[np.uint16]:
        """Frames start:stop, into `out` where given. Raises ValueError or OSError where a shard is damaged.

        kept: chunks decoded for a partial read, at most KEPT of them; a whole read takes its chunk out of it.
        """
        kept = {} if kept is None else kept
        ny, nx = self.shape[1:]
        frames = np.empty((stop - start, ny, nx), np.uint16) if out is None else out[: stop - start]
        for index in range(start // self.chunk, -(-stop // self.chunk)):
            first = index * self.chunk
            low, high = max(start, first), min(stop, first + self.chunk)
            whole = kept.pop(index, None)
            if whole is None and high - low == self.chunk:
                self._decode(index, frames[low - start : high - start])
                continue
            if whole is None:
                whole = np.empty((self.chunk, ny, nx), np.uint16)
                self._decode(index, whole)
            frames[low - start : high - start] = whole[low - first : high - first]
            if high < min(first + self.chunk, self.shape[0]) and len(kept) < KEPT:
                kept[index] = whole
        return frames

    def _decode(self, index: int, out: NDArray[np.uint16]) -> None:
        shard, index_in_shard = divmod(index, self.per_shard)
        tail = 16 * self.per_shard + 4
        with _opened(self.path / "c" / str(shard) / "0" / "0") as read:
            index_bytes = read(-tail, tail)
            if len(index_bytes) != tail or crc32c(index_bytes[:-4]) != int.from_bytes(index_bytes[-4:], "little"):
                raise ValueError(f"shard {shard} has a damaged index")
            offset, length = np.frombuffer(index_bytes, "<u8", 2, 16 * index_in_shard)
            if int(offset) == _EMPTY:
                raise ValueError(f"chunk {index} was never written")
            packed = read(int(offset), int(length))
        if len(packed) != int(length):
            raise ValueError(f"shard {shard} is cut: chunk {index} has {len(packed)} of {int(length)} bytes")
        view = memoryview(packed)
        if self.checked:
            # of bytes with their own checksum behind them, whatever they are: no copy without it is made
            if crc32c(packed) != RESIDUE:
                raise ValueError(f"chunk {index} in shard {shard} is not as it was written: its checksum differs")
            view = view[:-CHECKSUM_BYTES]
        # Blosc's header says how much comes out: a chunk that is too short would leave what was in memory before
        says = int.from_bytes(view[4:8], "little") if len(view) >= BLOSC_HEADER_BYTES else 0
        if says != out.nbytes:
            raise ValueError(f"chunk {index} in shard {shard} holds {says} bytes of frames, expected {out.nbytes}")
        blosc.decompress(view, out)


@contextmanager
def _opened(path: Location) -> Iterator[Callable[[int, int], bytes]]:
    """read(start, length) of a shard's bytes; a negative start counts from the end."""
    if isinstance(path, ObjectPath):
        yield path.read_range
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size

        def read(start: int, length: int) -> bytes:
            at = start if start >= 0 else size + start
            if at < 0 or at + length > size:
                # pread would allocate all of it
                raise ValueError(f"it is cut: {length} bytes at {at} are asked of {size}")
            return os.pread(descriptor, length, at)

        yield read
    finally:
        os.close(descriptor)


def open_sharded(path: Location) -> ShardedFrames | None:
    """The direct reader of the array at `path`, or None where its metadata is not exactly of the known form."""
    meta: dict[str, Any] = load_json((path / "zarr.json").read_text())
    codecs = meta["codecs"]
    if meta["data_type"] != "uint16" or len(meta["shape"]) != 3 or len(codecs) != 1 or codecs[0]["name"] != "sharding_indexed":
        return None
    inner = codecs[0]["configuration"]
    steps = [c["name"] for c in inner["codecs"]]
    plain = steps[:2] == ["bytes", "blosc"] and steps[2:] in ([], ["crc32c"]) and inner["codecs"][0] == _BYTES
    indexed = inner["index_codecs"] == [_BYTES, {"name": "crc32c"}] and inner["index_location"] == "end"
    key = meta["chunk_key_encoding"]
    if not plain or not indexed or key["name"] != "default" or key.get("configuration", {}).get("separator", "/") != "/":
        return None
    shape, shard, chunk = meta["shape"], meta["chunk_grid"]["configuration"]["chunk_shape"], inner["chunk_shape"]
    whole = all(type(n) is int and n > 0 for n in (*shape, *shard, *chunk))
    if not whole or chunk[1:] != shape[1:] or shard[1:] != shape[1:] or shard[0] % chunk[0]:
        return None
    # a visit may be shorter than a chunk, but not by any factor
    if math.prod(chunk) > max(4 * math.prod(shape), CHUNK_VALUES):
        return None
    return ShardedFrames(path, (shape[0], shape[1], shape[2]), chunk[0], shard[0] // chunk[0], checked=len(steps) > 2)
