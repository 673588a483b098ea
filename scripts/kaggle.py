"""Calibrates the challenge's mounted folder within a session's limits: plan first, stop in time, resume in the next session; when all
visits are done, writes submission.csv.

    python scripts/kaggle.py                                    # finds the data under /kaggle/input, writes /kaggle/working/run
    python scripts/kaggle.py --data DATA --out RUN_DIR runtime.num_workers=2 calib.phase.binning.nbins=120
    python scripts/kaggle.py --earlier /kaggle/input/my-earlier-session/run    # resume from what an earlier session saved

Needs only the installed package and no network. Arguments without `--` are overrides of the profile. By default products lack
what a model does not read (LEAN), because the full products of nominal for a whole challenge exceed 20 GB; `--full`
keeps them. Exit code 0: complete; 1: a visit failed, or the plan exceeds a limit; 75: out of time, run it again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

#: overrides for lean products: no cubes, only the normalized light curves, and three files each (a session's output is saved file by file)
LEAN = (
    "output.layout=packed",
    "output.cubes=none",
    "calib.photometry.output.save.flux=false",
    "calib.photometry.output.save.variance=false",
    "calib.photometry.output.save.background=false",
)
#: time reserved at the end of the session for the last visits, the summary and saving the output, s
RESERVE_S = 300.0
#: exit code of a command whose config does not make what it needs
NO_DEPTHS = 2
#: EX_TEMPFAIL of sysexits.h: nothing is wrong, try again
OUT_OF_TIME = 75


def find_data(mounted: Path) -> Path:
    """The only folder below `mounted`, at most three levels down, that holds train/ or test/. Raises SystemExit."""
    levels = ("*", "*/*", "*/*/*")
    found = sorted(
        {path.parent for level in levels for name in ("train", "test") for path in mounted.glob(f"{level}/{name}") if path.is_dir()}
    )
    if len(found) != 1:
        what = f"several datasets: {', '.join(map(str, found))}" if found else "no folder that holds train/ or test/"
        raise SystemExit(f"error: {mounted} has {what}; name the one with --data")
    return found[0]


def program(*words: str) -> list[str]:
    """A command line of v50calib with this interpreter."""
    return [sys.executable, "-m", "v50calib", *words]


def planned(args: argparse.Namespace, overrides: list[str]) -> bool:
    """Print the plan; whether it keeps the limits. Raises SystemExit where there is no plan."""
    limits = ["--hours", str(args.hours), "--out-limit", args.out_limit]
    command = program("plan", str(args.data), "--config-name", args.config_name, "--out", str(args.out), *limits, *overrides)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="", flush=True)
    if done.returncode not in (0, 1) or not done.stdout:
        raise SystemExit(done.returncode)
    return done.returncode == 0


def calibrate(args: argparse.Namespace, overrides: list[str], deadline: float) -> int:
    """Calibrate until all is done or until `deadline` (time.monotonic, s); the exit code, or OUT_OF_TIME."""
    command = program("calibrate", "--config-name", args.config_name, "--data", str(args.data), "--out", str(args.out), *overrides)
    with subprocess.Popen(command) as run:
        try:
            return run.wait(timeout=max(2.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            # stops cleanly within 10 s; finished visits are kept
            run.send_signal(signal.SIGTERM)
            run.wait()
            return OUT_OF_TIME


def solve(args: argparse.Namespace, overrides: list[str]) -> int:
    """Write the submission of a finished run; the exit code."""
    truth = args.data / "train.csv"
    known = ["--truth", str(truth)] if truth.is_file() else []
    return subprocess.run(
        program("solve", str(args.data), str(args.out), "--config-name", args.config_name, "--no-plan", *known, *overrides), check=False
    ).returncode


def print_status(args: argparse.Namespace) -> None:
    """Print how many visits are done and how many are left."""
    done = subprocess.run(program("status", str(args.out), "--json"), stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    print(f"{found['done']} of {found['total']} visits x instruments done, {found['failed']} failed, {found['left']} left")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, help="the challenge's folder (default: found below --mounted)")
    parser.add_argument("--mounted", type=Path, default=Path("/kaggle/input"), help="where inputs are mounted")
    parser.add_argument("--out", type=Path, default=Path("/kaggle/working/run"), help="run directory")
    parser.add_argument("--earlier", type=Path, help="run directory of an earlier session; it is copied to --out")
    parser.add_argument("--config-name", default="calib/nominal", help="profile")
    parser.add_argument("--hours", type=float, default=9.0, help="length of the session")
    parser.add_argument("--out-limit", default="20GB", help="limit of the output")
    parser.add_argument("--full", action="store_true", help="full products, not the lean ones")
    parser.add_argument("--anyway", action="store_true", help="start even if the plan exceeds a limit")
    parser.add_argument("overrides", nargs="*", help="key=value")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Plan, calibrate, print the status; the exit code."""
    begun = time.monotonic()
    args = arguments(argv)
    args.data = args.data or find_data(args.mounted)
    overrides = [*(() if args.full else LEAN), *args.overrides]
    if args.earlier is not None and not args.out.exists():
        shutil.copytree(args.earlier, args.out)
        print(f"copied {args.earlier} → {args.out}", flush=True)
    if not planned(args, overrides) and not args.anyway:
        print("not started. --anyway starts it: what is finished in time is kept, and the next session resumes with --earlier")
        return 1
    code = calibrate(args, overrides, begun + 3600.0 * args.hours - RESERVE_S)
    if (args.out / "run.json").is_file():
        print_status(args)
    if code == OUT_OF_TIME:
        print(f"out of time: save {args.out} as this session's output and give it to the next one with --earlier")
        return code
    if code not in (0, 1):
        return code
    # failed visits have their reasons in the run; planets that lost them get what is left
    solved = solve(args, overrides)
    if solved == NO_DEPTHS:
        print("no submission: the reason is above; the light curves are there")
        return code
    return max(code, solved)


if __name__ == "__main__":
    sys.exit(main())
