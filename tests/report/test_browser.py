"""The page in a real browser, headless: no sideways scrolling, sorting, filter, keyboard; screenshots of two widths.

Skipped, with the reason, where there is no Chromium; V50CALIB_APT=1 allows to install Debian's with apt-get (root).
V50CALIB_SHOTS=DIR keeps the screenshots.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from v50calib import calibrate
from v50calib.report import write_report
from v50calib.runs import manifest

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage", "--virtual-time-budget=5000",
]  # fmt: skip
#: what a script in a copy of the page finds out, sent to the page around it
PROBE = """
<script>
addEventListener("load", () => {
  const root = document.documentElement, table = document.getElementById("visits");
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const names = heads.map(head => head.textContent);
  const column = name => [...body.rows].map(row => row.cells[names.indexOf(name)].dataset.v);
  const press = name => { heads[names.indexOf(name)].firstElementChild.click(); return column(name); };
  const wide = [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > root.clientWidth + 1);
  const found = {
    width: root.clientWidth, scroll: root.scrollWidth, wide: wide.map(e => e.tagName + "#" + e.id + "." + e.className).slice(0, 5),
    ground: getComputedStyle(document.body).backgroundColor,
    first: column("rank"), down: press("noise / limit"), up: press("noise / limit"), visit: press("visit"), rank: press("rank"),
    aria: heads.map(head => head.getAttribute("aria-sort")), buttons: heads.every(head => head.firstElementChild.tabIndex === 0),
  };
  const filter = document.getElementById("filter");
  filter.value = "fgs1 failed";
  filter.dispatchEvent(new Event("input"));
  found.left = [...body.rows].filter(row => !row.hidden && row.getClientRects().length).length;
  found.count = document.getElementById("count").textContent;
  const order = document.getElementById("order");
  order.value = names.indexOf("drift (px)");
  order.dispatchEvent(new Event("change"));
  found.drift = column("drift (px)");
  const button = document.querySelector(".enlarge"), large = document.getElementById("large");
  button.click();
  found.large = [large.open, document.getElementById("large-image").getBoundingClientRect().width];
  document.getElementById("large-close").click();
  found.closed = !large.open;
  found.saved = [];
  // what would be saved, without a file
  HTMLAnchorElement.prototype.click = function () { found.saved.push([this.download.split(".").pop()]); };
  const make = URL.createObjectURL;
  URL.createObjectURL = blob => {
    found.saved.push([blob.type, blob.size]);
    setTimeout(() => tell());
    return make.call(URL, blob);
  };
  for (const kind of ["svg", "png"]) document.querySelector(`figure [data-save=${kind}]`).click();
  const tell = () => parent.postMessage(JSON.stringify(found), "*");
  tell();
  found.images = [];
  for (const image of document.querySelectorAll("figure img")) {
    const known = new Image();
    known.onload = () => { found.images.push(known.naturalWidth); tell(); };
    known.src = image.src;
  }
});
</script>
</body>
"""

#: the copy stands in a frame: a window cannot be made as narrow as a phone
FRAME = """<!DOCTYPE html><body style="margin: 0"><iframe src="copy.html" style="width: {width}px; height: 1400px; border: 0"></iframe>
<pre id="probe"></pre>
<script>addEventListener("message", event => { document.getElementById("probe").textContent = event.data; });</script>
"""


def browser() -> str:
    """The browser's path; skips the test where there is none and none may be installed."""
    if found := next((path for name in NAMES if (path := shutil.which(name))), None):
        return found
    if os.environ.get("V50CALIB_APT") == "1" and shutil.which("apt-get") and os.geteuid() == 0:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False, capture_output=True)
        words = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
        done = subprocess.run(words, env=environment, check=False, capture_output=True, text=True)
        if path := shutil.which("chromium"):
            return path
        pytest.skip(f"apt-get cannot install chromium: {done.stderr.strip()[-200:]}")
    pytest.skip("no Chromium (V50CALIB_APT=1 installs Debian's, as root)")


