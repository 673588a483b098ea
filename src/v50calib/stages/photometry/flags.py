"""Thresholds of calib.photometry.flags: which pairs and channels they flag."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from v50calib.dq import DQ
from v50calib.kernels.arrays import Mask, Real
from v50calib.kernels.series import robust_limits
from v50calib.stages.photometry.config import FlagThresholds
from v50calib.stages.photometry.constants import LightCurves, PhotometryConstants


def background_excess(background: Real, sigmas: float | None) -> Mask:
    """Pairs (pair,) whose background, mean over the channels (pair, channel), is more than `sigmas` above its slow course."""
    if sigmas is None:
        return np.zeros(len(background), bool)
    level = background.mean(axis=1, dtype=np.float64)[:, None]
    centre, limit = robust_limits(level, sigmas)
    return np.asarray((level > centre + limit)[:, 0])


def threshold_flags(flags: FlagThresholds, curves: LightCurves, constants: PhotometryConstants, excess: Mask, lost: Mask) -> LightCurves:
    """The light curves with the flags of every threshold that is set, and of pairs whose position was interpolated (`lost`).

    Pairs get OUTLIER in every channel, channels DO_NOT_USE in every pair; no value changes.
    """
    pairs: dict[str, Mask] = {"centroid": lost}
    if flags.excessive_bkg is not None:
        pairs["excessive_bkg"] = excess
    if flags.off_center is not None:
        pairs["off_center"] = np.hypot(curves.x - np.median(curves.x), curves.y - np.median(curves.y)) > flags.off_center
    channels: dict[str, Mask] = {}
    if flags.too_many_replaced is not None:
        share = constants.channels.replaced[constants.channels.columns]
        summed = share.size != curves.flux.shape[1]
        channels["too_many_replaced"] = (share.max(keepdims=True) if summed else share) > flags.too_many_replaced
    if flags.low_snr is not None:
        with np.errstate(invalid="ignore"):
            snr = np.median(curves.flux / np.sqrt(curves.variance), axis=0)
        # a channel without flux (NaN) has no signal either
        channels["low_snr"] = ~(snr >= flags.low_snr)
    flagged = {name: int(mask.sum()) for name, mask in (pairs | channels).items() if mask.any()}
    if not flagged:
        return curves
    dq = curves.dq.copy()
    for mask in pairs.values():
        dq[mask] |= np.uint32(DQ.OUTLIER)
    for mask in channels.values():
        dq[:, mask] |= np.uint32(DQ.DO_NOT_USE)
    return replace(curves, dq=dq, flagged=flagged)
