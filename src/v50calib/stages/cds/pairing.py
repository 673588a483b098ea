"""Which frames a visit's CDS pairs are made of, from stamps, exposures and flags alone: no frame is read for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from v50calib.errors import ConfigError, DataError
from v50calib.kernels import pairing
from v50calib.kernels.arrays import Float, Index, Mask
from v50calib.stages.cds.config import CdsConfig, Pairing


@dataclass(frozen=True)
class ReadingOrder:
    """Frames (2n,) in the order in which the stages take them: first and second read of pair 0, of pair 1, …

    frames is None where that is the order they are stored in. A frame may be in several pairs, or in none.
    """

    frames: Index | None
    n_pairs: int
    notes: list[str] = field(default_factory=list)
    qc: dict[str, Any] = field(default_factory=dict)


class Reads(NamedTuple):
    """Reads (time,) of a visit: their order, time since reset and stamps in s, and which are first reads."""

    order: Index
    exposure: Float
    stamp: Float
    reset: Mask


def reading_order(config: CdsConfig, exposure: Float, time_h: Float, telemetry: dict[str, NDArray[Any]], instrument: str) -> ReadingOrder:
    """Pairs by the config's mode and policy, sorted by the mean of their stamps.

    exposure (time,) s since reset; time_h (time,) stamps. Raises ConfigError (a reset flag that is not there),
    DataError (no pair at all; a read without a reset near it where reset_signal.require_temporal_proximity is on; a broken
    bound of quality_checks.pairing_integrity with action_on_fail=error).
    """
    n, stamp = len(exposure), time_h * 3600.0
    order = np.argsort(stamp, kind="stable") if config.pairing.order_by == "timestamp" else np.arange(n)
    reads = Reads(order, exposure, stamp, _resets(config, exposure, telemetry, instrument))
    pairs = POLICIES[config.policy](config.pairing, reads)
    if config.pairing.window_s is not None:
        near = np.abs(stamp[pairs[1]] - stamp[pairs[0]]) <= config.pairing.window_s * (1 + 1e-9)
        pairs = pairs[0][near], pairs[1][near]
    if config.reset_signal.require_temporal_proximity:
        _require_resets(config, reads, pairs, instrument)
    if not len(pairs[0]):
        raise DataError(
            f"{instrument}: no two of {n} frames make a CDS pair by calib.cds.pairing.policy={config.policy} "
            f"order_by={config.pairing.order_by} window_s={config.pairing.window_s} "
            f"(exposures {exposure.min():.3g} to {exposure.max():.3g} s); widen the window or take another policy"
        )
    pairs = pairing.sorted_in_time(pairs, stamp)
    frames = np.stack(pairs, axis=1).ravel()
    lonely = pairing.unpaired(n, pairs)
    notes = [f"cds: {lonely.size} of {n} reads have no partner and are left out"] if lonely.size else []
    borrowed = int((stamp[pairs[1]] < stamp[pairs[0]]).sum())
    if borrowed:
        notes.append(f"cds: {borrowed} pairs take the reset that follows their read, of another ramp: they share no electrons")
    gaps = _gaps(stamp[frames[1::2]])
    qc = {"pairs": len(pairs[0]), "unpaired": int(lonely.size), "borrowed_resets": borrowed, "largest_gap_s": gaps}
    if config.quality_checks.enabled:
        notes += _integrity(config, lonely.size / n, stamp, gaps, instrument)
    natural = frames.size == n and bool((frames == np.arange(n)).all())
    return ReadingOrder(None if natural else frames, len(pairs[0]), notes, qc)


def _require_resets(config: CdsConfig, reads: Reads, pairs: pairing.Pairs, instrument: str) -> None:
    """Raises DataError where a read that is no reset has no reset within window_s by the policy."""
    lonely = np.setdiff1d(np.flatnonzero(~reads.reset), pairs[1])
    if not lonely.size:
        return
    first, second = POLICIES[config.policy](config.pairing.model_copy(update={"window_s": None}), reads)
    partner = first[second == lonely[0]]
    away = f"{abs(reads.stamp[lonely[0]] - reads.stamp[partner[0]]):.3g} s away" if partner.size else "not in the visit"
    raise DataError(
        f"{instrument}: {lonely.size} of {int((~reads.reset).sum())} reads have no reset within calib.cds.pairing.window_s="
        f"{config.pairing.window_s} (first of them frame {lonely[0]}; its reset by policy={config.policy} is {away}) and "
        "calib.cds.reset_signal.require_temporal_proximity is on: widen the window, or turn it off to have such reads left out"
    )


def _gaps(stamp: Float) -> float:
    return float(np.diff(stamp).max(initial=0.0))


def _resets(config: CdsConfig, exposure: Float, telemetry: dict[str, NDArray[Any]], instrument: str) -> Mask:
    """First reads: by their flag where one is named, else those with the shortest time since reset."""
    key = config.reset_signal.reset_flag_key
    if key is None:
        return pairing.shortest_reads(exposure)
    if key not in telemetry:
        known = ", ".join(sorted(telemetry)) or "nothing but stamps and exposures"
        raise ConfigError(
            f"calib.cds.reset_signal.reset_flag_key='{key}': {instrument} has no such variable on its time axis (there is: {known}); "
            "leave it out to recognize first reads by their exposure"
        )
    return np.asarray(telemetry[key]).astype(bool)


#: calib.cds.pairing.policy, `auto` resolved -> the pairs that it makes
POLICIES: dict[str, Callable[[Pairing, Reads], pairing.Pairs]] = {
    "even_odd": lambda c, reads: pairing.by_index(reads.order, second_first=c.even_odd.direction == "even_minus_odd"),
    "n_minus_1": lambda _, reads: pairing.by_previous(reads.order, reads.exposure, reads.reset),
    "nearest": lambda c, reads: pairing.by_nearest(reads.order, reads.stamp, reads.reset, window=c.window_s, either_side=False),
    "time_window": lambda c, reads: pairing.by_nearest(reads.order, reads.stamp, reads.reset, window=c.window_s, either_side=True),
}


def _integrity(config: CdsConfig, lonely: float, stamp: Float, gap: float, instrument: str) -> list[str]:
    """Broken bounds of quality_checks.pairing_integrity, as notes or as an error."""
    bounds, where = config.quality_checks.pairing_integrity, "calib.cds.quality_checks.pairing_integrity"
    faults = []
    if lonely > bounds.max_unpaired_fraction:
        faults.append(f"{lonely:.2%} of the reads have no partner, more than {where}.max_unpaired_fraction={bounds.max_unpaired_fraction}")
    if bounds.require_monotonic_timestamps and not (np.diff(stamp) > 0).all():
        at = int(np.argmin(np.diff(stamp)))
        faults.append(f"time stamps fall or repeat at frame {at + 1} ({where}.require_monotonic_timestamps)")
    if bounds.max_time_gap_s is not None and gap > bounds.max_time_gap_s:
        faults.append(f"pairs lie up to {gap:.3g} s apart, more than {where}.max_time_gap_s={bounds.max_time_gap_s}")
    if faults and config.quality_checks.stops:
        raise DataError(f"{instrument}: {'; '.join(faults)}; look at the visit, or set calib.cds.quality_checks.action_on_fail=warn")
    return [f"cds quality: {fault}" for fault in faults]
