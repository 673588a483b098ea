"""Limb darkening of stellar models by exotic-ld: a stand-in with the package's own calls, and the package itself where it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_exotic_ld
import numpy as np
import pytest
from fake_exotic_ld import StellarLimbDarkening, true_law, write_model

from v50calib import Pipeline, calibrate, open_calibrated
from v50calib.errors import ConfigError, DataError
from v50calib.simulate import read_truth, simulate_dataset
from v50calib.stages.phase import limb_models
from v50calib.stages.phase.limb_darkening import LimbDarkening, check_darkening, darkening_of

CHANNELS = np.array([0.7, 2.0, 2.01, 3.9])
EDGES = np.array([[0.6, 0.8], [1.95, 2.005], [2.005, 2.1], [3.8, 4.0]])
STAR = {"Ts": 5490.0, "Ms": 1.0, "Rs": 1.05}
ONLY_REAL = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:pkg_resources"),
    pytest.mark.skipif(importlib.util.find_spec("exotic_ld") is None, reason="exotic-ld is not installed"),
]


@pytest.fixture(params=["stand-in", pytest.param("exotic-ld", marks=ONLY_REAL)])
def package(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """exotic-ld or what stands in for it; nothing of an earlier test is kept."""
    limb_models._computed.cache_clear()
    if request.param == "stand-in":
        fake_exotic_ld.install(monkeypatch)
    return str(request.param)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    limb_models._computed.cache_clear()
    fake_exotic_ld.install(monkeypatch)


def config(folder: Path, **keys: Any) -> LimbDarkening:
    return LimbDarkening.model_validate({"source": "exotic-ld", "exotic_ld": {"data": str(folder), "metallicity": 0.0} | keys})


def test_coefficients_are_those_of_the_models(package: str, tmp_path: Path) -> None:
    """The models' own law, a straight line in wavelength: of a channel it is that of its middle. The width holds the fit's error."""
    write_model(tmp_path, 5500.0)
    found = darkening_of(config(tmp_path), CHANNELS, STAR, "7", EDGES)
    u1, u2 = true_law(EDGES.mean(axis=1), 5500.0)
    np.testing.assert_allclose(found.u1, u1, atol=2e-4)
    np.testing.assert_allclose(found.u2, u2, atol=2e-4)
    fit = 0.02 if package == "stand-in" else 0.0
    np.testing.assert_allclose(found.width, np.hypot(0.05, fit), rtol=1e-3)
    assert darkening_of(config(tmp_path).model_copy(update={"width": 0.1}), CHANNELS, STAR, "7", EDGES).width.tolist() == [0.1] * 4


def test_between_models(package: str, tmp_path: Path) -> None:
    for metallicity in (0.0, 0.05):
        for teff in (5500.0, 5600.0):
            for logg in (4.4, 4.5):
                write_model(tmp_path, teff, logg, metallicity)
    between = config(tmp_path, interpolation="trilinear", teff=5525.0, logg=4.42, metallicity=0.02)
    check_darkening(between, CHANNELS, {}, "7")
    # intensities are even at the centre, so their mean has the mean law
    np.testing.assert_allclose(darkening_of(between, CHANNELS, {}, "7", EDGES).u1, true_law(EDGES.mean(axis=1), 5525.0)[0], atol=2e-4)


@pytest.mark.parametrize("interpolation", ["nearest", "trilinear"])
def test_nothing_is_downloaded(package: str, tmp_path: Path, interpolation: str) -> None:
    """A model that is not there is refused by its name, and the folder stays as it was."""
    write_model(tmp_path, 6000.0)
    before = sorted(tmp_path.rglob("*"))
    for ask in (check_darkening, darkening_of):
        with pytest.raises(DataError, match=r"lacks the model mps1/MH0.0/teff5500/logg4.4/mps1_spectra.dat: nothing is downloaded"):
            ask(config(tmp_path, interpolation=interpolation, teff=5510.0, logg=4.42), CHANNELS, STAR, "7")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_star_far_from_every_model(package: str, tmp_path: Path) -> None:
    # the hottest of the stand-in and of mps1
    for teff in (5600.0, 9000.0):
        write_model(tmp_path, teff)
    hot = {"teff": 40000.0, "logg": 4.4}
    with pytest.raises(DataError, match=r"has no model near the star \(\[M/H\] 0, Teff 40000 K, log g 4.40\): the nearest is .* Teff [59]"):
        check_darkening(config(tmp_path, **hot), CHANNELS, STAR, "7")
    with pytest.raises(DataError, match="no eight models about the star"):
        check_darkening(config(tmp_path, interpolation="trilinear", **hot), CHANNELS, STAR, "7")


def test_a_star_is_computed_once_and_the_cache_knows_what_differs(stand_in: None, tmp_path: Path) -> None:
    write_model(tmp_path, 5500.0)
    for _ in range(3):
        darkening_of(config(tmp_path), CHANNELS, STAR, "7", EDGES)
    assert StellarLimbDarkening.computed == 4
    darkening_of(config(tmp_path), CHANNELS, STAR, "7", EDGES + 0.01)
    darkening_of(config(tmp_path), CHANNELS, STAR | {"Rs": 1.06}, "7", EDGES)
    darkening_of(config(tmp_path, mu_min=0.2), CHANNELS, STAR, "7", EDGES)
    assert StellarLimbDarkening.computed == 16


def test_parameters_of_the_star() -> None:
    """log g of the Sun's neighbours: GM/R² in cgs from their masses and radii; a key stands for every star, before the table."""
    sun = limb_models.ExoticLd(metallicity=0.1)
    for mass, radius in ((1.0, 1.0), (0.8, 0.75), (1.3, 1.6)):
        found = limb_models.star_point(sun, {"Ts": 5000.0, "Ms": mass, "Rs": radius}, "7")
        assert found.logg == pytest.approx(np.log10(6.6743e-8 * 1.98841e33 * mass / (6.957e10 * radius) ** 2), abs=1e-4)
        assert (found.metallicity, found.teff) == (0.1, 5000.0)
    assert limb_models.star_point(limb_models.ExoticLd(metallicity=0, teff=6000, logg=4), STAR, "7").teff == 6000
    with pytest.raises(
        DataError, match=r"planet 7: teff \(Ts of the star table\), logg \(Ms and Rs of the star table\)\. Complete the table"
    ):
        limb_models.star_point(sun, {"Ms": 1.0}, "7")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"exotic_ld": {"data": "d"}}, r"needs limb_darkening.exotic_ld.metallicity "),
        ({}, r"needs limb_darkening.exotic_ld.data and limb_darkening.exotic_ld.metallicity"),
        ({"file": "u.csv"}, "is not read with source=exotic-ld"),
        ({"source": "law", "exotic_ld": {"teff": 5000}}, "exotic_ld is not read with source=law"),
    ],
)
def test_keys_that_do_not_go_together(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LimbDarkening.model_validate({"source": "exotic-ld"} | keys)


def chosen(folder: Path) -> list[str]:
    key = "calib.phase.limb_darkening"
    return [f"{key}.source=exotic-ld", f"{key}.exotic_ld.data={folder}", f"{key}.exotic_ld.metallicity=0"]


def _pipeline(folder: Path) -> Pipeline:
    key = "calib.phase.limb_darkening"
    return Pipeline.from_profile(
        "calib/nominal", [f"{key}.source=exotic-ld", f"{key}.exotic_ld.data={folder}", f"{key}.exotic_ld.metallicity=0"]
    )


def test_what_is_not_installed_is_refused_when_a_pipeline_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fake_exotic_ld.sys.modules, "exotic_ld", None)
    with pytest.raises(
        ConfigError, match=r"needs the package exotic-ld, which cannot be imported .*: pip install exotic-ld 'setuptools<82', or"
    ):
        _pipeline(tmp_path)
    fake_exotic_ld.install(monkeypatch)
    with pytest.raises(ConfigError, match=r"has no folder mps1/: nothing is downloaded in a run"):
        _pipeline(tmp_path)
    write_model(tmp_path, 5500.0)
    _pipeline(tmp_path)
    old = ModuleType("exotic_ld.ld_grids")
    old.StellarGrids = lambda M_H, Teff, logg: None  # type: ignore[attr-defined]
    monkeypatch.setitem(fake_exotic_ld.sys.modules, "exotic_ld.ld_grids", old)
    with pytest.raises(ConfigError, match=r"knows exotic-ld 3.2, and another version is installed"):
        _pipeline(tmp_path)


