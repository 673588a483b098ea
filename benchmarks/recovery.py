"""Injection and recovery: simulated visits of known truth, depths over a grid, and drift with jitter against `official`.

    python -m benchmarks.recovery [--grid small|full] [--frames-fraction 0.1] [--write docs/explanation/recovery.md]
    python -m benchmarks.recovery --drift WORK --planets 10 [--frames-fraction 1.0] [--write docs/explanation/recovery.md]

The grid: every case noise-free (its error is the chain's bias) and noisy (its pulls are the error bars'). The drift
case: 0.15 px of slow drift and 0.28 px rms of jitter on both instruments, nominal's white depths beside those of the
official profile, whose summed masked CDS frames get the same transit fit. Each table replaces what stands between its
marks in the page.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmarks.report import write_between
from v50calib import Pipeline, calibrate, open_calibrated, open_visit
from v50calib.kernels.transit import Shape
from v50calib.kernels.white_fit import fit_white
from v50calib.schema import INSTRUMENTS
from v50calib.simulate import read_truth, simulate_dataset
from v50calib.stages.phase.ephemeris import transit_prior
from v50calib.stages.series.darkening import law

T0_H = 3.75
#: AIRS sees the mean of twelve FGS1 jitters: this scale gives both instruments the same rms
SAME_JITTER = math.sqrt(12.0)


@dataclass(frozen=True)
class Case:
    """One point of the grid."""

    depth: float
    duration_h: float
    jitter_px: float
    drift_px: float = 0.05
    cosmic_rays: float = 2e-7
    dead_fraction: float = 0.01


def grid(name: str) -> list[Case]:
    """The cases. Jitter starts at 0.02 px: frames without noise and motion are rounded to the same ADU all the time, and
    a dip of 50 ppm, one ADU in the brightest pixel, is lost in that."""
    depths, durations, jitters = {
        "small": ((5e-5, 0.01), (2.5,), (0.1,)),
        "full": ((5e-5, 5e-4, 0.01, 0.03), (1.0, 2.5, 4.0), (0.02, 0.1)),
    }[name]
    return [Case(*point) for point in product(depths, durations, jitters)]


def simulate_case(case: Case, out: Path, *, noise: bool, fraction: float, seed: int, planets: int = 1) -> Path:
    """A dataset of the case. Noise-free ones have an exact star table: no prior is off then; and a bright star whose codes are
    rounded at random, since the same rounding in every frame is an error of its own (up to 12 ppm in FGS1) that no chain can
    tell from light, and that no detector with read noise makes."""
    clean = {} if noise else {"dither": True, "brightness": 2.0}
    return simulate_dataset(
        out, planets=planets, frames_fraction=fraction, seed=seed, noise=noise, jitter_px=(case.jitter_px, case.jitter_px),
        airs_scale=SAME_JITTER, drift_px=case.drift_px, cosmic_rays=case.cosmic_rays, dead_fraction=case.dead_fraction,
        depth=case.depth, duration_h=case.duration_h, t0_h=T0_H, exact_star=not noise, **clean,
    )  # fmt: skip


def recover(data: Path, case: Case) -> list[dict[str, Any]]:
    """White error and channel pulls of every visit of a dataset, nominal with the ephemeris given."""
    given = ["source=given", f"t0_h={T0_H}", f"duration_h={case.duration_h}"]
    pipeline = Pipeline.from_profile("calib/nominal", ["output.cubes=none", *(f"calib.phase.ephemeris.{g}" for g in given)])
    rows = []
    for planet in read_truth(data)["planets"]:
        for instrument in INSTRUMENTS:
            ds = pipeline(open_visit(data, planet["planet_id"], 0, instrument))
            wanted = ["white_depth", "white_depth_sigma", "transit_depth", "transit_depth_sigma"]
            found = ds[wanted].compute(scheduler="sync")
            true = np.array(planet["depth"][1:] if instrument == "AIRS-CH0" else planet["depth"][:1])
            white = planet["visits"][0]["instruments"][instrument]["white_depth"]
            pulls = (found["transit_depth"].to_numpy() - true) / found["transit_depth_sigma"].to_numpy()
            rows.append({
                "instrument": instrument, "error": float(found["white_depth"]) - white, "sigma": float(found["white_depth_sigma"]),
                "pulls": pulls[np.isfinite(pulls)],
            })  # fmt: skip
    return rows


def bar(depth: float) -> float:
    """Allowed error of a noise-free white depth: 2 ppm or 0.1 %, the larger."""
    return max(2e-6, 1e-3 * depth)


def run_case(case: Case, work: Path, fraction: float, clean_fraction: float, seed: int) -> dict[str, Any]:
    """Noise-free error and noisy pulls of one case, both instruments."""
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        clean = recover(simulate_case(case, Path(scratch) / "clean", noise=False, fraction=clean_fraction, seed=seed), case)
        noisy = recover(simulate_case(case, Path(scratch) / "noisy", noise=True, fraction=fraction, seed=seed), case)
    return {"case": case, "clean": clean, "noisy": noisy}


def grid_table(results: list[dict[str, Any]], fraction: float, clean_fraction: float) -> str:
    """Markdown: one row a case, then the pooled pulls."""
    first = results[0]["case"]
    lines = [
        (
            f"{len(results)} cases, {fraction:g} of a full visit's frames (noise-free: {clean_fraction:g}), drift {first.drift_px:g} px, "
            f"{first.cosmic_rays:g} cosmic rays per pixel and second, {100 * first.dead_fraction:g} % dead pixels; white error of "
            "noise-free frames in ppm (allowed: 2 ppm or 0.1 % of the depth), pulls of noisy ones."
        ),
        "",
        "| depth ppm | T14 h | jitter px | allowed | AIRS-CH0 | FGS1 | AIRS-CH0 pulls: mean | std | white | FGS1 white pull |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in results:
        c, (airs, fgs), (noisy, noisy_fgs) = r["case"], r["clean"], r["noisy"]
        lines.append(
            f"| {1e6 * c.depth:.0f} | {c.duration_h:g} | {c.jitter_px:g} | {1e6 * bar(c.depth):.1f} | {1e6 * airs['error']:+.2f} | "
            f"{1e6 * fgs['error']:+.2f} | {noisy['pulls'].mean():+.3f} | {noisy['pulls'].std():.3f} | "
            f"{noisy['error'] / noisy['sigma']:+.2f} | {noisy_fgs['error'] / noisy_fgs['sigma']:+.2f} |"
        )
    means = np.array([r["noisy"][0]["pulls"].mean() for r in results])
    pulls = np.concatenate([r["noisy"][0]["pulls"] for r in results])
    apart = np.concatenate([r["noisy"][0]["pulls"] - r["noisy"][0]["pulls"].mean() for r in results])
    error = means.std(ddof=1) / math.sqrt(means.size) if means.size > 1 else float("nan")
    lines += [
        "",
        (
            f"All {pulls.size} AIRS-CH0 channels: mean pull {pulls.mean():+.3f} ± {error:.3f} (standard error from visit to visit: "
            f"channels of a visit share its shape's error), standard deviation {pulls.std():.3f}, about each visit's mean "
            f"{apart.std():.3f}."
        ),
    ]
    return "\n".join(lines)


def official_white(ds: xr.Dataset, instrument: str) -> tuple[float, float, float]:
    """(depth, sigma, scatter out of transit over the noise limit) of the official profile: masked CDS frames summed
    over the detector (AIRS-CH0: science columns) in bins of 144 s, a line and a transit fitted."""
    cube = ds["cds_binned"].to_numpy()
    cube = cube[:, :, 39:321] if instrument == "AIRS-CH0" else cube
    variance = ds["cds_binned_var_poisson"].to_numpy()
    variance = variance[:, :, 39:321] if instrument == "AIRS-CH0" else variance
    read = ds["cds_var_rnoise"].to_numpy()
    read = np.where(np.isnan(cube[0]), 0.0, read[:, 39:321] if instrument == "AIRS-CH0" else read)
    time, pairs = ds["bin_time"].to_numpy(), ds.sizes["pair"] // cube.shape[0]
    white, var = np.nansum(cube, axis=(1, 2)), np.nansum(variance, axis=(1, 2)) + pairs * read.sum()
    star = {k: float(ds.attrs[f"star_{k}"]) for k in ("P", "sma", "i", "Ts")}
    start = Shape(T0_H, 24 * star["P"], star["sma"], abs(star["sma"] * math.cos(math.radians(star["i"]))), 0.12, 0.2, 0.2)
    prior = transit_prior(star, start.a, start.b, law(np.array([2.5 if instrument == "AIRS-CH0" else 0.7]), star).mean(np.ones(1)))
    design = np.stack([np.ones_like(time), (time - T0_H) / T0_H], axis=1)
    best = None
    for t0 in np.linspace(T0_H - 0.6, T0_H + 0.6, 7):
        trial = Shape(t0, start.period, start.a, min(start.b, 0.85), start.k, start.u1, start.u2)
        fit = fit_white(time, white, np.sqrt(var), float(np.median(np.diff(time))), design, trial, prior)
        best = fit if best is None or fit.chi2_reduced < best.chi2_reduced else best
    assert best is not None
    outside = np.abs(time - best.shape.t0) > 0.55 * best.shape.duration
    level = design @ np.linalg.lstsq(design[outside], white[outside], rcond=None)[0]
    scatter = float(np.std((white / level)[outside]))
    return best.depth, best.depth_sigma, scatter / float(np.sqrt((var / level**2)[outside].mean()))


def nominal_binned_scatter(ds: xr.Dataset) -> float:
    """Scatter over limit of nominal's white light out of transit in the same bins of 144 s."""
    flux, norm, var = (ds[n].to_numpy().astype(np.float64) for n in ("photometry", "trace_norm", "photometry_var"))
    whole = np.isfinite(norm.sum(axis=0))
    total = (flux[:, whole] / norm[:, whole]).sum(axis=1)
    white, var = flux[:, whole].sum(axis=1) / total, var[:, whole].sum(axis=1) / total**2
    n = ds.sizes["pair"] // ds.sizes["bin"]
    cut = n * (len(white) // n)
    keep = ds["out_of_transit"].to_numpy()[:cut].reshape(-1, n).all(axis=1)
    means, limit = white[:cut].reshape(-1, n).mean(axis=1)[keep], math.sqrt(var.mean() / n)
    return float(np.std(means)) / limit


def drift_rows(work: Path, planets: int, fraction: float, seed: int) -> list[dict[str, Any]]:
    """Nominal and official on the same drifting, jittering visits; kept in `work` for the next call."""
    data = work / "data"
    if not data.exists():
        simulate_dataset(
            data, planets=planets, frames_fraction=fraction, seed=seed, jitter_px=(0.28, 0.28), drift_px=0.15, airs_scale=SAME_JITTER
        )  # fmt: skip
    truth = {str(p["planet_id"]): p for p in read_truth(data)["planets"]}
    trees = {}
    for profile in ("nominal", "official"):
        calibrate(data, work / profile, profile=f"calib/{profile}", overrides=["runtime.scheduler=sync"])
        trees[profile] = {
            (str(d.attrs["planet_id"]), d.attrs["instrument"]): d for d in (x.to_dataset() for x in open_calibrated(work / profile).leaves)
        }
    rows = []
    for (planet, instrument), ds in sorted(trees["nominal"].items()):
        white = truth[planet]["visits"][0]["instruments"][instrument]["white_depth"]
        depth, sigma, scatter = official_white(trees["official"][planet, instrument].load(), instrument)
        qc = json.loads(ds.attrs["qc"])
        rows.append({
            "planet": planet, "instrument": instrument, "truth": white,
            "nominal": float(ds["white_depth"]), "nominal_sigma": float(ds["white_depth_sigma"]), "per_pair": qc["noise_over_limit"],
            "binned": nominal_binned_scatter(ds.load()), "official": depth, "official_sigma": sigma, "official_binned": scatter,
        })  # fmt: skip
    return rows


def drift_table(rows: list[dict[str, Any]], fraction: float) -> str:
    """Markdown: one row a visit, then mean and standard deviation of the pulls."""
    lines = [
        (
            f"{len(rows) // 2} visits of both instruments, {fraction:g} of a full visit's frames, drift 0.15 px, "
            "jitter 0.28 px rms per axis on both."
        ),
        "",
        (
            "| planet | instrument | truth ppm | nominal: error ± sigma ppm | pull | scatter / limit (pair) | (144 s) | "
            "official: error ± sigma ppm | pull | error / nominal's sigma | scatter / limit (144 s) |"
        ),
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        mine, theirs = r["nominal"] - r["truth"], r["official"] - r["truth"]
        lines.append(
            f"| {r['planet']} | {r['instrument']} | {1e6 * r['truth']:.0f} | {1e6 * mine:+.0f} ± {1e6 * r['nominal_sigma']:.0f} | "
            f"{mine / r['nominal_sigma']:+.2f} | {r['per_pair']:.3f} | {r['binned']:.2f} | {1e6 * theirs:+.0f} ± "
            f"{1e6 * r['official_sigma']:.0f} | {theirs / r['official_sigma']:+.2f} | "
            f"{theirs / r['nominal_sigma']:+.1f} | {r['official_binned']:.2f} |"
        )
    lines += [
        "",
        "| instrument | profile | mean pull | std of pulls | rms error ppm | worst scatter / limit |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for instrument, profile in product(INSTRUMENTS, ("nominal", "official")):
        mine = [r for r in rows if r["instrument"] == instrument]
        errors = np.array([r[profile] - r["truth"] for r in mine])
        pulls = errors / np.array([r[f"{profile}_sigma"] for r in mine])
        worst = max(r["per_pair" if profile == "nominal" else "official_binned"] for r in mine)
        lines.append(
            f"| {instrument} | {profile} | {pulls.mean():+.2f} | {pulls.std(ddof=1):.2f} | {1e6 * np.sqrt(np.mean(errors**2)):.0f} | "
            f"{worst:.2f} |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", choices=("small", "full"), default="small")
    parser.add_argument("--drift", type=Path, default=None, help="folder of the drift case's data and runs; no grid then")
    parser.add_argument("--planets", type=int, default=10)
    parser.add_argument("--frames-fraction", type=float, default=None)
    parser.add_argument("--clean-fraction", type=float, default=1.0, help="share of the frames of noise-free visits")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--write", type=Path, default=None)
    args = parser.parse_args(argv)
    if args.drift is not None:
        fraction = args.frames_fraction or 1.0
        args.drift.mkdir(parents=True, exist_ok=True)
        mark, text = "drift", drift_table(drift_rows(args.drift, args.planets, fraction, args.seed), fraction)
    else:
        fraction = args.frames_fraction or 0.1
        with tempfile.TemporaryDirectory() as scratch:
            results = []
            for i, case in enumerate(grid(args.grid)):
                results.append(run_case(case, Path(scratch), fraction, args.clean_fraction, args.seed + i))
                c = results[-1]
                print(case, [f"{1e6 * r['error']:+.2f}" for r in c["clean"]], f"{c['noisy'][0]['pulls'].std():.3f}", flush=True)
        mark, text = "grid", grid_table(results, fraction, args.clean_fraction)
    print(text)
    if args.write is not None:
        write_between(args.write, mark, text)
    return text


if __name__ == "__main__":
    main()
