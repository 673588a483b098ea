"""The direct shard reader against zarr's own reading, on whole, ragged and damaged stores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from v50calib.io.storage.shards import open_sharded

RNG = np.random.default_rng(4)


def make(
    path: Path, n: int, *, cname: str = "lz4", shards: int | None = 4, dtype: type = np.uint16, checked: bool = True
) -> np.ndarray:  # fmt: skip
    values = RNG.integers(0, 60000, (n, 6, 8)).astype(dtype)
    compressors = [BloscCodec(cname=cname, clevel=1, shuffle="bitshuffle"), *([Crc32cCodec()] if checked else [])]
    array = zarr.create_array(
        path, shape=values.shape, chunks=(10, 6, 8), shards=(10 * shards, 6, 8) if shards else None, dtype=dtype,
        compressors=compressors, config={"write_empty_chunks": True},
    )  # fmt: skip
    array[...] = values
    return values


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("cname", ["lz4", "zstd"])
@pytest.mark.parametrize("n", [80, 74, 8])
def test_any_range_equals_zarr(tmp_path: Path, n: int, cname: str, checked: bool) -> None:
    values = make(tmp_path / "a", n, cname=cname, checked=checked)
    direct = open_sharded(tmp_path / "a")
    assert direct is not None
    whole = zarr.open_array(tmp_path / "a", mode="r")
    np.testing.assert_array_equal(direct.read(0, n), values)
    for _ in range(20):
        start, stop = sorted(RNG.choice(n + 1, 2, replace=False))
        np.testing.assert_array_equal(direct.read(start, stop), whole[start:stop])


def test_given_buffer_is_filled(tmp_path: Path) -> None:
    values = make(tmp_path / "a", 40)
    direct = open_sharded(tmp_path / "a")
    assert direct is not None
    buffer = np.zeros((20, 6, 8), np.uint16)
    found = direct.read(10, 25, buffer)
    assert np.shares_memory(found, buffer)
    np.testing.assert_array_equal(found, values[10:25])


@pytest.mark.parametrize("kind", ["unsharded", "other dtype"])
def test_other_layouts_are_left_to_zarr(tmp_path: Path, kind: str) -> None:
    make(tmp_path / "a", 40, shards=None if kind == "unsharded" else 4, dtype=np.uint16 if kind == "unsharded" else np.uint32)
    assert open_sharded(tmp_path / "a") is None


def test_damage_is_noticed(tmp_path: Path) -> None:
    make(tmp_path / "a", 80)
    direct = open_sharded(tmp_path / "a")
    assert direct is not None
    shard = tmp_path / "a" / "c" / "1" / "0" / "0"
    content = shard.read_bytes()
    shard.write_bytes(content[:-3])
    with pytest.raises(ValueError, match="damaged index"):
        direct.read(40, 50)
    np.testing.assert_array_equal(direct.read(0, 40).shape, (40, 6, 8))
    shard.unlink()
    with pytest.raises(OSError, match="No such file"):
        direct.read(40, 50)


def test_a_flipped_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    """Every 50th byte of a shard's chunks, a bit each: what zarr refuses is refused here, and nothing else is read."""
    values = make(tmp_path / "a", 40)
    shard = tmp_path / "a" / "c" / "0" / "0" / "0"
    content, direct = bytearray(shard.read_bytes()), open_sharded(tmp_path / "a")
    assert direct is not None
    np.testing.assert_array_equal(direct.read(0, 40), values)
    tail = 16 * 4 + 4
    for at in range(0, len(content) - tail, 50):
        content[at] ^= 1 << (at % 8)
        shard.write_bytes(content)
        with pytest.raises(ValueError, match="checksum differs"):
            direct.read(0, 40)
        content[at] ^= 1 << (at % 8)


def test_a_chunk_that_decodes_too_short_is_refused(tmp_path: Path) -> None:
    """Without a checksum, as in stores of older versions: nothing of the buffer's old content is handed out as frames."""
    make(tmp_path / "a", 40, checked=False)
    shard = tmp_path / "a" / "c" / "0" / "0" / "0"
    content, direct = bytearray(shard.read_bytes()), open_sharded(tmp_path / "a")
    assert direct is not None
    size = int.from_bytes(content[4:8], "little")
    content[4:8] = (size - 96).to_bytes(4, "little")
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=f"holds {size - 96} bytes of frames, expected {size}"):
        direct.read(0, 10)
