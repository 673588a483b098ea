"""The ways in which `benchmarks.nasty` spoils a visit of an instrument, or a planet's row, and what may be said of each.

A kind states how it may end: `fails` (the visit has no product), `told` (its product, or its planet's fit, has a reason to be
distrusted), `same` (the product equals that of the unspoiled run bit for bit) or `quiet` (nothing is said; nothing may then be wrong).
Where something is said, `reasons` must match it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import spoil

End = Literal["fails", "told", "same", "quiet"]
#: pixels of a row of each instrument's frame
COLUMNS = {"FGS1": 32, "AIRS-CH0": 356}


@dataclass(frozen=True)
class Target:
    """What is spoiled: a visit of an instrument, and where else its dataset has planets to take things from."""

    data: Path
    planet: str
    visit: int
    instrument: str
    other: str
    truth: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.planet}/{self.visit}/{self.instrument}"

    @property
    def signal(self) -> Path:
        return self.data / "train" / self.planet / f"{self.instrument}_signal_{self.visit}.parquet"

    def map(self, name: str, *, other: bool = False) -> Path:
        planet, visit = (self.other, 0) if other else (self.planet, self.visit)
        return self.data / "train" / planet / f"{self.instrument}_calibration_{visit}" / f"{name}.parquet"

    @property
    def stars(self) -> Path:
        return self.data / "train_star_info.csv"


Spoil = Callable[[Target, np.random.Generator], None]


@dataclass(frozen=True)
class Kind:
    """One way to spoil. ends: the allowed ends; reasons: pattern that what is said must match; planet: all its visits are concerned."""

    spoil: Spoil
    ends: frozenset[End]
    reasons: str
    planet: bool = False

    def fits(self, text: str) -> bool:
        return re.search(self.reasons, text, re.IGNORECASE) is not None


#: what a light curve that is no transit with white noise is told by
CURVE = (
    r"fit_chi2|depth_chi2|channel_chi2|red_noise|noise_over_limit|lost_pairs|transit_inside|contacts_seen|t0_apart|instruments_apart|"
    r"visits_apart|no transit found|transit_snr|unconverged|in no depth's error"
)
LOST = rf"lost_pairs|lost|dropout|bad_samples|{CURVE}"
PIXELS = r"satur|bad_samples|channels_lost|jitter_px|drift_px|hot|dark|background|flat|pixel"
ANY = f"{CURVE}|{PIXELS}"


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between 10^low and 10^high, evenly in its logarithm."""
    return float(10 ** rng.uniform(low, high))


def _frames(change: Callable[[np.ndarray, Target, np.random.Generator], np.ndarray]) -> Spoil:
    def spoil_frames(target: Target, rng: np.random.Generator) -> None:
        spoil.rewrite(target.signal, lambda frames: change(frames.copy(), target, rng))

    return spoil_frames


def _light(factor: Callable[[int, Target, np.random.Generator], np.ndarray]) -> Spoil:
    return _frames(lambda f, t, rng: spoil.multiplied(f, factor(len(f), t, rng), rng))


def _second_event(n: int, target: Target, rng: np.random.Generator) -> np.ndarray:
    """Another planet's transit, off the first one where the visit has room for it."""
    visit = target.truth["visits"][target.visit]
    start = visit["t0_h"] / 7.5
    middle = start + rng.choice([-1, 1]) * rng.uniform(0.25, 0.5)
    return spoil.dip(
        n, float(np.clip(middle, 0.05, 0.95)), rng.uniform(0.1, 0.25), rng.uniform(0.3, 1.0) * float(np.mean(target.truth["depth"]))
    )


def _cut(frames: np.ndarray, _: Target, rng: np.random.Generator) -> np.ndarray:
    share = rng.uniform(0.35, 0.55)
    return spoil.lost(frames, 0.0 if rng.random() < 0.5 else 1.0 - share, share)


