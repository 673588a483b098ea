"""XML of others: small files without entities, of which a tree is built that is as large as it looks."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

#: bytes of a configuration file, at most
MOST_BYTES = 2**22


def read_xml(path: Path) -> ElementTree.Element:
    """The root of an XML file. Raises ValueError where it declares entities or is too large, ElementTree.ParseError where it is no XML."""
    with path.open("rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} bytes, and a configuration a few thousand")
    # with the zeros of UTF-16 taken out: an entity may stand for gigabytes, or for another file
    plain = content.replace(b"\0", b"")
    if b"<!DOCTYPE" in plain or b"<!ENTITY" in plain:
        raise ValueError("it declares a document type or entities: remove them")
    try:
        return ElementTree.fromstring(content)
    except RecursionError:
        raise ValueError("it is nested too deep: write it flat") from None
