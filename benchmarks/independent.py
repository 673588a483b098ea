"""Depths, noise and times of a dataset whose truth somebody else's simulator has put in.

    python -m benchmarks.independent ROOT [--run DIR] [--profile calib/nominal] [--write PAGE] [OVERRIDES …]

ROOT is a dataset in the challenge's layout with a folder truth/ beside train/: train_line_shape_smoothed.csv (depth of each channel,
wl_1 = FGS1), ephemeris_and_noise.csv (planet_id, visit, label, t0_h, …) and, where the extraction is to be judged apart from
the fit, expected_<planet>_<visit>_<instrument>.npz: noise-free electrons of every pair (`white` of FGS1, `columns` of AIRS-CH0
over all rows) and the gain drift.

For each visit and instrument: pull of the white depth ((measured - truth) / sigma), mean and scatter of the channels' pulls, scatter of
the pulls of bands of ten channels by the covariance and of the channels made independent by it (1: the covariance is right),
scatter of photometry / expected over its predicted limit (1: nothing but photons and read noise), t0 off truth in s. For each
planet: the same of the one fit of all its visits and instruments, and how much smaller FGS1's error is by it.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from benchmarks.report import write_between
from v50calib import calibrate, open_calibrated
from v50calib.kernels.covariance import covariance, own_variance, weighted_depth
from v50calib.runs.spectra import open_spectra
from v50calib.schema import instrument_of
from v50calib.uncertainty.spectra import fitted_depths

#: the table in a page stands between the comments of this name
MARK = "independent"
#: channels whose mean depth is judged
BAND = 10


def truth_of(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Depths by planet (columns wl_1 …), and the visits' ephemerides and effects."""
    depths = pd.read_csv(root / "truth" / "train_line_shape_smoothed.csv", dtype={"planet_id": str}).set_index("planet_id")
    visits = pd.read_csv(root / "truth" / "ephemeris_and_noise.csv", dtype={"planet_id": str})
    return depths, visits


def channel_truth(depths: pd.DataFrame, planet: str, instrument: str) -> np.ndarray:
    """True depths of an instrument's channels, ascending in wavelength."""
    row = depths.loc[planet].to_numpy(np.float64)
    return row[:1] if instrument == "FGS1" else row[1:]


def expected_flux(root: Path, planet: str, visit: int, instrument: str, pairs: int) -> np.ndarray | None:
    """Noise-free electrons (pair, channel) with the gain drift in; None where the dataset does not say."""
    path = root / "truth" / f"expected_{planet}_{visit}_{instrument}.npz"
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        spectral = "columns" in stored
        values = stored["columns"].astype(np.float64) if spectral else stored["white"].astype(np.float64)[:, None]
        drift = stored["gain_drift"].astype(np.float64)
    drift = drift.reshape(len(drift), -1)
    if not spectral:
        drift = drift.mean(axis=1, keepdims=True)
    at = np.linspace(0, len(drift) - 1, pairs) if len(drift) > 1 else np.zeros(pairs)
    low = np.floor(at).astype(int)
    share = (at - low)[:, None]
    values = values * (drift[low] * (1 - share) + drift[np.minimum(low + 1, len(drift) - 1)] * share)
    if spectral:
        science = instrument_of({"instrument": instrument}).science
        values = values[:, science][:, ::-1]
    return values


def extraction_noise(ds: xr.Dataset, expected: np.ndarray) -> float:
    """Scatter of white photometry / expected from pair to pair, over the predicted one."""
    flux, var = ds["photometry"].to_numpy().astype(np.float64), ds["photometry_var"].to_numpy().astype(np.float64)
    good = np.isfinite(flux.sum(axis=0))
    ratio = flux[:, good].sum(axis=1) / expected[:, good].sum(axis=1)
    limit = np.sqrt(var[:, good].sum(axis=1)).mean() / expected[:, good].sum(axis=1).mean()
    step = np.diff(ratio)
    return float(1.4826 * np.median(np.abs(step - np.median(step))) / math.sqrt(2.0) / limit / (ratio.mean() or 1.0))


