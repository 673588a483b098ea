"""A run's own books: manifest.jsonl, run.json, quarantine.json. Are they what a run writes?

Readers go on with what they can read; these sentences say what that is not. Nothing heavy is imported: `status` asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized

from v50calib.io.storage.location import Location
from v50calib.runs import manifest, quarantine, state
from v50calib.untrusted.json_text import load_json


def damaged(run_dir: Location, lines: tuple[Sized, Sequence[int]] | None = None) -> list[str]:
    """A sentence for each of the run's books that is there and is not one, or is in part. Raises StoreError: the manifest cannot be read.

    lines: of `manifest.read_lines`, where they are known.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "run.json").write_text("[]")
    ...     damaged(Path(folder))
    ["run.json is no state of a run (an object is expected): phase, rate and time left are not known; the next 'v50calib calibrate' ..."]
    """
    entries, strange = manifest.read_lines(run_dir) if lines is None else lines
    return [*_of_manifest(len(entries), strange), *_of_objects(run_dir)]


def _of_manifest(whole: int, strange: Sequence[int]) -> Iterator[str]:
    if not strange:
        return
    lost = f"only the other {whole} lines count" if whole else "it holds no entry, so that counts and quality numbers are not known"
    yield (
        f"{manifest.NAME}: {len(strange)} lines are no entries of a run (line {strange[0]} first), {lost}: the file was replaced or "
        "damaged. Products are not touched by that ('v50calib verify', 'v50calib report' read them); bring the file back from a copy, or "
        "move it away and run 'v50calib calibrate --overwrite', which writes it again"
    )


def _of_objects(run_dir: Location) -> Iterator[str]:
    """Of the two that hold one JSON object each."""
    kinds = (
        (state.NAME, "state of a run", "phase, rate and time left are not known; the next 'v50calib calibrate' writes it again"),
        (quarantine.NAME, "list of visits in quarantine", "none is held, and the next 'v50calib calibrate' tries them again"),
    )
    for name, what, then in kinds:
        path = run_dir / name
        try:
            if not path.is_file():
                continue
            why = "" if isinstance(load_json(path.read_text(encoding="utf-8")), dict) else "an object is expected"
        except (OSError, ValueError) as exc:
            why = " ".join(str(exc).split())
        if why:
            yield f"{name} is no {what} ({why}): {then}"
