"""Packed chunks of arrays by their headers."""

from __future__ import annotations

#: values that a chunk may have beyond four times those of the array that it is of
CHUNK_VALUES = 2**23
_ZSTD = b"\x28\xb5\x2f\xfd"


def declared_size(head: bytes) -> int | None:
    """Bytes that a chunk says it unpacks to, by its first 32 bytes; None where they do not say: then it is no Zstandard or Blosc.

    What is neither may look like Blosc by chance: such a number is of no use where it is larger than the chunk should be, and of no harm
    where it is smaller.

    >>> import numcodecs
    >>> declared_size(numcodecs.Zstd().encode(bytes(1000))[:32]), declared_size(numcodecs.Blosc().encode(bytes(1000))[:32])
    (1000, 1000)
    """
    if head[:4] == _ZSTD and len(head) >= 6:
        flags = head[4]
        single, kind = bool(flags & 0x20), flags >> 6
        width = (1 if single else 0, 2, 4, 8)[kind]
        at = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
        return int.from_bytes(head[at : at + width], "little") + (256 if kind == 1 else 0) if width else None
    # versions of the format and of the packer, flags, size of a value; sizes unpacked, of a block, packed
    return int.from_bytes(head[4:8], "little") if len(head) >= 16 and head[0] == 2 and head[1] in (1, 2) else None