def look(page: Path, width: int, tmp_path: Path, *flags: str) -> bytes:
    """Standard output of the browser after it showed a page in a window of some width."""
    profile = tmp_path / f"profile-{width}-{len(list(tmp_path.glob('profile-*')))}"
    words = [browser(), *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},1400", *flags, page.as_uri()]
    return subprocess.run(words, check=True, capture_output=True, timeout=120).stdout


def probe(page: Path, width: int, tmp_path: Path, *flags: str) -> dict[str, Any]:
    """What PROBE found out on a copy of the page."""
    (tmp_path / "copy.html").write_text(page.read_text(encoding="utf-8").replace("</body>", PROBE), encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME.replace("{width}", str(width)), encoding="utf-8")
    dom = look(tmp_path / "frame.html", 1400, tmp_path, "--dump-dom", "--hide-scrollbars", *flags).decode()
    match = re.search(r'<pre id="probe">(.+?)</pre>', dom, re.DOTALL)
    assert match, "the page's script or the probe broke off"
    found: dict[str, Any] = json.loads(html.unescape(match[1]))
    return found


@pytest.fixture(scope="module")
def page(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    browser()
    run = tmp_path_factory.mktemp("browser") / "run"
    planet = min(p.name for p in (dataset / "train").iterdir())
    assert not calibrate(dataset, run, overrides=["runtime.scheduler=sync"], only=[f"{planet}"]).failed
    error = "cannot read /a/very/long/path/without/any/space/" + "x" * 200
    manifest.append(run, manifest.Entry("1" * 60, 0, "FGS1", "failed", error=error, error_type="DataError", attempts=1))
    return write_report(run, limit=1, truth=dataset).path


@pytest.mark.parametrize("width", [1280, 400])
def test_page_in_a_browser(page: Path, tmp_path: Path, width: int) -> None:
    found = probe(page, width, tmp_path)
    assert found["width"] == width
    assert found["scroll"] <= found["width"], found["wide"]
    assert found["wide"] == []
    n = 5
    assert [float(v) for v in found["first"]] == list(range(1, n + 1))
    known = [float(v) for v in found["down"] if v]
    # the failed visit has no number: last both ways
    assert found["down"][-1] == found["up"][-1] == ""
    assert known == sorted(known, reverse=True)
    assert [float(v) for v in found["up"] if v] == sorted(known)
    assert found["visit"] == sorted(found["visit"], key=lambda v: (int(v.split("/")[0]), v))
    assert [float(v) for v in found["rank"]] == list(range(1, n + 1))
    assert found["aria"] == ["ascending", *[None] * (len(found["aria"]) - 1)]
    assert found["buttons"]
    assert found["left"] == 1
    assert found["count"] == "1 of 5 visits"
    drift = [float(v) for v in found["drift"] if v]
    assert drift == sorted(drift, reverse=True)
    assert len(found["images"]) >= 20
    assert min(found["images"]) > 450
    assert found["large"][0]
    assert found["large"][1] >= 900
    assert found["closed"]
    saved = {said[0]: said[1:] for said in found["saved"]}
    assert set(saved) == {"svg", "png", "image/svg+xml", "image/png"}
    assert min(saved["image/svg+xml"][0], saved["image/png"][0]) > 5000


def test_dark_where_the_reader_has_it_dark(page: Path, tmp_path: Path) -> None:
    light, dark = (probe(page, 800, tmp_path, *flags)["ground"] for flags in ((), ("--blink-settings=preferredColorScheme=0",)))
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(18, 23, 28)")


@pytest.mark.parametrize("width", [1280, 400])
def test_screenshot_shows_more_than_an_empty_page(page: Path, tmp_path: Path, width: int) -> None:
    from matplotlib.image import imread

    shot = Path(os.environ.get("V50CALIB_SHOTS", tmp_path)) / f"report-{width}.png"
    look(page, width, tmp_path, f"--screenshot={shot}", "--hide-scrollbars")
    picture = imread(shot)
    assert picture.shape[1] == width
    # text, tiles and lines: most of it is paper, some of it is not
    dark = (picture[:, :, :3].mean(axis=2) < 0.5).mean()
    assert 0.005 < dark < 0.5
