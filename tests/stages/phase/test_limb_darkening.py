"""A user's limb-darkening tables: what is read, what is refused before a frame is read, and what the fits make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from v50calib import Pipeline, calibrate, open_calibrated, open_visit
from v50calib.config import load
from v50calib.config.provenance import config_hash
from v50calib.errors import ConfigError, DataError
from v50calib.io.challenge.parquet import ParquetFrames
from v50calib.io.storage.location import locate
from v50calib.kernels.limb import quadratic_limb_darkening
from v50calib.runtime.batch import make_jobs
from v50calib.simulate import read_truth, simulate_dataset
from v50calib.stages.phase.limb_darkening import LimbDarkening, darkening_of

SYNC = ["runtime.scheduler=sync"]
CHANNELS = np.array([0.7, 2.0, 3.9])


def table(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("text", "u1"),
    [
        ("wavelength_um,u1,u2\n0.6,0.5,0.2\n4.0,0.1,0.1\n", 0.5),
        ("# made by a tool\nwavelength_nm, c1, c2\n4000,0.1,0.1\n600,0.5,0.2\n", 0.5),
        ("wl_min_um,wl_max_um,u1,u2,u1_err\n0.6,0.6,0.5,0.2,0.01\n4,4,0.1,0.1,0.02\n", 0.5),
        # as pipelines for JWST write what ExoTiC-LD gives them
        ("# Algorithm: ExoTiC-LD\n# Column wave: Central wavelength of bin (micron)\n#\nwave,c1,c2\n0.6,0.5,0.2\n4.0,0.1,0.1\n", 0.5),
        ("wavelength_angstrom,u1,u2\n6000,0.5,0.2\n40000,0.1,0.1\n", 0.5),
    ],
)
def test_tables_of_several_makers(tmp_path: Path, text: str, u1: float) -> None:
    """Linear in wavelength between the rows, whatever their order and unit; the width holds the table's own error."""
    found = darkening_of(LimbDarkening(file=table(tmp_path / "u.csv", text)), CHANNELS, {}, "7")
    np.testing.assert_allclose(found.u1, u1 + (CHANNELS - 0.6) / 3.4 * (0.1 - u1), rtol=1e-9)
    np.testing.assert_allclose(found.u2, 0.2 - (CHANNELS - 0.6) / 3.4 * 0.1, rtol=1e-9)
    assert (found.width >= 0.05).all()


@pytest.mark.parametrize(("unit", "scale"), [("um", 1.0), ("nm", 1e3), ("angstrom", 1e4)])
def test_bins_count_from_edge_to_edge(tmp_path: Path, unit: str, scale: float) -> None:
    """Bins that touch are a curve through their middles; the end of a bin that touches none is no other than its middle."""
    edges = [(0.6, 0.8, 0.5), (1.6, 2.0, 0.3), (2.0, 2.4, 0.2), (2.4, 4.0, 0.1)]
    rows = "".join(f"{low * scale!r},{high * scale!r},{u1},0.1\n" for low, high, u1 in edges)
    path = table(tmp_path / "u.csv", f"wl_min_{unit},wl_max_{unit},u1,u2\n{rows}")
    wavelength = np.array([0.6, 0.7, 0.8, 1.2, 1.6, 1.8, 2.0, 2.2, 2.7, 3.2, 4.0, 4.04])
    found = darkening_of(LimbDarkening(file=path), wavelength, {}, "7").u1
    np.testing.assert_allclose(found, [0.5, 0.5, 0.5, 0.4, 0.3, 0.3, 0.25, 0.2, 0.15, 0.1, 0.1, 0.1], atol=1e-12)
    with pytest.raises(ConfigError, match=r"covers 0.600-4.000 µm, the visit's channels 0.700-4.080 µm"):
        darkening_of(LimbDarkening(file=path), np.array([0.7, 4.08]), {}, "7")


