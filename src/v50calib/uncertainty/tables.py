"""Predictions, truth and features as arrays: the challenge's submission layout in CSV, parquet or npz.

Predictions: planet_id, wl_1..wl_283, sigma_1..sigma_283; truth: planet_id, wl_1..wl_283. In an npz: planet_id (n,), mu
and sigma (n, 283), truth: y (n, 283); features: planet_id, features (n, 283, F), names (F,).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v50calib.errors import DataError
from v50calib.kernels.arrays import Float, Index
from v50calib.safety.files import replacing
from v50calib.schema import N_CHANNELS
from v50calib.tables.sheet import by_planet, parse, readable, twice
from v50calib.untrusted.boundary import foreign
from v50calib.untrusted.npz import DAMAGED, npz_headers, read_npz
from v50calib.untrusted.parquet import read_parquet

#: channels of a submission, see `schema.CHANNELS`
N_BINS = N_CHANNELS
FORMATS = (".csv", ".parquet", ".npz")
#: read as well, never written
PACKED = (".csv.gz",)
#: a depth is a share of the star's light: nothing is as deep as this
MOST = 1.0
NO_SHARE = "is no share of the star's light: divide ppm by 1e6, percent by 100"
#: bytes of all arrays of a model, at most: networks of this kind have a few MB
MODEL_BYTES = 2**28


@dataclass(frozen=True)
class Predictions:
    """ids (n,) as text, mu and sigma (n, bins). notes: rows of the file that were left out, and why."""

    ids: tuple[str, ...]
    mu: Float
    sigma: Float
    notes: tuple[str, ...] = ()

    def take(self, rows: Index | Sequence[int]) -> Predictions:
        rows = np.asarray(rows, dtype=np.int64)
        return Predictions(tuple(self.ids[i] for i in rows), self.mu[rows], self.sigma[rows])


@dataclass(frozen=True)
class Truth:
    """ids (n,), y (n, bins). notes: rows of the file that were left out, and why."""

    ids: tuple[str, ...]
    y: Float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Features:
    """ids (n,), values (n, bins, F), names (F,). notes: rows of the file that were left out, and why."""

    ids: tuple[str, ...]
    values: Float
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bands:
    """Intervals of new planets: low, high (n, bins), at the level 1 - alpha; kind says of what."""

    low: Float
    high: Float
    alpha: float
    kind: str


def read_predictions(path: str | Path) -> Predictions:
    """Predictions of a file. A row whose planet or numbers cannot be read, or whose planet has another, is left out (`notes`).

    Raises DataError: missing file, wrong columns, no row left, NaN, mu < 0, mu >= 1, sigma <= 0.

    >>> read_predictions("submission.txt")
    Traceback (most recent call last):
    v50calib.errors.DataError: 'submission.txt': predictions are read from .csv, .parquet, .npz, and the ending says which
    """
    path = Path(path)
    ids, blocks, notes = _read(path, {"mu": "wl", "sigma": "sigma"}, "predictions")
    _refuse(path, ids, blocks["mu"] < 0, "mu", "wl", "is negative: the metric refuses it; clip at 0", blocks["mu"])
    _refuse(path, ids, blocks["mu"] >= MOST, "mu", "wl", NO_SHARE, blocks["mu"])
    _refuse(path, ids, blocks["sigma"] <= 0, "sigma", "sigma", "is not above 0: give every value its error", blocks["sigma"])
    return Predictions(ids, blocks["mu"], blocks["sigma"], notes)


def read_truth(path: str | Path) -> Truth:
    """Truth of a file, train.csv of the challenge for example. Raises DataError as `read_predictions`, for y < 0 and y >= 1.

    >>> read_truth("nowhere.csv")
    Traceback (most recent call last):
    v50calib.errors.DataError: 'nowhere.csv' does not exist (looked in ...): give the file of truth
    """
    path = Path(path)
    ids, blocks, notes = _read(path, {"y": "wl"}, "truth")
    _refuse(path, ids, np.abs(blocks["y"]) >= MOST, "y", "wl", NO_SHARE, blocks["y"])
    _refuse(path, ids, blocks["y"] < 0, "y", "wl", "is negative, and a true depth is a share of the star's light: correct it", blocks["y"])
    return Truth(ids, blocks["y"], notes)


def read_features(path: str | Path) -> Features:
    """Features of an npz that `v50calib spectra --features` wrote, or one of the same layout. Raises DataError."""
    path = Path(path)
    if path.suffix != ".npz":
        raise DataError(f"'{path}': features are read from .npz only (arrays planet_id, features[n, {N_BINS}, F], names)")
    with foreign(f"'{path}'", "cannot be read as features", "write it again"):
        return _features(path)


def _features(path: Path) -> Features:
    arrays = _npz(path, ("planet_id", "features"), "features")
    values, n = np.asarray(arrays["features"], dtype=np.float64), len(arrays["planet_id"])
    if values.ndim != 3 or values.shape[:2] != (n, N_BINS) or values.shape[2] == 0:
        raise DataError(f"'{path}': features have shape {values.shape}, expected ({n}, {N_BINS}, F >= 1)")
    ids, kept, notes = _ids(path, arrays["planet_id"])
    values = values[kept]
    if not np.isfinite(values).all():
        i, b, f = np.argwhere(~np.isfinite(values))[0]
        raise DataError(
            f"'{path}': feature {f} of planet {ids[i]}, channel {b + 1} is {values[i, b, f]}: give finite numbers, or leave it out"
        )
    names = arrays.get("names", np.array([f"feature_{i + 1}" for i in range(values.shape[2])]))
    return Features(ids, values, tuple(str(n) for n in names), notes)


def write_predictions(path: str | Path, predictions: Predictions, extra: Mapping[str, Float] | None = None) -> None:
    """Write the submission layout; the suffix chooses the format. extra: {prefix: (n, bins)} more columns. Raises DataError.

    >>> import tempfile
    >>> predictions = Predictions(("7",), np.full((1, N_BINS), 0.01), np.full((1, N_BINS), 1e-5))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_predictions(f"{folder}/submission.csv", predictions)
    ...     read_predictions(f"{folder}/submission.csv").mu[0, :3]
    array([0.01, 0.01, 0.01])
    """
    path = Path(path)
    blocks = {"wl": predictions.mu, "sigma": predictions.sigma, **(extra or {})}
    if path.suffix == ".npz":
        names = {"wl": "mu"}
        save_npz(path, {"planet_id": np.array(predictions.ids), **{names.get(k, k): v for k, v in blocks.items()}})
        return
    _write_table(path, predictions.ids, blocks)


def write_truth(path: str | Path, truth: Truth) -> None:
    """Write planet_id, wl_1..wl_283; the suffix chooses the format. Raises DataError.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_truth(f"{folder}/train.csv", Truth(("7",), np.full((1, N_BINS), 0.01)))
    ...     read_truth(f"{folder}/train.csv").ids
    ('7',)
    """
    path = Path(path)
    if path.suffix == ".npz":
        save_npz(path, {"planet_id": np.array(truth.ids), "y": truth.y})
    else:
        _write_table(path, truth.ids, {"wl": truth.y})


def write_features(path: str | Path, features: Features) -> None:
    """Write an npz of features. Raises DataError.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_features(f"{folder}/features.npz", Features(("7",), np.ones((1, N_BINS, 2)), ("noise", "drift")))
    ...     read_features(f"{folder}/features.npz").names
    ('noise', 'drift')
    """
    save_npz(Path(path), {"planet_id": np.array(features.ids), "features": features.values, "names": np.array(features.names)})


def save_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays without pickle, wholly or not at all. Raises DataError for another suffix or where it cannot be written."""
    if path.suffix != ".npz":
        raise DataError(f"'{path}' must end in .npz")
    try:
        with replacing(path) as stream:
            np.savez_compressed(stream, allow_pickle=False, **dict(arrays))
    except OSError as exc:
        raise DataError(f"cannot write '{path}': {exc.strerror or exc}; free space or give another path") from exc


