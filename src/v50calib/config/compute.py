"""Compute profiles: `compute=slurm` stands for the values of profiles/compute/slurm.yaml under `runtime`.

They replace `compute=` where the user typed it, so that overrides typed after it win. Hydra itself would look for such a
group beside the calibration profile, in calib/compute.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from v50calib.errors import ConfigError

#: what users type before `=`, and the folder of the files
GROUP = "compute"


def list_compute(roots: Sequence[Path]) -> list[str]:
    """Names that `compute=` accepts, sorted; `roots` are the folders of profiles, the user's own first."""
    return sorted({path.stem for root in roots for path in (root / GROUP).glob("*.yaml")})


def expand(name: str, roots: Sequence[Path]) -> list[str]:
    """The overrides that a compute profile stands for, from the first of `roots` that has it.

    Raises ConfigError: no such profile (with the nearest name), or a file that is no tree of keys.
    """
    path = next((root / GROUP / f"{name}.yaml" for root in roots if (root / GROUP / f"{name}.yaml").is_file()), None)
    if path is None or "/" in name:
        known = list_compute(roots)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(
            f"no compute profile '{name}': {hint}there are {', '.join(known)}; an address is tcp://HOST:PORT or tls://HOST:PORT"
        )
    try:
        tree = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, YAMLError, OmegaConfBaseException) as exc:
        raise ConfigError(f"cannot read the compute profile '{path}' ({exc}): write keys of `runtime` as YAML") from exc
    if not isinstance(tree, dict):
        raise ConfigError(f"the compute profile '{path}' is no tree of keys: write keys of `runtime`, e.g. scheduler: local")
    return [f"++{key}={_typed(value)}" for key, value in _leaves(tree, "runtime")]


def _leaves(tree: dict[Any, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}.{name}")
        else:
            yield f"{path}.{name}", value


def _typed(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