def test_files_and_numbers_that_no_star_has(stand_in: None, tmp_path: Path) -> None:
    path = write_model(tmp_path, 5500.0)
    with pytest.raises(DataError, match=r"no coefficients at 4.400-5.000 µm .*no overlap"):
        darkening_of(config(tmp_path), np.array([4.7]), STAR, "7", np.array([[4.4, 5.0]]))
    lines = path.read_text("ascii").splitlines()
    path.write_text("\n".join([*lines[:2], *(" ".join([line.split()[0], *reversed(line.split()[1:])]) for line in lines[2:])]), "ascii")
    limb_models._computed.cache_clear()
    with pytest.raises(DataError, match=r"which no star has \(u1 >= 0"):
        darkening_of(config(tmp_path), CHANNELS, STAR, "7", EDGES)
    path.write_text("<html>\n<body>\nnot found", "ascii")
    limb_models._computed.cache_clear()
    with pytest.raises(DataError, match=r"mps1_spectra.dat: no model of exotic-ld .*: fetch it again"):
        darkening_of(config(tmp_path), CHANNELS, STAR, "7", EDGES)


def test_a_run_with_models_of_some_stars(stand_in: None, tmp_path: Path) -> None:
    """The star without a model fails alone, in its own words; without any model the run does not start."""
    data = simulate_dataset(tmp_path / "data", planets=2, frames_fraction=0.004, seed=9)
    planets = [str(planet["planet_id"]) for planet in read_truth(data)["planets"]]
    _give_stars(data, {planets[0]: 5490.0, planets[1]: 5610.0})
    models = tmp_path / "models"
    fgs1 = ["calib.photometry.instrument.name=FGS1", "runtime.scheduler=sync"]
    asked = [*chosen(models), *fgs1, "calib.phase.limb_darkening.exotic_ld.logg=4.4"]
    write_model(models, 5500.0)
    summary = calibrate(data, tmp_path / "run", overrides=asked)
    assert (summary.count("done"), len(summary.failed)) == (1, 1)
    assert "lacks the model mps1/MH0.0/teff5600/logg4.4" in str(summary.failed[0])
    (leaf,) = open_calibrated(tmp_path / "run").leaves
    u1, u2, width = leaf.to_dataset()["fit_darkening"].to_numpy()[:, 0]
    np.testing.assert_allclose((u1, u2, width), (*true_law(0.7, 5500.0), np.hypot(0.05, 0.02)), atol=2e-4)
    for path in models.rglob("*.dat"):
        path.unlink()
    with pytest.raises(ConfigError, match=r"lacks the model .*\(so it is for all 2 planets of this run\)"):
        calibrate(data, tmp_path / "other", overrides=asked)


def _give_stars(data: Path, temperatures: dict[str, float]) -> None:
    """Write these temperatures [K] into the dataset's star table."""
    path = data / "train_star_info.csv"
    header, *rows = [line.split(",") for line in path.read_text("utf-8").splitlines()]
    for row in rows:
        row[header.index("Ts")] = str(temperatures[row[0]])
    path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n", "utf-8")