def matched(left: Sequence[str], right: Sequence[str], what: str, *, all_left: bool = False) -> tuple[Index, Index]:
    """Rows of `left` and of `right` with the same planets, in the order of `left`.

    what: names both in messages, "predictions and truth". all_left: every planet of `left` must be in `right`.
    Raises DataError where none is common, or one is missing in `right` that must not be.

    >>> matched(["1", "2", "3"], ["3", "1"], "predictions and truth")
    (array([0, 2]), array([1, 0]))
    """
    row_of = {name: i for i, name in enumerate(right)}
    rows = [i for i, name in enumerate(left) if name in row_of]
    first, second = what.split(" and ")
    if not rows:
        raise DataError(
            f"{first} and {second} have no planet in common ({len(left)} and {len(right)} planets): they are of different data sets"
        )
    if all_left and len(rows) < len(left):
        absent = [name for name in left if name not in row_of]
        shown = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
        raise DataError(f"{len(absent)} planets of {first} are missing in {second}: {shown}; give both for the same planets")
    return np.array(rows, dtype=np.int64), np.array([row_of[left[i]] for i in rows], dtype=np.int64)


def _read(path: Path, blocks: Mapping[str, str], what: str) -> tuple[tuple[str, ...], dict[str, Float], tuple[str, ...]]:
    """Ids, blocks (n, 283) and notes of a file: {name in an npz: prefix of a table's columns}."""
    if path.suffix not in FORMATS and not path.name.endswith(PACKED):
        raise DataError(f"'{path}': {what} are read from {', '.join(FORMATS)}, and the ending says which")
    with foreign(f"'{path}'", f"cannot be read as {what}", "write it again"):
        return _read_whole(path, blocks, what)


