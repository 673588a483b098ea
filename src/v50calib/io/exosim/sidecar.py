"""`exosim.yaml`: what a user says of simulations besides what ExoSim wrote; optional."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from v50calib.array_files import refuse_special
from v50calib.errors import DataError
from v50calib.io.keys import Split
from v50calib.untrusted.boundary import foreign
from v50calib.untrusted.yaml_text import load_yaml

FILE = "exosim.yaml"
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Named(_Model):
    """What one file is: planet, visit, split, and star parameters that ExoSim's configuration has not."""

    planet_id: str | int | None = None
    visit: int | None = Field(default=None, ge=0)
    split: Split = "train"
    star: dict[Literal["Rs", "Ms", "Ts", "Mp", "e", "P", "sma", "i"], Number] = {}


class Sidecar(_Model):
    """reads: what is made of ramps of more than two reads; visits: by file, relative to the root."""

    reads: Literal["first_and_last"] | None = None
    visits: dict[str, Named] = {}


def read_sidecar(folder: Path) -> Sidecar:
    """The folder's `exosim.yaml`; empty where there is none. Raises DataError naming the key that is wrong."""
    path = folder / FILE
    if not path.exists():
        return Sidecar()
    refuse_special(path)
    with foreign(path):
        status = path.stat()
    return _read(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _read(path: str, _mtime: int, _size: int) -> Sidecar:
    with foreign(path, remedy="see docs/other-detectors.md"):
        try:
            return Sidecar.model_validate(load_yaml(Path(path).read_text(encoding="utf-8")) or {})
        except yaml.YAMLError as error:
            raise DataError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
        except ValidationError as error:
            faults = [f"{'.'.join(map(str, one['loc']))} is {one['input']!r}: {one['msg']}" for one in error.errors(include_url=False)]
            raise DataError(f"{path}: {'; '.join(faults)}. See docs/other-detectors.md") from error
