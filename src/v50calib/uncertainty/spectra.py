"""A baseline to calibrate: mu and sigma per planet from the depths of calibrated visits, combined over visits.

The depths are the phase products: a fit in and out of transit of all channels at once, orbit and limb darkening shared
(`v50calib.kernels.depths`). Also the features: each channel's noise as measured in the light curves out of transit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from v50calib.errors import DataError
from v50calib.estimators.measured import Measured
from v50calib.kernels.arrays import Float
from v50calib.kernels.covariance import own_variance
from v50calib.schema import CHANNELS
from v50calib.uncertainty.tables import MOST, N_BINS, Features, Predictions

NEEDED = ("transit_depth", "transit_depth_sigma", "trace_norm", "trace_norm_var", "out_of_transit", "in_transit")
FEATURES = ("depth_noise", "noise_over_model")
#: sigma of a channel whose depth had to be taken from its neighbours, over the largest of the planet's
WIDER = 3.0
#: share of an instrument's channels that may be beyond any depth before all are left out, and how many of its errors a depth may be below 0
FEW, BELOW = 0.1, 10.0
#: FGS1 minus the mean of AIRS-CH0 grows with the rms of AIRS-CH0's spectrum by this, and a planet's depth at .7 um is within this share
#: of that at 2-4 um (`qc.planet_fit.PLAUSIBLE` is the range of all)
FGS1_PER_RMS, FGS1_SHARE = 2.2, 0.1


@dataclass
class Spectra:
    """predictions and features in submission layout; measured: each planet's depths with their covariance, nothing filled in;
    notes: for the user; filled: those of them that say what stands in predictions in place of a depth."""

    predictions: Predictions
    features: Features
    notes: list[str] = field(default_factory=list)
    measured: tuple[Measured, ...] = ()
    filled: tuple[str, ...] = ()


@dataclass
class _Planet:
    """Sums over visits: weight 1/sigma², weight x depth, weight² x own variance, and the features' sums, (283,) each; factors: of each
    measurement weight x shared part of its errors, (283, k); beyond: {instrument: why} of depths that are none (`beyond_reason`)."""

    weight: Float = field(default_factory=lambda: np.zeros(N_BINS))
    weighted: Float = field(default_factory=lambda: np.zeros(N_BINS))
    own: Float = field(default_factory=lambda: np.zeros(N_BINS))
    factors: list[Float] = field(default_factory=list)
    inverse_noise: Float = field(default_factory=lambda: np.zeros(N_BINS))
    ratio: Float = field(default_factory=lambda: np.zeros(N_BINS))
    visits: Float = field(default_factory=lambda: np.zeros(N_BINS))
    seen: set[str] = field(default_factory=set)
    beyond: dict[str, str] = field(default_factory=dict)

    def measured(self) -> Measured:
        """Weighted mean of the measurements and its covariance; NaN where there is none."""
        have = self.weight > 0
        total = np.where(have, self.weight, 1.0)
        depth, own = np.where(have, self.weighted / total, np.nan), np.where(have, self.own / np.square(total), np.nan)
        shared = np.concatenate([np.zeros((N_BINS, 0)), *self.factors], axis=1) / total[:, None]
        return Measured(depth, own, shared)


def combine(
    visits: Iterable[xr.Dataset], naive: Mapping[str, float] | None = None, fits: Mapping[str, xr.Dataset] | None = None,
    expected: Iterable[str] = (),
) -> Spectra:  # fmt: skip
    """Spectra of calibrated visits (as `open_calibrated` gives them) of both instruments.

    expected: planets that must have a row, whether any visit of theirs was calibrated or not.
    fits: one fit of all visits and instruments of a planet (spectra.zarr), by planet_id: its depths are taken where it has them.
    Without, visits of a planet are averaged with 1/sigma²; a lost channel takes the mean of its neighbours with a wide sigma; negative
    depths become 0, as the metric wants. naive {"mean", "sigma"}: used for planets, or AIRS-CH0, without a transit found; FGS1
    without one takes the level of AIRS-CH0 with a wide sigma (`from_airs`). None: they are an error. Raises DataError for products
    without depths, and for such planets.

    >>> flux, out = 1.0 + 1e-3 * np.tile([[-1.0], [1.0]], (50, 1)), np.arange(100) < 60
    >>> curves = {"trace_norm": flux, "trace_norm_var": 0 * flux + 1e-6}
    >>> ds = xr.Dataset({name: (("pair", "wavelength"), values) for name, values in curves.items()})
    >>> ds = ds.assign(transit_depth=("wavelength", [0.01]), transit_depth_sigma=("wavelength", [1e-4]))
    >>> ds = ds.assign(out_of_transit=("pair", out), in_transit=("pair", ~out)).assign_attrs(planet_id="7", visit=0, instrument="FGS1")
    >>> spectra = combine([ds, ds], naive={"mean": 0.0145, "sigma": 0.006})  # two visits of FGS1, none of AIRS-CH0
    >>> spectra.predictions.mu[0, :2].round(9), spectra.predictions.sigma[0, :2].round(9)
    (array([0.01  , 0.0145]), array([7.0711e-05, 6.0000e-03]))
    """
    planets: dict[str, _Planet] = {}
    for ds in visits:
        _add(planets.setdefault(str(ds.attrs["planet_id"]), _Planet()), ds)
    if planets:
        for planet_id in expected:
            planets.setdefault(str(planet_id), _Planet())
    if not planets:
        raise DataError("the run holds no calibrated visit of FGS1 or AIRS-CH0: calibrate first")
    notes: list[str] = []
    joint = 0
    for planet_id, planet in planets.items():
        if fits is not None and planet_id in fits:
            _take(planet, fits[planet_id])
            joint += 1
            notes += [f"planet {planet_id}: {note}" for note in fits[planet_id].attrs.get("notes", ())]
    if fits is not None and joint < len(planets):
        notes.append(f"{len(planets) - joint} of {len(planets)} planets have no fit of all their visits: the visits' own are averaged")
    ids = sorted(planets, key=lambda i: (len(i), i))
    filled: list[str] = []
    rows = [_finish(i, planets[i], naive, filled) for i in ids]
    measured = tuple(planets[i].measured() for i in ids)
    notes += [
        f"planet {i}, {name}: {why} is no planet's: left out as if no transit had been found; look at its frames, maps, 'v50calib report'"
        for i in ids
        for name, why in planets[i].beyond.items()
    ]
    mu, sigma, features = (np.stack(part) for part in zip(*rows, strict=True))
    negative = mu < 0
    if negative.any():
        filled.append(f"{int(negative.sum())} negative depths were set to 0")
    predictions = Predictions(tuple(ids), np.where(negative, 0.0, mu), sigma)
    return Spectra(predictions, Features(tuple(ids), features, FEATURES), notes + filled, measured, tuple(filled))


def _add(planet: _Planet, ds: xr.Dataset) -> None:
    """Add one visit of one instrument."""
    name = str(ds.attrs["instrument"])
    label = f"planet {ds.attrs['planet_id']}, visit {ds.attrs['visit']}, {name}"
    if name not in CHANNELS:
        raise DataError(f"{label}: spectra are made of FGS1 and AIRS-CH0, this is another instrument")
    missing = [v for v in NEEDED if v not in ds]
    if missing:
        raise DataError(f"{label} lacks {', '.join(missing)}: calibrate with calib.phase.enabled=true and calib.phase.depths.enabled=true")
    own = CHANNELS[name]
    if ds.sizes["wavelength"] != own.stop - own.start:
        raise DataError(f"{label} has {ds.sizes['wavelength']} channels, a submission has {own.stop - own.start} of {name}")
    depth, sigma = (np.asarray(ds[v], dtype=np.float64) for v in ("transit_depth", "transit_depth_sigma"))
    weight, weighted = _weights(*_within(planet, name, depth, sigma))
    shared = _shared(ds, weight)
    planet.weight[own] += weight
    planet.weighted[own] += weighted
    planet.own[own] += np.square(weight) * np.where(weight > 0, own_variance(sigma, shared), 0.0)
    factor = np.zeros((N_BINS, shared.shape[1]))
    factor[own] = weight[:, None] * shared
    planet.factors.append(factor)
    noise, ratio = scatter(ds)
    known = np.isfinite(noise) & (noise > 0)
    planet.inverse_noise[own] += np.where(known, 1.0 / np.where(known, noise, 1.0) ** 2, 0.0)
    planet.ratio[own] += np.where(known, ratio, 0.0)
    planet.visits[own] += known
    planet.seen.add(name)


def fitted_depths(fit: xr.Dataset, instrument: str) -> tuple[Float, Float] | None:
    """Depth and sigma (channel,) of one instrument in a planet's fit (spectra.zarr); None where it has no part in it.

    >>> fit = xr.Dataset({"transit_depth": ("wavelength", [0.01, 0.02]), "transit_depth_sigma": ("wavelength", [1e-4, 2e-4])})
    >>> fit = fit.assign_coords(instrument=("wavelength", [0, 1])).assign_attrs(instruments=["FGS1", "AIRS-CH0"])
    >>> fitted_depths(fit, "AIRS-CH0"), fitted_depths(fit, "another")
    ((array([0.02]), array([0.0002])), None)
    """
    names = list(fit.attrs["instruments"])
    if instrument not in names:
        return None
    own = np.asarray(fit["instrument"]) == names.index(instrument)
    depth, sigma = (np.asarray(fit[name], np.float64)[own] for name in ("transit_depth", "transit_depth_sigma"))
    return depth, sigma


def _take(planet: _Planet, fit: xr.Dataset) -> None:
    """Put a planet's own fit in the place of the average of its visits, instrument by instrument."""
    names = list(fit.attrs["instruments"])
    joint: list[Float] = []
    for name, own in CHANNELS.items():
        found = fitted_depths(fit, name)
        if found is None or found[0].size != own.stop - own.start:
            continue
        # what visits' own depths were does not count here
        planet.beyond.pop(name, None)
        planet.weight[own], planet.weighted[own] = weight, _ = _weights(*_within(planet, name, *found))
        shared = _shared(fit.isel(wavelength=np.asarray(fit["instrument"]) == names.index(name)), weight)
        planet.own[own] = np.square(weight) * np.where(weight > 0, own_variance(found[1], shared), 0.0)
        for factor in planet.factors:
            factor[own] = 0.0
        # instruments share the columns of their fit: a wrong orbit moves both
        joint = joint or [np.zeros((N_BINS, shared.shape[1]))]
        joint[0][own] = weight[:, None] * shared
        planet.seen.add(name)
    planet.factors = [f for f in planet.factors if f.any()] + joint


