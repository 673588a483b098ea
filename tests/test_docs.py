"""The documentation is checked like code: tables are fresh, links resolve, examples run, quoted messages exist."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from v50calib import calibrate
from v50calib.cli.main import main
from v50calib.config import load
from v50calib.simulate import simulate_dataset

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: the demo's dataset as the pages name it, and its seed (scripts/demo.sh); the tests make it shorter
DEMO_DATA, DEMO_RUN, DEMO_SEED = "demo/data-0.04", "demo/run-0.04", 20250
_FENCE = re.compile(r"^(?P<mark><!-- run -->\n)?```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\\)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_SHELL_SCRIPTS = re.compile(r"^(?:bash|source) (?P<path>scripts/\S+)$")


def script(name: str) -> ModuleType:
    """A script of scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def blocks(kind: str, *, marked: bool | None = None) -> list[Any]:
    """The fenced blocks of a kind on all pages, as pytest parameters with readable names."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            if match["kind"] == kind and marked in (None, bool(match["mark"])):
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(match["body"], id=f"{page.relative_to(ROOT)}:{line}"))
    return found


def commands(body: str) -> Iterator[list[str]]:
    """The commands of a shell block, split into words; comments and blank lines are left out."""
    for line in body.splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def run(words: list[str], *extra: str) -> Result:
    """One command line of ours, in this process."""
    return CliRunner().invoke(main, [*words[1:], *extra], catch_exceptions=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a short version of the demo: first planet, dataset and run."""
    root = tmp_path_factory.mktemp("docs")
    (root / "demo").mkdir()
    simulate_dataset(root / DEMO_DATA, planets=1, frames_fraction=0.02, seed=DEMO_SEED)
    outcome = calibrate(root / DEMO_DATA, root / DEMO_RUN, overrides=["runtime.scheduler=sync"])
    assert outcome.failed == []
    return root


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_DIR", raising=False)
    monkeypatch.delenv("RUN_DIR", raising=False)


def test_demo_is_what_the_pages_name() -> None:
    text = (ROOT / "scripts" / "demo.sh").read_text(encoding="utf-8")
    assert f"--seed {DEMO_SEED}" in text
    assert 'DEMO_DIR:-demo}"' in text
    assert 'DEMO_FRACTION:-0.04}"' in text
    assert "$demo/data-$fraction" in text
    assert "$demo/run-$fraction" in text


def test_the_first_screen_says_what_it_costs_and_the_tutorial_opens_its_own_run() -> None:
    first = (ROOT / "README.md").read_text(encoding="utf-8").split("## From frames")[0]
    assert len(first.splitlines()) < 75
    for said in ("pip install", "GB", "min", "hours", "real", "e-", "<!-- headline"):
        assert (said in first) == (said != "<!-- headline"), said
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "CITATION.cff" in readme
    assert "issue" in readme
    tutorial = (ROOT / "docs" / "tutorial" / "ten-minutes.md").read_text(encoding="utf-8")
    assert "--out tutorial/run" in tutorial
    assert 'open_calibrated("tutorial/run")' in tutorial


