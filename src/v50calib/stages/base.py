"""What a frame stage is: the protocol that the engine works with, and its defaults.

A *frame stage* is static per detector pixel: `prepare` turns the visit's reference maps and the stage's
config into constants once a visit, `apply` runs its kernel on a tile of frames with those constants.
A *series stage* (photometry's light curves, trace, phase) is one function on light curves. The lazy form, the loop over chunks
and the Dask tasks are written once, in `engine` and `runtime`.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from v50calib.stages.config import FrameStageConfig
from v50calib.stages.tile import Tile, VisitState


class Step(NamedTuple):
    """One part of what a stage does to a tile; over_time: it looks at neighbours in time, so it needs the whole tile at once."""

    run: Callable[[Tile, Any], Tile]
    over_time: bool


class FrameStage(Protocol):
    """adc, nonlinearity, dark, flat, cds: constants once a visit, a kernel call on each tile.

    input_key, output_key   variables that the stage reads and writes
    halo            pairs on either side of a chunk that `apply` must see for the chunk's own values to be final; 0 for
                    a stage that treats each frame by itself
    files           config keys (below `calib.`) and the files that they name
    needs_measure   `measure` must see the visit's sample frames before the first `apply`
    prepare         constants of a visit; flags, masks and notes go into the state
    measure         the constants with what the sample frames say
    steps           the parts that `apply` consists of, in order
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


Config = TypeVar("Config", bound=FrameStageConfig)


class PlainStage(Generic[Config]):
    """Defaults of a frame stage: no neighbours in time, no files, nothing measured on frames.

    file_keys  keys of the stage's config that name files
    """

    name: ClassVar[str]
    file_keys: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def halo(self) -> int:
        return 0

    @property
    def files(self) -> dict[str, str | None]:
        return {f"{self.name}.{key}": attrgetter(key)(self.config) for key in self.file_keys}

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
