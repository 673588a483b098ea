"""Detector images of a visit: mean frame with the aperture, dark, flat, flags; single frames of a stage."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from v50calib import dq
from v50calib.errors import DataError
from v50calib.plot.style import ORANGE, VERMILION, axes, need, title

WIDE = (8.0, 3.0)


def raw_frames(ds: xr.Dataset, ax: Axes | None = None, *, frame: int = 1) -> Axes:
    """One read of a raw visit (`open_visit`) as it was recorded, between percentiles 1 and 99.5; reads that no pixel differs in are flat.

    frame: its index; 0 is the first read of the first ramp, 1 the second. Only its time chunk is read.

    >>> raw = xr.Dataset({"raw_frames": (("time", "y", "x"), np.arange(32.0).reshape(2, 4, 4))}, {"exposure": ("time", [0.1, 4.6])})
    >>> ax = raw_frames(raw)
    >>> ax.get_title(), float(ax.images[0].get_array().max())
    ('read 1, 4.6 s after reset: planet ?, visit ?, ?', 31.0)
    """
    need(ds, "raw_frames")
    frames = ds["raw_frames"]
    if frames.ndim != 3:
        raise DataError(f"raw_frames has dims {frames.dims}: take one detector first, ds.isel(channel=0)")
    if not -len(frames) <= frame < len(frames):
        raise DataError(f"frame={frame} is not among the {len(frames)} reads of this visit: give 0 to {len(frames) - 1}")
    ax = axes(ax, WIDE)
    image = np.asarray(frames[frame], np.float64)
    low, high = np.percentile(image, [1, 99.5])
    _show(ax, image, str(frames.attrs.get("units", "ADU")), norm=Normalize(low, high if high > low else low + 1.0))
    after = f", {float(ds['exposure'][frame]):.3g} s after reset" if "exposure" in ds.coords else ""
    ax.set_title(title(ds, f"read {frame % len(frames)}{after}"))
    return ax


def mean_frame(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Mean CDS frame of the sample pairs, e- per pair on a logarithmic scale, with the pixels that hold 99 % of the
    extraction weight outlined and the centre of the trace or star.

    >>> ax = mean_frame(xr.Dataset({"cds_mean": (("y", "x"), np.full((4, 4), 100.0))}))
    >>> ax.images[0].get_array().max()
    np.float64(100.0)
    """
    need(ds, "cds_mean")
    ax = axes(ax, WIDE)
    image = np.asarray(ds["cds_mean"], np.float64)
    top = max(float(np.nanmax(image)), 1.0)
    _show(ax, np.clip(image, 1e-3 * top, None), "electrons per pair", norm=LogNorm(1e-3 * top, top))
    if "extraction_weights" in ds:
        weight = np.abs(np.nan_to_num(np.asarray(ds["extraction_weights"], np.float64)))
        _outline(ax, weight)
        if weight.sum() > 0:
            rows, columns = np.indices(weight.shape)
            per_column = weight.sum(axis=0)
            if float(np.count_nonzero(per_column)) > 2 * weight.shape[0]:
                centre = (weight * rows).sum(axis=0) / np.where(per_column > 0, per_column, np.nan)
                ax.plot(centre, color=VERMILION, lw=0.8, label="centre of the weights")
            else:
                position = [(weight * v).sum() / weight.sum() for v in (columns, rows)]
                ax.plot(*position, "+", color=VERMILION, label="centre of the weights")
            ax.legend(fontsize="x-small", loc="upper right")
    ax.set_title(title(ds, "mean frame and extraction"))
    return ax


def _outline(ax: Axes, weight: np.ndarray) -> None:
    """Contour around the pixels that hold 99 % of the weight."""
    ordered = np.sort(weight.ravel())[::-1]
    share = np.cumsum(ordered)
    if share[-1] > 0:
        level = ordered[min(int(np.searchsorted(share, 0.99 * share[-1])), ordered.size - 1)]
        ax.contour(weight >= max(level, 1e-12), levels=[0.5], colors=[ORANGE], linewidths=0.8)


