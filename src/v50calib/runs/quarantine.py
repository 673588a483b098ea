"""Visits that are not tried again: `quarantine.json` in the run directory.

A visit is held as long as its fault is bound to recur: same config, same input, same version of this package. Any change of
these releases it, and so does --retry-failed. Failures from a full disk or lost workers never hold a visit.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from v50calib.io.storage.location import Location, replace_text
from v50calib.untrusted.json_text import load_json

NAME = "quarantine.json"


@dataclass(frozen=True)
class Held:
    """Why a visit is held, and what it was tried with; `inputs` is empty if the visit could not be opened.

    seen: when the visit's files were written, as far as its root tells: what was damaged and is made again has the identity that it had.
    """

    error: str
    error_type: str
    attempts: int
    config_hash: str
    version: str
    inputs: dict[str, str] = field(default_factory=dict)
    seen: str = ""

    def recurs(self, config_hash: str, version: str, inputs: dict[str, str] | None, seen: str = "") -> bool:
        """Whether another attempt with this config, version and input would fail in the same way.

        >>> held = Held("flat.parquet is cut", "DataError", 1, "3f9a", "1.0", inputs={"signal": "a"})
        >>> held.recurs("3f9a", "1.0", {"signal": "a"}), held.recurs("3f9a", "1.0", {"signal": "b"})
        (True, False)
        """
        # imported here: `status` reads this file and must not wait for arrays and parquet
        from v50calib.io.identity import same

        if not self.inputs or inputs is None or (self.seen and seen and self.seen != seen):
            return False
        return (self.config_hash, self.version) == (config_hash, version) and same(self.inputs, inputs)


def load(run_dir: Location) -> dict[str, Held]:
    """{planet/visit/instrument: Held}; if the file cannot be read, nothing is held and its visits are tried again."""
    try:
        content = load_json((run_dir / NAME).read_text(encoding="utf-8"))
        return {label: Held(**item) for label, item in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def save(run_dir: Location, held: dict[str, Held]) -> None:
    """Write the list in one step; an empty one is removed. Raises OSError."""
    path = run_dir / NAME
    if not held:
        path.unlink(missing_ok=True)
        return
    replace_text(path, json.dumps({k: asdict(v) for k, v in sorted(held.items())}, indent=1))
