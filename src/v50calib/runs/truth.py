"""True depths of a run's planets: of a simulated dataset's truth.json, or of a table of spectra, the challenge's train.csv."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from v50calib.errors import DataError
from v50calib.io.storage.location import Location
from v50calib.kernels.arrays import Float
from v50calib.qc.summary import FILE, load_spectra, load_truth
from v50calib.runs.product import product_arrays
from v50calib.schema import CHANNELS
from v50calib.uncertainty.tables import FORMATS, read_truth

#: the table of a challenge's folder
TABLE = "train.csv"


@dataclass(frozen=True)
class TrueDepths:
    """spectra {planet: (283,)}; white {(planet, visit, instrument): depth} where the truth says those itself; notes of rows left out."""

    spectra: Mapping[str, Float] = field(default_factory=dict)
    white: Mapping[tuple[str, int, str], float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def white_depth(self, planet: str, visit: int, instrument: str, product: Location | None) -> float:
        """The true depth of white light; of a spectrum the mean of its channels, weighted with their light. NaN where it is not known."""
        key = (planet, visit, instrument)
        if key in self.white:
            return self.white[key]
        own = CHANNELS.get(instrument)
        if own is None or planet not in self.spectra:
            return float("nan")
        depth = self.spectra[planet][own]
        if depth.size == 1:
            return float(depth[0])
        weight = _light(product, depth.size)
        return float(np.average(depth, weights=weight)) if weight is not None else float("nan")

    def refuse_strangers(self, planets: Iterable[str]) -> None:
        """Raises DataError where the truth holds none of a run's planets."""
        run = set(planets)
        known = set(self.spectra) | {key[0] for key in self.white}
        if run and not run & known:
            raise DataError(
                f"the truth holds none of this run's {len(run)} planets (it has {len(known)}, {min(known)} for one): give that of the "
                "run's own dataset"
            )


def read_depths(where: Location | None) -> TrueDepths:
    """The truth at a location: a folder with truth.json (simulated) or train.csv, or a table of spectra. Raises DataError."""
    if where is None:
        return TrueDepths()
    if where.name.endswith((*FORMATS, ".gz")) or where.is_file():
        return _table(where)
    if (where / FILE).is_file():
        return TrueDepths(load_spectra(where), load_truth(where))
    if (where / TABLE).is_file():
        return _table(where / TABLE)
    looked = f"looked in {where.absolute()}" if isinstance(where, Path) else f"looked below {where}"
    raise DataError(
        f"'{where}' has no {FILE} and no {TABLE} ({looked}): --truth takes train.csv, a folder that holds it, or a simulated dataset"
    )


def _table(where: Location) -> TrueDepths:
    if not isinstance(where, Path):
        raise DataError(f"'{where}' is in an object store: copy the table of truth to a local file and name that")
    truth = read_truth(where)
    return TrueDepths(dict(zip(truth.ids, truth.y, strict=True)), {}, truth.notes)


def _light(product: Location | None, channels: int) -> Float | None:
    """What share of the light each channel has, as far as a product says it: of its curves, or by their noise, which is that of the light.
    None where it says nothing."""
    if product is None:
        return None
    have = product_arrays(product, ("photometry", "fit_sigma"))
    with np.errstate(invalid="ignore", divide="ignore"):
        if "photometry" in have:
            light = np.nanmean(np.asarray(have["photometry"], np.float64), axis=0)
        elif "fit_sigma" in have:
            light = (1.0 / np.square(np.asarray(have["fit_sigma"], np.float64))).sum(axis=0)
        else:
            deviation = product_arrays(product, ("transit_depth_sigma",)).get("transit_depth_sigma")
            light = np.zeros(0) if deviation is None else 1.0 / np.square(np.asarray(deviation, np.float64))
    light = np.where(np.isfinite(light) & (light > 0), light, 0.0)
    return light if light.size == channels and light.any() else None
