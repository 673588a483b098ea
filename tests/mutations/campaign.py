"""Damages files one at a time and looks at what becomes of it: `python -m tests.mutations.campaign --seed 1 --count 2000`.

Each damage must end in the package's own errors or in a product, in at most 10 s and 1 GB, and planet 22, whose files are whole, is
calibrated to the same bits.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tests.mutations.worlds import BAD, GOOD, Reader, Root, Target, challenge, detector, raw_store, readers

from v50calib import calibrate, errors, open_visit
from v50calib.config import load
from v50calib.errors import V50CalibError
from v50calib.io import ingest, scan
from v50calib.io.keys import VisitKey
from v50calib.io.storage.commit import read_record
from v50calib.runtime.failures import AttemptError, attempt
from v50calib.runtime.job import Job, packed, run_job
from v50calib.runtime.planets import fit_one

OURS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, V50CalibError)}
MOST_SECONDS, MOST_BYTES = 10.0, 2**30
#: a whole run, an ingest and a lazy visit cost more than a job: one damage in this many has each
WHOLE_RUN, OTHER_DOORS = 12, 6


@dataclass
class Outcome:
    """What the damages led to: faults, and how many were refused by which error or gave a product."""

    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class Late(BaseException):
    """Something takes too long."""


@contextmanager
def limits(faults: list[str], what: str) -> Iterator[None]:
    """Notes what takes too long or too much memory, touched or not."""

    def late(*_: object) -> None:
        raise Late

    # of work: the machine may be busy with something else. What waits for ever does no work
    timers = {signal.ITIMER_PROF: (signal.SIGPROF, MOST_SECONDS), signal.ITIMER_REAL: (signal.SIGALRM, 12 * MOST_SECONDS)}
    before, size = {number: signal.signal(number, late) for number, _ in timers.values()}, _peak()
    for timer, (_, seconds) in timers.items():
        signal.setitimer(timer, seconds)
    try:
        yield
    except Late:
        faults.append(f"{what}: more than {MOST_SECONDS:g} s\n{traceback.format_exc()[-1500:]}")
    finally:
        for timer, (number, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])
    if _peak() - size > MOST_BYTES:
        faults.append(f"{what}: {(_peak() - size) / 2**30:.1f} GB")


def _peak() -> int:
    """Largest address space of this process so far, bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmPeak"))
    return 1024 * int(line.split()[1])


