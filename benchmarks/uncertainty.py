"""Recalibration of mu and sigma in synthetic worlds with a known oracle: every method over fresh seeds.

    python -m benchmarks.uncertainty [--seeds 10] [--first 1000] [--calibration 300] [--test 1000] [--write docs/explanation/uncertainty.md]

The worlds are those of tests/uncertainty/worlds.py. Figures are means over the seeds with the standard error of the mean; wins
and losses count seeds. The table replaces what stands between its marks in the page.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
from tests.uncertainty.worlds import Sample, World, make

from benchmarks.report import machine, write_between
from v50calib.uncertainty.bands import make_bands
from v50calib.uncertainty.fit import fit
from v50calib.uncertainty.metrics import coverage, gaussian_log_density, group_coverage
from v50calib.uncertainty.model import Inputs
from v50calib.uncertainty.options import TopLevelCalib
from v50calib.uncertainty.tables import Features, Predictions, Truth
from v50calib.uncertainty.temperature import fit_temperature

METHODS: dict[str, dict[str, Any]] = {
    "global T": {"method": "temperature"},
    "per-bin T": {"method": "temperature", "temperature": {"per_bin": True}},
    "shift + affine": {"method": "affine"},
    "affine, features over 9 bins": {"method": "affine"},
    "CoRel scale": {"method": "corel", "corel": {"ablation": False}},
    "CoRel, no edges": {"method": "corel", "corel": {"ablation": False, "model": {"backend": "none"}}},
}
WORLDS = {
    "gaussian": "per-bin mis-scale, Gaussian",
    "planet": "planet-dependent mis-scale, bias, heavy tails",
    "features": "noise that varies over channels, noisy scatter given as feature",
}
#: methods that take the features
WITH_FEATURES = ("affine, features over 9 bins", "CoRel scale", "CoRel, no edges")


def run_method(name: str, calibration: Sample, test: Sample) -> dict[str, float]:
    """GLL, coverage of 90 % intervals per bin, of the worst of five groups of planets, and of a joint band."""
    options = TopLevelCalib.model_validate(METHODS[name])
    ids = tuple(f"{i:06d}" for i in range(len(calibration.y)))
    features = Features(ids, calibration.features, ("scatter",)) if calibration.features is not None and name in WITH_FEATURES else None
    start = time.perf_counter()
    model = fit(Predictions(ids, calibration.mu, calibration.sigma), Truth(ids, calibration.y), options, features)
    seconds = time.perf_counter() - start
    inputs = Inputs(test.mu, test.sigma, test.features if features is not None else None)
    mu, sigma = model.scale(inputs)
    assert model.bands is not None
    bands = model.bands(inputs)
    inside = (test.y >= bands.low) & (test.y <= bands.high)
    return {
        "gll": float(gaussian_log_density(test.y, mu, sigma).mean()), "coverage": float(inside.mean()),
        "worst": float(group_coverage(inside, test.difficulty).min()), "joint": joint(options, calibration, test), "seconds": seconds,
        "fell_back": float(model.used != model.method),
    }  # fmt: skip


def joint(options: TopLevelCalib, calibration: Sample, test: Sample) -> float:
    """Share of test planets that a joint 90 % band of raw mu and sigma covers in every channel."""
    from v50calib.uncertainty.model import Scale

    cfg = options.corel.model_copy(update={"conformal": options.corel.conformal.model_copy(update={"method": "joint"})})
    bins = calibration.y.shape[1]
    model = make_bands(Scale(np.ones(bins), np.zeros(bins)), Inputs(calibration.mu, calibration.sigma), calibration.y, cfg, [])
    bands = model(Inputs(test.mu, test.sigma))
    return coverage(test.y, bands.low, bands.high)[1]


def run_world(world: World, seed: int, calibration: int, test: int) -> dict[str, dict[str, float]]:
    """All methods on one seed; `none` is the predictions as they are, `oracle` the law that made the truth."""
    whole = make(world, calibration + test, seed)
    old, new = whole.take(slice(0, calibration)), whole.take(slice(calibration, None))
    inside = np.abs(new.y - new.mu) <= 1.6448536269514722 * new.sigma
    rows = {"none": {
        "gll": float(gaussian_log_density(new.y, new.mu, new.sigma).mean()), "coverage": float(inside.mean()),
        "worst": float(group_coverage(inside, new.difficulty).min()),
    }}  # fmt: skip
    for name in METHODS:
        if name != "affine, features over 9 bins" or new.features is not None:
            rows[name] = run_method(name, old, new)
    rows["oracle"] = {"gll": float(gaussian_log_density(new.y, new.centre, new.scale).mean())}
    return rows


def table(results: dict[str, list[dict[str, dict[str, float]]]], calibration: int, test: int) -> str:
    """Markdown: one table a world, then the wins and losses."""
    seeds = len(next(iter(results.values())))
    lines = [f"{seeds} seeds, {calibration} calibration and {test} test planets each; {machine()}."]
    for world, runs in results.items():
        lines += ["", f"**{WORLDS[world]}**", ""]
        lines += ["| method | mean log-likelihood | 90 % coverage | worst of 5 groups | s |", "| --- | ---: | ---: | ---: | ---: |"]
        for name in runs[0]:
            column = {key: np.array([r[name][key] for r in runs]) for key in runs[0][name]}
            error = column["gll"].std(ddof=1) / np.sqrt(seeds) if seeds > 1 else 0.0
            cells = [
                f"{column['gll'].mean():.4f} ± {error:.4f}",
                *(_mean(column, key, "{:.3f}") for key in ("coverage", "worst")),
                _mean(column, "seconds", "{:.1f}"),
            ]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines += ["", *(f"- {text}" for text in facts(runs))]
    return "\n".join(lines)


def _mean(column: dict[str, Any], key: str, form: str) -> str:
    return form.format(column[key].mean()) if key in column else "–"


def facts(runs: list[dict[str, dict[str, float]]]) -> list[str]:
    """Differences by seed: mean, the extreme ones, wins and losses."""
    out = []
    pairs = [("per-bin T", "oracle"), ("shift + affine", "per-bin T"), ("CoRel scale", "per-bin T"), ("CoRel scale", "shift + affine")]
    pairs += [("CoRel scale", "CoRel, no edges"), ("CoRel scale", "affine, features over 9 bins")]
    for one, other in pairs:
        if one in runs[0] and other in runs[0]:
            d = np.array([r[one]["gll"] - r[other]["gll"] for r in runs])
            out.append(
                f"{one} - {other}: {d.mean():+.4f} (smallest {d.min():+.4f}, largest {d.max():+.4f}), larger in {(d > 0).sum()} of {len(d)}"
            )
    out.append(f"joint 90 % band: {np.mean([r['per-bin T']['joint'] for r in runs]):.3f} of planets covered in all channels")
    out.append(f"CoRel fell back to affine in {sum(r['CoRel scale']['fell_back'] > 0 for r in runs)} of {len(runs)}")
    return out


def few_planets(seeds: range, test: int) -> str:
    """Markdown: temperature with few calibration planets, Gaussian world; mean log-likelihood less the oracle's."""
    lines = ["| calibration planets | one T | per channel, not shrunk | per channel, shrunk |", "| ---: | ---: | ---: | ---: |"]
    for n in (10, 20, 40, 80, 300):
        gain = np.zeros((len(seeds), 3))
        for i, seed in enumerate(seeds):
            whole = make("gaussian", n + test, seed)
            old, new = whole.take(slice(0, n)), whole.take(slice(n, None))
            z = (old.y - old.mu) / old.sigma
            fits = (fit_temperature(z), fit_temperature(z, per_bin=True, shrinkage=0.0), fit_temperature(z, per_bin=True))
            oracle = gaussian_log_density(new.y, new.centre, new.scale).mean()
            gain[i] = [gaussian_log_density(new.y, new.mu, new.sigma * f.T).mean() - oracle for f in fits]
        lines.append(f"| {n} | " + " | ".join(f"{v:.4f}" for v in gain.mean(axis=0)) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1000, help="the first seed")
    parser.add_argument("--calibration", type=int, default=300)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--worlds", nargs="*", choices=get_args(World), default=list(get_args(World)))
    parser.add_argument("--write", type=Path, default=None)
    args = parser.parse_args(argv)
    seeds = range(args.first, args.first + args.seeds)
    few = few_planets(seeds, args.test)
    print(few)
    if args.write is not None:
        write_between(args.write, "few planets", few)
    results: dict[str, list[dict[str, dict[str, float]]]] = {world: [] for world in args.worlds}
    for seed in seeds:
        for world in args.worlds:
            results[world].append(run_world(world, seed, args.calibration, args.test))
            print(world, seed, {name: round(row["gll"], 4) for name, row in results[world][-1].items()}, flush=True)
    text = table(results, args.calibration, args.test)
    print(text)
    if args.write is not None:
        write_between(args.write, "worlds", text)
    return text


if __name__ == "__main__":
    main()
