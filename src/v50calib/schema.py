"""What a raw visit and a calibrated visit ARE: variables, dimensions, dtypes, units, and their check.

Every other module takes names and dims from here; nothing below this module knows about files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from v50calib.errors import DataError

InstrumentName = Literal["AIRS-CH0", "FGS1"]
INSTRUMENTS: tuple[InstrumentName, ...] = ("AIRS-CH0", "FGS1")


@dataclass(frozen=True)
class Instrument:
    """Facts of a detector's format: a built-in one (SCIENCE: challenge description; measured on the real sample) or
    one that a `detector.yaml` describes.

    shape        detector rows, columns
    science      columns of the science channels (None: the detector is one photometric band)
    read_times   seconds since reset of the two reads of a ramp, used where a root has no axis table
    band_um      wavelength of the photometric band, µm (None: a spectrum)
    bit_depth    bits of the A/D converter
    """

    name: str
    shape: tuple[int, int]
    science: slice | None
    read_times: tuple[float, float]
    band_um: float | None
    spectral: bool
    bit_depth: int = 16

    def __str__(self) -> str:
        return self.name

    def science_columns(self, wavelength_um: np.ndarray) -> np.ndarray:
        """Detector columns of the science channels (channel,), in ascending wavelength; wavelength_um (nx,) of all columns."""
        columns = np.arange(self.shape[1])[self.science if self.science is not None else slice(None)]
        return columns[::-1].copy() if wavelength_um[columns[0]] > wavelength_um[columns[-1]] else columns

    @property
    def chunk_frames(self) -> int:
        """Frames of a time chunk, even: of a raw store's chunks, of a task's and of a lazy array's.

        >>> INSTRUMENT["AIRS-CH0"].chunk_frames, Instrument("CAM", (32, 32), None, (1.0, 2.0), 0.5, False).chunk_frames
        (450, 4882)
        """
        return CHUNK_FRAMES.get(self.name, default_chunk_frames(self.shape))


INSTRUMENT: dict[str, Instrument] = {
    "AIRS-CH0": Instrument("AIRS-CH0", (32, 356), slice(39, 321), (0.1, 4.6), None, True),
    "FGS1": Instrument("FGS1", (32, 32), None, (0.1, 0.2), 0.7, False),
}

#: channels of the challenge's spectra, wl_1 … wl_283: FGS1 is channel 0, the science columns of AIRS-CH0 follow by rising wavelength
N_CHANNELS = 283
#: which channels of a spectrum are an instrument's, in this order
CHANNELS: dict[str, slice] = {"FGS1": slice(0, 1), "AIRS-CH0": slice(1, N_CHANNELS)}

#: frames of a time chunk of the built-in instruments: 1/25 of a full visit (18 minutes), about 10 MB, no ragged tail
CHUNK_FRAMES = {"AIRS-CH0": 450, "FGS1": 5400}
#: attribute of a visit of any other detector: its facts, as JSON
DETECTOR_ATTR = "detector"
#: attribute of a visit the dataset of which lacks a table: what is done without, sentences with this between them
NOTES_ATTR, NOTES_BETWEEN = "input_notes", "; also "
#: bytes of uint16 frames in a time chunk of a detector that has no measured chunk size
CHUNK_BYTES = 10_000_000


def describe(instrument: Instrument) -> str:
    """The facts of an instrument as JSON, for the attribute DETECTOR_ATTR; `instrument_of` reads them back."""
    science = [instrument.science.start, instrument.science.stop] if instrument.science is not None else None
    return json.dumps(vars(instrument) | {"science": science}, sort_keys=True)


def instrument_of(attrs: Mapping[Any, Any]) -> Instrument:
    """The instrument of a raw visit, from its attributes: DETECTOR_ATTR where it is there, else the built-in table.

    Raises DataError where neither knows it.
    """
    if DETECTOR_ATTR in attrs:
        facts = json.loads(attrs[DETECTOR_ATTR])
        science = slice(*facts.pop("science")) if facts["science"] is not None else facts.pop("science")
        shape, reads = (tuple(facts.pop(name)) for name in ("shape", "read_times"))
        return Instrument(**facts, shape=shape, read_times=reads, science=science)
    name = str(attrs["instrument"])
    if name not in INSTRUMENT:
        raise DataError(
            f"instrument '{name}' is not known; what exists: {', '.join(INSTRUMENT)}; a detector of your own needs a detector.yaml "
            f"at the dataset's root, or the attribute '{DETECTOR_ATTR}' as open_visit sets it"
        )
    return INSTRUMENT[name]


def default_chunk_frames(shape: tuple[int, int]) -> int:
    """Even number of uint16 frames (ny, nx) that make about CHUNK_BYTES, at least one pair.

    >>> default_chunk_frames((32, 32)), default_chunk_frames((4096, 4096))
    (4882, 2)
    """
    return max(2, 2 * (CHUNK_BYTES // (4 * shape[0] * shape[1])))


#: degree + 1 of the per-pixel linearity polynomial (coefficients ascending)
LINEARITY_TERMS = 6


@dataclass(frozen=True)
class Var:
    """One variable: dims, dtype kind(s) accepted, units and meaning."""

    dims: tuple[str, ...]
    kinds: str
    units: str
    doc: str


#: a raw visit as `open_visit` gives it
RAW_VISIT: dict[str, Var] = {
    "raw_frames": Var(("time", "y", "x"), "u", "ADU", "non-destructive reads, even = first, odd = second of a ramp"),
    "time": Var(("time",), "f", "h", "time stamp of each read since the start of the visit"),
    "exposure": Var(("time",), "f", "s", "time since reset of each read"),
    "dark": Var(("y", "x"), "f", "e-/s", "dark current"),
    "dead": Var(("y", "x"), "b", "", "dead pixels"),
    "flat": Var(("y", "x"), "f", "", "flat field, about 1"),
    "read": Var(("y", "x"), "f", "e-", "rms noise of one read"),
    "linear_corr": Var(("order", "y", "x"), "f", "", "linearity coefficients, ascending powers of e-"),
}

#: attributes of a raw visit
RAW_ATTRS = ("planet_id", "visit", "instrument", "adc_offset", "adc_gain")
#: star parameters, attributes `star_<name>`; absent where the dataset has none (2024)
STAR_PARAMETERS = ("Rs", "Ms", "Ts", "Mp", "e", "P", "sma", "i")


def check_raw_visit(ds: xr.Dataset, *, in_pairs: bool = True) -> None:
    """Refuse a Dataset that is not a raw visit, naming the variable and what is wrong with it.

    in_pairs: reads 2i and 2i+1 are a pair, so their number must be even.

    Raises DataError. Looks at names, dims, dtypes, shapes and small coordinates only; computes nothing.
    """
    for name, spec in RAW_VISIT.items():
        if name not in ds.variables:
            raise DataError(f"a raw visit needs the variable '{name}' ({spec.doc}); this Dataset has {sorted(map(str, ds.variables))}")
        var = ds[name]
        dims = with_channel(spec.dims) if "channel" in ds.dims else spec.dims
        if tuple(var.dims) != dims:
            raise DataError(f"variable '{name}' has dims {tuple(var.dims)}, expected {dims}: transpose or rename its dimensions")
        if var.dtype.kind not in spec.kinds:
            raise DataError(f"variable '{name}' has dtype {var.dtype}, expected kind '{spec.kinds}' ({spec.doc})")
    missing = [a for a in RAW_ATTRS if a not in ds.attrs]
    if missing:
        raise DataError(f"a raw visit needs the attributes {missing}; set them as open_visit does")
    n = ds.sizes["time"]
    if (n % 2 and in_pairs) or n == 0:
        raise DataError(
            f"raw_frames of planet {ds.attrs['planet_id']} has {n} frames: reads come in pairs (even first, odd second), "
            "so the count must be even and not 0; the file is cut or has a stray frame"
        )


def with_channel(dims: tuple[str, ...]) -> tuple[str, ...]:
    """Dims with `channel` before y, x: a visit whose frames hold several detectors."""
    index = dims.index("y") if "y" in dims else len(dims)
    return (*dims[:index], "channel", *dims[index:]) if "y" in dims else dims


def pair_chunks(n_frames: int, chunk: int) -> tuple[int, ...]:
    """Even chunk lengths that cover `n_frames`; a chunk never splits a CDS pair. Raises DataError if odd.

    >>> pair_chunks(10, 4)
    (4, 4, 2)
    """
    if chunk % 2 or chunk < 2:
        raise DataError(f"time chunk of {chunk} frames would split a CDS pair: use an even number >= 2")
    full, rest = divmod(n_frames, chunk)
    return (chunk,) * full + ((rest,) if rest else ())


#: a calibrated visit: what `calibrate` writes and `open_calibrated` gives (variables that a profile does not make are absent)
CALIBRATED: dict[str, Var] = {
    "cds_corrected": Var(("pair", "y", "x"), "f", "e-", "CDS frames, second minus first read; masked pixels NaN"),
    "cds_binned": Var(("bin", "y", "x"), "f", "e-", "CDS frames summed over each time bin; masked pixels NaN"),
    "cds_binned_var_poisson": Var(("bin", "y", "x"), "f", "e-2", "photon variance of cds_binned, dark included"),
    "cds_var_rnoise": Var(("y", "x"), "f", "e-2", "read-noise variance of one CDS frame"),
    "pixel_dq": Var(("y", "x"), "u", "", "data quality of detector pixels"),
    "cds_mean": Var(("y", "x"), "f", "e-", "mean CDS frame of the visit's sample pairs; masked pixels NaN"),
    "dark_applied": Var(("y", "x"), "f", "e-/s", "dark rate as subtracted between the reads"),
    "flat_applied": Var(("y", "x"), "f", "", "flat field as divided by"),
    "extraction_weights": Var(("y", "x"), "f", "", "weight of each pixel in photometry; 0: not used"),
    "photometry": Var(("pair", "wavelength"), "f", "e-", "extracted flux per CDS pair"),
    "photometry_var": Var(("pair", "wavelength"), "f", "e-2", "variance of photometry"),
    "photometry_var_rnoise": Var(("wavelength",), "f", "e-2", "read-noise part of photometry_var"),
    "photometry_dq": Var(("pair", "wavelength"), "u", "", "data quality of photometry"),
    "background": Var(("bin", "wavelength"), "f", "e-", "background per pixel and pair, mean over each time bin"),
    "x_position": Var(("pair",), "f", "px", "pointing along x (AIRS: shift of the spectrum against its mean)"),
    "y_position": Var(("pair",), "f", "px", "pointing along y (centroid)"),
    "trace_norm": Var(("pair", "wavelength"), "f", "", "flux over its out-of-transit model"),
    "trace_norm_var": Var(("pair", "wavelength"), "f", "", "variance of trace_norm"),
    "out_of_transit": Var(("pair",), "b", "", "pairs that the normalization was fitted on"),
    "phase": Var(("pair",), "f", "", "orbital phase, 0 at mid-transit"),
    "in_transit": Var(("pair",), "b", "", "pairs within T14 of mid-transit, widened by calib.phase.windows.margin"),
    "phase_fold": Var(("phase_bin", "wavelength"), "f", "", "trace_norm in phase bins; empty bins NaN"),
    "phase_fold_var": Var(("phase_bin", "wavelength"), "f", "", "variance of phase_fold"),
    "phase_fold_count": Var(("phase_bin", "wavelength"), "i", "", "pairs in each phase bin"),
    "phase_fold_dq": Var(("phase_bin", "wavelength"), "u", "", "data quality of phase_fold"),
    "transit_depth": Var(("wavelength",), "f", "", "(Rp/Rs)^2 per channel, orbit and limb darkening shared"),
    "transit_depth_sigma": Var(("wavelength",), "f", "", "standard error of transit_depth"),
    "transit_depth_chi2": Var(("wavelength",), "f", "", "reduced chi² of each channel's transit fit"),
    "transit_depth_shared": Var(
        ("wavelength", "shared"), "f", "", "part F of the errors that channels have in common: covariance diag(sigma² - Σ F²) + F Fᵀ"
    ),
    "fit_time": Var(("fit_bin",), "f", "h", "mean time of the bins that the transit fit works on"),
    "fit_flux": Var(("fit_bin", "wavelength"), "f", "", "flux that the transit fit works on, relative to each channel's level"),
    "fit_sigma": Var(("fit_bin", "wavelength"), "f", "", "its noise; inf where a channel has no usable sample"),
    "fit_design": Var(("fit_bin", "fit_term"), "f", "", "terms of the baseline in that fit"),
    "fit_ridge": Var(("fit_term",), "f", "", "inverse variance of the prior on each term's coefficient; 0: free"),
    "fit_darkening": Var(("limb_darkening", "wavelength"), "f", "", "u1, u2 and the width of their prior in that fit"),
    "fit_shift_noise": Var(
        ("shift_noise", "wavelength"),
        "f",
        "",
        "common noise that a measured shift leaves in a channel, in units of its own; and what a regression on that shift lacks",
    ),
    "mid_transit_time": Var((), "f", "h", "mid-transit at exposure mid-times, since the first time stamp; NaN where none was found"),
    "mid_transit_time_sigma": Var((), "f", "h", "standard error of mid_transit_time"),
    "transit_duration": Var((), "f", "h", "first to fourth contact, T14"),
    "white_depth": Var((), "f", "", "(Rp/Rs)^2 of white light: mean of transit_depth weighted with the light, or of the white curve"),
    "white_depth_sigma": Var((), "f", "", "standard error of white_depth by the covariance of transit_depth"),
    "transit_snr": Var((), "f", "", "signal-to-noise of the best box in the white light curve"),
    "noise_budget": Var(
        ("component", "wavelength"),
        "f",
        "e-2",
        "predicted variance of a pair out of transit by cause (attribute components); flat: if known",
    ),
    "noise_measured": Var(("wavelength",), "f", "e-2", "measured variance of a pair out of transit"),
    "rms_measured": Var(("averaging",), "f", "", "scatter of the white light curve out of transit, averaged over blocks of pairs"),
    "rms_expected": Var(("averaging",), "f", "", "the same as the noise model predicts it"),
}


#: coordinates of a calibrated visit, in their order
COORDINATES = ("time", "exposure", "bin_time", "wavelength", "averaging", "bin_phase")


def in_order(ds: xr.Dataset) -> xr.Dataset:
    """A calibrated visit with its variables in the order of CALIBRATED and its coordinates in that of COORDINATES, others after them; the
    same Dataset, changed in place.

    >>> list(in_order(xr.Dataset({"own": 1, "white_depth": 0.01, "pixel_dq": 0})).data_vars)
    ['pixel_dq', 'white_depth', 'own']
    """
    _put_last(ds, ds.coords, COORDINATES, lambda name, variable: ds.coords.update({name: variable}))
    _put_last(ds, ds.data_vars, tuple(CALIBRATED), ds.__setitem__)
    return ds


def _put_last(ds: xr.Dataset, group: Mapping[Any, Any], order: tuple[str, ...], put: Callable[[Any, xr.Variable], None]) -> None:
    """Bring a Dataset's coordinates or data variables in order: each is taken out and put back, and the last one put back is the last."""
    names = [name for name in order if name in group]
    if names != list(group)[: len(names)]:
        for name in [*names, *(other for other in list(group) if other not in order)]:
            variable = ds.variables[name]
            del ds[name]
            put(name, variable)


#: the fit of a planet: spectra.zarr/<planet_id>
SPECTRUM: dict[str, Var] = {
    "transit_depth": CALIBRATED["transit_depth"],
    "transit_depth_sigma": CALIBRATED["transit_depth_sigma"],
    "transit_depth_chi2": CALIBRATED["transit_depth_chi2"],
    "transit_depth_shared": CALIBRATED["transit_depth_shared"],
    "mid_transit_time": Var(("visit",), "f", "h", "mid-transit of each visit, since its first time stamp"),
    "mid_transit_time_sigma": Var(("visit",), "f", "h", "standard error of mid_transit_time"),
}
