"""The whole configuration: what `calib.*`, `runtime.*` and `output.*` may say, and their defaults."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from v50calib.config.runtime import RuntimeConfig
from v50calib.stages.adc.config import AdcConfig
from v50calib.stages.cds.config import CdsConfig
from v50calib.stages.config import Section
from v50calib.stages.dark.config import DarkConfig
from v50calib.stages.flat.config import FlatConfig
from v50calib.stages.nonlinearity.config import NonlinearityConfig
from v50calib.stages.phase.config import PhaseConfig
from v50calib.stages.photometry.config import PhotometryConfig
from v50calib.stages.trace.config import TraceConfig
from v50calib.uncertainty.options import TopLevelCalib


def _full_name(name: str) -> str:
    return "AIRS-CH0" if name == "AIRS" else name


class CalibConfig(Section):
    """One section a stage, in the order they run."""

    adc: AdcConfig = AdcConfig()
    nonlinearity: NonlinearityConfig = NonlinearityConfig()
    dark: DarkConfig = DarkConfig()
    flat: FlatConfig = FlatConfig()
    cds: CdsConfig = CdsConfig()
    photometry: PhotometryConfig = PhotometryConfig()
    trace: TraceConfig = TraceConfig()
    phase: PhaseConfig = PhaseConfig()
    top_level_calib: TopLevelCalib = TopLevelCalib()

    @model_validator(mode="after")
    def _one_instrument(self) -> CalibConfig:
        a, b = self.photometry.instrument.name, self.trace.instrument.name
        if "all" not in (a, b) and _full_name(a) != _full_name(b):
            raise ValueError(
                f"photometry.instrument.name={a} and trace.instrument.name={b} contradict each other: name the same instrument"
            )
        return self

    @model_validator(mode="after")
    def _one_summing(self) -> CalibConfig:
        summed, said = self.photometry.instrument.per_channel, self.trace.instrument.per_channel
        # one band is one band whatever is said of it
        if said is not None and self.instrument_name != "FGS1" and said != (summed is not False):
            raise ValueError(
                f"trace.instrument.per_channel={str(said).lower()} and photometry.instrument.per_channel={str(summed).lower()} contradict "
                "each other: channels are summed by photometry, set it there"
            )
        return self

    @property
    def instrument_name(self) -> str:
        """The one instrument that a run works on, or `all`."""
        names = (self.photometry.instrument.name, self.trace.instrument.name)
        return next((_full_name(n) for n in names if n != "all"), "all")

    def covers(self, instrument: str) -> bool:
        """Whether a run works on an instrument; the name of one with channels stands for all of them."""
        name = self.instrument_name
        return name == "all" or instrument == name or instrument.startswith(f"{name}.")


class OutputConfig(Section):
    """cubes: none, binned (sums of CDS frames over bin_s seconds), full (every CDS frame) or both.

    diagnostics: the run's switch of every stage's diagnostics, the noise ledger and qc.csv.
    """

    cubes: Literal["none", "binned", "full", "both"] = "binned"
    bin_s: float = Field(default=144.0, gt=0)
    dtype: Literal["float32", "float64"] = "float32"
    diagnostics: bool = True


class RunConfig(Section):
    """A whole run. Resolved and written beside its products; its hash is written into them."""

    calib: CalibConfig = CalibConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    output: OutputConfig = OutputConfig()

    @model_validator(mode="after")
    def _width_needs_the_cube(self) -> RunConfig:
        if self.calib.trace.enabled and "width" in self.calib.trace.vectors and self.output.cubes not in ("binned", "both"):
            raise ValueError(
                "calib.trace.along_time.decorrelate.vectors names width, which is measured on the binned cube, and "
                f"output.cubes={self.output.cubes} makes none: use output.cubes=binned, or leave width out"
            )
        return self