def _shared(ds: xr.Dataset, weight: Float) -> Float:
    """Shared part of the errors (channel, k), zero where there is no depth; of products without it (channel, 0)."""
    if "transit_depth_shared" not in ds:
        return np.zeros((weight.size, 0))
    return np.where(weight[:, None] > 0, np.asarray(ds["transit_depth_shared"], np.float64), 0.0)


def beyond_reason(depth: Float, sigma: Float) -> str:
    """Why the depths of an instrument, with their sigmas (channel,), are none, whatever their errors say; empty where they may be.

    A planet cannot cover more than its whole star, and cannot make it brighter: of frames in another order, or of a wrong map, it seems to.

    >>> beyond_reason(np.array([0.01, 1900.0, 1200.0]), np.full(3, 1.0)), beyond_reason(np.array([0.01, 0.02]), np.full(2, 1e-4))
    ('a depth of 1.9e+09 ppm', '')
    >>> beyond_reason(np.full(3, -0.3), np.full(3, 1e-3)), beyond_reason(np.full(3, -2e-5), np.full(3, 1e-5))
    ('a depth of -3e+05 ppm, 300 errors below 0', '')
    """
    good = np.isfinite(depth) & np.isfinite(sigma) & (sigma > 0)
    if not good.any():
        return ""
    values, errors = depth[good], sigma[good]
    if np.mean(np.abs(values) >= MOST) > FEW:
        return f"a depth of {1e6 * values[np.argmax(np.abs(values))]:.3g} ppm"
    level, error = float(np.median(values)), float(np.median(errors))
    return f"a depth of {1e6 * level:.3g} ppm, {-level / error:.3g} errors below 0" if level < -BELOW * error else ""


