"""The tree of a run's products, which says in a few lines what it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import xarray as xr

from v50calib.markup import table

#: products that are named, at most
SHOWN = 6


#: where a node of xarray keeps its data: left empty until somebody looks, and then filled by xarray's own method
_DATA = ("_attrs", "_close", "_data_variables", "_encoding", "_node_coord_variables", "_node_dims", "_node_indexes")
#: false with a version of xarray that keeps them elsewhere: everything is opened at once then
LAZY = all(name in xr.DataTree.__slots__ for name in _DATA) and hasattr(xr.DataTree, "_set_node_data")


class RunTree(xr.DataTree):  # type: ignore[no-untyped-call]
    """A DataTree that names its first products and counts the others; a product says all of itself, as any DataTree does.

    >>> tree = RunTree.from_dict({f"/{planet}/0/FGS1": xr.Dataset({"white_depth": 0.01}) for planet in range(10, 90)})
    >>> tree
    Calibrated visits: 80 products of 80 planets (80 FGS1)
      /10/0/FGS1
      ...
    tree["PLANET/VISIT/INSTRUMENT"].to_dataset() is one of them
    """

    __slots__ = ("_opener",)

    @classmethod
    def of(cls, groups: Mapping[str, Callable[[], xr.Dataset]]) -> RunTree:
        """The tree of {path: what opens it}; a group is opened when it is first looked at, because a run has thousands.

        >>> tree = RunTree.of({"/7/0/FGS1": lambda: xr.Dataset({"white_depth": 0.01})})
        >>> float(tree["7/0/FGS1"]["white_depth"])
        0.01
        """
        tree = cls.from_dict({path: None if LAZY else opener() for path, opener in groups.items()})
        for path, opener in groups.items() if LAZY else ():
            leaf = tree[path]
            object.__setattr__(leaf, "_opener", opener)
            for name in _DATA:
                object.__delattr__(leaf, name)
        return tree

    def __getattr__(self, name: str) -> Any:
        # Python asks here for a slot that is empty
        if name == "_opener":
            return None
        if name in _DATA:
            if self._opener is None:
                raise AttributeError(name)
            ds = self._opener()
            object.__setattr__(self, "_opener", None)
            self._set_node_data(ds)
            return object.__getattribute__(self, name)
        return super().__getattr__(name)

    def _paths(self) -> list[str]:
        """Paths of the products below; none of a product itself."""
        return [leaf.path for leaf in self.leaves if leaf.path.count("/") == 3] if self.children else []

    def _counts(self, paths: list[str]) -> str:
        parts = [path.split("/") for path in paths]
        of = ", ".join(f"{n} {name}" for name, n in sorted(Counter(part[3] for part in parts).items()))
        planets = len({part[1] for part in parts})
        return f"Calibrated visits: {len(paths)} products of {planets} planet{'s' if planets != 1 else ''} ({of})"

    def __repr__(self) -> str:  # type: ignore[override]
        paths = self._paths()
        if not paths:
            return super().__repr__()
        more = [f"  … and {len(paths) - SHOWN} more"] if len(paths) > SHOWN else []
        lines = [self._counts(paths), *(f"  {path}" for path in paths[:SHOWN]), *more]
        return "\n".join([*lines, 'tree["PLANET/VISIT/INSTRUMENT"].to_dataset() is one of them'])

    def _repr_html_(self) -> str:
        paths = self._paths()
        if not paths:
            return str(super()._repr_html_())  # type: ignore[no-untyped-call]
        more = f"; {len(paths) - SHOWN} more are not shown" if len(paths) > SHOWN else ""
        return table(("planet", "visit", "instrument"), [tuple(path.split("/")[1:]) for path in paths[:SHOWN]], self._counts(paths) + more)
