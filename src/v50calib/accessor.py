"""`ds.v50.plot.white_light()`: the figures of a calibrated visit as methods, on a Dataset and on a node of the tree.

Registered by importing `open_calibrated` or `Pipeline`.

>>> visit = xr.Dataset(attrs={"planet_id": "1103775", "visit": 0, "instrument": "FGS1"})
>>> visit.v50.plot
figures of 1103775/0/FGS1
>>> "white_light" in dir(visit.v50.plot)
True
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import xarray as xr


class Plots:
    """The functions of `v50calib.plot` on one product; without Axes they draw on a new pyplot figure, as xarray's plots do."""

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def __dir__(self) -> list[str]:
        from v50calib import plot

        return [*super().__dir__(), *(name for name in plot.__all__ if name != "frames")]

    def __getattr__(self, name: str) -> Any:
        from v50calib import plot

        if name.startswith("_") or name not in plot.__all__ or name == "frames":
            raise AttributeError(f"no figure '{name}'; there are {', '.join(n for n in plot.__all__ if n != 'frames')}")

        def draw(ax: Any = None, **options: Any) -> Any:
            if ax is None:
                from matplotlib import pyplot

                _, ax = pyplot.subplots(layout="constrained")
            if type(self._ds) is not xr.Dataset:
                # lazy products of a pipeline know their fit once they are computed
                self._ds = self._ds.compute()
            return getattr(plot, name)(self._ds, ax, **options)

        draw.__doc__ = getattr(plot, name).__doc__
        return draw

    def __repr__(self) -> str:
        attrs = self._ds.attrs
        return f"figures of {attrs.get('planet_id', '?')}/{attrs.get('visit', '?')}/{attrs.get('instrument', '?')}"


class Accessor:
    """The attribute `v50` of a Dataset or a node."""

    def __init__(self, node: xr.Dataset | xr.DataTree) -> None:
        self._node = node

    @cached_property
    def plot(self) -> Plots:
        """The figures of this product."""
        return Plots(self._node.to_dataset() if isinstance(self._node, xr.DataTree) else self._node)


xr.register_dataset_accessor("v50")(Accessor)  # type: ignore[no-untyped-call]
xr.register_datatree_accessor("v50")(Accessor)  # type: ignore[no-untyped-call]