def _read_whole(path: Path, blocks: Mapping[str, str], what: str) -> tuple[tuple[str, ...], dict[str, Float], tuple[str, ...]]:
    if path.suffix == ".npz":
        arrays = _npz(path, ("planet_id", *blocks), what)
        n = len(arrays["planet_id"])
        for name in blocks:
            if arrays[name].shape != (n, N_BINS):
                raise DataError(f"'{path}': {name} has shape {arrays[name].shape}, expected ({n}, {N_BINS}), planets x channels")
        ids, kept, notes = _ids(path, arrays["planet_id"])
        out = {name: np.asarray(arrays[name], dtype=np.float64)[kept] for name in blocks}
    elif path.suffix == ".parquet":
        ids, out, notes = _parquet(path, blocks, what)
    else:
        ids, out, notes = _csv(path, blocks, what)
    for name, prefix in blocks.items():
        _refuse(path, ids, ~np.isfinite(out[name]), name, prefix, "is not a finite number", out[name])
    return ids, out, notes


def _parquet(path: Path, blocks: Mapping[str, str], what: str) -> tuple[tuple[str, ...], dict[str, Float], tuple[str, ...]]:
    with foreign(f"'{path}'", f"cannot be read as a table of {what}", "write it again"):
        try:
            frame = read_parquet(path)
        except FileNotFoundError:
            raise _absent(path, f"give the file of {what}") from None
    _check_columns(path, [str(name) for name in frame.columns], blocks, what)
    ids, kept, notes = _ids(path, frame["planet_id"].to_numpy())
    out = {}
    for name, prefix in blocks.items():
        part = frame[[f"{prefix}_{b + 1}" for b in range(N_BINS)]]
        words = [c for c in part.columns if part[c].dtype.kind not in "fiu"]
        if words:
            raise DataError(f"'{path}': column {words[0]} holds {part[words[0]].dtype} values, expected numbers")
        out[name] = part.to_numpy(dtype=np.float64)[kept]
    return ids, out, notes


def _csv(path: Path, blocks: Mapping[str, str], what: str) -> tuple[tuple[str, ...], dict[str, Float], tuple[str, ...]]:
    try:
        sheet = parse(str(path), path.read_bytes(), what)
    except FileNotFoundError:
        raise _absent(path, f"give the file of {what}") from None
    except OSError as exc:
        raise DataError(f"'{path}' cannot be read as a table of {what}: {exc.strerror or exc}") from exc
    _check_columns(path, sheet.header, blocks, what)
    columns = [f"{prefix}_{b + 1}" for prefix in blocks.values() for b in range(N_BINS)]
    places = [(sheet.header.index(name), name) for name in columns]

    def numbers(cells: list[str]) -> Float:
        found = np.empty(len(places))
        for i, (place, name) in enumerate(places):
            try:
                found[i] = sheet.number(cells[place])
            except ValueError as exc:
                raise ValueError(f"{name} is {exc}") from None
        return found

    planets = by_planet(sheet, numbers)
    _refuse_none(path, len(planets.rows), planets.notes)
    values = np.stack(list(planets.rows.values())).reshape(len(planets.rows), len(blocks), N_BINS)
    return tuple(planets.rows), {name: np.ascontiguousarray(values[:, i]) for i, name in enumerate(blocks)}, planets.notes


def _check_columns(path: Path, header: Sequence[str], blocks: Mapping[str, str], what: str) -> None:
    """Raises DataError where a table lacks columns."""
    wanted = ["planet_id", *(f"{prefix}_{b + 1}" for prefix in blocks.values() for b in range(N_BINS))]
    have = set(header)
    missing = [c for c in wanted if c not in have]
    if missing:
        layout = ", ".join(f"{p}_1..{p}_{N_BINS}" for p in blocks.values())
        raise DataError(
            f"'{path}' lacks {len(missing)} of the {len(wanted)} columns of {what} ({missing[0]} first; its {len(header)} columns "
            f"begin with {', '.join(header[:3])}): the layout is planet_id, {layout}"
        )


