"""The documentation as a site, and the files that tell who may do what with the package."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from urllib.parse import urlparse

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
MKDOCS = Path(sys.executable).with_name("mkdocs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not MKDOCS.is_file():
        pytest.skip("mkdocs is not installed beside this Python: pip install 'v50calib[docs]'")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [str(MKDOCS), "build", "--strict", "-q", "--site-dir", str(out)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_site_loads_nothing_from_other_hosts(site: Path) -> None:
    """Scripts, styles, fonts and pictures; links that a reader clicks may go anywhere."""
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    loaded = r'<(?:script|img|iframe)[^>]*\bsrc="([^"]+)"|<link[^>]*rel="(?:stylesheet|preconnect|icon)"[^>]*href="([^"]+)"'
    hosts = {urlparse(a or b).netloc for page in pages for a, b in re.findall(loaded, page.read_text(encoding="utf-8"))}
    assert hosts == {""}


def test_every_page_is_in_the_navigation() -> None:
    def paths(tree: object) -> set[str]:
        if isinstance(tree, str):
            return {tree}
        parts = tree.values() if isinstance(tree, dict) else tree
        assert isinstance(parts, list) or hasattr(parts, "__iter__")
        return {path for part in parts for path in paths(part)}

    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {path.relative_to(ROOT / "docs").as_posix() for kind in ("*.md", "*.ipynb") for path in (ROOT / "docs").rglob(kind)}
    assert paths(yaml.safe_load(text)["nav"]) == pages


def test_notebooks_are_rendered_with_their_pictures(site: Path) -> None:
    for notebook in (ROOT / "docs" / "notebooks").glob("*.ipynb"):
        page = (site / "notebooks" / notebook.stem / "index.html").read_text(encoding="utf-8")
        assert "data:image/png;base64," in page
        assert "from v50calib" in re.sub(r"<[^>]+>", "", page)


#: what every page of docs/stages tells, in this order; sections of its own may stand between
STAGE_PAGE = ["What it does", "Formula", "Keys", "Data-quality bits", "What can go wrong", "Example", "Tests and references"]
STAGES = ["adc", "nonlinearity", "dark", "flat", "cds", "photometry", "trace", "phase"]
PICTURE = re.compile(r"^!\[(?P<alt>[^\]]*)\]\((?P<target>[^)]+)\)\n\n(?P<next>.+?)\n\n", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_pages_are_of_one_kind(stage: str) -> None:
    text = (ROOT / "docs" / "stages" / f"{stage}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [h for h in headings if h in STAGE_PAGE] == STAGE_PAGE
    head = text.split("\n## ", 1)[0]
    assert re.findall(r"\[([^\]]+)\]\(#", head) == headings, "the contents list is that of the page"
    assert f"(../images/{stage}.svg)" in head
    parts = dict(zip(headings, re.split(r"^## .+$", text, flags=re.MULTILINE)[1:], strict=True))
    assert f"begin: config calib.{stage} " in parts["Keys"]
    assert "```python" in parts["Example"]
    assert parts["What can go wrong"].count("\n- ") >= 3


def pictures() -> list[tuple[str, re.Match[str]]]:
    """(page, picture with what follows it) of all pages."""
    pages = sorted((ROOT / "docs").rglob("*.md"))
    return [(page.relative_to(ROOT).as_posix(), m) for page in pages for m in PICTURE.finditer(page.read_text(encoding="utf-8"))]


def test_every_picture_has_words_for_those_who_do_not_see_it_and_a_caption() -> None:
    found = pictures()
    assert len({page for page, _ in found}) >= 25
    assert [page for page, m in found if len(m["alt"]) < 30 or not (m["next"].startswith("*") and m["next"].endswith("*"))] == []


Scripts = Callable[[str], ModuleType]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Scripts:
    """A module of scripts/ by its name."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return import_module


def test_figures_are_the_scripts_small_and_for_light_and_dark_pages(scripts: Scripts) -> None:
    drawn = scripts("docs_figures")
    files = {path.stem: path for path in (ROOT / "docs" / "images").glob("*.svg")}
    assert set(files) == set(drawn.FIGURES) == {Path(m["target"]).stem for _, m in pictures() if m["target"].endswith(".svg")}
    assert {name: path.stat().st_size for name, path in files.items() if path.stat().st_size > drawn.MOST_BYTES} == {}
    assert all("prefers-color-scheme: dark" in path.read_text(encoding="utf-8") for path in files.values())


def test_figures_of_tables_are_drawn_again_with_the_same_bytes(tmp_path: Path, scripts: Scripts) -> None:
    names = ["ramps", "scaling"]
    first, second = (scripts("docs_figures").main([*names, "--out", str(tmp_path / n)]) for n in "12")
    assert [a.read_bytes() for a in first] == [b.read_bytes() for b in second]
    assert b"var(--c0)" in first[0].read_bytes()
    with pytest.raises(SystemExit):
        scripts("docs_figures").main(["rampz"])


def test_figures_do_not_guess_at_tables_that_are_gone(scripts: Scripts) -> None:
    scripts("docs_figures")
    from figures import material, style

    assert doctest.testmod(style).failed == doctest.testmod(material).failed == 0
    with pytest.raises(ValueError, match="no table whose first row begins"):
        material.table("README.md", "| no such")


@pytest.mark.slow
def test_every_figure_is_drawn_from_a_short_visit(tmp_path: Path, scripts: Scripts) -> None:
    drawn = scripts("docs_figures")
    short = drawn.Material(tmp_path / "work", fraction=0.04)
    (tmp_path / "work").mkdir()
    for path in drawn.draw(list(drawn.FIGURES), tmp_path, short):
        assert path.read_text(encoding="utf-8").rstrip().endswith("</svg>")


#: a module, and a key that is mistyped on purpose
NO_KEYS = {"runtime.job", "calib.cds.mode"}


def test_keys_that_pages_name_exist(scripts: Scripts) -> None:
    """`calib.…`, `output.…` and `runtime.…` in backticks are keys, sections or beginnings of keys."""
    gen = scripts("gen_docs")
    keys = {f"{key}." for key in gen.flat_dump(gen.RunConfig())}
    named = re.compile(r"`((?:calib|output|runtime)\.[a-z0-9_]+(?:\.[a-z0-9_]+)*)(?:=[^`]*)?`")
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    unknown = {
        (page.relative_to(ROOT).as_posix(), name)
        for page in pages
        for name in named.findall(page.read_text(encoding="utf-8"))
        if not any(key.startswith(f"{name}.") for key in keys)
    }
    assert {name for _, name in unknown} == NO_KEYS


def test_citation_and_licence_agree_with_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert [a["name"] for a in citation["authors"]] == [a["name"] for a in project["authors"]]
    first = (ROOT / "LICENSE").read_text(encoding="utf-8").splitlines()[0]
    assert first == {"BSD-3-Clause": "BSD 3-Clause License", "MIT": "MIT License"}[project["license"]]


def test_every_extra_is_bounded_from_below() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    loose = [r for extra in project["optional-dependencies"].values() for r in extra if not r.startswith("v50calib") and ">=" not in r]
    assert loose == []
