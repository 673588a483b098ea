"""What may have happened to a file: bytes that were damaged, texts and headers that say something else; drawn from one generator."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import yaml

Draw = np.random.Generator
#: (generator, content) -> content
Damage = Callable[[Draw, bytes], bytes]

#: what a size in a header may say
SIZES = (-1, 0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63)
#: what may stand in a text where something else is expected
WORDS: tuple[Any, ...] = (
    *(-1, 0, 2**63, 10**400, 1e300, -1e300, 1e-300, float("nan"), float("inf"), True, None, "", "x", "\u00e9\u4e16", "../x", "a" * 5000),
    *([], {}, [[]], {"a": {"b": []}}, [1, "x", None]),
)


def _at(draw: Draw, content: bytes) -> int:
    # heads and ends of files hold what decides
    where = draw.integers(4)
    n = max(1, len(content))
    if where == 0:
        return int(draw.integers(min(n, 128)))
    if where == 1:
        return n - 1 - int(draw.integers(min(n, 128)))
    return int(draw.integers(n))


def flip(draw: Draw, content: bytes) -> bytes:
    """Some bits are another way round."""
    out = bytearray(content)
    for _ in range(int(draw.choice([1, 1, 3, 20]))):
        if out:
            out[_at(draw, content) % len(out)] ^= 1 << int(draw.integers(8))
    return bytes(out)


def cut(draw: Draw, content: bytes) -> bytes:
    """The end is missing, or all of it."""
    return content[: int(draw.choice([0, 1, 7, _at(draw, content), _at(draw, content)]))]


def behead(draw: Draw, content: bytes) -> bytes:
    """The beginning is missing."""
    return content[_at(draw, content) :]


def zero(draw: Draw, content: bytes) -> bytes:
    """A run of bytes is zero, as after a crash of the machine."""
    start, length = _at(draw, content), int(draw.choice([1, 8, 64, 4096, len(content)]))
    part = content[start : start + length]
    return content[:start] + bytes(len(part)) + content[start + len(part) :]


def ones(draw: Draw, content: bytes) -> bytes:
    """A run of bytes is 255."""
    start, length = _at(draw, content), int(draw.choice([1, 4, 8, 64]))
    part = content[start : start + length]
    return content[:start] + b"\xff" * len(part) + content[start + len(part) :]


def swap(draw: Draw, content: bytes) -> bytes:
    """Two blocks are in each other's place."""
    size = int(draw.choice([1, 8, 64, 512]))
    low, high = sorted((_at(draw, content), _at(draw, content)))
    if high < low + size:
        return content[low:] + content[:low]
    return content[:low] + content[high : high + size] + content[low + size : high] + content[low : low + size] + content[high + size :]


def twice(draw: Draw, content: bytes) -> bytes:
    """A block comes twice."""
    start, size = _at(draw, content), int(draw.choice([1, 8, 64, 512]))
    return content[:start] + content[start : start + size] + content[start:]


def garbage(draw: Draw, content: bytes) -> bytes:
    """A block of any bytes, or all of it."""
    if draw.integers(4) == 0:
        return draw.bytes(int(draw.integers(1, 300)))
    start, size = _at(draw, content), int(draw.choice([2, 16, 128]))
    return content[:start] + draw.bytes(size) + content[start + size :]


def text_instead(draw: Draw, content: bytes) -> bytes:
    """Something else altogether, as an error page that was saved under the file's name."""
    return [
        b"<html>404 Not Found</html>\n",
        b"hello\n",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b"0",
        b"a,b\n1,2\n",
        b"- " * 3000,
        b"[" * 3000,
    ][int(draw.integers(10))]


def number(draw: Draw, content: bytes) -> bytes:
    """A binary number of four or eight bytes says something else."""
    width = int(draw.choice([2, 4, 8]))
    start = _at(draw, content) // width * width
    value = int(draw.choice(len(SIZES)))
    packed = (SIZES[value] % 2 ** (8 * width)).to_bytes(width, "little" if draw.integers(2) else "big")
    return content[:start] + packed + content[start + width :]


BYTES: tuple[Damage, ...] = (flip, cut, behead, zero, ones, swap, twice, garbage, text_instead, number)

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


def text_number(draw: Draw, content: bytes) -> bytes:
    """A number in a text says something else."""
    found = list(_NUMBER.finditer(content))
    if not found:
        return content
    match = found[int(draw.integers(len(found)))]
    word = WORDS[int(draw.integers(len(WORDS)))]
    return content[: match.start()] + str(word).encode()[:4000] + content[match.end() :]


