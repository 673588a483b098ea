"""The chain adc … phase as one callable, checked when built; lazy on xarray Datasets.

`Pipeline(config)(ds)` gives a Dataset of Dask-backed products and computes nothing. `Pipeline.until(stage)` gives every
frame stage's own result instead, stage by stage. Both run the `engine` that the batch runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import xarray as xr

from v50calib import accessor as _accessor  # noqa: F401  what a pipeline makes draws itself: ds.v50.plot
from v50calib.channels import each_channel, is_joined, split_visit
from v50calib.config.compose import compose
from v50calib.config.explain import validate
from v50calib.config.models import RunConfig
from v50calib.engine import lazy
from v50calib.engine.engine import Engine
from v50calib.engine.products import with_frame_units
from v50calib.errors import ConfigError
from v50calib.markup import flat, say, table
from v50calib.qc.stages import full_record
from v50calib.schema import check_raw_visit, instrument_of
from v50calib.stages import FRAME_STAGES, STAGE_ORDER

#: depths of the white light that are final once the channels' are known
_FINAL_DEPTH = ("white_depth", "white_depth_sigma")
FRAME_NAMES = tuple(stage.name for stage in FRAME_STAGES)


class Products(xr.Dataset):
    """Lazy products of a visit; `compute()` and `load()` make of them the Dataset that a run stores: its variables, order, attributes."""

    __slots__ = ()

    def load(self, **options: Any) -> Self:
        """Compute in place, and become an ordinary Dataset."""
        super().load(**options)
        if lazy.REST in self.variables:
            lazy.complete(self)
        self.__class__ = xr.Dataset  # type: ignore[assignment]
        return self

    def __dask_postcompute__(self) -> Any:
        """For `dask.compute(products)`: the same."""
        finish, given = super().__dask_postcompute__()  # type: ignore[no-untyped-call]
        return _loaded, (finish, given)

    def to_zarr(self, *args: Any, **options: Any) -> Any:
        """`Dataset.to_zarr` of the products, computed: what waits in `rest` has no form on disk."""
        return self.compute().to_zarr(*args, **options)

    def to_netcdf(self, *args: Any, **options: Any) -> Any:
        """`Dataset.to_netcdf` of the products, computed."""
        return self.compute().to_netcdf(*args, **options)


def _loaded(results: Any, finish: Callable[..., xr.Dataset], given: tuple[Any, ...]) -> xr.Dataset:
    return finish(results, *given).load()


def _waiting(ds: xr.Dataset) -> xr.Dataset:
    """The lazy Dataset as `Products`: the same object."""
    ds.__class__ = Products
    return ds


class Pipeline:
    """The chain adc … phase of one configuration.

    engine: what runs it, on arrays. Raises ConfigError when built if stages are out of order, and when called if a method
    makes no sense on the instrument; DataError if the Dataset is not a raw visit.

    >>> Pipeline.from_profile("calib/fast", ["output.cubes=none"])
    Pipeline(adc → nonlinearity → dark → flat → cds → photometry → trace → phase)
    """

    def __init__(self, config: RunConfig | None = None) -> None:
        self.config = config if config is not None else RunConfig()
        self.engine = Engine(self.config)

    @classmethod
    def from_profile(cls, name: str = "calib/nominal", overrides: Sequence[str] = ()) -> Pipeline:
        """Pipeline of a profile, e.g. `calib/nominal`, with Hydra overrides."""
        return cls(validate(compose(name, overrides)))

    def check(self, ds: xr.Dataset, *, photometry: bool = True) -> None:
        """Refuse, before any frame is read, a Dataset or instrument that this pipeline cannot work on."""
        check_raw_visit(ds, in_pairs=self.engine.reads_in_stored_order)
        for visit in split_visit(ds) if is_joined(ds) else [ds]:
            instrument = instrument_of(visit.attrs)
            self.engine.check_instrument(instrument, photometry=photometry)
            if photometry:
                # stamps that are not stored in pairs are looked at when they have been paired
                time_h = np.asarray(visit["time"], dtype=np.float64) if self.engine.reads_in_stored_order else None
                self.engine.check_series(instrument, np.asarray(visit["wavelength"]), visit.attrs, time_h)

    def __call__(self, ds: xr.Dataset) -> xr.Dataset:
        """Lazy products of a raw visit: builds a graph, computes nothing.

        Computed (`.compute()`), it is what a run stores of the visit. What has no shape before, the attributes of the fit and the
        variables fit_*, waits in the variable `rest` until then. For several channels see `channels.each_channel`.
        """
        self.check(ds)
        if is_joined(ds):
            return with_frame_units(each_channel(ds, lambda one: self(one).drop_vars(lazy.REST)), self.engine.frame_units)
        return _waiting(with_frame_units(lazy.products(self.engine, ds, full_record), self.engine.frame_units))

    def until(self, last: str) -> Callable[[xr.Dataset], xr.Dataset]:
        """The chained stages up to `last`, each leaving its own variables; lazy. Up to cds these are frames with variances and flags;
        photometry, trace and phase leave what they add to a product, and what follows them is not run."""
        if last not in STAGE_ORDER:
            raise ConfigError(f"no stage '{last}'; stages in order: {', '.join(STAGE_ORDER)}")

        engine = self.engine if last in FRAME_NAMES else Engine(_stopped_after(self.config, last))

        def chained(ds: xr.Dataset) -> xr.Dataset:
            self.check(ds, photometry=last not in FRAME_NAMES)
            if is_joined(ds):
                return each_channel(ds, lambda one: chained(one).drop_vars(lazy.REST, errors="ignore"))
            out = lazy.chain(engine, ds, last, full_record)
            return out if last in FRAME_NAMES else _waiting(out.drop_vars(_FINAL_DEPTH if last == "trace" else [], errors="ignore"))

        return chained

    def _repr_html_(self) -> str:
        calib, plain = self.config.calib, type(self.config.calib)()
        rows = []
        for name in STAGE_ORDER:
            mine, theirs = (flat(getattr(c, name).model_dump(mode="json")) for c in (calib, plain))
            changed = [f"{key}={say(value)}" for key, value in mine.items() if theirs.get(key) != value]
            rows.append((name, "on" if getattr(calib, name).enabled else "off", ", ".join(changed)))
        return table(("stage", "", "differs from the defaults in"), rows, f"Pipeline, config {self.engine.fingerprint[:12]}")

    def __repr__(self) -> str:
        return f"Pipeline({' → '.join(name for name in STAGE_ORDER if getattr(self.config.calib, name).enabled)})"


def _stopped_after(config: RunConfig, last: str) -> RunConfig:
    """The config with the stages after `last` off: photometry, trace or phase."""
    calib = config.calib
    off = {"photometry": ("trace", "phase"), "trace": ("phase",), "phase": ()}[last]
    changes: dict[str, Any] = {name: getattr(calib, name).model_copy(update={"enabled": False}) for name in off}
    if "phase" in changes:
        # depths are fitted under this section's own switch
        changes["phase"] = changes["phase"].model_copy(update={"depths": calib.phase.depths.model_copy(update={"enabled": False})})
    return config.model_copy(update={"calib": calib.model_copy(update=changes)})