def judge(root: Path, run: Path) -> list[dict[str, Any]]:
    """One row a visit and instrument."""
    depths, visits = truth_of(root)
    tree = open_calibrated(run)
    rows = []
    for _, entry in visits.iterrows():
        planet, visit = entry["planet_id"], int(entry["visit"])
        for instrument in ("FGS1", "AIRS-CH0"):
            path = f"/{planet}/{visit}/{instrument}"
            row: dict[str, Any] = {"visit": f"{planet}/{visit}", "instrument": instrument, "label": entry["label"]}
            if path not in tree.groups:
                rows.append(row | {"failed": True})
                continue
            ds = tree[path].to_dataset().load()
            rows.append(row | _row(ds, root, entry, channel_truth(depths, planet, instrument)))
    return rows


def _row(ds: xr.Dataset, root: Path, entry: pd.Series, truth: np.ndarray) -> dict[str, Any]:
    instrument = str(ds.attrs["instrument"])
    level = ds["photometry"].mean("pair").to_numpy().astype(np.float64)
    good = np.isfinite(level)
    white = float((truth[good] * level[good]).sum() / level[good].sum())
    measured, sigma = float(ds["white_depth"]), float(ds["white_depth_sigma"])
    depth, error = ds["transit_depth"].to_numpy(), ds["transit_depth_sigma"].to_numpy()
    pulls = ((depth - truth) / error)[np.isfinite(depth)]
    qc = json.loads(ds.attrs.get("qc", "{}"))
    out = {
        "truth_ppm": 1e6 * white, "white_ppm": 1e6 * measured, "sigma_ppm": 1e6 * sigma, "pull": (measured - white) / sigma,
        "channels": len(pulls), "channel_mean": float(pulls.mean()) if pulls.size else math.nan,
        "channel_sd": float(pulls.std()) if pulls.size > 1 else math.nan,
        "channel_sigma_ppm": float(1e6 * np.nanmedian(error)),
        **by_covariance(depth - truth, error, ds["transit_depth_shared"].to_numpy()),
        # the truth's clock is that of the time stamps
        "t0_off_s": 3600.0 * (float(ds["mid_transit_time"]) + float(ds.attrs["first_stamp_h"]) - float(entry["t0_h"])),
        "t0_sigma_s": 3600.0 * float(ds["mid_transit_time_sigma"]),
        "chi2": float(ds.attrs.get("ephemeris_chi2_reduced", math.nan)),
        "noise_over_limit": qc.get("noise_over_limit", math.nan),
    }  # fmt: skip
    expected = expected_flux(root, entry["planet_id"], int(entry["visit"]), instrument, ds.sizes["pair"])
    return out | ({"extraction": extraction_noise(ds, expected)} if expected is not None else {})


def by_covariance(off: np.ndarray, sigma: np.ndarray, shared: np.ndarray) -> dict[str, Any]:
    """Pulls of bands of ten channels, and rms of all channels' errors made independent: by diag(sigma² - Σ F²) + F Fᵀ."""
    good = np.isfinite(off) & np.isfinite(sigma)
    if good.sum() < BAND:
        return {"bands": [], "whitened": math.nan}
    off, sigma, shared = off[good], sigma[good], shared[good]
    weight = 1.0 / own_variance(sigma, shared)
    pulls = []
    for start in range(0, off.size - BAND + 1, BAND):
        own = slice(start, start + BAND)
        mean, error = weighted_depth(off[own], sigma[own], shared[own], weight[own])
        pulls.append(mean / error)
    independent = np.linalg.solve(np.linalg.cholesky(covariance(sigma, shared)), off)
    return {"bands": pulls, "whitened": float(np.sqrt(np.mean(np.square(independent))))}


def judge_planets(root: Path, run: Path) -> list[dict[str, Any]]:
    """One row a planet: the joint fit's pulls, and FGS1's error alone (visits averaged) over the joint one."""
    depths, _ = truth_of(root)
    rows = []
    for planet, ds in open_spectra(run).items():
        row: dict[str, Any] = {"planet": planet, "chi2": ds.attrs["chi2"]}
        for name in ds.attrs["instruments"]:
            found = fitted_depths(ds, name)
            assert found is not None
            depth, sigma = found
            pulls = (depth - channel_truth(depths, planet, name)) / sigma
            if name == "FGS1":
                row |= {"fgs1_ppm": 1e6 * depth[0], "fgs1_sigma_ppm": 1e6 * sigma[0], "fgs1_pull": pulls[0]}
            else:
                shared = ds["transit_depth_shared"].to_numpy()[ds["instrument"].to_numpy() == list(ds.attrs["instruments"]).index(name)]
                row |= {"channel_mean": float(np.nanmean(pulls)), "channel_sd": float(np.nanstd(pulls))}
                row |= by_covariance(depth - channel_truth(depths, planet, name), sigma, shared)
        alone = [
            1.0 / float(leaf["transit_depth_sigma"][0]) ** 2
            for leaf in (node.to_dataset() for node in open_calibrated(run)[f"/{planet}"].leaves)
            if leaf.attrs["instrument"] == "FGS1" and np.isfinite(leaf["transit_depth_sigma"][0])
        ]
        if alone and "fgs1_ppm" in row:
            row["narrower"] = 1e6 / math.sqrt(sum(alone)) / row["fgs1_sigma_ppm"]
        rows.append(row)
    return rows


