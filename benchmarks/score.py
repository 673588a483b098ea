"""The score from raw frames: simulated planets with true spectra, all effects on, calibrated, estimated, recalibrated.

    python -m benchmarks.score [--planets 300] [--fraction 0.05] [--full 20] [--nasty 0.05] [--seed 0] [--work DIR]
                               [--write PAGE ...] [OVERRIDES ...]

Spectra: train.csv.gz of the shared sample (V50CALIB_SAMPLE, else ../shared/data/ariel2025-sample), planets drawn from it; they are
CC BY-NC, and nothing of them but scores is written. Where the file is absent the simulator's own spectra stand in, and the table says so.
The population is fitted to the whole file and leaves the planet's fifth out; recalibration (temperature) is cross-fitted. Fewer
frames are fewer photons: a score at 5 % of the frames is not one of a full visit; `--full` planets have all of them.

`--nasty`: this share of the planets is then spoiled in place (half a transit cut off, blocks lost, drifts, showers of particles), the
run is brought up to date, and judged again: what the others lose, and whether a planet is wrong by more than 6 sigma without a word.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from benchmarks.report import machine, write_between
from benchmarks.spoil import drift, flares, lost, multiplied, rewrite, signals
from v50calib import calibrate
from v50calib.config import load
from v50calib.errors import DataError
from v50calib.kernels.covariance import averaged
from v50calib.qc.planet_fit import Spectrum, white
from v50calib.runs.spectra import open_spectra
from v50calib.runtime.solution import ESTIMATORS, Solution, solve_spectra
from v50calib.simulate import simulate_dataset
from v50calib.simulate.config import REALISTIC
from v50calib.uncertainty.parts import NAMES, parts
from v50calib.uncertainty.tables import Truth, read_truth

ROOT = Path(__file__).resolve().parents[1]
MARK = "score"
#: channels of AIRS-CH0 that a band has
BAND = 10
#: an error of more sigma than this needs a word of warning
LARGE = 6.0


def real_spectra() -> Path | None:
    """The challenge's training spectra where they are at hand."""
    folder = Path(os.environ.get("V50CALIB_SAMPLE", ROOT.parent / "shared" / "data" / "ariel2025-sample"))
    return folder / "train.csv.gz" if (folder / "train.csv.gz").is_file() else None


def dataset(work: Path, planets: int, fraction: float, seed: int, source: Path | None) -> tuple[Path, Truth]:
    """Simulated frames of `planets` spectra and the truth that a population may be fitted to."""
    options: dict[str, Any] = dict(REALISTIC)
    if source is not None:
        whole = pd.read_csv(source, dtype={"planet_id": str})
        chosen = np.sort(np.random.default_rng(seed).choice(len(whole), planets, replace=False))
        whole.iloc[chosen].to_csv(work / "spectra.csv", index=False)
        options["spectra"] = str(work / "spectra.csv")
    root = work / "data"
    if not root.is_dir():
        simulate_dataset(root, planets=planets, frames_fraction=fraction, seed=seed, workers=os.cpu_count() or 1, **options)
    known = read_truth(source) if source is not None else read_truth(root / "train.csv")
    return root, known


@dataclass(frozen=True)
class Judged:
    """A run judged on the truth: a row for each estimator, pulls of measured depths, planets wrong by more than 6 sigma without a word."""

    rows: list[dict[str, Any]]
    pulls: dict[str, tuple[float, float, int]]
    untold: list[str]


def judged(run: Path, truth: Truth) -> Judged:
    """Score before and after recalibration, rms z of the three parts, seconds a planet of each estimator; pulls of the depths."""
    options = load("calib/nominal").calib.top_level_calib.model_copy(update={"method": "temperature"})
    rows, untold = [], []
    for estimator in ESTIMATORS:
        start = time.perf_counter()
        try:
            found = solve_spectra(run, estimator, options, truth, naive_depths=True)
        except DataError as exc:
            rows.append({"estimator": estimator, "refused": str(exc)})
            continue
        seconds = (time.perf_counter() - start) / len(found.predictions.ids)
        scores = found.scores
        row: dict[str, Any] = {
            "estimator": estimator,
            "before": scores[estimator]["score"],
            "after": scores.get("recalibrated", scores[estimator])["score"],
            "seconds": seconds,
        }
        y = true_spectra(found.predictions.ids, truth)
        z = np.abs(found.predictions.mu - y) / found.predictions.sigma
        if found.estimates is not None:
            row |= parts(y, found.estimates.mean, found.estimates.cov).rms
            z = np.abs(found.estimates.predictions.mu - y) / found.estimates.predictions.sigma
        row["largest"] = float(z.max())
        untold += [f"{estimator}: planet {p}, {z[i].max():.1f} sigma" for i, p in enumerate(found.predictions.ids)
                   if z[i].max() > LARGE and not told(found, p)]  # fmt: skip
        rows.append(row)
    return Judged(rows, pulls(run, truth), untold)


