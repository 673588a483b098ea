"""Small HTML for notebooks: what `_repr_html_` of pipelines, configs and runs is made of. Everything is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

#: colours and fonts are the reader's: a notebook may be dark
_CELL = 'style="text-align: left; vertical-align: top"'


def table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """A table of texts.

    >>> table(["stage"], [["<dark>"]])
    '<table>...<td ...>&lt;dark&gt;</td></tr></tbody></table>'
    """
    above = f"<caption {_CELL}>{escape(caption)}</caption>" if caption else ""
    heads = "".join(f"<th {_CELL}>{escape(name)}</th>" for name in head)
    lines = "".join("<tr>" + "".join(f"<td {_CELL}>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{above}<thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"


def tree(name: str, values: Mapping[str, object], *, is_open: bool = True) -> str:
    """Keys and values, nested mappings folded away.

    >>> tree("dark", {"enabled": True})
    '<details open ...><summary>dark</summary><ul><li><code>enabled</code>: true</li></ul></details>'
    """
    plain = "".join(
        f"<li><code>{escape(key)}</code>: {escape(say(value))}</li>" for key, value in values.items() if not isinstance(value, Mapping)
    )
    inner = "".join(tree(key, value, is_open=False) for key, value in values.items() if isinstance(value, Mapping))
    opened = " open" if is_open else ""
    listed = f"<ul>{plain}</ul>" if plain else ""
    return f'<details{opened} style="margin-left: 1em"><summary>{escape(name)}</summary>{listed}{inner}</details>'


def say(value: object) -> str:
    """A value as YAML has it: true, false, null.

    >>> say(None), say(True), say(4.5)
    ('null', 'true', '4.5')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def flat(values: Mapping[str, object], path: str = "") -> dict[str, object]:
    """{dotted path: value} of nested mappings.

    >>> flat({"calib": {"dark": {"enabled": True}}, "seed": 1})
    {'calib.dark.enabled': True, 'seed': 1}
    """
    found: dict[str, object] = {}
    for key, value in values.items():
        name = f"{path}.{key}" if path else key
        found |= flat(value, name) if isinstance(value, Mapping) else {name: value}
    return found
