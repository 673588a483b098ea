"""What the configs of all stages share: sections, checks of files, soft guards, diagnostics."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from v50calib.array_files import load_map
from v50calib.errors import DataError
from v50calib.kernels.arrays import Float
from v50calib.markup import tree

#: an instrument by name, in a config: built-in ones, all, or one of the root's detector.yaml (checked when the root is known)
InstrumentWord = Literal["all", "FGS1", "AIRS", "AIRS-CH0"] | Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]

Reads = TypeVar("Reads", bound=str)
Writes = TypeVar("Writes", bound=str)


class Section(BaseModel):
    """A config section: unknown keys and wrong types are errors, values never change.

    What a key means is the `description` of its field; docs/reference/config.md is made of these.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def _repr_html_(self) -> str:
        return tree(type(self).__name__, self._shown())

    def _shown(self) -> dict[str, Any]:
        """Values by key; those of fields that are kept out of reprs (keys, a user's shell lines) are masked where they are set."""
        shown: dict[str, Any] = {}
        for name, field_info in type(self).model_fields.items():
            value = getattr(self, name)
            shown[name] = value._shown() if isinstance(value, Section) else value if field_info.repr or not value else "(set, not shown)"
        return shown


class Io(Section, Generic[Reads, Writes]):
    """Variables that a stage reads and writes: `Io[Literal["raw_frames"], Literal["adc_corrected"]]`. A config may only repeat them.

    A stage's own `Io[…]` needs a name at the top of its module: pydantic lets it be pickled only there.
    """

    input_key: Reads = Field(description="variable that the stage reads; no other value is accepted")
    output_key: Writes = Field(description="variable that the stage writes; no other value is accepted")

    @model_validator(mode="before")
    @classmethod
    def _repeated(cls, given: Any) -> Any:
        """What is left out is the one name there is."""
        names = {key: get_args(field.annotation)[0] for key, field in cls.model_fields.items()}
        return names | given if isinstance(given, dict) else given


class Validation(Section):
    """How maps, of the dataset and of files that the config names, are checked before any frame is read."""

    require_existing_paths: bool = Field(
        default=True,
        description="look for the files that the config names when the pipeline is built; false: only when a visit is prepared",
    )
    check_shape_compatibility: bool = Field(
        default=True, description="a map must have the detector's shape; false: one that broadcasts to it is accepted too"
    )
    require_finite_inputs: bool = Field(
        default=False,
        description="true: an input that is not finite (a map, a sum, a light curve) is an error; false: it is flagged or stays NaN",
    )

    def user_map(self, path: str, key: str, shape: tuple[int, ...]) -> Float:
        """A float64 map of `shape` from the file that the config names at `key`. Raises as `array_files.load_map`."""
        exact, finite = self.check_shape_compatibility, self.require_finite_inputs
        return load_map(path, key=key, shape=shape, exact=exact, finite=finite)

    def dataset_map(self, values: NDArray[Any], name: str) -> Float:
        """A float64 copy of one of the dataset's own maps. Raises DataError where it must be finite and is not."""
        out = np.array(values, dtype=np.float64)
        if self.require_finite_inputs and not np.isfinite(out).all():
            raise DataError(
                f"the dataset's map '{name}' has {int((~np.isfinite(out)).sum())} values that are not finite and "
                "validation.require_finite_inputs is on: repair the map, or turn the check off to have such pixels flagged"
            )
        return out


class QualityChecks(Section):
    """Soft guard: bounds of a stage's output on the visit's sample pairs. It never changes data."""

    enabled: bool = Field(default=False, description="measure the stage's output on the visit's sample pairs, which costs a pass over them")
    sampling_fraction: float = Field(
        default=1.0, gt=0, le=1, description="share of the samples (frames; pairs in photometry, trace and phase) that is measured"
    )
    min_samples: int = Field(default=10, ge=1, description="fewer samples than this are not judged")
    action_on_fail: Literal["warn", "error"] = Field(default="warn", description="`warn`: a note in the product; `error`: the visit fails")
    max_nonfinite_fraction: float = Field(default=0.0, ge=0, le=1, description="largest share of usable values that are not finite")

    @property
    def stops(self) -> bool:
        """Whether a broken bound makes the visit fail."""
        return self.action_on_fail == "error"


