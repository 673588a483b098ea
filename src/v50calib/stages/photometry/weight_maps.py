"""The maps that CDS frames are summed with, and the sums: which map, and which sum, is which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v50calib.kernels.arrays import Flags, Float, Index, Real

#: index of the flux map in every layout of `WeightMaps`
FLUX = 0
#: order of the moment maps; LIGHT is what first moments are divided by where that is not the flux
Y, X, LIGHT = range(3)


@dataclass(frozen=True)
class Sums:
    """Weighted sums of a run of n CDS frames with the maps of `WeightMaps`, which knows which is which.

    columns  (per_column, n, nx) per detector column, in the dtype that series are stored in
    totals   (n, others) over the whole frame; then, where a position is measured on each frame, its y and x [px]
    dq       (n, channels): flags of what was measured on each frame, None where nothing was
    """

    columns: Real
    totals: Float
    dq: Flags | None = None


@dataclass(frozen=True)
class WeightMaps:
    """Static maps (maps, ny, nx): the flux; then the mean background per pixel, first moments, coefficients of a surface.

    per_column    how many of the maps, from the first, are summed per column; the others are summed over the whole frame
    first, last   (maps,) row range of each map
    background    index of the background's map; None where it is a surface (`coefficients`)
    moments       indices of the first moments about the centre: in y; of a band also in x and, where needed, LIGHT
    coefficients  indices of the maps of the surface's coefficients, none where the background has a map
    """

    weights: Float
    per_column: int
    first: Index
    last: Index
    background: int | None
    moments: slice
    coefficients: slice

    @property
    def flux(self) -> Float:
        """Weights (ny, nx) of the flux; 0: pixel not used."""
        return np.asarray(self.weights[FLUX])

    def series(self, sums: Sums, index: int) -> Real:
        """Sums (n, nx) with one map per column, or (n, 1) over the whole frame."""
        if index < self.per_column:
            return sums.columns[index]
        return sums.totals[:, index - self.per_column, None]

    def totals(self, sums: Sums, indices: slice) -> Float:
        """Sums (n, maps) over the whole frame with several maps."""
        return sums.totals[:, indices.start - self.per_column : indices.stop - self.per_column]

    def positions(self, sums: Sums) -> Float:
        """Positions (n, 2) [y, x] that were measured on each frame."""
        return sums.totals[:, len(self.weights) - self.per_column :]


@dataclass(frozen=True)
class Areas:
    """Σ of the flux map (channels,) and of the moment maps (k, channels): the pixels of background in their sums.

    NaN in columns without a usable pixel.
    """

    flux: Float
    moments: Float


def stack_maps(flux: Float, background: Float | None, moments: Float, coefficients: list[Float], *, spectral: bool) -> WeightMaps:
    """The maps (ny, nx) of a visit in their order. Of a spectrum flux and background are summed per column, of a band nothing is."""
    weights = np.stack([flux, *([background] if background is not None else []), *moments, *coefficients])
    start = 1 if background is None else 2
    stop = start + len(moments)
    rows = [np.flatnonzero((w != 0).any(axis=1)) for w in weights]
    return WeightMaps(
        weights=np.ascontiguousarray(weights),
        per_column=start if spectral else 0,
        first=np.array([r[0] if r.size else 0 for r in rows], np.int64),
        last=np.array([r[-1] + 1 if r.size else 0 for r in rows], np.int64),
        background=None if background is None else start - 1,
        moments=slice(start, stop),
        coefficients=slice(stop, len(weights)),
    )


def joined(parts: list[Sums]) -> Sums:
    """Sums of consecutive chunks as one."""
    flags = [p.dq for p in parts if p.dq is not None]
    return Sums(
        np.concatenate([p.columns for p in parts], axis=1),
        np.concatenate([p.totals for p in parts]),
        np.concatenate(flags) if flags else None,
    )