def _within(planet: _Planet, name: str, depth: Float, sigma: Float) -> tuple[Float, Float]:
    """Depth and sigma without what is no depth: NaN in its place, and for all channels where it is many."""
    why = beyond_reason(depth, sigma)
    if why:
        planet.beyond[name] = why
        return np.full_like(depth, np.nan), sigma
    return np.where(np.abs(depth) < MOST, depth, np.nan), sigma


def _weights(depth: Float, sigma: Float) -> tuple[Float, Float]:
    """1/sigma² and that times the depth, both 0 where there is none."""
    good = np.isfinite(depth) & np.isfinite(sigma) & (sigma > 0)
    weight = np.where(good, 1.0 / np.where(good, sigma, 1.0) ** 2, 0.0)
    return weight, weight * np.where(good, depth, 0.0)


def scatter(ds: xr.Dataset) -> tuple[Float, Float]:
    """Of each channel's light curve out of transit, (wavelength,): the depth error that its scatter alone would give, and the
    scatter over the noise model's. Depth error: scatter·sqrt(1/n_in + 1/n_out).

    >>> flux, out = np.tile([[0.99], [1.01]], (50, 1)), np.arange(100) < 50
    >>> ds = xr.Dataset({name: (("pair", "wavelength"), v) for name, v in {"trace_norm": flux, "trace_norm_var": 0 * flux + 1e-4}.items()})
    >>> depth_error, ratio = scatter(ds.assign(out_of_transit=("pair", out), in_transit=("pair", ~out)))
    >>> depth_error.round(6), ratio.round(6)  # 0.01·√(1/50 + 1/50), and the noise model is right
    (array([0.002]), array([1.]))
    """
    flux, var = (np.asarray(ds[v], dtype=np.float64) for v in ("trace_norm", "trace_norm_var"))
    outside, inside = (np.asarray(ds[v], dtype=bool) for v in ("out_of_transit", "in_transit"))
    if outside.sum() < 10:
        return np.full(flux.shape[1], np.nan), np.full(flux.shape[1], np.nan)
    sample, variance = flux[outside], var[outside]
    lost = ~np.isfinite(sample).any(axis=0)
    sample, variance = np.where(lost, 0.0, sample), np.where(lost, 1.0, variance)
    spread = np.where(lost, np.nan, np.nanstd(sample, axis=0))
    counts = 1.0 / max(int(inside.sum()), 1) + 1.0 / int(outside.sum())
    return spread * np.sqrt(counts), spread / np.sqrt(np.nanmean(variance, axis=0))


