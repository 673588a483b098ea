"""By how much each reason of distrust must widen a planet's sigma: simulated visits that fail, against their truth.

    python -m benchmarks.widening run WORK/rows.jsonl --cases 150 --seed 1 [--frames-fraction 0.03]
    python -m benchmarks.widening table WORK/rows.jsonl … [--check WORK/other.jsonl] [--write docs/how-to/quality.md]

`run` simulates one planet a case with the effects that `v50calib simulate` has on, each with one of the failures of `KINDS`, calibrates
and fits it, and appends its errors and its reasons to a file: one that was stopped goes on. `table` prints the factors for
`v50calib.qc.widening`, and with --check what is left of z after they are applied to cases that they were not fitted to.

Short visits have larger errors than full ones: failures that do not scale with them (drift, bow, jitter) are made as much larger, so
that failure over error bar is that of a full-length visit at the levels of docs/simulator.md.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import write_between
from benchmarks.spoil import lost, multiplied, parabola, rewrite, signals
from v50calib import calibrate, open_calibrated
from v50calib.kernels.covariance import covariance
from v50calib.qc.distrust import UNTOLD, Verdict, judge, judge_planet
from v50calib.qc.planet_fit import Spectrum, white
from v50calib.qc.widening import APART, RUINED, of_planet, ruinous
from v50calib.runs.planet_verdicts import record_of
from v50calib.runs.spectra import open_spectra
from v50calib.simulate import REALISTIC, read_truth, simulate_dataset

KINDS = ("none", "cut", "lost", "bright", "low_light", "cut", "bow", "jitter", "tiny", "grazing", "filter", "drift")
#: parts of a visit that a lost block takes, and the rms of a bow in a full-length visit's terms
BLOCK, BOW = (0.02, 0.2), (5e-4, 2e-3)
FILTERS = ("savgol", "biweight")
#: fewest cases that make a factor, and rms of z that is no reason for one
FEWEST, PLAIN = 8, 1.2


def choices(kind: str, rng: np.random.Generator, fraction: float) -> tuple[dict[str, Any], list[str], dict[str, float]]:
    """Fields of SimConfig, overrides of the config, and what is done to the frames afterwards (block, bow)."""
    larger = fraction**-0.5
    fields: dict[str, Any] = dict(REALISTIC)
    overrides: list[str] = []
    spoiled: dict[str, float] = {}
    if kind == "cut":
        fields |= {"duration_h": float(rng.uniform(1, 8)), "t0_h": float(rng.uniform(-0.5, 8))}
    elif kind == "lost":
        spoiled = {"block": float(rng.uniform(*BLOCK)), "at": float(rng.uniform(0.1, 0.8))}
    elif kind == "bright":
        fields |= {"brightness": float(rng.uniform(2.2, 4.5))}
    elif kind == "low_light":
        fields |= {"low_light": float(rng.uniform(0.02, 0.4))}
    elif kind == "bow":
        spoiled = {"bow": float(rng.uniform(*BOW) * larger * rng.choice([-1, 1]))}
    elif kind == "jitter":
        size = float(rng.uniform(0.3, 0.8))
        fields |= {"jitter_px": (size, size), "airs_scale": math.sqrt(12.0), "exposure_jitter_px": 0.56, "drift_px": 0.5}
    elif kind == "tiny":
        fields |= {"depth": float(rng.uniform(1e-4, 6e-4) * larger)}
    elif kind == "grazing":
        fields |= {"impact": float(rng.uniform(0.85, 1.0))}
    elif kind == "filter":
        overrides = [f"calib.trace.along_time.method={rng.choice(FILTERS)}"]
    elif kind == "drift":
        fields |= {"gain_drift": float(rng.uniform(1e-3, 2e-3) * larger)}
    return fields, overrides, spoiled


def spoil(data: Path, change: dict[str, float], rng: np.random.Generator) -> None:
    """Change the frames of a dataset: all codes 0 in a block of a visit, or all light times a parabola in time."""
    for path in signals(data):
        if "block" in change:
            rewrite(path, lambda frames: lost(frames, change["at"], change["block"]))
        else:
            rewrite(path, lambda frames: multiplied(frames, parabola(len(frames), change["bow"]), rng))


def case(kind: str, number: int, seed: int, fraction: float, work: Path) -> list[dict[str, Any]]:
    """One planet: a row an instrument with the errors of its depths in the planet's fit, and the reasons of visit and planet."""
    rng = np.random.default_rng((seed, number))
    fields, overrides, spoiled = choices(kind, rng, fraction)
    data = simulate_dataset(work / "data", planets=1, frames_fraction=fraction, seed=10_000 * seed + number, **fields)
    if spoiled:
        spoil(data, spoiled, rng)
    calibrate(data, work / "run", overrides=["runtime.scheduler=sync", "output.cubes=none", *overrides])
    truth = read_truth(data)["planets"][0]
    fits = open_spectra(work / "run")
    fit = fits.get(str(truth["planet_id"]))
    planet = {} if fit is None else record_of(fit.attrs)
    said = {k: v for k, v in fields.items() if k not in REALISTIC} | spoiled
    rows = []
    for leaf in open_calibrated(work / "run").leaves:
        ds = leaf.to_dataset()
        name = str(ds.attrs["instrument"])
        found = ds.attrs["ephemeris_source"] != "none"
        verdict = judge(json.loads(ds.attrs["qc"]), transit_found=found)
        row = {
            "kind": kind, "number": number, "seed": seed, "instrument": name, "found": found, "said": said,
            "visit": [r.key for r in verdict.reasons if r.key], "numbers": verdict.numbers,
            "planet": [r.key for r in judge_planet(planet).reasons], "record": planet,
            "left_out": {} if fit is None else fit.attrs["left_out"],
        }  # fmt: skip
        if fit is not None and name in fit.attrs["instruments"]:
            true = np.array(truth["depth"][:1] if name == "FGS1" else truth["depth"][1:])
            keep = np.asarray(fit["instrument"]) == list(fit.attrs["instruments"]).index(name)
            arrays = [np.asarray(fit[f"transit_depth{end}"], np.float64)[keep] for end in ("", "_sigma", "_shared")]
            row |= errors(arrays[0] - true, arrays[1], arrays[2])
            row["depth_ppm"] = 1e6 * float(true.mean())
        rows.append(row)
    return rows


