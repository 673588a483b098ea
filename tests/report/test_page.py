"""The page of a small run, read with an HTML parser: nothing from outside, data escaped, what is missing is said."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
import yaml
from click.testing import CliRunner

from v50calib import calibrate
from v50calib.cli.main import main
from v50calib.errors import DataError, StoreError
from v50calib.report import write_report
from v50calib.report.profile import name_of
from v50calib.report.visits import collect
from v50calib.runs import manifest

EVIL = "<script>alert('x')</script>\"&"


class Page(HTMLParser):
    """Tags with their attributes, the text of elements, and the table's rows as {label: (text, sort value)}."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.rows: list[dict[str, tuple[str, str]]] = []
        self._cell: dict[str, str] | None = None
        self._said = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {k: v or "" for k, v in attrs}
        self.tags.append((tag, found))
        self._open.append(tag)
        if tag == "tr":
            self.rows.append({})
        if tag in ("td", "th") and "data-v" in found:
            self._cell, self._said = found, ""

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass
        if tag in ("td", "th") and self._cell is not None:
            self.rows[-1][self._cell.get("data-label", "visit")] = (" ".join(self._said.split()), self._cell["data-v"])
            self._cell = None

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self._open[-1:]):
            self.text.append(data)
            self._said += data

    @property
    def body(self) -> str:
        return " ".join(" ".join(self.text).split())

    @property
    def visits(self) -> list[dict[str, tuple[str, str]]]:
        return [row for row in self.rows if row]


def planets(dataset: Path) -> list[str]:
    return sorted(p.name for p in (dataset / "train").iterdir())


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "run"
    one, two = planets(dataset)
    assert not calibrate(dataset, out, overrides=["runtime.scheduler=sync"], only=[f"{one}/0", f"{two}/0/FGS1"]).failed
    return out


