"""The documentation as a site, and the files that tell who may do what with the package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
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
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert paths(yaml.safe_load(text)["nav"]) == pages


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
