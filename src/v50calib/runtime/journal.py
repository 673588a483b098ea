"""What a run did: `manifest.jsonl` in the run directory, one JSON line an outcome, appended by the driver only.

A visit has a line for every end of an attempt (`retry`, `failed`, `interrupted`, `done`); the last one counts. Lines
are written whole, so the file can be read while the run goes on.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

State = Literal["done", "skipped", "failed", "retry", "interrupted"]
NAME = "manifest.jsonl"


@dataclass(frozen=True)
class Entry:
    """Outcome of one visit x instrument.

    seconds      of work, without waiting
    attempts     number of this one, from 1; 0 where nothing was tried
    at           Unix time of the end, s
    inputs       identity of the raw visit (`io.identity`), where it could be opened
    """

    planet_id: str
    visit: int
    instrument: str
    state: State
    seconds: float = 0.0
    config_hash: str = ""
    reference_hashes: dict[str, str] = field(default_factory=dict)
    qc: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    error_type: str = ""
    traceback: str = ""
    attempts: int = 0
    at: float = 0.0
    inputs: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.planet_id}/{self.visit}/{self.instrument}"


_FIELDS = {f.name for f in fields(Entry)}


def append(run_dir: Path, entry: Entry) -> None:
    """Add one line, in one write. Raises OSError."""
    line = (json.dumps(asdict(entry), sort_keys=True) + "\n").encode()
    descriptor = os.open(run_dir / NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        # a killed driver or a full disk can leave half a line: it must not swallow this one
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        written = os.write(descriptor, line)
        if written != len(line):
            os.write(descriptor, line[written:])
    finally:
        os.close(descriptor)


def read_all(run_dir: Path) -> list[Entry]:
    """Every line, in order of time; torn lines are left out."""
    path = run_dir / NAME
    entries = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            content = json.loads(line)
            entries.append(Entry(**{k: v for k, v in content.items() if k in _FIELDS}))
        except (ValueError, TypeError, AttributeError):
            # half a line of a killed driver: that visit has no outcome and runs again
            continue
    return entries


def read(run_dir: Path) -> list[Entry]:
    """The last entry of each visit x instrument that is not `skipped`, in order of planet."""
    latest: dict[str, Entry] = {}
    for entry in read_all(run_dir):
        if entry.state != "skipped" or entry.label not in latest:
            latest[entry.label] = entry
    return sorted(latest.values(), key=lambda e: (e.planet_id, e.visit, e.instrument))
