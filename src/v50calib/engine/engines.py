"""The engines of one configuration: one for all instruments, and one for each that has keys of its own."""

from __future__ import annotations

from typing import Any

from v50calib.config.consistency import refuse_inconsistent
from v50calib.config.instruments import as_keys_of, belongs
from v50calib.config.models import RunConfig
from v50calib.engine.engine import Engine
from v50calib.kernels.arrays import Float
from v50calib.schema import Instrument


class Engines:
    """Raises ConfigError when built if the stages of an instrument are out of order.

    >>> engines = Engines(RunConfig.model_validate({"fgs1": {"flat": {"enabled": False}}}))
    >>> engines.of("FGS1") is engines.of("AIRS-CH0"), engines.of("CAM") is engines.of("AIRS-CH0")
    (False, True)
    """

    def __init__(self, config: RunConfig) -> None:
        refuse_inconsistent(config)
        self.config = config
        self._engines: dict[tuple[str, ...], Engine] = {}
        for name in ("", *config.by_instrument):
            self.of(name)

    def of(self, instrument: str) -> Engine:
        """The engine of an instrument, by its name."""
        own = tuple(name for name in self.config.by_instrument if belongs(instrument, name))
        if own not in self._engines:
            with as_keys_of(instrument, self.config.by_instrument):
                self._engines[own] = Engine(self.config.of(instrument))
        return self._engines[own]

    def check_instrument(self, instrument: Instrument, *, photometry: bool = True) -> None:
        """`Engine.check_instrument` of the instrument's own engine, with its keys as they were given."""
        with as_keys_of(instrument.name, self.config.by_instrument):
            self.of(instrument.name).check_instrument(instrument, photometry=photometry)

    def check_series(self, instrument: Instrument, wavelength_um: Float, attrs: dict[Any, Any], time_h: Float | None = None) -> None:
        """`Engine.check_series` of the instrument's own engine, with its keys as they were given."""
        with as_keys_of(instrument.name, self.config.by_instrument):
            self.of(instrument.name).check_series(instrument, wavelength_um, attrs, time_h)