def _flare(n: int, _: Target, rng: np.random.Generator) -> np.ndarray:
    return spoil.flare(n, rng.uniform(0.0, 0.9), _log(rng, -2.5, -1), rng.uniform(0.02, 0.1))


def _bow(n: int, _: Target, rng: np.random.Generator) -> np.ndarray:
    return spoil.parabola(n, rng.choice([-1, 1]) * _log(rng, -3.3, -2.3))


def _backwards(frames: np.ndarray, _: Target, __: np.random.Generator) -> np.ndarray:
    pairs = frames[: len(frames) // 2 * 2].reshape(-1, 2, frames.shape[1])
    return pairs[::-1].reshape(-1, frames.shape[1])


def _jump(frames: np.ndarray, target: Target, rng: np.random.Generator) -> np.ndarray:
    return spoil.shifted(frames, COLUMNS[target.instrument], int(rng.integers(1, 5)), rng.uniform(0.1, 0.9))


def _hot(frames: np.ndarray, _: Target, rng: np.random.Generator) -> np.ndarray:
    return spoil.switched_on(frames, int(rng.integers(1, 8)), int(_log(rng, 2.5, 4)), rng)


def _curved(frames: np.ndarray, target: Target, rng: np.random.Generator) -> np.ndarray:
    return spoil.curved_background(frames, COLUMNS[target.instrument], rng.uniform(0.1, 1.0))


def _without_row(table: pd.DataFrame, target: Target, _: np.random.Generator) -> pd.DataFrame:
    return table[table["planet_id"] != target.planet]


def _map(name: str, change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Spoil:
    """A calibration map with its values changed."""

    def spoil_map(target: Target, rng: np.random.Generator) -> None:
        path = target.map(name)
        table = pq.read_table(path)
        values = np.stack([c.to_numpy(zero_copy_only=False) for c in table.columns], axis=1)
        changed = change(values, rng)
        spoil.replace(path, pa.table([pa.array(np.ascontiguousarray(c)) for c in changed.T], names=table.column_names[: changed.shape[1]]))

    return spoil_map


def _reversed_linearity(values: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return np.concatenate(np.split(values, 6)[::-1])


def _other_map(name: str) -> Spoil:
    def take(target: Target, _: np.random.Generator) -> None:
        content = target.map(name, other=True).read_bytes()
        target.map(name).unlink()
        target.map(name).write_bytes(content)

    return take


def _bytes(of: Callable[[Target], Path], change: Callable[[bytes, np.random.Generator], bytes]) -> Spoil:
    def spoil_bytes(target: Target, rng: np.random.Generator) -> None:
        path = of(target)
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(change(content, rng))

    return spoil_bytes


def _flipped(content: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(content)
    for at in rng.integers(0, len(out), 20):
        out[at] ^= 1 << int(rng.integers(8))
    return bytes(out)


def _remove(of: Callable[[Target], Path]) -> Spoil:
    return lambda target, _: of(target).unlink()


def _columns(change: Callable[[pa.Table, np.random.Generator], pa.Table]) -> Spoil:
    return lambda target, rng: spoil.replace(target.signal, change(pq.read_table(target.signal), rng))


def _with_index(table: pa.Table, _: np.random.Generator) -> pa.Table:
    return table.append_column("__index_level_0__", pa.array(np.arange(table.num_rows)))


def _stars(change: Callable[[pd.DataFrame, Target, np.random.Generator], pd.DataFrame]) -> Spoil:
    """train_star_info.csv with its rows changed, as text: other rows keep their bytes."""

    def spoil_stars(target: Target, rng: np.random.Generator) -> None:
        table = pd.read_csv(target.stars, dtype=str, keep_default_na=False)
        target.stars.unlink()
        change(table, target, rng).to_csv(target.stars, index=False)

    return spoil_stars


def _row(column: str, values: tuple[str, ...]) -> Spoil:
    def change(table: pd.DataFrame, target: Target, rng: np.random.Generator) -> pd.DataFrame:
        table.loc[table["planet_id"] == target.planet, column] = str(rng.choice(values))
        return table

    return _stars(change)


def _float_id(table: pd.DataFrame, target: Target, _: np.random.Generator) -> pd.DataFrame:
    table.loc[table["planet_id"] == target.planet, "planet_id"] = f"{target.planet}.0"
    return table


def _foreign(table: pd.DataFrame, target: Target, rng: np.random.Generator) -> pd.DataFrame:
    """A row that is no planet's, beside this planet's own."""
    row = table[table["planet_id"] == target.planet].copy()
    row["planet_id"] = str(rng.choice(["", "../x", "9.4e8", "not a planet", "12345678901"]))
    return pd.concat([row, table])


def _doubled(table: pd.DataFrame, target: Target, _: np.random.Generator) -> pd.DataFrame:
    row = table[table["planet_id"] == target.planet].copy()
    row["sma"] = str(float(row["sma"].iloc[0]) * 1.5)
    return pd.concat([table, row])


def _signal(target: Target) -> Path:
    return target.signal


def _kind(do: Spoil, ends: str, reasons: str, *, planet: bool = False) -> Kind:
    return Kind(do, frozenset(ends.split()), reasons, planet)  # type: ignore[arg-type]


FILE = r"parquet|frames?|read|file|column|row|signal"
STAR = r"star|\bsma\b|a/R|orbit|row|doubled|twice|period|\bP\b|\bi\b"
ORBIT = f"{STAR}|{CURVE}"
KINDS: dict[str, Kind] = {
    # light
    "transit cut by half a visit lost": _kind(_frames(_cut), "told", LOST),
    "second transit in the window": _kind(_light(_second_event), "told quiet", CURVE),
    "flare of the star": _kind(_light(_flare), "told quiet", CURVE),
    "gain drift of 0.3-3 % in waves": _kind(_light(lambda n, t, r: spoil.drift(n, _log(r, -2.5, -1.5), r)), "told quiet", CURVE),
    "bow of 500-5000 ppm": _kind(_light(_bow), "told quiet", CURVE),
    "10 % less light in a block": _kind(_frames(lambda f, t, r: spoil.dimmed(f, r)), "told", LOST),
    # frames
    "block of pairs all 0": _kind(_frames(lambda f, t, r: spoil.filled(f, 0, r)), "told", LOST),
    "block of pairs all 65535": _kind(_frames(lambda f, t, r: spoil.filled(f, 65535, r)), "told", f"{LOST}|satur"),
    "pairs repeated": _kind(_frames(lambda f, t, r: spoil.repeated(f, r)), "told", LOST),
    "reads of pairs swapped in a block": _kind(_frames(lambda f, t, r: spoil.swapped(f, r)), "told", LOST),
    "reads swapped in the whole visit": _kind(_frames(lambda f, t, r: spoil.swapped(f, r, whole=True)), "fails", "order"),
    "halves of the visit swapped": _kind(_frames(lambda f, t, r: spoil.halves(f)), "told quiet", CURVE),
    "pairs in reverse order": _kind(_frames(_backwards), "told quiet", CURVE),
    "shower of particles": _kind(_frames(lambda f, t, r: spoil.flares(f, _log(r, -3, -1.5), r)), "told quiet", f"{LOST}|{PIXELS}"),
    "star jumps by pixels": _kind(_frames(_jump), "told quiet", ANY),
    "saturation: light 2-3 times as bright": _kind(_light(lambda n, t, r: np.full(n, r.uniform(2, 3))), "told quiet", ANY),
    "saturation: full well below the brightest": _kind(
        _frames(lambda f, t, r: spoil.full_well(f, r.uniform(0.6, 0.98))), "told quiet", ANY
    ),
    "hot pixels switch on": _kind(_frames(_hot), "told quiet", ANY),
    "curved background": _kind(_frames(_curved), "told quiet", ANY),
    # maps
    "dark of the wrong sign and scale": _kind(_map("dark", lambda m, r: -m * _log(r, 1, 4)), "fails told quiet", ANY),
    "dark in other units": _kind(_map("dark", lambda m, r: m * _log(r, 2, 5)), "fails told quiet", ANY),
    "dark of NaN": _kind(_map("dark", lambda m, r: np.full_like(m, np.nan)), "fails", "dark"),
    "flat of 0": _kind(_map("flat", lambda m, r: 0 * m), "fails", "flat"),
    "flat of another planet": _kind(_other_map("flat"), "told quiet", ANY),
    "flat with a gradient of 2": _kind(_map("flat", lambda m, r: m * np.linspace(0.5, 1.5, len(m))[:, None]), "told quiet", ANY),
    "flat transposed": _kind(_map("flat", lambda m, r: m.T if m.shape[0] != m.shape[1] else m[:-1]), "fails", "flat|shape"),
    "dead all true": _kind(_map("dead", lambda m, r: np.ones_like(m, bool)), "fails", "dead"),
    "dead of another planet": _kind(_other_map("dead"), "told quiet", f"{CURVE}|{PIXELS}|dead"),
    "linearity reversed": _kind(_map("linear_corr", _reversed_linearity), "fails", "linear"),
    "linearity of 0": _kind(_map("linear_corr", lambda m, r: 0 * m), "fails told", f"linear|{CURVE}"),
    "read noise of 0 or less": _kind(_map("read", lambda m, r: m * r.choice([0.0, -1.0])), "fails", "read"),
    "map cut short": _kind(_bytes(lambda t: t.map("flat"), lambda b, r: b[: int(r.integers(1, len(b) - 1))]), "fails", "flat|parquet"),
    "map missing": _kind(_remove(lambda t: t.map("dark")), "fails", "dark"),
    # files
    "file cut short": _kind(_bytes(_signal, lambda b, r: b[: int(r.integers(1, len(b) - 1))]), "fails", FILE),
    "bits of the file flipped": _kind(_bytes(_signal, _flipped), "fails told quiet", f"{FILE}|{LOST}|{PIXELS}"),
    "file empty": _kind(_bytes(_signal, lambda b, r: b""), "fails", FILE),
    "file of text": _kind(_bytes(_signal, lambda b, r: b"<html>404 not found</html>\n" * 40), "fails", FILE),
    "file missing": _kind(_remove(_signal), "fails", FILE),
    "frames missing at the end": _kind(_columns(lambda t, r: t.slice(0, t.num_rows // 4 * 2)), "fails told", f"{FILE}|{CURVE}"),
    "one frame missing": _kind(_columns(lambda t, r: t.slice(1)), "fails", FILE),
    "pixel column missing": _kind(_columns(lambda t, r: t.remove_column(int(r.integers(t.num_columns)))), "fails", FILE),
    "pixel columns sorted by name": _kind(_columns(lambda t, r: t.select(sorted(t.column_names))), "same", ""),
    "pandas index in the file": _kind(_columns(_with_index), "same", ""),
    # tables
    "id as a float": _kind(_stars(_float_id), "same", "", planet=True),
    "foreign row beside it": _kind(_stars(_foreign), "same", "", planet=True),
    "row doubled, other values": _kind(_stars(_doubled), "fails", STAR, planet=True),
    "row missing": _kind(_stars(_without_row), "fails told quiet", ORBIT, planet=True),
    "sma 0, negative or no number": _kind(_row("sma", ("0", "-12", "1e300", "twelve", "0.4")), "fails told quiet", ORBIT, planet=True),
    "period 0, negative or huge": _kind(_row("P", ("0", "-3", "1e300", "inf")), "fails told quiet", ORBIT, planet=True),
    "temperature 0 or 1e300": _kind(_row("Ts", ("0", "1e300", "-5000")), "fails told quiet", f"{STAR}|{CURVE}|Ts|temperature", planet=True),
}
