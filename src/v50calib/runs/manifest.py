"""What a run did: `manifest.jsonl` in the run directory, one JSON line per outcome, appended by the driver only.

A visit has a line for the end of every attempt (`retry`, `failed`, `interrupted`, `done`); the last one counts. Lines
are appended in one write, so the file can be read during the run. Object stores cannot append: there the lines are in objects
`manifest/00000.jsonl`, …, the last of which is rewritten until it is full.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from v50calib.errors import StoreError
from v50calib.io.keys import VisitKey
from v50calib.io.storage.location import Location
from v50calib.io.storage.objects import ObjectPath
from v50calib.safety.files import open_own
from v50calib.untrusted.json_text import load_json

State = Literal["done", "skipped", "failed", "retry", "interrupted"]
STATES: tuple[State, ...] = get_args(State)
NAME = "manifest.jsonl"
#: in an object store: the folder of the parts, and the size at which a part is full, bytes
PARTS, PART_BYTES = "manifest", 128 * 1024


@dataclass(frozen=True)
class Entry:
    """Outcome of one visit x instrument.

    seconds      time of the work, without waiting, s
    attempts     number of this attempt, from 1; 0 if nothing was tried
    at           Unix time of the end, s
    inputs       identity of the raw visit (`io.identity`), if it could be opened
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
        """planet/visit/instrument.

        >>> Entry("1103775", 0, "FGS1", "done").label
        '1103775/0/FGS1'
        """
        return VisitKey(self.planet_id, self.visit, self.instrument).label


_FIELDS = {f.name for f in fields(Entry)}
#: kinds of the values that are worked with
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("planet_id", "instrument", "state", "error", "error_type"), (str,)),
    **dict.fromkeys(("visit", "attempts"), (int,)),
    **dict.fromkeys(("seconds", "at"), (int, float)),
    **dict.fromkeys(("qc", "inputs"), (dict,)),
}
#: what a line begins with: keys are sorted
BEGINNING = b'{"at": '


def append(run_dir: Location, *entries: Entry) -> None:
    """Add a line for each entry, in one write. Raises OSError."""
    line = "".join(json.dumps(vars(entry), sort_keys=True) + "\n" for entry in entries).encode()
    if not line:
        return
    if isinstance(run_dir, ObjectPath):
        _put(run_dir / PARTS, line)
        return
    descriptor = open_own(run_dir / NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        size = os.fstat(descriptor).st_size
        # a killed driver or a full disk can leave half a line: this one must not be joined to it
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        view = memoryview(line)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)


def _put(parts: ObjectPath, line: bytes) -> None:
    """Add a line to the last part, or start the next one; the run's lock makes this the only writer."""
    last = max(parts.objects(), default=None)
    held = b"" if last is None else last.read_bytes()
    if last is None or len(held) >= PART_BYTES:
        number = 0 if last is None else int(last.name.partition(".")[0]) + 1
        last, held = parts / f"{number:05d}.jsonl", b""
    last.write_bytes(held + line)


def read_all(run_dir: Location) -> list[Entry]:
    """Every line, in order of time; what is no entry is left out. Raises StoreError where the file cannot be read."""
    return read_lines(run_dir)[0]


def read_lines(run_dir: Location) -> tuple[list[Entry], list[int]]:
    """The entries in order of time, and the numbers, from 1, of lines that no run of this program writes.

    Half a line of a killed driver is neither: its visit has no outcome and is calibrated again. Raises StoreError where the file cannot be
    read.
    """
    entries, strange = list[Entry](), list[int]()
    for number, line in enumerate(_content(run_dir).splitlines(), start=1):
        try:
            entries.append(_entry(load_json(line)))
        except ValueError:
            if line.strip() and not line.startswith(BEGINNING[: max(1, len(line))]):
                strange.append(number)
        except TypeError:
            strange.append(number)
    return entries, strange


def _content(run_dir: Location) -> bytes:
    if isinstance(run_dir, ObjectPath):
        with ThreadPoolExecutor(8) as pool:
            return b"".join(pool.map(ObjectPath.read_bytes, sorted((run_dir / PARTS).objects())))
    try:
        return (run_dir / NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as exc:
        raise StoreError(
            f"cannot read '{run_dir / NAME}' ({exc.strerror or exc}): it is the run's record of its visits; mend its permissions, or move "
            "what is in its place away"
        ) from exc


def _entry(content: Any) -> Entry:
    """An Entry of a line's values. Raises TypeError for values of another kind."""
    if not isinstance(content, dict):
        raise TypeError("no object")
    known = {name: value for name, value in content.items() if name in _FIELDS}
    for name, kinds in KINDS.items():
        if name in known and (not isinstance(known[name], kinds) or isinstance(known[name], bool)):
            raise TypeError(name)
    if known.get("state") not in STATES:
        raise TypeError("state")
    return Entry(**known)


def finished(run_dir: Location) -> list[tuple[Entry, bool]]:
    """The last `done` entry of each visit x instrument, in order of planet, and whether nothing was tried afterwards.

    A product stays until a new one takes its place: a later attempt that failed or was interrupted takes nothing away.
    """
    done: dict[str, Entry] = {}
    last: dict[str, Entry] = {}
    for entry in read_all(run_dir):
        if entry.state == "done":
            done[entry.label] = entry
        if entry.state != "skipped":
            last[entry.label] = entry
    ordered = sorted(done.values(), key=lambda e: (e.planet_id, e.visit, e.instrument))
    return [(entry, last[entry.label] is entry) for entry in ordered]


def read(run_dir: Location) -> list[Entry]:
    """The last entry of each visit x instrument that is not `skipped`, in order of planet."""
    latest: dict[str, Entry] = {}
    for entry in read_all(run_dir):
        if entry.state != "skipped" or entry.label not in latest:
            latest[entry.label] = entry
    return sorted(latest.values(), key=lambda e: (e.planet_id, e.visit, e.instrument))
