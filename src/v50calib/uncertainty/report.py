"""One self-contained HTML page: the numbers before and after, the figures, what the fit compared, the notes."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from v50calib.errors import DataError
from v50calib.kernels.arrays import Float
from v50calib.safety.files import replacing
from v50calib.uncertainty.evaluate import WORDS
from v50calib.uncertainty.figures import Cases, overview

_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .8rem;border-bottom:1px solid #ddd;text-align:right}"
    "td:first-child,th:first-child{text-align:left}img{max-width:100%}"
)


def page(
    title: str, result: Mapping[str, Any], y: Float, cases: Cases, *, fit: Mapping[str, Any] | None = None, notes: Sequence[str] = ()
) -> str:
    """The page's HTML. result: of `evaluate.compare`; cases: what is drawn; fit: a calibrator's report {name: {gll, coverage_90}}.

    >>> y = np.random.default_rng(1).normal(0.01, 1e-5, (20, 4))
    >>> from v50calib.uncertainty.metrics import summary
    >>> result = {"planets": 20, "edition": "2025", "before": {"score": 0.5, **summary(y, 0 * y + 0.01, 0 * y + 1e-5)}}
    >>> page("Predictions", result, y, {"before": (0 * y + 0.01, 0 * y + 1e-5)}).startswith("<!doctype html>")
    True
    """
    shown = [name for name in ("before", "after") if name in result]
    rows = [[words, *(f"{result[name][key]:.5g}" for name in shown)] for key, words in WORDS.items()]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{result['planets']} planets, score of {result['edition']}.</p>",
        *(f"<p><strong>Note:</strong> {html.escape(note)}</p>" for note in notes),
        table(["", *shown], rows),
    ]
    if "bands" in result:
        bands = result["bands"]
        parts.append(
            f"<p>Conformal intervals ({html.escape(bands['kind'])}): {bands['nominal']:.0%} nominal, {bands['elements']:.1%} of all values "
            f"covered, {bands['planets']:.1%} of planets covered in every channel.</p>"
        )
    parts.append(image(overview(y, cases, {n: result[n]["score"] for n in shown}), "diagnostics"))
    if fit:
        parts.append("<h2>Methods compared in the fit</h2><p>On planets held out of it.</p>")
        parts.append(
            table(["", "mean log-likelihood", "90 % coverage"], [[n, f"{r['gll']:.4f}", f"{r['coverage_90']:.3f}"] for n, r in fit.items()])
        )
    return document(title, "".join(parts[1:]))


def document(title: str, body: str) -> str:
    """A page of this title and body (HTML).

    >>> document("Title", "<p>text</p>").endswith("<h1>Title</h1><p>text</p></body></html>\\n")
    True
    """
    head = f'<meta charset="utf-8"><meta name="generator" content="v50calib"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{html.escape(title)}</h1>{body}</body></html>\n'


def image(figure: Figure, alt: str) -> str:
    """A figure as an image inside the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode("ascii")}">'


def write_page(path: str | Path, text: str) -> None:
    """Write a page. Raises DataError where it cannot be written."""
    path = Path(path)
    try:
        with replacing(path) as stream:
            stream.write(text.encode())
    except OSError as exc:
        raise DataError(f"cannot write '{path}': {exc.strerror or exc}; give another path") from exc


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as HTML."""
    line = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{line}</tr>{body}</table>"
