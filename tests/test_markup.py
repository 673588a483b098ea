"""What notebooks show of pipelines, configs and runs; figures as methods of products."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
import xarray as xr
from matplotlib import pyplot

from v50calib import Pipeline, open_visit, plot
from v50calib.config import load
from v50calib.config.runtime import QueueConfig, TlsConfig
from v50calib.markup import table, tree
from v50calib.runs.manifest import Entry
from v50calib.runtime.bookkeeping import RunSummary

EVIL = '<img src=x onerror="alert(1)">&'


class Checked(HTMLParser):
    """Text of a piece of HTML; fails where tags are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.open, self.seen = "", list[str](), list[str]()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def test_values_are_text() -> None:
    for text in (table((EVIL,), [(EVIL,)], EVIL), tree(EVIL, {EVIL: EVIL, "deeper" + EVIL: {EVIL: None}})):
        found = Checked(text)
        assert "img" not in found.seen
        assert found.text.count(EVIL) >= 3


def test_config_shows_its_keys_and_hides_what_is_private() -> None:
    found = Checked(load("calib/nominal", ["calib.phase.binning.nbins=77"])._repr_html_())
    assert "nbins : 77" in found.text.replace("  ", " ")
    hidden = Checked(
        TlsConfig(ca="/secret/a", cert="/secret/b", key="/secret/c")._repr_html_() + QueueConfig(prologue=["x /secret"])._repr_html_()
    )
    assert "/secret" not in hidden.text
    assert hidden.text.count("(set, not shown)") == 4


def test_pipeline_shows_what_differs_from_the_defaults() -> None:
    plain = Checked(Pipeline.from_profile("calib/nominal")._repr_html_())
    assert "nbins" not in plain.text
    changed = Checked(Pipeline.from_profile("calib/nominal", ["calib.phase.binning.nbins=77", "calib.flat.enabled=false"])._repr_html_())
    assert "binning.nbins=77" in changed.text
    assert changed.text.count(" off ") == plain.text.count(" off ") + 1


def test_run_shows_failures_first() -> None:
    entries = [Entry(str(n), 0, "FGS1", "done", seconds=n) for n in range(30)]
    found = Checked(RunSummary(Path("x"), [*entries, Entry("last", 0, "FGS1", "failed", error=EVIL)])._repr_html_())
    assert "30 done, 1 failed; 11 more are not shown" in found.text
    assert found.text.index("last/0/FGS1") < found.text.index("0/0/FGS1")
    assert EVIL in found.text
    assert "nothing to do" in Checked(RunSummary(Path("x"))._repr_html_()).text


def test_products_draw_themselves(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planet = min(p.name for p in (dataset / "train").iterdir())
    ds = Pipeline.from_profile("calib/nominal")(open_visit(dataset, planet, 0, "FGS1")).compute()
    node = xr.DataTree(ds)
    for owner in (ds, node):
        ax = owner.v50.plot.drift()
        assert ax.figure.number in pyplot.get_fignums()
        assert [line.get_ydata().tolist() for line in ax.get_lines()] == [line.get_ydata().tolist() for line in plot.drift(ds).get_lines()]
    pyplot.close("all")
    mine = pyplot.figure().subplots()
    assert ds.v50.plot.white_light(mine, residuals=False) is mine
    assert ds.v50.plot.spectrum.__doc__ == plot.spectrum.__doc__
    assert {"white_light", "mean_frame"} <= set(dir(ds.v50.plot))
    assert repr(ds.v50.plot) == f"figures of {planet}/0/FGS1"
    with pytest.raises(AttributeError, match=r"no figure 'nonsense'; there are allan, dark, drift"):
        _ = ds.v50.plot.nonsense
    pyplot.close("all")
