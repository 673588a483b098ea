"""The chain adc … phase as one callable, checked when built; lazy on xarray Datasets.

`Pipeline(config)(ds)` gives a Dataset of Dask-backed products and computes nothing. `Pipeline.until(stage)` gives every
frame stage's own result instead, stage by stage. Both run the `engine` that the batch runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from v50calib import accessor as _accessor  # noqa: F401  what a pipeline makes draws itself: ds.v50.plot
from v50calib.channels import each_channel, is_joined, split_visit
from v50calib.config.compose import compose
from v50calib.config.explain import validate
from v50calib.config.instruments import leaves, section_of
from v50calib.config.models import RunConfig
from v50calib.config.provenance import config_hash
from v50calib.engine import lazy
from v50calib.engine.engine import Engine
from v50calib.engine.engines import Engines
from v50calib.engine.products import with_frame_units
from v50calib.errors import ConfigError
from v50calib.markup import flat, say, table
from v50calib.schema import check_raw_visit, instrument_of
from v50calib.stages import FRAME_STAGES, STAGE_ORDER

FRAME_NAMES = tuple(stage.name for stage in FRAME_STAGES)


class Pipeline:
    """The chain adc … phase of one configuration.

    engines: what runs it, on arrays; an instrument with keys of its own (`fgs1.…`, `airs.…`) has an engine of its own. Raises
    ConfigError when built if stages are out of order, and when called if a method makes no sense on the instrument; DataError if the
    Dataset is not a raw visit.

    >>> Pipeline.from_profile("calib/fast", ["output.cubes=none"])
    Pipeline(adc → nonlinearity → dark → flat → cds → photometry → trace → phase)
    >>> Pipeline.from_profile("calib/fast", ["fgs1.photometry.photometry.method=psf"])
    Pipeline(adc → nonlinearity → dark → flat → cds → photometry → trace → phase, fgs1.photometry.photometry.method=psf)
    """

    def __init__(self, config: RunConfig | None = None) -> None:
        self.config = config if config is not None else RunConfig()
        self.engines = Engines(self.config)

    @classmethod
    def from_profile(cls, name: str = "calib/nominal", overrides: Sequence[str] = ()) -> Pipeline:
        """Pipeline of a profile, e.g. `calib/nominal`, with Hydra overrides."""
        return cls(validate(compose(name, overrides)))

    @property
    def engine(self) -> Engine:
        """The engine of instruments that have no keys of their own."""
        return self.engines.of("")

    def engine_of(self, ds: xr.Dataset) -> Engine:
        """The engine of a visit's instrument."""
        return self.engines.of(str(ds.attrs.get("instrument", "")))

    def check(self, ds: xr.Dataset, *, photometry: bool = True) -> None:
        """Refuse, before any frame is read, a Dataset or instrument that this pipeline cannot work on."""
        check_raw_visit(ds, in_pairs=self.engine_of(ds).reads_in_stored_order)
        for visit in split_visit(ds) if is_joined(ds) else [ds]:
            instrument = instrument_of(visit.attrs)
            self.engines.check_instrument(instrument, photometry=photometry)
            if photometry:
                # stamps that are not stored in pairs are looked at when they have been paired
                time_h = np.asarray(visit["time"], dtype=np.float64) if self.engine_of(visit).reads_in_stored_order else None
                self.engines.check_series(instrument, np.asarray(visit["wavelength"]), visit.attrs, time_h)

    def __call__(self, ds: xr.Dataset) -> xr.Dataset:
        """Lazy products of a raw visit: builds a graph, computes nothing. See `engine.lazy.products` and, for several
        channels, `channels.each_channel`."""
        self.check(ds)
        engine = self.engine_of(ds)
        products = each_channel(ds, self) if is_joined(ds) else lazy.products(engine, ds)
        return with_frame_units(products, engine.frame_units)

    def until(self, last: str) -> Callable[[xr.Dataset], xr.Dataset]:
        """The chained stages up to `last`, each leaving its own variables; `until("cds")(ds)` is lazy."""
        if last not in STAGE_ORDER:
            raise ConfigError(f"no stage '{last}'; stages in order: {', '.join(STAGE_ORDER)}")

        def chained(ds: xr.Dataset) -> xr.Dataset:
            self.check(ds, photometry=last not in FRAME_NAMES)
            return each_channel(ds, chained) if is_joined(ds) else lazy.chain(self.engine_of(ds), ds, last)

        return chained

    def _repr_html_(self) -> str:
        calib, plain = self.config.calib, type(self.config.calib)()
        rows = []
        for name in STAGE_ORDER:
            mine, theirs = (flat(getattr(c, name).model_dump(mode="json")) for c in (calib, plain))
            changed = [f"{key}={say(value)}" for key, value in mine.items() if theirs.get(key) != value]
            rows.append((name, "on" if getattr(calib, name).enabled else "off", ", ".join(changed)))
        rows += [(name, "", ", ".join(f"{k}={say(v)}" for k, v in leaves(keys))) for name, keys in self.config.by_instrument.items()]
        return table(("stage", "", "differs from the defaults in"), rows, f"Pipeline, config {config_hash(self.config)[:12]}")

    def __repr__(self) -> str:
        chain = " → ".join(name for name in STAGE_ORDER if getattr(self.config.calib, name).enabled)
        own = [f"{section_of(n)}.{key}={say(value)}" for n, keys in self.config.by_instrument.items() for key, value in leaves(keys)]
        return f"Pipeline({', '.join([chain, *own])})"
