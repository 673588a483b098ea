"""Hydra composition: profile name + overrides -> a plain dict. No other module uses Hydra; pydantic validates.

Hydra keeps one global state per process, so composing happens under a lock that restores the Hydra application
that was active around it, if any. Workers get the validated model, nothing of Hydra.

The composed tree accepts any key: the config models alone say what a key may be. So a key that is in a model but not in
the YAML needs no `+`, and an unknown one is reported with its YAML path.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from v50calib.config.compute import GROUP, expand
from v50calib.config.instruments import SECTIONS
from v50calib.config.interpolations import refuse_interpolation_bombs
from v50calib.config.models import CalibConfig
from v50calib.config.syntax import fault_of, not_composed
from v50calib.errors import ConfigError
from v50calib.untrusted.boundary import foreign
from v50calib.untrusted.yaml_text import RefusedYaml, refuse_bombs

#: short keys that users may type -> keys of the composed tree
ALIASES: dict[str, str] = {
    "corel": "calib.top_level_calib.corel",
    **{name: section for section, full in SECTIONS.items() for name in (section.upper(), full)},
    **{f"{tree}.cds.mode": f"{tree}.cds.cds.mode" for tree in ("calib", *SECTIONS)},
}

#: parts that profiles are made of: a file for each section of `calib`
STAGE_FILES = tuple(CalibConfig.model_fields)

#: characters and brackets of an override: the parser takes a minute for 100 kB, and follows every bracket
_LONGEST, _DEEPEST = 20_000, 100
_LOCK = threading.RLock()
_PROFILE_HEAD = re.compile(r"^(defaults|calib|fgs1|airs|instruments):", re.MULTILINE)


def profiles_dir() -> Path:
    """Folder of the shipped profiles: inside the installed package, else at the top of the checkout.

    Raises ConfigError where neither is there (a damaged installation).
    """
    package = Path(__file__).resolve().parents[1]
    candidates = (package / "profiles", package.parents[1] / "profiles")
    for candidate in candidates:
        if (candidate / "calib").is_dir():
            return candidate
    raise ConfigError(
        f"the profiles shipped with v50calib are missing: looked in {' and '.join(map(str, candidates))}; "
        "install the package again, or run from a complete checkout"
    )


def list_profiles(config_dir: Path | None = None) -> list[str]:
    """Names that `--config-name` accepts, as `folder/name`, sorted; the user's folder included.

    >>> list_profiles()
    ['calib/fast', 'calib/nominal', 'calib/official', 'calib/strict']
    """
    names: set[str] = set()
    for root in _search_path(config_dir):
        for path in root.rglob("*.yaml"):
            name = path.relative_to(root).with_suffix("").as_posix()
            if not _is_stage_file(name) and _PROFILE_HEAD.search(path.read_text(encoding="utf-8")):
                names.add(name)
    return sorted(names)


def profile_name(name: str, config_dir: Path | None = None) -> str:
    """A profile's full name for what was typed: a shipped profile needs no `calib/` before it.

    >>> profile_name("fast"), profile_name("calib/fast"), profile_name("mine")
    ('calib/fast', 'calib/fast', 'mine')
    """
    name = name.removesuffix(".yaml")
    known = list_profiles(config_dir)
    return f"calib/{name}" if name not in known and f"calib/{name}" in known else name


def compose(config_name: str, overrides: Sequence[str] = (), config_dir: Path | None = None) -> dict[str, Any]:
    """Compose a profile with overrides into nested plain dicts and lists, interpolations resolved.

    config_name  e.g. "calib/nominal"; overrides as typed, e.g. "calib.photometry.aperture.radius_px=8";
    config_dir   a user's own folder of profiles, searched before the shipped ones: a profile found there takes
                 its parts from there first, and a shipped profile keeps its own parts.

    Raises ConfigError: unknown profile (with the nearest names), malformed override, interpolation that
    cannot be resolved, a value left at `???`. Thread-safe.

    >>> compose("calib/fast", ["calib.cds.mode=frame_diff"])["calib"]["cds"]["cds"]
    {'mode': 'frame_diff'}
    """
    with _files_of(config_name, config_dir):
        cfg = _compose(config_name, overrides, config_dir)
        try:
            plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as exc:
            raise ConfigError(_unresolved(config_name, exc)) from exc
        assert isinstance(plain, dict)
        return {str(key): value for key, value in plain.items()}


def compose_yaml(config_name: str, overrides: Sequence[str] = (), config_dir: Path | None = None, *, resolve: bool = True) -> str:
    """The composed config as YAML text, what `--cfg job [--resolve]` prints. Raises ConfigError as `compose` does."""
    with _files_of(config_name, config_dir):
        cfg = _compose(config_name, overrides, config_dir)
        try:
            return OmegaConf.to_yaml(cfg, resolve=resolve)
        except OmegaConfBaseException as exc:
            raise ConfigError(_unresolved(config_name, exc)) from exc


def _files_of(config_name: str, config_dir: Path | None) -> AbstractContextManager[None]:
    """Around all reading of profiles: a user's YAML may hold anything. Raises ConfigError."""
    where = f" in {config_dir}" if config_dir is not None else ""
    return foreign(
        f"profile '{config_name}'{where}", "cannot be composed", "look at its YAML, and at that of its parts and of the profiles beside it",
        kind=ConfigError,
    )  # fmt: skip


