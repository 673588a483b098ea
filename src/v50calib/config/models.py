"""The whole configuration: the keys of `calib`, `runtime` and `output`, and their defaults."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from v50calib.config.instruments import (
    SECTIONS,
    CalibKeys,
    InstrumentKeysError,
    belongs,
    merged,
    refuse_keys_of_the_run,
    section_of,
)
from v50calib.config.runtime import RuntimeConfig
from v50calib.stages.adc.config import AdcConfig
from v50calib.stages.cds.config import CdsConfig
from v50calib.stages.config import Section, StageConfig
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
    """A section for each stage, in the order in which they run; then what is made of predictions."""

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
        summed, asked = self.photometry.instrument.per_channel, self.trace.instrument.per_channel
        # one band cannot be summed in any other way
        if asked is not None and self.instrument_name != "FGS1" and asked != (summed is not False):
            raise ValueError(
                f"trace.instrument.per_channel={str(asked).lower()} and photometry.instrument.per_channel={str(summed).lower()} contradict "
                "each other: channels are summed by photometry, set it there"
            )
        return self

    def stages(self) -> list[tuple[str, StageConfig]]:
        """Name and config of the eight stages, in order.

        >>> [name for name, stage in CalibConfig().stages() if stage.enabled][:3]
        ['adc', 'nonlinearity', 'dark']
        """
        sections = ((name, getattr(self, name)) for name in type(self).model_fields)
        return [(name, section) for name, section in sections if isinstance(section, StageConfig)]

    @property
    def instrument_name(self) -> str:
        """The one instrument that a run works on, or `all`."""
        names = (self.photometry.instrument.name, self.trace.instrument.name)
        return next((_full_name(n) for n in names if n != "all"), "all")

    @property
    def fits_planets(self) -> bool:
        """Whether a run ends with one fit a planet of all its visits and instruments."""
        depths = self.phase.depths
        return self.photometry.enabled and self.trace.enabled and depths.enabled and depths.planet

    @property
    def holds_mid_transit(self) -> bool:
        """Whether every visit has the same given mid-transit, in hours since its start."""
        return self.phase.enabled and self.phase.ephemeris.held

    def covers(self, instrument: str) -> bool:
        """Whether a run works on an instrument; the name of one with channels stands for all of them."""
        name = self.instrument_name
        return name == "all" or belongs(instrument, name)


class OutputConfig(Section):
    """What a run writes of a visit."""

    cubes: Literal["none", "binned", "full", "both"] = Field(
        default="binned", description="`binned`: CDS frames summed over bin_s; `full`: each of them; `both`; `none`"
    )
    bin_s: float = Field(default=144.0, gt=0, description="s, length of a bin of the cubes and of `background`")
    dtype: Literal["float32", "float64"] = Field(
        default="float32", description="type of stored floats; depths and times are always float64"
    )
    layout: Literal["zarr", "packed"] = Field(
        default="zarr",
        description="files of a product: `zarr`, some hundred, which any Zarr reader opens from the run's root; `packed`, three (all "
        "arrays in one arrays.zip). The numbers are the same",
    )
    diagnostics: bool = Field(default=True, description="the run's switch of every stage's diagnostics, of the noise budget and of qc.csv")

    @property
    def binned_cube(self) -> bool:
        """Whether the time bins' CDS frames are kept."""
        return self.cubes in ("binned", "both")

    @property
    def full_cube(self) -> bool:
        """Whether every CDS frame is kept."""
        return self.cubes in ("full", "both")


class RunConfig(Section):
    """A whole run. Resolved and written beside its products; its hash is written into them."""

    calib: CalibConfig = CalibConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    output: OutputConfig = OutputConfig()
    fgs1: CalibKeys = Field(default=CalibKeys(), description="keys below `calib` that FGS1 alone gets: `fgs1.photometry.…`")
    airs: CalibKeys = Field(default=CalibKeys(), description="keys below `calib` that AIRS-CH0 alone gets: `airs.photometry.…`")
    instruments: dict[str, CalibKeys] = Field(
        default={}, description="the same for instruments of a detector.yaml, by name: `instruments.NAME.photometry.…`"
    )

    @field_validator("instruments")
    @classmethod
    def _own_detectors(cls, value: dict[str, CalibKeys]) -> dict[str, CalibKeys]:
        for name in value:
            short = next((k for k, full in SECTIONS.items() if name.casefold() in (k, full.casefold())), None)
            if short is not None:
                raise ValueError(
                    f"the keys of {SECTIONS[short]} are in the section {short}: write {short}.… in place of instruments.{name}.…"
                )
        return value

    @model_validator(mode="after")
    def _width_needs_the_cube(self) -> RunConfig:
        if self.calib.trace.enabled and "width" in self.calib.trace.vectors and not self.output.binned_cube:
            raise ValueError(
                "calib.trace.along_time.decorrelate.vectors names width, which is measured on the binned cube, and "
                f"output.cubes={self.output.cubes} makes none: use output.cubes=binned, or leave width out"
            )
        return self

    @model_validator(mode="after")
    def _keys_of_instruments(self) -> RunConfig:
        for name, keys in self.by_instrument.items():
            try:
                refuse_keys_of_the_run(keys, section_of(name))
                self.of(name)
            except ValueError as exc:
                raise InstrumentKeysError(section_of(name), name, exc) from exc
        return self

    @property
    def by_instrument(self) -> dict[str, CalibKeys]:
        """Keys that some instruments have for themselves, by the instrument's name.

        >>> RunConfig.model_validate({"fgs1": {"flat": {"enabled": False}}}).by_instrument
        {'FGS1': {'flat': {'enabled': False}}}
        """
        own = {full: getattr(self, section) for section, full in SECTIONS.items()}
        return {name: keys for name, keys in (own | self.instruments).items() if keys}

    def of(self, instrument: str) -> RunConfig:
        """The config that an instrument gets: its own keys in `calib`. The keys of a channel are over those of all channels.

        >>> config = RunConfig.model_validate({"fgs1": {"flat": {"enabled": False}}})
        >>> config.of("FGS1").calib.flat.enabled, config.of("AIRS-CH0").calib.flat.enabled, config.of("FGS1").by_instrument
        (False, True, {})
        """
        if not self.by_instrument:
            return self
        names = sorted((name for name in self.by_instrument if belongs(instrument, name)), key=len)
        tree = self.calib.model_dump(exclude_unset=True)
        for name in names:
            tree = merged(tree, self.by_instrument[name])
        calib = CalibConfig.model_validate(tree) if names else self.calib
        return RunConfig(calib=calib, runtime=self.runtime, output=self.output)

    @property
    def fits_planets(self) -> bool:
        """Whether the run ends with one fit a planet, of what its instruments give."""
        return any(config.calib.fits_planets for config in (self, *map(self.of, self.by_instrument)))
