"""The visits of a root as a table."""

from __future__ import annotations

import os

import pandas as pd

from v50calib.io.catalog import open_root
from v50calib.io.keys import normalise_planet_id
from v50calib.io.root import unknown_planet
from v50calib.io.storage.objects import ObjectPath

COLUMNS = ("planet_id", "visit", "instrument", "split")


def visits(root: str | os.PathLike[str] | ObjectPath, planet_id: object = None) -> pd.DataFrame:
    """Every visit of a root, a row for each instrument: planet_id, visit, instrument, split, in the order of their names.

    planet_id: of one planet alone, without a look at the others. No visit is opened: one whose files are damaged is in the table too.
    A row's first three values are what `open_visit` takes. Raises DataError where `root` is none, or has no such planet.

    >>> import tempfile
    >>> from v50calib.simulate import simulate_dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     root = simulate_dataset(folder + "/data", planets=1, frames_fraction=0.002, seed=1)
    ...     print(visits(root).to_string())
      planet_id  visit instrument  split
    0  66029709      0   AIRS-CH0  train
    1  66029709      0       FGS1  train
    """
    where = open_root(root)
    planet = None if planet_id is None else normalise_planet_id(planet_id)
    keys = where.visits(planet)
    if planet is not None and not keys:
        raise unknown_planet(planet, (key.planet_id for key in where.visits()))
    return pd.DataFrame([(key.planet_id, key.visit, key.instrument, key.split) for key in keys], columns=list(COLUMNS))
