"""From a calibrated run to the spectra that are handed in: planets' fits, an estimator, recalibrated sigmas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from v50calib.errors import ConfigError, DataError
from v50calib.io.storage.location import Location
from v50calib.kernels.arrays import Float
from v50calib.runs.calibrated import calibrated_visits
from v50calib.runs.estimates import write_estimates
from v50calib.runs.manifest import read as read_manifest
from v50calib.runs.planet_verdicts import record_of
from v50calib.runtime.planets import distrusted, planet_fits
from v50calib.runtime.trust import planet_widenings, widened_fit, widened_visit
from v50calib.tables.sheet import by_planet, parse
from v50calib.uncertainty.crossfit import crossfit
from v50calib.uncertainty.estimate import METHODS, Estimates, Log, dataset_of, estimate, full_wavelength
from v50calib.uncertainty.evaluate import record
from v50calib.uncertainty.options import TopLevelCalib
from v50calib.uncertainty.spectra import Spectra, combine
from v50calib.uncertainty.tables import Predictions, Truth
from v50calib.uncertainty.workflow import with_truth

Estimator = Literal["depths", "gp", "population"]
ESTIMATORS: tuple[Estimator, ...] = ("depths", *METHODS)


@dataclass(frozen=True)
class Solution:
    """Predictions of all planets of a run. spectra: the depths as measured; estimates: None for `depths`; scores: of each step that was
    judged on the truth; notes for the user."""

    predictions: Predictions
    spectra: Spectra
    estimates: Estimates | None
    estimator: Estimator
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def measured_spectra(
    run_dir: Location, naive: Mapping[str, float] | None, log: Log | None = None
) -> tuple[Spectra, dict[str, Float]]:  # fmt: skip
    """Depths of a run's planets with their covariance, and the wavelengths of each instrument. Fits that are missing are made.

    Errors are widened by what distrust says (`v50calib.qc.widening`), and the notes list it.
    naive {"mean", "sigma"}: for planets without a transit, None: they are an error. log: told (done, of all) while fits are looked at, then
    while depths are read. Raises DataError, StoreError.
    """
    fits = planet_fits(run_dir, log)
    wider = {planet: planet_widenings(record_of(ds.attrs), list(ds.attrs["instruments"])) for planet, ds in fits.items()}
    notes = [f"planet {planet}, {name}: {one.text}" for planet, each in wider.items() for name, one in each.items()]
    wavelengths: dict[str, Float] = {}

    expected = {entry.planet_id for entry in read_manifest(run_dir)}
    seen: set[str] = set()

    def noting(visits: Any) -> Any:
        for ds in visits:
            seen.add(str(ds.attrs["planet_id"]))
            if log is not None:
                log(len(seen), max(len(expected), len(seen)))
            if "wavelength" in ds.coords:
                wavelengths.setdefault(str(ds.attrs["instrument"]), np.asarray(ds["wavelength"], np.float64))
            fit = fits.get(str(ds.attrs["planet_id"]))
            if fit is not None and f"{ds.attrs['visit']}/{ds.attrs['instrument']}" in fit.attrs.get("left_out", {}):
                continue
            if fit is None or ds.attrs["instrument"] not in fit.attrs["instruments"]:
                ds, note = widened_visit(ds)
                notes.extend([f"planet {ds.attrs['planet_id']}, {note}"] if note else [])
            yield ds

    widened = {planet: widened_fit(ds, wider[planet]) for planet, ds in fits.items()}
    found = combine(noting(calibrated_visits(run_dir)), naive, widened or None, expected)
    found.notes.extend([*notes, *distrusted(fits)])
    return found, wavelengths


def solve_spectra(
    run_dir: Location, estimator: Estimator, options: TopLevelCalib, truth: Truth | None = None, *, naive_depths: bool = False,
    recalibrate: bool = True, log: Log | None = None, reading: Log | None = None,
) -> Solution:  # fmt: skip
    """Spectra of a calibrated run's planets by an estimator, their sigmas recalibrated where the truth covers enough of the planets.

    naive_depths: `depths` writes the naive mean and sigma for planets without a transit; without they are an error. The other estimators
    have a prior for them. log, reading: told of planets done by the estimator, and read before it. The estimates are written
    to run_dir/estimates.zarr/<estimator>. Raises ConfigError, DataError, StoreError.
    """
    if estimator == "population" and truth is None:
        raise ConfigError("the estimator population is fitted to true spectra: give --truth train.csv, or choose --estimator gp")
    naive = {"mean": options.score.naive_mean, "sigma": options.score.naive_sigma}
    spectra, wavelengths = measured_spectra(run_dir, naive if naive_depths or estimator != "depths" else None, reading)
    before, estimates, notes = spectra.predictions, None, list(spectra.notes)
    if estimator != "depths":
        wavelength = full_wavelength(wavelengths)
        # what stood in for a missing depth is not what the estimator saw
        notes = [note for note in notes if note not in spectra.filled]
        estimates = estimate(before.ids, spectra.measured, wavelength, estimator, truth, log)
        write_estimates(run_dir, estimator, dataset_of(estimates, {"estimator": estimator}), {"estimator": estimator})
        before = estimates.predictions
        notes += estimates.notes
    predictions, scores = before, {}
    known = _known(before, truth)
    if truth is not None and known is None:
        notes.append(f"the truth holds none of this run's {len(before.ids)} planets: nothing was scored, no sigma recalibrated")
    if known is not None:
        scores["depths"] = record(spectra.predictions, known, options.score)
        if estimator != "depths":
            scores[estimator] = record(before, known, options.score)
        if recalibrate:
            cross = crossfit(before, known, options)
            predictions = cross.predictions
            notes += cross.notes
            if cross.kept:
                scores["recalibrated"] = record(predictions, known, options.score)
    return Solution(predictions, spectra, estimates, estimator, scores, tuple(notes))


def _known(predictions: Predictions, truth: Truth | None) -> Truth | None:
    """The truth of the run's own planets; None where it has none of them."""
    if truth is None or not set(truth.ids) & set(predictions.ids):
        return None
    return with_truth(predictions, truth)


def submission_ids(data: Location, ids: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Planets that a submission of this dataset has, in its order, and a note: those of sample_submission.csv where the run has them all,
    else all of the run.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "sample_submission.csv").write_text("planet_id,wl_1\\n7,0.1\\n")
    ...     submission_ids(Path(folder), ("6", "7"))[0], submission_ids(Path(folder), ("6",))[0]
    (('7',), ('6',))
    """
    sample = data / "sample_submission.csv"
    if not sample.is_file():
        return ids, ""
    try:
        planets = by_planet(parse(str(sample), sample.read_bytes(), "planets, a sample submission"), len)
    except (DataError, OSError) as exc:
        raise DataError(f"{exc} (its first column is planet_id; mend or remove it)") from exc
    asked, notes = tuple(planets.rows), planets.notes
    missing = [i for i in asked if i not in ids]
    if missing:
        shown = ", ".join(missing[:3])
        return (
            ids,
            f"sample_submission.csv asks for {len(missing)} planets that this run does not have ({shown}): the run's planets are written",
        )
    if not asked or notes:
        # its order is known in part: all planets of the run are more than a part of them
        first = notes[0] if notes else f"'{sample}' names no planet"
        return ids, f"{first}; the run's {len(ids)} planets are written"
    return asked, f"the {len(asked)} planets of sample_submission.csv are written, in its order"
