"""Small roots of every kind, a few milliseconds a visit: planet 11 has the files that are damaged, planet 22 its own, which are not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import xarray as xr
import yaml
import zarr
from tests.mutations import damage
from tests.mutations.damage import BYTES, TEXT, Damage

from v50calib.array_files import load_map, load_table
from v50calib.config import load
from v50calib.estimators.population import Population
from v50calib.io import ingest
from v50calib.runtime.select import read_planets
from v50calib.simulate import simulate_dataset
from v50calib.uncertainty.files import load_model
from v50calib.uncertainty.tables import (
    Features,
    Predictions,
    Truth,
    read_features,
    read_predictions,
    read_truth,
    write_features,
    write_predictions,
    write_truth,
)

BAD, GOOD = "11", "22"


@dataclass(frozen=True)
class Target:
    """A file that may be damaged: how, which visits of planet 11 it is of ("": all), and whether planet 22 needs it as well."""

    path: Path
    damages: tuple[Damage, ...]
    visits: tuple[str, ...] = ()
    shared: bool = False


@dataclass
class Root:
    """A root of raw visits."""

    name: str
    path: Path
    targets: list[Target] = field(default_factory=list)
    overrides: tuple[str, ...] = ()

    def add(self, *names: str, damages: tuple[Damage, ...], visits: tuple[str, ...] = (), shared: bool = False) -> None:
        for name in names:
            self.targets += [Target(path, damages, visits, shared) for path in sorted(self.path.glob(name)) if path.is_file()]


@dataclass(frozen=True)
class Reader:
    """A file that one function reads."""

    name: str
    path: Path
    damages: tuple[Damage, ...]
    read: Callable[[Path], Any]


# tables and columns with other content, which nothing but the reader can notice


def _frame(edit: Callable[[damage.Draw, pd.DataFrame], pd.DataFrame]) -> Damage:
    def damaged(draw: damage.Draw, content: bytes) -> bytes:
        import io

        frame = pq.read_table(io.BytesIO(content)).to_pandas()
        out = io.BytesIO()
        edit(draw, frame).to_parquet(out)
        return out.getvalue()

    damaged.__name__ = edit.__name__.strip("_")
    return damaged


def _columns(draw: damage.Draw, frame: pd.DataFrame) -> pd.DataFrame:
    i = int(draw.integers(frame.shape[1]))
    name = frame.columns[i]
    kind = int(draw.integers(7))
    if kind == 0:
        return frame.drop(columns=name)
    if kind == 1:
        return frame.rename(columns={name: "x" if draw.integers(2) else f"{name}0"})
    if kind == 2:
        return frame.assign(**{str(name): ["x"] * len(frame)})
    if kind == 3:
        return frame.assign(more=0)
    if kind == 4:
        return frame.set_index(name)
    if kind == 5:
        return frame.assign(**{str(name): pd.Series([None] * len(frame), dtype="object")})
    return frame.assign(**{str(name): [[1, 2]] * len(frame)})


def _rows(draw: damage.Draw, frame: pd.DataFrame) -> pd.DataFrame:
    n = int(draw.choice([0, 1, 2, 3, len(frame) - 1]))
    return frame.iloc[:n] if draw.integers(2) else pd.concat([frame, frame.iloc[:n]])


def _values(draw: damage.Draw, frame: pd.DataFrame) -> pd.DataFrame:
    kinds = set(frame.dtypes.astype(str))
    whole = kinds == {"uint16"}
    value = draw.choice([0, 1, 65535] if whole else [0.0, 1.0, -1.0, 1e300, -1e300, 1e-300, 5e-324, np.nan, np.inf, 1e18, 1e30, -1e6])
    out = frame.astype("uint16" if whole else "float64")
    which = int(draw.integers(4))
    if which == 0:
        out.iloc[:, :] = value
    elif which == 1:
        out.iloc[int(draw.integers(len(frame))), :] = value
    elif which == 2:
        out.iloc[:, int(draw.integers(frame.shape[1]))] = value
    else:
        out = (out * value).astype(out.dtypes) if not whole else out // 2
    return out


def _types(draw: damage.Draw, frame: pd.DataFrame) -> pd.DataFrame:
    kind = str(draw.choice(["float32", "int64", "uint8", "bool", "str", "datetime64[ns]", "complex128", "float16"]))
    with np.errstate(all="ignore"):
        try:
            out = frame.fillna(0).astype(kind)
        except (TypeError, ValueError, OverflowError):
            return frame.astype(str)
    return out.map(str) if kind == "complex128" else out


def _transposed(draw: damage.Draw, frame: pd.DataFrame) -> pd.DataFrame:
    out = frame.T
    out.columns = [f"column_{i}" for i in range(out.shape[1])]
    return out.reset_index(drop=not draw.integers(2))


PARQUET = (*BYTES, *(_frame(edit) for edit in (_columns, _rows, _values, _values, _types, _transposed)))
NPY = (*BYTES, damage.npy_header, damage.npy_header, damage.npy_header)


def challenge(folder: Path) -> Root:
    """FGS1 alone: frames of 32 x 32 pixels."""
    root = Root("challenge", folder / "challenge")
    made = simulate_dataset(root.path, planets=2, frames_fraction=0.002, seed=7)
    for path in made.glob("train/*/AIRS*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    ids = sorted(path.name for path in (made / "train").iterdir())
    for old, new in zip(ids, (BAD, GOOD), strict=True):
        (made / "train" / old).rename(made / "train" / new)
        for name in ("train_star_info.csv", "wavelengths.csv", "train.csv"):
            table = made / name
            table.write_text(table.read_text().replace(old, new))
    own = f"train/{BAD}"
    root.add(f"{own}/FGS1_signal_0.parquet", f"{own}/FGS1_calibration_0/*", damages=PARQUET)
    root.add("axis_info.parquet", damages=PARQUET, shared=True)
    root.add("adc_info.csv", "train_star_info.csv", "wavelengths.csv", damages=TEXT, shared=True)
    return root


def raw_store(folder: Path, source: Path) -> Root:
    """The same visits in a raw store."""
    root = Root("raw store", folder / "raw.zarr")
    assert not ingest(source, root.path).failed
    group = f"train/{BAD}/0/FGS1"
    described = (damage.json_edit, damage.json_edit, *TEXT)
    root.add(f"{group}/**/zarr.json", f"{group}/_COMMIT.json", f"train/{BAD}/**/zarr.json", damages=described)
    root.add(f"{group}/**/c", f"{group}/**/c.*", f"{group}/raw_frames/c/**/*", damages=BYTES)
    root.add("zarr.json", damages=described, shared=True)
    return root


SHAPE, PAIRS = (8, 8), 48


def _frames(seed: int) -> np.ndarray:
    """A star with a transit, uint16 (time, y, x)."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] - 3.5
    light = 3000 * np.exp(-(x**2 + y**2) / 3)
    hours = np.linspace(0, 7.5, PAIRS)
    dim = np.where(np.abs(hours - 3.75) < 1.2, 0.97, 1.0)
    second = draw.poisson(dim[:, None, None] * light) + 1000
    first = draw.normal(1000, 5, second.shape)
    return np.stack([first, second], axis=1).reshape(-1, *SHAPE).astype(np.uint16)


