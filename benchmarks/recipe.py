"""The challenge's published calibration, as a NumPy script: what most teams started from.

Reference: "Calibrating and Binning Ariel Data" (A. Syty, V. Batista and others, the host's Kaggle notebook of 2024 and 2025), with its
linearity switch on. The order, the array forms and the loops are the notebook's; the wording is ours. It keeps
the notebook's faults: the mask is dropped where a masked array is stored in a plain one, so hot pixels are not masked.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.stats import sigma_clip

DETECTOR = {"AIRS-CH0": (32, 356), "FGS1": (32, 32)}
SCIENCE = {"AIRS-CH0": slice(39, 321), "FGS1": slice(0, 32)}
PAIRS_PER_BIN = {"AIRS-CH0": 30, "FGS1": 360}


def calibrate_planet(data: Path, planet: str, out: Path) -> None:
    """Visit 0 of one planet, both instruments: binned frames (bins, x, y) to out/<instrument>.npy.

    Both instruments' whole visits are held as float64 until the read pairs are differenced, as in the notebook.
    """
    cleaned = {instrument: _clean(data, planet, instrument) for instrument in DETECTOR}
    differenced = {}
    for instrument in DETECTOR:
        frames = cleaned.pop(instrument)
        differenced[instrument] = frames[:, 1::2] - frames[:, 0::2]
        del frames
    for instrument, (ny, nx) in DETECTOR.items():
        binned = _bin(differenced.pop(instrument), PAIRS_PER_BIN[instrument])
        flat, dead = (_map(data, planet, instrument, name).reshape(ny, nx)[:, SCIENCE[instrument]].T for name in ("flat", "dead"))
        spread = np.tile(np.ma.masked_where(dead, flat), (binned.shape[1], 1, 1))
        np.save(out / f"{instrument}.npy", np.asarray(binned[0] / spread))


def _clean(data: Path, planet: str, instrument: str) -> np.ndarray:
    """adc, mask, linearity and dark of every frame: (1, frames, y, x) float64, for a batch of one planet."""
    (ny, nx), columns = DETECTOR[instrument], SCIENCE[instrument]
    constants = pd.read_csv(data / "adc_info.csv").iloc[0]
    signal = pd.read_parquet(data / "train" / planet / f"{instrument}_signal_0.parquet").to_numpy().reshape(-1, ny, nx)
    signal = signal.astype(np.float64)
    signal /= constants[f"{instrument}_adc_gain"]
    signal += constants[f"{instrument}_adc_offset"]
    signal = signal[:, :, columns]
    dark, dead = (_map(data, planet, instrument, name).reshape(ny, nx)[:, columns] for name in ("dark", "dead"))
    batch = np.zeros((1, *signal.shape))
    batch[0] = _mask(signal, dead, dark)
    del signal
    terms = _map(data, planet, instrument, "linear_corr").reshape(6, ny, nx)[:, :, columns]
    _linearize(batch[0], terms)
    _subtract_dark(batch[0], dead, dark, _seconds(data, instrument, batch.shape[1]))
    return batch


def _map(data: Path, planet: str, instrument: str, name: str) -> np.ndarray:
    return pd.read_parquet(data / "train" / planet / f"{instrument}_calibration_0" / f"{name}.parquet").to_numpy().astype(np.float64)


def _seconds(data: Path, instrument: str, frames: int) -> np.ndarray:
    """Time since reset of every read: AIRS-CH0 from the axis table, FGS1 0.1 s; 0.1 s more on odd reads."""
    column = f"{instrument}-integration_time"
    table = pd.read_parquet(data / "axis_info.parquet")
    seconds = table[column].dropna().to_numpy(copy=True)[:frames] if column in table else np.full(frames, 0.1)
    seconds[1::2] += 0.1
    return seconds


def _mask(signal: np.ndarray, dead: np.ndarray, dark: np.ndarray) -> np.ma.MaskedArray:
    """The frames as a masked array: dead pixels, and hot ones by a 5 sigma clip of the dark map."""
    hot = np.tile(sigma_clip(dark, sigma=5, maxiters=5).mask, (len(signal), 1, 1))
    dead = np.tile(dead, (len(signal), 1, 1))
    return np.ma.masked_where(hot, np.ma.masked_where(dead, signal))


def _linearize(frames: np.ndarray, terms: np.ndarray) -> None:
    """One polynomial object a pixel, over that pixel's whole time series; terms are stored lowest order first."""
    falling = np.flip(terms, axis=0)
    for y, x in itertools.product(range(frames.shape[1]), range(frames.shape[2])):
        frames[:, y, x] = np.poly1d(falling[:, y, x])(frames[:, y, x])


def _subtract_dark(frames: np.ndarray, dead: np.ndarray, dark: np.ndarray, seconds: np.ndarray) -> None:
    spread = np.tile(np.ma.masked_where(dead, dark), (len(frames), 1, 1))
    frames -= spread * seconds[:, np.newaxis, np.newaxis]


def _bin(differences: np.ndarray, per_bin: int) -> np.ndarray:
    """Sums of `per_bin` pairs, (1, bins, x, y); a remainder is dropped."""
    turned = differences.transpose(0, 1, 3, 2)
    binned = np.zeros((1, turned.shape[1] // per_bin, *turned.shape[2:]))
    for i in range(binned.shape[1]):
        binned[:, i] = np.sum(turned[:, i * per_bin : (i + 1) * per_bin], axis=1)
    return binned
