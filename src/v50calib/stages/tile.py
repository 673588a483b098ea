"""Frames on their way through the frame stages, and what the stages have learned of the visit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float
from v50calib.reference import Reference
from v50calib.schema import Instrument


@dataclass
class Tile:
    """A run of consecutive frames (even count: whole ramps) on its way through the frame stages.

    values       (n, ny, nx) float64: frames up to `flat`, CDS differences after `cds`; e- once past `adc`
    exposure_s   (n,) time since reset of each frame (after `cds`: of the second minus the first read)
    var_poisson  (n, ny, nx) photon variance [e-²] of `values`
    var_rnoise   (n, ny, nx) read-noise variance [e-²] of `values`
    frame_dq     (n, ny, nx) uint8 sample flags
    start        position of the first frame in the visit (after `cds`: of the first pair)
    variance     False: nobody asks for the variances, stages leave them as they are
    """

    values: Float
    exposure_s: Float
    var_poisson: Float
    var_rnoise: Float
    frame_dq: NDArray[np.uint8]
    start: int = 0
    variance: bool = True


@dataclass
class PixelPolynomial:
    """A run of pixel-wise stages folded into `value = Σ_k coef[k]·ADU^k - rate·exposure`.

    coef (terms, ny, nx), rate (ny, nx). Exact for the affine and polynomial stages adc … flat.
    """

    coef: Float
    rate: Float


@dataclass
class VisitState:
    """What the stages have learned of a visit while preparing: the static maps they pass on.

    pixel_dq      (ny, nx) uint32, OR-ed by the stages
    masked        (ny, nx) bool, pixels whose values no sum may use (NaN in the cubes)
    telemetry     numbers on the time axis beside stamps and exposures: name -> (time,)
    folded        the frame value as a polynomial of the raw ADU, so far; None once a stage cannot be folded
    prefixes      `folded` as each stage has left it, in order
    dark_rate     (ny, nx) dark e-/s between the reads, as it stands at the current stage; 0 before `dark`
    inverse_flat  (ny, nx) 1/flat as applied; 1 before `flat`
    repaired      (ny, nx) bool, masked pixels that are filled in each frame
    planet_id     whose visit it is, where that is known
    qc            numbers of each stage: stage -> name -> value
    checks        numbers that tell whether the visit's maps and background can be right (`qc.distrust`)
    """

    reference: Reference
    exposure_s: Float
    time_h: Float
    wavelength_um: Float
    instrument: Instrument
    pixel_dq: NDArray[np.uint32]
    masked: NDArray[np.bool_]
    telemetry: dict[str, NDArray[Any]] = field(default_factory=dict)
    folded: PixelPolynomial | None = None
    prefixes: list[PixelPolynomial | None] = field(default_factory=list)
    dark_rate: Float = field(init=False)
    inverse_flat: Float = field(init=False)
    repaired: NDArray[np.bool_] = field(init=False)
    planet_id: str = ""
    notes: list[str] = field(default_factory=list)
    qc: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The maps as they are before any stage."""
        shape = self.masked.shape
        self.dark_rate, self.inverse_flat = np.zeros(shape), np.ones(shape)
        self.repaired = np.zeros(shape, np.bool_)

    @property
    def shape(self) -> tuple[int, int]:
        """Detector rows and columns."""
        ny, nx = self.masked.shape
        return ny, nx

    def flag(self, where: NDArray[np.bool_], bits: int) -> None:
        """OR `bits` into `pixel_dq` where `where` (ny, nx) holds."""
        self.pixel_dq |= np.where(where, np.uint32(bits), np.uint32(0))


def raw_tile(raw: NDArray[Any], exposure_s: Float, start: int, *, variance: bool) -> Tile:
    """Raw frames as the tile that the first stage takes; without variance the two variances are zeros that take no memory."""
    nothing = np.broadcast_to(0.0, raw.shape)
    return Tile(raw, exposure_s, nothing, nothing, np.zeros(raw.shape, np.uint8), start, variance)


def cut(tile: Tile, start: int, stop: int) -> Tile:
    """Rows start … stop of a tile, views."""
    part = slice(start, stop)
    return replace(
        tile, values=tile.values[part], exposure_s=tile.exposure_s[part], var_poisson=tile.var_poisson[part],
        var_rnoise=tile.var_rnoise[part], frame_dq=tile.frame_dq[part], start=tile.start + start,
    )  # fmt: skip


def join(parts: list[Tile]) -> Tile:
    """Tiles that follow each other as one."""
    if len(parts) == 1:
        return parts[0]
    values = np.concatenate([p.values for p in parts])
    nothing = np.broadcast_to(0.0, values.shape)
    variance = parts[0].variance
    return Tile(
        values=values,
        exposure_s=np.concatenate([p.exposure_s for p in parts]),
        var_poisson=np.concatenate([p.var_poisson for p in parts]) if variance else nothing,
        var_rnoise=np.concatenate([p.var_rnoise for p in parts]) if variance else nothing,
        frame_dq=np.concatenate([p.frame_dq for p in parts]),
        start=parts[0].start,
        variance=variance,
    )