def errors(off: np.ndarray, sigma: np.ndarray, shared: np.ndarray) -> dict[str, float]:
    """z of the white depth; rms of the channels' errors less their level, made independent; the largest |z| of a channel."""
    mean, error = white(Spectrum(off, sigma, shared))
    good = np.isfinite(off) & (sigma > 0)
    out = {"z": mean / error, "sigma_ppm": 1e6 * error, "channels": int(good.sum())}
    if not good.any():
        return out
    out["largest"] = float(np.abs(off[good] / sigma[good]).max())
    if good.sum() > 10:
        own = covariance(sigma[good], shared[good])
        own += np.square(100.0 * error)  # a free level
        out["shape"] = float(np.sqrt(off[good] @ np.linalg.solve(own, off[good]) / (good.sum() - 1)))
    return out


def run(path: Path, cases: int, seed: int, fraction: float) -> None:
    """Append what is missing of the cases to the file."""
    done = {row["number"] for row in read(path)} if path.exists() else set()
    for number in range(cases):
        if number in done:
            continue
        kind, start = KINDS[number % len(KINDS)], time.perf_counter()
        with tempfile.TemporaryDirectory(dir=path.parent) as work:
            rows = case(kind, number, seed, fraction, Path(work))
        with path.open("a") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
        z = " ".join(f"{r['instrument']} {r.get('z', math.nan):+.1f} {r.get('shape', math.nan):.2f} {r['visit']}" for r in rows)
        print(f"{number} {kind} {time.perf_counter() - start:.0f} s: {z} {rows[0]['planet'] if rows else ''}", flush=True)


