"""Frames of FITS and HDF5 files; ramps of more reads than two, single frames; codes of wider types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from v50calib.errors import DataError
from v50calib.io import open_root
from v50calib.io.detector_yaml.frames import bias_frame
from v50calib.io.source import VisitSource

RNG = np.random.default_rng(7)
RAMPS, GROUPS, NY, NX = 6, 4, 5, 7
CODES = RNG.integers(200, 60000, (RAMPS, GROUPS, NY, NX), dtype=np.uint16)
DARK = RNG.uniform(0.1, 0.4, (NY, NX))


def opened(root: Path, frames: str, visit: dict[str, Any] | None = None, **detector: Any) -> VisitSource:
    """The only visit of a root with these frames."""
    maps = {"dark": "none", "flat": "none", "dead": "none", "read_noise": 3.0, "linear_corr": "none"}
    facts = {"shape": [NY, NX], "wavelength_um": 0.6, "exposure_s": [1.0, 4.0], "cadence_s": 5.0, "maps": maps}
    facts["adc"] = {"gain_adu_per_e": 0.5, "bias_adu": 100.0}
    one = {"planet_id": "lamp", "frames": frames, **(visit or {})}
    (root / "detector.yaml").write_text(yaml.safe_dump({"instruments": {"CAM": facts | detector}, "visits": [one]}))
    where = open_root(root)
    (key,) = where.visits()
    source = where.open(key)
    assert source.instrument == where.instrument(key)
    return source


def all_frames(source: VisitSource) -> np.ndarray:
    """Every frame; read whole, in parts and in blocks alike."""
    n = source.frames.n_frames
    whole = source.frames.read(0, n)
    np.testing.assert_array_equal(source.frames.read(3, 6), whole[3:6])
    np.testing.assert_array_equal(source.frames.read(n - 1, n), whole[-1:])
    np.testing.assert_array_equal(np.concatenate([block for _, block in source.frames.blocks(4)]), whole)
    np.testing.assert_array_equal(np.concatenate([source.frames.read_unit(i) for i in range(len(source.frames.units))]), whole)
    assert whole.dtype == np.uint16
    return whole


def pairs_of(ramps: np.ndarray) -> np.ndarray:
    """First and last read of each ramp, one behind the other."""
    return np.stack([ramps[:, 0], ramps[:, -1]], axis=1).reshape(-1, NY, NX)


def save_fits(path: Path, **images: np.ndarray) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(values, name=name) for name, values in images.items())]
    fits.HDUList(hdus).writeto(path)


def test_ramps_of_a_fits_file(tmp_path: Path) -> None:
    save_fits(tmp_path / "jw.fits", sci=CODES, dark=DARK, other=DARK)
    maps = {"dark": "jw.fits::DARK", "flat": "none", "dead": "none", "read_noise": 3.0, "linear_corr": "none"}
    with pytest.raises(DataError, match=r"has 4 reads a ramp, and the chain takes pairs: say `reads: first_and_last`"):
        opened(tmp_path, "jw.fits::SCI", maps=maps)
    source = opened(tmp_path, "jw.fits::sci", maps=maps, reads="first_and_last")
    np.testing.assert_array_equal(all_frames(source), pairs_of(CODES))
    np.testing.assert_array_equal(source.reference.dark, DARK)
    np.testing.assert_array_equal(source.exposure_s[:4], [1.0, 4.0, 1.0, 4.0])
    np.testing.assert_allclose(source.time_h * 3600.0, np.add.outer(5.0 * np.arange(RAMPS), [1.0, 4.0]).ravel())


def test_stamps_of_ramps_by_read_or_by_reset(tmp_path: Path) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    resets = 100.0 + 5.0 * np.arange(RAMPS)
    table = fits.BinTableHDU.from_columns([fits.Column("START", "D", unit="s", array=resets)], name="TIMES")
    fits.HDUList([fits.PrimaryHDU(CODES), table]).writeto(tmp_path / "f.fits")
    ramp = np.array([1.0, 2.0, 3.0, 4.0])
    np.savez(tmp_path / "t.npz", reads=np.add.outer(resets, ramp).ravel(), since=np.tile(ramp, RAMPS), odd=np.arange(7.0))
    by_reset = opened(tmp_path, "f.fits::PRIMARY", {"time_h": "f.fits::TIMES/START"}, reads="first_and_last")
    by_read = opened(tmp_path, "f.fits::0", {"time_s": "t.npz::reads", "exposure_s": "t.npz::since"}, reads="first_and_last")
    np.testing.assert_allclose(by_reset.time_h, by_read.time_h, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(by_read.exposure_s, by_reset.exposure_s)
    with pytest.raises(DataError, match=r"shape \(7,\), expected \(12,\) or \(24,\) or \(6,\)"):
        opened(tmp_path, "f.fits::PRIMARY", {"time_s": "t.npz::odd"}, reads="first_and_last")


def test_reads_one_behind_the_other_need_their_number(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", CODES.reshape(-1, NY, NX))
    with pytest.raises(DataError, match="give reads_per_ramp"):
        opened(tmp_path, "f.npy", reads="first_and_last")
    source = opened(tmp_path, "f.npy", reads="first_and_last", reads_per_ramp=GROUPS)
    np.testing.assert_array_equal(all_frames(source), pairs_of(CODES))
    with pytest.raises(DataError, match="24 frames, expected a number above 0 that is whole ramps of 5"):
        opened(tmp_path, "f.npy", reads="first_and_last", reads_per_ramp=5)
    with pytest.raises(DataError, match="goes with reads: first_and_last"):
        opened(tmp_path, "f.npy", reads_per_ramp=4)


def test_ramps_of_two_are_pairs_in_any_order_of_axes(tmp_path: Path) -> None:
    two = CODES[:, :2]
    np.save(tmp_path / "f.npy", two.transpose(3, 0, 2, 1))
    source = opened(tmp_path, "f.npy", dims=["x", "integration", "y", "group"])
    np.testing.assert_array_equal(all_frames(source), two.reshape(-1, NY, NX))


def test_hdf5_by_path_with_named_axes(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "f.h5", "w") as file:
        data = file.create_dataset("run/frames", data=CODES.transpose(1, 0, 3, 2), chunks=(2, 3, NX, NY), compression="gzip")
        for axis, label in zip(data.dims, ("group", "integration", "x", "y"), strict=True):
            axis.label = label
        file["run/time"] = np.add.outer(5.0 * np.arange(RAMPS), [1.0, 2.0, 3.0, 4.0]).ravel() / 60.0
        file["run/time"].attrs["units"] = "minutes"
    source = opened(tmp_path, "f.h5::run/frames", {"time_h": "f.h5::/run/time"}, reads="first_and_last")
    np.testing.assert_array_equal(all_frames(source), pairs_of(CODES))
    np.testing.assert_allclose(source.time_h[:2] * 3600.0, [1.0, 4.0])
    with pytest.raises(DataError, match=r"holds 2 arrays \(run/frames, run/time\)"):
        opened(tmp_path, "f.h5")
    with pytest.raises(DataError, match="'run' is a group"):
        opened(tmp_path, "f.h5::run")


def test_single_frames_are_pairs_with_the_bias(tmp_path: Path) -> None:
    singles = CODES[:, 0]
    save_fits(tmp_path / "night.fits", sci=singles)
    np.save(tmp_path / "long.npy", np.linspace(2.0, 3.0, RAMPS))
    source = opened(tmp_path, "night.fits", reads="single", exposure_s=[0.0, 4.0])
    frames = all_frames(source)
    assert (frames[0::2] == frames[0]).all()
    assert abs(frames[0].astype(int) - 100).max() == 1
    np.testing.assert_array_equal(frames[1::2], singles)
    np.testing.assert_allclose(source.reference.read, 3.0 / np.sqrt(2.0))
    np.testing.assert_allclose(source.time_h * 3600.0, np.add.outer(5.0 * np.arange(RAMPS), [0.0, 4.0]).ravel())
    varied = opened(tmp_path, "night.fits", reads="single", exposure_s="long.npy")
    np.testing.assert_allclose(varied.exposure_s[1::2], np.linspace(2.0, 3.0, RAMPS))
    for bias in (100.0, 100.3, 100.5, 250.9):
        whole = opened(tmp_path, "night.fits", reads="single", exposure_s=[0.0, 4.0], adc={"gain_adu_per_e": 0.5, "bias_adu": bias})
        tiles = bias_frame(bias, (8, 8)).astype(float)
        np.testing.assert_array_equal(whole.frames.read(0, 1)[0], bias_frame(bias, (NY, NX)))
        assert abs(tiles.mean() - bias) <= 0.125
        assert abs(tiles - bias).max() < 2.0
        # the share from which a frame counts as lost is far off
        assert (tiles == tiles.min()).mean() < 0.5
    with pytest.raises(DataError, match="the bias is 0 ADU"):
        opened(tmp_path, "night.fits", reads="single", exposure_s=[0.0, 4.0], adc={"gain_adu_per_e": 0.5})


def test_a_file_a_frame(tmp_path: Path) -> None:
    """As a telescope leaves them: times and exposures in the headers."""
    fits = pytest.importorskip("astropy.io.fits")
    (tmp_path / "night").mkdir()
    starts = np.datetime64("2026-11-02T20:00:00") + np.timedelta64(7, "s") * np.arange(RAMPS)
    for i, frame in enumerate(CODES[:, 0]):
        head = fits.Header({"DATE-OBS": str(starts[i]), "EXPTIME": 4.0 + i % 2, "MJD-OBS": 60981.0 + i * 7.0 / 86400.0})
        fits.HDUList([fits.PrimaryHDU(header=head), fits.ImageHDU(frame)]).writeto(tmp_path / "night" / f"a{i:03d}.fits")
    where = {"time_h": "night/*.fits::@DATE-OBS", "exposure_s": "night/*.fits::@EXPTIME"}
    source = opened(tmp_path, "night/a*.fits", where, reads="single")
    np.testing.assert_array_equal(all_frames(source)[1::2], CODES[:, 0])
    np.testing.assert_array_equal(source.exposure_s[1::2], [4.0, 5.0] * 3)
    np.testing.assert_allclose((source.time_h - source.time_h[0])[::2] * 3600.0, 7.0 * np.arange(RAMPS), atol=1e-5)
    by_days = opened(tmp_path, "night/*.fits", where | {"time_h": "night/*.fits::@MJD-OBS"}, reads="single")
    np.testing.assert_allclose((by_days.time_h - by_days.time_h[0])[::2] * 3600.0, 7.0 * np.arange(RAMPS), atol=1e-3)
    with pytest.raises(DataError, match="no time or number 'JD'"):
        opened(tmp_path, "night/*.fits", where | {"time_h": "night/*.fits::@JD"}, reads="single")
    with pytest.raises(DataError, match="fits 0 files"):
        opened(tmp_path, "nights/*.fits", where, reads="single")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(CODES[0, 0, :4])]).writeto(tmp_path / "night" / "a003.fits", overwrite=True)
    where["time_h"] = "night/*.fits::@DATE-OBS"
    with pytest.raises(DataError, match=r"a003.fits"):
        opened(tmp_path, "night/*.fits", {}, reads="single", exposure_s=[0.0, 4.0]).frames.read(0, 12)


@pytest.mark.parametrize("dtype", ["int16", "uint32", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("suffix", ["npy", "fits"])
def test_codes_of_other_types_are_the_same_codes(tmp_path: Path, dtype: str, suffix: str) -> None:
    codes = (CODES[:, :2].reshape(-1, NY, NX) // 2).astype(dtype)
    if suffix == "npy":
        np.save(tmp_path / "f.npy", codes)
    else:
        save_fits(tmp_path / "f.fits", sci=codes)
    np.testing.assert_array_equal(all_frames(opened(tmp_path, f"f.{suffix}")), CODES[:, :2].reshape(-1, NY, NX) // 2)


@pytest.mark.parametrize(
    ("value", "said"),
    [(70000.0, "codes from .* to 70000"), (-1.0, "codes from -1"), (1.5, "has 1.5, no whole number"), (np.nan, "not finite")],
)
def test_what_is_no_code_is_refused(tmp_path: Path, value: float, said: str) -> None:
    codes = CODES[:, :2].reshape(-1, NY, NX).astype(float)
    codes[-1, 0, 0] = value
    np.save(tmp_path / "f.npy", codes)
    source = opened(tmp_path, "f.npy")
    with pytest.raises(DataError, match=said):
        source.frames.read(8, 12)
    codes[0, 0, 0] = value
    np.save(tmp_path / "f.npy", codes)
    with pytest.raises(DataError, match=said):
        # known before any frame is asked for
        opened(tmp_path, "f.npy")


def test_scaled_and_cut_fits_files_are_refused(tmp_path: Path) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    image = fits.ImageHDU(CODES[:, 0].astype(np.int16))
    image.scale("int16", bscale=0.5, bzero=10.0)
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(tmp_path / "scaled.fits")
    with pytest.raises(DataError, match=r"packed numbers \(BSCALE, BZERO\)"):
        opened(tmp_path, "scaled.fits")
    save_fits(tmp_path / "f.fits", sci=np.tile(CODES[:, :2].reshape(-1, NY, NX), (20, 1, 1)))
    (tmp_path / "cut.fits").write_bytes((tmp_path / "f.fits").read_bytes()[:9000])
    with pytest.raises(DataError, match="was cut short"):
        opened(tmp_path, "cut.fits")
    (tmp_path / "none.fits").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="cannot be read as fits"):
        opened(tmp_path, "none.fits")


def test_a_missing_reader_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_fits(tmp_path / "f.fits", sci=CODES[:, 0])
    monkeypatch.setitem(__import__("sys").modules, "astropy.io", None)
    with pytest.raises(DataError, match=r"pip install 'v50calib\[fits\]'"):
        opened(tmp_path, "f.fits")
    (tmp_path / "f.h5").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(DataError, match=r"pip install 'v50calib\[hdf5\]'"):
        opened(tmp_path, "f.h5")
