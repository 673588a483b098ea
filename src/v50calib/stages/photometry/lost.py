"""Pairs whose frames were lost or damaged: their light leaps away from that of their neighbours, as no transit does."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from v50calib.dq import DQ
from v50calib.kernels.arrays import Flags, Float, Mask
from v50calib.kernels.lightcurves import DIM, with_light
from v50calib.kernels.series import MAD_TO_SIGMA
from v50calib.stages.photometry.constants import LightCurves
from v50calib.stages.photometry.weight_maps import Sums

#: pairs of the running median that a single pair is held against
WINDOW = 11
#: a pair or a step further off than this many robust sigma is no noise …
SIGMAS = 10.0
#: … and a step larger than this share of the light within one pair is no transit: ingress takes minutes
STEP = 0.015
#: pairs on either side of a step that tell its height, and how much of it must lie between two neighbours
BESIDE, SUDDEN = 5, 0.7
#: a run between two steps, or between a step and an end, that is shorter than this share of the visit is the lost part
SHORT = 0.1
#: raw codes of a pair's two frames that its fingerprint is of, a run of pixels in the middle row: two pairs with the same ones would be a
#: chance of one in 10²⁰ with a noise of a few codes
SAMPLED = 16
#: share of a frame's pixels with one code from which the frame is blank
MOST_OF_A_FRAME = 0.5
#: frames without any noise (simulated so) repeat each other as well: no pair is lost where the others scatter by less than this share of
#: the noise that they should have
NOISELESS = 0.2


def lost_pairs(white: Float) -> Mask:
    """Pairs (n,) that stand off the white light curve: single ones, short runs that begin and end with a step, and pairs without half of
    the light, as many as there are.

    >>> light = np.ones(200) + 1e-4 * np.sin(np.arange(200.0))
    >>> light[50], light[190:] = 0.0, 0.9
    >>> np.flatnonzero(lost_pairs(light)).tolist() == [50, *range(190, 200)]
    True
    >>> light[60:180], light[190:] = 0.0, 1.0
    >>> int(lost_pairs(light).sum())
    121
    """
    n = len(white)
    lost = ~np.isfinite(white)
    if n < 2 * WINDOW:
        return lost
    values = np.where(lost, np.nanmedian(white) if not lost.all() else 1.0, white)
    lit = with_light(values)
    if not lit.all() and _scatter(values[lit]) * SIGMAS < DIM * float(np.median(values[lit])):
        # medians of all of it would be of what is not there where much is lost
        lost |= ~lit
        lost[lit] |= lost_pairs(values[lit])
        return lost
    sigma = _scatter(values)
    middle = float(np.median(values))
    scale = abs(middle)
    if sigma == 0 or scale == 0:
        return lost
    lost |= np.abs(values - median_filter(values, WINDOW, mode="mirror")) > max(SIGMAS * sigma, 1e-9 * scale)
    if middle > 0:
        lost |= values < middle - max(DIM * middle, SIGMAS * sigma)
    return lost | _short_runs(values, lost, sigma, scale)


def _scatter(values: Float) -> float:
    """Robust standard deviation from pair to pair."""
    step = np.diff(values)
    return MAD_TO_SIGMA * float(np.median(np.abs(step - np.median(step)))) / math.sqrt(2.0) if step.size else 0.0


def _short_runs(values: Float, lost: Mask, sigma: float, scale: float) -> Mask:
    """Pairs of short runs between two steps, or between a step and an end of the visit; pairs lost already do not count."""
    kept = np.flatnonzero(~lost)
    light = values[kept]
    out = np.zeros(lost.shape, bool)
    breaks = [0]
    for i in np.flatnonzero(np.abs(np.diff(light)) > max(SIGMAS * sigma, STEP * scale)) + 1:
        before, after = light[max(breaks[-1], i - BESIDE) : i], light[i : i + BESIDE]
        height = float(np.median(after) - np.median(before))
        if abs(height) > STEP * scale and abs(light[i] - light[i - 1]) > SUDDEN * abs(height):
            breaks.append(int(i))
    breaks.append(len(light))
    lengths = np.diff(breaks)
    for start, stop, length in zip(breaks[:-1], breaks[1:], lengths, strict=True):
        if len(lengths) > 1 and length < SHORT * len(light) and length < lengths.max():
            out[kept[start:stop]] = True
    return out


def blank_pairs(raw: NDArray[np.uint16]) -> Mask:
    """Pairs (n,) of raw frames (2n, ny, nx) with a read that has one code over most of the detector: empty, saturated, or never written.

    >>> raw = np.random.default_rng(0).integers(0, 65536, (8, 32, 32), dtype=np.uint16)
    >>> raw[2], raw[7] = 65535, 0
    >>> blank_pairs(raw).tolist()
    [False, True, False, True]
    """
    ny, nx = raw.shape[1:]
    width = min(SAMPLED, nx)
    first = (nx - width) // 2
    codes = raw[:, ny // 2, first : first + width]
    blank = (codes == codes[:, :1]).all(axis=1)
    for i in np.flatnonzero(blank):
        blank[i] = (raw[i] == codes[i, 0]).mean() > MOST_OF_A_FRAME
    return np.asarray(blank[0::2] | blank[1::2])


def without_blank(sums: Sums, blank: Mask) -> Sums:
    """Sums of a visit's pairs with those of blank ones (pair,) on straight lines between the others: what is smoothed in time, and medians,
    are then of frames. The blank pairs themselves are lost all the same (`flag_lost`). As they are where all are blank.

    >>> sums = Sums(np.zeros((0, 3, 1)), np.array([[1.0], [900.0], [3.0]]))
    >>> without_blank(sums, np.array([False, True, False])).totals.ravel().tolist()
    [1.0, 2.0, 3.0]
    """
    if not blank.any() or blank.all():
        return sums
    kept, at = np.flatnonzero(~blank), np.flatnonzero(blank)
    after = np.clip(np.searchsorted(kept, at), 0, len(kept) - 1)
    before = np.maximum(np.searchsorted(kept, at) - 1, 0)
    low, high = kept[before], kept[after]
    share = np.clip((at - low) / np.maximum(high - low, 1), 0.0, 1.0)[:, None]
    columns, totals = sums.columns.copy(), sums.totals.copy()
    totals[at] = (1.0 - share) * totals[low] + share * totals[high]
    columns[:, at] = (1.0 - share) * columns[:, low] + share * columns[:, high]
    return replace(sums, columns=columns, totals=totals)


def fingerprints(raw: NDArray[np.uint16]) -> NDArray[np.uint64]:
    """A number (n,) for each pair of raw frames (2n, ny, nx), the same where its codes are.

    >>> raw = np.random.default_rng(0).integers(0, 65536, (8, 32, 32), dtype=np.uint16)
    >>> raw[4:6] = raw[2:4]
    >>> prints = fingerprints(raw)
    >>> prints.tolist().index(prints[2]), len(set(prints.tolist()))
    (1, 3)
    """
    ny, nx = raw.shape[1:]
    width = min(SAMPLED, nx)
    first = (nx - width) // 2
    codes = raw[:, ny // 2, first : first + width].reshape(len(raw) // 2, -1)
    # modulo 2⁶⁴
    return np.asarray(codes.astype(np.uint64) @ _odd_numbers(codes.shape[1]))


@cache
def _odd_numbers(count: int) -> NDArray[np.uint64]:
    return np.random.default_rng(0).integers(1, 2**64, count, dtype=np.uint64) | np.uint64(1)


def repeated_pairs(prints: NDArray[np.uint64], white: Float, noise: float) -> Mask:
    """Pairs (n,) whose frames are those of the pair before: a buffer that was sent twice, a detector that stood still. None in frames
    that have no noise.

    prints (n,): of `fingerprints`; white (n,): white light, noise: what it should have from pair to pair.

    >>> prints = np.array([4, 7, 7, 7, 5, 9, 1], np.uint64)
    >>> repeated_pairs(prints, np.array([1.0, 3.0, 3.0, 3.0, 2.0, 1.5, 0.0]), noise=1.0).tolist()
    [False, False, True, True, False, False, False]
    >>> repeated_pairs(prints, np.linspace(0.0, 0.1, 7), noise=1.0).sum().item()
    0
    """
    again = np.zeros(len(prints), bool)
    again[1:] = prints[1:] == prints[:-1]
    steps = np.abs(np.diff(white))[~again[1:]]
    steps = steps[np.isfinite(steps)]
    noisy = steps.size > 0 and MAD_TO_SIGMA * float(np.median(steps)) / np.sqrt(2.0) > NOISELESS * noise
    return again if noisy else np.zeros(len(prints), bool)


def _replaced_whole(dq: Flags) -> Mask:
    """Pairs (n,) most channels of which were interpolated, because a read is at an end of the converter's range: the light curve looks
    whole there, but position and noise are those of no frame. One band alone also has cosmic rays: it must be at such an end."""
    replaced = (dq & np.uint32(DQ.OUTLIER)) != 0
    if dq.shape[1] == 1:
        replaced &= (dq & np.uint32(DQ.SATURATED | DQ.AD_FLOOR)) != 0
    return np.asarray(replaced.mean(axis=1) > 0.5)


def flag_lost(
    curves: LightCurves, white: Float, repeated: Mask | None = None, blank: Mask | None = None
) -> tuple[LightCurves, Mask]:  # fmt: skip
    """The light curves with DROPOUT | DO_NOT_USE on lost pairs, and these (pair,), `repeated` and `blank` ones among them. A frame that is
    lost as full scale is not saturated."""
    lost = _replaced_whole(curves.dq)
    if blank is None or not blank.any():
        lost |= lost_pairs(white)
    else:
        # their light is that of their neighbours, put in its place
        lost |= blank
        lost[~blank] |= lost_pairs(white[~blank])
    if repeated is not None:
        lost |= repeated
    if not lost.any():
        return curves, lost
    dq = curves.dq.copy()
    dq[lost] = (dq[lost] & ~np.uint32(DQ.SATURATED)) | np.uint32(DQ.DROPOUT | DQ.DO_NOT_USE)
    return replace(curves, dq=dq, flagged=curves.flagged | {"lost_pairs": int(lost.sum())}), lost