def _by_covariance(row: dict[str, Any]) -> str:
    bands = row.get("bands", [])
    return f"{row['whitened']:.2f}, {math.sqrt(float(np.mean(np.square(bands)))):.2f}" if bands else ""


def planets_table(rows: list[dict[str, Any]]) -> str:
    """Markdown, a line a planet."""
    lines = [
        "| planet | FGS1 depth ppm | pull | its own error over this | AIRS-CH0 channels: mean, sd | independent, bands of ten | chi² |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        fgs1 = f"{r['fgs1_ppm']:.0f} ± {r['fgs1_sigma_ppm']:.0f} | {r['fgs1_pull']:+.2f}" if "fgs1_ppm" in r else " | "
        narrower = f"{r['narrower']:.2f}" if "narrower" in r else "not found alone"
        channels = f"{r['channel_mean']:+.2f}, {r['channel_sd']:.2f} | {_by_covariance(r)}" if "channel_mean" in r else " | "
        lines.append(f"| {r['planet']} | {fgs1} | {narrower} | {channels} | {r['chi2']:.2f} |")
    return "\n".join(lines)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rms and largest of the white pulls by instrument; the ranges of the rest."""
    out: dict[str, Any] = {}
    for instrument in ("FGS1", "AIRS-CH0"):
        pulls = np.array([r["pull"] for r in rows if r["instrument"] == instrument and "pull" in r])
        out[instrument] = {
            "rms": float(np.sqrt(np.nanmean(pulls**2))),
            "worst": float(np.nanmax(np.abs(pulls))),
            "mean": float(np.nanmean(pulls)),
        }
    bands = np.concatenate([np.asarray(r.get("bands", [])) for r in rows])
    if bands.size:
        out["bands of ten channels"] = {"rms": float(np.sqrt(np.mean(bands**2))), "worst": float(np.abs(bands).max())}
    return out


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, a line a visit and instrument."""
    lines = [
        (
            "| visit | effect | instrument | truth ppm | white depth ppm | pull | channels: mean, sd | independent, bands of ten "
            "| noise / limit | t0 off, s | chi² |"
        ),
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        if "pull" not in r:
            lines.append(f"| {r['visit']} | {r['label']} | {r['instrument']} | | failed | | | | | | |")
            continue
        channels = f"{r['channel_mean']:+.2f}, {r['channel_sd']:.2f}" if r["channels"] > 1 else ""
        lines.append(
            f"| {r['visit']} | {r['label']} | {r['instrument']} | {r['truth_ppm']:.0f} | {r['white_ppm']:.0f} ± {r['sigma_ppm']:.0f} | "
            f"{r['pull']:+.2f} | {channels} | {_by_covariance(r)} | {r.get('extraction', math.nan):.2f} | "
            f"{r['t0_off_s']:+.1f} ± {r['t0_sigma_s']:.1f} | {r['chi2']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Calibrate what the run does not have yet, judge it, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--run", type=Path, default=None, help="run directory  [default: a temporary one]")
    parser.add_argument("--profile", default="calib/nominal")
    parser.add_argument("--write", type=Path, default=None, help="page whose table is rewritten")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = args.run if args.run is not None else Path(scratch) / "run"
        calibrate(args.root, run, args.profile, args.overrides, update=True)
        rows, planets = judge(args.root, run), judge_planets(args.root, run)
    text = f"{table(rows)}\n\n{planets_table(planets)}"
    print(text)
    print(json.dumps(summary(rows), indent=1))
    if args.write is not None:
        write_between(args.write, MARK, text)


if __name__ == "__main__":
    main()
