"""YAML of others: refused where aliases make a small file a huge tree, before anything is built of it."""

from __future__ import annotations

from typing import Any

import yaml

#: nodes of a file with its aliases written out, at most, where it has aliases; without any it is as large as it looks
MOST_NODES = 100_000
#: libyaml's where PyYAML was built with it
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RefusedYaml(yaml.YAMLError):
    """YAML that could be parsed and is not taken."""


def refuse_bombs(text: str) -> None:
    """Raises RefusedYaml where a text's aliases stand for more than MOST_NODES nodes, or for themselves, or it is nested too deep.

    >>> refuse_bombs("a: &x [1, 2]\\nb: *x")
    """
    # without an alias, and nested no deeper than Python follows
    if "*" not in text and "[" * 20 not in text and "{" * 20 not in text and "- " * 10 not in text and " " * 200 not in text:
        return
    try:
        node = yaml.compose(text, Loader=_LOADER)
        size = 0 if node is None else _size(node, {}, set())
    except RecursionError:
        raise RefusedYaml("it is nested too deep: write it flat") from None
    if size > MOST_NODES and _has_alias(text):
        raise RefusedYaml(
            f"its aliases (*name) stand for {size:.3g} values, and at most {MOST_NODES} are read: write out what is meant, without "
            "aliases of aliases"
        )


def load_yaml(text: str) -> Any:
    """Plain values of a YAML text: no tags, no bombs. Raises yaml.YAMLError, also for numbers and dates that cannot be."""
    refuse_bombs(text)
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise RefusedYaml("it is nested too deep: write it flat") from None
    except (ValueError, OverflowError) as error:
        raise RefusedYaml(f"a value in it cannot be read: {error}") from error


def _has_alias(text: str) -> bool:
    return any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=_LOADER))


def _size(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """Nodes of a tree, each alias counted as what it stands for."""
    if id(node) in known:
        return known[id(node)]
    if id(node) in above:
        raise RefusedYaml("an alias (*name) in it stands for what it is itself a part of: write out what is meant")
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = list(node.value)
    above.add(id(node))
    total = 1 + sum(_size(child, known, above) for child in children)
    above.discard(id(node))
    known[id(node)] = total
    return total
