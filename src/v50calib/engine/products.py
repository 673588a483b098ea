"""What is stored of a calibrated visit: one table of products, and the Dataset of them.

Names, dimensions, units and meanings are `schema.CALIBRATED`; here is when each product is made, and of what.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import xarray as xr

from v50calib import dq
from v50calib.config.models import RunConfig
from v50calib.engine.constants import VisitConstants
from v50calib.engine.depths import FitInput
from v50calib.engine.noise_budget import COMPONENTS, noise_arrays
from v50calib.engine.process import shared_columns
from v50calib.engine.result import ChunkResult, assemble_bins, joined_cubes
from v50calib.engine.series import SeriesResult, pair_times
from v50calib.kernels.arrays import Float, Index
from v50calib.kernels.binned import cube_and_variance
from v50calib.kernels.noise import block_sizes
from v50calib.kernels.series import bin_mean
from v50calib.schema import CALIBRATED
from v50calib.stages.series.curves import Ephemeris, Folded, Normalized

Arrays = dict[str, np.ndarray]
#: small arrays that are stored as float64 like times and depths
EXACT = ("transit_depth_shared", "fit_time", "fit_design", "fit_ridge", "fit_darkening")


class Visit:
    """A calibrated visit as its products are made of it; what several products share is made once."""

    def __init__(self, constants: VisitConstants, results: list[ChunkResult], series: SeriesResult | None, config: RunConfig) -> None:
        self.constants, self.results, self.config = constants, results, config
        self._series = series

    @property
    def series(self) -> SeriesResult:
        """The series domain, of a run with photometry."""
        assert self._series is not None
        return self._series

    @property
    def normalized(self) -> Normalized:
        assert self.series.normalized is not None
        return self.series.normalized

    @property
    def folded(self) -> Folded:
        assert self.series.folded is not None
        return self.series.folded

    @property
    def ephemeris(self) -> Ephemeris:
        assert self.series.ephemeris is not None
        return self.series.ephemeris

    @cached_property
    def binned(self) -> tuple[np.ndarray, np.ndarray]:
        """The binned cube and its photon variance."""
        c = self.constants
        return binned_cubes(c, assemble_bins(self.results, c.n_bins, c.shape), self.config.output.dtype)

    @cached_property
    def noise(self) -> Arrays:
        """The noise budget's four products."""
        return noise_arrays(self.constants, self.series, self.config.calib.photometry)

    def full_cube(self) -> np.ndarray:
        """Every CDS frame in order of time."""
        return joined_cubes(self.results)

    @property
    def fitted(self) -> FitInput:
        """What the fit of the depths worked on."""
        assert self.series.fitted is not None
        return self.series.fitted

    def depth(self, name: Literal["depth", "sigma", "chi2", "shared"]) -> np.ndarray:
        """Of each channel; NaN where no transit was found."""
        depths, channels = self.series.depths, self.series.series.wavelength_um.size
        if depths is None:
            return np.full((channels, shared_columns(self.config.calib)) if name == "shared" else channels, np.nan)
        return np.asarray(getattr(depths, name))


@dataclass(frozen=True)
class Product:
    """One variable of the product.

    domain      frames: made of constants and chunks alone; series: of the series domain
    when        config -> whether it is made
    of          visit -> array
    binned      made only of a visit that has whole time bins
    flux_power  power of the flux that it is: what calib.photometry.output.flux_units scales
    save        key of calib.photometry.output.save that leaves it out when false
    lazy        also in the lazy form, whose shapes must be known before anything is computed
    """

    name: str
    domain: Literal["frames", "series"]
    when: Callable[[RunConfig], bool]
    of: Callable[[Visit], Any]
    binned: bool = False
    flux_power: int = 0
    save: str | None = None
    lazy: bool = True


def _always(_: RunConfig) -> bool:
    return True


def _diagnostics(config: RunConfig) -> bool:
    return config.output.diagnostics


def _photometry(config: RunConfig) -> bool:
    return config.calib.photometry.enabled


def _weights(config: RunConfig) -> bool:
    return config.output.diagnostics and config.calib.photometry.enabled


