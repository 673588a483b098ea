"""A toy distribution, as pip would leave it on sys.path: a module and its dist-info folder with the entry point."""

from __future__ import annotations

from pathlib import Path

SOURCE = '''
"""A ring about the star."""

import numpy as np
from pydantic import Field

from v50calib.methods import Options, register

LEAST = 0.0


class Ring(Options):
    """Radii of the ring."""

    inner_px: float = Field(default=10.0, gt=0, description="inner radius")
    outer_px: float = Field(default=20.0, gt=0, description="outer radius")


def radius(shape, centre):
    return np.hypot(*(axis - c for axis, c in zip(np.indices(shape), centre)))


@register("photometry.background", "ring", options=Ring, on=["band"])
def ring(scene, options):
    """Mean of whole pixels in a ring about the brightest one."""
    bright = np.unravel_index(np.argmax(np.where(scene.masked, -np.inf, scene.image)), scene.shape)
    r = radius(scene.shape, bright)
    return ((r >= options.inner_px) & (r < options.outer_px) & (r > LEAST)).astype(float)
'''


def install_toy(folder: Path, version: str = "1.2", source: str = SOURCE) -> None:
    """Put the distribution `toyring` into a folder that is, or will be, on sys.path."""
    (folder / "toyring.py").write_text(source)
    info = folder / f"toyring-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: toyring\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("[v50calib.methods]\nring = toyring\n")