def detector(folder: Path) -> Root:
    """Frames as NPY, Zarr and NetCDF, a visit each; maps as NPY, NPZ, CSV, Zarr and NetCDF."""
    overrides = ("calib.photometry.background.method=none", "calib.photometry.aperture.radius_px=3")
    root = Root("detector.yaml", folder / "detector", overrides=overrides)
    at = root.path
    at.mkdir()
    np.save(at / "f.npy", _frames(1))
    np.save(at / "good.npy", _frames(2))
    zarr.create_array(at / "f.zarr", shape=(2 * PAIRS, *SHAPE), dtype="u2", chunks=(32, *SHAPE))[...] = _frames(3)
    old = zarr.create_group(at / "old", zarr_format=2)
    old.create_array("counts", shape=(2 * PAIRS, *SHAPE), dtype="u2", chunks=(32, *SHAPE))[...] = _frames(5)
    counts = {"counts": (("time", "y", "x"), _frames(4), {"units": "adu"}), "gain": ((), 2.0)}
    xr.Dataset(counts).to_netcdf(at / "f.nc", engine="h5netcdf", encoding={"counts": {"chunksizes": (32, *SHAPE), "zlib": True}})
    xr.Dataset({"counts": (("time", "y", "x"), _frames(4).astype("i4"))}).to_netcdf(at / "three.nc", engine="scipy", format="NETCDF3_64BIT")
    exposure = np.tile([0.1, 4.0], PAIRS)
    stamps = (np.repeat(np.arange(PAIRS) * 570.0, 2) + exposure) / 3600
    np.save(at / "t.npy", stamps)
    np.savetxt(at / "e.csv", exposure)
    xr.Dataset({"t": (("time",), stamps, {"units": "h"})}).to_netcdf(at / "t.nc", engine="h5netcdf")
    draw = np.random.default_rng(9)
    maps = {"dark": draw.uniform(0.5, 1, SHAPE), "flat": draw.uniform(0.9, 1.1, SHAPE), "read": np.full(SHAPE, 5.0)}
    np.savez_compressed(at / "m.npz", **maps)
    np.save(at / "dark.npy", maps["dark"])
    np.save(at / "dead.npy", np.zeros(SHAPE, bool))
    np.savetxt(at / "flat.csv", maps["flat"], delimiter=",")
    zarr.create_array(at / "read.zarr", shape=SHAPE, dtype="f8", chunks=SHAPE)[...] = maps["read"]
    xr.Dataset({"flat": (("y", "x"), maps["flat"])}).to_netcdf(at / "flat.nc", engine="h5netcdf")
    one = {"dark": "m.npz::dark", "flat": "flat.csv", "read_noise": "m.npz::read"}
    two = {"dark": "dark.npy", "dead": "dead.npy", "flat": "flat.nc", "read_noise": "read.zarr"}
    plain = {"dark": 0.7, "dead": "none", "flat": 1.0, "read_noise": 5.0, "linear_corr": "none"}
    telemetry = {"temp": "t.npy"}
    visits: list[dict[str, Any]] = [
        {"planet_id": BAD, "visit": 0, "frames": "f.npy", "time_h": "t.npy", "maps": one, "telemetry": telemetry},
        {"planet_id": BAD, "visit": 1, "frames": "f.zarr", "time_h": "t.nc::t", "maps": two, "star": {"P": 4.0, "sma": 10.0, "i": 89.0}},
        {"planet_id": BAD, "visit": 2, "frames": "f.nc::counts", "exposure_s": "e.csv"},
        {"planet_id": BAD, "visit": 3, "frames": "old::counts"},
        {"planet_id": GOOD, "visit": 0, "frames": "good.npy"},
    ]
    camera: dict[str, Any] = {"shape": list(SHAPE), "wavelength_um": 0.7, "adc": {"gain_adu_per_e": 1.0, "bias_adu": 900}}
    camera |= {"exposure_s": [0.1, 4.0], "cadence_s": 570.0, "maps": plain}
    check = {"require_existing_paths": False, "check_shape_compatibility": False}
    (at / "detector.yaml").write_text(yaml.safe_dump({"instruments": {"CAM": camera}, "visits": visits, "validation": check}))
    of = {"0": ("f.npy", "t.npy", "m.npz", "flat.csv"), "1": ("t.nc", "dark.npy", "dead.npy", "flat.nc"), "2": ("f.nc", "e.csv")}
    for visit, names in of.items():
        for name in names:
            kinds = {".npy": NPY, ".npz": (*BYTES,), ".csv": TEXT}.get(Path(name).suffix, BYTES)
            root.add(name, damages=kinds, visits=(visit,))
    described = (damage.json_edit, damage.json_edit, *TEXT)
    root.add("f.zarr/zarr.json", "read.zarr/zarr.json", damages=described, visits=("1",))
    root.add("f.zarr/c/**/*", "read.zarr/c/**/*", damages=BYTES, visits=("1",))
    root.add("old/.z*", "old/counts/.z*", damages=described, visits=("3",))
    root.add("old/counts/[0-9]*", damages=BYTES, visits=("3",))
    root.add("f.nc", "f.nc", damages=BYTES, visits=("2",))
    root.add("detector.yaml", "detector.yaml", "detector.yaml", damages=(damage.yaml_edit, damage.yaml_edit, *TEXT), shared=True)
    return root


