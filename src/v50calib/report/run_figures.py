"""The figures of the whole run on its page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from v50calib.plot import runs as plot
from v50calib.report.figures import Image, drawn
from v50calib.report.visits import Visit

#: small: three stand side by side
_SIZE = (5.2, 3.5)


def draw_run(visits: Sequence[Visit]) -> list[Image]:
    """Depths against the truth and pulls where it is known; noise and seconds of every visit that has a product."""
    made = [v for v in visits if v.product is not None]
    if not made:
        return []
    names = [v.entry.instrument for v in made]
    depth, sigma, truth = (np.array([getattr(v, f"{n}_ppm") if v.measured else np.nan for v in made]) for n in ("depth", "sigma", "truth"))
    noise = np.array([v.verdict.numbers.get("noise_over_limit", np.nan) for v in made], np.float64)
    planets, seconds = [v.entry.planet_id for v in made], np.array([v.entry.seconds for v in made], np.float64)
    images = []
    if np.isfinite(truth).any():
        unmeasured = sum(not v.measured for v in made)
        without = f" Left out: {unmeasured} in which no transit was measured." if unmeasured else ""
        images += [
            drawn("Depth against truth", lambda ax: plot.depth_against_truth(names, depth, sigma, truth, ax),
                  f"White depth of each visit with its standard error against the true one, ppm.{without}", _SIZE),
            drawn("Pulls", lambda ax: plot.pulls(names, (depth - truth) / sigma, ax),
                  f"Differences from the truth in standard errors, and the bell curve of errors that are right.{without}", _SIZE),
        ]  # fmt: skip
    if np.isfinite(noise).any():
        images.append(drawn("Noise by planet", lambda ax: plot.noise_by_planet(names, planets, noise, ax), _NOISE, _SIZE))
    if (seconds > 0).any():
        images.append(drawn("Seconds", lambda ax: plot.seconds_of_visits(names, seconds, ax), _SECONDS, _SIZE))
    return images


_NOISE = "Scatter of white light out of transit over what photon and read noise give; 1 is the limit."
_SECONDS = "Seconds of work on each visit, from its first frame to its product, by instrument."
