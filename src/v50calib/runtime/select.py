"""Which visits a run works on: the root's visits, restricted by planet, visit and instrument, or by a list in a file."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from v50calib.config.instruments import SECTIONS, belongs
from v50calib.config.models import RunConfig
from v50calib.errors import ConfigError, DataError
from v50calib.io.keys import SPLITS, VisitKey, normalise_planet_id
from v50calib.io.root import Root, find_visit
from v50calib.tables.sheet import ID, parse, readable


def select(keys: Sequence[VisitKey], config: RunConfig, planets: Sequence[str], root: Root, only: Sequence[str] = ()) -> list[VisitKey]:
    """The visits a run works on, in order.

    planets, only: a visit is chosen if its planet is one of `planets` or it is part of one of `only`
    ([SPLIT/]PLANET[/VISIT[/INSTRUMENT]], or SPLIT: train or test); both empty: all visits. Raises DataError where nothing is left, a
    visit asked for is not there or one is in both splits, ConfigError where the root has no visit of the config's instrument, or none of
    an instrument that has keys of its own.
    """
    known = {k.planet_id for k in keys}
    planets = [normalise_planet_id(p) for p in planets]
    parts = [parse_visit(text) for text in only]
    for planet in [*planets, *(part.names[0] for part in parts if part.names)]:
        if planet not in known:
            find_visit(root, planet)  # raises, naming the nearest ids
    covered = [k for k in keys if config.calib.covers(k.instrument)]
    if keys and not covered:
        names = sorted({k.instrument for k in keys})
        raise ConfigError(
            f"calib.photometry.instrument.name={config.calib.instrument_name}, but '{root.location.name}' has {', '.join(names)} only: "
            "use one of these, or all"
        )
    _refuse_keys_of_no_instrument({k.instrument for k in keys}, config)
    for part in parts:
        if not any(part.has(k) for k in covered):
            have = ", ".join(map(str, (k for k in covered if k.planet_id in part.names[:1]))) or "no visit of this instrument"
            raise DataError(
                f"nothing to calibrate at '{part}': {f'the planet has {have}' if part.names else 'the dataset has no such split'}"
            )
    everything = not planets and not parts
    chosen = [k for k in covered if everything or k.planet_id in planets or any(part.has(k) for part in parts)]
    if not chosen:
        raise DataError(
            f"no visit to calibrate under '{root.location.name}': expected train/ or test/ with a folder per planet holding "
            "AIRS-CH0_signal_0.parquet and FGS1_signal_0.parquet, a raw Zarr store made by 'v50calib ingest', or a detector.yaml"
        )
    _refuse_both_splits(chosen)
    _refuse_one_time_for_several_visits(chosen, config)
    return sorted(chosen)


def _refuse_keys_of_no_instrument(names: set[str], config: RunConfig) -> None:
    """Keys of an own detector that the root does not have would do nothing. A profile may hold those of both built-in instruments."""
    for name in config.by_instrument:
        if names and name not in SECTIONS.values() and not any(belongs(instrument, name) for instrument in names):
            near = difflib.get_close_matches(name, sorted(names), n=1)
            hint = f"did you mean instruments.{near[0]}? " if near else ""
            raise ConfigError(
                f"instruments.{name} has keys for an instrument that the dataset lacks: {hint}it has {', '.join(sorted(names))}"
            )


def _refuse_both_splits(keys: Sequence[VisitKey]) -> None:
    """A product's path has no split: a visit that is in both would be calibrated twice into one place. Raises DataError."""
    counts = Counter(key.label for key in keys)
    twice = [label for label, count in counts.items() if count > 1]
    if twice:
        raise DataError(
            f"{len(twice)} visits are in train/ and in test/, with one path for both products ({', '.join(twice[:3])}): calibrate "
            "with --only train, --only test, each into its own run directory; other commands take a folder with one of the splits"
        )


