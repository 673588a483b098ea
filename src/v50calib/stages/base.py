"""What every stage shares: the config base, the tile a frame stage works on, and the two protocols.

A *frame stage* is static per detector pixel: `prepare` turns the visit's reference maps and the stage's
config into constants once a visit, `apply` runs its kernel on a tile of frames with those constants.
A *series stage* is one function on light curves. The lazy wrapper, the tile loop and the Dask tasks
are written once, in `tiles.py` and `pipeline.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol

from v50calib.stages.config import FrameStageConfig
from v50calib.stages.tile import Tile, VisitState


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
