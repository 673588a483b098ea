"""ExoSim's configuration as it lies beside its output: XML files that name each other.

ExoSim copies them into the folder of what it writes. Paths in them are those of the machine that simulated, so a file is looked for in
that folder first, by its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

from v50calib.array_files import refuse_special
from v50calib.errors import DataError
from v50calib.untrusted.boundary import foreign
from v50calib.untrusted.xml_text import read_xml

#: how the chain calls a star and its planet: where ExoSim has it, and in which unit
STAR = {"Rs": ("R", "R_sun"), "Ms": ("M", "M_sun"), "Ts": ("T", "K")}
ORBIT = {"e": ("ecc", ""), "P": ("period", "day"), "sma": ("sma", ""), "i": ("inc", "deg")}
#: names of units that mean the same
_SAME_UNIT = {"d": "day", "days": "day", "degree": "deg", "degrees": "deg", "R_sun": "R_sun", "solRad": "R_sun", "solMass": "M_sun"}
#: in place of the folder of the configuration
_FOLDER = "__ConfigPath__"


@dataclass(frozen=True)
class Settings:
    """One simulation's configuration: `star` as the chain names it, `target` the star's name, `detectors` (element, folder) by channel."""

    folder: Path
    star: dict[str, float]
    target: str
    detectors: dict[str, ElementTree.Element]
    files: tuple[Path, ...]

    def text(self, channel: str, key: str) -> str | None:
        """A value of a channel's detector; None where it is not given."""
        found = self.detectors[channel].findtext(key) if channel in self.detectors else None
        return found.strip() if found is not None and found.strip() else None

    def switched_off(self, channel: str, key: str) -> bool:
        """Whether an effect is said not to be simulated."""
        return self.text(channel, key) == "False"

    def path(self, channel: str, key: str) -> Path | None:
        """The file that a key of a channel's detector names; None where the key or the file is not there."""
        text = self.text(channel, key)
        return find_beside(self.folder, text) if text is not None else None


def find_beside(folder: Path, text: str) -> Path | None:
    """The file of that name in the folder, or at the path as it is written; None where there is neither."""
    written = Path(text.replace(_FOLDER, str(folder)).strip())
    return next((path for path in (folder / written.name, written) if path.is_file()), None)


def settings_beside(folder: Path) -> Settings | None:
    """The configuration in a folder; None where there is none. Raises DataError where a file of it is damaged, or there are two."""
    with foreign(folder):
        stamps = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.glob("*.xml")))
    return _settings(folder, stamps)


@lru_cache(maxsize=64)
def _settings(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> Settings | None:
    trees = {Path(name): _tree(Path(name)) for name, _, _ in stamps}
    mains = [path for path, tree in trees.items() if tree.find("sky") is not None and tree.find("payload") is not None]
    if not mains:
        return None
    if len(mains) > 1:
        names = [path.name for path in mains]
        raise DataError(f"{folder} has {len(mains)} configurations of ExoSim ({', '.join(names)}): leave the one of its simulation there")
    main = trees[mains[0]]
    used = [mains[0]]
    sky, payload = _included(main.find("sky"), folder, used), _included(main.find("payload"), folder, used)
    detectors = {}
    for channel in payload.findall("channel"):
        detector = _included(channel, folder, used).find("detector")
        if detector is not None:
            detectors[_own_text(channel)] = detector
    source = _target(sky)
    star = _star(source, mains[0]) if source is not None else {}
    return Settings(folder, star, _own_text(source) if source is not None else "", detectors, tuple(dict.fromkeys(used)))


def _tree(path: Path) -> ElementTree.Element:
    refuse_special(path)
    with foreign(path, remedy="it is no configuration of ExoSim: repair or remove it"):
        return read_xml(path)


def _included(element: ElementTree.Element | None, folder: Path, used: list[Path]) -> ElementTree.Element:
    """The element that a `config` stands for; the element itself where it has none. Files that were read are added to `used`."""
    assert element is not None
    name = element.findtext("config")
    if name is None:
        return element
    path = find_beside(folder, name.strip())
    if path is None:
        raise DataError(f"{folder}: its configuration names {name.strip()}, which is not there: put the file into the folder")
    used.append(path)
    return _tree(path)


def _own_text(element: ElementTree.Element) -> str:
    return " ".join((element.text or "").split())


def _target(sky: ElementTree.Element) -> ElementTree.Element | None:
    """The source that is observed: the one that says so, or the only one."""
    sources = sky.findall("source")
    said = [source for source in sources if (source.findtext("source_target") or "").strip() == "True"]
    return said[0] if said else sources[0] if len(sources) == 1 else None


def _star(source: ElementTree.Element, main: Path) -> dict[str, float]:
    """Parameters by the chain's names, in its units; those in other units are left out."""
    planet = source.find("planet")
    found = {name: _number(source.find(tag), unit, main) for name, (tag, unit) in STAR.items()}
    if planet is not None:
        found |= {name: _number(planet.find(tag), unit, main) for name, (tag, unit) in ORBIT.items()}
    return {name: value for name, value in found.items() if value is not None}


def _number(element: ElementTree.Element | None, unit: str, main: Path) -> float | None:
    if element is None or not _own_text(element):
        return None
    given = element.get("unit", "")
    if unit and _SAME_UNIT.get(given, given) != unit:
        return None
    try:
        return float(_own_text(element))
    except ValueError:
        raise DataError(f"{main}: <{element.tag}> is {_own_text(element)!r}, expected a number: correct the configuration") from None
