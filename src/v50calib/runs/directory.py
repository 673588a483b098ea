"""The run directory: created, checked and marked with the config that it belongs to, before any frame is read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from v50calib.errors import StoreError
from v50calib.io.storage.location import Location, replace_text
from v50calib.io.storage.objects import ObjectPath
from v50calib.io.storage.ours import is_run_dir
from v50calib.runs.lock_objects import NAME as LOCK
from v50calib.untrusted.yaml_text import load_yaml

if TYPE_CHECKING:
    from v50calib.config.models import RunConfig

MARK = "config.yaml"
#: what stands for the value of a key that the directory's config, or this run's, does not have
NOT_THERE, NOT_HERE = "not in it", "not in this run's"
#: beginnings of the names that a directory has whose first run was killed before it was marked
_OURS = (LOCK, f".{MARK}.")
#: libyaml's, where PyYAML was built with it: the plain one takes a tenth of the time of a visit
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def refuse_other_directory(run_dir: Location) -> None:
    """Raises StoreError where `run_dir` is no run directory: it has no config.yaml."""
    if not (run_dir / MARK).is_file():
        raise StoreError(f"'{run_dir}' is no run directory (it has no {MARK}); give the --out of a 'v50calib calibrate'")


def check_run_dir(out: Location, config: RunConfig, *, change: bool) -> None:
    """Create `out`, or accept it if it belongs to the same config (any config with `change`).

    Raises StoreError where it cannot be written, is something else, or belongs to another config.
    """
    # imported here: `status` uses this module and must not wait for the models of the config
    from v50calib.config.provenance import config_hash

    if isinstance(out, ObjectPath):
        check_writable(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StoreError(f"cannot make the output directory '{out}': {exc.strerror}; give another --out or free its path") from exc
    if isinstance(out, Path) and not os.access(out, os.W_OK | os.X_OK):
        raise StoreError(f"output directory '{out}' is not writable; give another --out or change its permissions")
    mark = out / MARK
    fingerprint = config_hash(config)
    if mark.exists() and not is_run_dir(out) and not _holds_a_run(out):
        raise StoreError(
            f"'{out}' is no run directory: its {MARK} is of something else (it has no config_hash); give an empty or new --out"
        )
    if mark.exists():
        known = {} if change else read_mark(out)
        other = known.get("config_hash")
        if other != fingerprint and not change:
            raise StoreError(
                f"'{out}' holds products of another config (hash {str(other)[:12]}…, this run's is {fingerprint[:12]}…): mixing them "
                f"would make one dataset of two calibrations; give another --out, or --update (or --overwrite) to redo them. "
                f"Differences: {_differences(known, config)}"
            )
    elif any(not p.name.startswith(_OURS) for p in out.iterdir()):
        raise StoreError(f"'{out}' is not empty and is no run directory (it has no {MARK}); give an empty or new --out")


def _holds_a_run(out: Location) -> bool:
    """Whether a run has been recorded here, whatever became of its config.yaml."""
    return (out / "manifest.jsonl").is_file() or (out / "calibrated.zarr").is_dir()


def check_writable(out: ObjectPath) -> None:
    """Put an object and delete it: there is no other way to ask an object store for permission. Raises StoreError."""
    probe = out / ".write-test"
    try:
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as exc:
        raise StoreError(f"cannot write below '{out}' ({exc.strerror or exc}): give another --out, or credentials that allow it") from exc


def mark_run_dir(out: Location, config: RunConfig) -> None:
    """Write config.yaml, the resolved config with its hash; secrets and the paths of keys are masked. Raises StoreError."""
    from v50calib.config.provenance import config_hash, own_hashes
    from v50calib.config.redact import redact_config

    mark, own = out / MARK, own_hashes(config)
    hashes = {"product_hashes": {"": config_hash(config.of("")), **own}} if own else {}
    content = {"config_hash": config_hash(config), **hashes, **redact_config(config.model_dump(mode="json"))}
    try:
        replace_text(mark, yaml.dump(content, Dumper=_DUMPER, sort_keys=False))
    except OSError as exc:
        raise StoreError(f"cannot write '{mark}': {exc.strerror}; free space or give another --out") from exc


def read_mark(run_dir: Location) -> dict[str, Any]:
    """The content of a run directory's config.yaml. Raises StoreError where there is none, or it cannot be read."""
    refuse_other_directory(run_dir)
    mark = run_dir / MARK
    try:
        content = load_yaml(mark.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as exc:
        raise StoreError(f"cannot read '{mark}' ({exc}): calibrate with --update, which rewrites it") from exc
    return content if isinstance(content, dict) else {}


def product_hash(mark: Mapping[str, Any], instrument: str) -> str:
    """The hash that an instrument's products have in a run directory of this config.yaml: the config's, unless instruments have keys of
    their own.

    >>> mark = {"config_hash": "r", "product_hashes": {"": "b", "FGS1": "f"}}
    >>> product_hash(mark, "FGS1"), product_hash(mark, "AIRS-CH0"), product_hash({"config_hash": "r"}, "FGS1")
    ('f', 'b', 'r')
    """
    own = mark.get("product_hashes") or {}
    names = [name for name in own if name and (instrument == name or instrument.startswith(f"{name}."))]
    return str(own[max(names, key=len, default="")]) if own else str(mark.get("config_hash"))


def _differences(known: object, config: RunConfig) -> str:
    """Up to four keys that differ between the directory's config and this one."""

    def flat(tree: object, path: str = "") -> dict[str, str]:
        if isinstance(tree, dict):
            return {k: v for name, sub in tree.items() for k, v in flat(sub, f"{path}.{name}" if path else str(name)).items()}
        return {path: json.dumps(tree)}

    old, new = flat(known), flat(config.model_dump(mode="json"))
    keys = [
        k
        for k in sorted(set(old) | set(new))
        if not k.startswith(("config_hash", "product_hashes", "runtime")) and old.get(k) != new.get(k)
    ]
    shown = ", ".join(f"{k} ({old.get(k, NOT_THERE)} → {new.get(k, NOT_HERE)})" for k in keys[:4])
    return (
        shown + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")
        or "none by key; the content of a map that the config names changed, or the source of a registered method"
    )
