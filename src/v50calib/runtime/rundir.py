"""The run directory: made, checked and marked with the config that it belongs to, before any frame is read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import yaml

from v50calib.config.models import RunConfig
from v50calib.errors import StoreError
from v50calib.provenance import config_hash


def open_run_dir(out: Path, config: RunConfig, *, overwrite: bool) -> None:
    """Create `out` with the resolved config.yaml, or accept it if it belongs to the same config.

    Raises StoreError where it cannot be written, is something else, or was made by another config.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StoreError(f"cannot make the output directory '{out}': {exc.strerror}; give another --out or free its path") from exc
    if not os.access(out, os.W_OK | os.X_OK):
        raise StoreError(f"output directory '{out}' is not writable; give another --out or change its permissions")
    mark = out / "config.yaml"
    fingerprint = config_hash(config)
    if mark.exists():
        known = yaml.safe_load(mark.read_text(encoding="utf-8"))
        other = known.get("config_hash") if isinstance(known, dict) else None
        if other != fingerprint and not overwrite:
            raise StoreError(
                f"'{out}' holds products of another config (hash {str(other)[:12]}…, this run's is {fingerprint[:12]}…): mixing them "
                f"would make one dataset of two calibrations; give another --out, or --overwrite to redo them. "
                f"Differences: {_differences(known, config)}"
            )
    elif any(out.iterdir()):
        raise StoreError(f"'{out}' is not empty and is no run directory (it has no config.yaml); give an empty or new --out")
    content = {"config_hash": fingerprint, **config.model_dump(mode="json")}
    temporary = out / f".config.yaml.{os.getpid()}.tmp"
    try:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        temporary.replace(mark)
    except OSError as exc:
        raise StoreError(f"cannot write '{mark}': {exc.strerror}; free space or give another --out") from exc


def _differences(known: object, config: RunConfig) -> str:
    """Up to four keys that differ between the directory's config and this one."""

    def flat(tree: object, path: str = "") -> dict[str, str]:
        if isinstance(tree, dict):
            return {k: v for name, sub in tree.items() for k, v in flat(sub, f"{path}.{name}" if path else str(name)).items()}
        return {path: json.dumps(tree)}

    old, new = flat(known), flat(config.model_dump(mode="json"))
    keys = [k for k in sorted(set(old) | set(new)) if not k.startswith(("config_hash", "runtime")) and old.get(k) != new.get(k)]
    shown = ", ".join(f"{k} ({old.get(k, 'absent')} → {new.get(k, 'absent')})" for k in keys[:4])
    return shown + (f" and {len(keys) - 4} more" if len(keys) > 4 else "") or "none by key"
