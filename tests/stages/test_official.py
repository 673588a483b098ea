"""The `official` profile on the real frames against the host's procedure, written here in plain NumPy.

The oracle follows the published steps (SCIENCE: challenge description and host notebook): float64, ADU / gain +
offset, cut to columns 39:321, mask = dead | 5-sigma outliers of the dark, linearity polynomial per pixel, dark·dt,
odd - even, flat. Nothing of v50calib is used in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.stats import sigma_clip

from v50calib import Pipeline, open_visit

PLANET = "342072318"
READS = {"AIRS-CH0": (0.1, 4.6), "FGS1": (0.1, 0.2)}


def host_procedure(root: Path, instrument: str, *, linearity: bool = True) -> np.ma.MaskedArray:
    """CDS frames (pair, y, x) of the host's procedure, AIRS cut to its 282 columns, masked where the host masks."""
    folder = root / "train" / PLANET

    def table(name: str) -> np.ndarray:
        return pd.read_parquet(folder / f"{instrument}_calibration_0" / f"{name}.parquet").to_numpy()

    signal = pd.read_parquet(folder / f"{instrument}_signal_0.parquet").to_numpy()
    nx = 356 if instrument == "AIRS-CH0" else 32
    cut = slice(39, 321) if instrument == "AIRS-CH0" else slice(None)
    adc = pd.read_csv(root / "adc_info.csv").iloc[0]
    frames = signal.reshape(-1, 32, nx).astype(np.float64) / adc[f"{instrument}_adc_gain"] + adc[f"{instrument}_adc_offset"]
    frames = frames[:, :, cut]
    dark, dead, flat = (table(n)[:, cut] for n in ("dark", "dead", "flat"))
    mask = np.ma.getmaskarray(sigma_clip(dark, sigma=5, maxiters=5)) | dead.astype(bool)
    if linearity:
        coef = table("linear_corr").reshape(6, 32, nx)[:, :, cut]
        frames = sum(coef[k] * frames**k for k in range(6))
    exposure = np.tile(READS[instrument], len(frames) // 2)
    frames = frames - dark * exposure[:, None, None]
    cds = frames[1::2] - frames[0::2]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.ma.masked_array(cds / flat, np.broadcast_to(mask, cds.shape))


def official(root: Path, instrument: str, *overrides: str) -> np.ndarray:
    ds = Pipeline.from_profile("calib/official", ["output.cubes=full", *overrides])(open_visit(root, PLANET, 0, instrument))
    cube = ds["cds_corrected"].compute().to_numpy()
    return cube[:, :, 39:321] if instrument == "AIRS-CH0" else cube


@pytest.mark.parametrize("instrument", ["AIRS-CH0", "FGS1"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.005), ("float64", 1e-6)])
def test_official_equals_the_host(sample: Path, instrument: str, dtype: str, tolerance: float) -> None:
    """float32 steps by 0.004 e- at 6e4 e-, hence 0.005; float64 differs by rounding only."""
    ours = official(sample, instrument, f"output.dtype={dtype}")
    host = host_procedure(sample, instrument)
    assert ours.shape == host.shape
    assert ours.dtype == dtype
    np.testing.assert_array_equal(np.isnan(ours), host.mask)
    assert host.mask.any()
    difference = np.abs(ours - host.data)[~host.mask]
    print(f"{instrument} {dtype}: max |difference| {difference.max():.3g} e- over {difference.size} values")
    assert difference.max() <= tolerance


@pytest.mark.parametrize("instrument", ["AIRS-CH0", "FGS1"])
def test_official_without_linearity_equals_the_notebook_as_published(sample: Path, instrument: str) -> None:
    ours = official(sample, instrument, "output.dtype=float64", "calib.nonlinearity.enabled=false")
    host = host_procedure(sample, instrument, linearity=False)
    np.testing.assert_allclose(ours[~host.mask], host.data[~host.mask], rtol=0, atol=1e-6)


def test_official_bins_are_sums_of_30_pairs(sample: Path) -> None:
    """AIRS: 30 pairs of 4.8 s make a bin of 144 s; the remainder of the 25 real pairs is shorter than one, so bins of 48 s here."""
    ds = Pipeline.from_profile("calib/official", ["output.bin_s=48", "output.dtype=float64"])(open_visit(sample, PLANET))
    host = host_procedure(sample, "AIRS-CH0")
    binned = ds["cds_binned"].compute().to_numpy()[:, :, 39:321]
    expected = host.data[:20].reshape(2, 10, 32, 282).sum(axis=1)
    assert binned.shape == expected.shape
    good = ~host.mask[0]
    np.testing.assert_allclose(binned[:, good], expected[:, good], rtol=0, atol=1e-5)
