"""What every stage shares: the config base, the tile a frame stage works on, and the two protocols.

A *frame stage* is static per detector pixel: `prepare` turns the visit's reference maps and the stage's
config into constants once a visit, `apply` runs its kernel on a tile of frames with those constants.
A *series stage* is one function on light curves. The lazy wrapper, the tile loop and the Dask tasks
are written once, in `tiles.py` and `pipeline.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from v50calib.reference import Reference
from v50calib.schema import Instrument

Float = NDArray[np.float64]
#: series as stored, float32 unless output.dtype says otherwise; arithmetic on them is float64
Real = NDArray[np.floating]
#: an instrument by name, in a config: built-in ones, all, or one of the root's detector.yaml (checked when the root is known)
InstrumentWord = Literal["all", "FGS1", "AIRS", "AIRS-CH0"] | Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class Section(BaseModel):
    """A config section: unknown keys and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StageConfig(Section):
    """Keys common to every stage."""

    enabled: bool = True


@dataclass
class Tile:
    """A run of consecutive frames (even count: whole ramps) on its way through the frame stages.

    values       (n, ny, nx) float64: frames up to `flat`, CDS differences after `cds`; e- once past `adc`
    exposure_s   (n,) time since reset of each frame (after `cds`: of the second minus the first read)
    var_poisson  (n, ny, nx) photon variance [e-²] of `values`
    var_rnoise   (n, ny, nx) read-noise variance [e-²] of `values`
    frame_dq     (n, ny, nx) uint8 sample flags
    """

    values: Float
    exposure_s: Float
    var_poisson: Float
    var_rnoise: Float
    frame_dq: NDArray[np.uint8]


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

    pixel_dq  (ny, nx) uint32, OR-ed by the stages
    masked    (ny, nx) bool, pixels whose values no sum may use (NaN in the cubes)
    folded    the frame value as a polynomial of the raw ADU, so far; None once a stage cannot be folded
    telemetry (time,) arrays by name, e.g. a detector temperature; empty where the visit has none
    """

    reference: Reference
    exposure_s: Float
    time_h: Float
    wavelength_um: Float
    instrument: Instrument
    pixel_dq: NDArray[np.uint32]
    masked: NDArray[np.bool_]
    folded: PixelPolynomial | None = None
    notes: list[str] = field(default_factory=list)
    telemetry: dict[str, Float] = field(default_factory=dict)


class FrameStage(Protocol):
    """adc, nonlinearity, dark, flat, cds: constants once a visit, a kernel call on each tile."""

    name: ClassVar[str]
    input_key: ClassVar[str]
    output_key: ClassVar[str]

    def prepare(self, state: VisitState) -> Any: ...
    def apply(self, tile: Tile, constants: Any) -> Tile: ...
