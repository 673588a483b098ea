"""Spectra of planets by an estimator of `v50calib.estimators`: mean and covariance of each, never a planet by its own truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from v50calib.errors import ConfigError, DataError
from v50calib.estimators.crossfit import one_by_one
from v50calib.estimators.fitting import Options
from v50calib.estimators.gp import GaussianProcess
from v50calib.estimators.measured import Measured, Posterior
from v50calib.kernels.arrays import Float
from v50calib.schema import CHANNELS
from v50calib.uncertainty.crossfit import FOLDS
from v50calib.uncertainty.tables import N_BINS, Predictions, Truth

Method = Literal["gp", "population"]
METHODS: tuple[Method, ...] = ("gp", "population")
#: true spectra from which a population is fitted to them without being asked for: each part leaves a fifth of them out
ENOUGH = 30
#: share of each channel's variance that is added, so that a covariance has a Cholesky factor
NUGGET = 1e-6
Log = Callable[[int, int], None]


@dataclass(frozen=True)
class Estimates:
    """ids (n,) of planets; wavelength (283,) µm; mean (n, 283); cov (n, 283, 283), positive definite; notes for the user."""

    ids: tuple[str, ...]
    wavelength: Float
    mean: Float
    cov: Float
    notes: tuple[str, ...] = ()

    @property
    def predictions(self) -> Predictions:
        """As a submission has them: mu not below 0."""
        sigma = np.sqrt(np.diagonal(self.cov, axis1=1, axis2=2))
        return Predictions(self.ids, np.maximum(self.mean, 0.0), sigma)


def estimate(
    ids: Sequence[str], measured: Sequence[Measured], wavelength: Float, method: Method, truth: Truth | None = None, log: Log | None = None
) -> Estimates:
    """Mean and covariance of each planet's spectrum after a prior.

    gp: a Gaussian process along wavelength, no population. population: fitted to `truth` (wavelength (283,) in µm, FGS1 first); a
    planet that is in the truth itself gets the fit of a fifth's others. Raises ConfigError for population without truth, DataError where it
    holds too few planets or other than (n, 283) finite values.

    >>> wavelength, depth = np.r_[0.7, np.linspace(1.95, 3.9, 282)], np.full(283, 0.01)
    >>> found = estimate(["7"], [Measured.independent(depth, np.full(283, 1e-4))], wavelength, "gp")
    >>> found.ids, found.predictions.mu[0, :2].round(4), found.cov.shape
    (('7',), array([0.01, 0.01]), (1, 283, 283))
    """
    mean, cov = np.empty((len(ids), N_BINS)), np.empty((len(ids), N_BINS, N_BINS))
    notes, each = list[str](), np.arange(N_BINS)
    posteriors = _by_gp(measured, wavelength) if method == "gp" else _by_population(ids, measured, wavelength, truth)
    for done, (i, posterior) in enumerate(posteriors, start=1):
        mean[i], cov[i] = posterior.mean, posterior.cov
        # a smooth prior leaves directions without variance: rounding must not make them negative
        cov[i, each, each] *= 1.0 + NUGGET
        if posterior.note:
            notes.append(f"planet {ids[i]}: {posterior.note}")
        if log is not None:
            log(done, len(ids))
    return Estimates(tuple(ids), wavelength, mean, cov, tuple(sorted(notes)))


def _by_gp(measured: Sequence[Measured], wavelength: Float) -> Iterator[tuple[int, Posterior]]:
    process = GaussianProcess(wavelength)
    return ((i, process.posterior(one)) for i, one in enumerate(measured))


def _by_population(
    ids: Sequence[str], measured: Sequence[Measured], wavelength: Float, truth: Truth | None
) -> Iterator[tuple[int, Posterior]]:
    """Planets in the order of the fits that they need: one of all the truth, and one for each part of it."""
    if truth is None:
        raise ConfigError("the estimator population is fitted to true spectra: give --truth train.csv, or choose --estimator gp")
    row = {planet: i for i, planet in enumerate(ids)}
    found = one_by_one(truth.y, truth.ids, wavelength, dict(zip(ids, measured, strict=True)), folds=min(FOLDS, max(2, len(truth.ids))))
    return ((row[planet], posterior) for planet, posterior in found)


def check_population(truth: Truth | None, planets: Iterable[str]) -> None:
    """Whether a population can be fitted for these planets, which is known before any frame is read. Raises ConfigError, DataError.

    >>> check_population(Truth(("7", "8"), np.full((2, N_BINS), 0.01)), ["9"])
    Traceback (most recent call last):
    v50calib.errors.DataError: the truth holds 2 spectra, and a population takes at least 20: give more, or take --estimator gp
    """
    if truth is None:
        raise ConfigError("the estimator population is fitted to true spectra: give --truth train.csv, or choose --estimator gp")
    fewest, count = Options().fewest, len(truth.ids)
    if count < fewest:
        raise DataError(f"the truth holds {count} spectra, and a population takes at least {fewest}: give more, or take --estimator gp")
    folds = min(FOLDS, max(2, count))
    left = count - math.ceil(count / folds)
    if left < fewest and set(planets) & set(truth.ids):
        raise DataError(
            f"the truth holds {count} spectra, and planets among them are estimated without their fifth of it: the {left} that are "
            f"left are fewer than the {fewest} that a population takes; give more, or take --estimator gp"
        )


def check_instruments(instruments: Iterable[str], method: str, whose: str) -> None:
    """Whether a spectrum can be made of visits of these instruments, which is known before any frame is read. Raises ConfigError.

    method: an estimator, or depths; whose: what these visits are, for the message.

    >>> check_instruments(["FGS1"], "depths", "the dataset")
    >>> check_instruments(["FGS1"], "gp", "the dataset")
    Traceback (most recent call last):
    v50calib.errors.ConfigError: the dataset has visits of FGS1 alone, and the estimator gp needs the wavelengths of FGS1 and AIRS-CH0: ...
    """
    found = sorted(set(instruments))
    have = [name for name in CHANNELS if name in found]
    others = [name for name in found if name not in CHANNELS]
    both = " and ".join(CHANNELS)
    if others:
        raise ConfigError(
            f"{whose} has visits of {', '.join(others)}, and spectra are made of {both}: choose those visits "
            "(calib.photometry.instrument.name, --planet), or take 'v50calib calibrate' and 'v50calib export --what planets' for others"
        )
    if method != "depths" and len(have) < len(CHANNELS):
        raise ConfigError(
            f"{whose} has visits of {have[0] if have else 'no instrument'} alone, and the estimator {method} needs the wavelengths of "
            f"{both}: give both, or take --estimator depths, which writes the naive mean and sigma for the other"
        )


def full_wavelength(wavelengths: dict[str, Float]) -> Float:
    """(283,) µm of FGS1 and AIRS-CH0, from those of each instrument. Raises DataError where an instrument's are not known.

    >>> full_wavelength({"FGS1": np.array([0.7]), "AIRS-CH0": np.linspace(1.9, 3.9, 282)}).shape
    (283,)
    """
    out = np.full(N_BINS, np.nan)
    for name, own in CHANNELS.items():
        found = wavelengths.get(name)
        if found is None or np.shape(found) != (own.stop - own.start,) or not np.isfinite(found).all():
            raise DataError(
                f"no calibrated visit says the wavelengths of {name}, and an estimator needs those of all {N_BINS} channels: the run has "
                f"no finished visit of {name} ('v50calib status' says what is left: calibrate to the end), or its dataset has no "
                "wavelengths.csv; --estimator depths does without"
            )
        out[own] = found
    return out


def dataset_of(estimates: Estimates, attrs: dict[str, Any]) -> xr.Dataset:
    """The estimates as a Dataset: depth and depth_sigma (planet, wavelength), covariance (planet, wavelength, wavelength_too)."""
    sigma = np.sqrt(np.diagonal(estimates.cov, axis1=1, axis2=2))
    prior = {"comment": "with a prior: no measurement of its own; the depths as measured are in spectra.zarr"}
    return xr.Dataset(
        {
            "depth": (("planet", "wavelength"), estimates.mean, {"long_name": "(Rp/Rs)^2 after the prior", "units": "1"} | prior),
            "depth_sigma": (("planet", "wavelength"), sigma, {"long_name": "its standard deviation", "units": "1"}),
            "covariance": (("planet", "wavelength", "wavelength_too"), estimates.cov, {"long_name": "covariance of depth", "units": "1"}),
        },
        coords={
            "wavelength": ("wavelength", estimates.wavelength, {"units": "um"}),
            "planet": ("planet", np.array([int(i) for i in estimates.ids])),
        },
        attrs=attrs | {"notes": list(estimates.notes)},
    )
