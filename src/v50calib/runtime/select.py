"""Which visits a run works on: the root's visits, restricted by planet, visit and instrument, or by a list in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from v50calib.config.models import RunConfig
from v50calib.errors import ConfigError, DataError
from v50calib.io.keys import VisitKey, normalise_planet_id
from v50calib.io.root import Root, find_visit


def select(keys: Sequence[VisitKey], config: RunConfig, planets: Sequence[str], root: Root, only: Sequence[str] = ()) -> list[VisitKey]:
    """The visits a run works on, in order.

    planets, only: a visit is chosen if its planet is one of `planets` or it is part of one of `only`
    (PLANET[/VISIT[/INSTRUMENT]]); both empty: all visits. Raises DataError where nothing is left or a visit asked for is not there,
    ConfigError where the root has no visit of the config's instrument.
    """
    known = {k.planet_id for k in keys}
    planets = [normalise_planet_id(p) for p in planets]
    parts = [parse_visit(text) for text in only]
    for planet in [*planets, *(part[0] for part in parts)]:
        if planet not in known:
            find_visit(root, planet)  # raises, naming the nearest ids
    covered = [k for k in keys if config.calib.covers(k.instrument)]
    if keys and not covered:
        names = sorted({k.instrument for k in keys})
        raise ConfigError(
            f"calib.photometry.instrument.name={config.calib.instrument_name}, but '{root.location.name}' has {', '.join(names)} only: "
            "use one of these, or all"
        )
    for part in parts:
        if not any(_is_of(k, part) for k in covered):
            have = ", ".join(k.label for k in covered if k.planet_id == part[0])
            raise DataError(f"nothing to calibrate at '{'/'.join(part)}': the planet has {have or 'no visit of this instrument'}")
    everything = not planets and not parts
    chosen = [k for k in covered if everything or k.planet_id in planets or any(_is_of(k, part) for part in parts)]
    if not chosen:
        raise DataError(
            f"no visit to calibrate under '{root.location.name}': expected train/ or test/ with a folder per planet holding "
            "AIRS-CH0_signal_0.parquet and FGS1_signal_0.parquet, a raw Zarr store made by 'v50calib ingest', or a detector.yaml"
        )
    _refuse_one_time_for_several_visits(chosen, config)
    return sorted(chosen)


def _refuse_one_time_for_several_visits(keys: Sequence[VisitKey], config: RunConfig) -> None:
    """A given mid-transit counts from the start of a visit: it cannot be that of two visits of a planet. Raises ConfigError."""
    if not config.calib.holds_mid_transit:
        return
    visits: dict[str, set[int]] = {}
    for key in keys:
        visits.setdefault(key.planet_id, set()).add(key.visit)
    planet, several = max(visits.items(), key=lambda item: len(item[1]))
    if len(several) > 1:
        raise ConfigError(
            f"calib.phase.ephemeris.t0_h={config.calib.phase.ephemeris.t0_h:g} is in hours since the start of a visit, and planet {planet} "
            f"has the visits {', '.join(map(str, sorted(several)))}, with transits at other hours: calibrate one visit at a time "
            f"(--only {planet}/{min(several)}) with its own t0_h, or leave t0_h out and let each visit's be fitted"
        )


def parse_visit(text: str) -> tuple[str, ...]:
    """PLANET[/VISIT[/INSTRUMENT]] as its parts. Raises ConfigError for another form, DataError for an invalid planet id.

    >>> parse_visit("1103775/00/FGS1")
    ('1103775', '0', 'FGS1')
    """
    parts = [p.strip() for p in text.split("/")]
    if not 1 <= len(parts) <= 3 or not all(parts) or (len(parts) > 1 and not parts[1].isdecimal()):
        raise ConfigError(f"'{text}' names no visit: write PLANET, PLANET/VISIT or PLANET/VISIT/INSTRUMENT, e.g. 1103775/0/FGS1")
    visit = [str(int(parts[1]))] if len(parts) > 1 else []
    return (normalise_planet_id(parts[0]), *visit, *parts[2:])


def read_planets(path: Path) -> list[str]:
    """Planet ids of a file: one per line, or the first column of a CSV whose header is `planet_id`; # starts a comment.

    Raises ConfigError where the file cannot be read or names none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read the list of planets '{path}' ({exc}): give a text file with one planet id per line") from exc
    names = [line.partition("#")[0].split(",")[0].strip().strip('"') for line in lines]
    found = [name for name in names if name and name != "planet_id"]
    if not found:
        raise ConfigError(f"'{path}' names no planet: write one planet id per line")
    return list(dict.fromkeys(found))


def _is_of(key: VisitKey, part: tuple[str, ...]) -> bool:
    """Whether a visit is part of (planet[, visit[, instrument]])."""
    return (key.planet_id, str(key.visit), key.instrument)[: len(part)] == part
