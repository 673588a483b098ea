"""Model files: one .npz of plain arrays and a JSON text; nothing in it is pickled or can run code."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from v50calib.errors import DataError
from v50calib.uncertainty.covariates import Standardizer
from v50calib.uncertainty.model import BandModel, Calibrator, Ratio, Scale
from v50calib.uncertainty.options import CorelOptions
from v50calib.uncertainty.tables import load_npz, save_npz
from v50calib.untrusted.boundary import foreign
from v50calib.untrusted.json_text import load_json
from v50calib.untrusted.npz import DAMAGED, read_npz

FORMAT = "v50calib-calibrator"
VERSION = 1

Arrays = dict[str, np.ndarray]


def save_model(path: str | Path, calibrator: Calibrator) -> None:
    """Write a calibrator, wholly or not at all. Raises DataError for another suffix than .npz or where it cannot be written.

    >>> import tempfile
    >>> model = Calibrator("temperature", "temperature", 100, Scale(np.full(3, 1.5), np.zeros(3)), None)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(f"{folder}/model.npz", model)
    ...     load_model(f"{folder}/model.npz").scale.T
    array([1.5, 1.5, 1.5])
    """
    arrays: Arrays = {}
    meta: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        **{name: getattr(calibrator, name) for name in ("method", "used", "planets", "feature_names", "report", "notes")},
        "scale": _pack_scale(arrays, "scale", calibrator.scale),
        "bands": None,
    }
    if calibrator.bands is not None:
        bands = calibrator.bands
        arrays |= {"bands/q": bands.q, "bands/edges": bands.edges}
        meta["bands"] = {
            "alpha": bands.alpha,
            "kind": bands.kind,
            "planets": bands.planets,
            "scale": _pack_scale(arrays, "bands", bands.scale),
        }
    arrays["meta"] = np.array(json.dumps(meta))
    save_npz(Path(path), arrays)


def is_model(path: object) -> bool:
    """Whether a file is a calibrator, of whatever version."""
    try:
        meta = load_json(str(read_npz(Path(str(path)), ["meta"], most=2**24)["meta"]))
    except DAMAGED:
        return False
    return isinstance(meta, dict) and meta.get("format") == FORMAT


def load_model(path: str | Path) -> Calibrator:
    """Read a calibrator. Raises DataError where there is no such file, it is no model, of another version, or damaged.

    >>> load_model("nowhere.npz")
    Traceback (most recent call last):
    v50calib.errors.DataError: 'nowhere.npz' does not exist (looked in ...): give the --out of a 'v50calib uncertainty fit'
    """
    path = Path(path)
    arrays = load_npz(path, "give the --out of a 'v50calib uncertainty fit'")
    with foreign(f"'{path}'", "is damaged", "fit it again"):
        try:
            meta = load_json(str(arrays.get("meta", "null")))
        except ValueError as exc:
            raise DataError(f"'{path}' is no model of v50calib: its JSON cannot be read") from exc
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise DataError(f"'{path}' is no model of v50calib: give the --out of a 'v50calib uncertainty fit'")
        if meta["version"] != VERSION:
            raise DataError(f"'{path}' has version {meta['version']}, this program reads {VERSION}: fit it again")
        return _unpack(arrays, meta)


def _unpack(arrays: Arrays, meta: dict[str, Any]) -> Calibrator:
    bands = None
    if meta["bands"] is not None:
        part = meta["bands"]
        scale = _unpack_scale(arrays, "bands", part["scale"])
        bands = BandModel(scale, arrays["bands/q"], arrays["bands/edges"], part["alpha"], part["kind"], part["planets"])
    return Calibrator(
        meta["method"], meta["used"], meta["planets"], _unpack_scale(arrays, "scale", meta["scale"]), bands,
        tuple(meta["feature_names"]), meta["report"], tuple(meta["notes"]),
    )  # fmt: skip


def _pack_scale(arrays: Arrays, name: str, scale: Scale) -> list[dict[str, Any]]:
    """Add a scale's arrays under `name/…`; returns its entries for the JSON, one per part."""
    arrays |= {f"{name}/T": scale.T, f"{name}/shift": scale.shift}
    entries = []
    for i, (weight, ratio) in enumerate(scale.parts):
        prefix = f"{name}/{i}"
        arrays |= {f"{prefix}/{f.name}": getattr(ratio.standard, f.name) for f in dataclasses.fields(Standardizer)}
        arrays[f"{prefix}/positive"] = ratio.positive
        if ratio.slopes is not None:
            arrays[f"{prefix}/slopes"] = ratio.slopes
        arrays |= {f"{prefix}/net/{key}": value for key, value in (ratio.network or {}).items()}
        options = ratio.options.model_dump(mode="json") if ratio.options is not None else None
        entries.append({"weight": weight, "smooth_bins": ratio.smooth_bins, "options": options})
    return entries


def _unpack_scale(arrays: Arrays, name: str, entries: list[dict[str, Any]]) -> Scale:
    parts = []
    for i, entry in enumerate(entries):
        prefix = f"{name}/{i}"
        network = {key.removeprefix(f"{prefix}/net/"): value for key, value in arrays.items() if key.startswith(f"{prefix}/net/")}
        options = CorelOptions.model_validate(entry["options"]) if entry["options"] is not None else None
        ratio = Ratio(
            Standardizer(arrays[f"{prefix}/centre"], arrays[f"{prefix}/scale"]), arrays[f"{prefix}/positive"], entry["smooth_bins"],
            slopes=arrays.get(f"{prefix}/slopes"), network=network or None, options=options,
        )  # fmt: skip
        parts.append((float(entry["weight"]), ratio))
    return Scale(arrays[f"{name}/T"], arrays[f"{name}/shift"], tuple(parts))
