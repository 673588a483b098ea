"""What every stage shares: the config base, the tile a frame stage works on, and the two protocols.

A *frame stage* is static per detector pixel: `prepare` turns the visit's reference maps and the stage's
config into constants once a visit, `apply` runs its kernel on a tile of frames with those constants.
A *series stage* is one function on light curves. The lazy wrapper, the tile loop and the Dask tasks
are written once, in `tiles.py` and `pipeline.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from v50calib.errors import DataError
from v50calib.markup import tree
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

    def _repr_html_(self) -> str:
        return tree(type(self).__name__, self._shown())

    def _shown(self) -> dict[str, Any]:
        """Values by key; those of fields that are kept out of reprs (keys, a user's shell lines) are masked where they are set."""
        told: dict[str, Any] = {}
        for name, field_info in type(self).model_fields.items():
            value = getattr(self, name)
            told[name] = value._shown() if isinstance(value, Section) else value if field_info.repr or not value else "(set, not shown)"
        return told


class Validation(Section):
    """How files named in the config are looked at, before any frame is read.

    require_existing_paths     looked for when the pipeline is built; false: only where the visit is prepared
                               (a path that exists on the workers alone). Missing there is an error either way
    check_shape_compatibility  a map has the detector's shape; false: one that broadcasts to it is taken too
    require_finite_inputs      a map that is not finite everywhere is an error; false: such pixels are flagged
    """

    require_existing_paths: bool = True
    check_shape_compatibility: bool = True
    require_finite_inputs: bool = False

    def dataset_map(self, values: NDArray[Any], name: str) -> Float:
        """A copy of one of the dataset's own maps. Raises DataError where it must be finite and is not."""
        out = np.array(values, dtype=np.float64)
        if self.require_finite_inputs and not np.isfinite(out).all():
            raise DataError(
                f"the dataset's map '{name}' has {int((~np.isfinite(out)).sum())} values that are not finite and "
                "validation.require_finite_inputs is on: repair the map, or turn the check off to have such pixels flagged"
            )
        return out


class QualityChecks(Section):
    """Soft guard: measures a stage's output on the visit's sample pairs, never changes data."""

    enabled: bool = False
    sampling_fraction: float = Field(default=1.0, gt=0, le=1)
    min_samples: int = Field(default=10, ge=1)
    action_on_fail: Literal["warn", "error"] = "warn"
    max_nonfinite_fraction: float = Field(default=0.0, ge=0, le=1)


class Diagnostics(Section):
    """What a stage tells about itself beside its product (`output.diagnostics=false` turns all of it off).

    enabled            numbers and flags of the stage in the QC record of a visit
    export_stats_csv   and in the run's qc.csv
    save_debug_images  pictures of the pairs sample_indices under RUN_DIR/debug, in batch runs
    """

    enabled: bool = True
    save_debug_images: bool = False
    export_stats_csv: bool = True
    sample_indices: list[int] = Field(default=[0], min_length=1)

    @field_validator("sample_indices")
    @classmethod
    def _from_the_start(cls, value: list[int]) -> list[int]:
        if min(value) < 0:
            raise ValueError(f"sample_indices={value} counts pairs from 0: leave negative numbers out")
        return value


class Cache(Section):
    """write_intermediate: keep the stage's own frames in RUN_DIR/intermediate.zarr, in batch runs."""

    write_intermediate: bool = False


class StageConfig(Section):
    """Keys common to every stage."""

    enabled: bool = True
    validation: Validation = Validation()
    diagnostics: Diagnostics = Diagnostics()
    cache: Cache = Cache()


class FrameStageConfig(StageConfig):
    """Keys common to the stages that work on frames.

    assert_finite_output: a value that is not finite at a usable pixel is an error, not a number in a product
    """

    assert_finite_output: bool = False
    quality_checks: QualityChecks = QualityChecks()


class SeriesStageConfig(StageConfig):
    """Keys common to the stages that work on light curves. Their whole output is the product itself."""

    @field_validator("cache")
    @classmethod
    def _no_intermediate(cls, value: Cache) -> Cache:
        if value.write_intermediate:
            raise ValueError(
                "write_intermediate keeps frames, and this stage's whole output is in the product already: leave it false here"
            )
        return value


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
    qc            numbers of each stage: stage -> name -> value
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
    notes: list[str] = field(default_factory=list)
    qc: dict[str, dict[str, Any]] = field(default_factory=dict)

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


class Step(NamedTuple):
    """One part of a stage's work on a tile; over_time: it looks at neighbours in time, so it needs the whole tile at once."""

    run: Callable[[Tile, Any], Tile]
    over_time: bool


class FrameStage(Protocol):
    """adc, nonlinearity, dark, flat, cds: constants once a visit, a kernel call on each tile.

    steps  the parts that `apply` consists of, in order

    halo   pairs on either side of a chunk that `apply` must see for the chunk's own values to be final; 0 for
           a stage that treats each frame by itself
    files  config keys (below `calib.`) and the files that they name
    needs_measure   `measure` must see the visit's sample frames before the first `apply`
    inspect         numbers for `state.qc` and broken bounds, from the stage's output on the sample frames
    """

    name: ClassVar[str]
    input_key: ClassVar[str]
    output_key: ClassVar[str]

    @property
    def config(self) -> FrameStageConfig: ...
    @property
    def halo(self) -> int: ...
    @property
    def files(self) -> dict[str, str | None]: ...
    @property
    def needs_measure(self) -> bool: ...
    def prepare(self, state: VisitState) -> Any: ...
    def measure(self, tiles: list[Tile], constants: Any, state: VisitState) -> Any: ...
    def steps(self) -> list[Step]: ...
    def apply(self, tile: Tile, constants: Any) -> Tile: ...
    def inspect(self, tiles: list[Tile], constants: Any, state: VisitState) -> tuple[dict[str, Any], list[str]]: ...


class PlainStage:
    """Defaults of a frame stage: no neighbours in time, no files, nothing measured on frames."""

    @property
    def halo(self) -> int:
        return 0

    @property
    def files(self) -> dict[str, str | None]:
        return {}

    @property
    def needs_measure(self) -> bool:
        return False

    def steps(self) -> list[Step]:
        """A stage that treats each frame by itself is one step."""
        return [Step(self.apply, False)]

    def apply(self, tile: Tile, constants: Any) -> Tile:
        """All steps in order."""
        for step in self.steps():
            tile = step.run(tile, constants)
        return tile

    def measure(self, tiles: list[Tile], constants: Any, state: VisitState) -> Any:
        """Constants with what the sample frames (as they enter the stage) say; here unchanged."""
        return constants

    def inspect(self, tiles: list[Tile], constants: Any, state: VisitState) -> tuple[dict[str, Any], list[str]]:
        """The stage's own numbers on its sample output, and what exceeds its bounds (`quality_checks`)."""
        return {}, []
