"""Writes the challenge's files: signal and calibration parquet, axis table, CSV tables (2025 and 2024 layouts)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from v50calib.schema import STAR_PARAMETERS
from v50calib.simulate.axes import airs_wavelength, channel_wavelength, time_axis
from v50calib.simulate.config import Encoding, Layout
from v50calib.simulate.maps import Maps
from v50calib.simulate.visit import InstrumentVisit

CHANNELS = tuple(f"wl_{n}" for n in range(1, 284))
SIGMAS = tuple(f"sigma_{n}" for n in range(1, 284))
_ADC_COLUMNS = ("FGS1_adc_offset", "FGS1_adc_gain", "AIRS-CH0_adc_offset", "AIRS-CH0_adc_gain")
#: the flat guess in the published sample submission
_SUBMISSION_VALUE = 0.456


def visit_suffix(visit: int, layout: Layout) -> str:
    """`_0`, `_1` ... in the 2025 layout; empty in the 2024 one, which has one visit a planet."""
    return f"_{visit}" if layout == "2025" else ""


def write_instrument(folder: Path, instrument: str, visit: int, data: InstrumentVisit, layout: Layout, encoding: Encoding) -> None:
    """Write the signal file and the five calibration files of one instrument and visit into a planet's folder."""
    suffix = visit_suffix(visit, layout)
    frames = data.frames
    # frames are a view of [pixel, time] memory, so each parquet column is a contiguous slice
    columns = frames.transpose(1, 2, 0).reshape(-1, frames.shape[0])
    _write_columns(folder / f"{instrument}_signal{suffix}.parquet", list(columns), encoding)
    _write_maps(folder / f"{instrument}_calibration{suffix}", data.maps)


def write_axis_info(root: Path, frames_fraction: float) -> None:
    """axis_info.parquet: time stamps (h), wavelengths (µm) and integration times (s), as long as FGS1 has frames.

    Shorter columns end in nulls, which readers show as NaN.
    """
    airs, fgs1 = time_axis("AIRS-CH0", frames_fraction), time_axis("FGS1", frames_fraction)
    integration = np.tile([airs.read_s[0], airs.read_s[1] - airs.read_s[0]], airs.pairs)
    columns = {
        "AIRS-CH0-axis0-h": airs.stamps_h,
        "AIRS-CH0-axis2-um": airs_wavelength(),
        "AIRS-CH0-integration_time": integration,
        "FGS1-axis0-h": fgs1.stamps_h,
    }
    rows = max(c.size for c in columns.values())
    table = pa.table({name: _padded(values, rows) for name, values in columns.items()})
    pq.write_table(table, root / "axis_info.parquet", compression="snappy", row_group_size=rows)


def write_wavelengths(root: Path) -> None:
    """wavelengths.csv: one row, wl_1..wl_283, µm."""
    write_csv(root / "wavelengths.csv", CHANNELS, [channel_wavelength().tolist()])


def write_adc(root: Path, split: str, layout: Layout, constants: Sequence[tuple[int, float, float]]) -> None:
    """The A/D constants: one row for all (2025) or a row per planet (2024). constants: (planet_id, offset, gain)."""
    if layout == "2025":
        _, offset, gain = constants[0]
        write_csv(root / "adc_info.csv", _ADC_COLUMNS, [(offset, gain, offset, gain)])
        return
    rows = [(planet, offset, gain, offset, gain, 0) for planet, offset, gain in constants]
    write_csv(root / f"{split}_adc_info.csv", ("planet_id", *_ADC_COLUMNS, "star"), rows)


def write_star_info(root: Path, split: str, stars: Sequence[tuple[int, dict[str, float]]]) -> None:
    """train_star_info.csv / test_star_info.csv. The published test table states planet ids as floats; so does ours."""
    rows = [(float(pid) if split == "test" else pid, *(star[p] for p in STAR_PARAMETERS)) for pid, star in stars]
    write_csv(root / f"{split}_star_info.csv", ("planet_id", *STAR_PARAMETERS), rows)


def write_depths(root: Path, layout: Layout, depths: Sequence[tuple[int, NDArray[np.float64]]]) -> None:
    """train.csv (2025) or train_labels.csv (2024): planet_id, (Rp/Rs)^2 of each channel."""
    name = "train.csv" if layout == "2025" else "train_labels.csv"
    write_csv(root / name, ("planet_id", *CHANNELS), [(pid, *depth.tolist()) for pid, depth in depths])


def write_sample_submission(root: Path, planet_ids: Sequence[int]) -> None:
    """sample_submission.csv: planet_id, 283 depths, 283 sigmas, all one flat guess."""
    rows = [(pid, *[_SUBMISSION_VALUE] * (len(CHANNELS) + len(SIGMAS))) for pid in planet_ids]
    write_csv(root / "sample_submission.csv", ("planet_id", *CHANNELS, *SIGMAS), rows)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A plain CSV file; floats are written so that they read back exactly."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_maps(folder: Path, maps: Maps) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write_columns(folder / "dark.parquet", list(np.ascontiguousarray(maps.dark.T)))
    _write_columns(folder / "dead.parquet", list(np.ascontiguousarray(maps.dead.T)))
    _write_columns(folder / "flat.parquet", list(np.ascontiguousarray(maps.flat.T)))
    _write_columns(folder / "read.parquet", list(np.ascontiguousarray(maps.read.T)))
    # [order, y, x] is stored as (order * rows, x): the six maps below each other
    stacked = maps.linear_corr.reshape(-1, maps.linear_corr.shape[-1])
    _write_columns(folder / "linear_corr.parquet", list(np.ascontiguousarray(stacked.T)))


def _write_columns(path: Path, columns: Sequence[NDArray[np.generic]], encoding: Encoding = "plain") -> None:
    """column_0, column_1 ... in one row group, zstd; maps in plain pages, as a dictionary gains nothing on noise."""
    table = pa.table([pa.array(c) for c in columns], names=[f"column_{n}" for n in range(len(columns))])
    coded = encoding == "dictionary"
    pq.write_table(table, path, compression="zstd", compression_level=1, use_dictionary=coded, row_group_size=table.num_rows)


def _padded(values: NDArray[np.float64], rows: int) -> pa.Array:
    full = np.full(rows, np.nan)
    full[: values.size] = values
    return pa.array(full, from_pandas=True)
