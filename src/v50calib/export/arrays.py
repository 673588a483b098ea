"""A run as arrays for training: light curves of all planets on one grid, their variance, what is missing, labels."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from v50calib.errors import ConfigError, StoreError
from v50calib.export.align import join_wavelength
from v50calib.export.clock import Clock, clock_of, sampling
from v50calib.export.curves import Curves, Fit, curves_of, fit_of_products
from v50calib.export.grid import MADE_BY, MARK
from v50calib.export.made import ARRAYS, prepare_place
from v50calib.export.write import Progress, check_out, products_of
from v50calib.io.storage.commit import publish, staging
from v50calib.io.storage.location import Location, locate
from v50calib.io.storage.machine import cores
from v50calib.io.storage.objects import ObjectPath
from v50calib.kernels.detrended import Detrended
from v50calib.runs import manifest
from v50calib.runs.directory import read_mark
from v50calib.runs.product import product_arrays, product_attrs
from v50calib.runs.truth import TABLE
from v50calib.runtime.observations import observation
from v50calib.schema import CHANNELS, N_CHANNELS
from v50calib.uncertainty.tables import matched, read_truth

Visits = Literal["combined", "stacked"]
From = Literal["mid_transit", "start"]
#: bytes of arrays that are held in memory; more is written to a folder and mapped
MOST_BYTES = 2**32
#: rows that are made at a time, each some MB while it is
THREADS = 4
_STREAMED = {"light": np.float32, "variance": np.float32, "baseline_variance": np.float32, "mask": np.bool_}
_OTHERS = ("labels", "ids", "visit", "time", "wavelength")
Path_ = str | os.PathLike[str]


@dataclass(frozen=True, repr=False)
class Arrays:
    """Light curves of a run, a row a planet (or a visit: `visit` is not None), on one grid of time and channel; channel 0 is FGS1.

    light              (row, time, 283) flux, 1 out of transit; NaN where there is none
    variance           (row, time, 283) of light, the baseline's included
    baseline_variance  (row, time, 283) the baseline's part of it, one error in all bins of a transit: `mean` takes it so
    mask               (row, time, 283) True where light has a value
    labels             (row, 283) true depths of the rows' planets, NaN where the table has none; None: none were asked for
    ids                (row,) planets, numbers as in the challenge's tables
    time               (time,) middle of the bins, h; wavelength (283,) µm, NaN where no visit gives it
    visit              (row,) number of the visit; None where visits are combined
    notes              what is missing, and why
    """

    light: NDArray[np.float32]
    variance: NDArray[np.float32]
    baseline_variance: NDArray[np.float32]
    mask: NDArray[np.bool_]
    labels: NDArray[np.float32] | None
    ids: NDArray[Any]
    time: NDArray[np.float64]
    wavelength: NDArray[np.float64]
    visit: NDArray[np.int32] | None = None
    notes: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        rows, bins, channels = self.light.shape
        what = "planets" if self.visit is None else "visits"
        known = "" if self.labels is None else f", labels of {int(np.isfinite(self.labels).any(axis=1).sum())}"
        width = float(self.time[1] - self.time[0]) if bins > 1 else float("nan")
        notes = f", {len(self.notes)} notes" if self.notes else ""
        return f"Arrays({rows} {what} x {bins} bins of {3600 * width:.0f} s x {channels} channels{known}{notes})"

    def mean(self, bins: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean of light over bins (a mask or indices along time) and its standard error, (row, 283) each; NaN where a row has none.

        The bins' own noise averages down, the baseline's error does not.

        >>> two = np.ones((1, 2, 1), np.float32)
        >>> arrays = Arrays(two, 5e-8 * two, 1e-8 * two, two > 0, None, np.array([7]), np.zeros(2), np.zeros(1))
        >>> value, sigma = arrays.mean([True, True])
        >>> value, sigma.round(6)  # sqrt(4e-8 / 2 + 1e-8)
        (array([[1.]]), array([[0.000173]]))
        """
        chosen = np.arange(self.light.shape[1])[np.asarray(bins)]
        seen = self.mask[:, chosen]
        # mean of baseline errors that are alike
        light, variance, alike = (np.where(seen, v[:, chosen], 0.0) for v in (self.light, self.variance, self.baseline_variance))
        count = seen.sum(axis=1)
        total = np.where(count > 0, count, np.nan)
        own = (variance - alike).sum(axis=1) / total**2
        return light.sum(axis=1) / total, np.sqrt(own + np.square(np.sqrt(alike).sum(axis=1) / total))


