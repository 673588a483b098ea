"""Short visits of several hundred planets, some of them nasty: one run, and a checker that asks its products, status and QC alone.

    python -m benchmarks.nasty [--units 1000] [--share 0.05] [--fraction 0.02] [--seed 0] [--reference 40] [--work DIR] [--write PAGE ...]

A unit is a visit x instrument; planets have two visits or one. All effects of the simulator are on. `--share` of the units are spoiled,
each in a kind of `benchmarks.nasty_kinds`; kinds come in random order, each before one comes again. Before the run, faults that are of
the whole dataset (a planet in both splits, a clock in other units) are put in one by one: `calibrate` must refuse them by name.

The run is `v50calib calibrate`, one command. Then: its exit code is 1; what failed or is distrusted is spoiled, and the reason is one
of its kind's; nothing is wrong by more than 6 sigma (white depths of visits; white depths and bands of planets) without a reason to
distrust it; at most 1 % of the good units are distrusted; good ones equal, bit for bit, those of a run without any spoiling (of
`--reference` planets without a spoiled unit and of all that have one).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from benchmarks.nasty_kinds import KINDS, Kind, Target
from benchmarks.report import machine, write_between
from benchmarks.score import BAND, LARGE, of_instrument
from v50calib.kernels.covariance import averaged
from v50calib.qc.distrust import judge_planet
from v50calib.qc.planet_fit import Spectrum, white
from v50calib.runs.calibrated import calibrated_visits
from v50calib.runs.spectra import open_spectra
from v50calib.runtime.trust import verdict_of
from v50calib.simulate import simulate_dataset
from v50calib.simulate.config import REALISTIC

MARK = "nasty"
#: visits of the planets in turn: 4/3 a planet, 8/3 units
VISITS = (2, 1, 1)
#: share of the good units that may be distrusted
FALSE_ALARMS = 0.01
DEPTHS = ("transit_depth", "transit_depth_sigma")


@dataclass(frozen=True)
class Unit:
    """What a run says of a visit x instrument. state: done, failed or absent; said: reasons of its own and, where it failed, the error;
    planet: reasons of the planet's fit; notes: of the product; z: of its white depth; depths: bytes of depths and errors."""

    state: str
    said: tuple[str, ...] = ()
    planet: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    z: float = float("nan")
    depths: bytes = b""


@dataclass(frozen=True)
class Fit:
    """A planet's fit. z: by name, of white depths and of bands (the largest); told: reasons of it or of the visits that it is made of."""

    z: Mapping[str, float]
    told: tuple[str, ...]
    depths: bytes = b""


@dataclass
class Judged:
    """faults: what is not as it must be, in words; rows: of the table, by kind; good, alarms: units that are good, and distrusted ones;
    same: kinds whose products equalled those of the unspoiled run."""

    faults: list[str] = field(default_factory=list)
    rows: dict[str, list[tuple[str, Unit]]] = field(default_factory=lambda: defaultdict(list))
    good: int = 0
    alarms: list[str] = field(default_factory=list)
    compared: int = 0
    same: set[str] = field(default_factory=set)
    worst_good: float = 0.0


def judge(
    units: Mapping[str, Unit],
    fits: Mapping[str, Fit],
    spoiled: Mapping[str, str],
    reference: Mapping[str, Unit],
    fits_before: Mapping[str, Fit],
    kinds: Mapping[str, Kind] = KINDS,
) -> Judged:
    """The run against what was spoiled (label -> kind) and against a run of the same frames unspoiled."""
    out = Judged()
    for label, unit in units.items():
        kind = spoiled.get(label)
        if kind is None:
            _judge_good(out, label, unit, reference.get(label))
        else:
            out.rows[kind].append((label, unit))
            wrong = _wrong(unit, kinds[kind], reference.get(label))
            out.faults += [f"{label} ({kind}): {fault}" for fault in wrong]
            if "same" in kinds[kind].ends and not wrong:
                out.same.add(kind)
    if len(out.alarms) > FALSE_ALARMS * out.good:
        out.faults.append(f"{len(out.alarms)} of {out.good} good ones distrusted: {'; '.join(out.alarms[:5])}")
    touched = {label.split("/")[0] for label in spoiled}
    for planet, fit in fits.items():
        beyond = {name: z for name, z in fit.z.items() if abs(z) > LARGE}
        if beyond and not fit.told:
            worst = ", ".join(f"{name} {z:+.1f}" for name, z in beyond.items())
            out.faults.append(f"the fit of {planet} is wrong by more than {LARGE:g} sigma ({worst}) without a word")
        if planet not in touched and planet in fits_before and fits_before[planet].depths != fit.depths:
            out.faults.append(f"the fit of {planet} differs from the one of the unspoiled run")
    return out


