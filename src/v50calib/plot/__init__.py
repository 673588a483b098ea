"""Figures of calibrated visits, each from the numbers of one product (matplotlib).

Every function takes a product (`open_calibrated(run)["/<planet>/<visit>/<instrument>"].to_dataset()`) and an optional
matplotlib Axes, and returns the Axes; `visit` puts them on one page. Colours: Okabe & Ito's, safe for colour-blind readers.
"""

from v50calib.plot.curves import drift, folded, light_curves, spectrum, white_light
from v50calib.plot.fits import residual_map, stacked_fits, white_corner
from v50calib.plot.maps import dark, flags, flat, frames, mean_frame, raw_frames
from v50calib.plot.noise import allan, noise_budget, rms_versus_time

__all__ = [
    "allan", "dark", "drift", "flags", "flat", "folded", "frames", "light_curves", "mean_frame", "noise_budget", "raw_frames",
    "residual_map", "rms_versus_time", "spectrum", "stacked_fits", "white_corner", "white_light",
]  # fmt: skip