def _compose(config_name: str, overrides: Sequence[str], config_dir: Path | None) -> DictConfig:
    name = config_name.removesuffix(".yaml")
    roots = _search_path(config_dir)
    _check_profile(name, roots, config_dir)
    if config_dir is not None:
        _refuse_bombs(roots[0], name)
    # Hydra looks for the profile itself in the first folder only; the others complete its defaults list
    roots.sort(key=lambda root: not (root / f"{name}.yaml").is_file())
    parsed = _parse(overrides)
    prepared = [text for one in parsed for text in _prepared(one, roots)]
    prepared.extend(f"hydra.searchpath=[{_quoted(f'file://{root}')}]" for root in roots[1:])
    with _LOCK:
        # GlobalHydra is one object for the process: an application around us must find its own state again
        outer = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(config_dir=str(roots[0]), job_name="v50calib", version_base="1.3"):
                composed = hydra_compose(config_name=name, overrides=prepared)
        except (HydraException, OmegaConfBaseException, ValueError, YAMLError, RecursionError) as exc:
            raise ConfigError(_not_composed(name, overrides, exc)) from exc
        finally:
            GlobalHydra.instance().hydra = outer
    for text, one in zip(overrides, parsed, strict=True):
        _refuse_what_does_nothing(text, one)
    refuse_interpolation_bombs(composed, config_name)
    return composed


def _quoted(text: str) -> str:
    r"""A value for Hydra's parser, whatever is in it: only backslashes before a quote count as escapes.

    >>> print(_quoted("file:///it's mine"))
    'file:///it\'s mine'
    """
    inner = re.sub(r"(\\*)(')", lambda m: m[1] * 2 + "\\'", text)
    return "'" + re.sub(r"(\\+)$", r"\1\1", inner) + "'"


def _search_path(config_dir: Path | None) -> list[Path]:
    """Folders in the order they are searched."""
    if config_dir is None:
        return [profiles_dir()]
    folder = Path(os.path.expanduser(config_dir)).resolve()  # noqa: PTH111 - Path.expanduser raises where there is no such home
    if not folder.is_dir():
        raise ConfigError(f"--config-dir {config_dir} is not a folder; give the folder that holds your profiles")
    return [folder, profiles_dir()]


def _refuse_bombs(folder: Path, name: str) -> None:
    """Refuse a user's profile, or a part that it may name, whose aliases stand for a huge tree: Hydra writes them all out. Raises
    ConfigError."""
    for path in dict.fromkeys((folder / f"{name}.yaml", *folder.glob("*.yaml"), *folder.glob("*/*.yaml"))):
        try:
            refuse_bombs(path.read_text(encoding="utf-8"))
        except RefusedYaml as exc:
            raise ConfigError(f"'{path}' cannot be taken: {exc}") from exc
        except (OSError, ValueError, YAMLError):
            # told by Hydra, where it is a part of the profile
            continue


def _is_stage_file(name: str) -> bool:
    return name.removeprefix("calib/") in STAGE_FILES


def _check_profile(name: str, roots: Sequence[Path], config_dir: Path | None) -> None:
    found = any((root / f"{name}.yaml").is_file() for root in roots)
    if found and not _is_stage_file(name):
        return
    known = list_profiles(config_dir)
    if found:
        raise ConfigError(f"'{name}' is one stage's file, not a profile; the profiles are: {', '.join(known)}")
    short = {profile.rpartition("/")[2]: profile for profile in known}
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.6) or [
        short[match] for match in difflib.get_close_matches(name.rpartition("/")[2], short, n=2, cutoff=0.6)
    ]
    hint = f"did you mean {' or '.join(repr(match) for match in near)}? " if near else ""
    where = " or ".join(str(root) for root in roots)
    raise ConfigError(f"no profile '{name}' in {where}; {hint}the profiles are: {', '.join(known)}")