def true_spectra(ids: tuple[str, ...], truth: Truth) -> np.ndarray:
    where = {planet: i for i, planet in enumerate(truth.ids)}
    return np.asarray(truth.y[[where[i] for i in ids]])


def told(found: Solution, planet: str) -> bool:
    """Whether a note warns of this planet."""
    return any(f"planet {planet}" in note for note in found.notes)


def pulls(run: Path, truth: Truth) -> dict[str, tuple[float, float, int]]:
    """Mean and rms of error / sigma, and how many, of the white depth of each instrument and of bands of ten channels, by the covariance
    of the planets' fits."""
    found: dict[str, list[float]] = {"FGS1": [], "AIRS-CH0 white": [], f"AIRS-CH0, bands of {BAND}": []}
    for planet, ds in open_spectra(run).items():
        y = true_spectra((planet,), truth)[0]
        for i, name in enumerate(ds.attrs["instruments"]):
            off, sigma, shared = of_instrument(ds, i, y[:1] if name == "FGS1" else y[1:])
            mean, error = white(Spectrum(off, sigma, shared))
            if not np.isfinite(mean):
                continue
            found["FGS1" if name == "FGS1" else "AIRS-CH0 white"].append(mean / error)
            if name != "FGS1":
                good = np.flatnonzero(np.isfinite(off) & (sigma > 0))
                weights = np.zeros((len(good) // BAND, len(good)))
                for j in range(len(weights)):
                    weights[j, j * BAND : (j + 1) * BAND] = 1.0
                means, cov = averaged(off[good], sigma[good], shared[good], weights)
                found[f"AIRS-CH0, bands of {BAND}"] += (means / np.sqrt(np.diag(cov))).tolist()
    return {name: (float(np.mean(z)), float(np.sqrt(np.mean(np.square(z)))), len(z)) for name, z in found.items() if z}


def of_instrument(ds: xr.Dataset, number: int, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors of an instrument's depths, their sigma, their shared part."""
    keep = np.asarray(ds["instrument"]) == number
    depth, sigma, shared = (np.asarray(ds[f"transit_depth{end}"], np.float64)[keep] for end in ("", "_sigma", "_shared"))
    return depth - true, sigma, shared


def spoil(data: Path, share: float, seed: int) -> dict[str, str]:
    """Spoil this share of the planets (at least one), each in one way; which, and how."""
    rng = np.random.default_rng((seed, 1))
    planets = sorted(path.name for path in (data / "train").iterdir() if path.is_dir())
    chosen = [planets[i] for i in np.sort(rng.choice(len(planets), max(1, round(share * len(planets))), replace=False))]
    kinds = ("cut", "lost", "drift", "flares")
    how = {planet: kinds[i % len(kinds)] for i, planet in enumerate(chosen)}
    for planet, kind in how.items():
        at = rng.random(2)
        for path in signals(data, {planet}):
            rewrite(path, spoiler(kind, at, rng))
    return how


def spoiler(kind: str, at: np.ndarray, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """What is done to frames; at: two numbers of 0 to 1, where and how much."""
    ends = 0.4 + 0.15 * at[1]
    kinds: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "cut": lambda f: lost(f, 0.0 if at[0] < 0.5 else 1.0 - ends, ends),
        "lost": lambda f: lost(f, 0.1 + 0.7 * at[0], 0.02 + 0.13 * at[1]),
        "drift": lambda f: multiplied(f, drift(len(f), 0.01, rng), rng),
        "flares": lambda f: flares(f, 0.01, rng),
    }
    return kinds[kind]


def score_rows(found: Judged, label: str) -> list[str]:
    lines = []
    for r in found.rows:
        if "refused" in r:
            lines.append(f"| {label} | {r['estimator']} | refused: {r['refused']} | | | | |")
            continue
        shape = " / ".join(f"{r[name]:.2f}" for name in NAMES) if NAMES[0] in r else ""
        lines.append(
            f"| {label} | {r['estimator']} | {r['before']:.3f} | {r['after']:.3f} | {shape} | {r['largest']:.1f} | {r['seconds']:.2f} |"
        )
    return lines


def pull_rows(found: Judged, label: str) -> list[str]:
    return [f"| {label} | {name} | {n} | {mean:+.2f} | {rms:.2f} |" for name, (mean, rms, n) in found.pulls.items()]


def table(sets: dict[str, Judged], head: str, nasty: dict[str, str]) -> str:
    lines = [
        head,
        "",
        "| frames | estimator | score | recalibrated | z rms: FGS1 / level / shape | largest error / sigma | s a planet |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: |",
        *(line for label, found in sets.items() for line in score_rows(found, label)),
        "",
        "| frames | error / sigma of | count | mean | rms |",
        "| --- | --- | ---: | ---: | ---: |",
        *(line for label, found in sets.items() for line in pull_rows(found, label)),
    ]
    if nasty:
        kinds = ", ".join(f"{list(nasty.values()).count(kind)} {kind}" for kind in dict.fromkeys(nasty.values()))
        lines += ["", f"Spoiled planets: {kinds}."]
    untold = [f"{label}: {one}" for label, found in sets.items() for one in found.untold]
    lines += ["", f"Wrong by more than {LARGE:g} sigma without a word: {'; '.join(untold) or 'none'}."]
    return "\n".join(lines)


def main() -> None:
    """Simulate, calibrate, judge, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planets", type=int, default=300)
    parser.add_argument("--fraction", type=float, default=0.05, help="share of a full visit's frames")
    parser.add_argument("--full", type=int, default=0, help="planets at full length besides")
    parser.add_argument("--nasty", type=float, default=0.0, help="share of the planets that is spoiled in the end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=None, help="folder that keeps frames and runs  [default: a temporary one]")
    parser.add_argument("--write", type=Path, action="append", default=[], help="page whose table is rewritten")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_intermixed_args()
    sets: dict[str, Judged] = {}
    nasty: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work if args.work is not None else Path(scratch)
        start = time.perf_counter()

        def judge(folder: str, planets: int, fraction: float, seed: int) -> tuple[Path, Judged]:
            (work / folder).mkdir(parents=True, exist_ok=True)
            root, truth = dataset(work / folder, planets, fraction, seed, real_spectra())
            calibrate(root, work / folder / "run", "calib/nominal", ["output.cubes=none", *args.overrides], update=True)
            return root, judged(work / folder / "run", truth)

        mark = work / "part" / "spoiled.json"
        if mark.exists():
            parser.error(
                f"{work} holds frames that an earlier call has spoiled ({mark.name}): give another --work, or remove its folder 'part'"
            )
        label = f"{args.planets} planets, {args.fraction:g} of the frames"
        root, sets[label] = judge("part", args.planets, args.fraction, args.seed)
        if args.nasty:
            # written first: frames that are spoiled in part are no clean ones either
            mark.write_text("{}")
            nasty = spoil(root, args.nasty, args.seed)
            mark.write_text(json.dumps(nasty))
            _, sets[f"the same, {args.nasty:.0%} of them spoiled"] = judge("part", args.planets, args.fraction, args.seed)
        if args.full:
            _, sets[f"{args.full} planets, all frames"] = judge("full", args.full, 1.0, args.seed + 1)
        minutes = (time.perf_counter() - start) / 60
    what = "True spectra of the challenge" if real_spectra() is not None else "Spectra of the simulator (train.csv.gz is not here)"
    cost = f"{minutes:.0f} min from frames to this on {machine()}"
    head = f"{what}, one visit each, all effects of the simulator on, seed {args.seed}; {cost}."
    text = table(sets, head, nasty)
    print(text)
    print(json.dumps({label: found.rows for label, found in sets.items()}, indent=1))
    for page in args.write:
        write_between(page, MARK, text)


if __name__ == "__main__":
    main()