def _finish(planet_id: str, planet: _Planet, naive: Mapping[str, float] | None, notes: list[str]) -> tuple[Float, Float, Float]:
    """mu, sigma (283,) and features (283, F) of one planet, holes filled."""
    have = planet.weight > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        mu, sigma = planet.weighted / planet.weight, planet.weight**-0.5
        features = np.stack([planet.inverse_noise**-0.5, planet.ratio / planet.visits], axis=1)
    for name, own in CHANNELS.items():
        part = have[own]
        if not part.any():
            if naive is None:
                why = planet.beyond.get(name) or ("no transit was found" if name in planet.seen else "was not calibrated")
                raise DataError(f"planet {planet_id}: {name}: {why}; --missing naive writes the naive mean and sigma for such planets")
            if name == "FGS1" and have[CHANNELS["AIRS-CH0"]].any():
                mu[own], sigma[own] = from_airs(planet.measured())
                notes.append(f"planet {planet_id}: FGS1 has no depth: the level of AIRS-CH0, with a wide sigma, in place of the naive mean")
            else:
                mu[own], sigma[own] = naive["mean"], naive["sigma"]
                notes.append(f"planet {planet_id}: {name} has no depth: the naive mean and sigma are written")
        elif not part.all():
            mu[own], sigma[own] = _filled(mu[own], part), np.where(part, sigma[own], WIDER * sigma[own][part].max())
            notes.append(f"planet {planet_id}: {int((~part).sum())} channels of {name} are taken from their neighbours")
        for f in range(features.shape[1]):
            known = np.isfinite(features[own, f]) & (features[own, f] > 0)
            # without a light curve out of transit there is nothing to tell: the error bar itself, and a ratio of 1
            stand_in = (sigma[own] if f == 0 else np.ones(part.size)) if not known.any() else features[own, f]
            features[own, f] = _filled(stand_in, known) if known.any() else stand_in
    return mu, sigma, features


def from_airs(planet: Measured) -> tuple[float, float]:
    """Depth and sigma of FGS1 for a planet that AIRS-CH0 alone has seen: AIRS' level, and the root of the sum of the squares of its error,
    2.2 times the rms of its spectrum beyond noise, and 10 % of the depth.

    >>> depth, sigma = from_airs(Measured.independent(np.full(283, 0.01), np.r_[np.nan, np.full(282, 1e-4)]))
    >>> round(depth, 6), round(sigma, 6)
    (0.01, 0.001)
    """
    airs = CHANNELS["AIRS-CH0"]
    level, error = planet.white(airs)
    good = planet.known[airs]
    structure = float(np.var(planet.depth[airs][good]) - np.mean(planet.own_var[airs][good]))
    rms = np.sqrt(max(structure, 0.0))
    return level, float(np.sqrt(error**2 + (FGS1_PER_RMS * rms) ** 2 + (FGS1_SHARE * level) ** 2))


def _filled(values: Float, good: NDArray[np.bool_]) -> Float:
    """Values with the others interpolated between the good ones along the channels."""
    index = np.arange(values.size)
    return np.where(good, values, np.interp(index, index[good], values[good]))
