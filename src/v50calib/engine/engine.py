"""The engine of one configuration: what the batch and the lazy form both run a visit with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from v50calib.array_files import require_paths
from v50calib.config.consistency import frame_units, refuse_inconsistent
from v50calib.config.models import RunConfig
from v50calib.config.provenance import config_hash, methods_of
from v50calib.engine.chunk import run_chunk
from v50calib.engine.constants import VisitConstants
from v50calib.engine.frames import Frames, ReadFrames, in_order
from v50calib.engine.prepare import prepare_visit
from v50calib.engine.products import Visit, arrays_of, build_dataset, coordinates, made, with_frame_units
from v50calib.engine.result import ChunkResult, Wanted
from v50calib.engine.said import attributes
from v50calib.engine.series import SeriesResult, channel_wavelengths, run_series
from v50calib.engine.steps import halo_of
from v50calib.engine.visit import VisitInput, star_of
from v50calib.errors import ConfigError
from v50calib.kernels.arrays import Float, Index
from v50calib.methods.registry import install
from v50calib.schema import Instrument
from v50calib.stages import FRAME_STAGES
from v50calib.stages.cds.stage import Cds
from v50calib.stages.phase.limb_darkening import check_darkening, check_source
from v50calib.stages.photometry.choices import check_detector
from v50calib.stages.photometry.stage import Photometry
from v50calib.stages.tile import Tile
from v50calib.stages.trace.along_time import given_window, names_window
from v50calib.stages.trace.along_wavelength import fitted_channels


def frame_stages(config: RunConfig) -> list[Any]:
    """The enabled stages adc … cds in order. Raises ConfigError where the order makes no physical sense, or a file is missing."""
    refuse_inconsistent(config)
    calib = config.calib
    stages = [cls(getattr(calib, cls.name)) for cls in FRAME_STAGES if getattr(calib, cls.name).enabled]
    asking = [stage for stage in stages if stage.config.validation.require_existing_paths]
    require_paths({f"calib.{key}": path for stage in asking for key, path in stage.files.items()})
    return stages


class Engine:
    """The chain adc … phase of one configuration, on arrays: constants, chunks, the series domain, the product.

    config: what one instrument gets (`RunConfig.of`). Raises ConfigError when built if stages are out of order.
    """

    def __init__(self, config: RunConfig) -> None:
        if config.by_instrument:
            raise ConfigError(
                f"an engine works for one instrument, and {', '.join(config.by_instrument)} have keys of their own: use Engines"
            )
        self.config, self.methods = config, methods_of(config)
        self.stages = frame_stages(config)
        self.photometry = Photometry(config.calib.photometry) if config.calib.photometry.enabled else None
        if self.photometry is not None and self.finds_files:
            check_source(config.calib.phase.limb_darkening)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # a worker may never have seen the notebook or the module that registered them
        install(state["methods"])
        self.__dict__.update(state)

    @property
    def fingerprint(self) -> str:
        """Hash of what decides the numbers of the config."""
        return config_hash(self.config)

    @property
    def frame_units(self) -> str:
        """Units of the CDS frames: e-, unless the config asks for others."""
        return frame_units(self.config.calib.adc, self.config.calib.cds)

    @property
    def halo(self) -> int:
        """Pairs on either side of a chunk that `run_chunk` must be given besides; 0 where no method looks at neighbours in time."""
        return halo_of(self.stages)

    @property
    def finds_files(self) -> bool:
        """Whether tables and models of limb darkening are where the pipeline is built; False: only where visits are calibrated."""
        return self.config.calib.phase.validation.require_existing_paths

    @property
    def asks_of_visits(self) -> bool:
        """Whether `check_series` may refuse a visit for its wavelengths, its star or its length."""
        limb, trace = self.config.calib.phase.limb_darkening, self.config.calib.trace
        return limb.of_stars or (trace.enabled and names_window(trace.along_time))

    @property
    def wanted(self) -> Wanted:
        """What a chunk is asked for."""
        output = self.config.output
        # the light's width is measured on the time bins
        binned = output.binned_cube or "width" in self.config.calib.trace.vectors
        return Wanted(binned, output.dtype if output.full_cube else None, output.dtype)

    @property
    def reads_in_stored_order(self) -> bool:
        """Whether reads 2i and 2i+1 of a visit are taken as its pairs without looking at stamps or flags."""
        return self.config.calib.cds.in_stored_order

    def pairs_per_bin(self, time_h: Float) -> int:
        """Pairs in a time bin of `output.bin_s`, at the visit's cadence (at least 1)."""
        # a first read may be in several pairs, a second read is in one
        second = time_h[1::2]
        cadence = float(np.median(np.diff(second))) * 3600.0 if len(second) > 1 else self.config.output.bin_s
        return max(1, min(round(self.config.output.bin_s / cadence), len(second)))

    def check_instrument(self, instrument: Instrument, *, photometry: bool = True) -> None:
        """Refuse an instrument that the config leaves out, or on which a method (of photometry too) makes no sense."""
        if not self.config.calib.covers(instrument.name):
            raise ConfigError(
                f"calib.photometry.instrument.name restricts this run to {self.config.calib.instrument_name}, the visit is of {instrument}"
            )
        if photometry and self.photometry is not None:
            check_detector(self.config.calib.photometry, instrument)

    def check_wavelengths(self, instrument: Instrument, wavelength_um: Float) -> None:
        """Refuse a continuum that an instrument's channels cannot carry, before a frame is read."""
        calib = self.config.calib
        if calib.trace.enabled and instrument.spectral and calib.photometry.instrument.per_channel is not False:
            wavelength = np.atleast_1d(np.asarray(wavelength_um, dtype=np.float64))
            fitted_channels(calib.trace.along_wavelength, wavelength[instrument.science_columns(wavelength)])

    def check_series(self, instrument: Instrument, wavelength_um: Float, attrs: dict[Any, Any], time_h: Float | None = None) -> None:
        """Refuse, before a frame is read, what the series domain would: a continuum, limb darkening that this visit's channels or star
        do not have, a filter's window that is longer than the visit.

        wavelength_um (nx,), attrs: of the raw visit; time_h (reads,): its stamps in the order of pairs, where they are known.
        Raises ConfigError, or DataError where another planet might do.
        """
        calib = self.config.calib
        self.check_wavelengths(instrument, wavelength_um)
        if self.photometry is None:
            return
        wavelength = np.atleast_1d(np.asarray(wavelength_um, dtype=np.float64))
        channels = channel_wavelengths(instrument, wavelength, calib.photometry.instrument.per_channel)
        check_darkening(calib.phase.limb_darkening, channels, star_of(attrs), str(attrs.get("planet_id", "")))
        if calib.trace.enabled and time_h is not None:
            # a first read may be in several pairs, a second read is in one
            given_window(calib.trace.along_time, time_h[1::2] - time_h[0])

    def order(self, visit: VisitInput) -> tuple[VisitInput, Index | None]:
        """The visit with its frames in the order of their pairs (`stages.cds.pairing`), and that order; None: as they are stored."""
        if visit.in_pairs:
            return visit, None
        cds = next(stage for stage in self.stages if isinstance(stage, Cds))
        order = cds.order(visit.exposure_s, visit.time_h, visit.telemetry, visit.instrument.name)
        visit = replace(visit, notes=[*visit.notes, *order.notes], qc=visit.qc | {"cds": order.qc}, in_pairs=True)
        index = order.frames
        if index is not None:
            telemetry = {k: v[index] for k, v in visit.telemetry.items()}
            visit = replace(visit, exposure_s=visit.exposure_s[index], time_h=visit.time_h[index], telemetry=telemetry)
        return visit, index

    def ordered(self, visit: VisitInput, frames: Frames) -> tuple[VisitInput, Frames]:
        """The visit and its frames in the order of their pairs; themselves where that is how they are stored."""
        visit, order = self.order(visit)
        return visit, in_order(frames, order)

    def prepare(self, visit: VisitInput, read: ReadFrames) -> VisitConstants:
        """Static constants of a visit whose frames come in pairs (`ordered`); reads the sample pairs."""
        self.check_series(visit.instrument, visit.wavelength_um, visit.attrs, visit.time_h)
        return prepare_visit(
            visit, self.stages, self.photometry, read,
            pairs_per_bin=self.pairs_per_bin(visit.time_h), diagnostics=self.config.output.diagnostics,
        )  # fmt: skip

    def apply_stage(self, index: int, tile: Tile, constants: Any) -> Tile:
        """One enabled frame stage on a tile."""
        return self.stages[index].apply(tile, constants)

    def run_chunk(
        self, visit: VisitConstants, raw: NDArray[np.uint16], start_pair: int, keep: tuple[int, int] | None = None,
        whole: NDArray[np.floating] | None = None,
    ) -> ChunkResult:  # fmt: skip
        """One chunk of raw frames through the frame domain; of its pairs only keep[0] … keep[1] are results, the others halo.

        whole: `whole_cube` of the visit, which the chunk's part is written into.
        """
        return run_chunk(visit, raw, start_pair, self.photometry, replace(self.wanted, whole=whole), keep)

    def whole_cube(self, visit: VisitConstants) -> NDArray[np.floating] | None:
        """Room for a visit's full cube (pairs, ny, nx); None where none is made."""
        output = self.config.output
        return np.empty((len(visit.between), *visit.shape), output.dtype) if output.full_cube else None

    def run_series(self, visit: VisitConstants, results: list[ChunkResult], star: dict[str, float]) -> SeriesResult | None:
        """The series domain; None where photometry is off."""
        return run_series(visit, results, self.config.calib, star) if self.photometry is not None else None

    def dataset(
        self, visit: VisitConstants, results: list[ChunkResult], series: SeriesResult | None, attrs: dict[str, Any]
    ) -> xr.Dataset:  # fmt: skip
        """All products of a visit in memory."""
        output, units = self.config.output, self.config.calib.photometry.output.flux_units
        products = made(self.config, bins=visit.n_bins > 0)
        arrays = arrays_of(Visit(visit, results, series, self.config), products)
        coords = coordinates(
            visit.state.time_h, visit.between, visit.pair_bins,
            series.series.wavelength_um if series is not None else None,
            noise="rms_measured" in arrays, bin_phase=series.folded.bin_phase if series is not None and series.folded is not None else None,
        )  # fmt: skip
        attrs = attrs | attributes(visit, series)
        return with_frame_units(build_dataset(arrays, coords, attrs, output.dtype, units), self.frame_units)
