"""Figure of one calibrated visit: white light curves of both instruments, their residuals, the depth spectrum.

    python scripts/readme_figure.py RUN_DIR [--truth DATASET] [--planet ID] [--visit 0] [--out docs/images/transit.png]

RUN_DIR is what `v50calib calibrate --out` made; DATASET a simulated dataset with its truth.json. docs/images/transit.png
is planet 1 of `v50calib simulate data --planets 1 --seed 145 --plain` (full length), profile calib/nominal.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from v50calib import open_calibrated
from v50calib.errors import DataError
from v50calib.kernels.transit import Model, Shape
from v50calib.qc.metrics import white_light
from v50calib.simulate import read_truth

Float = NDArray[np.float64]

#: blue and vermilion of the Okabe-Ito palette, which differ for any colour vision
COLOURS = {"FGS1": "#0072B2", "AIRS-CH0": "#D55E00"}
BANDS = {"FGS1": "FGS1 · 0.60-0.80 µm", "AIRS-CH0": "AIRS-CH0 · 1.95-3.90 µm, white light"}
TRUTH_COLOUR = "black"
#: 1400 pixels wide
WIDTH_IN, HEIGHT_IN, DPI = 10.0, 6.2, 140
#: points of the light curves: 2.4 minutes, the time bin of the products
BIN_H = 144.0 / 3600.0
#: channels that one point of the spectrum averages
CHANNELS_PER_POINT = 6


@dataclass(frozen=True)
class Curve:
    """White light curve of one instrument: bins of BIN_H, the fitted transit at the same times, the windows.

    The transit is fitted together with a line in time; `flux` is divided by that line.
    """

    time_h: Float
    flux: Float
    sigma: Float
    model: Float
    t0_h: float
    duration_h: float
    limit_ppm: float


def bin_means(time: Float, values: Float, width: float) -> Float:
    """Means of values (n,) in bins of `width` hours."""
    index = ((time - time[0]) / width).astype(int)
    return np.bincount(index, weights=values) / np.bincount(index)


def curve_of(ds: xr.Dataset) -> Curve:
    """The white light curve and its fit. Raises DataError where the visit has no fitted transit."""
    if ds.attrs.get("ephemeris_source") != "fit":
        raise DataError(f"{ds.attrs['planet_id']} {ds.attrs['instrument']}: no transit was fitted; choose another visit")
    flux, var = white_light(ds)
    time = np.asarray(ds["time"], dtype=np.float64)
    width = max(BIN_H, float(np.median(np.diff(time))))
    at = bin_means(time, time, width)
    count = len(time) / len(at)
    attrs = {name: float(ds.attrs[f"ephemeris_{name}"]) for name in ("t0_h", "period_h", "a", "b", "depth", "u1", "u2")}
    shape = Shape(attrs["t0_h"], attrs["period_h"], attrs["a"], attrs["b"], attrs["depth"] ** 0.5, attrs["u1"], attrs["u2"])
    sigma = float(np.sqrt(var.mean() / count))
    binned, model = bin_means(time, flux, width), Model(at, width)(shape)
    line = np.polynomial.Polynomial.fit(at, binned / model, 1)(at)
    return Curve(
        time_h=at,
        flux=binned / line,
        sigma=np.full(len(at), sigma),
        model=model,
        t0_h=attrs["t0_h"],
        duration_h=float(ds["transit_duration"]),
        limit_ppm=1e6 * sigma,
    )


def draw_curves(axes: tuple[Axes, Axes], curves: dict[str, Curve]) -> None:
    """Light curves above, residuals below; the second instrument is shifted down to stay readable."""
    upper, lower = axes
    gap = 1.25 * max(1.0 - c.flux.min() for c in curves.values())
    step = 9.5 * max(c.limit_ppm for c in curves.values())
    first = next(iter(curves.values()))
    start, stop = first.t0_h - first.duration_h / 2, first.t0_h + first.duration_h / 2
    for axis in axes:
        axis.axvspan(start, stop, color="0.93", zorder=0)
        for edge in (start, stop):
            axis.axvline(edge, color="0.6", linewidth=0.8, linestyle=":", zorder=1)
    for row, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[name]
        upper.plot(curve.time_h, curve.model - row * gap, color="black", linewidth=1.0, zorder=2)
        upper.plot(curve.time_h, curve.flux - row * gap, "o", markersize=2.6, color=colour, zorder=3)
        upper.text(
            curve.time_h[0], 1.0 - row * gap + 0.07 * gap, BANDS[name] + (f" (shifted by -{gap:.3f})" if row else ""),
            color=colour, fontsize=9, va="bottom",
        )  # fmt: skip
        residual = 1e6 * (curve.flux - curve.model)
        offset = -row * step
        lower.axhline(offset, color="black", linewidth=0.8, zorder=2)
        lower.errorbar(
            curve.time_h, residual + offset, yerr=1e6 * curve.sigma, fmt="o", markersize=2.0, color=colour,
            elinewidth=0.5, zorder=3,
        )  # fmt: skip
        scatter = float(np.std(residual))
        lower.text(
            curve.time_h[-1], offset + 0.5 * step, f"rms {scatter:.0f} ppm, noise model {curve.limit_ppm:.0f} ppm",
            color=colour, fontsize=8, ha="right", va="top",
        )  # fmt: skip
    upper.text(first.t0_h, 1.0 + 0.06 * gap, "in transit (T14)", ha="center", va="bottom", fontsize=8, color="0.35")
    upper.set_ylim(1.0 - gap * (len(curves) - 1) - 0.9 * gap, 1.0 + 0.22 * gap)
    lower.set_ylim(-(len(curves) - 1) * step - 0.4 * step, 0.56 * step)
    upper.set_ylabel("flux / out-of-transit flux")
    lower.set_ylabel("residual [ppm]\n(AIRS-CH0 shifted)" if len(curves) > 1 else "residual [ppm]")
    lower.set_xlabel("time since the start of the visit [h]")
    upper.tick_params(labelbottom=False)


def weighted(values: Float, sigma: Float, groups: NDArray[np.intp]) -> Float:
    """Inverse-variance means of values in consecutive groups."""
    weight = 1.0 / sigma**2
    return np.bincount(groups, values * weight) / np.bincount(groups, weight)


def draw_spectrum(axes: tuple[Axes, Axes], visits: dict[str, xr.Dataset], truth: dict[float, float]) -> None:
    """Depth against wavelength with error bars, and the pulls of every channel where the truth is known."""
    upper, lower = axes
    for name, ds in visits.items():
        colour = COLOURS[name]
        wavelength, depth, sigma = (np.asarray(ds[v], float) for v in ("wavelength", "transit_depth", "transit_depth_sigma"))
        good = np.isfinite(depth)
        wavelength, depth, sigma = wavelength[good], 1e6 * depth[good], 1e6 * sigma[good]
        if len(wavelength) == 1:
            upper.errorbar(wavelength, depth, yerr=sigma, fmt="s", color=colour, markersize=5, capsize=2, zorder=4, label=name)
        else:
            upper.plot(wavelength, depth, ".", color=colour, alpha=0.25, markersize=4, zorder=2, label="AIRS-CH0, each channel")
            groups = np.arange(len(wavelength)) // CHANNELS_PER_POINT
            count = np.bincount(groups)
            upper.errorbar(
                weighted(wavelength, sigma, groups), weighted(depth, sigma, groups),
                yerr=weighted(sigma, sigma, groups) / np.sqrt(count), fmt="o", color=colour, markersize=3.5, capsize=1.5,
                linewidth=1.0, zorder=4, label=f"AIRS-CH0, mean of {CHANNELS_PER_POINT} channels",
            )  # fmt: skip
        if truth:
            expected = 1e6 * np.array([truth[nearest(w, truth)] for w in wavelength])
            lower.plot(wavelength, (depth - expected) / sigma, "s" if len(depth) == 1 else ".", color=colour, markersize=4)
            if len(depth) > 1:
                pull = (depth - expected) / sigma
                lower.text(
                    0.98, 0.96, f"AIRS-CH0 pulls: mean {pull.mean():+.2f}, std {pull.std():.2f}", ha="right", va="top",
                    transform=lower.transAxes, fontsize=8, color=colour,
                )  # fmt: skip
    if truth:
        at = np.array(sorted(truth))
        spectral = at > 1.0
        values = 1e6 * np.array([truth[w] for w in at])
        upper.plot(at[spectral], values[spectral], color=TRUTH_COLOUR, linewidth=1.2, zorder=3, label="simulated truth")
        upper.plot(at[~spectral], values[~spectral], "_", color=TRUTH_COLOUR, markersize=14, markeredgewidth=1.6, zorder=5)
        lower.axhspan(-1, 1, color="0.93", zorder=0)
        lower.axhline(0, color="black", linewidth=0.8, zorder=1)
        lower.set_ylim(-4.5, 4.5)
        lower.set_ylabel("(depth - truth) / σ")
        lower.set_xlabel("wavelength [µm]")
        upper.tick_params(labelbottom=False)
    else:
        lower.set_visible(False)
        upper.set_xlabel("wavelength [µm]")
    upper.set_ylabel("transit depth (Rp/Rs)² [ppm]")
    upper.legend(fontsize=8, frameon=False, loc="best")


def nearest(wavelength: float, table: dict[float, float]) -> float:
    """The key of `table` nearest to a wavelength."""
    return min(table, key=lambda key: abs(key - wavelength))


def truth_of(root: Path, planet_id: str, visits: dict[str, xr.Dataset]) -> dict[float, float]:
    """{wavelength [µm]: depth} of a planet. Raises DataError where the planet is not in the truth file."""
    planets = {str(p["planet_id"]): p for p in read_truth(root)["planets"]}
    if planet_id not in planets:
        raise DataError(f"planet {planet_id} is not in {root / 'truth.json'}: it has {', '.join(planets)}")
    depth = planets[planet_id]["depth"]
    table = {0.7: float(depth[0])}
    if "AIRS-CH0" in visits:
        table |= {float(w): float(d) for w, d in zip(visits["AIRS-CH0"]["wavelength"], depth[1:], strict=True)}
    return table


def load_visit(run_dir: Path, planet: str | None, visit: int) -> tuple[str, dict[str, xr.Dataset]]:
    """Planet id and the Datasets of its instruments, FGS1 first. Raises DataError where there is no such product."""
    with warnings.catch_warnings():
        # zarr warns of the commit record, which is not part of its hierarchy
        warnings.simplefilter("ignore")
        tree = open_calibrated(run_dir)
    planet = planet or min(tree.children)
    group: Any = tree.children.get(planet)
    if group is None or str(visit) not in group.children:
        raise DataError(f"{run_dir} has no visit {visit} of planet {planet}; its planets: {', '.join(tree.children)}")
    found = group.children[str(visit)].children
    return planet, {name: found[name].to_dataset() for name in COLOURS if name in found}


def main(argv: list[str] | None = None) -> Path:
    """Draw the figure and return its path."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--planet")
    parser.add_argument("--visit", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/images/transit.png"))
    args = parser.parse_args(argv)
    planet, visits = load_visit(args.run_dir, args.planet, args.visit)
    truth = truth_of(args.truth, planet, visits) if args.truth is not None else {}
    style: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8}
    with mpl.rc_context(style):
        figure, grid = plt.subplots(
            2, 2, figsize=(WIDTH_IN, HEIGHT_IN), sharex="col", layout="constrained",
            gridspec_kw={"height_ratios": [2.1, 1.0], "width_ratios": [1.12, 1.0]},
        )  # fmt: skip
        draw_curves((grid[0, 0], grid[1, 0]), {name: curve_of(ds) for name, ds in visits.items()})
        draw_spectrum((grid[0, 1], grid[1, 1]), visits, truth)
        kind = "simulated planet" if truth else "planet"
        figure.suptitle(f"One transit of {kind} {planet}: raw frames to depths", fontsize=11)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(args.out, dpi=DPI)
        plt.close(figure)
    return args.out


if __name__ == "__main__":
    print(main())
