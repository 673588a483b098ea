"""Kernels of the ADC stage: reference-pixel levels, fixed-pattern stripes, look-up tables."""

from __future__ import annotations

import numpy as np

from v50calib.kernels.arrays import Float, Mask


def clipped_mean(values: Float, *, sigma: float | None, max_iters: int) -> Float:
    """Mean along the last axis after clipping about the median by the standard deviation (sigma None: plain mean).

    The clip is that of `astropy.stats.sigma_clip` (centre median, scale std); a row of equal values keeps them all.

    >>> clipped_mean(np.array([[1.0, 1.0, 1.0, 1.0, 100.0]]), sigma=1.5, max_iters=5)
    array([1.])
    """
    good = np.ones(values.shape, np.bool_)
    for _ in range(max_iters if sigma is not None else 0):
        kept = np.where(good, values, np.nan)
        centre, scale = np.nanmedian(kept, axis=-1, keepdims=True), np.nanstd(kept, axis=-1, keepdims=True)
        new = good & (np.abs(values - centre) <= float(sigma or 0.0) * scale)
        if new.sum() == good.sum():
            break
        good = new
    return np.where(good, values, 0.0).sum(axis=-1) / good.sum(axis=-1)


def border_mask(shape: tuple[int, int], *, top: int, bottom: int, left: int, right: int) -> Mask:
    """True on the outermost rows and columns of a detector (ny, nx).

    >>> border_mask((3, 4), top=1, bottom=0, left=0, right=1).astype(int)
    array([[1, 1, 1, 1],
           [0, 0, 0, 1],
           [0, 0, 0, 1]])
    """
    ny, nx = shape
    out = np.zeros(shape, np.bool_)
    out[:top] = out[ny - bottom :] = True
    out[:, :left] = out[:, nx - right :] = True
    return out


def reference_level(frames: Float, mask: Mask, along: str, *, sigma: float | None, max_iters: int) -> Float:
    """Level of the reference pixels of each frame, shaped to be subtracted from frames (n, ny, nx).

    along   `frame`: one number a frame, over the mask; `row`: a number for each row, over the columns that are
            reference in every row; `column`: likewise over such rows

    >>> frame, first_column = np.array([[[5.0, 1.0], [7.0, 3.0]]]), np.array([[True, False], [True, False]])
    >>> reference_level(frame, first_column, "row", sigma=None, max_iters=0)
    array([[[5.], [7.]]])
    >>> reference_level(frame, first_column, "frame", sigma=None, max_iters=0)
    array([[[6.]]])
    """
    if along == "frame":
        return clipped_mean(frames[:, mask], sigma=sigma, max_iters=max_iters)[:, None, None]
    if along == "row":
        return clipped_mean(frames[:, :, mask.all(axis=0)], sigma=sigma, max_iters=max_iters)[:, :, None]
    rows = frames[:, mask.all(axis=1), :]
    return clipped_mean(np.swapaxes(rows, 1, 2), sigma=sigma, max_iters=max_iters)[:, None, :]


def remove_stripes(frames: Float, valid: Mask, axis: int) -> Float:
    """Frames minus their column medians (axis 1) or row medians (axis 2) over valid pixels; the frame's median is kept.

    A column or row without a valid pixel is left as it is.

    >>> striped = 10.0 + np.array([[[0.0, 2.0, -1.0]] * 3])
    >>> remove_stripes(striped, np.ones((3, 3), bool), axis=1)[0, 0]
    array([10., 10., 10.])
    """
    unseen = np.asarray(~valid.any(axis=axis - 1))
    usable = valid | (unseen[None, :] if axis == 1 else unseen[:, None])
    kept = np.where(usable, frames, np.nan)
    stripe = np.nanmedian(kept, axis=axis, keepdims=True)
    level = np.nanmedian(np.where(valid, frames, np.nan), axis=(1, 2), keepdims=True)
    stripe = stripe - level
    if axis == 1:
        stripe[:, :, unseen] = 0.0
    else:
        stripe[:, unseen, :] = 0.0
    return frames - stripe


def look_up(values: Float, knots: Float, coef: Float) -> tuple[Float, Float]:
    """Piecewise polynomial of values and its slope; the correction is frozen beyond the table's ends.

    knots (m,) increasing; coef (terms, m-1) descending powers of the distance to the left knot, as SciPy's PPoly.
    Outside, value + (last output - last input), slope 1.

    >>> knots = np.array([0.0, 1.0, 2.0])
    >>> look_up(np.array([0.5, 1.5, 4.0]), knots, linear_pieces(knots, np.array([0.0, 10.0, 30.0])))
    (array([ 5., 20., 32.]), array([10., 20.,  1.]))
    """
    inside = np.clip(values, knots[0], knots[-1])
    piece = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, len(knots) - 2)
    step = inside - knots[piece]
    out, slope = coef[0][piece], np.zeros_like(values)
    for c in coef[1:]:
        slope = slope * step + out
        out = out * step + c[piece]
    return out + (values - inside), np.where(values == inside, slope, 1.0)


def linear_pieces(x: Float, y: Float) -> Float:
    """Coefficients (2, m-1) of straight lines between table rows, as `look_up` takes them.

    >>> linear_pieces(np.array([0.0, 1.0, 3.0]), np.array([0.0, 10.0, 30.0]))
    array([[10., 10.],
           [ 0., 10.]])
    """
    return np.stack([np.diff(y) / np.diff(x), y[:-1]])


def frozen_polynomial(values: Float, coef: Float, low: float, high: float) -> tuple[Float, Float]:
    """Polynomial Σ coef[k]·v^k and its slope inside [low, high]; beyond, the correction at the end is kept, slope 1.

    coef (terms, …) ascending, broadcast against values.

    >>> frozen_polynomial(np.array([2.0, 5.0]), np.array([0.0, 0.0, 1.0]), 0.0, 3.0)  # v² up to 3, then 9 + (v - 3)
    (array([ 4., 11.]), array([4., 1.]))
    """
    inside = np.clip(values, low, high)
    out = np.broadcast_to(coef[-1], values.shape).copy()
    slope = np.zeros_like(values)
    for c in coef[-2::-1]:
        slope *= inside
        slope += out
        out *= inside
        out += c
    return out + (values - inside), np.where(values == inside, slope, 1.0)