def _parse(overrides: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        if max(map(text.count, "[{(")) > _DEEPEST or len(text) > _LONGEST:
            raise ConfigError(
                f"'{text[:40]}…' has {len(text)} characters and {max(map(text.count, '[{('))} brackets of a kind: an override has at most "
                f"{_LONGEST} and {_DEEPEST}; put it into a profile of your own (--config-dir)"
            )
        try:
            override = parser.parse_override(text)
        except HydraException as exc:
            raise ConfigError(
                f"'{text}' cannot be read as an override ({fault_of(text)}); write key=value, for example "
                "calib.photometry.aperture.radius_px=8; a list is [1,2], and a value with spaces or any of ={}[]*,: "
                "needs quotes inside the shell's quotes: 'key=\"a value\"'"
            ) from exc
        if not re.search(r"\w", override.key_or_group):
            raise ConfigError(f"'{text}' has no key before its '='; write key=value, for example calib.photometry.aperture.radius_px=8")
        if override.is_sweep_override():
            raise ConfigError(
                f"'{text}' gives several values; a run takes one value for each key: write a list as [a,b], or start a run for each value"
            )
        parsed.append(override)
    return parsed


def _refuse_what_does_nothing(text: str, override: Override) -> None:
    """Deleted keys get their default again, and Hydra's own folders are not made here: neither does what it says. Raises ConfigError."""
    key = override.key_or_group
    # an instrument without a key of its own has that of `calib`
    of_instrument = key.partition(".")[0] in ("instruments", *SECTIONS, *(alias for alias in ALIASES if ALIASES[alias] in SECTIONS))
    if override.is_delete() and not of_instrument and "/" not in key and "@" not in text:
        raise ConfigError(
            f"'{text}' takes {key} out of the profile, and what a profile does not give has its default: nothing would be switched off; "
            f"write {key}.enabled=false where the section has that key, or give the value that you want"
        )
    if key == "hydra" or key.startswith("hydra."):
        raise ConfigError(
            f"'{text}' sets a key of Hydra's own runs, which v50calib does not start: the run directory is --out, the workers and where "
            "they log are runtime.*"
        )


def _prepared(override: Override, roots: Sequence[Path]) -> list[str]:
    """The overrides for Hydra in place of one that was typed: itself, or those that a compute profile stands for."""
    if override.key_or_group == GROUP:
        return expand(str(override.value()), roots)
    return [_prepare(override)]


def _prepare(override: Override) -> str:
    """The override for Hydra: aliases written out, and `++` so that the models alone judge the key."""
    key, line = override.key_or_group, override.input_line or ""
    body = re.sub(r"^(\+\+|\+|~)", "", line)
    prefix = line[: len(line) - len(body)]
    for alias, target in ALIASES.items():
        if key == alias or key.startswith(alias + "."):
            key, body = target + key[len(alias) :], target + body[len(alias) :]
    value = override.value()
    if isinstance(value, float) and math.isnan(value):
        # `replace_with=nan` is a named choice; no key takes the number NaN
        body = body.partition("=")[0] + "='nan'"
    is_value = "/" not in key and "@" not in body.partition("=")[0] and not key.startswith("hydra.")
    return ("++" if is_value and prefix in ("", "+") else prefix) + body


def _not_composed(name: str, overrides: Sequence[str], exc: Exception) -> str:
    reason = not_composed(" ".join(str(exc).split()).rstrip("."))
    given = f" with the overrides {list(overrides)}" if overrides else ""
    return (
        f"profile '{name}'{given} cannot be composed: {reason}. Look at the profile's `defaults:` list and at "
        f"the overrides' keys; `v50calib calibrate --config-name {name} --cfg job` prints the tree without overrides"
    )


def _unresolved(name: str, exc: OmegaConfBaseException) -> str:
    key = f" at '{exc.full_key}'" if getattr(exc, "full_key", None) else ""
    reason = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(exc).splitlines()[0])
    return (
        f"profile '{name}' has a value that cannot be resolved{key}: {reason}. Set the key by an override, or "
        "the environment variable it names, or give the interpolation a default: ${oc.env:NAME,default}"
    )