def line(draw: Draw, content: bytes) -> bytes:
    """A line is missing, comes twice, is empty or is cut; or two lines have changed their places."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    i, j = (int(draw.integers(len(lines))) for _ in range(2))
    kind = int(draw.integers(6))
    if kind == 0:
        del lines[i]
    elif kind == 1:
        lines.insert(j, lines[i])
    elif kind == 2:
        lines[i] = b"\n"
    elif kind == 3:
        lines[i] = lines[i][: int(draw.integers(len(lines[i]) + 1))] + b"\n"
    elif kind == 4:
        lines[i], lines[j] = lines[j], lines[i]
    else:
        lines[i] = b"  " * int(draw.integers(1, 4)) + lines[i]
    return b"".join(lines)


def cell(draw: Draw, content: bytes) -> bytes:
    """A cell of a table says something else, is missing, or is one more."""
    lines = content.split(b"\n")
    i = int(draw.integers(len(lines)))
    cells = lines[i].split(b",")
    j = int(draw.integers(len(cells)))
    kind = int(draw.integers(4))
    if kind == 0:
        del cells[j]
    elif kind == 1:
        cells.insert(j, cells[j])
    else:
        cells[j] = str(WORDS[int(draw.integers(len(WORDS)))]).encode()[:4000]
    lines[i] = b",".join(cells)
    return b"\n".join(lines)


def not_utf8(draw: Draw, content: bytes) -> bytes:
    """A letter of another encoding, a zero byte, a mark of UTF-16."""
    start = _at(draw, content)
    return content[:start] + [b"\xe9", b"\x00", b"\xff\xfe", b"\xc3", b"\x85", b"\x1b"][int(draw.integers(6))] + content[start:]


TEXT: tuple[Damage, ...] = (text_number, text_number, line, cell, not_utf8, flip, cut, text_instead)


def _nodes(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += _nodes(value, (*path, key))
    return found


def edit_tree(draw: Draw, tree: Any) -> Any:
    """A value of a tree is missing, something else, doubled, or has another key."""
    paths = _nodes(tree)
    if not paths:
        return tree
    path = paths[int(draw.integers(len(paths)))]
    above = tree
    for key in path[:-1]:
        above = above[key]
    key, value = path[-1], above[path[-1]]
    kind = int(draw.integers(6))
    if kind == 0:
        del above[key]
    elif kind == 1 and isinstance(value, list):
        above[key] = [*value, *value[:1]] if draw.integers(2) else value[:-1]
    elif kind == 2 and isinstance(above, dict):
        above[str(WORDS[int(draw.integers(len(WORDS)))])[:50]] = above.pop(key)
    elif kind == 3 and isinstance(value, (int, float)) and not isinstance(value, bool):
        above[key] = SIZES[int(draw.integers(len(SIZES)))]
    else:
        above[key] = WORDS[int(draw.integers(len(WORDS)))]
    return tree


def json_edit(draw: Draw, content: bytes) -> bytes:
    """A value of a JSON file is another one."""
    return json.dumps(edit_tree(draw, json.loads(content))).encode()


def yaml_edit(draw: Draw, content: bytes) -> bytes:
    """A value of a YAML file is another one."""
    return yaml.safe_dump(edit_tree(draw, yaml.safe_load(content)), allow_unicode=True).encode()


def npy_header(draw: Draw, content: bytes) -> bytes:
    """A header of NumPy says other sizes, types or nonsense, in as many bytes."""
    length = int.from_bytes(content[8:10], "little")
    head = content[10 : 10 + length].decode("latin1")
    options = [
        (r"'shape': \([^)]*\)", [f"'shape': ({s},)" for s in SIZES] + ["'shape': (2, -1)", "'shape': (1.5,)", "'shape': ()", "'shape': 7"]),
        (r"'descr': '[^']*'", [f"'descr': '{d}'" for d in ("<f8", "|O", "<U9", "|V3", "<M8[D]", "<c16", "|S0", "<f3", "")]),
        (r"\{.*\}", ["{" * 50, "()", "{'a': 1}", "[" * 30 + "]" * 30, "1" * 60, "{'shape': (" + "-" * 40 + "1,)}"]),
        (r"False", ["True", "None", "2"]),
    ]
    pattern, words = options[int(draw.integers(len(options)))]
    head = re.sub(pattern, lambda _: words[int(draw.integers(len(words)))], head.rstrip(), count=1)
    head = head.ljust(length - 1)[: length - 1] + "\n"
    return content[:10] + head.encode("latin1") + content[10 + length :]
