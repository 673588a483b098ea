"""The table of all visits: its columns, and the cells of a visit with the values they are sorted by."""

from __future__ import annotations

import math
from dataclasses import dataclass

from v50calib.qc.distrust import NO_PRODUCT
from v50calib.qc.summary import said_depth
from v50calib.report.visits import Visit


@dataclass(frozen=True)
class Column:
    """numeric: numbers, aligned right; the reasons are words that are sorted by how many there are."""

    label: str
    meaning: str
    numeric: bool = True

    @property
    def sorts_as_number(self) -> bool:
        return self.numeric or self.label == "reasons"


@dataclass(frozen=True)
class Cell:
    """text: shown; value: sorted by, empty where it is not known."""

    label: str
    text: str
    value: str
    numeric: bool


@dataclass(frozen=True)
class Row:
    anchor: str | None
    cells: list[Cell]
    reasons: list[str]


_ALL = (
    Column("rank", "1: least trusted"),
    Column("visit", "planet/visit/instrument", False),
    Column("state", "how the last attempt ended", False),
    Column("score", "sum of the reasons' weights"),
    Column("noise / limit", "scatter out of transit over the noise model's"),
    Column("red noise", "the same, averaged over the longest blocks"),
    Column("fit χ²", "reduced chi² of the white transit fit"),
    Column("depth (ppm)", "white-light transit depth and its standard error"),
    Column("pull", "(depth - truth) / standard error"),
    Column("drift (px)", "displacement of the star, first to last tenth of the visit"),
    Column("time (s)", "seconds of work on the visit"),
    Column("reasons", "why to distrust it", False),
)


def columns(with_truth: bool) -> list[Column]:
    """The columns; `pull` only where there is a truth.

    >>> [column.label for column in columns(with_truth=True)][:4], "pull" in [column.label for column in columns(with_truth=False)]
    (['rank', 'visit', 'state', 'score'], False)
    """
    return [column for column in _ALL if with_truth or column.label != "pull"]


def row(rank: int, visit: Visit, anchor: str | None, with_truth: bool) -> Row:
    """A visit's cells, in the order of `columns`."""
    numbers = visit.verdict.numbers
    score = visit.verdict.score
    shown: dict[str, tuple[str, str | float]] = {
        "rank": (str(rank), float(rank)),
        "visit": (visit.label, visit.label),
        "state": (visit.entry.state, visit.entry.state),
        "score": ("no product" if score >= NO_PRODUCT else f"{score:.2f}", score),
        # the words are in Row.reasons
        "reasons": (str(len(visit.verdict.reasons)), float(len(visit.verdict.reasons))),
        "noise / limit": _three(numbers.get("noise_over_limit", math.nan)),
        "red noise": _three(numbers.get("red_noise", math.nan)),
        "fit χ²": _three(numbers.get("fit_chi2", math.nan)),
        "depth (ppm)": (_depth(visit), visit.depth_ppm if visit.measured else math.nan),
        "pull": (f"{visit.pull:+.2f}" if math.isfinite(visit.pull) else "", visit.pull),
        "drift (px)": _three(numbers.get("drift_px", math.nan)),
        "time (s)": (f"{visit.entry.seconds:.1f}", visit.entry.seconds),
    }
    cells = [Cell(c.label, shown[c.label][0], _value(shown[c.label][1]), c.numeric) for c in columns(with_truth)]
    return Row(anchor, cells, [reason.text for reason in visit.verdict.reasons])


def _three(value: float) -> tuple[str, str | float]:
    return (f"{value:.3f}" if math.isfinite(value) else ""), value


def _depth(visit: Visit) -> str:
    unknown = not math.isfinite(visit.depth_ppm) and visit.transit_found is not False
    return "" if unknown else said_depth(visit.depth_ppm, visit.sigma_ppm)


def _value(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return repr(value) if math.isfinite(value) else ""