def test_the_demo_installs_what_a_run_needs(tmp_path: Path) -> None:
    """scripts/env.sh with a pip that only notes what it is asked for; an environment with everything serves the demo."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *pip*) echo "$@" >> {tmp_path}/asked;; esac\n')
    python.chmod(0o700)
    made = 'source scripts/env.sh; echo "$VIRTUAL_ENV"'
    stub = 'v50calib_make_venv() { :; }; v50calib_stamp() { echo stamp; }; v50calib_torch() { echo torch >> "$1/asked"; }; v50calib_env'

    def asked(base: str) -> str:
        (tmp_path / "asked").write_text("")
        script = f"{made.replace('source', 'V50CALIB_VENV=/nonexistent PYTHON=false source')} >/dev/null 2>&1; {stub}"
        environment = {"PATH": os.environ["PATH"], "V50CALIB_VENV": str(tmp_path), "PYTHON": sys.executable, "V50CALIB_BASE": base}
        subprocess.run(["bash", "-c", script], cwd=ROOT, env=environment, check=True, capture_output=True)
        return (tmp_path / "asked").read_text()

    assert "[all]" not in asked("1")
    assert (tmp_path / "v50calib.stamp").read_text() == "stamp base\n"
    assert asked("1") == "", "made once"
    everything = asked("")
    assert "[all]" in everything
    assert "torch" in everything
    assert asked("1") == asked("") == ""


def test_generated_tables_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    code = script("gen_docs").main(["--check"])
    assert code == 0, capsys.readouterr().err


def test_a_stale_table_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gen = script("gen_docs")
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- begin: dq -->\nold\n<!-- end: dq -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(gen, "ROOT", tmp_path)
    assert gen.main(["--check"]) == 1
    assert gen.main([]) == 0
    assert gen.main(["--check"]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- begin: dq -->\n| bit |")
    assert text.endswith("<!-- end: dq -->\nafter\n")
    assert "| 28 | `FLUX_ESTIMATED` | 268435456 |" in text


def anchor(heading: str) -> str:
    """The name that a heading gets on the page, as code hosts make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for match in _LINK.finditer(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        target, _, fragment = match["target"].partition("#")
        if "://" in target:
            continue
        path = (page.parent / target).resolve() if target else page
        headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE) if path.suffix == ".md" else []
        if not path.exists() or (fragment and fragment not in map(anchor, headings)):
            broken.append(match["target"])
    assert broken == []


def test_every_page_is_reached_from_the_overview() -> None:
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / m["target"]).resolve() for m in _LINK.finditer(text)}
    assert set(PAGES) - {ROOT / "README.md", ROOT / "docs" / "index.md"} <= linked


