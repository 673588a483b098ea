"""Interpolations (`${key}`) of a composed config, weighed before they are resolved: OmegaConf writes each of them out anew."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from v50calib.errors import ConfigError

#: characters and values of a config with its interpolations written out, and how deep one may lead to another
MOST, DEEPEST = 1_000_000, 30
#: longest text that may be a part of another interpolation's key
_KEY = 200
_INNERMOST = re.compile(r"\$\{([^${}]*)\}")
#: resolvers whose first argument is a key
_OF_KEY = ("oc.select", "oc.dict.keys", "oc.dict.values", "oc.deprecated")


def refuse_interpolation_bombs(config: DictConfig, name: str) -> None:
    """Raises ConfigError where the interpolations of a config stand for more than MOST characters, for themselves, or lead too deep.

    >>> refuse_interpolation_bombs(OmegaConf.create({"a": 1, "b": "${a} px"}), "mine")
    """
    tree = OmegaConf.to_container(config, resolve=False)
    assert isinstance(tree, dict)
    try:
        total = _Scale(config, tree).of("")
    except RecursionError:
        raise ConfigError(f"profile '{name}' is nested too deep: write it flat") from None
    except _RefusedError as why:
        raise ConfigError(f"profile '{name}' cannot be taken: {why}") from None
    if total > MOST:
        raise ConfigError(
            f"profile '{name}' cannot be taken: its interpolations (${{key}}) stand for {total:.3g} characters, and at most {MOST} are "
            "read; write out what is meant"
        )


class _RefusedError(Exception):
    """Why a config is not taken."""


class _Scale:
    """What a key of a tree weighs once everything below it is written out."""

    def __init__(self, config: DictConfig, tree: dict[Any, Any]) -> None:
        self._config, self._tree = config, tree
        self._known: dict[str, int] = {}
        self._above: list[str] = []
        #: over how many keys the interpolations of each lead, and those of the one that is being weighed
        self._depths: dict[str, int] = {}
        self._reached = 0

    def of(self, key: str) -> int:
        """Weight of a key (`a.b.0`; "" is the whole tree); 0 where there is none: OmegaConf tells of it."""
        if key in self._known:
            self._reached = max(self._reached, self._depths[key])
            return self._known[key]
        if key in self._above:
            raise _RefusedError(f"the interpolation of '{key}' leads back to itself; write a value")
        self._above.append(key)
        outer, self._reached = self._reached, 0
        total = self._weigh(self._node(key), key)
        self._depths[key] = self._reached + 1
        self._reached = max(outer, self._depths[key])
        self._above.pop()
        if max(self._depths[key], len(self._above)) > DEEPEST:
            raise _RefusedError(f"its interpolations lead over more than {DEEPEST} keys, to '{key}' and on; write values")
        self._known[key] = total
        return total

    def _node(self, key: str) -> Any:
        node: Any = self._tree
        for part in filter(None, re.split(r"[.\[\]]", key)):
            if isinstance(node, dict):
                node = next((value for name, value in node.items() if str(name) == part), None)
            else:
                node = node[int(part)] if isinstance(node, list) and part.isdecimal() and int(part) < len(node) else None
        return node

    def _weigh(self, node: Any, key: str) -> int:
        if isinstance(node, dict):
            return 1 + sum(self._weigh(value, f"{key}.{name}" if key else str(name)) for name, value in node.items())
        if isinstance(node, list):
            return 1 + sum(self._weigh(value, f"{key}.{i}") for i, value in enumerate(node))
        return 1 + (self._weigh_text(node, key) if isinstance(node, str) else 0)

    def _weigh_text(self, text: str, key: str) -> int:
        """Innermost interpolations first: they may be a part of another one's key."""
        total = len(text)
        while (found := _INNERMOST.search(text)) is not None:
            weight, meant = self._target(found[1].strip(), key)
            total += 1 + weight
            text = text[: found.start()] + meant + text[found.end() :]
            if total > MOST or len(text) > MOST:
                break
        return total

    def _target(self, inner: str, key: str) -> tuple[int, str]:
        """Weight of what an interpolation stands for, and its text where that may be a part of a key."""
        resolver, colon, arguments = inner.partition(":")
        target = arguments.split(",")[0].strip() if colon else inner
        if colon and resolver.strip() not in _OF_KEY:
            return len(arguments), ""
        target = _absolute(target, key)
        weight = self.of(target)
        if weight > _KEY:
            return weight, ""
        try:
            value = OmegaConf.select(self._config, target)
        except OmegaConfBaseException:
            return weight, ""
        return weight, "" if value is None or isinstance(value, (DictConfig, ListConfig)) else str(value).replace("${", "")


def _absolute(target: str, key: str) -> str:
    """A key as seen from the top: each leading dot is a level up from the value that names it.

    >>> _absolute("..b", "x.y.a"), _absolute("b", "x.y.a")
    ('x.b', 'b')
    """
    levels = len(target) - len(target.lstrip("."))
    if not levels:
        return target
    return ".".join(filter(None, [*key.split(".")[:-levels], target[levels:]]))
