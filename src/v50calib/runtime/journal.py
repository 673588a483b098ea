"""What a run did: `manifest.jsonl` in the run directory, one JSON line a visit and instrument, appended by the driver only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

State = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class Entry:
    """Outcome of one visit x instrument: state, seconds of work, QC record, error with its traceback."""

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

    @property
    def label(self) -> str:
        return f"{self.planet_id}/{self.visit}/{self.instrument}"


def append(run_dir: Path, entry: Entry) -> None:
    """Add one line; a line is written whole."""
    with (run_dir / "manifest.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(entry), sort_keys=True) + "\n")


def read(run_dir: Path) -> list[Entry]:
    """The last non-skipped entry of each visit x instrument, in order of planet; a torn last line is left out."""
    path = run_dir / "manifest.jsonl"
    latest: dict[str, Entry] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            entry = Entry(**json.loads(line))
        except json.JSONDecodeError:
            # only a killed driver leaves a partial line, and only as the last one; that visit runs again
            continue
        if entry.state != "skipped" or entry.label not in latest:
            latest[entry.label] = entry
    return sorted(latest.values(), key=lambda e: (e.planet_id, e.visit, e.instrument))