def page(run: Path, out: Path, **more: object) -> Page:
    return Page(write_report(run, out, **more).path.read_text(encoding="utf-8"))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(run: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page(run, tmp_path_factory.mktemp("page") / "report.html", limit=1, truth=dataset)


def test_nothing_comes_from_outside(made: Page) -> None:
    for tag, attrs in made.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base"), tag
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            if name in attrs:
                assert attrs[name].startswith("data:image/svg+xml," if name == "src" else "#"), attrs[name][:80]
        assert not any(name.startswith("on") for name in attrs)
    (policy,) = (a["content"] for t, a in made.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_planets_have_a_table_of_their_own(made: Page, dataset: Path) -> None:
    assert {"planets", "planet-fits"} <= {a.get("id") for _, a in made.tags}
    table = made.body.split("How their fits are judged")[1]
    assert all(planet in table for planet in planets(dataset)[:2])
    assert "contacts_seen" in table


def test_links_lead_to_places_on_the_page_and_images_speak(made: Page) -> None:
    places = [a["id"] for _, a in made.tags if "id" in a]
    assert len(places) == len(set(places))
    assert {a["href"][1:] for _, a in made.tags if a.get("href", "").startswith("#")} <= set(places)
    images = [a for t, a in made.tags if t == "img" and a.get("id") != "large-image"]
    assert all(len(a["alt"]) > 60 and int(a["width"]) > 500 for a in images)
    assert sum(t == "figcaption" for t, _ in made.tags) == len(images)


def test_table_has_every_visit_and_figures_those_asked_for(made: Page, run: Path, dataset: Path) -> None:
    one, two = planets(dataset)
    assert {row["visit"][0] for row in made.visits} == {f"{one}/0/AIRS-CH0", f"{one}/0/FGS1", f"{two}/0/FGS1"}
    assert [row["rank"][1] for row in made.visits] == ["1.0", "2.0", "3.0"]
    sections = [a["aria-labelledby"] for t, a in made.tags if t == "section"]
    first_planet = [i for i, row in enumerate(made.visits) if row["visit"][0].startswith(one)]
    assert sections == [f"visit-{i}-name" for i in sorted({0, *first_planet})]
    assert "Not drawn" not in made.body
    # a band has no spectrum, no residual map, no stack of channels; depth against truth, pulls, noise and seconds are of the run
    each = [9 if made.visits[int(name.split("-")[1])]["visit"][0].endswith("FGS1") else 14 for name in sections]
    assert sum(t == "figure" for t, _ in made.tags) == sum(each) + 4
    entries = {e.label: e for e in manifest.read(run)}
    for row in made.visits:
        qc = entries[row["visit"][0]].qc
        assert float(row["noise / limit"][1]) == qc["noise_over_limit"]
        assert row["noise / limit"][0] == f"{qc['noise_over_limit']:.3f}"
        assert float(row["depth (ppm)"][1]) == pytest.approx(qc["stages"]["phase"]["white_depth_ppm"])


def test_figures_can_be_enlarged_and_saved(made: Page) -> None:
    figures = sum(t == "figure" for t, _ in made.tags)
    assert sum(a.get("class") == "enlarge" for t, a in made.tags if t == "button") == figures
    for kind in ("svg", "png"):
        # those of the figures, and of the enlarged one
        assert sum(a.get("data-save") == kind for t, a in made.tags if t == "button") == figures + 1
    for source in (a["src"] for t, a in made.tags if t == "img" and "src" in a):
        drawing = ElementTree.fromstring(unquote(source.removeprefix("data:image/svg+xml,")))
        assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
        assert not [e.tag for e in drawing.iter() if e.tag.endswith(("script", "foreignObject"))]
        links = [v for e in drawing.iter() for k, v in e.attrib.items() if k.endswith("href")]
        assert all(link.startswith(("#", "data:image/png")) for link in links)


def test_a_depth_that_does_not_stand_out_of_its_error_is_no_depth(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "short"
    shutil.copytree(run, out)
    entries = manifest.read(out)
    (out / "manifest.jsonl").unlink()
    for entry in entries:
        entry.qc["stages"]["phase"] |= {"white_depth_ppm": 359417.0, "white_depth_sigma_ppm": 1252000.0}
        manifest.append(out, entry)
    found = page(out, tmp_path / "short.html", limit=0)
    assert {row["depth (ppm)"] for row in found.visits} == {("no transit measured", "")}
    assert "1252000" not in found.body.split("The run in figures")[1]


def test_truth_is_shown_and_does_not_rank(made: Page, run: Path, dataset: Path, tmp_path: Path) -> None:
    from v50calib.qc.summary import load_truth

    truth = load_truth(dataset)
    plain = page(run, tmp_path / "plain.html", limit=0)
    assert [r["visit"] for r in plain.visits] == [r["visit"] for r in made.visits]
    assert "pull" not in plain.visits[0]
    assert "Pulls: mean" in made.body
    for visit in collect(run, truth):
        key = (visit.entry.planet_id, visit.entry.visit, visit.entry.instrument)
        assert visit.pull == pytest.approx((visit.depth_ppm - 1e6 * truth[key]) / visit.sigma_ppm)


def test_run_facts(made: Page, run: Path) -> None:
    mark = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert mark["config_hash"] in made.body
    assert "calib/nominal" in made.body
    assert "adc → nonlinearity → dark → flat → cds → photometry (optimal) → trace → phase" in made.body
    assert "the run is finished" in made.body


@pytest.fixture
def troubled(run: Path, tmp_path: Path) -> Path:
    """The run with names and errors that are HTML, a bad visit, a failed and an interrupted one."""
    out = tmp_path / "troubled"
    shutil.copytree(run, out)
    entries = manifest.read(out)
    bad = entries[0]
    bad.qc["noise_over_limit"] = 3.25
    # as of a long visit: chance raises no limit
    bad.qc["chance"] = {}
    bad.qc["notes"] = [f"trace quality: {EVIL} is 1, more than max=0"]
    evil = EVIL.replace("/", "|")
    (out / "calibrated.zarr" / bad.planet_id).rename(out / "calibrated.zarr" / evil)
    for document in (out / "calibrated.zarr" / evil).glob("*/*/zarr.json"):
        group = json.loads(document.read_text(encoding="utf-8"))
        group["attributes"]["planet_id"] = evil
        document.write_text(json.dumps(group), encoding="utf-8")
    (out / "manifest.jsonl").unlink()
    for entry in entries:
        planet = evil if entry.planet_id == bad.planet_id else entry.planet_id
        manifest.append(out, manifest.Entry(**vars(entry) | {"planet_id": planet}))
    manifest.append(out, manifest.Entry("7", 0, "FGS1", "failed", error=f"cannot read {EVIL}", error_type="DataError", attempts=2))
    manifest.append(out, manifest.Entry("8", 0, "FGS1", "interrupted"))
    return out


def test_data_is_text_never_markup(troubled: Path) -> None:
    found = Page(write_report(troubled, limit=1).path.read_text(encoding="utf-8"))
    assert sum(tag == "script" for tag, _ in found.tags) == 1
    evil = EVIL.replace("/", "|")
    assert f"{evil}/0/AIRS-CH0" in found.body
    assert f"failed: cannot read {EVIL}" in found.body
    assert f"trace quality: {EVIL} is 1" in found.body


def test_trouble_stands_first_with_its_reasons(troubled: Path) -> None:
    found = Page(write_report(troubled, limit=0).path.read_text(encoding="utf-8"))
    ranked = [row["visit"][0] for row in found.visits]
    assert ranked[:2] == ["7/0/FGS1", "8/0/FGS1"]
    assert ranked[2].endswith("AIRS-CH0")
    assert found.visits[2]["score"][0] == "3.50"
    assert "noise_over_limit 3.25 > 1.3" in found.visits[2]["reasons"][0]
    assert found.visits[0]["noise / limit"] == ("", "")
    assert "1 × DataError" in found.body
    assert not [a for t, a in found.tags if t == "section"]


def test_numbers_left_out_are_said(dataset: Path, tmp_path: Path) -> None:
    out, planet = tmp_path / "fast", planets(dataset)[0]
    calibrate(
        dataset, out, profile="calib/fast", overrides=["runtime.scheduler=sync", "calib.phase.binning.nbins=99"], only=[f"{planet}/0/FGS1"]
    )
    (visit,) = collect(out, {})
    assert visit.transit_found
    assert visit.verdict.unknown == ("red_noise", "drift_px", "depth_chi2", "transit_snr")
    found = Page(write_report(out).path.read_text(encoding="utf-8"))
    assert "Not drawn: Mean frame and extraction. this product has no cds_mean: its profile left it out" in found.body
    assert "Not recorded, so not judged: red_noise, drift_px, depth_chi2, transit_snr." in found.body
    assert "White light curve" in found.body
    assert "calib.phase.binning.nbins = 99 (profile:" in found.body


def test_products_without_a_manifest_are_in_the_table(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "bare"
    shutil.copytree(run, out)
    (out / "manifest.jsonl").unlink()
    with_manifest = {v.label: v.verdict for v in collect(run, {})}
    assert {v.label: v.verdict for v in collect(out, {})} == with_manifest
    shutil.rmtree(next((out / "calibrated.zarr").glob("*/0/AIRS-CH0")))
    shutil.copy(run / "manifest.jsonl", out)
    first = collect(out, {})[0]
    assert first.verdict.reasons[0].text == "product missing: run v50calib calibrate again"


def test_a_run_without_any_visit(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("config_hash: x\n")
    found = Page(write_report(tmp_path).path.read_text(encoding="utf-8"))
    assert "No visit has ended yet." in found.body
    assert "No figures: no visit is calibrated." in found.body


def test_profile_is_found_by_its_keys(run: Path) -> None:
    mark = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert name_of(mark) == ("calib/nominal", [])
    mark["calib"]["phase"]["depths"]["enabled"] = False
    assert name_of(mark) == ("calib/nominal", ["calib.phase.depths.enabled = false (profile: true)"])


def test_what_cannot_be(run: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no run directory"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="cannot write"):
        write_report(run, tmp_path / "no" / "folder.html", limit=0)
    with pytest.raises(DataError, match=r"no truth\.json"):
        write_report(run, tmp_path / "x.html", truth=tmp_path)
    assert not list(tmp_path.iterdir())


def test_command(run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["report", str(run), "--limit", "0", "--out", str(tmp_path / "r.html")])
    assert result.exit_code == 0
    assert result.stdout.startswith("3 visits, figures of 0, 0.1 MB → ")
    assert (tmp_path / "r.html").read_bytes().endswith(b"</html>")
    assert json.loads(CliRunner().invoke(main, ["status", str(run), "--json"]).stdout)["done"] == 3


def test_light_curves_without_depths_have_a_page(dataset: Path, tmp_path: Path) -> None:
    """calib/fast fits no channel's depth: the page says so in place of the spectrum."""
    out = tmp_path / "light"
    calibrate(dataset, out, profile="calib/fast", overrides=["runtime.scheduler=sync"], planets=planets(dataset)[:1])
    found = Page(write_report(out).path.read_text(encoding="utf-8"))
    assert "Not drawn: Spectrum" in found.body
    assert "transit_depth" in found.body