def load_npz(path: Path, hint: str) -> dict[str, Any]:
    """All arrays of an npz, without pickle. Raises DataError; hint says what to give instead where it does not exist."""
    with foreign(f"'{path}'", "cannot be read as an npz of plain arrays", "write it again"):
        try:
            return read_npz(path, most=MODEL_BYTES)
        except DAMAGED as exc:
            raise _not_read(path, exc, hint) from exc


def _npz(path: Path, needed: Sequence[str], what: str) -> dict[str, Any]:
    """Arrays of an npz; their shapes are compared by their headers, before one is read."""
    try:
        headers = npz_headers(path)
    except DAMAGED as exc:
        raise _not_read(path, exc, f"give the file of {what}") from exc
    missing = [name for name in needed if name not in headers]
    if missing:
        raise DataError(f"'{path}' lacks the arrays {', '.join(missing)} of {what}; it has {', '.join(headers) or 'none'}")
    planets = headers["planet_id"].shape
    if len(planets) != 1:
        raise DataError(f"'{path}': planet_id has shape {planets}, expected one id a planet")
    for name in needed[1:]:
        deep, shape = name == "features", headers[name].shape
        if shape[:2] != (*planets, N_BINS) or len(shape) != 2 + deep:
            more = ", F >= 1" if deep else ""
            raise DataError(f"'{path}': {name} has shape {shape}, expected ({planets[0]}, {N_BINS}{more}), planets x channels")
    try:
        return read_npz(path, (*needed, "names"))
    except DAMAGED as exc:
        raise _not_read(path, exc, "") from exc


def _absent(path: Path, hint: str) -> DataError:
    """What is said of a file that is not there, and of a name without a folder where it was looked for."""
    return DataError(f"'{path}' does not exist (looked in {path.absolute().parent}): {hint}")


def _not_read(path: Path, error: Exception, hint: str) -> DataError:
    """What is said of an npz that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return _absent(path, hint)
    reason = str(error).splitlines()[0] if str(error) else "it is cut"
    return DataError(f"'{path}' cannot be read as an npz of plain arrays: {reason}; write it again")


def _ids(path: Path, values: np.ndarray) -> tuple[tuple[str, ...], Index, tuple[str, ...]]:
    """Ids of the rows that are kept, their numbers from 0, and a note for each of the others. Raises DataError where none is left."""
    if values.dtype == np.float32 and (np.abs(values) > 2**24).any():
        raise DataError(f"'{path}': planet_id is float32, which has not all digits of these ids: write whole numbers or text")
    read = [readable(value.decode() if isinstance(value, bytes) else "" if value is None else value) for value in values.tolist()]
    doubled = twice([(i + 1, planet) for i, (planet, _) in enumerate(read) if planet], "rows")
    whys = [why or doubled.get(planet, "") for planet, why in read]
    kept = np.array([i for i, why in enumerate(whys) if not why], dtype=np.int64)
    notes = tuple(f"'{path}' row {i + 1} is left out: {why}" for i, why in enumerate(whys) if why)
    _refuse_none(path, kept.size, notes)
    return tuple(read[i][0] for i in kept), kept, notes


def _refuse_none(path: Path, left: int, notes: Sequence[str]) -> None:
    """Raises DataError where no row is left."""
    if not left:
        raise DataError(f"'{path}' has no planets" + (f" left of its {len(notes)} rows; {notes[0]}" if notes else ""))


def _write_table(path: Path, ids: Sequence[str], blocks: Mapping[str, Float]) -> None:
    if path.suffix not in FORMATS:
        raise DataError(f"'{path}': the ending must be one of {', '.join(FORMATS)}")
    columns = {f"{prefix}_{b + 1}": values[:, b] for prefix, values in blocks.items() for b in range(values.shape[1])}
    # numbers as in the challenge's files, unless that would change an id: leading zeros
    whole = all(i.isdigit() and str(int(i)) == i for i in ids)
    frame = pd.DataFrame({"planet_id": [int(i) for i in ids] if whole else list(ids), **columns})
    try:
        with replacing(path) as stream:
            if path.suffix == ".csv":
                frame.to_csv(stream, index=False)
            else:
                frame.to_parquet(stream, index=False)
    except OSError as exc:
        raise DataError(f"cannot write '{path}': {exc.strerror or exc}; free space or give another path") from exc


def _refuse(path: Path, ids: Sequence[str], bad: NDArray[np.bool_], name: str, prefix: str, why: str, values: Float) -> None:
    """DataError that names the first bad value and counts them."""
    if not bad.any():
        return
    i, b = np.argwhere(bad)[0]
    raise DataError(f"'{path}': {prefix}_{b + 1} of planet {ids[i]} is {values[i, b]:g}; {name} {why} ({int(bad.sum())} such values)")