def _binned(config: RunConfig) -> bool:
    return config.output.binned_cube


def _full(config: RunConfig) -> bool:
    return config.output.full_cube


def _trace(config: RunConfig) -> bool:
    return config.calib.trace.enabled


def _noise(config: RunConfig) -> bool:
    return config.calib.trace.enabled and config.output.diagnostics


def _depths(config: RunConfig) -> bool:
    return config.calib.trace.enabled and config.calib.phase.depths.enabled


def _planet(config: RunConfig) -> bool:
    return config.calib.fits_planets


def _phase(config: RunConfig) -> bool:
    return config.calib.phase.enabled


def _static(values: Callable[[VisitConstants], Float]) -> Callable[[Visit], Float]:
    """A map of the visit's constants."""
    return lambda visit: values(visit.constants)


#: in the order in which a product holds them
PRODUCTS: tuple[Product, ...] = (
    Product("pixel_dq", "frames", _always, lambda v: v.constants.state.pixel_dq),
    Product("cds_var_rnoise", "frames", _always, _static(lambda c: c.mean.read_var)),
    Product("cds_mean", "frames", _diagnostics, _static(lambda c: np.where(c.state.masked, np.nan, c.mean.cds))),
    Product("dark_applied", "frames", _diagnostics, _static(lambda c: c.state.dark_rate)),
    Product("flat_applied", "frames", _diagnostics, _static(lambda c: 1.0 / c.state.inverse_flat)),
    Product("extraction_weights", "frames", _weights, lambda v: v.constants.photometry.maps.flux),  # type: ignore[union-attr]
    Product("cds_binned", "frames", _binned, lambda v: v.binned[0], binned=True),
    Product("cds_binned_var_poisson", "frames", _binned, lambda v: v.binned[1], binned=True),
    Product("cds_corrected", "frames", _full, Visit.full_cube),
    Product("photometry", "series", _photometry, lambda v: v.series.curves.flux, flux_power=1, save="flux"),
    Product("photometry_var", "series", _photometry, lambda v: v.series.series.var, flux_power=2, save="variance"),
    Product("photometry_var_rnoise", "series", _photometry, lambda v: v.series.curves.var_rnoise, flux_power=2, save="variance"),
    Product("photometry_dq", "series", _photometry, lambda v: v.series.curves.dq),
    Product("x_position", "series", _photometry, lambda v: v.series.curves.x, save="centroids"),
    Product("y_position", "series", _photometry, lambda v: v.series.curves.y, save="centroids"),
    Product(
        "background", "series", _photometry,
        lambda v: bin_mean(v.series.curves.background, v.constants.pair_bins, v.constants.n_bins)[0],
        binned=True, flux_power=1, save="background",
    ),
    Product("trace_norm", "series", _trace, lambda v: v.normalized.flux),
    Product("trace_norm_var", "series", _trace, lambda v: v.normalized.total_var),
    Product("out_of_transit", "series", _trace, lambda v: v.normalized.out_of_transit),
    Product("noise_budget", "series", _noise, lambda v: v.noise["noise_budget"]),
    Product("noise_measured", "series", _noise, lambda v: v.noise["noise_measured"]),
    Product("rms_measured", "series", _noise, lambda v: v.noise["rms_measured"]),
    Product("rms_expected", "series", _noise, lambda v: v.noise["rms_expected"]),
    Product("phase", "series", _phase, lambda v: v.folded.phase),
    Product("in_transit", "series", _phase, lambda v: v.folded.in_transit),
    Product("phase_fold", "series", _phase, lambda v: v.folded.flux),
    Product("phase_fold_var", "series", _phase, lambda v: v.folded.var),
    Product("phase_fold_count", "series", _phase, lambda v: v.folded.count),
    Product("phase_fold_dq", "series", _phase, lambda v: v.folded.dq),
    Product("mid_transit_time", "series", _trace, lambda v: v.ephemeris.t0_h if v.ephemeris.found else np.nan),
    Product("mid_transit_time_sigma", "series", _trace, lambda v: v.ephemeris.t0_sigma_h if v.ephemeris.found else np.nan),
    Product("transit_duration", "series", _trace, lambda v: v.ephemeris.duration_h),
    Product("white_depth", "series", _trace, lambda v: v.series.white_depth[0]),
    Product("white_depth_sigma", "series", _trace, lambda v: v.series.white_depth[1]),
    Product("transit_snr", "series", _trace, lambda v: v.ephemeris.snr),
    Product("transit_depth", "series", _depths, lambda v: v.depth("depth")),
    Product("transit_depth_sigma", "series", _depths, lambda v: v.depth("sigma")),
    Product("transit_depth_chi2", "series", _depths, lambda v: v.depth("chi2")),
    Product("transit_depth_shared", "series", _depths, lambda v: v.depth("shared")),
    Product("fit_time", "series", _planet, lambda v: v.fitted.time, lazy=False),
    Product("fit_flux", "series", _planet, lambda v: v.fitted.flux, lazy=False),
    Product("fit_sigma", "series", _planet, lambda v: v.fitted.sigma, lazy=False),
    Product("fit_design", "series", _planet, lambda v: v.fitted.design, lazy=False),
    Product("fit_ridge", "series", _planet, lambda v: v.fitted.precision, lazy=False),
    Product("fit_darkening", "series", _planet, lambda v: v.fitted.darkening, lazy=False),
    Product("fit_shift_noise", "series", _planet, lambda v: v.fitted.along, lazy=False),
)  # fmt: skip
_BY_NAME = {product.name: product for product in PRODUCTS}
_FLUX_UNITS = {"e": "e-", "e_per_s": "e- s-1", "ADU": "ADU"}