@dataclass(frozen=True)
class _Visit:
    """A visit before its curves are read: start [h] of its clock, the zero of the grid on it, products by instrument."""

    planet: str
    number: int
    start: float
    zero: float
    products: Mapping[str, Location]


def to_arrays(
    run: Path_ | ObjectPath, labels: Path_ | None = None, *, visits: Visits = "combined", clock: From = "mid_transit",
    n_bins: int | None = None, curves: Curves = "detrended", out: Path_ | None = None, overwrite: bool = False,
    progress: Progress | None = None,
) -> Arrays:  # fmt: skip
    """A run as arrays for training, of lean products as well.

    run      run directory of `calibrate`, `solve` or scripts/kaggle.py
    labels   train.csv (planet_id, wl_1..wl_283), or a folder that holds it
    visits   combined: a row a planet, its visits averaged by their noise; stacked: a row a visit
    clock    mid_transit: hours from each visit's mid-transit, as the planet's fit has it; start: since each visit's first stamp
    n_bins   bins of the common grid, at most as many as the curves have (default: as many, some 200)
    curves   detrended: over the baseline of the planet's joint fit, transit left in; relative: over each channel's level, baseline left in
    out      folder for the arrays as .npy files, which are then mapped into memory; needed where they exceed 4 GiB. `open_arrays` opens it
    overwrite  replace a folder that an export made

    What is missing is NaN in light and variances, False in mask, and in notes. Raises StoreError where the run has no light curves of a
    joint fit, ConfigError for choices that do not fit, DataError for labels that cannot be read or are of other planets.

    >>> import tempfile
    >>> from v50calib import calibrate
    >>> from v50calib.simulate import simulate_dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data = simulate_dataset(folder + "/data", planets=1, frames_fraction=0.02, seed=1)
    ...     run = calibrate(data, folder + "/run", overrides=["output.cubes=none", "runtime.scheduler=sync"]).run_dir
    ...     to_arrays(run, labels=data, n_bins=60)
    Arrays(1 planets x 60 bins of 452 s x 283 channels, labels of 1)
    """
    for name, value, words in (("visits", visits, Visits), ("clock", clock, From), ("curves", curves, Curves)):
        if value not in words.__args__:  # type: ignore[attr-defined]
            raise ConfigError(f"{name} = {value!r} is none of {', '.join(words.__args__)}")  # type: ignore[attr-defined]
    known = _labels(labels)
    place = check_out(out, overwrite=overwrite) if out is not None else None
    run_dir = locate(run)
    products = products_of(run_dir, read_mark(run_dir), {})
    keys = sorted(products.keys() | {(e.planet_id, e.visit) for e in manifest.read(run_dir)})
    if not products:
        raise StoreError(f"'{run_dir}' has no product: run 'v50calib calibrate' to its end")
    needs_fit = curves == "detrended" or clock == "mid_transit"
    fits = {planet: fit_of_products(run_dir, planet, products) for planet, _ in keys} if needs_fit else {}
    notes: list[str] = []
    found, axis, wavelength = _survey(keys, products, fits, clock, n_bins, notes)
    rows = _rows(keys, found, visits, clock)
    shape = (len(rows), axis.n_bins, N_CHANNELS)
    fixed = _fixed(rows, visits, known, axis, wavelength, notes)
    size = int(np.prod(shape)) * sum(np.dtype(kind).itemsize for kind in _STREAMED.values())
    if place is None and size > MOST_BYTES:
        raise ConfigError(f"the arrays take {size / 1e9:.1f} GB: give out=FOLDER, where they are written and mapped, or fewer n_bins")

    def fill(arrays: Mapping[str, np.ndarray]) -> None:
        def one(i: int) -> None:
            for name, values in _row(rows[i][1], fits, curves, axis).items():
                arrays[name][i] = values

        with ThreadPoolExecutor(max(1, min(THREADS, cores()))) as pool:
            for i, _ in enumerate(pool.map(one, range(len(rows)))):
                if progress is not None:
                    planet, visit = rows[i][0]
                    progress(planet if visits == "combined" else f"{planet}/{visit}", i + 1, len(rows))

    if place is None:
        arrays: dict[str, Any] = {name: np.empty(shape, kind) for name, kind in _STREAMED.items()}
        fill(arrays)
        return Arrays(**arrays, **fixed, notes=tuple(notes))
    about = {"visits": visits, "clock": clock, "curves": curves, "bin_h": axis.width, "notes": notes}
    _write(place, shape, fill, fixed, about, overwrite=overwrite)
    return open_arrays(place)