class Campaign:
    """All files in a folder, and the products that planet 22 has while they are whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unheard: list[str] = []
        # what nobody can catch is on stderr as a traceback all the same
        sys.unraisablehook = lambda told: self.unheard.append(f"{told.err_msg or 'ignored'} {told.object!r}: {told.exc_value!r}")
        base = challenge(folder)
        self.roots: list[Root] = [base, raw_store(folder, base.path), detector(folder)]
        self.readers: list[Reader] = readers(folder)
        self.configs = {root.name: load("calib/fast", ["runtime.scheduler=sync", *root.overrides]) for root in self.roots}
        self.right = {root.name: self._good(root) for root in self.roots}
        self.whole = {root.name: [str(key) for key in scan(root.path)] for root in self.roots}
        for root in self.roots:
            # what is loaded once is loaded now
            faults = Outcome()
            self._job(root, Target(root.path, ()), faults, "whole")
            self._doors(root, faults, "whole")
            assert not faults.faults, faults.faults
            assert not set(faults.counts) - {"product", "opened"}, faults.counts

    def _out(self) -> Path:
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        return out

    def _good(self, root: Root) -> dict[str, str]:
        """Content of planet 22's products after a run of everything. Raises what the run raises."""
        out = self._out()
        summary = calibrate(root.path, out, config=self.configs[root.name])
        odd = [f"{e.label} {e.error_type}: {e.error}" for e in summary.failed if e.error_type not in OURS or "MemoryError" in e.traceback]
        if odd:
            raise AssertionError("; ".join(odd))
        found = {}
        for path in sorted(p for p in (out / "calibrated.zarr" / GOOD).glob("*/*") if p.is_dir()):
            read_record(path)
            found[path.name] = {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("c*") if p.is_file()}
        return {name: str(hash(tuple(sorted(files.items())))) for name, files in found.items()}

    def run(self, seed: int, count: int, say: Callable[[str], None] = lambda _: None) -> Outcome:
        """`count` damages; say is told each fault when it is found."""
        outcome, told = Outcome(), 0
        for i in range(count):
            if self.unheard:
                outcome.faults.append(f"before seed {seed} number {i}: {'; '.join(self.unheard)}")
                self.unheard.clear()
            for fault in outcome.faults[told:]:
                say(fault)
            told = len(outcome.faults)
            draw = np.random.default_rng([seed, i])
            # roots have most of the files
            if draw.random() < 0.25:
                self._reader(draw, self.readers[int(draw.integers(len(self.readers)))], outcome, f"seed {seed} number {i}")
            else:
                root = self.roots[int(draw.integers(len(self.roots)))]
                target = root.targets[int(draw.integers(len(root.targets)))]
                self._root(draw, root, target, outcome, f"seed {seed} number {i}")
        return outcome

    def _reader(self, draw: Any, reader: Reader, outcome: Outcome, where: str) -> None:
        with _damaged(draw, reader.path, reader.damages) as kind:
            what = f"{where}: {reader.name}, {kind}"
            with limits(outcome.faults, what):
                self._told(lambda: reader.read(reader.path), outcome, what, "read")

    def _root(self, draw: Any, root: Root, target: Target, outcome: Outcome, where: str) -> None:
        with _damaged(draw, target.path, target.damages) as kind:
            what = f"{where}: {root.name}, {target.path.relative_to(root.path)}, {kind}"
            with limits(outcome.faults, what):
                self._job(root, target, outcome, what)
            if draw.integers(OTHER_DOORS) == 0:
                with limits(outcome.faults, what):
                    self._doors(root, outcome, what)
            if draw.integers(WHOLE_RUN) == 0:
                with limits(outcome.faults, what):
                    self._others(root, target, outcome, what)

    def _job(self, root: Root, target: Target, outcome: Outcome, what: str) -> None:
        """The visits that the file is of, as a run calibrates them, and their planet's fit."""
        out, done = self._out(), []
        out.mkdir()
        known = self._told(lambda: scan(root.path), outcome, f"{what}, scan", "")
        if known is None:
            return
        keys: list[VisitKey] = [key for key in known if key.planet_id == BAD]
        for key in keys:
            if target.visits and str(key.visit) not in target.visits:
                continue
            try:
                attempt(run_job, Job(str(root.path), str(out), key, packed(self.configs[root.name])))
                outcome.counts["product"] += 1
                done.append(key.label)
            except AttemptError as exc:
                failure = exc.failure
                outcome.counts[failure.error_type] += 1
                if failure.error_type not in OURS or "MemoryError" in failure.traceback or not failure.message:
                    outcome.faults.append(f"{what}: {failure.error_type}: {failure.message}\n{failure.traceback[-1800:]}")
        if done:
            fitted = self._told(lambda: fit_one(str(out), BAD, done), outcome, f"{what}, fit", "")
            if fitted is not None and fitted.state == "failed" and not fitted.error.startswith(tuple(OURS)):
                outcome.faults.append(f"{what}: fit: {fitted.error}")

    def _doors(self, root: Root, outcome: Outcome, what: str) -> None:
        """The other ways in: a visit in a notebook, an ingest."""
        for key in self._told(lambda: scan(root.path), outcome, what, "") or ():
            if key.planet_id == BAD:
                self._told(
                    lambda key=key: open_visit(root.path, BAD, key.visit, key.instrument)["raw_frames"].compute(scheduler="sync"),
                    outcome, f"{what}, open_visit", "opened",
                )  # fmt: skip
        if root.name != "raw store":
            store = self.folder / "ingested"
            shutil.rmtree(store, ignore_errors=True)
            self._told(lambda: ingest(root.path, store), outcome, f"{what}, ingest", "")

    def _others(self, root: Root, target: Target, outcome: Outcome, what: str) -> None:
        """A run of everything: planet 22 has the same product, unless the file is its own as well."""
        good = self._told(lambda: self._good(root), outcome, f"{what}, run", "")
        if not target.shared and good != self.right[root.name]:
            outcome.faults.append(f"{what}: planet {GOOD} has {'another product' if good else 'none'}")

    def _told(self, work: Callable[[], Any], outcome: Outcome, what: str, counted: str) -> Any:
        """What work gives; None where it is refused."""
        try:
            result = work()
        except V50CalibError as exc:
            outcome.counts[type(exc).__name__] += 1
            text = "".join(traceback.format_exception(exc))
            if "MemoryError" in text or not str(exc):
                outcome.faults.append(f"{what}: {exc}\n{text[-1800:]}")
            return None
        except Exception as exc:  # noqa: BLE001 - this is what is looked for
            outcome.faults.append(f"{what}: {type(exc).__name__}: {exc}\n{''.join(traceback.format_exception(exc))[-1800:]}")
            return None
        if counted:
            outcome.counts[counted] += 1
        return result


@contextmanager
def _damaged(draw: Any, path: Path, kinds: tuple[Callable[..., bytes], ...]) -> Iterator[str]:
    """The file with one damage in it, whole again afterwards; its content may as well be gone, or a folder, or a link to itself."""
    whole = path.read_bytes()
    kind = kinds[int(draw.integers(len(kinds)))]
    name = kind.__name__
    if draw.integers(40) == 0:
        name = str(draw.choice(["gone", "a folder", "a link to itself", "a link to nowhere"]))
    try:
        if name in ("gone", "a folder", "a link to itself", "a link to nowhere"):
            path.unlink()
            if name == "a folder":
                path.mkdir()
            elif name != "gone":
                path.symlink_to(path if "itself" in name else path.parent / "nowhere")
        else:
            content = whole
            for _ in range(5):
                try:
                    content = kind(draw, whole)
                except (ArithmeticError, ValueError, TypeError, KeyError, IndexError):
                    continue
                if content != whole:
                    break
            path.write_bytes(content)
        yield name
    finally:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.write_bytes(whole)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=2000)
    given = parser.parse_args()
    faulthandler.enable()
    warnings.simplefilter("ignore")
    started = time.time()
    # a folder in memory (TMPDIR=/dev/shm) makes it twice as fast
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder))
        print(f"ready after {time.time() - started:.0f} s", flush=True)
        outcome = campaign.run(given.seed, given.count, say=lambda fault: print(fault, "\n", flush=True))
    print(json.dumps(dict(outcome.counts)), f"{len(outcome.faults)} faults, {time.time() - started:.0f} s")
    sys.exit(bool(outcome.faults))


if __name__ == "__main__":
    main()