def test_a_table_of_several_planets(tmp_path: Path) -> None:
    path = table(tmp_path / "u.csv", "planet_id,wavelength_um,u1,u2\n7,0.6,0.5,0.2\n7,4,0.5,0.2\n8,0.6,0.3,0.1\n8,4,0.3,0.1\n")
    assert darkening_of(LimbDarkening(file=path), CHANNELS, {}, "8").u1.tolist() == pytest.approx([0.3] * 3)
    with pytest.raises(DataError, match=r"has no row of planet 9 \(it has 2 others\)"):
        darkening_of(LimbDarkening(file=path), CHANNELS, {}, "9")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wavelength_um,q1,q2\n1,0.1,0.1\n", "it needs wavelength_um"),
        ("wavelength_um,u1,u2\n", "a header and no row"),
        ("wavelength_um,u1,u2\n0.6,0.5,\n", "line 2.*every cell"),
        ("wavelength_um,u1,u2\n600,0.5,0.2\n", "line 2.*wavelength 600 µm.*check the columns and their units"),
        ("wavelength_um,u1,u2\n0.6,nan,0.2\n", "line 2"),
    ],
)
def test_tables_that_cannot_be_read_are_refused_when_a_pipeline_is_built(tmp_path: Path, text: str, message: str) -> None:
    path = table(tmp_path / "u.csv", text)
    with pytest.raises(ConfigError, match=message):
        Pipeline.from_profile("calib/nominal", [f"calib.phase.limb_darkening.file={path}"])


def test_a_table_that_is_not_there_or_too_short(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Pipeline.from_profile("calib/nominal", [f"calib.phase.limb_darkening.file={tmp_path / 'none.csv'}"])
    path = table(tmp_path / "u.csv", "wavelength_um,u1,u2\n0.6,0.5,0.2\n2.0,0.1,0.1\n")
    with pytest.raises(ConfigError, match=r"covers 0\.600-2\.000 µm, the visit's channels 0\.700-3\.900 µm"):
        darkening_of(LimbDarkening(file=path), CHANNELS, {}, "7")


def reads_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files of a challenge folder whose frames have been read; grows."""
    reads: list[str] = []
    for name in ("read", "blocks"):
        own = getattr(ParquetFrames, name)
        monkeypatch.setattr(ParquetFrames, name, lambda self, *args, own=own: (reads.append(str(self.path)), own(self, *args))[1])
    return reads


def test_a_table_that_serves_no_visit_stops_the_run_before_a_frame_is_read(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """AIRS-CH0's channels are not in the table, or none of the planets is; without AIRS-CH0 the same table serves."""
    reads = reads_of(monkeypatch)
    short = table(tmp_path / "short.csv", "wavelength_um,u1,u2\n0.6,0.5,0.2\n2.0,0.1,0.1\n")
    chosen = [*SYNC, f"calib.phase.limb_darkening.file={short}"]
    with pytest.raises(ConfigError, match=r"covers 0.600-2.000 µm, the visit's channels 1.952-3.895 µm"):
        calibrate(dataset, tmp_path / "run", overrides=chosen)
    with pytest.raises(ConfigError, match=r"covers 0.600-2.000 µm"):
        Pipeline.from_profile("calib/nominal", chosen)(open_visit(dataset, min(p.name for p in (dataset / "train").iterdir())))
    strangers = table(tmp_path / "strangers.csv", "planet_id,wavelength_um,u1,u2\n1,0.6,0.5,0.2\n1,4.1,0.1,0.1\n")
    with pytest.raises(ConfigError, match=r"has no row of planet \d+ \(it has 1 others\): .* \(so it is for all 2 planets of this run\)"):
        calibrate(dataset, tmp_path / "run", overrides=[*SYNC, f"calib.phase.limb_darkening.file={strangers}"])
    assert not (tmp_path / "run").exists()
    assert not reads
    make_jobs(locate(dataset), locate(tmp_path / "run"), load("calib/nominal", [*chosen, "calib.photometry.instrument.name=FGS1"]))


def test_a_planet_that_the_table_lacks_fails_alone_and_without_its_frames(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    there, lacking = sorted(p.name for p in (dataset / "train").iterdir())
    reads = reads_of(monkeypatch)
    short = f"{lacking},0.6,0.5,0.2\n{lacking},0.8,0.5,0.2\n"
    path = table(tmp_path / "u.csv", f"planet_id,wavelength_um,u1,u2\n{short}{there},0.6,0.5,0.2\n{there},4.1,0.1,0.1\n")
    chosen = [*SYNC, f"calib.phase.limb_darkening.file={path}", "calib.photometry.instrument.name=AIRS-CH0"]
    with pytest.raises(ConfigError, match=rf"covers 0.600-0.800 µm for planet {lacking}.*for the only planet of this run"):
        calibrate(dataset, tmp_path / "none", overrides=chosen, planets=[lacking])
    assert not reads
    summary = calibrate(dataset, tmp_path / "run", overrides=chosen)
    assert {failed.planet_id for failed in summary.failed} == {lacking}
    assert summary.count("done") == len(list((dataset / "train" / there).glob("AIRS-CH0_signal_*")))
    assert all(f"for planet {lacking}" in failed.error for failed in summary.failed)
    assert reads
    assert not any(lacking in path for path in reads)


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        (["method=savgol", "savgol.window_h=7.6"], "savgol.window_h"),
        (["method=biweight", "biweight.window_h=9"], "biweight.window_h"),
        (["method=highpass", "highpass.window_frames=4000"], "highpass.window_frames"),
    ],
)
def test_a_window_longer_than_the_visit_stops_the_run_before_a_frame_is_read(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: list[str], key: str
) -> None:  # fmt: skip
    reads = reads_of(monkeypatch)
    chosen = [*SYNC, *(f"calib.trace.along_time.{k}" for k in keys)]
    message = rf"calib.trace.along_time.{key} is a window of [\d.]+ h, and the visit lasts 7.\d+ h"
    with pytest.raises(ConfigError, match=message):
        calibrate(dataset, tmp_path / "run", overrides=chosen)
    with pytest.raises(ConfigError, match=message):
        Pipeline.from_profile("calib/nominal", chosen)(open_visit(dataset, min(p.name for p in (dataset / "train").iterdir())))
    assert not (tmp_path / "run").exists()
    assert not reads