class Diagnostics(Section):
    """What a stage reports about itself beside its product (`output.diagnostics=false` turns all of it off)."""

    enabled: bool = Field(default=True, description="numbers and flags of the stage in the QC record of a visit")
    save_debug_images: bool = Field(default=False, description="pictures of the pairs `sample_indices` under RUN_DIR/debug, in batch runs")
    export_stats_csv: bool = Field(default=True, description="the same numbers in the run's qc.csv")
    sample_indices: list[int] = Field(default=[0], min_length=1, description="pairs that are drawn, counted from 0")

    @field_validator("sample_indices")
    @classmethod
    def _from_the_start(cls, value: list[int]) -> list[int]:
        if min(value) < 0:
            raise ValueError(f"sample_indices={value}: pairs are counted from 0, leave negative numbers out")
        return value


class Cache(Section):
    """Intermediate frames on disk."""

    write_intermediate: bool = Field(
        default=False, description="keep the stage's own frames in RUN_DIR/intermediate.zarr, in batch runs (large); frame stages only"
    )


class StageConfig(Section):
    """Keys common to every stage."""

    enabled: bool = Field(default=True, description="the stage runs")
    validation: Validation = Validation()
    diagnostics: Diagnostics = Diagnostics()
    cache: Cache = Cache()


class FrameStageConfig(StageConfig):
    """Keys common to the stages that work on frames."""

    assert_finite_output: bool = Field(default=False, description="true: a value that is not finite at a usable pixel is an error")
    quality_checks: QualityChecks = QualityChecks()


class SeriesQualityChecks(QualityChecks):
    """Soft guard on light curves."""

    max_nonfinite_fraction: float = Field(
        default=0.05, ge=0, le=1, description="largest share of samples that are not finite (channels without a usable pixel are NaN)"
    )


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


def needs_its_key(section: Section, chooser: str, choices_by_key: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse a choice without the key that it reads, and such a key without its choice. Raises ValueError.

    chooser         key of the choice, below the section: `method`, `dark_model.method`
    choices_by_key  for each key that some choices read, these choices
    """
    chosen = attrgetter(chooser)(section)
    for key, choices in choices_by_key.items():
        if (chosen in choices) != (attrgetter(key)(section) is not None):
            raise ValueError(f"'{key}' goes with {chooser}={' or '.join(choices)}, and {chooser} is {chosen}: give both or neither")


#: half a pixel's diagonal: a smaller circle may hold no pixel's centre, and covers none whole
PIXEL_RADIUS = 0.71


def cover_a_pixel(least: float, lengths: dict[str, float]) -> None:
    """Raises ValueError where one of these lengths [px], by key, is below `least`.

    >>> cover_a_pixel(0.71, {"aperture.radius_px": 1e-9})
    Traceback (most recent call last):
    ValueError: aperture.radius_px=1e-09 px covers no pixel, whose light it should sum: give 0.71 px at least
    """
    for name, value in lengths.items():
        if value < least:
            raise ValueError(f"{name}={value:g} px covers no pixel, whose light it should sum: give {least:g} px at least")


def in_order(section: Section, low: str, high: str) -> None:
    """Refuse limits that leave nothing between them; null is no limit. Raises ValueError."""
    least, most = getattr(section, low), getattr(section, high)
    if least is not None and most is not None and least >= most:
        raise ValueError(f"{low}={least} must be smaller than {high}={most}")


def ordered_windows(value: list[list[float]], unit: str) -> list[list[float]]:
    """Windows [[from, to], …] as they are. Raises ValueError for one that is no interval."""
    for window in value:
        if len(window) != 2 or not window[0] < window[1]:
            raise ValueError(f"the window {window} is no interval: write windows as [[from, to], …] in {unit}, from < to")
    return value
