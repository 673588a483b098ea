"""What tests ask of a simulated dataset."""

from __future__ import annotations

from pathlib import Path


def planet_of(root: Path) -> str:
    """The first planet of a dataset."""
    return min(p.name for p in (root / "train").iterdir())