def dark(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Dark rate as subtracted, e-/s, between its 1st and 99th percentile.

    >>> dark(xr.Dataset({"dark_applied": (("y", "x"), np.full((4, 4), 0.01))})).get_title()
    'dark current: planet ?, visit ?, ?'
    """
    return _map(ds, "dark_applied", "dark current (e-/s)", ax)


def flat(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Flat field as divided by, between its 1st and 99th percentile.

    >>> flat(xr.Dataset({"flat_applied": (("y", "x"), np.ones((4, 4)))})).images[0].get_array().mean()
    np.float64(1.0)
    """
    return _map(ds, "flat_applied", "flat field", ax)


def _map(ds: xr.Dataset, name: str, label: str, ax: Axes | None) -> Axes:
    need(ds, name)
    ax = axes(ax, WIDE)
    values = np.asarray(ds[name], np.float64)
    low, high = np.nanpercentile(values, [1, 99])
    _show(ax, values, label, norm=Normalize(low, high if high > low else low + 1e-12))
    ax.set_title(title(ds, label.partition(" (")[0]))
    return ax


def flags(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Number of flags that each pixel carries throughout the visit; the title gives the flags that occur, with their shares.

    >>> ds = xr.Dataset({"pixel_dq": (("y", "x"), np.array([[0, 1], [3, 0]], np.uint32))})
    >>> flags(ds).get_title().splitlines()[1], flags(ds).images[0].get_array().astype(int).tolist()
    ('DO_NOT_USE 50 %, SATURATED 25 %', [[0, 1], [2, 0]])
    """
    need(ds, "pixel_dq")
    ax = axes(ax, WIDE)
    mask = np.asarray(ds["pixel_dq"]).astype(np.uint32)
    number = np.zeros(mask.shape, int)
    for flag in dq.DQ:
        number += (mask & np.uint32(flag)).astype(bool) if flag else 0
    _show(ax, number, "flags per pixel", norm=Normalize(0, max(1, int(number.max()))))
    shares = ", ".join(f"{name} {100 * n / mask.size:.2g} %" for name, n in dq.counts(mask).items()) or "none"
    ax.set_title(title(ds, "flags") + "\n" + textwrap.fill(shares, 90), fontsize="small")
    return ax


def frames(pairs: Sequence[tuple[int, np.ndarray, np.ndarray]], stage: str, visit: str) -> Figure:
    """Frames of some pairs as a stage leaves them, e-, samples with any flag marked.

    pairs: (index of the pair, values (reads, ny, nx), flags (reads, ny, nx)).

    >>> values, marks = np.ones((1, 4, 4)), np.zeros((1, 4, 4), np.uint32)
    >>> [ax.get_title() for ax in frames([(0, values, marks), (9, values, marks)], "dark", "7/0/FGS1").axes if ax.get_title()]
    ['pair 0', 'pair 9']
    """
    reads = [(f"pair {i}" + (f", read {k + 1}" if len(values) > 1 else ""), values[k], flags[k])
             for i, values, flags in pairs for k in range(len(values))]  # fmt: skip
    figure = Figure(figsize=(8.0, 2.6 * max(1, len(reads))), layout="constrained")
    figure.suptitle(f"{stage}: {visit}")
    if not reads:
        figure.text(0.5, 0.5, "diagnostics.sample_indices lie beyond the visit's end", ha="center")
        return figure
    for ax, (name, values, marks) in zip(figure.subplots(len(reads), squeeze=False)[:, 0], reads, strict=True):
        finite = values[np.isfinite(values)]
        low, high = np.percentile(finite, [1, 99.5]) if finite.size else (0.0, 1.0)
        _show(ax, values, "electrons", norm=Normalize(low, high if high > low else low + 1.0))
        y, x = np.nonzero(marks)
        ax.plot(x, y, "x", color=VERMILION, ms=4, label=f"{x.size} samples flagged")
        ax.legend(fontsize="x-small", loc="upper right")
        ax.set_title(name, fontsize="small")
    return figure


def _show(ax: Axes, values: np.ndarray, label: str, *, norm: Normalize) -> None:
    # a spectrum's frame is wide: its pixels are stretched
    aspect: Literal["auto", "equal"] = "auto" if values.shape[1] > 3 * values.shape[0] else "equal"
    image = ax.imshow(values, origin="lower", aspect=aspect, cmap="cividis", norm=norm, interpolation="none")
    ax.figure.colorbar(image, ax=ax, label=label)
    ax.set(xlabel="column x (px)", ylabel="row y (px)")
