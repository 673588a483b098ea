"""`detector.yaml`: read, validated with faults named by their key, its paths resolved and checked."""

from __future__ import annotations

import difflib
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from v50calib.array_files import FORMATS, ArrayFile, file_kind, refuse_special
from v50calib.array_files.series import Series, is_series
from v50calib.errors import DataError, V50CalibError
from v50calib.io.detector_yaml.model import Adc, Channel, Description, Detector, Maps, Validation, Visit
from v50calib.untrusted.boundary import foreign
from v50calib.untrusted.yaml_text import RefusedYaml, load_yaml

#: the file that makes a folder a root of this kind
DETECTOR_FILE = "detector.yaml"


def load_description(root: Path) -> Description:
    """The validated `detector.yaml` of a root; read once per version of the file. Raises DataError naming the key."""
    path = root / DETECTOR_FILE
    with foreign(path):
        status = path.stat()
    return _load(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _load(path: str, _mtime: int, _size: int) -> Description:
    refuse_special(Path(path))
    with foreign(path, remedy="see docs/other-detectors.md"):
        return _validated(path)


def _validated(path: str) -> Description:
    try:
        content = load_yaml(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        fault = "cannot be taken" if isinstance(error, RefusedYaml) else "is not YAML"
        raise DataError(f"{path} {fault}: {' '.join(str(error).split())}") from error
    try:
        return Description.model_validate(content)
    except ValidationError as error:
        faults = dict.fromkeys(_sentence(item) for item in error.errors(include_url=False))
        raise DataError(f"{path}: " + "; ".join(faults) + ". See docs/other-detectors.md") from error


def _sentence(item: Any) -> str:
    """One fault with its YAML path."""
    parts = [p for p in item["loc"] if isinstance(p, int) or not (p in ("float", "str", "int") or "[" in p or p.startswith("function-"))]
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts).lstrip(".") or "the file"
    if item["type"] == "missing":
        return f"{where} is missing"
    if item["type"] == "extra_forbidden":
        known = {name for model in (Description, Detector, Channel, Adc, Maps, Visit, Validation) for name in model.model_fields}
        near = difflib.get_close_matches(str(parts[-1]), sorted(known), n=1)
        return f"unknown key {where}" + (f": did you mean {near[0]}?" if near else "")
    if item["type"] == "value_error":
        return f"{item['ctx']['error']}" if where == "the file" else f"{where}: {item['ctx']['error']}"
    return f"{where} is {item['input']!r}: {item['msg'][:1].lower()}{item['msg'][1:]}"


def array_file(root: Path, text: str) -> ArrayFile | Series:
    """The array that a path of the file names, relative to `root`: FILE or FILE::NAME (FILE:NAME is read as well), or a pattern of files.

    Raises DataError for a path that is none of a file that can be read.
    """
    file, name = text, None
    separator = "::" if "::" in text else ":"
    if separator in text and not (root / text).exists():
        file, _, name = text.rpartition(separator)
    path = root / file
    if is_series(path) and not path.exists():
        return Series(path, name)
    kind = file_kind(path)
    if kind is None:
        fault = f"is none of {FORMATS}" if path.exists() else "is no file"
        raise DataError(
            f"'{text}' in detector.yaml {fault} ({path}): give the path of an array, FILE::NAME inside a Zarr group or NetCDF file"
        )
    return ArrayFile(path, name, kind)


def check_paths(root: Path, description: Description) -> None:
    """Every path of the root is there. Raises DataError naming the first ones that are not."""
    faults: dict[str, None] = {}
    for text in dict.fromkeys(t for visit in description.visits for t in description.paths_of(visit)):
        try:
            file = array_file(root, text)
            if isinstance(file, Series):
                file.files()
        except V50CalibError as error:
            faults[str(error)] = None
            continue
        if isinstance(file, ArrayFile) and not file.path.exists():
            faults[f"'{text}' in detector.yaml is no file ({file.path})"] = None
    if faults:
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise DataError(
            "; ".join(list(faults)[:3])
            + more
            + ". Correct them, or set validation.require_existing_paths: false to let these visits fail alone"
        )
