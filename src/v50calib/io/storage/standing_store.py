"""A product that is being copied to its place in a bucket, as a store for zarr."""

from __future__ import annotations

from typing import Any

from zarr.storage import WrapperStore

from v50calib.io.storage.location import zarr_source
from v50calib.io.storage.objects import ObjectPath


class StandingStore(WrapperStore):  # type: ignore[type-arg]
    """The objects at `here`; those that are gone are read at `final`, to which they were copied before they were removed."""

    def __init__(self, here: ObjectPath, final: ObjectPath) -> None:
        super().__init__(zarr_source(here))
        self._here, self._final = here, final

    def __reduce__(self) -> tuple[Any, ...]:
        return StandingStore, (self._here, self._final)

    async def get(self, *args: Any, **more: Any) -> Any:
        found = await super().get(*args, **more)
        return found if found is not None else await zarr_source(self._final).get(*args, **more)
