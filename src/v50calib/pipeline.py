"""Ordered composition of the stages, checked when built; lazy on xarray Datasets.

`Pipeline(config)(ds)` gives a Dataset of Dask-backed products and computes nothing: one task per time chunk
runs the frame domain (`tiles.run_chunk`), one task the series domain. `Pipeline.until(stage)` gives every
frame stage's own result instead, stage by stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from v50calib import lazy
from v50calib.config.compose import compose
from v50calib.config.explain import validate
from v50calib.config.models import RunConfig
from v50calib.errors import ConfigError, DataError
from v50calib.products import build_dataset, coordinates, frame_arrays, series_arrays
from v50calib.schema import INSTRUMENT, check_raw_visit
from v50calib.series import SeriesResult, run_series
from v50calib.stages import FRAME_STAGES, STAGE_ORDER
from v50calib.stages.photometry import Photometry
from v50calib.stages.photometry_weights import resolve_method
from v50calib.stages.trace_wavelength import fitted_channels
from v50calib.tiles import ChunkResult, FrameConstants, VisitInput, prepare_visit, run_chunk


def frame_stages(config: RunConfig) -> list[Any]:
    """The enabled stages adc … cds in order. Raises ConfigError where the order makes no physical sense."""
    calib = config.calib
    stages = [cls(getattr(calib, cls.name)) for cls in FRAME_STAGES if getattr(calib, cls.name).enabled]
    names = [s.name for s in stages]
    if "adc" not in names:
        raise ConfigError(
            "calib.adc.enabled=false leaves the frames in ADU, but the later stages take electrons: keep adc on "
            "(offset_correction.method=none and gain_correction.method=none make it the identity)"
        )
    if "cds" not in names:
        raise ConfigError(
            "calib.cds.enabled=false leaves single reads, but photometry takes CDS pairs: keep cds on, or use pipeline.until('flat')"
        )
    if calib.phase.enabled and not calib.trace.enabled:
        raise ConfigError("calib.phase needs the normalized light curves of calib.trace: enable trace or disable phase")
    if calib.trace.enabled and not calib.photometry.enabled:
        raise ConfigError("calib.trace needs the light curves of calib.photometry: enable photometry or disable trace and phase")
    return stages


class Pipeline:
    """The chain adc … phase of one configuration.

    Raises ConfigError when built if stages are out of order, and when called if a method makes no sense on the
    instrument; DataError if the Dataset is not a raw visit.
    """

    def __init__(self, config: RunConfig | None = None) -> None:
        self.config = config if config is not None else RunConfig()
        self.stages = frame_stages(self.config)
        self.photometry = Photometry(self.config.calib.photometry) if self.config.calib.photometry.enabled else None

    @classmethod
    def from_profile(cls, name: str = "calib/nominal", overrides: Sequence[str] = ()) -> Pipeline:
        """Pipeline of a profile, e.g. `calib/nominal`, with Hydra overrides."""
        return cls(validate(compose(name, overrides)))

    def pairs_per_bin(self, time_h: np.ndarray) -> int:
        """Pairs in a time bin of `output.bin_s`, at the visit's cadence (at least 1)."""
        first = time_h[0::2]
        cadence = float(np.median(np.diff(first))) * 3600.0 if len(first) > 1 else self.config.output.bin_s
        return max(1, min(round(self.config.output.bin_s / cadence), len(first)))

    @property
    def cube_dtype(self) -> str | None:
        return self.config.output.dtype if self.config.output.cubes in ("full", "both") else None

    def check(self, ds: xr.Dataset) -> None:
        """Refuse, before any frame is read, a Dataset or instrument that this pipeline cannot work on."""
        check_raw_visit(ds)
        self.check_instrument(str(ds.attrs["instrument"]))
        self.check_wavelengths(str(ds.attrs["instrument"]), np.asarray(ds["wavelength"]))

    def check_instrument(self, instrument: str) -> None:
        """Refuse an instrument that is unknown, left out by the config, or on which a method makes no sense."""
        if instrument not in INSTRUMENT:
            raise DataError(f"instrument '{instrument}' is not known; what exists: {', '.join(INSTRUMENT)}")
        if instrument not in self.config.calib.instruments:
            raise ConfigError(
                f"calib.photometry.instrument.name restricts this run to {self.config.calib.instruments}, the visit is of {instrument}"
            )
        if self.photometry is not None:
            resolve_method(self.config.calib.photometry, INSTRUMENT[instrument].spectral)

    def check_wavelengths(self, name: str, wavelength_um: np.ndarray) -> None:
        """Refuse a continuum that an instrument's channels cannot carry, before a frame is read."""
        calib, instrument = self.config.calib, INSTRUMENT[name]
        if calib.trace.enabled and instrument.spectral and calib.photometry.instrument.per_channel is not False:
            science = instrument.science if instrument.science is not None else slice(None)
            fitted_channels(calib.trace.along_wavelength, np.atleast_1d(np.asarray(wavelength_um, dtype=np.float64))[science])

    def prepare(self, visit: VisitInput, read: Callable[[int, int], np.ndarray]) -> FrameConstants:
        """Static constants of a visit; reads the sample pairs."""
        self.check_wavelengths(visit.instrument, visit.wavelength_um)
        return prepare_visit(visit, self.stages, self.photometry, read, pairs_per_bin=self.pairs_per_bin(visit.time_h))

    def run_chunk(self, frame: FrameConstants, raw: np.ndarray, start_pair: int) -> ChunkResult:
        """One chunk of raw frames through the frame domain."""
        binned = self.config.output.cubes in ("binned", "both")
        return run_chunk(frame, raw, start_pair, self.photometry, binned=binned, cube=self.cube_dtype, dtype=self.config.output.dtype)

    def run_series(self, frame: FrameConstants, results: list[ChunkResult], star: dict[str, float]) -> SeriesResult | None:
        """The series domain; None where photometry is off."""
        return run_series(frame, results, self.config.calib, star) if self.photometry is not None else None

    def dataset(self, frame: FrameConstants, results: list[ChunkResult], series: SeriesResult | None, attrs: dict[str, Any]) -> xr.Dataset:
        """All products of a visit in memory."""
        arrays = frame_arrays(frame, results, self.config)
        if series is not None:
            arrays |= series_arrays(frame, series, self.config)
        attrs = dict(attrs)
        if series is not None and series.ephemeris is not None:
            attrs |= {f"ephemeris_{k}": v for k, v in vars(series.ephemeris).items()}
        return build_dataset(arrays, coordinates(frame, series), attrs, self.config.output.dtype)

    def __call__(self, ds: xr.Dataset) -> xr.Dataset:
        """Lazy products of a raw visit: builds a graph, computes nothing. See `lazy.products`."""
        self.check(ds)
        return lazy.products(self, ds)

    def until(self, last: str) -> Callable[[xr.Dataset], xr.Dataset]:
        """The chained stages up to `last`, each leaving its own variables; `until("cds")(ds)` is lazy."""
        if last not in STAGE_ORDER:
            raise ConfigError(f"no stage '{last}'; stages in order: {', '.join(STAGE_ORDER)}")

        def chained(ds: xr.Dataset) -> xr.Dataset:
            self.check(ds)
            return lazy.chain(self, ds, last)

        return chained

    def __repr__(self) -> str:
        names = [s.name for s in self.stages] + [n for n in ("photometry", "trace", "phase") if getattr(self.config.calib, n).enabled]
        return f"Pipeline({' → '.join(names)})"
