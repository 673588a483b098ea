"""The page of a solved run: scores of each step, whether the sigmas of each part are right, spectra, correlations."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from v50calib.estimators.measured import Measured
from v50calib.kernels.arrays import Float, Real
from v50calib.uncertainty.parts import NAMES, parts
from v50calib.uncertainty.report import document, image, table
from v50calib.uncertainty.spectra_figures import correlation, gallery, pit_of_parts

#: planets whose spectra are drawn, from the flattest to the most structured
SHOWN = 6
#: planets with truth from which a histogram says more than chance
ENOUGH = 20


def spectra_page(
    ids: Sequence[str], wavelength: Float, measured: Sequence[Measured], mean: Float, cov: Real, truth: Mapping[str, Float],
    scores: Mapping[str, Mapping[str, float]], notes: Sequence[str] = (), estimator: str = "gp",
) -> str:  # fmt: skip
    """HTML of estimates mean (n, 283), cov (n, 283, 283) of planets ids, beside their depths as measured and, by id, the truth.

    scores: {step: {"score", "rms_z", …}} in order.

    >>> wavelength, one = np.r_[0.7, np.linspace(1.95, 3.9, 282)], Measured.independent(np.full(283, 0.01), np.full(283, 1e-4))
    >>> text = spectra_page(["7"], wavelength, [one], np.full((1, 283), 0.01), np.eye(283)[None] * 1e-9, {}, {})
    >>> text.startswith("<!doctype html>"), "planet 7" in text
    (True, True)
    """
    content = [
        f"<p>{len(ids)} planets, estimator {html.escape(estimator)}: a prior is in these spectra; the depths as measured are apart.</p>"
    ]
    content += [f"<p><strong>Note:</strong> {html.escape(note)}</p>" for note in notes]
    if scores:
        rows = [[step, f"{numbers['score']:.4f}", f"{numbers['rms_z']:.3f}"] for step, numbers in scores.items()]
        content += ["<h2>Score of each step</h2>", table(["", "score", "rms of residual / sigma"], rows)]
    known = [i for i, planet in enumerate(ids) if planet in truth]
    if known:
        y = np.stack([truth[ids[i]] for i in known])
        found = parts(y, mean[known], np.asarray(cov)[known])
        rows = [[name, f"{found.rms[name]:.2f}"] for name in NAMES]
        pit = Figure(figsize=(7, 4.5), layout="constrained")
        pit_of_parts(found, pit.add_subplot())
        said = (
            "Rms of error over sigma: 1 is right, above 1 sigma is too small. AIRS level: the mean of the 282 channels; AIRS shape: each "
            f"channel less that mean. FGS1 and level are known to ± {(2 * len(known)) ** -0.5:.2f} with {len(known)} planets."
        )
        content += [
            f"<h2>Are the sigmas of each part right?</h2><p>{said}</p>",
            table(["", "rms z"], rows),
        ]
        if len(known) >= ENOUGH:
            content += [
                image(pit, "calibration of FGS1, level and shape"),
                "<p>Probability integral transform: where in its posterior the truth lies. Flat where sigmas are right.</p>",
            ]
    order = np.argsort(mean[:, 1:].std(axis=1))
    chosen = [int(order[k]) for k in np.unique(np.linspace(0, len(ids) - 1, min(SHOWN, len(ids))).round().astype(int))]
    names = [ids[i] for i in chosen]
    sigma = {ids[i]: np.sqrt(np.diag(np.asarray(cov[i], np.float64))) for i in chosen}
    pictures = gallery(wavelength, {ids[i]: measured[i] for i in chosen}, {ids[i]: mean[i] for i in chosen}, sigma, truth, names)
    content += [
        f"<h2>Spectra, from the flattest to the most structured: {', '.join(f'planet {name}' for name in names)}</h2>",
        image(pictures, "spectra of some planets"),
        "<p>Posterior: the spectrum after the prior. FGS1 stands at the left, its points beside each other.</p>",
    ]
    one = chosen[-1]
    pair = Figure(figsize=(13, 5.4), layout="constrained")
    left, right = pair.subplots(1, 2)
    if measured[one].known.all():
        correlation(measured[one].covariance(), f"planet {ids[one]}: depths as measured", left)
    else:
        left.set_visible(False)
    correlation(cov[one], f"planet {ids[one]}: posterior", right)
    alone, whole = _error_of_mean(measured[one])
    said = (
        f"The mean of this planet's depths is known to {1e6 * whole:.0f} ppm; channels taken as independent would claim "
        f"{1e6 * alone:.0f} ppm. Small correlations of many channels add up."
    )
    content += [
        f"<h2>What errors have in common</h2><p>{said}</p>",
        image(pair, "correlation matrices"),
    ]
    return document("Spectra", "".join(content))


def _error_of_mean(measured: Measured) -> tuple[float, float]:
    """Error of the mean of all measured channels as if they were independent, and by their covariance; NaN where there is none."""
    known = measured.known
    if not known.any():
        return float("nan"), float("nan")
    cov = measured.covariance()
    weight = 1.0 / np.diag(cov)
    weight /= weight.sum()
    return float(np.sqrt(np.square(weight) @ np.diag(cov))), float(np.sqrt(weight @ cov @ weight))
