"""The score from raw frames: simulated planets with true spectra, all effects on, calibrated, estimated, recalibrated.

    python -m benchmarks.score [--planets 60] [--fraction 0.03] [--seed 0] [--work DIR] [--write README.md] [OVERRIDES ...]

Spectra: train.csv.gz of the shared sample (V50CALIB_SAMPLE, else ../shared/data/ariel2025-sample), planets drawn from it; they are
CC BY-NC, and nothing of them but scores is written. Where the file is absent the simulator's own spectra stand in, and the table says so.
The population is fitted to the whole file and leaves the planet's fifth out; recalibration (temperature) is cross-fitted. Fewer
frames are fewer photons: a score at 3 % of the frames is not one of a full visit.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.report import machine, write_between
from v50calib import calibrate
from v50calib.config import load
from v50calib.errors import DataError
from v50calib.runtime.solution import ESTIMATORS, solve_spectra
from v50calib.simulate import simulate_dataset
from v50calib.simulate.config import REALISTIC
from v50calib.uncertainty.parts import NAMES, parts
from v50calib.uncertainty.tables import Truth, read_truth

ROOT = Path(__file__).resolve().parents[1]
MARK = "score"


def real_spectra() -> Path | None:
    """The challenge's training spectra where they are at hand."""
    folder = Path(os.environ.get("V50CALIB_SAMPLE", ROOT.parent / "shared" / "data" / "ariel2025-sample"))
    return folder / "train.csv.gz" if (folder / "train.csv.gz").is_file() else None


def dataset(work: Path, planets: int, fraction: float, seed: int, source: Path | None) -> tuple[Path, Truth, str]:
    """Simulated frames of `planets` spectra, the truth that a population may be fitted to, and what the spectra are."""
    options: dict[str, Any] = dict(REALISTIC)
    if source is not None:
        whole = pd.read_csv(source, dtype={"planet_id": str})
        chosen = np.sort(np.random.default_rng(seed).choice(len(whole), planets, replace=False))
        whole.iloc[chosen].to_csv(work / "spectra.csv", index=False)
        options["spectra"] = str(work / "spectra.csv")
    root = work / "data"
    if not root.is_dir():
        simulate_dataset(root, planets=planets, frames_fraction=fraction, seed=seed, **options)
    known = read_truth(source) if source is not None else read_truth(root / "train.csv")
    return root, known, "true spectra of the challenge" if source is not None else "spectra of the simulator (train.csv.gz is not here)"


def judged(run: Path, truth: Truth) -> list[dict[str, Any]]:
    """A row for each estimator: score before and after recalibration, rms z of the three parts, seconds a planet."""
    options = load("calib/nominal").calib.top_level_calib.model_copy(update={"method": "temperature"})
    rows = []
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
        }
        row["seconds"] = seconds
        if found.estimates is not None:
            where = {planet: i for i, planet in enumerate(truth.ids)}
            y = truth.y[[where[i] for i in found.estimates.ids]]
            row |= parts(y, found.estimates.mean, found.estimates.cov).rms
            z = np.abs(found.estimates.predictions.mu - y) / found.predictions.sigma
            row["largest"] = float(z.max())
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]], head: str) -> str:
    lines = [
        "| estimator | score | recalibrated | z rms: FGS1 / level / shape | largest error / sigma | s a planet |",
        "| --- | ---: | ---: | --- | ---: | ---: |",
    ]
    for r in rows:
        if "refused" in r:
            lines.append(f"| {r['estimator']} | refused: {r['refused']} | | | | |")
            continue
        shape = " / ".join(f"{r[name]:.2f}" for name in NAMES) if NAMES[0] in r else ""
        largest = f"{r['largest']:.1f}" if "largest" in r else ""
        lines.append(f"| {r['estimator']} | {r['before']:.3f} | {r['after']:.3f} | {shape} | {largest} | {r['seconds']:.2f} |")
    return "\n".join([head, "", *lines])


def main() -> None:
    """Simulate, calibrate, judge, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planets", type=int, default=60)
    parser.add_argument("--fraction", type=float, default=0.03, help="share of a full visit's frames")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=None, help="folder that keeps frames and run  [default: a temporary one]")
    parser.add_argument("--write", type=Path, default=None, help="page whose table is rewritten")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work if args.work is not None else Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        root, truth, what = dataset(work, args.planets, args.fraction, args.seed, real_spectra())
        calibrate(root, work / "run", "calib/nominal", ["output.cubes=none", *args.overrides], update=True)
        rows = judged(work / "run", truth)
        minutes = (time.perf_counter() - start) / 60
    head = (
        f"{args.planets} planets, {what}, one visit each at {args.fraction:g} of the frames, all effects of the simulator on, "
        f"seed {args.seed}; "
        f"{minutes:.0f} min from frames to this. {machine()}."
    )
    text = table(rows, head)
    print(text)
    print(json.dumps(rows, indent=1))
    if args.write is not None:
        write_between(args.write, MARK, text)


if __name__ == "__main__":
    main()