def test_another_content_of_the_table_is_another_config(tmp_path: Path) -> None:
    """A run is not taken for up to date after its table has been mended."""
    hashes = set()
    for u1 in ("0.5", "0.4"):
        path = table(tmp_path / "u.csv", f"wavelength_um,u1,u2\n0.6,{u1},0.2\n4.1,0.1,0.1\n")
        hashes.add(config_hash(load("calib/nominal", [f"calib.phase.limb_darkening.file={path}"])))
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [({"source": "table"}, "needs limb_darkening.file"), ({"source": "free", "file": "u.csv"}, "is not read with source=free")],
)
def test_a_source_that_contradicts_its_file_is_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LimbDarkening.model_validate(given)


def test_law_and_free_and_a_width() -> None:
    star = {"Ts": 5000.0}
    law = darkening_of(LimbDarkening(), CHANNELS, star, "")
    np.testing.assert_allclose(law.u1, quadratic_limb_darkening(CHANNELS, 5000.0)[0])
    assert (np.diff(law.width) < 0).all()
    assert darkening_of(LimbDarkening(width=0.02), CHANNELS, star, "").width.tolist() == [0.02] * 3
    assert darkening_of(LimbDarkening(source="free"), CHANNELS, star, "").width.min() > law.width.max()


def test_the_true_table_gives_smaller_errors_that_hold(tmp_path: Path) -> None:
    """FGS1's depth with the star's own coefficients: a smaller error than with the law, and the truth within 3 of it."""
    data = simulate_dataset(tmp_path / "data", planets=2, frames_fraction=0.03, seed=9, limb_table=True)
    rows = ["planet_id,wavelength_um,u1,u2"]
    wavelength = [0.7, *np.linspace(1.6, 4.0, 282)]
    for planet in read_truth(data)["planets"]:
        rows += [
            f"{planet['planet_id']},{w:.6f},{u1:.6f},{u2:.6f}" for w, u1, u2 in zip(wavelength, planet["u1"], planet["u2"], strict=True)
        ]
    path = table(tmp_path / "u.csv", "\n".join(rows))
    only = [*SYNC, "calib.photometry.instrument.name=FGS1", "calib.phase.depths.planet=false"]
    calibrate(data, tmp_path / "law", overrides=only)
    calibrate(data, tmp_path / "table", overrides=[*only, f"calib.phase.limb_darkening.file={path}"])
    truth = {str(p["planet_id"]): p["depth"][0] for p in read_truth(data)["planets"]}
    tables = open_calibrated(tmp_path / "table")
    for leaf in open_calibrated(tmp_path / "law").leaves:
        law, own = leaf.to_dataset(), tables[leaf.path].to_dataset()
        assert float(own["white_depth_sigma"]) < 0.95 * float(law["white_depth_sigma"])
        assert abs(float(own["white_depth"]) - truth[str(own.attrs["planet_id"])]) < 3 * float(own["white_depth_sigma"])