def _judge_good(out: Judged, label: str, unit: Unit, before: Unit | None) -> None:
    out.good += 1
    if unit.state != "done":
        out.faults.append(f"{label} is good and {unit.state}: {'; '.join(unit.said)}")
        return
    if unit.said:
        out.alarms.append(f"{label}: {'; '.join(unit.said)} (z {unit.z:+.1f})")
    elif abs(unit.z) > LARGE:
        out.faults.append(f"{label} is good and wrong by {unit.z:+.1f} sigma without a word")
    out.worst_good = max(out.worst_good, abs(unit.z) if np.isfinite(unit.z) else 0.0)
    if before is not None:
        out.compared += 1
        if before.depths != unit.depths:
            out.faults.append(f"{label} is good and differs from the unspoiled run")


def _wrong(unit: Unit, kind: Kind, before: Unit | None) -> list[str]:
    """What is not as it must be with a spoiled unit."""
    ended = end_of(unit)
    if "same" in kind.ends:
        if before is None:
            return ["not in the unspoiled run"]
        return (
            []
            if (unit.state, unit.depths) == (before.state, before.depths)
            else [f"{ended}, not the same as unspoiled: {'; '.join(unit.said)}"]
        )
    faults = []
    if ended not in kind.ends:
        text = "; ".join((*unit.said, *unit.planet)) or "nothing said"
        faults.append(f"ended as '{ended}', must be {' or '.join(sorted(kind.ends))} ({text}; z {unit.z:+.1f})")
    if ended in ("fails", "told"):
        text = "; ".join((*unit.said, *unit.planet))
        if not kind.fits(text):
            faults.append(f"told with another reason: {text}")
    elif abs(unit.z) > LARGE:
        faults.append(f"wrong by {unit.z:+.1f} sigma without a word")
    return faults


def end_of(unit: Unit) -> str:
    """fails, told, quiet or absent."""
    if unit.state != "done":
        return "fails" if unit.state == "failed" else "absent"
    return "told" if unit.said or unit.planet else "quiet"


def read_run(run: Path, data: Path, labels: Iterable[str]) -> tuple[dict[str, Unit], dict[str, Fit]]:
    """What a run's products, status and QC say of each of these units, and of the planets' fits; errors by the truth in `data`."""
    truth = pd.read_csv(data / "train.csv", dtype={"planet_id": str}).set_index("planet_id")
    depths = {str(planet): row.to_numpy(np.float64) for planet, row in truth.iterrows()}
    status = json.loads(command("status", str(run), "--json").stdout)
    failed = {one["visit"]: str(one["error"]) for one in status["failures"]}
    units: dict[str, Unit] = {}
    fits: dict[str, Fit] = {}
    reasons: dict[str, list[str]] = defaultdict(list)
    planets = open_spectra(run)
    own = {p: tuple(r.text for r in judge_planet(json.loads(ds.attrs["qc"])).reasons) for p, ds in planets.items()}
    for ds in calibrated_visits(run):
        planet, instrument = str(ds.attrs["planet_id"]), str(ds.attrs["instrument"])
        found = bool(np.isfinite(ds["transit_depth"]).any())
        said = tuple(r.text for r in verdict_of(ds.attrs, found=found).reasons)
        reasons[planet] += said
        true = depths[planet][:1] if instrument == "FGS1" else depths[planet][1:]
        spectrum = Spectrum(*(np.asarray(ds[name], np.float64) for name in DEPTHS), np.asarray(ds["transit_depth_shared"], np.float64))
        mean, sigma = white(Spectrum(spectrum.depth - true, spectrum.sigma, spectrum.shared))
        notes = tuple(json.loads(ds.attrs["qc"]).get("notes", ()))
        label = f"{planet}/{ds.attrs['visit']}/{instrument}"
        units[label] = Unit("done", said, own.get(planet, ()), notes, float(mean / sigma), _bytes(ds))
    for label in labels:
        if label not in units:
            units[label] = Unit("failed", (failed[label],)) if label in failed else Unit("absent")
    for planet, ds in planets.items():
        told = (*own[planet], *reasons[planet])
        fits[planet] = Fit(errors_of_fit(ds, depths[planet]), told, _bytes(ds))
    return units, fits


def _bytes(ds: xr.Dataset) -> bytes:
    return b"".join(np.ascontiguousarray(ds[name]).tobytes() for name in DEPTHS)


