"""From raw frames to the score: simulated planets, calibrated, made into spectra, scored before and after recalibration.

    python -m benchmarks.end_to_end [--planets 60] [--frames-fraction 0.02] [--work DIR] [--write docs/explanation/uncertainty.md]

Recalibration is cross-validated over planets: each is recalibrated by a model fitted on the other folds, so every figure is
out of fold. --work keeps dataset, run and spectra, and resumes from what is there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report import machine, write_between
from v50calib import calibrate
from v50calib.errors import DataError
from v50calib.runs.calibrated import calibrated_visits
from v50calib.simulate import simulate_dataset
from v50calib.uncertainty.evaluate import record
from v50calib.uncertainty.fit import fit
from v50calib.uncertainty.model import apply
from v50calib.uncertainty.options import TopLevelCalib
from v50calib.uncertainty.spectra import Spectra, combine
from v50calib.uncertainty.tables import Features, Predictions, Truth, read_truth

METHODS = {
    "global T": ({"method": "temperature"}, False),
    "per-bin T": ({"method": "temperature", "temperature": {"per_bin": True}}, False),
    "shift + affine": ({"method": "affine"}, False),
    "affine with scatter features": ({"method": "affine"}, True),
    "corel": ({"method": "corel"}, True),
}


def make_spectra(work: Path, planets: int, fraction: float, seed: int) -> tuple[Spectra, Truth, dict[str, float]]:
    """Simulate (unless it is there), calibrate, combine; seconds of each."""
    data, run, seconds = work / f"data-{planets}-{fraction:g}-{seed}", work / f"run-{planets}-{fraction:g}-{seed}", {}
    start = time.perf_counter()
    if not data.exists():
        simulate_dataset(data, planets=planets, visits=[1, 1, 2], frames_fraction=fraction, seed=seed)
    seconds["simulate"], start = time.perf_counter() - start, time.perf_counter()
    outcome = calibrate(data, run, overrides=["runtime.scheduler=sync", "output.cubes=none"])
    if outcome.failed:
        raise SystemExit(f"{len(outcome.failed)} visits failed, the first: {outcome.failed[0].label}: {outcome.failed[0].error}")
    seconds["calibrate"], start = time.perf_counter() - start, time.perf_counter()
    found = combine(calibrated_visits(run), {"mean": 0.014689, "sigma": 0.010661})
    seconds["spectra"] = time.perf_counter() - start
    return found, read_truth(data / "train.csv"), seconds


def cross_fitted(found: Spectra, truth: Truth, options: TopLevelCalib, *, with_features: bool, folds: int = 3) -> Predictions:
    """Every planet recalibrated by a model that had the other folds. Raises DataError where a method refuses so few planets."""
    parts = []
    for rows in np.array_split(np.random.default_rng(0).permutation(len(found.predictions.ids)), folds):
        rest = np.setdiff1d(np.arange(len(found.predictions.ids)), rows)
        features: Features | None = found.features if with_features else None
        model = fit(found.predictions.take(rest), truth, options, features)
        parts.append(apply(model, found.predictions.take(rows), features).predictions)
    ids = tuple(i for p in parts for i in p.ids)
    return Predictions(ids, np.concatenate([p.mu for p in parts]), np.concatenate([p.sigma for p in parts]))


def table(found: Spectra, truth: Truth, fraction: float) -> str:
    """Markdown: the baseline as it is, then each method."""
    lines = [
        (
            f"{len(truth.ids)} simulated planets, {fraction:g} of a full visit's frames, a third of them with two visits; 3 folds over "
            f"planets; {machine()}."
        ),
        "",
        "| | score | mean log-likelihood | rms z | 90 % coverage | ECE |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    constants = TopLevelCalib().score
    rows = {"baseline as it is": found.predictions}
    refused = []
    for name, (options, with_features) in METHODS.items():
        try:
            rows[name] = cross_fitted(found, truth, TopLevelCalib.model_validate(options), with_features=with_features)
        except DataError as exc:
            refused.append(f"{name}: {exc}")
    for name, predictions in rows.items():
        r = record(predictions, truth, constants)
        lines.append(f"| {name} | {r['score']:.4f} | {r['gll']:.4f} | {r['rms_z']:.3f} | {r['coverage_90']:.3f} | {r['ece']:.3f} |")
    lines += ["", *(f"- {text}" for text in (*refused, *found.notes))]
    return "\n".join(lines).rstrip()


def main(argv: list[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planets", type=int, default=60)
    parser.add_argument("--frames-fraction", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=60)
    parser.add_argument("--work", type=Path, default=None)
    parser.add_argument("--write", type=Path, default=None)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        found, truth, seconds = make_spectra(work, args.planets, args.frames_fraction, args.seed)
        text = table(found, truth, args.frames_fraction)
    print(", ".join(f"{name} {s:.0f} s" for name, s in seconds.items()))
    print(text)
    if args.write is not None:
        write_between(args.write, "end to end", text)
    return text


if __name__ == "__main__":
    main()