def open_arrays(folder: Path_) -> Arrays:
    """The arrays that `to_arrays(…, out=folder)` or `v50calib export … --format npy` wrote, mapped and not read. Raises StoreError.

    >>> open_arrays("nowhere")
    Traceback (most recent call last):
    v50calib.errors.StoreError: 'nowhere' holds no arrays (it has no arrays.json): give the out of to_arrays, or of 'v50calib export ...
    """
    path = Path(folder)
    if not (path / ARRAYS).is_file():
        raise StoreError(
            f"'{folder}' holds no arrays (it has no {ARRAYS}): give the out of to_arrays, or of 'v50calib export … --format npy'"
        )
    try:
        about = json.loads((path / ARRAYS).read_text(encoding="utf-8"))
        there = {name: np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in about["arrays"]}
        whole: dict[str, Any] = {name: np.array(array) if name in _OTHERS else array for name, array in there.items()}
        return Arrays(**{"labels": None, **whole}, notes=tuple(about["notes"]))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise StoreError(f"the arrays in '{folder}' are damaged ({exc}): export them again") from exc


def _labels(labels: Path_ | None) -> tuple[tuple[str, ...], np.ndarray, tuple[str, ...]] | None:
    """Ids, depths and notes of a table of truth; read before anything else."""
    if labels is None:
        return None
    path = Path(labels)
    truth = read_truth(path / TABLE if path.is_dir() else path)
    return truth.ids, truth.y, truth.notes


def _survey(
    keys: Sequence[tuple[str, int]], products: Mapping[tuple[str, int], Mapping[str, Location]], fits: Mapping[str, Fit | None],
    clock: From, n_bins: int | None, notes: list[str],
) -> tuple[dict[tuple[str, int], _Visit], Clock, NDArray[np.float64]]:  # fmt: skip
    """Visits that have curves, the grid that holds them all, and its wavelengths; why others have none goes into notes."""
    found: dict[tuple[str, int], _Visit] = {}
    wavelength = np.full(N_CHANNELS, np.nan)
    ends, without = [], []
    for planet, number in keys:
        paths = products.get((planet, number), {})
        notes.extend(f"planet {planet}, visit {number}, {name}: no product" for name in CHANNELS if name not in paths)
        fit = fits.get(planet)
        attrs = {name: product_attrs(path) for name, path in paths.items()}
        usable = {}
        for name, path in paths.items():
            why = fit.why_not(number, name) if fit is not None else "no transit found in any visit" if planet in fits else ""
            if "fit_width_h" not in attrs[name]:
                without.append(f"{planet}/{number}/{name}")
            elif why:
                notes.append(f"planet {planet}, visit {number}, {name}: {why}")
            else:
                usable[name] = path
        if not usable:
            continue
        stamps = {name: float(attrs[name].get("first_stamp_h", 0.0)) for name in paths}
        # what the fit's mid-time counts from
        start = min(stamps[name] for name in usable)
        zero = fit.t0[number] if fit is not None and clock == "mid_transit" else min(stamps.values()) - start
        found[planet, number] = _Visit(planet, number, start, zero, usable)
        for name, path in usable.items():
            have = product_arrays(path, ["fit_time", "wavelength"])
            join_wavelength(wavelength, name, np.atleast_1d(have["wavelength"]), f"{planet}/{number}/{name}")
            width = sampling(have["fit_time"], float(attrs[name]["fit_width_h"]))
            time = have["fit_time"] + stamps[name] - start - zero
            ends.append((float(time[0]) - width / 2, float(time[-1]) + width / 2, width))
    if not ends:
        raise StoreError(_nothing(without, notes))
    notes.extend(f"{label}: its product has no input of the joint fit" for label in without)
    # bins as those of the slowest sampling, so that its curves are not split
    edge, _, widest = max(ends, key=lambda one: one[2])
    return found, clock_of(min(e[0] for e in ends), max(e[1] for e in ends), widest, n_bins, edge), wavelength


def _nothing(without: Sequence[str], notes: Sequence[str]) -> str:
    if without:
        return (
            f"{without[0]} has no light curves of a joint fit: its config leaves the depths out; calibrate with "
            "calib.phase.depths.enabled=true (calib/nominal has it)"
        )
    return f"the run has no light curve to give: {notes[0] if notes else 'it has no visit'}"


Row = tuple[tuple[str, int], list[_Visit]]


