"""What the config of every stage shares: sections, checks of files, soft guards, diagnostics."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from v50calib.errors import DataError
from v50calib.kernels.arrays import Float
from v50calib.markup import tree

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


def needs_its_key(section: Any, needs: dict[str, str], methods: str = "method") -> None:
    """Refuse a method without the key that it reads, and such a key without its method. Raises ValueError."""
    chosen = getattr(section, methods)
    for method, key in needs.items():
        if (chosen == method) != (getattr(section, key) is not None):
            raise ValueError(f"'{key}' goes with {methods}={method}, and {methods} is {chosen}: give both or neither")


def ordered_windows(value: list[list[float]], unit: str) -> list[list[float]]:
    """Windows [[from, to], …] as they are. Raises ValueError for one that is no interval."""
    for window in value:
        if len(window) != 2 or not window[0] < window[1]:
            raise ValueError(f"the window {window} is no interval: write windows as [[from, to], …] in {unit}, from < to")
    return value