def read(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as stream:
        yield from map(json.loads, stream)


def applied(row: dict[str, Any]) -> list[str]:
    """The reasons of a row that may widen it: a visit's own, with `visit.` before them, and the planet's that concern its instrument."""
    name, record = row["instrument"], row["record"]
    own = {key: numbers[name] for key, numbers in record.get("of", {}).items() if name in numbers}
    told = [note for note in record.get("untold", []) if f"/{name}:" in note]
    planet = {r.key for r in judge_planet({**record, **own, "untold": told}).reasons if r.key != UNTOLD}
    ruined = {RUINED} if ruinous(Verdict((), {k: v for k, v in row["numbers"].items() if v is not None}, ())) else set()
    return [f"visit.{key}" for key in sorted({*row["visit"], *ruined})] + [f"planet.{key}" for key in sorted(planet)]


def fitted(rows: list[dict[str, Any]], least: int = FEWEST) -> dict[str, float]:
    """Factor of the level by reason. The reason with the largest rms of z first: its cases are widened by it, and the others are judged
    by what is left, so that a reason that only comes along with another has none. Reasons with few cases have none either."""
    z = np.array([row["z"] for row in rows])
    has = [set(applied(row)) for row in rows]
    factor, wide = np.ones(len(rows)), {}
    while True:
        best, by = "", PLAIN
        for key in sorted(set().union(*has) - set(wide)):
            own = np.array([key in some for some in has])
            spread = level_rms(z[own] / factor[own]) if own.sum() >= least else 0.0
            best, by = (key, spread) if spread > by else (best, by)
        if not best:
            return wide
        own = np.array([best in some for some in has])
        # the rule takes the largest of a visit's factors
        wide[best] = round(level_rms(z[own]), 1)
        factor[own] = np.maximum(factor[own], wide[best])


def level_rms(z: np.ndarray) -> float:
    """rms of z, its largest value cut at three times the median's: one case is no rule."""
    cut = 3.0 * 1.4826 * float(np.median(np.abs(z)))
    return float(np.sqrt(np.mean(np.square(np.minimum(np.abs(z), max(cut, 3.0))))))


def table(rows: list[dict[str, Any]], check: list[dict[str, Any]]) -> str:
    """By reason: cases, rms of z of the level and of the shape before, factor, and rms of z after with the package's own factors."""
    wide = fitted(rows)
    keys = sorted({key for row in rows + check for key in applied(row)})
    lines = [
        "| reason | cases | rms z, level | largest | rms, shape | factor | checked on | rms z before | after | largest after |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for key in [*keys, "none"]:
        mine, other = ([r for r in some if (key in applied(r) if key != "none" else not applied(r))] for some in (rows, check))
        factor = "its number" if key.removeprefix("planet.") in APART else f"{wide.get(key, 1.0):.1f}"
        lines.append(f"| {key} | {_before(mine)} | {factor} | {_after(other)} |")
    return "\n".join(lines)


def _before(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "0 | | |"
    z = np.array([r["z"] for r in rows])
    shape = [r["shape"] for r in rows if "shape" in r]
    told = f"{math.sqrt(np.mean(np.square(shape))):.2f}" if shape else ""
    return f"{len(rows)} | {math.sqrt(np.mean(z**2)):.2f} | {np.abs(z).max():.1f} | {told}"


def _after(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "0 | | |"
    z = np.array([r["z"] for r in rows])
    after = z / np.array([of_planet(r["record"], r["instrument"]).level for r in rows])
    return f"{len(rows)} | {math.sqrt(np.mean(z**2)):.2f} | {math.sqrt(np.mean(after**2)):.2f} | {np.abs(after).max():.1f}"


def usable(path: Path) -> list[dict[str, Any]]:
    """Rows with a depth."""
    return [row for row in read(path) if math.isfinite(row.get("z", math.nan))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    one = steps.add_parser("run")
    one.add_argument("path", type=Path)
    one.add_argument("--cases", type=int, default=150)
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--frames-fraction", type=float, default=0.03)
    two = steps.add_parser("table")
    two.add_argument("paths", type=Path, nargs="+")
    two.add_argument("--check", type=Path)
    two.add_argument("--write", type=Path)
    args = parser.parse_args()
    if args.step == "run":
        run(args.path, args.cases, args.seed, args.frames_fraction)
        return
    rows, check = [row for path in args.paths for row in usable(path)], usable(args.check) if args.check else []
    text = table(rows, check)
    print(text)
    for row in rows + check:
        if max(abs(row["z"]), row["largest"]) > 6:
            print(f"beyond 6 sigma: {row['kind']} {row['seed']}/{row['number']} {row['instrument']}: {row['z']:+.1f}, {applied(row)}")
    if args.write is not None:
        write_between(args.write, "widening", text)


if __name__ == "__main__":
    main()
