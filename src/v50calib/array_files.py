"""A user's own calibration maps by path: NumPy, Zarr, NetCDF and CSV files, read whole and checked.

`FILE::NAME` names an array inside an .npz, a Zarr group or a NetCDF file that holds several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.errors import ConfigError, DataError

FORMATS = ".npy, .npz, .zarr, .nc, .csv"


def split_name(path: str) -> tuple[Path, str | None]:
    """File and array name of `FILE` or `FILE::NAME`."""
    file, _, name = path.partition("::")
    return Path(file).expanduser(), name or None


def require_paths(files: Mapping[str, str | None]) -> None:
    """Refuse files that do not exist; `files` is config key -> path (None: not given). Raises ConfigError, all at once."""
    missing = [f"{key}='{path}'" for key, path in files.items() if path is not None and not split_name(path)[0].exists()]
    if missing:
        raise ConfigError(
            f"the config names files that do not exist: {', '.join(missing)}; correct the paths (relative ones start where the program "
            "was started), or set that stage's validation.require_existing_paths=false where only the workers have them"
        )


def load_array(path: str, *, key: str) -> NDArray[Any]:
    """The array at `path` as stored. Raises ConfigError (no such file or format), DataError (not readable as such)."""
    file, name = split_name(path)
    if not file.exists():
        raise ConfigError(f"{key}='{path}' does not exist: correct the path")
    reader = _READERS.get(file.suffix)
    if reader is None:
        raise ConfigError(f"{key}='{path}' has the ending '{file.suffix}': what can be read is {FORMATS}")
    try:
        return np.asarray(reader(file, name))
    except (ValueError, KeyError, OSError, EOFError, RuntimeError) as exc:
        reason = " ".join(str(exc).split())
        raise DataError(f"{key}='{path}' cannot be read as {file.suffix}: {reason or type(exc).__name__}; write the file again") from exc


def load_map(
    path: str, *, key: str, shape: tuple[int, ...], exact: bool = True, finite: bool = False, dtype: Any = np.float64
) -> NDArray[Any]:
    """A calibration map of `shape` from a file.

    exact   the stored shape must be `shape`; False: anything that broadcasts to it
    finite  refuse values that are not finite
    Raises ConfigError and DataError as `load_array`, DataError for a wrong shape, dtype or content.
    """
    values = load_array(path, key=key)
    if values.dtype.kind not in "biuf":
        raise DataError(f"{key}='{path}' holds values of type {values.dtype}: a map is made of numbers")
    if values.shape != shape:
        if exact:
            raise DataError(
                f"{key}='{path}' has the shape {values.shape}, this visit needs {shape}: give a map of this detector, or set the "
                "stage's validation.check_shape_compatibility=false for one that broadcasts"
            )
        try:
            values = np.broadcast_to(values, shape)
        except ValueError as exc:
            raise DataError(f"{key}='{path}' has the shape {values.shape}, which does not broadcast to {shape}: give another map") from exc
    if finite and values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise DataError(f"{key}='{path}' has {bad} values that are not finite and validation.require_finite_inputs is on: repair the map")
    return np.array(values, dtype=dtype, order="C")


def load_table(path: str, *, key: str) -> NDArray[np.float64]:
    """A look-up table (n, 2) of finite numbers, n >= 2, both columns increasing. Raises ConfigError, DataError."""
    table = load_array(path, key=key)
    if table.ndim != 2 or table.shape[1] != 2 or len(table) < 2 or table.dtype.kind not in "iuf":
        raise DataError(f"{key}='{path}' has the shape {table.shape}: a look-up table is (n, 2), columns input and output, n >= 2")
    table = table.astype(np.float64)
    if not np.isfinite(table).all() or not (np.diff(table[:, 0]) > 0).all() or not (np.diff(table[:, 1]) > 0).all():
        raise DataError(f"{key}='{path}' is not a look-up table: both columns must be finite and increase from row to row")
    return table


def _npy(file: Path, name: str | None) -> Any:
    return np.load(file, allow_pickle=False)


def _npz(file: Path, name: str | None) -> Any:
    with np.load(file, allow_pickle=False) as content:
        return content[_only(list(content.files), name)]


def _zarr(file: Path, name: str | None) -> Any:
    import zarr

    node = zarr.open(str(file), mode="r")
    if isinstance(node, zarr.Array):
        return node[...]
    return node[_only(sorted(k for k, _ in node.arrays()), name)][...]  # type: ignore[index, unused-ignore]


def _netcdf(file: Path, name: str | None) -> Any:
    import xarray as xr

    with xr.open_dataset(file) as ds:
        return ds[_only([str(n) for n in ds.data_vars], name)].to_numpy()


def _csv(file: Path, name: str | None) -> Any:
    """Numbers separated by commas; a first line of column names is skipped; one column gives a 1-D array."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise ValueError("the file is empty")
    try:
        [float(cell) for cell in lines[0].split(",")]
    except ValueError:
        lines = lines[1:]
    table = np.array([[float(cell) for cell in line.split(",")] for line in lines])
    return table[:, 0] if table.ndim == 2 and table.shape[1] == 1 else table


def _only(names: list[str], name: str | None) -> str:
    if name is None and len(names) != 1:
        raise ValueError(f"it holds {len(names)} arrays ({', '.join(names)}): name one as FILE::NAME")
    if name is not None and name not in names:
        raise ValueError(f"it has no array '{name}', only {', '.join(names)}")
    return name if name is not None else names[0]


_READERS: dict[str, Callable[[Path, str | None], Any]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".zarr": _zarr,
    ".nc": _netcdf,
    ".csv": _csv,
}
