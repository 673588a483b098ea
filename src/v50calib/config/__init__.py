"""From a profile's name to a validated config: compose (Hydra) -> validate (pydantic) -> explain (errors)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from v50calib.config.compose import compose
from v50calib.config.explain import validate
from v50calib.config.models import RunConfig

__all__ = ["RunConfig", "load", "validate"]


def load(config_name: str, overrides: Sequence[str] = (), config_dir: Path | None = None) -> RunConfig:
    """The validated config of a profile with overrides. Raises ConfigError that names the YAML path and the remedy.

    >>> load("calib/fast", ["calib.photometry.aperture.radius_px=8"]).calib.photometry.aperture.radius_px
    8.0
    """
    return validate(compose(config_name, overrides, config_dir))