@pytest.mark.parametrize("body", blocks("python"))
def test_python_example_runs(
    body: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # the tutorial's own data and run are as the demo's
    (tmp_path / "tutorial").mkdir()
    (tmp_path / "tutorial" / "run").symlink_to(folder / DEMO_RUN)
    (tmp_path / "tutorial" / "data").symlink_to(folder / DEMO_DATA)
    monkeypatch.chdir(tmp_path if "tutorial/run" in body else folder)
    exec(compile(body, "example", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("body", blocks("py"))
def test_example_for_another_program_parses(body: str) -> None:
    """Blocks marked `py` call packages that are not installed here, e.g. retrieval codes."""
    assert ast.parse(body).body


#: bash blocks that are not executed here, by a word of theirs, and why; every other block is
NOT_RUN = {
    "bash scripts/demo.sh": ".ci/run runs the demo and the tests themselves",
    "--scheduler slurm": "needs Slurm and a running scheduler; tests/slurm runs a queue where Slurm is installed",
    "s3://ariel": "needs an object store; tests/objects runs the same commands against a local one",
    "scripts/kaggle.py": "tests/test_kaggle.py runs the script",
    "wheelhouse": ".ci/run makes a wheelhouse and installs from it without an index",
    "dvc repro": "tests/test_dvc.py runs the pipeline under the real dvc",
    "uncertainty fit": "takes files of a model's predictions; tests/uncertainty runs the commands",
    "top_level_calib.method": "takes files of a model's predictions; tests/uncertainty runs the commands",
    "benchmarks.": "minutes; benchmarks are measured by hand",
    "ndr.h5": "needs a simulation by ExoSim; tests/io/exosim calibrates files of its layout",
    "docker": "needs an engine; containers.md says what was tried",
    "docs/notebooks": "the notebooks have a test of their own",
}
#: the programs of this environment that a block may call besides ours
TOOLS = ("pytest", "ruff")


def reason_not_to_run(body: str) -> str | None:
    return next((why for word, why in NOT_RUN.items() if word in body), None)


def test_no_reason_is_left_over() -> None:
    """Each entry of NOT_RUN is of a block that exists; optional pages may bring theirs with them."""
    bodies = [parameter.values[0] for parameter in blocks("bash")]
    optional = {"benchmarks.", "docker", "docs/notebooks"}
    assert {word for word in NOT_RUN if not any(word in body for body in bodies)} <= optional


@pytest.mark.slow
@pytest.mark.parametrize("body", blocks("bash"))
def test_shell_example_runs(body: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if why := reason_not_to_run(body):
        pytest.skip(why)
    monkeypatch.chdir(folder)
    for number, words in enumerate(commands(body)):
        # commands that name neither take them from the environment; each has a run directory of its own
        monkeypatch.setenv("DATA_DIR", str(folder / DEMO_DATA))
        monkeypatch.setenv("RUN_DIR", str(tmp_path / f"run{number}"))
        words, environment = assignments(words)
        if environment or words[0] in TOOLS:
            run_tool(words, environment)
            continue
        assert words[0] in ("v50calib", "spectramind"), f"'{words[0]}' is run by no test: execute it here, or say in NOT_RUN why not"
        # the same products come out of any scheduler; this one starts no processes
        extra = ["runtime.scheduler=sync"] if words[1] in ("calibrate", "plan") and "--cfg" not in words else []
        result = run(words, *extra)
        assert result.exit_code == 0, f"{shlex.join(words)}: {result.output}"


def assignments(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """A command without the NAME=value in front of it, and these."""
    count = next(i for i, word in enumerate(words) if not re.fullmatch(r"[A-Z_0-9]+=\S*", word))
    return words[count:], dict(word.split("=", 1) for word in words[:count])


def run_tool(words: list[str], environment: dict[str, str]) -> None:
    """A command of this environment in a process of its own; tools work on the checkout."""
    program = Path(sys.executable).with_name(words[0])
    assert program.is_file(), f"{words[0]} is not installed beside this Python"
    where = ROOT if words[0] in TOOLS else Path.cwd()
    done = subprocess.run(
        [str(program), *words[1:]], cwd=where, env=os.environ | environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


@pytest.mark.parametrize("body", blocks("bash"))
def test_shell_example_parses(body: str) -> None:
    for words in commands(body):
        if match := _SHELL_SCRIPTS.match(" ".join(words)):
            assert (ROOT / match["path"]).is_file()
            continue
        words, environment = assignments(words)
        if environment or words[0] not in ("v50calib", "spectramind") or words[1].startswith("-"):
            continue
        command = main.commands[words[1]]
        with command.make_context(words[1], words[2:]) as context:
            given = context.params
        if words[1] == "calibrate":
            load(given["config_name"], given["overrides"], given["config_dir"])


@pytest.mark.parametrize("body", blocks("console"))
def test_quoted_sessions_are_what_the_program_says(body: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").symlink_to(folder / "demo")
    for session in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        line, _, expected = session.partition("\n")
        result = run(shlex.split(line))
        assert result.exit_code != 0
        pattern = ".*".join(re.escape(part.strip()) for part in expected.split("…"))
        assert re.search(pattern, result.output, re.DOTALL), f"{line}\nsaid: {result.output}"


def string_constants() -> str:
    """Every string of the package's source, f-strings with … for each value, one a line."""
    texts = []
    for path in sorted((ROOT / "src" / "v50calib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_quoted_messages_exist_in_the_source() -> None:
    """The right column of the table of faults in docs/data.md, piece by piece between its ellipses."""
    source = string_constants()
    table = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").split("| fault | message |")[1].split("\n\n")[0]
    quoted = [text for row in table.splitlines()[2:] for text in re.findall(r"`([^`]+)`", row.split(" | ")[-1])]
    assert len(quoted) >= 14
    missing = [piece for text in quoted for piece in map(str.strip, text.split("…")) if piece and piece not in source]
    assert missing == []


def test_figure_is_drawn_from_a_run(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "transit.png"
    script("readme_figure").main([str(folder / DEMO_RUN), "--truth", str(folder / DEMO_DATA), "--out", str(out)])
    head = out.read_bytes()[:24]
    assert head[1:4] == b"PNG"
    assert int.from_bytes(head[16:20], "big") == 1400


def test_shipped_figure_is_small_and_wide_enough() -> None:
    data = (ROOT / "docs" / "images" / "transit.png").read_bytes()
    assert int.from_bytes(data[16:20], "big") == 1400
    assert len(data) < 300_000