def readers(folder: Path) -> list[Reader]:
    """Files that are read by one function: tables, models, maps of the config, profiles."""
    at = folder / "files"
    at.mkdir()
    draw = np.random.default_rng(3)
    ids, n = ("7", "8", "9"), 283
    predictions = Predictions(ids, draw.uniform(0.01, 0.02, (3, n)), np.full((3, n), 1e-4))
    truth = Truth(ids, draw.uniform(0.01, 0.02, (3, n)))
    found: list[Reader] = []
    for ending, kinds in ((".csv", TEXT), (".parquet", PARQUET), (".npz", BYTES), (".csv.gz", BYTES)):
        if ending == ".csv.gz":
            import gzip

            (at / "p.csv.gz").write_bytes(gzip.compress((at / "p.csv").read_bytes()))
        else:
            write_predictions(at / f"p{ending}", predictions)
            write_truth(at / f"y{ending}", truth)
            found.append(Reader(f"truth {ending}", at / f"y{ending}", kinds, read_truth))
        found.append(Reader(f"predictions {ending}", at / f"p{ending}", kinds, read_predictions))
    write_features(at / "f.npz", Features(ids, draw.normal(size=(3, n, 2)), ("a", "b")))
    found.append(Reader("features", at / "f.npz", BYTES, read_features))
    (at / "planets.csv").write_text("planet_id\n7\n8 # the brightest\n1.1e+09\n")
    found.append(Reader("planets", at / "planets.csv", TEXT, lambda p: read_planets(p, lambda _: None)))
    Population.fit(draw.uniform(0.01, 0.02, (40, n)), np.linspace(0.7, 3.9, n)).save(at / "population.npz")
    found.append(Reader("population", at / "population.npz", BYTES, Population.load))
    shutil.copy(at / "population.npz", at / "model.npz")
    found.append(Reader("model", at / "model.npz", BYTES, load_model))
    np.save(at / "map.npy", np.ones(SHAPE))
    np.savez(at / "map.npz", a=np.ones(SHAPE))
    zarr.create_array(at / "map.zarr", shape=SHAPE, dtype="f8", chunks=SHAPE)[...] = 1.0
    xr.Dataset({"a": (("y", "x"), np.ones(SHAPE))}).to_netcdf(at / "map.nc", engine="h5netcdf")
    np.savetxt(at / "table.csv", np.stack([np.arange(5.0)] * 2, axis=1), delimiter=",")
    for name, kinds in (("map.npy", NPY), ("map.npz", BYTES), ("map.nc", BYTES)):
        found.append(Reader(f"config {name}", at / name, kinds, lambda p: load_map(str(p), key="calib.flat.master.path", shape=SHAPE)))
    of_zarr = at / "map.zarr" / "zarr.json"
    found.append(
        Reader(
            "config map.zarr", of_zarr, (damage.json_edit,), lambda p: load_map(str(p.parent), key="calib.flat.master.path", shape=SHAPE)
        )
    )
    found.append(Reader("config table", at / "table.csv", TEXT, lambda p: load_table(str(p), key="calib.adc.linearization.lut_path")))
    shipped = Path(__file__).parents[2] / "profiles"
    for where in ("calib", "compute"):
        (at / "profiles" / where).mkdir(parents=True)
    mine, flat, local = at / "profiles/calib/mine.yaml", at / "profiles/calib/flat.yaml", at / "profiles/compute/here.yaml"
    shutil.copy(shipped / "calib" / "fast.yaml", mine)
    shutil.copy(shipped / "calib" / "flat.yaml", flat)
    shutil.copy(next((shipped / "compute").glob("*.yaml")), local)
    for path in (mine, flat, local):
        kinds = (damage.yaml_edit, damage.yaml_edit, *TEXT)
        found.append(Reader(f"profile {path.stem}", path, kinds, lambda _: load("calib/mine", ("compute=here",), at / "profiles")))
    return found
