"""A run's own books that are not what a run writes: told by whoever reads them, and nothing ends in a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from v50calib.cli.main import main
from v50calib.errors import StoreError
from v50calib.runs import manifest
from v50calib.runs.books import damaged
from v50calib.runs.manifest import Entry
from v50calib.runs.status import status
from v50calib.runs.verify import verify

GOOD = json.dumps(vars(Entry("7", 0, "FGS1", "done", seconds=1.0, at=5.0)), sort_keys=True).encode()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("config_hash: x\n")
    return tmp_path


@pytest.mark.parametrize(
    "content",
    [
        b"a thesis\nof two lines\n",
        b'{"name": "another program", "version": 3}\n',
        b"[1, 2]\n",
        b"\x00\x01\xff\xfe" * 50,
        b'{\n  "planet_id": "7"\n}\n',
        b'{"at": "yesterday", "planet_id": "7", "visit": 0, "instrument": "FGS1", "state": "done"}\n',
        b'{"at": 1, "planet_id": "7", "visit": [], "instrument": "FGS1", "state": "done"}\n',
        b'{"at": 1, "planet_id": "7", "visit": 0, "instrument": "FGS1", "state": "excellent"}\n',
        b"[" * 100_000,
    ],
    ids=["text", "another object", "list", "binary", "pretty", "time", "visit", "state", "deep"],
)
def test_a_manifest_that_is_none(run_dir: Path, content: bytes) -> None:
    (run_dir / manifest.NAME).write_bytes(content)
    (told,) = damaged(run_dir)
    assert "are no entries of a run (line " in told
    assert "it holds no entry" in told
    shown = CliRunner().invoke(main, ["status", str(run_dir)], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "damaged: manifest.jsonl: " in shown.stdout
    assert status(run_dir)["damaged"] == [told]
    checked = CliRunner().invoke(main, ["verify", str(run_dir)], catch_exceptions=False)
    assert (checked.exit_code, "damaged: manifest.jsonl" in checked.stderr) == (1, True)
    assert verify(run_dir).books == [told]
    for command in ("qc", "summary"):
        assert "damaged: manifest.jsonl" in CliRunner().invoke(main, [command, str(run_dir)]).stderr


def test_lines_between_entries_are_counted_and_half_a_line_is_none_of_them(run_dir: Path) -> None:
    (run_dir / manifest.NAME).write_bytes(
        GOOD + b"\n" + GOOD[:40] + b"\n" + GOOD + b"\n\n" + GOOD[:4] + b"\nhello\n" + GOOD + b"\n" + GOOD[:200]
    )
    entries, strange = manifest.read_lines(run_dir)
    assert (len(entries), strange) == (3, [6])
    (told,) = damaged(run_dir)
    assert "1 lines are no entries of a run (line 6 first), only the other 3 lines count" in told
    (run_dir / manifest.NAME).write_bytes(GOOD + b"\n" + GOOD[:40])
    assert damaged(run_dir) == []


@pytest.mark.parametrize(("name", "said"), [("run.json", "no state of a run"), ("quarantine.json", "no list of visits in quarantine")])
@pytest.mark.parametrize("content", [b"[]", b"a text", b"\xff\x00"])
def test_the_other_books(run_dir: Path, name: str, said: str, content: bytes) -> None:
    (run_dir / name).write_bytes(content)
    (told,) = status(run_dir)["damaged"]
    assert said in told


@pytest.mark.parametrize(
    "content", [{}, {"phase": "running"}, {"started": "x", "updated": 1, "todo": 2}, {"started": 1, "updated": 1, "todo": []}]
)
def test_a_state_of_another_program_is_none(run_dir: Path, content: dict[str, object]) -> None:
    (run_dir / "run.json").write_text(json.dumps(content))
    assert status(run_dir)["phase"] == "unknown"


def test_a_folder_in_the_place_of_the_manifest(run_dir: Path) -> None:
    (run_dir / manifest.NAME).mkdir()
    with pytest.raises(StoreError, match=r"cannot read '.*manifest\.jsonl' \(Is a directory\)"):
        status(run_dir)
