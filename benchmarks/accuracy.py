"""Accuracy on simulated visits of known truth: pulls of depths, scatter over the noise limit, memory, build time.

    python -m benchmarks.accuracy OUT --planets 8 [--frames-fraction 1.0] [--jitter 0.1 0.12] [--drift 0.05] [--seed 1]

Simulates, calibrates with the profile, compares with the truth and prints one row a visit and the pooled
figures. Data and runs stay in OUT, so that a second call only measures.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from v50calib import Pipeline, calibrate, open_calibrated, open_visit
from v50calib.simulate import read_truth, simulate_dataset


def measure(data: Path, run: Path) -> list[dict[str, Any]]:
    """One row per product: white pull, mean and standard deviation of the channel pulls, noise ratios."""
    rows = []
    truth = {str(p["planet_id"]): p for p in read_truth(data)["planets"]}
    for leaf in open_calibrated(run).leaves:
        ds = leaf.to_dataset()
        planet = truth[str(ds.attrs["planet_id"])]
        instrument = str(ds.attrs["instrument"])
        visit = next(v for v in planet["visits"] if v["visit"] == ds.attrs["visit"])
        white = visit["instruments"][instrument]["white_depth"]
        depth, sigma = ds["transit_depth"].to_numpy(), ds["transit_depth_sigma"].to_numpy()
        true = np.array(planet["depth"][1:] if instrument == "AIRS-CH0" else planet["depth"][:1])
        pull = (depth - true) / sigma
        qc = json.loads(ds.attrs["qc"])
        rows.append({
            "planet": ds.attrs["planet_id"], "instrument": instrument,
            "white_ppm": 1e6 * float(ds["white_depth"]), "white_sigma_ppm": 1e6 * float(ds["white_depth_sigma"]), "truth_ppm": 1e6 * white,
            "white_pull": (float(ds["white_depth"]) - white) / float(ds["white_depth_sigma"]),
            "mean_pull": float(np.nanmean(pull)), "std_pull": float(np.nanstd(pull)), "sigma_ppm": 1e6 * float(np.nanmedian(sigma)),
            "noise_over_limit": qc["noise_over_limit"], "point_to_point_over_limit": qc["point_to_point_over_limit"],
            "pulls": pull.tolist(),
        })  # fmt: skip
    return rows


def report(rows: list[dict[str, Any]]) -> None:
    print(f"{'planet':>12} {'instrument':10} {'white ± sigma (truth) ppm':>32} {'pull':>6} {'mean':>6} {'std':>5} {'noise/limit':>11}")
    for r in rows:
        white = f"{r['white_ppm']:.0f} ± {r['white_sigma_ppm']:.0f} ({r['truth_ppm']:.0f})"
        spread = f"{r['std_pull']:5.3f}" if len(r["pulls"]) > 1 else "     "
        print(
            f"{r['planet']:>12} {r['instrument']:10} {white:>32} {r['white_pull']:+6.2f} {r['mean_pull']:+6.3f} {spread}"
            f" {r['noise_over_limit']:11.3f}"
        )
    for instrument in ("AIRS-CH0", "FGS1"):
        mine = [r for r in rows if r["instrument"] == instrument]
        pulls = np.concatenate([r["pulls"] for r in mine])
        print(
            f"{instrument}: {len(mine)} visits, {pulls.size} pulls: mean {np.nanmean(pulls):+.3f}, std {np.nanstd(pulls):.3f}; "
            f"white pulls: mean {np.mean([r['white_pull'] for r in mine]):+.2f}, max |pull| {max(abs(r['white_pull']) for r in mine):.2f}; "
            f"noise / limit: {np.mean([r['noise_over_limit'] for r in mine]):.3f}, worst {max(r['noise_over_limit'] for r in mine):.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--planets", type=int, default=8)
    parser.add_argument("--frames-fraction", type=float, default=1.0)
    parser.add_argument("--jitter", type=float, nargs=2, default=(0.10, 0.12))
    parser.add_argument("--drift", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", default="calib/nominal")
    args = parser.parse_args()
    data, run = args.out / "data", args.out / args.profile.replace("/", "-")
    if not data.exists():
        simulate_dataset(
            data,
            planets=args.planets,
            frames_fraction=args.frames_fraction,
            seed=args.seed,
            jitter_px=tuple(args.jitter),
            drift_px=args.drift,
            workers=2,
        )
    started = time.perf_counter()
    summary = calibrate(data, run, profile=args.profile, overrides=["runtime.num_workers=2"])
    print(f"calibrated {summary.count('done')} in {time.perf_counter() - started:.1f} s, failed: {[e.error for e in summary.failed]}")
    report(measure(data, run))
    planet = min(p.name for p in (data / "train").iterdir())
    pipeline = Pipeline.from_profile(args.profile)
    for instrument in ("AIRS-CH0", "FGS1"):
        started = time.perf_counter()
        pipeline(open_visit(data, planet, 0, instrument))
        print(f"build {instrument}: {time.perf_counter() - started:.2f} s")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak memory of the largest child process: {peak:.0f} MB")


if __name__ == "__main__":
    main()
