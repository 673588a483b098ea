"""Products that are replaced while they are read, as stores for zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zarr.storage import LocalStore, WrapperStore

from v50calib.errors import StoreError
from v50calib.io.storage.location import zarr_source
from v50calib.io.storage.moments import Moment, moment_of
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


class SteadyStore(WrapperStore):  # type: ignore[type-arg]
    """A committed folder as it was when it was opened. Raises StoreError where another is in its place: no reader gets numbers of both."""

    def __init__(self, path: Path, moment: Moment) -> None:
        # absolute: Dask's workers, and who changes the folder, read it later
        self._path, self._moment = path.absolute(), moment
        super().__init__(LocalStore(self._path, read_only=True))

    def __reduce__(self) -> tuple[Any, ...]:
        return SteadyStore, (self._path, self._moment)

    async def get(self, *args: Any, **more: Any) -> Any:
        found = await super().get(*args, **more)
        if moment_of(self._path) != self._moment:
            raise StoreError(f"{self._path} was replaced or removed after it was opened: open it again")
        return found