def made(config: RunConfig, *, bins: bool) -> list[Product]:
    """The products of a run; bins: the visit has whole time bins."""
    return [p for p in PRODUCTS if p.when(config) and (bins or not p.binned)]


def unsaved(config: RunConfig) -> list[str]:
    """Variables that calib.photometry.output.save leaves out of the product."""
    save = config.calib.photometry.output.save
    return [p.name for p in PRODUCTS if p.save is not None and not getattr(save, p.save)]


def arrays_of(visit: Visit, products: list[Product]) -> Arrays:
    """The arrays of these products, fluxes in the units that the config asks for."""
    units = visit.config.calib.photometry.output.flux_units
    out = {p.name: np.asarray(p.of(visit)) for p in products}
    scaled = {p.name: _in_units(out[p.name], p, visit.constants, units) for p in products if p.flux_power and units != "e"}
    return out | scaled


def binned_cubes(visit: VisitConstants, total: Float, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Summed CDS frames and their photon variance, e-²: ``(S + dark) / flat``, S and dark flat-corrected electrons.

    S·flat electrons were counted, dark's included; division by flat² leaves one power of it. Masked pixels NaN.
    """
    kept = visit.pair_bins >= 0
    between: Float = np.bincount(visit.pair_bins[kept], weights=visit.between[kept], minlength=visit.n_bins).astype(np.float64)
    masked = np.where(visit.state.masked, np.nan, 1.0)
    cube, variance = np.empty(total.shape, dtype), np.empty(total.shape, dtype)
    cube_and_variance(total, visit.state.dark_rate, between, visit.mean.inverse_flat * masked, masked, cube, variance)
    return cube, variance


def _in_units(values: np.ndarray, product: Product, visit: VisitConstants, units: str) -> np.ndarray:
    """A flux, variance or background [e- per pair] in e- per s of the time between the reads, or in ADU."""
    if units == "ADU":
        gain = float(np.mean(visit.plan.adc.gain))
        scale, typical = np.full(len(visit.between), gain), gain
    else:
        scale, typical = 1.0 / visit.between, float(1.0 / np.median(visit.between))
    each_pair = CALIBRATED[product.name].dims[0] == "pair"
    return values * (scale[:, None] if each_pair else typical) ** product.flux_power


def coordinates(
    stamps_h: Float,
    between_s: Float,
    pair_bins: Index,
    wavelength_um: Float | None,
    *,
    noise: bool,
    bin_phase: Any = None,
) -> dict[str, Any]:
    """Coordinates of every dimension that the product has.

    stamps_h (reads,), between_s and pair_bins (pairs,); wavelength_um of the channels, None without photometry; noise: the
    noise budget is among the products; bin_phase of the folded curve, None where there is none.
    """
    time = pair_times(stamps_h, between_s)
    n_bins = int(pair_bins.max(initial=-1)) + 1
    about = "mid-time of the pair's exposure, since the first time stamp"
    coords: dict[str, Any] = {
        "time": (
            "pair",
            time,
            {
                "units": "h",
                "long_name": about,
                "first_stamp": float(stamps_h[0]),
            },
        ),
        "exposure": ("pair", between_s, {"units": "s", "long_name": "time between the reads of the pair"}),
    }
    if n_bins:
        coords["bin_time"] = ("bin", bin_mean(time[:, None], pair_bins, n_bins)[0][:, 0], {"units": "h"})
    if wavelength_um is not None:
        coords["wavelength"] = ("wavelength", wavelength_um, {"units": "um"})
    if noise:
        coords["averaging"] = _averaging(time)
    if bin_phase is not None:
        coords["bin_phase"] = ("phase_bin", bin_phase, {"long_name": "phase at the bin's centre"})
    return coords


def _averaging(time_h: Float) -> tuple[str, Float, dict[str, Any]]:
    """Coordinate of the noise budget's blocks: their length in s, at the visit's usual cadence."""
    pairs = len(time_h)
    cadence = float(np.median(np.diff(time_h))) * 3600.0 if pairs > 1 else 0.0
    return (
        "averaging",
        np.asarray(block_sizes(pairs) * cadence, np.float64),
        {"units": "s", "long_name": "time that pairs are averaged over"},
    )


def storage_dtype(name: str, dtype: str) -> np.dtype[Any]:
    """Stored dtype of a variable: floats as asked for, times and depths always float64."""
    spec = CALIBRATED[name]
    if spec.kinds == "f":
        exact = spec.dims in ((), ("wavelength",)) or name in EXACT
        return np.dtype("float64" if exact else dtype)
    return np.dtype({"i": "int32", "u": "uint32", "b": "bool"}[spec.kinds])


def variable_attrs(name: str, flux_units: str = "e") -> dict[str, Any]:
    """Units, long name and, for flags, the CF attributes of a variable."""
    spec = CALIBRATED[name]
    units, power = spec.units, _BY_NAME[name].flux_power if name in _BY_NAME else 0
    if power and flux_units != "e":
        units = _FLUX_UNITS[flux_units] if power == 1 else f"({_FLUX_UNITS[flux_units]})2"
    meta: dict[str, Any] = dq.cf_attrs() if name.endswith("_dq") else {}
    if "component" in spec.dims:
        meta = {"components": list(COMPONENTS)}
    return {**meta, "long_name": spec.doc} | ({"units": units} if units else {})


def with_frame_units(ds: xr.Dataset, units: str) -> xr.Dataset:
    """The Dataset with the CDS frames' units where they are not electrons; in place."""
    square = "1" if units == "1" else f"{units}2"
    for name, value in (("cds_corrected", units), ("cds_binned", units), ("cds_binned_var_poisson", square), ("cds_var_rnoise", square)):
        if name in ds:
            ds[name].attrs["units"] = value
    return ds


def build_dataset(arrays: Arrays, coords: dict[str, Any], attrs: dict[str, Any], dtype: str, flux_units: str = "e") -> xr.Dataset:
    """Dataset of the arrays, floats stored as `dtype`, with units, long names and CF flag attributes."""
    variables: dict[str, Any] = {}
    for name, values in arrays.items():
        values = values.astype(storage_dtype(name, dtype), copy=False)
        variables[name] = (CALIBRATED[name].dims, values, variable_attrs(name, flux_units))
    ordered = {name: variables[name] for name in CALIBRATED if name in variables}
    return xr.Dataset(ordered, coords=coords, attrs=attrs)
