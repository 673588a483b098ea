"""What was run on what: config hash, reference hashes, versions."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import Any

from v50calib.array_files import split_name
from v50calib.config.models import CalibConfig, RunConfig
from v50calib.config.redact import redact_config, secret_values
from v50calib.methods.kinds import KINDS
from v50calib.methods.registry import Method, method_of

PACKAGES = ("v50calib", "numpy", "scipy", "xarray", "zarr", "dask", "numba", "pyarrow")


def config_hash(config: RunConfig) -> str:
    """sha256 of what decides the numbers: `calib` and `output` with the contents of the maps and the sources of the registered methods that
    they name, never `runtime`.

    >>> config_hash(RunConfig()) == config_hash(RunConfig.model_validate({"runtime": {"num_workers": 3}}))
    True
    """
    maps, methods = map_hashes(config), [method.identity for method in _methods_of(config.calib)]
    text = decisive(config) + "".join(json.dumps(part, sort_keys=True) for part in (maps, methods) if part)
    base = hashlib.sha256(text.encode()).hexdigest()
    own = {name: found for name, found in own_hashes(config).items() if found != base}
    return hashlib.sha256((base + json.dumps(own, sort_keys=True)).encode()).hexdigest() if own else base


def own_hashes(config: RunConfig) -> dict[str, str]:
    """Hash of what decides the numbers of each instrument that has keys of its own: that of its products.

    >>> config = RunConfig.model_validate({"fgs1": {"flat": {"enabled": False}}})
    >>> own_hashes(config)["FGS1"] == config_hash(config.of("FGS1"))
    True
    """
    return {name: config_hash(config.of(name)) for name in config.by_instrument}


def methods_of(config: RunConfig) -> list[Method]:
    """The registered methods that a config names, for any instrument. Raises ConfigError where one is not known in this process.

    >>> methods_of(RunConfig())
    []
    """
    every = (config, *map(config.of, config.by_instrument))
    return list({(m.kind, m.name): m for one in every for m in _methods_of(one.calib)}.values())


def _methods_of(calib: CalibConfig) -> list[Method]:
    chosen = {kind: attrgetter(KINDS[kind].key)(calib) for kind in KINDS}
    return [method_of(kind, name) for kind, name in chosen.items() if name not in KINDS[kind].builtin]


def map_hashes(config: RunConfig) -> dict[str, str]:
    """{config key: sha256 of the file or folder it names} of the user's own maps.

    Left out are files that do not exist (the pipeline refuses them) and those of a stage with require_existing_paths=false:
    only the workers have them, and driver and workers must agree on the hash.
    """
    found = {}
    for name, stage in config.calib.stages():
        if stage.validation.require_existing_paths:
            for key, text in _paths(stage.model_dump(mode="json"), f"calib.{name}"):
                file = split_name(text)[0]
                if file.exists():
                    found[key] = _content_hash(file, _stamp(file))
    return found


def _paths(tree: Any, above: str) -> Iterator[tuple[str, str]]:
    """Keys that name files (`path`, `…_path`, `file`) and are given."""
    for name, value in tree.items() if isinstance(tree, dict) else ():
        if isinstance(value, str) and (name in ("path", "file") or name.endswith("_path")):
            yield f"{above}.{name}", value
        else:
            yield from _paths(value, f"{above}.{name}")


def _files(location: Path) -> list[Path]:
    return sorted(p for p in location.rglob("*") if p.is_file()) if location.is_dir() else [location]


def _stamp(location: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of change: while they stand, a content is hashed once a process."""
    return tuple((str(p.relative_to(location)), p.stat().st_size, p.stat().st_mtime_ns) for p in _files(location))


@lru_cache(maxsize=64)
def _content_hash(location: Path, stamp: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, size, _ in stamp:
        digest.update(f"{name}:{size}:".encode())
        digest.update((location / name).read_bytes() if location.is_dir() else location.read_bytes())
    return digest.hexdigest()


def decisive(config: RunConfig) -> str:
    """JSON of the config's parts that decide a product's numbers: the same on any scheduler, in any layout of files, and whatever is made
    of predictions."""
    stages = {name: stage.model_dump(mode="json") for name, stage in config.calib.stages()}
    return json.dumps({"calib": stages, "output": config.output.model_dump(mode="json", exclude={"layout"})}, sort_keys=True)


@cache
def versions() -> dict[str, str]:
    """Versions of the packages that touch the numbers."""
    return {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}


def product_attrs(config: RunConfig, visit_attrs: dict[str, Any], reference_hashes: dict[str, str]) -> dict[str, Any]:
    """Attributes written into a product: who it is of and what made it, secrets masked. No time stamps, no paths."""
    methods = [method.identity for method in methods_of(config)]
    return {
        **visit_attrs,
        **({"methods": json.dumps(methods, sort_keys=True)} if methods else {}),
        "config": _masked(decisive(config), tuple(secret_values())),
        "config_hash": config_hash(config),
        "reference_hashes": json.dumps(reference_hashes, sort_keys=True),
        "versions": json.dumps(versions(), sort_keys=True),
    }


@lru_cache(maxsize=8)
def _masked(text: str, secrets: tuple[str, ...]) -> str:
    """`redact_config` of a JSON text: of every product of a run the same."""
    return json.dumps(redact_config(json.loads(text), secrets), sort_keys=True)
