"""Ordered composition of the stages, checked when built; lazy on xarray Datasets.

`Pipeline(config)(ds)` gives a Dataset of Dask-backed products and computes nothing: one task per time chunk
runs the frame domain (`tiles.run_chunk`), one task the series domain. `Pipeline.until(stage)` gives every
frame stage's own result instead, stage by stage.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from v50calib import accessor as _accessor  # noqa: F401  what a pipeline makes draws itself: ds.v50.plot
from v50calib.array_files import require_paths
from v50calib.channels import each_channel, is_joined, split_visit
from v50calib.config.compose import compose
from v50calib.config.consistency import frame_units, refuse_inconsistent
from v50calib.config.explain import validate
from v50calib.config.models import RunConfig
from v50calib.config.provenance import config_hash
from v50calib.engine import lazy
from v50calib.engine.chunk import run_chunk
from v50calib.engine.constants import FrameConstants
from v50calib.engine.frames import Frames, OrderedFrames
from v50calib.engine.prepare import prepare_visit
from v50calib.engine.products import build_dataset, coordinates, frame_arrays, series_arrays, with_frame_units
from v50calib.engine.result import ChunkResult
from v50calib.engine.series import SeriesResult, run_series
from v50calib.engine.steps import halo_of
from v50calib.engine.visit import VisitInput
from v50calib.errors import ConfigError
from v50calib.markup import flat, say, table
from v50calib.schema import Instrument, check_raw_visit, instrument_of
from v50calib.stages import FRAME_STAGES, STAGE_ORDER
from v50calib.stages.cds.stage import Cds
from v50calib.stages.photometry.choices import check_detector
from v50calib.stages.photometry.stage import Photometry
from v50calib.stages.trace.along_wavelength import fitted_channels

FRAME_NAMES = tuple(stage.name for stage in FRAME_STAGES)


def frame_stages(config: RunConfig) -> list[Any]:
    """The enabled stages adc … cds in order. Raises ConfigError where the order makes no physical sense."""
    refuse_inconsistent(config)
    calib = config.calib
    stages = [cls(getattr(calib, cls.name)) for cls in FRAME_STAGES if getattr(calib, cls.name).enabled]
    asking = [stage for stage in stages if stage.config.validation.require_existing_paths]
    require_paths({f"calib.{key}": path for stage in asking for key, path in stage.files.items()})
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
        # a first read may be in several pairs, a second read is in one
        second = time_h[1::2]
        cadence = float(np.median(np.diff(second))) * 3600.0 if len(second) > 1 else self.config.output.bin_s
        return max(1, min(round(self.config.output.bin_s / cadence), len(second)))

    @property
    def fingerprint(self) -> str:
        """Hash of what decides the numbers of the config."""
        return config_hash(self.config)

    @property
    def cube_dtype(self) -> str | None:
        return self.config.output.dtype if self.config.output.cubes in ("full", "both") else None

    def check(self, ds: xr.Dataset, *, photometry: bool = True) -> None:
        """Refuse, before any frame is read, a Dataset or instrument that this pipeline cannot work on."""
        check_raw_visit(ds, in_pairs=self.reads_in_stored_order)
        for visit in split_visit(ds) if is_joined(ds) else [ds]:
            instrument = instrument_of(visit.attrs)
            self.check_instrument(instrument, photometry=photometry)
            if photometry:
                self.check_wavelengths(instrument, np.asarray(visit["wavelength"]))

    def check_instrument(self, instrument: Instrument, *, photometry: bool = True) -> None:
        """Refuse an instrument that the config leaves out, or on which a method (of photometry too) makes no sense."""
        if not self.config.calib.covers(instrument.name):
            raise ConfigError(
                f"calib.photometry.instrument.name restricts this run to {self.config.calib.instrument_name}, the visit is of {instrument}"
            )
        if photometry and self.photometry is not None:
            check_detector(self.config.calib.photometry, instrument)

    @property
    def frame_units(self) -> str:
        """Units of the CDS frames: e-, unless the config asks for others."""
        return frame_units(self.config.calib.adc, self.config.calib.cds)

    @property
    def halo(self) -> int:
        """Pairs on either side of a chunk that `run_chunk` must be given besides; 0 where no method looks at neighbours in time."""
        return halo_of(self.stages)

    @property
    def reads_in_stored_order(self) -> bool:
        """Whether reads 2i and 2i+1 of a visit are taken as its pairs without looking at stamps or flags."""
        pairing = self.config.calib.cds.pairing
        plain = pairing.even_odd.direction == "odd_minus_even" and pairing.order_by == "index"
        return plain and self.config.calib.cds.policy == "even_odd"

    def ordered(self, visit: VisitInput, frames: Frames) -> tuple[VisitInput, Frames]:
        """The visit and its frames in the order of their pairs (`stages.cds_pairing`); itself where that is how they are stored."""
        if visit.in_pairs:
            return visit, frames
        cds = next(stage for stage in self.stages if isinstance(stage, Cds))
        order = cds.order(visit.exposure_s, visit.time_h, visit.telemetry, visit.instrument.name)
        visit = replace(visit, notes=[*visit.notes, *order.notes], qc=visit.qc | {"cds": order.qc}, in_pairs=True)
        if order.frames is None:
            return visit, frames
        index = order.frames
        visit = replace(
            visit,
            exposure_s=visit.exposure_s[index],
            time_h=visit.time_h[index],
            telemetry={k: v[index] for k, v in visit.telemetry.items()},
        )
        return visit, OrderedFrames(frames, index)

    def check_wavelengths(self, instrument: Instrument, wavelength_um: np.ndarray) -> None:
        """Refuse a continuum that an instrument's channels cannot carry, before a frame is read."""
        calib = self.config.calib
        if calib.trace.enabled and instrument.spectral and calib.photometry.instrument.per_channel is not False:
            wavelength = np.atleast_1d(np.asarray(wavelength_um, dtype=np.float64))
            fitted_channels(calib.trace.along_wavelength, wavelength[instrument.science_columns(wavelength)])

    def prepare(self, visit: VisitInput, read: Callable[[int, int], np.ndarray]) -> FrameConstants:
        """Static constants of a visit whose frames come in pairs (`ordered`); reads the sample pairs."""
        self.check_wavelengths(visit.instrument, visit.wavelength_um)
        return prepare_visit(
            visit, self.stages, self.photometry, read,
            pairs_per_bin=self.pairs_per_bin(visit.time_h), diagnostics=self.config.output.diagnostics,
        )  # fmt: skip

    def run_chunk(self, frame: FrameConstants, raw: np.ndarray, start_pair: int, keep: tuple[int, int] | None = None) -> ChunkResult:
        """One chunk of raw frames through the frame domain; of its pairs only keep[0] … keep[1] are results, the others halo."""
        # the light's width is measured on the time bins
        binned = self.config.output.cubes in ("binned", "both") or "width" in self.config.calib.trace.vectors
        dtype, cube = self.config.output.dtype, self.cube_dtype
        return run_chunk(frame, raw, start_pair, self.photometry, binned=binned, cube=cube, dtype=dtype, keep=keep)

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
        if series is not None and series.curves.flagged:
            attrs["photometry_flagged"] = json.dumps(series.curves.flagged, sort_keys=True)
        units = self.config.calib.photometry.output.flux_units
        ds = build_dataset(
            arrays, coordinates(frame, series, diagnostics=self.config.output.diagnostics), attrs, self.config.output.dtype, units
        )
        return with_frame_units(ds, self.frame_units)

    def __call__(self, ds: xr.Dataset) -> xr.Dataset:
        """Lazy products of a raw visit: builds a graph, computes nothing. See `lazy.products` and, for several channels,
        `channels.each_channel`."""
        self.check(ds)
        products = each_channel(ds, self) if is_joined(ds) else lazy.products(self, ds)
        return with_frame_units(products, self.frame_units)

    def until(self, last: str) -> Callable[[xr.Dataset], xr.Dataset]:
        """The chained stages up to `last`, each leaving its own variables; `until("cds")(ds)` is lazy."""
        if last not in STAGE_ORDER:
            raise ConfigError(f"no stage '{last}'; stages in order: {', '.join(STAGE_ORDER)}")

        def chained(ds: xr.Dataset) -> xr.Dataset:
            self.check(ds, photometry=last not in FRAME_NAMES)
            return each_channel(ds, chained) if is_joined(ds) else lazy.chain(self, ds, last)

        return chained

    def _repr_html_(self) -> str:
        calib, plain = self.config.calib, type(self.config.calib)()
        rows = []
        for name in STAGE_ORDER:
            mine, theirs = (flat(getattr(c, name).model_dump(mode="json")) for c in (calib, plain))
            changed = [f"{key}={say(value)}" for key, value in mine.items() if theirs.get(key) != value]
            rows.append((name, "on" if getattr(calib, name).enabled else "off", ", ".join(changed)))
        return table(("stage", "", "differs from the defaults in"), rows, f"Pipeline, config {self.fingerprint[:12]}")

    def __repr__(self) -> str:
        names = [s.name for s in self.stages] + [n for n in ("photometry", "trace", "phase") if getattr(self.config.calib, n).enabled]
        return f"Pipeline({' → '.join(names)})"