def _refuse_one_time_for_several_visits(keys: Sequence[VisitKey], config: RunConfig) -> None:
    """A given mid-transit counts from the start of a visit: it cannot be that of two visits of a planet. Raises ConfigError."""
    every = {name: config.of(name).calib for name in {k.instrument for k in keys}}
    held = {name: calib.phase.ephemeris.t0_h for name, calib in every.items() if calib.holds_mid_transit}
    visits: dict[str, set[int]] = {}
    for key in keys:
        if key.instrument in held:
            visits.setdefault(key.planet_id, set()).add(key.visit)
    planet, several = max(visits.items(), key=lambda item: len(item[1]), default=("", set()))
    if len(several) > 1:
        raise ConfigError(
            f"calib.phase.ephemeris.t0_h={next(iter(held.values())):g} is in hours since the start of a visit, and planet {planet} "
            f"has the visits {', '.join(map(str, sorted(several)))}, with transits at other hours: calibrate one visit at a time "
            f"(--only {planet}/{min(several)}) with its own t0_h, or leave t0_h out and let each visit's be fitted"
        )


@dataclass(frozen=True)
class Part:
    """A part of a dataset: a split or None for both, and names: planet, visit, instrument, as far as given."""

    split: str | None
    names: tuple[str, ...]

    def has(self, key: VisitKey) -> bool:
        """Whether a visit is in it."""
        return self.split in (None, key.split) and (key.planet_id, str(key.visit), key.instrument)[: len(self.names)] == self.names

    def __str__(self) -> str:
        return "/".join([*([self.split] if self.split else []), *self.names])


def parse_visit(text: str) -> Part:
    """[SPLIT/]PLANET[/VISIT[/INSTRUMENT]] or SPLIT as its parts. Raises ConfigError for another form, DataError for an invalid planet id.

    >>> parse_visit("1103775/00/FGS1").names, parse_visit("test/1103775").split, str(parse_visit("test"))
    (('1103775', '0', 'FGS1'), 'test', 'test')
    """
    parts = [p.strip() for p in text.split("/")]
    split = parts.pop(0) if parts[0] in SPLITS else None
    if split is not None and not parts:
        return Part(split, ())
    if not 1 <= len(parts) <= 3 or not all(parts) or (len(parts) > 1 and not parts[1].isdecimal()):
        raise ConfigError(
            f"'{text}' names no visit: write PLANET, PLANET/VISIT or PLANET/VISIT/INSTRUMENT, e.g. 1103775/0/FGS1, with train/ or test/ "
            "before it where a split is meant"
        )
    visit = [str(int(parts[1]))] if len(parts) > 1 else []
    return Part(split, (normalise_planet_id(parts[0]), *visit, *parts[2:]))


def read_planets(path: Path, refused: Callable[[str], None]) -> list[str]:
    """Planet ids of a file: one per line, or the column `planet_id` of a CSV, else its first column; # starts a comment.

    A line whose id cannot be read is given to `refused`, in words, and left out. Raises ConfigError where the file cannot be read or
    names none.
    """
    try:
        content = path.read_bytes()
        plain = b"\n".join(line.partition(b"#")[0] for line in content.splitlines()) if b"\0" not in content else content
        sheet = parse(str(path), plain, "planets", headed=False) if plain.strip() else None
    except (OSError, DataError) as exc:
        raise ConfigError(f"cannot read the list of planets '{path}' ({exc}): give a text file with one planet id per line") from exc
    found: list[str] = []
    if sheet is not None:
        place = sheet.header.index(ID) if ID in sheet.header else 0
        head = [] if ID in sheet.header else [(sheet.first - 1, list(sheet.header))]
        for line, cells in (*head, *sheet.rows()):
            name, why = readable(cells[place] if place < len(cells) else "")
            if why:
                refused(f"'{path}' line {line} is left out: {why}")
            else:
                found.append(name)
    if not found:
        raise ConfigError(f"'{path}' names no planet: write one planet id per line")
    return list(dict.fromkeys(found))
