"""Modes of CDS that subtract something else than a pair's own first read: what, and what that does to a light curve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from v50calib.kernels import temporal
from v50calib.kernels.arrays import Float
from v50calib.stages.cds.config import CdsConfig, RollingWindow

#: window outliers of a robust rolling mean, in 1.4826·MAD
_WINDOW_CLIP = 3.0


class Baseline(Protocol):
    """What is subtracted from second reads.

    halo    pairs on either side whose first reads it takes
    static  it is one frame, the mean first read of the sample frames
    """

    @property
    def halo(self) -> int: ...
    @property
    def static(self) -> bool: ...

    def of(self, first: Float, reference: Float | None) -> tuple[Float, Float]:
        """Baseline (n or 1, ny, nx) [e-] and the share (n or 1, 1, 1) of a first read's variance in it.

        first (n, ny, nx): the pairs' own first reads; reference (ny, nx): the static frame.
        """
        ...

    def note(self, mode: str, instrument: str, share: float) -> str:
        """What it does to a transit; share: of a second read's light in a first read."""
        ...


class StaticBaseline:
    """One frame for the whole visit."""

    halo, static = 0, True

    def of(self, first: Float, reference: Float | None) -> tuple[Float, Float]:
        assert reference is not None
        return reference[None], np.zeros((1, 1, 1))

    def note(self, mode: str, instrument: str, share: float) -> str:
        return (
            f"cds.mode={mode} subtracts one constant first read, which the transit did not dim: depths come out "
            f"{1.0 / (1.0 - share):.3f} times too large on {instrument}"
        )


class MovingBaseline:
    """First reads averaged over time."""

    static = False

    def note(self, mode: str, instrument: str, share: float) -> str:
        return (
            f"cds.mode={mode} averages first reads over time, which hold {share:.1%} of a second read's light: ingress and egress "
            "are smeared by that share over the window, and reset noise that a ramp's own first read would take away stays in"
        )


@dataclass(frozen=True)
class RunningBaseline(MovingBaseline):
    """Mean first read of the last pairs, a pair's own included."""

    window_pairs: int

    @property
    def halo(self) -> int:
        return self.window_pairs - 1

    def of(self, first: Float, reference: Float | None) -> tuple[Float, Float]:
        return _over_time(first, (self.window_pairs - 1, 0), with_own=True, median=False, clip=0.0)


@dataclass(frozen=True)
class WindowBaseline(MovingBaseline):
    """Mean or median first read of the pairs to either side."""

    window: RollingWindow

    @property
    def halo(self) -> int:
        return self.window.half_window

    def of(self, first: Float, reference: Float | None) -> tuple[Float, Float]:
        w, median = self.window, self.window.baseline == "median"
        reach, clip = (w.half_window, w.half_window), _WINDOW_CLIP if w.robust else 0.0
        base, share = _over_time(first, reach, with_own=not w.exclude_center, median=median, clip=clip)
        # variance of a median over that of a mean, for normal noise and many samples; 1 for up to two
        return base, np.where(share < 0.5, share * 0.5 * np.pi, share) if median else share


def _over_time(first: Float, reach: tuple[int, int], *, with_own: bool, median: bool, clip: float) -> tuple[Float, Float]:
    """Mean or median (n, ny, nx) of the first reads from reach[0] pairs before to reach[1] after, and its variance's share (n, 1, 1)."""
    series = np.ascontiguousarray(first).reshape(len(first), -1)
    base, share = np.empty_like(series), np.empty(len(first))
    temporal.baseline(series, *reach, with_own, median, clip, base, share)
    return base.reshape(first.shape), share[:, None, None]


def _reference(config: CdsConfig) -> Baseline:
    strategies: dict[str, Baseline] = {"static": StaticBaseline(), "running": RunningBaseline(config.reference_frame.window_pairs)}
    return strategies[config.reference_frame.strategy]


#: calib.cds.cds.mode -> its baseline; the other modes subtract a pair's own first read
BASELINES: dict[str, Callable[[CdsConfig], Baseline]] = {
    "rolling_window": lambda config: WindowBaseline(config.rolling_window),
    "reference_frame": _reference,
}


def baseline_of(config: CdsConfig) -> Baseline | None:
    """The baseline of the config's mode; None where a pair's own first read is subtracted."""
    build = BASELINES.get(config.cds.mode)
    return build(config) if build is not None else None