def _rows(keys: Sequence[tuple[str, int]], found: Mapping[tuple[str, int], _Visit], visits: Visits, clock: From) -> list[Row]:
    """((planet, visit), the visits that go into it) of each row."""
    if visits == "stacked":
        return [(key, [found[key]] if key in found else []) for key in keys]
    rows: dict[str, Row] = {}
    for key in keys:
        row = rows.setdefault(key[0], (key, []))
        row[1].extend([found[key]] if key in found else [])
    several = [planet for planet, (_, parts) in rows.items() if len(parts) > 1]
    if several and clock == "start":
        raise ConfigError(
            f"planet {several[0]} has several visits, whose transits are at other hours since their start: combine them with "
            "clock='mid_transit', or take visits='stacked'"
        )
    return list(rows.values())


def _fixed(
    rows: Sequence[Row], visits: Visits, known: tuple[tuple[str, ...], np.ndarray, tuple[str, ...]] | None, axis: Clock,
    wavelength: NDArray[np.float64], notes: list[str],
) -> dict[str, Any]:  # fmt: skip
    """The arrays that are small: ids, labels, axes."""
    planets = [key[0] for key, _ in rows]
    # numbers as in the challenge's tables, unless that would change an id
    whole = all(p.isdigit() and str(int(p)) == p for p in planets)
    out: dict[str, Any] = {
        "ids": np.array([int(p) for p in planets], np.int64) if whole else np.array(planets),
        "time": axis.middle,
        "wavelength": wavelength,
        "visit": np.array([key[1] for key, _ in rows], np.int32) if visits == "stacked" else None,
        "labels": None,
    }
    if known is not None:
        ids, depth, said = known
        of_rows, of_truth = matched(planets, ids, "planets of the run and labels")
        out["labels"] = np.full((len(planets), depth.shape[1]), np.nan, np.float32)
        out["labels"][of_rows] = depth[of_truth]
        lacking = sorted(set(planets) - set(ids))
        notes.extend([*said, *(f"planet {planet}: no label" for planet in lacking)])
    return out


def _row(parts: Sequence[_Visit], fits: Mapping[str, Fit | None], kind: Curves, axis: Clock) -> dict[str, np.ndarray]:
    """A row's light, variances and mask (time, 283) of its visits."""
    shape = (axis.n_bins, N_CHANNELS)
    weight, light, alike = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for visit in parts:
        for name, curves in _on_grid(visit, fits.get(visit.planet), kind, axis):
            seen = np.isfinite(curves.flux)
            own = np.where(seen, 1.0 / np.where(seen, curves.noise_var, 1.0), 0.0)
            on = CHANNELS[name]
            weight[:, on] += own
            light[:, on] += np.where(seen, own * curves.flux, 0.0)
            alike[:, on] += np.where(seen, np.square(own) * curves.baseline_var, 0.0)
    mask = weight > 0
    known = np.where(mask, weight, np.nan)
    alike = alike / np.square(known)
    return {"light": light / known, "variance": 1.0 / known + alike, "baseline_variance": alike, "mask": mask}


def _on_grid(visit: _Visit, fit: Fit | None, kind: Curves, axis: Clock) -> Iterator[tuple[str, Detrended]]:
    for name, path in visit.products.items():
        given = observation(path)
        if given is None:
            continue
        curves, time = curves_of(given, fit, kind, visit.start), given.given.time
        yield name, axis.regrid(curves, time + given.first_stamp_h - visit.start - visit.zero, sampling(time, given.given.width))


def _write(
    place: Path, shape: tuple[int, ...], fill: Callable[[Mapping[str, np.ndarray]], None], fixed: Mapping[str, Any],
    about: Mapping[str, Any], *, overwrite: bool,
) -> None:  # fmt: skip
    """A folder of .npy files and what they are, wholly or not at all. Raises StoreError."""
    present = {name: array for name, array in fixed.items() if array is not None}
    try:
        with staging(place) as tmp:
            part = tmp / "arrays"
            part.mkdir()
            arrays = {n: np.lib.format.open_memmap(part / f"{n}.npy", "w+", np.dtype(kind), shape) for n, kind in _STREAMED.items()}
            fill(arrays)
            for array in arrays.values():
                array.flush()
            del array, arrays
            for name, values in present.items():
                np.save(part / f"{name}.npy", values, allow_pickle=False)
            content = {MARK: MADE_BY, "arrays": [*_STREAMED, *present], **about}
            (part / ARRAYS).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            prepare_place(place, overwrite=overwrite)
            publish(part, place)
    except OSError as exc:
        raise StoreError(
            f"cannot write '{place}' ({exc.strerror or exc}): nothing was left there; free space or give another name"
        ) from exc
