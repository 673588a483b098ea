"""The tree of a run's products, which says in a few lines what it holds."""

from __future__ import annotations

from collections import Counter

import xarray as xr

from v50calib.markup import table

#: products that are named, at most
SHOWN = 6


class RunTree(xr.DataTree):  # type: ignore[no-untyped-call]
    """A DataTree that names its first products and counts the others; a product says all of itself, as any DataTree does.

    >>> tree = RunTree.from_dict({f"/{planet}/0/FGS1": xr.Dataset({"white_depth": 0.01}) for planet in range(10, 90)})
    >>> tree
    Calibrated visits: 80 products of 80 planets (80 FGS1)
      /10/0/FGS1
      ...
    tree["PLANET/VISIT/INSTRUMENT"].to_dataset() is one of them
    """

    __slots__ = ()

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
