"""Keys of one instrument: `fgs1.photometry.…`, a tree of overrides over `calib` that this instrument alone gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from v50calib.errors import ConfigError

#: section of a config -> the instrument whose keys it holds; those of an own detector are in `instruments.NAME`
SECTIONS = {"fgs1": "FGS1", "airs": "AIRS-CH0"}
#: sections and keys of `calib` that are of the whole run, and what stands in for them
_OF_THE_RUN = {
    "photometry.instrument.name": "it chooses the run's instruments",
    "trace.instrument.name": "it chooses the run's instruments",
    "phase.depths.planet": "it joins a planet's instruments in one fit",
    "top_level_calib": "it is of predictions for both instruments",
}


class CalibKeys(dict[str, Any]):
    """Some keys below `calib`, as nested dicts; what they may be is checked when they are put over `calib`."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema())


class InstrumentKeysError(ValueError):
    """Keys of an instrument that do not go with `calib`: `cause` says why; `section`: where they are in the config."""

    def __init__(self, section: str, instrument: str, cause: Exception) -> None:
        super().__init__(f"{section}: {cause}")
        self.section, self.instrument, self.cause = section, instrument, cause


def belongs(instrument: str, name: str) -> bool:
    """Whether an instrument is the one of a name; the name of one with channels stands for all of them.

    >>> belongs("FGS1", "FGS1"), belongs("CAM.J", "CAM"), belongs("CAMERA", "CAM")
    (True, True, False)
    """
    return instrument == name or instrument.startswith(f"{name}.")


def section_of(name: str) -> str:
    """Where the keys of an instrument are in a config.

    >>> section_of("AIRS-CH0"), section_of("CAM")
    ('airs', 'instruments.CAM')
    """
    return next((section for section, instrument in SECTIONS.items() if instrument == name), f"instruments.{name}")


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `above` over those of `below`; a list is replaced as a whole.

    >>> merged({"a": {"x": 1, "y": [1, 2]}}, {"a": {"y": [3]}})
    {'a': {'x': 1, 'y': [3]}}
    """
    out = dict(below)
    for name, value in above.items():
        mine = out.get(name)
        out[name] = merged(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return out


def leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a tree.

    >>> list(leaves({"a": {"x": 1}, "b": 2}))
    [('a.x', 1), ('b', 2)]
    """
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def refuse_keys_of_the_run(keys: Mapping[str, Any], section: str) -> None:
    """Raises ValueError for a key that instruments cannot have each for itself."""
    for key, _ in leaves(keys):
        for name, why in _OF_THE_RUN.items():
            if belongs(key, name):
                raise ValueError(f"{section}.{key} cannot differ by instrument ({why}): give calib.{key}")


@contextmanager
def as_keys_of(instrument: str, by_instrument: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """Around checks of the config that an instrument gets. A ConfigError names the instrument and its own keys as they were given."""
    given = [(section_of(name), keys) for name, keys in by_instrument.items() if belongs(instrument, name)]
    if not given:
        yield
        return
    try:
        yield
    except ConfigError as exc:
        text = str(exc)
        for section, keys in given:
            for key, _ in sorted(leaves(keys), reverse=True):
                text = text.replace(f"calib.{key}", f"{section}.{key}")
        raise ConfigError(f"{instrument}: {text}") from exc