def errors_of_fit(ds: xr.Dataset, true: np.ndarray) -> dict[str, float]:
    """Error / sigma of a planet's fit: white depth of each instrument, and that of AIRS-CH0's bands which is farthest off."""
    out: dict[str, float] = {}
    for i, name in enumerate(ds.attrs["instruments"]):
        off, sigma, shared = of_instrument(ds, i, true[:1] if name == "FGS1" else true[1:])
        mean, error = white(Spectrum(off, sigma, shared))
        out[name] = float(mean / error)
        good = np.flatnonzero(np.isfinite(off) & (sigma > 0))
        if len(good) >= BAND:
            weights = np.zeros((len(good) // BAND, len(good)))
            for j in range(len(weights)):
                weights[j, j * BAND : (j + 1) * BAND] = 1.0
            means, cov = averaged(off[good], sigma[good], shared[good], weights)
            z = means / np.sqrt(np.diag(cov))
            out["bands"] = float(z[np.argmax(np.abs(z))])
    return out


def command(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "v50calib", *args], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def clean_dataset(root: Path, units: int, fraction: float, seed: int) -> Path:
    """The unspoiled frames: at least `units` visits x instruments."""
    if not root.is_dir():
        per_planet = 2 * sum(VISITS) / len(VISITS)
        workers = os.cpu_count() or 1
        simulate_dataset(
            root, planets=round(units / per_planet), visits=VISITS, frames_fraction=fraction, seed=seed, workers=workers, **REALISTIC
        )
    return root


def labels_of(data: Path) -> list[str]:
    """All visits x instruments of a dataset."""
    out = []
    for path in sorted(data.glob("train/*/*_signal_*.parquet")):
        instrument, _, visit = path.stem.partition("_signal_")
        out.append(f"{path.parent.name}/{visit}/{instrument}")
    return out


def spoil_dataset(clean: Path, data: Path, count: int, seed: int, names: Sequence[str] = ()) -> dict[str, str]:
    """A copy of the dataset with `count` units spoiled; which, and how. names: the kinds, by default all."""
    shutil.copytree(clean, data, copy_function=_linked)
    rng = np.random.default_rng((seed, 2))
    truth = {str(p["planet_id"]): p for p in json.loads((data / "truth.json").read_text())["planets"]}
    labels = labels_of(data)
    free = rng.permutation(labels).tolist()
    order: list[str] = []
    spoiled: dict[str, str] = {}
    while len(spoiled) < count and free:
        if not order:
            # kinds of a whole planet first: they need one that nothing else has touched
            order = sorted(rng.permutation(list(names or KINDS)).tolist(), key=lambda kind: KINDS[kind].planet)
        kind = order.pop()
        whole = [label for label in free if not KINDS[kind].planet or _untouched(label, spoiled)]
        if not whole:
            continue
        label = whole[0]
        planet, visit, instrument = label.split("/")
        of = [one for one in labels if one.startswith(f"{planet}/")] if KINDS[kind].planet else [label]
        other = next(p for p in truth if p != planet)
        KINDS[kind].spoil(Target(data, planet, int(visit), instrument, other, truth[planet]), rng)
        spoiled |= dict.fromkeys(of, kind)
        free = [one for one in free if one not in of]
    return spoiled


def _untouched(label: str, spoiled: Mapping[str, str]) -> bool:
    """Whether nothing of this unit's planet has been spoiled."""
    return all(one.split("/")[0] != label.split("/")[0] for one in spoiled)


def _linked(source: str, target: str) -> None:
    """Another name of the file: what spoils it writes a new one."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def refused(clean: Path, work: Path) -> list[str]:
    """Faults of the whole dataset, one by one: a line for each that the run does not refuse by name before a frame is read."""
    faults = []
    for name, spoil, words in (
        ("a planet in both splits", _both_splits, "both|test/"),
        ("clock in seconds", lambda d: _clock(d, 3600.0), "hour|axis_info"),
        ("clock in nanoseconds", lambda d: _clock(d, 3.6e12), "hour|axis_info"),
        ("clock that stands still", lambda d: _clock(d, 0.0), "time|axis_info"),
    ):
        data = work / "whole"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(clean, data, copy_function=_linked)
        spoil(data)
        out = work / "whole-run"
        done = command("calibrate", "--data", str(data), "--out", str(out), "--scheduler", "sync", "--limit", "1", "output.cubes=none")
        text = done.stdout + done.stderr
        if done.returncode == 0 or not any(word in text for word in words.split("|")) or "Traceback" in text:
            faults.append(f"{name}: exit code {done.returncode}: {text[-300:]}")
        shutil.rmtree(data)
        shutil.rmtree(out, ignore_errors=True)
    return faults


def _both_splits(data: Path) -> None:
    planet = min((data / "train").iterdir())
    shutil.copytree(planet, data / "test" / planet.name, copy_function=_linked)
    shutil.copy(data / "train_star_info.csv", data / "test_star_info.csv")


def _clock(data: Path, factor: float) -> None:
    path = data / "axis_info.parquet"
    table = pd.read_parquet(path)
    path.unlink()
    for column in [c for c in table.columns if c.endswith("-h")]:
        table[column] *= factor
    table.to_parquet(path)


def table(judged: Judged, head: str) -> str:
    """The page's table: a row for each kind."""
    lines = [
        head,
        "",
        "| kind | units | failed | distrusted | nothing said | worst error / sigma without a word |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind in KINDS:
        rows = judged.rows.get(kind, [])
        ends = [end_of(unit) for _, unit in rows]
        quiet = [abs(unit.z) for _, unit in rows if end_of(unit) == "quiet" and np.isfinite(unit.z)]
        worst = "the same, bit for bit" if kind in judged.same else f"{max(quiet):.1f}" if quiet else ""
        lines.append(f"| {kind} | {len(rows)} | {ends.count('fails')} | {ends.count('told')} | {ends.count('quiet')} | {worst} |")
    alarms = len(judged.alarms)
    share = 100 * alarms / max(judged.good, 1)
    lines += [
        f"| *good ones* | {judged.good} | 0 | {alarms} ({share:.1f} %) | {judged.good - alarms} | {judged.worst_good:.1f} |",
        "",
        f"{judged.compared} good ones were compared with an unspoiled run. "
        + (f"Not as it must be: {len(judged.faults)}: {'; '.join(judged.faults)}." if judged.faults else "All as it must be."),
    ]  # fmt: skip
    return "\n".join(lines)


def campaign(
    work: Path, units: int, share: float, fraction: float, seed: int, reference: int, names: Sequence[str] = ()
) -> tuple[Judged, int]:
    """Simulate, spoil, run, judge; also how many units there are."""
    clean = clean_dataset(work / "clean", units, fraction, seed)
    labels = labels_of(clean)
    whole = refused(clean, work)
    for name in ("data", "run", "before"):
        shutil.rmtree(work / name, ignore_errors=True)
    spoiled = spoil_dataset(clean, work / "data", round(share * len(labels)), seed, names)
    (work / "spoiled.json").write_text(json.dumps(spoiled, indent=1))
    done = command("calibrate", "--data", str(work / "data"), "--out", str(work / "run"), "output.cubes=none")
    (work / "calibrate.log").write_text(done.stdout + done.stderr)
    units_found, fits = read_run(work / "run", clean, labels)
    before, fits_before = unspoiled(work, clean, labels, spoiled, reference)
    found = judge(units_found, fits, spoiled, before, fits_before)
    found.faults = whole + found.faults
    if done.returncode != 1:
        found.faults.append(f"the run ended with exit code {done.returncode}, not 1")
    if "Traceback" in done.stdout + done.stderr:
        found.faults.append("the run printed a traceback")
    return found, len(labels)


def unspoiled(
    work: Path, clean: Path, labels: Sequence[str], spoiled: Mapping[str, str], reference: int
) -> tuple[dict[str, Unit], dict[str, Fit]]:
    """The unspoiled run of the planets with a spoiled unit, and of `reference` others."""
    planets = {label.split("/")[0] for label in spoiled}
    others = sorted({label.split("/")[0] for label in labels} - planets)[:reference]
    (work / "reference.txt").write_text("\n".join([*sorted(planets), *others]) + "\n")
    chosen = ("--planets-from", str(work / "reference.txt"))
    done = command("calibrate", "--data", str(clean), "--out", str(work / "before"), *chosen, "output.cubes=none")
    if done.returncode:
        raise SystemExit(f"the unspoiled run ended with exit code {done.returncode}: {done.stderr[-2000:]}")
    kept = planets | set(others)
    return read_run(work / "before", clean, [label for label in labels if label.split("/")[0] in kept])


def main() -> None:
    """The campaign of one seed; exit code 1 where something is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=1000, help="visits x instruments")
    parser.add_argument("--share", type=float, default=0.05, help="share of them that is spoiled")
    parser.add_argument("--fraction", type=float, default=0.02, help="share of a full visit's frames")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reference", type=int, default=40, help="planets without a spoiled unit that are compared with an unspoiled run")
    parser.add_argument("--work", type=Path, default=None, help="folder that keeps frames and runs  [default: a temporary one]")
    parser.add_argument("--write", type=Path, action="append", default=[], help="page whose table is rewritten")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work if args.work is not None else Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        found, count = campaign(work, args.units, args.share, args.fraction, args.seed, args.reference)
        minutes = (time.perf_counter() - start) / 60
    head = (
        f"{count} visits x instruments, {args.fraction:.0%} of a full visit's frames, all effects of the simulator on, seed {args.seed}; "
        f"{minutes:.0f} min from frames to this on {machine()}."
    )
    text = table(found, head)
    print(text)
    for alarm in found.alarms:
        print(f"distrusted, and good: {alarm}")
    for page in args.write:
        write_between(page, MARK, text)
    for fault in found.faults:
        print(f"FAULT {fault}", file=sys.stderr)
    raise SystemExit(1 if found.faults else 0)


if __name__ == "__main__":
    main()
