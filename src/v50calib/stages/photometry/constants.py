"""What photometry passes on: the maps of a visit, the sums of a chunk, the light curves."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float, Real
from v50calib.stages.photometry.per_frame import FrameWork


@dataclass(frozen=True)
class PhotometryConstants:
    """Static maps and noise terms of a visit.

    weights        (maps, ny, nx): flux, mean background per pixel, first moment about `centre` in y; of a band also in x
                   and, where it is not the flux, the light that moments are divided by. A spectrum with a background surface
                   has no background map but, last, one map a coefficient (`sky_basis`)
    per_column     how many of the maps, from the first, are summed per column; the others over the whole frame
    first, last    (maps,) row range of each map
    used           (ny, nx) pixels that enter the flux
    area           (nx,) or scalar: Σ of the flux weights (pixels of background under it)
    photon_gain    Σ w² P / flat: photon variance per electron of flux
    constant_var   read noise + dark + background photons, e-²
    background_var variance of one pair's background estimate (after smoothing along wavelength), e-²
    columns        detector columns of the output channels, in output order (None: one band)
    channel_dq     (channel,) uint32
    shared_columns columns whose backgrounds share their error
    sky_basis      (nx, terms) background per pixel under each column's weights from the surface's coefficients
    replaced       (channel,) share of the light in estimated pixels
    frame          what is measured on each frame; None: the maps say all
    """

    method: str
    spectral: bool
    weights: Float
    per_column: int
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    used: NDArray[np.bool_]
    area: Float
    moment_area: Float
    photon_gain: Float
    read_var: Float
    poisson_var: Float
    dark_var: Float
    flat_gain: Float
    background_var: Float
    centre: tuple[float, float]
    columns: NDArray[np.int64] | None
    drift_columns: slice
    channel_dq: NDArray[np.uint32]
    smooth_pairs: int
    smooth_columns: int
    shared_columns: int
    sky_basis: Float | None
    replaced: Float
    frame: FrameWork | None

    @property
    def direct(self) -> bool:
        """Whether the totals end with positions measured on each frame, [y, x]."""
        return self.frame is not None and self.frame.direct


@dataclass(frozen=True)
class Sums:
    """Weighted sums of a run of CDS frames with the maps of `PhotometryConstants.weights`.

    columns (per_column, n, nx): per detector column; totals (n, maps - per_column): over the whole frame.
    dq (n, channels) uint32: flags of what was measured on each frame, None where nothing was.
    """

    columns: Real
    totals: Float
    dq: NDArray[np.uint32] | None = None


@dataclass(frozen=True)
class LightCurves:
    """Extracted series of one visit: flux [e- per pair] and its variance, (pair, channel).

    var_rnoise (channel,) e-²: the part of the variance that is read noise, the same for every pair;
    background in e- per pixel (smoothed in time); x, y (pair,) pointing in px; dq (pair, channel) uint32.
    slow_var (channel,) e-²: what the subtracted background adds to the variance of a pair for anything slower
    than its smoothing, a transit depth for one; a single pair sees only 1/smooth_pairs of it.
    flagged: samples or channels that each threshold of calib.photometry.flags, or the tracking, flagged.
    """

    flux: Real
    variance: Real
    var_rnoise: Float
    background: Real
    x: Float
    y: Float
    dq: NDArray[np.uint32]
    slow_var: Float
    flagged: dict[str, int] = field(default_factory=dict)


def joined(parts: list[Sums]) -> Sums:
    """Sums of consecutive chunks as one."""
    flags = [p.dq for p in parts if p.dq is not None]
    return Sums(
        np.concatenate([p.columns for p in parts], axis=1),
        np.concatenate([p.totals for p in parts]),
        np.concatenate(flags) if flags else None,
    )


#: rows of `PhotometryConstants.weights`
FLUX, BACKGROUND, Y_MOMENT, X_MOMENT, LIGHT = range(5)
